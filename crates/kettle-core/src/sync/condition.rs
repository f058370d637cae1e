//! Waiting to be notified.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::stats::ConditionStatistics;
use crate::sys::{Owner, futex};
use crate::wait::{Door, Patience, Stopped, spin_until};

/// The waiters of a condition, each in a node of its own. The lock that goes with it is somebody else's business:
/// whoever enrols or notifies should hold it, but nothing here breaks if he does not.
///
/// ```text
///   node:  [ free: 0 ] ──enrol──► [ Owner, entering ] ──numbered──► [ Owner, WAITING ]
///              ▲                                                       │          │
///              │◄──────────────── withdrawn (late, interrupted) ───────┘          │ notify, oldest first
///              │◄──────────────── taken ──────────────── [ Owner, GRANTED ] ◄─────┘
/// ```
///
/// Each arrow is one compare-exchange on the node, so `notify(n)` grants exactly `n` waiting nodes, and a waiter whose
/// time is over either withdraws or finds itself granted: no third thing.
///
/// *Death.* A dead waiter's node is cleared by the next notifier, who grants to somebody else instead. If it was
/// granted already, then whoever else waits finds the grant of a dead owner after a nap and takes it for itself. A
/// waiter that gives up with a grant in hand passes it on.
#[repr(C)]
#[derive(Debug)]
pub struct Condition {
    numbers: AtomicU32,
    /// Nodes beyond this were never used: keeps `notify` short.
    used: AtomicU32,
    notified: AtomicU32,
    _pad: AtomicU32,
    nodes: [Node; Self::MAX_WAITERS],
}

#[repr(C)]
#[derive(Debug)]
struct Node {
    state: AtomicU64,
    /// The order of arrival.
    number: AtomicU32,
    /// What the owner sleeps on.
    bell: AtomicU32,
    /// How to reach an owner that must not sleep.
    door: AtomicU64,
}

const WAITING: u64 = Owner::FLAG_LOW;
const GRANTED: u64 = Owner::FLAG_HIGH;
const STATE: u64 = WAITING | GRANTED;

/// A place among the waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Waiter(u32);

impl Waiter {
    /// The place as a number.
    pub fn index(self) -> u32 {
        self.0
    }

    /// The place with this number. A number that was never given leads to a place that is not the caller's, where
    /// all calls do nothing.
    pub fn from_index(index: u32) -> Self {
        Self(index % Condition::MAX_WAITERS as u32)
    }
}

/// More waiters than a condition has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWaiters;

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// How many can wait at a time.
    #[cfg(not(loom))]
    pub const MAX_WAITERS: usize = 160;
    /// Few enough for a model.
    #[cfg(loom)]
    pub const MAX_WAITERS: usize = 2;

    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            numbers: AtomicU32::new(0),
            used: AtomicU32::new(0),
            notified: AtomicU32::new(0),
            _pad: AtomicU32::new(0),
            nodes: core::array::from_fn(|_| Node {
                state: AtomicU64::new(0),
                number: AtomicU32::new(0),
                bell: AtomicU32::new(0),
                door: AtomicU64::new(0),
            }),
        }
    }

    /// Becomes a waiter. Do this under the lock, then leave the lock, then [`wait`](Self::wait).
    ///
    /// # Errors
    /// When [`MAX_WAITERS`](Self::MAX_WAITERS) wait already, all of them alive.
    pub fn enrol<H: Home>(&self) -> Result<Waiter, TooManyWaiters> {
        let me = H::me().to_bits();
        let claim = |n: &Node| n.state.compare_exchange(0, me, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        let index = match self.nodes.iter().position(claim) {
            Some(i) => i,
            None => {
                self.bury::<H>();
                self.nodes.iter().position(claim).ok_or(TooManyWaiters)?
            }
        };
        crash_point("condition.enrol.claimed");
        let node = &self.nodes[index];
        self.used.fetch_max(index as u32 + 1, Ordering::SeqCst);
        node.door.store(0, Ordering::Relaxed);
        node.number.store(self.numbers.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        node.state.store(me | WAITING, Ordering::SeqCst);
        Ok(Waiter(index as u32))
    }

    /// Leaves the door of an event loop with the waiter, for those who cannot sleep. Ask [`poll`](Self::poll) after
    /// this, and whenever it rang.
    pub fn leave_door(&self, waiter: Waiter, door: Door) {
        self.nodes[waiter.0 as usize].door.store(door.to_bits(), Ordering::SeqCst);
    }

    /// Whether the waiter was notified; if so its place is given up.
    pub fn poll<H: Home>(&self, waiter: Waiter) -> bool {
        let node = &self.nodes[waiter.0 as usize];
        let mine = H::me().to_bits();
        node.state.compare_exchange(mine | GRANTED, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            || self.poll_inherited::<H>(waiter)
    }

    /// Takes over what was granted to somebody who died before he could take it.
    fn poll_inherited<H: Home>(&self, waiter: Waiter) -> bool {
        let node = &self.nodes[waiter.0 as usize];
        let mine = H::me().to_bits();
        for other in self.in_use() {
            let state = other.state.load(Ordering::SeqCst);
            if state & STATE != GRANTED || !H::is_dead(Owner::from_bits(state)) {
                continue;
            }
            // Our own place first: if it was granted meanwhile, the dead one's grant is left for the next to find.
            if node.state.compare_exchange(mine | WAITING, mine | STATE, Ordering::SeqCst, Ordering::Relaxed).is_err() {
                return node.state.compare_exchange(mine | GRANTED, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok();
            }
            let got = other.state.compare_exchange(state, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok();
            if got {
                node.state.store(0, Ordering::SeqCst);
                return true;
            }
            // Somebody else inherited it: wait on. A notifier that looked just now passed us by, which only means
            // that it granted to another, or found nobody: as if it had come before us.
            node.state.store(mine | WAITING, Ordering::SeqCst);
        }
        false
    }

    /// Gives the place up. A notification that came meanwhile goes to the next waiter.
    pub fn withdraw<H: Home>(&self, waiter: Waiter) {
        let node = &self.nodes[waiter.0 as usize];
        let mine = H::me().to_bits();
        if node.state.compare_exchange(mine | WAITING, 0, Ordering::SeqCst, Ordering::Relaxed).is_err()
            && node.state.compare_exchange(mine | GRANTED, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            self.notify::<H>(1);
        }
    }

    /// Waits to be notified. The place is given up in any case.
    ///
    /// # Errors
    /// When the wait ended first; a notification that crossed an interruption went to the next waiter.
    pub fn wait<H: Home>(&self, waiter: Waiter, patience: &Patience<'_>) -> Result<(), Stopped> {
        let node = &self.nodes[waiter.0 as usize];
        let granted = || node.state.load(Ordering::SeqCst) & STATE == GRANTED;
        if patience.may_wait() {
            spin_until(granted);
        }
        loop {
            let seen = node.bell.load(Ordering::SeqCst);
            let naps = patience.naps();
            if node.state.compare_exchange(H::me().to_bits() | GRANTED, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
            if let Err(stopped) = patience.sleep(&node.bell, seen, H::SCOPE) {
                if stopped == Stopped::TimedOut && self.poll::<H>(waiter) {
                    return Ok(());
                }
                self.withdraw::<H>(waiter);
                return Err(stopped);
            }
            if patience.naps() != naps && self.poll_inherited::<H>(waiter) {
                return Ok(());
            }
        }
    }

    /// Notifies up to `count` waiters, the oldest first; says how many.
    pub fn notify<H: Home>(&self, count: u32) -> u32 {
        let mut done = 0;
        while done < count {
            let Some((node, state)) = self.oldest() else { break };
            let owner = Owner::from_bits(state);
            if H::is_dead(owner) {
                let _ = node.state.compare_exchange(state, 0, Ordering::SeqCst, Ordering::Relaxed);
                continue;
            }
            let door = node.door.load(Ordering::SeqCst);
            let granted = owner.to_bits() | GRANTED;
            if node.state.compare_exchange(state, granted, Ordering::SeqCst, Ordering::Relaxed).is_err() {
                continue;
            }
            crash_point("condition.notify.granted");
            done += 1;
            node.bell.fetch_add(1, Ordering::SeqCst);
            match Door::from_bits(door) {
                Some(door) => {
                    door.ring();
                }
                None => {
                    futex::wake(&node.bell, 1, H::SCOPE);
                }
            }
        }
        self.notified.fetch_add(done, Ordering::Relaxed);
        done
    }

    /// How many wait, the dead included until somebody notices.
    pub fn waiting(&self) -> u32 {
        self.in_use().filter(|n| n.state.load(Ordering::SeqCst) & STATE == WAITING).count() as u32
    }

    /// How it is.
    pub fn statistics(&self) -> ConditionStatistics {
        ConditionStatistics { waiting: self.waiting(), notified: self.notified.load(Ordering::Relaxed) }
    }

    fn in_use(&self) -> impl Iterator<Item = &Node> {
        let used = self.used.load(Ordering::SeqCst) as usize;
        self.nodes[..used.min(self.nodes.len())].iter()
    }

    fn oldest(&self) -> Option<(&Node, u64)> {
        let now = self.numbers.load(Ordering::SeqCst);
        self.in_use()
            .map(|n| (n, n.state.load(Ordering::SeqCst)))
            .filter(|(_, state)| state & STATE == WAITING)
            // Numbers wrap: age is the distance from the newest.
            .max_by_key(|(n, _)| now.wrapping_sub(n.number.load(Ordering::SeqCst)))
    }

    /// Clears the places of the dead.
    fn bury<H: Home>(&self) {
        for node in self.in_use() {
            let state = node.state.load(Ordering::SeqCst);
            if state != 0
                && H::is_dead(Owner::from_bits(state))
                && node.state.compare_exchange(state, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
                && state & STATE == GRANTED
            {
                self.notify::<H>(1);
            }
        }
    }
}
