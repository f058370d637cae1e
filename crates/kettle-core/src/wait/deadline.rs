//! One absolute point in time, made once.

use core::time::Duration;

use crate::sys::clock;

/// When to give up. Made once from a duration, so that neither interruptions nor spurious wake-ups stretch a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// Never. A duration too long to count means this too.
    pub const NEVER: Self = Self(u64::MAX);
    /// At once: look, but do not wait.
    pub const NOW: Self = Self(0);

    /// That many nanoseconds on [`clock::now`]'s clock.
    pub const fn at(nanos: u64) -> Self {
        Self(nanos)
    }

    /// That much time from now.
    pub fn after(d: Duration) -> Self {
        if d.is_zero() {
            return Self::NOW;
        }
        u64::try_from(d.as_nanos()).ok().and_then(|n| clock::now().checked_add(n)).map_or(Self::NEVER, Self)
    }

    /// `seconds` from now, as Python counts: None is never, a negative number is at once.
    pub fn after_seconds(seconds: Option<f64>) -> Self {
        match seconds {
            None => Self::NEVER,
            // Also what is not a number: it must not wait for ever.
            Some(s) if s.is_nan() || s <= 0.0 => Self::NOW,
            Some(s) => Duration::try_from_secs_f64(s).map_or(Self::NEVER, Self::after),
        }
    }

    /// Whether it is past.
    pub fn is_past(self) -> bool {
        self != Self::NEVER && (self == Self::NOW || clock::now() >= self.0)
    }

    /// Nanoseconds on [`clock::now`]'s clock.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// What is left of it: None when it is never.
    pub fn remaining(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_nanos(self.0.saturating_sub(clock::now())))
    }
}
