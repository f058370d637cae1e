//! An absolute point in time.

use core::time::Duration;

use crate::sys::clock;

/// When to give up. Computed once from a duration, so that neither interruptions nor spurious wake-ups extend a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// Never. Durations too long to represent map to this.
    pub const NEVER: Self = Self(u64::MAX);
    /// Immediately: look, but do not wait.
    pub const NOW: Self = Self(0);

    /// At `nanos` nanoseconds on [`clock::now`]'s clock.
    pub const fn at(nanos: u64) -> Self {
        Self(nanos)
    }

    /// At `d` from now.
    pub fn after(d: Duration) -> Self {
        if d.is_zero() {
            return Self::NOW;
        }
        u64::try_from(d.as_nanos()).ok().and_then(|n| clock::now().checked_add(n)).map_or(Self::NEVER, Self)
    }

    /// At `seconds` from now, in Python's convention: None means never, a negative number means immediately.
    pub fn after_seconds(seconds: Option<f64>) -> Self {
        match seconds {
            None => Self::NEVER,
            // NaN included: it must not mean forever.
            Some(s) if s.is_nan() || s <= 0.0 => Self::NOW,
            Some(s) => Duration::try_from_secs_f64(s).map_or(Self::NEVER, Self::after),
        }
    }

    /// Whether the deadline has passed.
    pub fn is_past(self) -> bool {
        self != Self::NEVER && (self == Self::NOW || clock::now() >= self.0)
    }

    /// Nanoseconds on [`clock::now`]'s clock.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time left, or None if the deadline is never.
    pub fn remaining(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_nanos(self.0.saturating_sub(clock::now())))
    }
}
