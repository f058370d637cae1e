//! Threads that wait for each other's locks, of whatever process.
//!
//! A thread that has waited longer than [`threshold`] for a [`Lock`](crate::Lock) or an [`RLock`](crate::RLock), with no
//! limit to its patience, asks whether those who hold it wait for this thread in turn, and in the end for each other. If
//! so, one of them reports it, once, with the locks and where each of the threads is; all go on waiting, since another
//! thread might still help. A lock that is got earlier than that costs nothing for it.
//!
//! The report goes to standard error. A program that knows better what to do sets [`on_report`]: one may well end the
//! process, which tells all who wait for its locks that their owner died.

use std::backtrace::Backtrace;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kettle_core::arena::{Body, Handle};
use kettle_core::deadlock::{self, Teller, Text, Wanted};
use kettle_core::shared::Processes;
use kettle_core::sync::{Acquired, LockError};
use kettle_core::wait::Patience;

pub use kettle_core::deadlock::{Deadlock, Member, set_threshold, threshold};

type Hook = Arc<dyn Fn(&Deadlock) + Send + Sync>;

static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// Has `hook` called with what is found, instead of having it printed to standard error. It runs in one of the threads
/// that wait for each other, and should not wait for their locks itself.
pub fn on_report(hook: impl Fn(&Deadlock) + Send + Sync + 'static) {
    *HOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
}

/// A thread that waits for the lock behind a handle, by a call at this place.
struct Here<'a, B: Body> {
    lock: &'a Handle<B>,
    kind: &'a str,
    place: &'a Location<'a>,
}

impl<B: Body> Teller for Here<'_, B> {
    fn text(&self) -> Option<Text> {
        Some(Text {
            thread: thread::current().name().unwrap_or_default().to_owned(),
            lock: format!("{} {:#x}", self.kind, self.lock.off().to_bits()),
            stack: format!("{}  at {}\n", callers(&Backtrace::force_capture().to_string()), self.place),
        })
    }

    fn report(&self, found: &Deadlock) -> bool {
        let hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hook {
            Some(hook) => hook(found),
            None => eprintln!("kettle: {found}\n"),
        }
        true
    }
}

/// Of a stack trace as it is printed: the functions from where the thread begins to where it calls this library.
fn callers(trace: &str) -> String {
    let names = trace.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(n, _)| n.parse::<u32>().is_ok());
    let ours = ["std::", "core::", "kettle::", "<kettle::", "kettle_core::", "<kettle_core::"];
    let mut callers: Vec<String> = names
        .map(|(_, name)| name)
        .skip_while(|name| ours.iter().any(|prefix| name.starts_with(prefix)))
        .take_while(|name| !name.contains("__rust_begin_short_backtrace"))
        .map(|name| format!("  in {name}\n"))
        .collect();
    callers.reverse();
    callers.concat()
}

/// Waits for a lock, and reports if that may never end.
pub(crate) fn acquire<B: Body>(
    lock: &Handle<B>,
    (kind, wanted): (&str, Wanted<'_>),
    patience: &Patience<'_>,
    place: &Location<'_>,
    acquire: impl FnOnce(&Patience<'_>) -> Result<Acquired, LockError>,
) -> Result<Acquired, LockError> {
    let here = Here { lock, kind, place };
    deadlock::watch::<Processes, _>(&wanted, &here, patience, acquire)
        .unwrap_or_else(|_| unreachable!("who insists is not refused"))
}
