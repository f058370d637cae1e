//! The loop of a leader: a round, and a sleep if there was nothing to do.
//!
//! A *round* receives what the workers report, starts workers and sends tasks. What it does in detail is the front's;
//! when the next one follows is decided here.

use std::sync::Arc;

use kettle_core::wait::Deadline;

use super::watch::{Pause, Quiet, Rest, Watch};

/// What a round of a leader came to.
#[derive(Debug)]
pub enum Round<T> {
    /// The thread stops leading, for this reason.
    Over(T),
    /// Something has happened, so more may have.
    Moved,
    /// There was nothing to do.
    Still {
        /// When something is due without a notification.
        due: Deadline,
        /// Whether news is so near that it pays to spin.
        spins: bool,
    },
}

/// Runs rounds until one is [`Over`](Round::Over), and sleeps in between.
///
/// `round` is told whether to look for workers that have ended, for which there is no notification that a spinning
/// thread sees: at the beginning if `asks`, and after each sleep. `rest` waits as [`Watch::rest`] does.
///
/// # Errors
/// Those of `round` and of `rest`.
pub fn lead<T, E>(
    asks: bool,
    watch: impl Fn() -> Arc<Watch>,
    mut round: impl FnMut(bool) -> Result<Round<T>, E>,
    mut rest: impl FnMut(&Watch, Pause) -> Result<Rest, E>,
) -> Result<T, E> {
    let mut asks = asks;
    let mut quiet = Quiet::default();
    loop {
        // The count of kicks is read before the round, so that a later kick is noticed.
        let kicks = watch().kicks();
        let (due, spins) = match round(asks)? {
            Round::Over(reason) => return Ok(reason),
            Round::Moved => {
                asks = false;
                quiet = Quiet::default();
                continue;
            }
            Round::Still { due, spins } => (due, spins),
        };
        // The workers may be others than before the round.
        let rested = rest(&watch(), Pause { kicks, until: due.min(quiet.next_look()), spins })?;
        asks = rested != Rest::Spun;
        if rested != Rest::Slept {
            quiet = Quiet::default();
        }
    }
}
