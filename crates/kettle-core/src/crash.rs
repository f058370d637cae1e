//! Named points at which a test may have a process killed.

/// Dies here, by SIGKILL, if this build has the feature `crash-points` and `KETTLE_CRASH_POINT` names this point.
///
/// `KETTLE_CRASH_POINT=name` dies at the first visit, `name:3` at the third. In ordinary builds this is nothing.
#[inline(always)]
pub fn crash_point(name: &'static str) {
    #[cfg(feature = "crash-points")]
    armed::visit(name);
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}

#[cfg(feature = "crash-points")]
pub use armed::{arm, disarm};

#[cfg(feature = "crash-points")]
mod armed {
    use core::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{Mutex, OnceLock};

    static TARGET: OnceLock<Mutex<Option<String>>> = OnceLock::new();
    static REMAINING: AtomicI64 = AtomicI64::new(0);

    fn target() -> &'static Mutex<Option<String>> {
        TARGET.get_or_init(|| {
            let spec = std::env::var("KETTLE_CRASH_POINT").ok();
            if let Some(spec) = &spec {
                REMAINING.store(visits_of(spec), Ordering::Relaxed);
            }
            Mutex::new(spec.map(|s| s.split(':').next().unwrap_or_default().to_owned()))
        })
    }

    fn visits_of(spec: &str) -> i64 {
        spec.split(':').nth(1).and_then(|n| n.parse().ok()).unwrap_or(1)
    }

    /// Arms the crash point `spec` (`name` or `name:visits`) in this process, as the environment would.
    pub fn arm(spec: &str) {
        let mut name = target().lock().unwrap_or_else(|e| e.into_inner());
        REMAINING.store(visits_of(spec), Ordering::Relaxed);
        *name = Some(spec.split(':').next().unwrap_or_default().to_owned());
    }

    /// Takes back what [`arm`] did.
    pub fn disarm() {
        *target().lock().unwrap_or_else(|e| e.into_inner()) = None;
    }

    pub(super) fn visit(name: &str) {
        // `try_lock`: a child forked while another thread looked here must not wait for a thread it does not have.
        let here = target().try_lock().is_ok_and(|t| t.as_deref() == Some(name));
        if here && REMAINING.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: kill takes two integers; it ends this very process, which is what was asked for.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            loop {
                std::thread::park();
            }
        }
    }
}
