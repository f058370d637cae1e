//! Wake-ups for an event loop, which sleeps on a descriptor.
//!
//! *Authentication.* Every user of the machine can see the names of existing bells, so a name alone must be worthless.
//! Each bell of a session has a number that is never reused, and its name and its secret are derived from that number
//! with a key that only the session's processes know. So no other process can ring a bell or claim the name of a future
//! one; and a process that claims the name of a bell that is gone learns only that bell's secret.
//!
//! *No ring is lost unnoticed.* Rings that find no room are counted, and draining a bell compares the counts.

use core::hash::Hasher;
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{self, AtomicPtr};

use super::more_doors::MoreDoors;
use crate::atomics::{AtomicU64, Ordering};
use crate::sys::doorbell::{Bell, Ring, Ringer, Rung};
use crate::sys::memory;
use crate::sys::socket::Watch;

/// Identifies an event loop's doorbell in shared memory, together with a number that the ring carries (the *call*).
///
/// ```text
/// 63        20 19        0
/// [   bell   ][   call   ]
/// ```
///
/// It fits into one word of shared memory, so that registering and unregistering it are single atomic steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door(u64);

impl Door {
    const CALL_BITS: u32 = 20;
    const CALLS: u64 = (1 << Self::CALL_BITS) - 1;

    /// The same bell, with `call` (its low 20 bits) as the number that its rings carry.
    pub fn calling(self, call: u32) -> Self {
        Self(self.0 & !Self::CALLS | u64::from(call) & Self::CALLS)
    }

    /// The word that represents it; never zero.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The door in a word, if any.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// The door of bell `number`; numbers wrap around at 2⁴⁴. None for number 0, since a door's word is never zero.
    fn of_bell(number: u64) -> Option<Self> {
        Self::from_bits(number << Self::CALL_BITS)
    }

    /// Rings; returns whether the bell exists.
    pub(crate) fn ring(self) -> bool {
        // If descriptors have run out, the loop finds out at the end of its slice.
        let (Some(session), Some(ringer)) = (session(), ringer()) else { return false };
        self.ring_by(ringer, session).unwrap_or_else(|| {
            // The bell may be bound in the network namespace that this process entered after it made the socket.
            Ringer::new().is_ok_and(|here| self.ring_by(&here, session) == Some(true))
        })
    }

    /// None: there is no such bell in the namespace of `ringer`.
    fn ring_by(self, ringer: &Ringer, session: &Doorbells) -> Option<bool> {
        let identity = BellIdentity::of(self);
        let ring = || ringer.ring(&identity.name, identity.secret, self.0 & Self::CALLS);
        match ring() {
            Rung::Delivered => Some(true),
            Rung::Gone => None,
            Rung::Full => {
                session.refused.fetch_add(1, Ordering::SeqCst);
                // If the retry is refused as well, that happens before the owner drains the socket, and the owner
                // checks the count after that.
                Some(ring() == Rung::Delivered)
            }
        }
    }
}

/// The state shared by all doorbells of a session: words in its arena, all zero at first.
#[repr(C)]
#[derive(Debug)]
pub struct Doorbells {
    key: [AtomicU64; 2],
    /// The number of bells made so far.
    made: AtomicU64,
    /// The number of rings that found no room.
    refused: AtomicU64,
    more_doors: MoreDoors,
}

impl Doorbells {
    /// Creates the key when the session begins; no process outside the session can know it.
    pub fn begin(&self) {
        self.key.iter().for_each(|half| half.store(memory::random(), Ordering::Relaxed));
    }

    /// Makes these the bells that this process binds and rings; called when it joins the session.
    pub fn join(&'static self) {
        for (mine, theirs) in KEY.iter().zip(&self.key) {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        // Release: a thread that sees the session sees its key.
        SESSION.store(ptr::from_ref(self).cast_mut(), Ordering::Release);
        // A socket reaches the names of the network namespace in which it was made, and forked children inherit it, so
        // a child that leaves that namespace still reaches the session's bells. If this fails, the first ring tries
        // again.
        ringer();
    }
}

static SESSION: AtomicPtr<Doorbells> = AtomicPtr::new(ptr::null_mut());
/// A copy of the session's key, so that rings to this process keep working even if the shared words are overwritten.
static KEY: [atomic::AtomicU64; 2] = [const { atomic::AtomicU64::new(0) }; 2];
static RINGER: AtomicPtr<Ringer> = AtomicPtr::new(ptr::null_mut());

/// The overflow storage of the session that this process belongs to.
pub(super) fn more_doors() -> Option<&'static MoreDoors> {
    session().map(|session| &session.more_doors)
}

fn session() -> Option<&'static Doorbells> {
    // SAFETY: a pointer in SESSION was made from a `&'static` reference and published by the release store in `join`.
    unsafe { SESSION.load(Ordering::Acquire).as_ref() }
}

/// This process's ringer, made at first use, and again after the program closed its socket. There is no lock, since a
/// child that is forked while another thread holds it would find it locked forever.
fn ringer() -> Option<&'static Ringer> {
    let there = RINGER.load(Ordering::Acquire);
    // SAFETY: a pointer in RINGER came from a box, is never freed or changed, and was published by the exchange below.
    if let Some(ringer) = unsafe { there.as_ref() }
        && ringer.is_ours()
    {
        return Some(ringer);
    }
    let made = Box::into_raw(Box::new(Ringer::new().ok()?));
    // The previous ringer is leaked: another thread may be using it.
    let ringer = match RINGER.compare_exchange(there, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(first) => {
            // SAFETY: it came from a box just now, and no other thread has seen it.
            drop(unsafe { Box::from_raw(made) });
            first
        }
    };
    // SAFETY: as above.
    Some(unsafe { &*ringer })
}

/// The name and the secret needed to ring a bell.
struct BellIdentity {
    name: [u8; Self::NAME_LEN],
    secret: u64,
}

impl BellIdentity {
    const PREFIX: &[u8] = b"kettle-";
    const NAME_LEN: usize = Self::PREFIX.len() + 16;

    fn of(door: Door) -> Self {
        let bell = door.0 >> Door::CALL_BITS;
        let mut name = [0; Self::NAME_LEN];
        let (prefix, digits) = name.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX);
        let number = keyed(bell, 0);
        for (i, digit) in (0..).zip(digits) {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * i) & 0xf) as usize];
        }
        Self { name, secret: keyed(bell, 1) }
    }
}

/// A number that cannot be predicted without the session's key.
fn keyed(bell: u64, purpose: u64) -> u64 {
    let [k0, k1] = [0, 1].map(|i: usize| KEY[i].load(Ordering::Relaxed));
    // The standard library may change `DefaultHasher`'s algorithm; this one is SipHash-2-4 in every process.
    #[allow(deprecated)]
    let mut hasher = core::hash::SipHasher::new_with_keys(k0, k1);
    hasher.write(&bell.to_le_bytes());
    hasher.write(&purpose.to_le_bytes());
    hasher.finish()
}

/// The descriptor that an event loop watches. One bell serves everything that the loop waits for.
#[derive(Debug)]
pub struct Doorbell {
    bell: Bell,
    door: Door,
    session: &'static Doorbells,
    /// The session's count of refused rings when this bell was last empty.
    refused: AtomicU64,
    /// A check found that the socket is no longer ours.
    is_lost: atomic::AtomicBool,
}

/// The number of rings taken at a time: a loop has other things to do as well.
const AT_ONCE: usize = 64;
/// A name is in use only if another process guessed it out of 2⁶⁴.
const ATTEMPTS: usize = 8;

impl Doorbell {
    /// Binds a new bell. This process must belong to a session.
    ///
    /// # Errors
    /// If no session was joined, or if descriptors have run out.
    pub fn new() -> io::Result<Self> {
        let session =
            session().ok_or_else(|| io::Error::other("a doorbell needs a session; begin or join one first"))?;
        let refused = session.refused.load(Ordering::SeqCst);
        let mut taken = None;
        for _ in 0..ATTEMPTS {
            let Some(door) = Door::of_bell(session.made.fetch_add(1, Ordering::Relaxed)) else { continue };
            let identity = BellIdentity::of(door);
            match Bell::bind(&identity.name, identity.secret) {
                Ok(bell) => {
                    let (refused, is_lost) = (AtomicU64::new(refused), atomic::AtomicBool::new(false));
                    return Ok(Self { bell, door, session, refused, is_lost });
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => taken = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// The door to register with an [`EventCount`](super::EventCount).
    pub fn door(&self) -> Door {
        self.door
    }

    /// The descriptor, readable when the bell was rung.
    pub fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Checks that the program has not closed the descriptor, so that the bell can still ring.
    pub fn is_ours(&self) -> bool {
        let ours = self.bell.is_ours();
        if !ours {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        ours
    }

    /// For a sleep that the bell is to end. None once [`is_ours`](Self::is_ours) or [`drain`](Self::drain) found that
    /// the program closed the descriptor: then the end of the slice has to do.
    pub fn watch(&self) -> Option<Watch> {
        (!self.is_lost.load(Ordering::Relaxed)).then(|| Watch::readable(self.as_raw_fd()))
    }

    /// Rings it from this process, so that a thread asleep on the descriptor wakes.
    pub fn ring(&self) {
        self.door.ring();
    }

    /// Takes the pending rings, at most 64, and returns their calls. None means: look at everything, since calls may
    /// have been lost or more are pending, in which case the descriptor may still be readable; or the program closed
    /// it.
    pub fn drain(&self) -> Option<Vec<u32>> {
        if !self.is_ours() {
            return None;
        }
        let calls = calls(|| self.bell.take());
        // Rings that were refused were counted while the socket was full, hence before this load.
        let refused = self.session.refused.load(Ordering::SeqCst);
        let before = self.refused.swap(refused, Ordering::SeqCst);
        calls.filter(|_| refused == before)
    }
}

/// The calls of the pending rings, if none is foreign and they end soon.
fn calls(mut take: impl FnMut() -> Option<Ring>) -> Option<Vec<u32>> {
    let mut calls = Vec::new();
    let mut foreign = false;
    for _ in 0..AT_ONCE {
        match take() {
            Some(Ring::Word(word)) => calls.push((word & Door::CALLS) as u32),
            Some(Ring::Foreign) => foreign = true,
            None => return (!foreign).then_some(calls),
        }
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::{Mutex, Once, PoisonError};

    use super::*;

    /// Refused rings are counted for the whole session.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn session() -> &'static Doorbells {
        static BEGUN: Once = Once::new();
        static WORDS: Doorbells = Doorbells {
            key: [const { AtomicU64::new(0) }; 2],
            made: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            more_doors: MoreDoors::new(),
        };
        BEGUN.call_once(|| {
            WORDS.begin();
            WORDS.join();
        });
        &WORDS
    }

    fn doorbell() -> Doorbell {
        session();
        Doorbell::new().unwrap()
    }

    fn address(door: Door) -> SocketAddr {
        SocketAddr::from_abstract_name(BellIdentity::of(door).name).unwrap()
    }

    #[test]
    fn calls_come_in_order_and_once() {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = doorbell();
        assert_eq!(bell.drain(), Some(vec![]));
        for call in [3, 1, 0xf_ffff] {
            assert!(bell.door().calling(call).ring());
        }
        assert_eq!(bell.drain(), Some(vec![3, 1, 0xf_ffff]));
        assert_eq!(bell.drain(), Some(vec![]));
    }

    #[test]
    fn who_finds_no_room_is_told_and_so_is_the_bell() {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (bell, other) = (doorbell(), doorbell());
        while bell.door().calling(5).ring() {}
        assert_eq!(bell.drain(), None, "one was lost");
        // Which bell lost the ring is unknown.
        assert_eq!(other.drain(), None);
        assert_eq!((bell.drain(), other.drain()), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn draining_ends_though_rings_do_not() {
        let mut taken = 0;
        let mut endless = || {
            taken += 1;
            Some(Ring::Word(1))
        };
        assert_eq!(calls(&mut endless), None);
        assert_eq!(taken, AT_ONCE);
    }

    #[test]
    fn behind_a_foreign_datagram_there_may_be_rings() {
        let mut socket = [Ring::Word(1), Ring::Foreign, Ring::Word(2)].into_iter();
        assert_eq!(calls(|| socket.next()), None);
        assert_eq!(socket.next(), None, "all were taken");
    }

    #[test]
    fn no_two_bells_have_the_same_name_or_secret() {
        let doors: Vec<_> = (0..100).map(|_| doorbell().door()).collect();
        let identities: Vec<_> = doors.into_iter().map(BellIdentity::of).collect();
        let names: HashSet<_> = identities.iter().map(|i| i.name).collect();
        let secrets: HashSet<_> = identities.iter().map(|i| i.secret).collect();
        assert_eq!((names.len(), secrets.len()), (100, 100));
    }

    #[test]
    fn the_name_of_a_bell_that_is_gone_is_worth_nothing() {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = doorbell().door();
        let squatter = UnixDatagram::bind_addr(&address(gone)).unwrap();
        gone.ring();
        let mut heard = [0; 64];
        let n = squatter.recv(&mut heard).unwrap();
        // The secret that the squatter received rings no other bell.
        let bell = doorbell();
        squatter.send_to_addr(&heard[..n], &address(bell.door())).unwrap();
        assert_eq!(bell.drain(), Some(vec![]));
    }
}
