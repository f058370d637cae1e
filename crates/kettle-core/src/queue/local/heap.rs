//! A priority queue's order: a binary heap that is stable, and in which nothing moves before all comparisons are made.
//!
//! *Stable.* Every item has the number of its arrival, and of two that compare equal the older one comes first. That
//! costs no second comparison: of two items the newer one comes first exactly if it is less than the older one.
//!
//! *Plan, then move.* A comparison may fail, take long, or be unknown for now. So an operation first makes a plan, which
//! only looks and compares; carrying it out compares nothing and cannot fail. Giving up in the middle of a plan leaves
//! the heap as it was, with every item in it once.

use std::collections::TryReserveError;

/// Compares the items of a queue by priority. It is asked under the queue's lock, so it may run nothing foreign, drop
/// nothing and wait for nothing; what it cannot answer so it hands out as a question. Once the caller knows the answer,
/// it tries again, with a judge that knows it too: the same operation on the same queue asks the same in the same
/// order, and [`begin`](Self::begin) tells whether it is still the same queue.
pub trait Judge<T> {
    /// A comparison to be made without the lock.
    type Question;

    /// An operation begins (again). Answers that were found under another `version` are worth nothing now.
    fn begin(&mut self, version: u64);

    /// Whether `a` is less than `b`.
    ///
    /// # Errors
    /// When that is not known yet.
    fn less(&mut self, a: &T, b: &T) -> Result<bool, Self::Question>;
}

/// The judge for values that know their order.
#[derive(Clone, Copy, Debug)]
pub struct ByOrd;

impl<T: Ord> Judge<T> for ByOrd {
    type Question = core::convert::Infallible;

    fn begin(&mut self, _version: u64) {}

    fn less(&mut self, a: &T, b: &T) -> Result<bool, Self::Question> {
        Ok(a < b)
    }
}

/// The judge for a queue whose order does not depend on the items.
#[derive(Clone, Copy, Debug)]
pub struct NoOrder;

impl<T> Judge<T> for NoOrder {
    type Question = core::convert::Infallible;

    fn begin(&mut self, _version: u64) {}

    fn less(&mut self, _a: &T, _b: &T) -> Result<bool, Self::Question> {
        Ok(false)
    }
}

/// The smallest item is at index 0, the children of `i` are at `2i + 1` and `2i + 2`, and none comes before its parent.
#[derive(Debug)]
pub(super) struct StableHeap<T> {
    entries: Vec<Entry<T>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    arrival: u64,
}

/// How many levels a new item rises from the bottom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rise(u32);

/// The way from the top down to where the last item goes when the first is taken: at each level left (0) or right (1),
/// the first turn in the lowest bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descent {
    turns: u64,
    depth: u32,
}

impl<T> StableHeap<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), arrivals: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|e| &e.item)
    }

    /// All items, in an order that is a heap too.
    pub(super) fn into_items(self) -> Vec<T> {
        self.entries.into_iter().map(|e| e.item).collect()
    }

    /// Makes room for one more at least.
    pub(super) fn grow(&mut self) -> Result<(), TryReserveError> {
        self.entries.try_reserve(1)
    }

    /// Where `item` would go.
    pub(super) fn plan_push<J: Judge<T>>(&self, item: &T, judge: &mut J) -> Result<Rise, J::Question> {
        let mut at = self.entries.len();
        let mut rise = 0;
        while at > 0 {
            let parent = (at - 1) / 2;
            // The newcomer is the newer one of the two.
            if !judge.less(item, &self.entries[parent].item)? {
                break;
            }
            at = parent;
            rise += 1;
        }
        Ok(Rise(rise))
    }

    /// Carries the plan out, which was made for this item and this heap.
    pub(super) fn push(&mut self, item: T, rise: Rise) {
        let mut at = self.entries.len();
        self.entries.push(Entry { item, arrival: self.arrivals });
        self.arrivals += 1;
        for _ in 0..rise.0 {
            let parent = (at - 1) / 2;
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    /// How the heap closes when the first item leaves it: the last one takes a place on the way of those that come
    /// first among their siblings. It goes to the bottom of that way and rises from there, because there is where it
    /// most likely belongs.
    pub(super) fn plan_pop<J: Judge<T>>(&self, judge: &mut J) -> Result<Descent, J::Question> {
        let mut way = Descent { turns: 0, depth: 0 };
        let Some((last, rest)) = self.entries.split_last() else { return Ok(way) };
        let mut at = 0;
        while 2 * at + 1 < rest.len() {
            let left = 2 * at + 1;
            let right = left + 1 < rest.len() && comes_before(&rest[left + 1], &rest[left], judge)?;
            way.turns |= u64::from(right) << way.depth;
            way.depth += 1;
            at = left + usize::from(right);
        }
        while way.depth > 0 && comes_before(last, &rest[at], judge)? {
            at = (at - 1) / 2;
            way.depth -= 1;
        }
        Ok(way)
    }

    /// Carries the plan out, which was made for this heap.
    pub(super) fn pop(&mut self, way: Descent) -> Option<T> {
        let last = self.entries.pop()?;
        if self.entries.is_empty() {
            return Some(last.item);
        }
        let mut at = 0;
        for level in 0..way.depth {
            let child = 2 * at + 1 + (way.turns >> level & 1) as usize;
            self.entries.swap(at, child);
            at = child;
        }
        Some(core::mem::replace(&mut self.entries[at], last).item)
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    pub(super) fn give_memory_back(&mut self) {
        super::items::give_memory_back(self.entries.len(), self.entries.capacity(), |n| self.entries.shrink_to(n));
    }
}

fn comes_before<T, J: Judge<T>>(a: &Entry<T>, b: &Entry<T>, judge: &mut J) -> Result<bool, J::Question> {
    if a.arrival < b.arrival { Ok(!judge.less(&b.item, &a.item)?) } else { judge.less(&a.item, &b.item) }
}
