//! Messages that are done before they are received.

use crate::atomics::{AtomicU64, Ordering};

/// How far the messages in the queue are done: the number of a message before which all are. The word 0 means none.
///
/// It is a position in the queue rather than a count: a count would have to be decremented with each get, and a getter
/// may be killed before it has done both.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct Ahead(AtomicU64);

/// Set if there is a number.
const SOME: u64 = 1 << 32;

impl Ahead {
    pub(super) fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How many of the `inside` messages are done; the first has the number `head`.
    pub(super) fn count(&self, head: u32, inside: u32) -> u32 {
        let word = self.0.load(Ordering::SeqCst);
        let ahead = (word as u32).wrapping_sub(head);
        // Numbers wrap: one that the head has passed appears far ahead of it.
        if word == 0 || ahead > inside { 0 } else { ahead }
    }

    /// Marks all messages before this one as done. Requires the head's lock.
    pub(super) fn set(&self, number: u32) {
        self.0.store(SOME | u64::from(number), Ordering::SeqCst);
    }

    /// Whether the message with this number, which is about to be received, is done. Requires the head's lock.
    #[inline]
    pub(super) fn takes(&self, number: u32) -> bool {
        self.0.load(Ordering::SeqCst) != 0 && self.takes_one_of_some(number)
    }

    #[cold]
    fn takes_one_of_some(&self, number: u32) -> bool {
        let is_done = ((self.0.load(Ordering::SeqCst) as u32).wrapping_sub(number) as i32) > 0;
        if !is_done {
            // The head has passed it: once the numbers wrap, it would appear to be ahead again.
            self.0.store(0, Ordering::SeqCst);
        }
        is_done
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_is_forgotten() {
        let ahead = Ahead::none();
        assert_eq!(ahead.count(5, 3), 0);
        ahead.set(7);
        assert_eq!((ahead.count(5, 3), ahead.count(7, 3), ahead.count(8, 3)), (2, 0, 0));
        assert!(ahead.takes(5) && ahead.takes(6) && !ahead.takes(7));
        assert_eq!(ahead.count(6, 3), 0);
        assert!(!ahead.takes(6));
    }

    #[test]
    fn numbers_wrap() {
        let ahead = Ahead::none();
        ahead.set(1);
        assert_eq!(ahead.count(u32::MAX - 1, 5), 3);
        assert!(ahead.takes(u32::MAX) && ahead.takes(0) && !ahead.takes(1));
    }
}
