//! What a sender does when the socket is full.
//!
//! The system gives a socket little room, and each record takes a kilobyte of it. So where there is no room for a record,
//! a *backlog* begins: one more record is sent, into room that is kept for it, and from then on messages are put into the
//! queue alone. That record stays at the front of the stream, so that the descriptor is readable, until a receiver has
//! taken the last message of the backlog. Then records are sent again.
//!
//! ```text
//!            the socket is full            the record is sent               its last message is taken
//!   [ none ] ──────────────────► [ begun ] ──────────────────► [ open ] ──────────────────────────────► [ none ]
//!       ▲                             │
//!       └─────────────────────────────┘  there was room after all, or none for the record either
//! ```
//!
//! *Who moves it.* To `begun` and `open` a sender, with the senders' lock held; to `none` also a receiver, under both
//! locks, so that no sender relies on a record that is about to go. Backlogs are numbered, and the record says which one
//! it is of: any other that comes to the front was left by a death, and is dropped.
//!
//! *No record is taken by mistake.* A receiver looks at the front of the stream before it receives, unless there is no
//! backlog. One that saw none, and receives the record of one that began meanwhile, would leave the others without it.
//! That cannot be: `begun` is stored before the sender finds the socket full once more, so what it found there was not
//! received yet, and that receiver, who alone may receive, gets some of that.
//!
//! *Order.* A sender looks with the senders' lock held, so while there is a backlog all messages go into it. It is
//! received when all records before it were.
//!
//! *Death.* A sender that dies in `begun` may have sent the record or not. The next one sends another, of a new backlog,
//! before it sends anything. A receiver that dies when it has stored `none` leaves a record that the next one drops.

use crate::atomics::{AtomicU64, Ordering, fence};

/// So many bytes more are counted for each message of a backlog.
pub(super) const BESIDE: u64 = 64;

/// The number of the latest backlog, and its stage in the two lowest bits.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct Backlog(AtomicU64);

/// How far a backlog has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none: each message has its record.
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

    /// The number of the latest one, and how it is.
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

    /// Begins another one, and says its number. With the senders' lock held.
    pub(super) fn begin(&self) -> u64 {
        let number = (self.now().0 + 1) % (u64::MAX / ONE);
        self.0.store((number * ONE) | BEGUN, Ordering::SeqCst);
        // Before the socket is found full: see above.
        fence(Ordering::SeqCst);
        number
    }

    /// Its record is sent. With the senders' lock held.
    pub(super) fn open(&self) {
        self.0.store((self.now().0 * ONE) | OPEN, Ordering::SeqCst);
    }

    /// There is none any more. With the senders' lock held.
    pub(super) fn end(&self) {
        self.0.store(self.now().0 * ONE, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::time::Duration;
    use std::os::fd::AsRawFd;

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

        /// The number that was received, if there was one.
        fn receive(&self) -> Option<u32> {
            let mut buffer = Vec::new();
            let bytes = match self.end().try_receive(&mut buffer).unwrap()? {
                Received::Inline(_) => &buffer[RECORD_HEADER..],
                Received::Announced(_) => &buffer[..],
            };
            Some(u32::from_ne_bytes(bytes.try_into().unwrap()))
        }

        /// Whether a message is there, for one who waits for the descriptor.
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

    /// More than a socket has room for.
    const MANY: u32 = 5_000;

    /// A sender dies when it has begun a backlog, and when it has sent its record besides.
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

    /// A receiver dies when it has ended a backlog, and before it received its record.
    #[test]
    fn the_record_of_a_backlog_that_is_over_is_no_message() {
        for comes_more in [false, true] {
            let [a, b] = End::pair();
            let (lane, queue) = a.1.outward();
            let record = BacklogRecord { number: lane.backlog.begin(), first: queue.next_number() };
            send_backlog(a.0.get().unwrap(), record).unwrap();
            lane.backlog.end();
            // What tells it that it may have to look.
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

    /// A sender dies when it has put something, and before it announced it.
    #[test]
    fn an_entry_that_nobody_announced_is_skipped() {
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

    /// A program read past the record of a backlog.
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
