//! The lifecycle of a pool.
//!
//! ```text
//!  running ──close──► closed ──all done──► (workers leave)
//!     └───────┬──────────┘
//!             └──terminate──► terminated
//! ```
//!
//! In addition, a pool that is running or closed can *break*: then no further task is begun, and every task fails with
//! the reason.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use super::locking::Locking;

const CLOSED: u8 = 1;
const TERMINATED: u8 = 2;
const BROKEN: u8 = 4;

/// See the module; `B` is the reason for which a pool is broken.
#[derive(Debug)]
pub struct Lifecycle<B> {
    state: AtomicU8,
    reason: Mutex<Option<B>>,
}

impl<B> Default for Lifecycle<B> {
    fn default() -> Self {
        Self { state: AtomicU8::new(0), reason: Mutex::new(None) }
    }
}

impl<B> Lifecycle<B> {
    fn has(&self, bits: u8) -> bool {
        self.state.load(Ordering::SeqCst) & bits != 0
    }

    /// Returns whether the pool is neither closed nor terminated.
    pub fn is_running(&self) -> bool {
        !self.has(CLOSED | TERMINATED)
    }

    /// Returns whether the pool accepts new tasks.
    pub fn is_open(&self) -> bool {
        !self.has(CLOSED | TERMINATED | BROKEN)
    }

    /// Returns whether the pool is closed but not terminated: it accepts no new tasks, and finishes those it has.
    pub fn is_closed(&self) -> bool {
        !self.is_running() && !self.is_terminated()
    }

    /// Returns whether the pool is terminated: no further task is begun.
    pub fn is_terminated(&self) -> bool {
        self.has(TERMINATED)
    }

    /// Returns whether the pool is broken.
    pub fn is_broken(&self) -> bool {
        self.has(BROKEN)
    }

    /// Returns whether the pool is terminated or broken: no further task is begun.
    pub fn is_over(&self) -> bool {
        self.has(TERMINATED | BROKEN)
    }

    /// Returns whether workers have something to do, or may get something. Does not consider whether the pool is
    /// broken.
    pub fn needs_workers(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.is_running() || (!self.is_terminated() && has_work())
    }

    /// Applies `of` to the reason if the pool is broken.
    pub fn reason<R>(&self, locking: impl Locking, of: impl FnOnce(&B) -> R) -> Option<R> {
        if self.is_broken() { locking.lock(&self.reason).as_ref().map(of) } else { None }
    }

    /// Takes the reason out.
    pub fn take_reason(&self, locking: impl Locking) -> Option<B> {
        locking.lock(&self.reason).take()
    }

    /// Closes the pool to new tasks. Returns false if it was closed or terminated before.
    pub fn close(&self) -> bool {
        self.state.fetch_or(CLOSED, Ordering::SeqCst) & (CLOSED | TERMINATED) == 0
    }

    /// Terminates the pool: no further task is begun. Returns false if it was terminated before.
    pub fn terminate(&self) -> bool {
        self.state.fetch_or(TERMINATED, Ordering::SeqCst) & TERMINATED == 0
    }

    /// Breaks the pool for this reason: no further task is begun.
    ///
    /// # Errors
    /// Returns the reason if the pool is terminated, or already broken.
    pub fn break_for(&self, locking: impl Locking, reason: B) -> Result<(), B> {
        let mut place = locking.lock(&self.reason);
        if self.is_over() {
            return Err(reason);
        }
        *place = Some(reason);
        self.state.fetch_or(BROKEN, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::locking::Blocking;
    use super::*;

    #[test]
    fn a_life_goes_one_way() {
        let life = Lifecycle::<u8>::default();
        assert!(life.is_open() && life.needs_workers(|| false));
        assert!(life.close() && !life.close() && life.is_closed() && !life.is_open());
        assert!(life.needs_workers(|| true) && !life.needs_workers(|| false));
        assert!(life.terminate() && !life.terminate() && !life.close() && !life.is_closed());
        assert!(life.is_over() && !life.needs_workers(|| true));
        assert_eq!(life.break_for(Blocking, 1), Err(1), "a pool that was terminated does not break");
    }

    #[test]
    fn the_first_reason_stays() {
        let life = Lifecycle::default();
        assert_eq!((life.break_for(Blocking, 1), life.break_for(Blocking, 2)), (Ok(()), Err(2)));
        assert!(life.is_broken() && life.is_running() && !life.is_open());
        assert!(life.terminate());
        assert_eq!(life.reason(Blocking, |reason| *reason), Some(1));
        assert_eq!((life.take_reason(Blocking), life.reason(Blocking, |reason| *reason)), (Some(1), None));
    }
}
