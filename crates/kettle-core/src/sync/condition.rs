//! Waiting to be notified.

use super::{Fixed, Growing, Home, Node, Nodes};
use crate::atomics::{AtomicU32, Ordering};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::ConditionStatistics;
use crate::sys::{Owner, futex};
use crate::unwind::OnUnwind;
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
/// granted already, then whoever else waits finds the grant of a dead owner after a nap and takes it over: he makes
/// the dead one's node his own, and then gives up the place in which he waited. A waiter that gives up with a grant in
/// hand passes it on before he lets go of it. So a grant is in some node at every instant until it is used, and who
/// dies with it dies as an owner; a death in the middle of passing on may at worst wake one too many.
///
/// *Place.* Where processes share it there is room for [`MAX_WAITERS`](Self::MAX_WAITERS), in [`Fixed`] nodes; where
/// threads share it, `Condition<Growing>` has no such limit.
#[repr(C)]
#[derive(Debug)]
pub struct Condition<N = Fixed> {
    numbers: AtomicU32,
    /// Nodes beyond this were never used: keeps `notify` short.
    used: AtomicU32,
    notified: AtomicU32,
    /// Nodes that are waiting, and perhaps some more: who dies counting stays counted. Zero spares `notify` the search.
    most_waiting: AtomicU32,
    nodes: N,
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

    /// The place with this number. A number that was never given leads to a place that is not the caller's, or to
    /// none: then all calls do nothing.
    pub fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// Why the caller cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolError {
    /// As many wait already as there are places.
    TooManyWaiters,
    /// The caller has no name in the condition's place.
    NoPart,
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// How many can wait at a time.
    pub const MAX_WAITERS: usize = Fixed::LEN;

    /// Nobody waits.
    pub fn new() -> Self {
        Self::on(Fixed::new())
    }
}

impl Condition<Growing> {
    /// Nobody waits; any number may.
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

    /// Becomes a waiter. Do this under the lock, then leave the lock, then [`wait`](Self::wait).
    ///
    /// # Errors
    /// When there is no place left, all of them being those of the living; or when the caller cannot be named.
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

    /// Takes `node` out of the state that it was seen in, into another one; false if it is in another one already.
    fn change(&self, node: &Node, seen: u64, next: u64) -> bool {
        let changed = node.state.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if changed && seen & STATE == WAITING {
            self.most_waiting.fetch_sub(1, Ordering::SeqCst);
        }
        changed
    }

    /// Takes the first free node.
    fn claim(&self, me: u64) -> Option<(u32, &Node)> {
        (0..).map_while(|i| Some((i, self.nodes.get_or_make(i as usize)?))).find(|(_, n)| {
            n.state.load(Ordering::Relaxed) == 0
                && n.state.compare_exchange(0, me, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    fn node(&self, waiter: Waiter) -> Option<&Node> {
        self.nodes.get(waiter.0 as usize)
    }

    /// Leaves the door of an event loop with the waiter, for those who cannot sleep. Ask [`poll`](Self::poll) after
    /// this, and whenever it rang.
    pub fn leave_door(&self, waiter: Waiter, door: Door) {
        if let Some(node) = self.node(waiter) {
            node.door.store(door.to_bits(), Ordering::SeqCst);
        }
    }

    /// Whether the waiter was notified; if so its place is given up.
    pub fn poll<H: Home>(&self, waiter: Waiter) -> bool {
        let (Some(node), Some(me)) = (self.node(waiter), H::try_me()) else { return false };
        let mine = me.to_bits();
        // Sequentially consistent also when it fails: with `leave_door`, either the notifier sees the door or this sees
        // the grant.
        node.state.compare_exchange(mine | GRANTED, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            || self.inherit::<H>(waiter)
    }

    /// Takes over what was granted to somebody who died before he could take it.
    fn inherit<H: Home>(&self, waiter: Waiter) -> bool {
        let Some(inherited) = self.in_use().find(|node| Self::take_over::<H>(node)) else { return false };
        // A thread that unwinds has no use for it.
        let pass_on = OnUnwind::new(|| {
            self.withdraw::<H>(waiter);
            self.notify::<H>(1);
            inherited.state.store(0, Ordering::SeqCst);
        });
        crash_point("condition.inherit.taken-over");
        pass_on.done();
        // If we were granted something ourselves meanwhile, one grant is too many.
        let waited = self.abandon::<H>(waiter);
        if !waited {
            self.notify::<H>(1);
        }
        inherited.state.store(0, Ordering::SeqCst);
        waited || self.poll::<H>(waiter)
    }

    /// Makes a dead waiter's grant the caller's. The node is then his, as long as he lives.
    fn take_over<H: Home>(node: &Node) -> bool {
        let state = node.state.load(Ordering::SeqCst);
        let Some(me) = H::try_me() else { return false };
        let mine = me.to_bits() | GRANTED;
        state & STATE == GRANTED
            && H::is_dead(Owner::from_bits(state))
            && node.state.compare_exchange(state, mine, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Gives the place up; false if that was too late, since it was granted (or is not the caller's).
    fn abandon<H: Home>(&self, waiter: Waiter) -> bool {
        let (Some(node), Some(me)) = (self.node(waiter), H::try_me()) else { return false };
        self.change(node, me.to_bits() | WAITING, 0)
    }

    /// Gives the place up. A notification that came meanwhile goes to the next waiter.
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

    /// Waits to be notified. The place is given up in any case.
    ///
    /// # Errors
    /// When the wait ended first; a notification that crossed an interruption went to the next waiter.
    pub fn wait<H: Home>(&self, waiter: Waiter, patience: &Patience<'_>) -> Result<(), Stopped> {
        let Some(node) = self.node(waiter) else { return Err(Stopped::TimedOut) };
        let granted = || node.state.load(Ordering::SeqCst) & STATE == GRANTED;
        if patience.may_spin() {
            spin_until(granted);
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
                // Who is late takes a grant that comes at the last moment; who is interrupted cannot use it.
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

    /// Notifies up to `count` waiters, the oldest first; says how many.
    #[inline]
    pub fn notify<H: Home>(&self, count: u32) -> u32 {
        if self.most_waiting.load(Ordering::SeqCst) == 0 { 0 } else { self.notify_oldest::<H>(count) }
    }

    fn notify_oldest<H: Home>(&self, count: u32) -> u32 {
        let mut done = 0;
        while done < count {
            let Some((node, state)) = self.oldest() else { break };
            let owner = Owner::from_bits(state);
            if owner.is_nobody() || !H::can_be(owner) {
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
            // From here on the place may be somebody else's already, who is then rung for nothing. The door is read
            // after the grant: one that was left before it is rung, one that is left later finds the grant.
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

    /// How many wait, the dead included until somebody notices.
    pub fn waiting(&self) -> u32 {
        self.in_use().filter(|n| n.state.load(Ordering::SeqCst) & STATE == WAITING).count() as u32
    }

    /// How it is.
    pub fn statistics(&self) -> ConditionStatistics {
        ConditionStatistics { waiting: self.waiting(), notified: self.notified.load(Ordering::Relaxed) }
    }

    /// Forgets all who wait: they did not come along into a forked child.
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
            // Numbers wrap: age is the distance from the newest.
            .max_by_key(|(n, _)| now.wrapping_sub(n.number.load(Ordering::SeqCst)))
    }

    /// Clears the places of the dead.
    fn bury<H: Home>(&self) {
        for node in self.in_use() {
            if Self::take_over::<H>(node) {
                self.notify::<H>(1);
                node.state.store(0, Ordering::SeqCst);
                continue;
            }
            let state = node.state.load(Ordering::SeqCst);
            if state & STATE != GRANTED && !Owner::from_bits(state).is_nobody() && H::is_dead(Owner::from_bits(state)) {
                self.change(node, state, 0);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    /// A notifier that meets it gives up; it does not look there again and again.
    #[test]
    fn a_waiter_that_names_nobody_is_not_believed() {
        let condition = Condition::new();
        let waiter = condition.enrol::<Heap>().unwrap();
        let node = condition.node(waiter).unwrap();
        node.state.store(WAITING, Ordering::Relaxed);
        assert_eq!(condition.notify::<Heap>(1), 0);
        assert_eq!(node.state.load(Ordering::Relaxed), WAITING);
    }

    /// Numbers wrap, and the oldest is still the first.
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

    /// What is done with it does nothing.
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

    /// While nobody waits, to notify is one look.
    #[test]
    fn knows_when_nobody_waits() {
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
