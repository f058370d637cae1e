//! What runs next.

use std::collections::VecDeque;

/// Handles in the order in which they became ready.
#[derive(Debug)]
pub struct Ready<T> {
    queue: VecDeque<T>,
}

impl<T> Default for Ready<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new() }
    }
}

impl<T> Ready<T> {
    /// Adds one at the end.
    #[inline(always)]
    pub fn push(&mut self, handle: T) {
        self.queue.push_back(handle);
    }

    /// Adds several at the end.
    pub fn extend(&mut self, handles: impl IntoIterator<Item = T>) {
        self.queue.extend(handles);
    }

    /// Takes the first.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        self.queue.pop_front()
    }

    /// How many there are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.queue.iter()
    }
}
