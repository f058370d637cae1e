//! Condition variables.

use super::{Fixed, Growing, Home, Node, Nodes};
use crate::atomics::{AtomicU32, Ordering};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::ConditionStatistics;
use crate::sys::{Owner, futex};
use crate::unwind::OnUnwind;
use crate::wait::{Door, Patience, Stopped, spin_and_yield_until};

/// The waiters of a condition, each in a node of its own. The associated lock is the caller's responsibility: a thread
/// that enrols or notifies should hold it, but nothing here breaks if it does not.
///
/// ```text
///   node:  [ free: 0 ] ──enrol──► [ Owner, entering ] ──numbered──► [ Owner, WAITING ]
///              ▲                                                       │          │
///              │◄──────────────── withdrawn (late, interrupted) ───────┘          │ notify, oldest first
///              │◄──────────────── taken ──────────────── [ Owner, GRANTED ] ◄─────┘
/// ```
///
/// Each arrow is one atomic step on the node, and those that leave WAITING are compare-exchanges. So `notify(n)` grants
/// exactly `n` waiting nodes, and a waiter whose time is over either withdraws or finds itself granted; there is no
/// third outcome.
///
/// *Death.* A notifier that finds a dead waiter clears its node and grants to another one. If the node was granted
/// already, another waiter finds the dead owner's grant after a slice and takes it over: it makes the dead waiter's
/// node its own, and then gives up the node in which it waited. A waiter that gives up after it was granted passes the
/// grant on before it clears its node. A grant is therefore in some node at every instant until it is used, and a
/// thread that dies with it dies as its owner. A death in the middle of passing on causes at worst one wake-up too
/// many.
///
/// *Capacity.* Where processes share the condition, [`Fixed`] nodes have room for [`MAX_WAITERS`](Self::MAX_WAITERS);
/// where threads share it, `Condition<Growing>` has no such limit.
#[repr(C)]
#[derive(Debug)]
pub struct Condition<N = Fixed> {
    numbers: AtomicU32,
    /// Nodes from this index on were never used; keeps `notify` short.
    used: AtomicU32,
    notified: AtomicU32,
    /// An upper bound of the number of waiting nodes: a thread that dies while it counts stays counted. Zero spares
    /// `notify` the search.
    most_waiting: AtomicU32,
    nodes: N,
}

const WAITING: u64 = Owner::FLAG_LOW;
const GRANTED: u64 = Owner::FLAG_HIGH;
const STATE: u64 = WAITING | GRANTED;

/// A waiter's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Waiter(u32);

impl Waiter {
    /// The index of the node.
    pub fn index(self) -> u32 {
        self.0
    }

    /// The waiter at this index. An index that was never issued leads to a node of another thread, or to none; then all
    /// calls do nothing.
    pub fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// Why the caller cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolError {
    /// All nodes are taken.
    TooManyWaiters,
    /// The caller has no name in the memory that the condition is stored in.
    NoPart,
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// How many threads can wait at a time.
    pub const MAX_WAITERS: usize = Fixed::LEN;

    /// Creates a condition without waiters.
    pub fn new() -> Self {
        Self::on(Fixed::new())
    }
}

impl Condition<Growing> {
    /// Creates a condition without waiters and without a limit on their number.
    pub fn growing() -> Self {
        Self::on(Growing::new())
    }
}

impl<N: Nodes> Condition<N> {
    fn on(nodes: N) -> Self {
        Self {
            numbers: AtomicU32::new(0),
            used: AtomicU32::new(0),
            notified: AtomicU32::new(0),
            most_waiting: AtomicU32::new(0),
            nodes,
        }
    }

    /// Becomes a waiter. Call this with the lock held, then release the lock, then [`wait`](Self::wait).
    ///
    /// # Errors
    /// If all nodes are taken by live waiters, or if the caller has no name.
    pub fn enrol<H: Home>(&self) -> Result<Waiter, EnrolError> {
        let me = H::try_me().ok_or(EnrolError::NoPart)?.to_bits();
        let (index, node) = match self.claim(me) {
            Some(claimed) => claimed,
            None => {
                self.bury::<H>();
                self.claim(me).ok_or(EnrolError::TooManyWaiters)?
            }
        };
        let claimed = OnUnwind::new(|| node.state.store(0, Ordering::SeqCst));
        crash_point("condition.enrol.claimed");
        claimed.done();
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        node.door.store(0, Ordering::Relaxed);
        node.number.store(self.numbers.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        self.most_waiting.fetch_add(1, Ordering::SeqCst);
        node.state.store(me | WAITING, Ordering::SeqCst);
        Ok(Waiter(index))
    }

    /// Changes the node's state from `seen` to `next`; false if it has changed already.
    fn change(&self, node: &Node, seen: u64, next: u64) -> bool {
        let changed = node.state.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if changed && seen & STATE == WAITING {
            self.most_waiting.fetch_sub(1, Ordering::SeqCst);
        }
        changed
    }

    /// Claims the first free node.
    fn claim(&self, me: u64) -> Option<(u32, &Node)> {
        (0..).map_while(|i| Some((i, self.nodes.get_or_make(i as usize)?))).find(|(_, n)| {
            n.state.load(Ordering::Relaxed) == 0
                && n.state.compare_exchange(0, me, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    fn node(&self, waiter: Waiter) -> Option<&Node> {
        self.nodes.get(waiter.0 as usize)
    }

    /// Registers an event loop's door with the waiter, instead of sleeping. Call [`poll`](Self::poll) after this, and
    /// whenever the door was rung.
    pub fn leave_door(&self, waiter: Waiter, door: Door) {
        if let Some(node) = self.node(waiter) {
            node.door.store(door.to_bits(), Ordering::SeqCst);
        }
    }

    /// Whether the waiter was notified; if so, its node is released.
    pub fn poll<H: Home>(&self, waiter: Waiter) -> bool {
        let (Some(node), Some(me)) = (self.node(waiter), H::try_me()) else { return false };
        let mine = me.to_bits();
        // Sequentially consistent even on failure: together with `leave_door`, either the notifier sees the door or
        // this sees the grant.
        node.state.compare_exchange(mine | GRANTED, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            || self.inherit::<H>(waiter)
    }

    /// Takes over the grant of a waiter that died before it could use it.
    fn inherit<H: Home>(&self, waiter: Waiter) -> bool {
        let Some(inherited) = self.in_use().find(|node| Self::take_over::<H>(node)) else { return false };
        // A thread that unwinds has no use for the grant.
        let pass_on = OnUnwind::new(|| {
            self.withdraw::<H>(waiter);
            self.notify::<H>(1);
            inherited.state.store(0, Ordering::SeqCst);
        });
        crash_point("condition.inherit.taken-over");
        pass_on.done();
        // If this waiter was granted as well in the meantime, it has one grant too many.
        let waited = self.abandon::<H>(waiter);
        if !waited {
            self.notify::<H>(1);
        }
        inherited.state.store(0, Ordering::SeqCst);
        waited || self.poll::<H>(waiter)
    }

    /// Makes a dead waiter's grant the caller's. The node then belongs to the caller for as long as it lives.
    fn take_over<H: Home>(node: &Node) -> bool {
        let state = node.state.load(Ordering::SeqCst);
        let Some(me) = H::try_me() else { return false };
        let mine = me.to_bits() | GRANTED;
        state & STATE == GRANTED
            && H::is_dead(Owner::from_bits(state))
            && node.state.compare_exchange(state, mine, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Releases a waiting node; false if it was granted already (or is not the caller's).
    fn abandon<H: Home>(&self, waiter: Waiter) -> bool {
        let (Some(node), Some(me)) = (self.node(waiter), H::try_me()) else { return false };
        self.change(node, me.to_bits() | WAITING, 0)
    }

    /// Stops waiting. A notification that arrived in the meantime goes to the next waiter.
    pub fn withdraw<H: Home>(&self, waiter: Waiter) {
        let Some(node) = self.node(waiter) else { return };
        let is_mine = || H::try_me().is_some_and(|me| node.state.load(Ordering::SeqCst) == me.to_bits() | GRANTED);
        if !self.abandon::<H>(waiter) && is_mine() {
            self.notify::<H>(1);
            let free = OnUnwind::new(|| node.state.store(0, Ordering::SeqCst));
            crash_point("condition.withdraw.passed-on");
            free.done();
            node.state.store(0, Ordering::SeqCst);
        }
    }

    /// Waits to be notified. The node is released in any case.
    ///
    /// # Errors
    /// If the wait ended first; a notification that raced with an interruption goes to the next waiter.
    pub fn wait<H: Home>(&self, waiter: Waiter, patience: &Patience<'_>) -> Result<(), Stopped> {
        let Some(node) = self.node(waiter) else { return Err(Stopped::TimedOut) };
        let granted = || node.state.load(Ordering::SeqCst) & STATE == GRANTED;
        if patience.may_spin() {
            spin_and_yield_until(granted);
        }
        loop {
            let seen = node.bell.load(Ordering::SeqCst);
            let naps = patience.naps();
            let take = |me: Owner| {
                node.state.compare_exchange(me.to_bits() | GRANTED, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            };
            if H::try_me().is_some_and(take) {
                return Ok(());
            }
            if let Err(stopped) = patience.sleep(&node.bell, seen, H::SCOPE) {
                // A waiter whose time is over takes a grant that arrives at the last moment; one that is interrupted
                // cannot use it.
                if stopped == Stopped::Interrupted {
                    self.withdraw::<H>(waiter);
                    return Err(stopped);
                }
                let notified = self.inherit::<H>(waiter) || !self.abandon::<H>(waiter) && self.poll::<H>(waiter);
                return if notified { Ok(()) } else { Err(stopped) };
            }
            if patience.naps() != naps && self.inherit::<H>(waiter) {
                return Ok(());
            }
        }
    }

    /// Notifies up to `count` waiters, oldest first; returns how many.
    #[inline]
    pub fn notify<H: Home>(&self, count: u32) -> u32 {
        if self.most_waiting.load(Ordering::SeqCst) == 0 { 0 } else { self.notify_oldest::<H>(count) }
    }

    fn notify_oldest<H: Home>(&self, count: u32) -> u32 {
        let mut done = 0;
        while done < count {
            let Some((node, state)) = self.oldest() else { break };
            let owner = Owner::from_bits(state);
            if owner.is_none() || !H::can_be(owner) {
                damage::mark(H::SCOPE, What::Owner, 0, state);
                break;
            }
            if H::is_dead(owner) {
                self.change(node, state, 0);
                continue;
            }
            if !self.change(node, state, owner.to_bits() | GRANTED) {
                continue;
            }
            crash_point("condition.notify.granted");
            done += 1;
            // From here on the node may already belong to another thread, which is then rung for nothing. The door is
            // read after the grant: one that was registered before it is rung, and one that is registered later finds
            // the grant.
            node.bell.fetch_add(1, Ordering::SeqCst);
            match Door::from_bits(node.door.load(Ordering::SeqCst)) {
                Some(door) => {
                    door.ring();
                }
                None => {
                    futex::wake(&node.bell, 1, H::SCOPE);
                }
            }
        }
        if done > 0 {
            self.notified.fetch_add(done, Ordering::Relaxed);
        }
        done
    }

    /// The number of waiters, including dead ones that have not been noticed yet.
    pub fn waiting(&self) -> u32 {
        self.in_use().filter(|n| n.state.load(Ordering::SeqCst) & STATE == WAITING).count() as u32
    }

    /// The threads that are waiting, alive or dead.
    pub fn waiters(&self) -> impl Iterator<Item = Owner> {
        let states = self.in_use().map(|n| n.state.load(Ordering::SeqCst));
        states.filter(|state| state & STATE == WAITING).map(Owner::from_bits)
    }

    /// A snapshot of its counters.
    pub fn statistics(&self) -> ConditionStatistics {
        ConditionStatistics { waiting: self.waiting(), notified: self.notified.load(Ordering::Relaxed) }
    }

    /// Discards all waiters, for a forked child: they exist only in its parent.
    pub fn reinit(&self) {
        for node in self.in_use() {
            node.state.store(0, Ordering::SeqCst);
        }
        self.most_waiting.store(0, Ordering::SeqCst);
    }

    fn in_use(&self) -> impl Iterator<Item = &Node> {
        let used = self.used.load(Ordering::SeqCst) as usize;
        (0..used).map_while(|i| self.nodes.get(i))
    }

    fn oldest(&self) -> Option<(&Node, u64)> {
        let now = self.numbers.load(Ordering::SeqCst);
        self.in_use()
            .map(|n| (n, n.state.load(Ordering::SeqCst)))
            .filter(|(_, state)| state & STATE == WAITING)
            // Numbers wrap, so age is the distance from the newest.
            .max_by_key(|(n, _)| now.wrapping_sub(n.number.load(Ordering::SeqCst)))
    }

    /// Clears the nodes of dead waiters.
    fn bury<H: Home>(&self) {
        for node in self.in_use() {
            if Self::take_over::<H>(node) {
                self.notify::<H>(1);
                node.state.store(0, Ordering::SeqCst);
                continue;
            }
            let state = node.state.load(Ordering::SeqCst);
            if state & STATE != GRANTED && !Owner::from_bits(state).is_none() && H::is_dead(Owner::from_bits(state)) {
                self.change(node, state, 0);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    /// A notifier that meets an impossible state stops; it does not retry the node forever.
    #[test]
    fn a_waiter_without_a_name_is_not_believed() {
        let condition = Condition::new();
        let waiter = condition.enrol::<Heap>().unwrap();
        let node = condition.node(waiter).unwrap();
        node.state.store(WAITING, Ordering::Relaxed);
        assert_eq!(condition.notify::<Heap>(1), 0);
        assert_eq!(node.state.load(Ordering::Relaxed), WAITING);
    }

    /// The oldest waiter comes first even when numbers wrap.
    #[test]
    fn the_oldest_is_notified_first_where_numbers_wrap() {
        let condition = Condition::new();
        condition.numbers.store(u32::MAX - 1, Ordering::Relaxed);
        let waiters: Vec<_> = (0..4).map(|_| condition.enrol::<Heap>().unwrap()).collect();
        for waiter in waiters {
            assert_eq!(condition.notify::<Heap>(1), 1);
            assert!(condition.poll::<Heap>(waiter));
        }
    }

    /// Calls on it have no effect.
    #[test]
    fn a_place_that_was_never_given_out_is_none() {
        let condition = Condition::new();
        let none = Waiter::from_index(u32::MAX);
        assert_eq!((none.index(), condition.poll::<Heap>(none)), (u32::MAX, false));
        condition.withdraw::<Heap>(none);
        assert_eq!(condition.wait::<Heap>(none, &Patience::forever()), Err(Stopped::TimedOut));
        let waiter = condition.enrol::<Heap>().unwrap();
        assert_eq!((condition.waiting(), condition.notify::<Heap>(2)), (1, 1));
        assert!(condition.poll::<Heap>(waiter));
    }

    /// With no waiters, `notify` is a single load.
    #[test]
    fn knows_when_no_thread_waits() {
        let condition = Condition::new();
        let waiters: Vec<_> = (0..3).map(|_| condition.enrol::<Heap>().unwrap()).collect();
        assert_eq!(condition.most_waiting.load(Ordering::Relaxed), 3);
        assert_eq!(condition.notify::<Heap>(1), 1);
        condition.withdraw::<Heap>(waiters[2]);
        assert_eq!(condition.most_waiting.load(Ordering::Relaxed), 1);
        assert!(condition.poll::<Heap>(waiters[0]) && !condition.poll::<Heap>(waiters[1]));
        assert_eq!(condition.wait::<Heap>(waiters[1], &Patience::none()), Err(Stopped::TimedOut));
        assert_eq!(condition.most_waiting.load(Ordering::Relaxed), 0);
        let _forgotten = condition.enrol::<Heap>().unwrap();
        condition.reinit();
        assert_eq!(condition.most_waiting.load(Ordering::Relaxed), 0);
    }
}
