//! Work that takes a given time.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Some steps of a computation that no compiler sees through.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    steps: u64,
}

impl Work {
    /// No work.
    pub(crate) const NONE: Self = Self { steps: 0 };

    /// Work for this long, on this machine.
    pub(crate) fn of(duration: Duration) -> Self {
        const STEPS: u64 = 100_000;
        let all = Self { steps: STEPS };
        let times = (0..20).map(|seed| {
            let begin = Instant::now();
            black_box(all.run(seed));
            begin.elapsed()
        });
        let best = times.min().unwrap_or(duration);
        Self { steps: (STEPS as f64 * duration.as_secs_f64() / best.as_secs_f64()).max(1.0) as u64 }
    }

    pub(crate) fn run(self, seed: usize) -> usize {
        (0..self.steps).fold(seed, |n, _| black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
    }
}
