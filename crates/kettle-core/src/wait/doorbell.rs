//! The same wake-up for someone who sleeps on a descriptor.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::sys::Owner;
use crate::sys::doorbell::{Bell, Ringer, Rung};

/// Where a waiter that cannot sleep wants to be rung, and what is to be called out there.
///
/// ```text
/// 63            32 31     20 19        0
/// [ participant  ][  bell  ][   call   ]
/// ```
///
/// It fits into one word of shared memory, so that leaving it and taking it away are single steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door(u64);

impl Door {
    const CALLS: u64 = (1 << 20) - 1;

    /// The same bell, with `call` (its low 20 bits) called out.
    pub fn calling(self, call: u32) -> Self {
        Self(self.0 & !Self::CALLS | u64::from(call) & Self::CALLS)
    }

    /// As a word holds it; never zero.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The door in a word, if there is one.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    fn name(self) -> String {
        name(NAMESPACE.load(Ordering::Relaxed), self.0 >> 20)
    }

    /// Rings; says whether somebody is there to hear it.
    pub(crate) fn ring(self) -> bool {
        // Out of descriptors: the loop finds out at the end of its slice.
        ringer().is_some_and(|r| r.ring(self.name().as_bytes(), self.0 & Self::CALLS) != Rung::Gone)
    }
}

fn name(namespace: u64, bell: u64) -> String {
    format!("kettle-{namespace:016x}-{bell:011x}")
}

/// That of this process, made when it is first needed. Without a lock: a child that is forked while another thread holds
/// one would find it held for ever.
fn ringer() -> Option<&'static Ringer> {
    let mut there = RINGER.load(Ordering::Acquire);
    if there.is_null() {
        let made = Box::into_raw(Box::new(Ringer::new().ok()?));
        there = match RINGER.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(first) => {
                // SAFETY: it came out of a box just now, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                first
            }
        };
    }
    // SAFETY: what is in RINGER came out of a box, is never freed or changed, and was published by the exchange above.
    Some(unsafe { &*there })
}

static NAMESPACE: AtomicU64 = AtomicU64::new(0);
static RINGER: AtomicPtr<Ringer> = AtomicPtr::new(ptr::null_mut());
/// The bells of this process, one bit each.
static BELLS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Says which session's bells are meant; called once when a process joins one.
pub fn set_namespace(session: u64) {
    NAMESPACE.store(session, Ordering::Relaxed);
}

/// The descriptor that an event loop watches. One serves all that the loop waits for.
#[derive(Debug)]
pub struct Doorbell {
    bell: Bell,
    door: Door,
}

impl Doorbell {
    /// Hangs up a bell in the name of `me`.
    ///
    /// # Errors
    /// When descriptors have run out, or this process has 4095 bells.
    pub fn new(me: Owner) -> io::Result<Self> {
        let participant = me.participant().to_bits();
        loop {
            let number = claim_number().ok_or_else(|| io::Error::other("this process has too many doorbells"))?;
            let door = Door(participant | number << 20);
            match Bell::bind(door.name().as_bytes()) {
                Ok(bell) => return Ok(Self { bell, door }),
                // The parent's bell of a forked process that has not got a name of its own yet: try the next.
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => {
                    free_number(number);
                    return Err(e);
                }
            }
        }
    }

    /// The door to be left with an [`EventCount`](super::EventCount).
    pub fn door(&self) -> Door {
        self.door
    }

    /// Readable when it rang.
    pub fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Rings it from this side, so that whoever sleeps on the descriptor wakes.
    pub fn ring(&self) {
        self.door.ring();
    }

    /// Takes all rings: what was called out.
    pub fn drain(&self) -> Vec<u32> {
        core::iter::from_fn(|| self.bell.take()).map(|ring| ring.0 as u32).collect()
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        free_number(self.door.0 >> 20 & 0xfff);
    }
}

fn claim_number() -> Option<u64> {
    for (i, word) in BELLS.iter().enumerate() {
        let claimed = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |w| {
            // Number 0 is nobody's, so that a door's word is never zero.
            let free = !w & if i == 0 { !1 } else { !0 };
            (free != 0).then(|| w | 1 << free.trailing_zeros())
        });
        if let Ok(before) = claimed {
            let free = !before & if i == 0 { !1 } else { !0 };
            return Some(i as u64 * 64 + u64::from(free.trailing_zeros()));
        }
    }
    None
}

fn free_number(number: u64) {
    BELLS[(number / 64) as usize].fetch_and(!(1 << (number % 64)), Ordering::AcqRel);
}
