//! Workers that end before they are ready: when there is no hope that the next will do better.

use std::sync::atomic::{AtomicU32, Ordering};

/// Those since the last that was ready, each by its weight.
///
/// | how it ended | so many in a row, and there is no hope |
/// |---|---|
/// | by itself | 3: the next will do so too |
/// | by SIGKILL, in its initializer | 5: that needs too much memory, perhaps |
/// | by SIGKILL, before | 30: something kills processes at random |
#[derive(Debug, Default)]
pub struct StartFailures(AtomicU32);

const NO_HOPE: u32 = 30;

impl StartFailures {
    /// One more; `preparing`: it had begun its initializer. Says whether there is no hope.
    pub fn add(&self, was_killed: bool, preparing: bool) -> bool {
        let weight = match was_killed {
            false => NO_HOPE / 3,
            true if preparing => NO_HOPE / 5,
            true => 1,
        };
        self.0.fetch_add(weight, Ordering::SeqCst) + weight >= NO_HOPE
    }

    /// A worker is ready.
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
