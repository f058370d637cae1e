//! Named points at which a test can have a process killed or stopped, or a thread panic.

/// Kills this process by SIGKILL if the feature `crash-points` is enabled and `KETTLE_CRASH_POINT` names this point.
///
/// `KETTLE_CRASH_POINT=name` kills at the first visit, `name:3` at the third. `name:3:stop` stops the process by
/// SIGSTOP instead, until it is continued, and `name:3:panic` panics. In ordinary builds this function does nothing.
#[inline(always)]
pub fn crash_point(name: &'static str) {
    #[cfg(loom)]
    model::visit(name);
    #[cfg(all(feature = "crash-points", not(loom)))]
    armed::visit(name);
    #[cfg(not(any(feature = "crash-points", loom)))]
    let _ = name;
}

#[cfg(all(feature = "crash-points", not(loom)))]
pub use armed::{arm, disarm};
#[cfg(loom)]
pub use model::{Died, arm};

/// Whether this thread is unwinding because it died in a model. Guards then skip their cleanup, as they do when a
/// process is killed. Outside models this is always false.
#[inline(always)]
pub(crate) fn has_died() -> bool {
    #[cfg(loom)]
    return model::has_died();
    #[cfg(not(loom))]
    false
}

/// In a model a thread dies by unwinding; guards check [`has_died`](super::has_died) before they clean up.
#[cfg(loom)]
mod model {
    use core::cell::Cell;

    /// The payload with which a thread unwinds after it dies at a crash point.
    #[derive(Debug)]
    pub struct Died;

    loom::thread_local! {
        static ARMED: Cell<Option<&'static str>> = Cell::new(None);
        static HAS_DIED: Cell<bool> = Cell::new(false);
    }

    /// Arms a crash point for the calling thread.
    pub fn arm(name: &'static str) {
        ARMED.with(|armed| armed.set(Some(name)));
    }

    pub(super) fn has_died() -> bool {
        HAS_DIED.with(Cell::get)
    }

    pub(super) fn visit(name: &'static str) {
        // A dead thread visits no crash points.
        if !has_died() && ARMED.with(|armed| armed.get() == Some(name)) {
            HAS_DIED.with(|died| died.set(true));
            std::panic::resume_unwind(Box::new(Died));
        }
    }
}

#[cfg(all(feature = "crash-points", not(loom)))]
mod armed {
    use core::sync::atomic::{AtomicI64, AtomicU32, Ordering};
    use std::sync::{Mutex, OnceLock};

    static TARGET: OnceLock<Mutex<Option<String>>> = OnceLock::new();
    static REMAINING: AtomicI64 = AtomicI64::new(0);
    /// The action to take at the crash point.
    static DOES: AtomicU32 = AtomicU32::new(DIES);
    const DIES: u32 = 0;
    const STOPS: u32 = 1;
    const PANICS: u32 = 2;

    fn target() -> &'static Mutex<Option<String>> {
        TARGET.get_or_init(|| {
            let spec = std::env::var("KETTLE_CRASH_POINT").ok();
            if let Some(spec) = &spec {
                note(spec);
            }
            Mutex::new(spec.map(|s| s.split(':').next().unwrap_or_default().to_owned()))
        })
    }

    fn note(spec: &str) {
        let mut rest = spec.split(':').skip(1);
        REMAINING.store(rest.next().and_then(|n| n.parse().ok()).unwrap_or(1), Ordering::Relaxed);
        let does = match rest.next() {
            Some("stop") => STOPS,
            Some("panic") => PANICS,
            _ => DIES,
        };
        DOES.store(does, Ordering::Relaxed);
    }

    /// Arms the crash point `spec` (`name`, `name:visits`, `name:visits:stop` or `name:visits:panic`) in this process,
    /// as the environment variable would.
    pub fn arm(spec: &str) {
        let mut name = target().lock().unwrap_or_else(|e| e.into_inner());
        note(spec);
        *name = Some(spec.split(':').next().unwrap_or_default().to_owned());
    }

    /// Disarms the crash point set by [`arm`].
    pub fn disarm() {
        *target().lock().unwrap_or_else(|e| e.into_inner()) = None;
    }

    pub(super) fn visit(name: &str) {
        // `try_lock`: a child that was forked while another thread held this mutex must not wait for a thread that does
        // not exist in it.
        let here = target().try_lock().is_ok_and(|t| t.as_deref() == Some(name));
        if !here || REMAINING.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        let does = DOES.load(Ordering::Relaxed);
        if does == PANICS {
            panic!("crash point {name}");
        }
        let signal = if does == STOPS { libc::SIGSTOP } else { libc::SIGKILL };
        // SAFETY: `kill` takes two integers; it ends or stops this process, as requested.
        unsafe { libc::kill(libc::getpid(), signal) };
        if does == DIES {
            loop {
                std::thread::park();
            }
        }
    }
}
