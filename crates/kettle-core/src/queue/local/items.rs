//! The container of a queue's items: a ring, a stack or a heap.

use std::collections::{TryReserveError, VecDeque};

use super::heap::StableHeap;

/// Which item is taken next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    Fifo,
    /// The newest.
    Lifo,
    /// The smallest; of those that compare equal, the oldest.
    Priority,
}

/// The items, in the container that fits the order.
pub(super) enum Items<T> {
    Fifo(VecDeque<T>),
    Lifo(Vec<T>),
    Priority(StableHeap<T>),
}

impl<T> Items<T> {
    pub(super) fn new(order: Order) -> Self {
        match order {
            Order::Fifo => Self::Fifo(VecDeque::new()),
            Order::Lifo => Self::Lifo(Vec::new()),
            Order::Priority => Self::Priority(StableHeap::new()),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fifo(ring) => ring.len(),
            Self::Lifo(stack) => stack.len(),
            Self::Priority(heap) => heap.len(),
        }
    }

    /// Ensures memory for one more item.
    #[inline(always)]
    pub(super) fn make_room(&mut self) -> Result<(), TryReserveError> {
        let is_full = match self {
            Self::Fifo(ring) => ring.len() == ring.capacity(),
            Self::Lifo(stack) => stack.len() == stack.capacity(),
            Self::Priority(heap) => heap.len() == heap.capacity(),
        };
        if is_full { self.grow() } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self) -> Result<(), TryReserveError> {
        match self {
            Self::Fifo(ring) => ring.try_reserve(1),
            Self::Lifo(stack) => stack.try_reserve(1),
            Self::Priority(heap) => heap.grow(),
        }
    }

    /// Removes all items.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        match self {
            Self::Fifo(ring) => core::mem::take(ring).into(),
            Self::Lifo(stack) => core::mem::take(stack),
            Self::Priority(heap) => core::mem::replace(heap, StableHeap::new()).into_items(),
        }
    }

    /// Shrinks the container after a burst has passed. Call this after each removal; it does something only when the
    /// length is a power of two, which limits reallocations.
    #[inline]
    pub(super) fn taken_one(&mut self) {
        let left = self.len();
        if left >= WORTH_GIVING_BACK && left.is_power_of_two() {
            self.give_memory_back();
        }
    }

    #[cold]
    fn give_memory_back(&mut self) {
        match self {
            Self::Fifo(ring) => give_memory_back(ring.len(), ring.capacity(), |n| ring.shrink_to(n)),
            Self::Lifo(stack) => give_memory_back(stack.len(), stack.capacity(), |n| stack.shrink_to(n)),
            Self::Priority(heap) => heap.give_memory_back(),
        }
    }
}

pub(super) fn give_memory_back(len: usize, capacity: usize, shrink_to: impl FnOnce(usize)) {
    if capacity / 4 > len {
        shrink_to(2 * len);
    }
}

/// Queues shorter than this keep their memory.
const WORTH_GIVING_BACK: usize = 1024;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::heap::ByOrd;
    use super::*;

    fn capacity(items: &Items<usize>) -> usize {
        match items {
            Items::Fifo(ring) => ring.capacity(),
            Items::Lifo(stack) => stack.capacity(),
            Items::Priority(heap) => heap.capacity(),
        }
    }

    #[test]
    fn after_a_flood_most_of_the_memory_is_given_back() {
        for order in [Order::Fifo, Order::Lifo, Order::Priority] {
            let mut items = Items::new(order);
            for n in 0..20_000 {
                match &mut items {
                    Items::Fifo(ring) => ring.push_back(n),
                    Items::Lifo(stack) => stack.push(n),
                    Items::Priority(heap) => {
                        let Ok(rise) = heap.plan_push(&n, &mut ByOrd);
                        heap.push(n, rise);
                    }
                }
            }
            let mut take_one = || {
                match &mut items {
                    Items::Fifo(ring) => ring.pop_front(),
                    Items::Lifo(stack) => stack.pop(),
                    Items::Priority(heap) => {
                        let Ok(way) = heap.plan_pop(&mut ByOrd);
                        heap.pop(way)
                    }
                };
                items.taken_one();
                (items.len(), capacity(&items))
            };
            while let (left @ 4_097.., capacity) = take_one() {
                assert!(capacity >= 20_000, "{order:?}: shrunk too early, with {left} left");
            }
            let (left, capacity) = take_one();
            assert!(left == 4_095 && capacity < 20_000, "{order:?}: {capacity}");
            while take_one().0 > WORTH_GIVING_BACK {}
            let (_, kept) = take_one();
            while take_one().0 > 0 {}
            assert_eq!(take_one(), (0, kept), "{order:?}: short queues keep their memory");
        }
    }

    #[test]
    fn memory_is_given_back_when_less_than_a_quarter_is_used() {
        let left = |len, capacity| {
            let mut left = capacity;
            give_memory_back(len, capacity, |n| left = n);
            left
        };
        assert_eq!([left(10, 39), left(10, 40), left(10, 43)], [39, 40, 43]);
        assert_eq!([left(10, 44), left(10, 4000), left(0, 4)], [20, 20, 0]);
    }
}
