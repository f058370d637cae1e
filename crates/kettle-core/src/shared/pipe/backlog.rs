//! What a sender does when the socket is full.
//!
//! The system gives a socket little room, and each record takes a kilobyte of it. So if there is no room for a record,
//! a *backlog* begins: one more record is sent, into room that is reserved for it, and from then on messages are only
//! put into the queue. That record stays at the front of the stream, which keeps the descriptor readable, until a
//! receiver has taken the last message of the backlog. Then records are sent again.
//!
//! ```text
//!            the socket is full            the record is sent               its last message is taken
//!   [ none ] ──────────────────► [ begun ] ──────────────────► [ open ] ──────────────────────────────► [ none ]
//!       ▲                             │
//!       └─────────────────────────────┘  there was room after all, or none for the record either
//! ```
//!
//! *Transitions.* A sender moves to `begun` and `open`, with the senders' lock held; a receiver, too, may move to
//! `none`, under both locks, so that no sender relies on a record that is about to be removed. Backlogs are numbered,
//! and the record has the number of its backlog: any other record that comes to the front was left by a death, and is
//! dropped.
//!
//! *No record is taken by mistake.* A receiver looks at the front of the stream before it receives, unless there is no
//! backlog. A receiver that saw none, but then receives the record of one that began in the meantime, would leave the
//! others without it. That is impossible: `begun` is stored before the sender finds the socket full once more, so the
//! data it found there had not been received yet, and the receiver, which alone may receive, gets part of that data.
//!
//! *Order.* A sender checks for a backlog with the senders' lock held, so while there is one all messages go into it.
//! It is received after all records before it.
//!
//! *Death.* A sender that dies in `begun` may or may not have sent the record. The next sender sends another one, for a
//! new backlog, before it sends anything else. A receiver that dies after it has stored `none` leaves a record, which
//! the next receiver drops.

use crate::atomics::{AtomicU64, Ordering, fence};

/// The overhead counted for each message of a backlog, in bytes.
pub(super) const BESIDE: u64 = 64;

/// The number of the latest backlog, with its stage in the two lowest bits.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct Backlog(AtomicU64);

/// The stage of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no backlog: each message has its own record.
    None,
    /// Its record may have been sent.
    Begun,
    /// Its record is in the stream, and messages need none.
    Open,
}

const BEGUN: u64 = 1;
const OPEN: u64 = 2;
const STAGE: u64 = 3;
const ONE: u64 = 4;

impl Backlog {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The number and the stage of the latest backlog.
    #[inline(always)]
    pub(super) fn now(&self) -> (u64, Stage) {
        let word = self.0.load(Ordering::SeqCst);
        let stage = match word & STAGE {
            0 => Stage::None,
            OPEN => Stage::Open,
            _ => Stage::Begun,
        };
        (word / ONE, stage)
    }

    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.0.load(Ordering::SeqCst) & STAGE == 0
    }

    /// Begins a new backlog and returns its number. Requires the senders' lock.
    pub(super) fn begin(&self) -> u64 {
        let number = (self.now().0 + 1) % (u64::MAX / ONE);
        self.0.store((number * ONE) | BEGUN, Ordering::SeqCst);
        // Ordered before the sender finds the socket full: see the module docs.
        fence(Ordering::SeqCst);
        number
    }

    /// Marks its record as sent. Requires the senders' lock.
    pub(super) fn open(&self) {
        self.0.store((self.now().0 * ONE) | OPEN, Ordering::SeqCst);
    }

    /// Ends the backlog. Requires the senders' lock.
    pub(super) fn end(&self) {
        self.0.store(self.now().0 * ONE, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::time::Duration;
    use std::os::fd::AsRawFd;

    use super::super::lane::Held;
    use super::super::record::{BacklogRecord, send_backlog};
    use super::super::{Channel, PipeEnd, RECORD_HEADER, Received, pipe};
    use crate::arena::Block;
    use crate::queue::{Body, Parcel};
    use crate::shared::{ArenaStore, init, place_of};
    use crate::sys::descriptor::KnownFd;
    use crate::sys::socket::{self, Watch};
    use crate::wait::Patience;

    struct End(KnownFd, Channel);

    impl End {
        fn pair() -> [Self; 2] {
            init();
            pipe().unwrap().map(|(socket, channel)| Self(KnownFd::new(socket, "an end"), channel))
        }

        fn end(&self) -> PipeEnd<'_> {
            PipeEnd { socket: &self.0, channel: Some(&self.1) }
        }

        fn send(&self, number: u32) {
            self.end().send(0, &number.to_ne_bytes(), &Patience::none()).unwrap();
        }

        /// The number received, if there was a message.
        fn receive(&self) -> Option<u32> {
            let mut buffer = Vec::new();
            let bytes = match self.end().try_receive(&mut buffer).unwrap()? {
                Received::Inline(_) => &buffer[RECORD_HEADER..],
                Received::Announced(_) => &buffer[..],
            };
            Some(u32::from_ne_bytes(bytes.try_into().unwrap()))
        }

        /// Whether a waiter on the descriptor finds a message.
        fn is_ready(&self) -> bool {
            let is_readable = || socket::poll(&mut [Watch::readable(self.0.as_raw_fd())], Duration::ZERO).unwrap() == 1;
            while is_readable() {
                if !(self.end().may_have_leavings() && self.end().drop_leavings()) {
                    return true;
                }
            }
            false
        }
    }

    #[test]
    fn an_attempt_to_take_a_lock_releases_it_for_no_other() {
        let [a, _b] = End::pair();
        let sending = &a.1.outward().0.sending;
        let held = Held::try_take(sending);
        assert!(held.is_some() && Held::try_take(sending).is_none());
        assert!(sending.statistics().owner.is_some());
        drop(held);
        assert!(sending.statistics().owner.is_none());
    }

    /// More messages than fit into a socket.
    const MANY: u32 = 5_000;

    /// A sender dies after it began a backlog, or after it also sent its record.
    #[test]
    fn a_backlog_that_was_only_begun_is_begun_again() {
        for is_sent in [false, true] {
            let [a, b] = End::pair();
            a.send(0);
            let (lane, queue) = a.1.outward();
            let number = lane.backlog.begin();
            if is_sent {
                let record = BacklogRecord { number, first: queue.next_number() };
                send_backlog(a.0.get().unwrap(), record).unwrap();
            }
            for i in 1..MANY {
                a.send(i);
            }
            for i in 0..MANY {
                assert!(b.is_ready());
                assert_eq!(b.receive(), Some(i), "{is_sent}");
            }
            assert!(!b.is_ready());
            assert_eq!(b.receive(), None);
            a.send(MANY);
            assert_eq!((b.is_ready(), b.receive()), (true, Some(MANY)));
        }
    }

    /// A receiver dies after it ended a backlog, but before it received its record.
    #[test]
    fn the_record_of_a_backlog_that_is_over_is_no_message() {
        for comes_more in [false, true] {
            let [a, b] = End::pair();
            let (lane, queue) = a.1.outward();
            let record = BacklogRecord { number: lane.backlog.begin(), first: queue.next_number() };
            send_backlog(a.0.get().unwrap(), record).unwrap();
            lane.backlog.end();
            // This makes the receiver check for leftovers.
            assert!(lane.receiving.try_acquire_now::<crate::shared::Processes>());
            assert!(b.end().may_have_leavings());
            lane.receiving.release::<crate::shared::Processes>().unwrap();
            if comes_more {
                for i in 0..MANY {
                    a.send(i);
                }
                assert_eq!((0..MANY).map(|_| b.receive().unwrap()).collect::<Vec<_>>(), (0..MANY).collect::<Vec<_>>());
            } else {
                assert!(b.end().drop_leavings());
            }
            assert!(!b.is_ready());
            assert_eq!(b.receive(), None);
        }
    }

    /// A sender dies after it put a message, but before it announced it.
    #[test]
    fn an_unannounced_entry_is_skipped() {
        for after in [1, MANY] {
            let [a, b] = End::pair();
            let (_, queue) = a.1.outward();
            let lost = Parcel::<ArenaStore>::blocks(0, Body::Block(Block::copy_of(&[1; 5000]).unwrap()), Vec::new());
            queue.put(place_of(queue), lost, &Patience::none()).unwrap();
            for i in 0..after {
                if i == 0 {
                    a.end().send_through(&a.1, Parcel::inline(0, &i.to_ne_bytes()), &Patience::none()).unwrap();
                } else {
                    a.send(i);
                }
            }
            assert_eq!((0..after).map(|_| b.receive().unwrap()).collect::<Vec<_>>(), (0..after).collect::<Vec<_>>());
            assert_eq!(b.receive(), None);
        }
    }

    /// The program read past the record of a backlog.
    #[test]
    fn a_backlog_without_its_record_is_received() {
        let [a, b] = End::pair();
        for i in 0..MANY {
            a.send(i);
        }
        let mut before = Vec::new();
        while socket::receive(b.0.get().unwrap(), &mut before, 1 << 16).is_ok() {}
        let missing = (before.len() / super::super::record::SLOT) as u32 - 1;
        assert_eq!(
            (missing..MANY).map(|_| b.receive().unwrap()).collect::<Vec<_>>(),
            (missing..MANY).collect::<Vec<_>>()
        );
        assert_eq!(b.receive(), None);
        a.send(1);
        assert_eq!((b.is_ready(), b.receive()), (true, Some(1)));
    }
}
