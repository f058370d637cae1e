//! Workers that end before they are ready, and the decision that starting further ones is pointless.

use std::sync::atomic::{AtomicU32, Ordering};

/// A weighted count of the start failures since a worker was last ready.
///
/// | how the worker ended | limit, in a row | reason |
/// |---|---|---|
/// | by itself | 3 | the next one will most likely end in the same way |
/// | by SIGKILL, in its initializer | 5 | the initializer may need too much memory |
/// | by SIGKILL, before that | 30 | something kills processes at random |
#[derive(Debug, Default)]
pub struct StartFailures(AtomicU32);

const NO_HOPE: u32 = 30;

impl StartFailures {
    /// Records a failure; `preparing` means that the worker had begun its initializer. Returns whether the limit is
    /// reached.
    pub fn add(&self, was_killed: bool, preparing: bool) -> bool {
        let weight = match was_killed {
            false => NO_HOPE / 3,
            true if preparing => NO_HOPE / 5,
            true => 1,
        };
        self.0.fetch_add(weight, Ordering::SeqCst) + weight >= NO_HOPE
    }

    /// Resets the count, because a worker is ready.
    pub fn forget(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_was_killed_says_less_than_one_that_ended_by_itself() {
        for (was_killed, preparing, most) in [(false, false, 3), (false, true, 3), (true, true, 5), (true, false, 30)] {
            let failures = StartFailures::default();
            let hopeful =
                std::iter::repeat_with(|| failures.add(was_killed, preparing)).take_while(|over| !over).count();
            assert_eq!(hopeful + 1, most);
            failures.forget();
            assert!(!failures.add(was_killed, preparing));
        }
    }
}
