//! The order of a priority queue: a stable binary heap in which nothing moves until all comparisons are made.
//!
//! *Stability.* Each item records its arrival number; of two items that compare equal, the older comes first. That
//! costs no second comparison: the newer of two items comes first exactly if it is less than the older.
//!
//! *Plan, then move.* A comparison may fail, take long, or have an unknown result for now. So an operation first makes
//! a plan, which only reads and compares; executing the plan compares nothing and cannot fail. Abandoning a plan leaves
//! the heap as it was, with every item in it once.

use std::collections::TryReserveError;

/// Compares the items of a queue by priority. It is called with the queue's lock held, so it must not run foreign code,
/// drop values or block; a comparison that it cannot make under these conditions is returned as a question. Once the
/// caller knows the answer, it retries with a judge that knows it, too: the same operation on the same queue makes the
/// same comparisons in the same order, and [`begin`](Self::begin) tells whether the queue is unchanged.
pub trait Judge<T> {
    /// A comparison to be made without the lock.
    type Question;

    /// Called when an operation starts or restarts. Answers found under another `version` are void.
    fn begin(&mut self, version: u64);

    /// Whether `a` is less than `b`.
    ///
    /// # Errors
    /// If the result is not known yet.
    fn less(&mut self, a: &T, b: &T) -> Result<bool, Self::Question>;
}

/// Compares values by their `Ord` implementation.
#[derive(Clone, Copy, Debug)]
pub struct ByOrd;

impl<T: Ord> Judge<T> for ByOrd {
    type Question = core::convert::Infallible;

    fn begin(&mut self, _version: u64) {}

    fn less(&mut self, a: &T, b: &T) -> Result<bool, Self::Question> {
        Ok(a < b)
    }
}

/// For a queue whose order does not depend on its items.
#[derive(Clone, Copy, Debug)]
pub struct NoOrder;

impl<T> Judge<T> for NoOrder {
    type Question = core::convert::Infallible;

    fn begin(&mut self, _version: u64) {}

    fn less(&mut self, _a: &T, _b: &T) -> Result<bool, Self::Question> {
        Ok(false)
    }
}

/// The smallest item is at index 0, the children of `i` are at `2i + 1` and `2i + 2`, and no item precedes its parent.
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

/// The number of levels that a new item rises from the bottom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rise(u32);

/// The path from the top to the new position of the last item when the first is removed: left (0) or right (1) at each
/// level, with the first turn in the lowest bit.
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

    /// All items, in heap order.
    pub(super) fn into_items(self) -> Vec<T> {
        self.entries.into_iter().map(|e| e.item).collect()
    }

    /// Reserves memory for at least one more item.
    pub(super) fn grow(&mut self) -> Result<(), TryReserveError> {
        self.entries.try_reserve(1)
    }

    /// Plans where `item` goes.
    pub(super) fn plan_push<J: Judge<T>>(&self, item: &T, judge: &mut J) -> Result<Rise, J::Question> {
        let mut at = self.entries.len();
        let mut rise = 0;
        while at > 0 {
            let parent = (at - 1) / 2;
            // The new item is the newer of the two.
            if !judge.less(item, &self.entries[parent].item)? {
                break;
            }
            at = parent;
            rise += 1;
        }
        Ok(Rise(rise))
    }

    /// Executes a plan made for this item and this heap.
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

    /// Plans how the heap closes when the first item is removed. The last item moves to a position on the path that
    /// follows the smaller child at each level. The search starts at the bottom of that path and rises, since the item
    /// most likely belongs near the bottom.
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

    /// Executes a plan made for this heap.
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
