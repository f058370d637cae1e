//! Threads that wait for each other's locks, of whatever process.
//!
//! A thread that has waited longer than a [`threshold`] for a [`Lock`](crate::Lock) or an [`RLock`](crate::RLock), or
//! one of their kin between [threads](crate::threads), and has no limit to its patience, asks whether those who hold it
//! wait for this thread in turn. A lock that is got earlier than that costs nothing for it. What comes of it says the
//! [`Policy`]:
//!
//! * Where no other thread could help, since an `RLock` can be released only by its holder, the `acquire` of one of
//!   them fails, with [`AcquireError::Deadlock`]. It should go back: when it leaves what it holds, the others go on. If
//!   it takes the same locks in the same order again at once, it may well meet them again.
//! * A `Lock` that is in the circle might still be released in its holder's place. So it is told once, on standard
//!   error or to [`on_report`], and all go on waiting. [`Policy::Raise`] makes it an error if each was taken by a
//!   thread that waited for it, whose guard ends its scope; if one belongs to a task, which may go on in another
//!   thread, it stays with the report. A lock that another thread than its holder ever released is left out: of a guard
//!   that goes from thread to thread it is not known who will drop it.
//!
//! Both list each lock and each thread with its position in the code. A lock is identified by its name, if it has
//! [one](crate::Lock::named), and by the line that created it.
//!
//! ```
//! use kettle::threads::{Barrier, RLock};
//! use kettle::{AcquireError, deadlock};
//! # deadlock::set_threshold(std::time::Duration::from_millis(50));
//!
//! let Ok(milk) = RLock::new();
//! let Ok(tea) = RLock::new();
//! let (milk, tea) = (milk.named("milk"), tea.named("tea"));
//! let Ok(both) = Barrier::new(2);
//! let make = |first: &RLock, second: &RLock| -> Result<(), AcquireError> {
//!     let _first = first.acquire()?;
//!     both.wait().expect("the other one comes");
//!     let _second = second.acquire()?;
//!     Ok(())
//! };
//! let results = std::thread::scope(|scope| {
//!     let other = scope.spawn(|| make(&tea, &milk));
//!     [make(&milk, &tea), other.join().expect("no panic")]
//! });
//! // One was told, and went back; so the other got both.
//! let told: Vec<_> = results.iter().filter(|result| matches!(result, Err(AcquireError::Deadlock(_)))).collect();
//! assert_eq!(told.len(), 1);
//! assert!(format!("{told:?}").contains("RLock 'milk', made at "));
//! ```
//!
//! A thread that waits for an [`RLock`](crate::RLock) whose holder has ended, and did not leave it, is told in the same
//! way. A `Lock` may be meant for another thread to leave; so that is told only where this is the process's only
//! thread.
//!
//! Waits with a time limit end by themselves, and tasks of an event loop do not sleep: they are no part of this.

use std::backtrace::Backtrace;
use std::env;
use std::panic::Location;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;

use kettle_core::deadlock::{self, Teller, Text, Wanted};
use kettle_core::sync::{Holder, Home, LockError};
use kettle_core::wait::Patience;

pub use kettle_core::deadlock::{Deadlock, Member, Policy, set_threshold, threshold};

use crate::error::AcquireError;
use crate::label::Label;

/// What the environment says of the policy, for programs in any language.
pub(crate) const VARIABLE: &str = "KETTLE_DEADLOCK";

/// The policies by the names that they have there.
const NAMES: [(&str, Policy); 3] = [("raise", Policy::Raise), ("report", Policy::Report), ("off", Policy::Off)];

/// Before the policy is used: takes over what the environment says.
fn learn() {
    static LEARNT: Once = Once::new();
    LEARNT.call_once(|| {
        let said = env::var(VARIABLE).unwrap_or_default();
        NAMES.iter().filter(|(name, _)| *name == said).for_each(|(_, policy)| deadlock::set_policy(*policy));
    });
}

/// What is done about threads that wait for each other.
pub fn policy() -> Policy {
    learn();
    deadlock::policy()
}

/// Says what is done from now on, in this process and in those that it starts from now on: these learn it from the
/// environment variable `KETTLE_DEADLOCK` (`raise`, `report` or `off`). Without that it is [`Policy::Report`].
pub fn set_policy(policy: Policy) {
    learn();
    deadlock::set_policy(policy);
}

/// What a child's environment says of it.
pub(crate) fn for_children() -> &'static str {
    let now = policy();
    NAMES.iter().find(|(_, policy)| *policy == now).map_or("", |(name, _)| name)
}

type Hook = Arc<dyn Fn(&Deadlock) + Send + Sync>;

static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// Has `hook` called with what is reported, instead of having it printed to standard error. It runs in one of the
/// threads that wait for each other, and should not wait for their locks itself. What a thread gets as an error is not
/// reported.
pub fn on_report(hook: impl Fn(&Deadlock) + Send + Sync + 'static) {
    *HOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
}

/// A call that waits for a lock.
pub(crate) struct Call<'a> {
    pub(crate) holder: Holder<'a>,
    pub(crate) kind: &'a str,
    pub(crate) label: &'a Label,
    /// Whether only its holder may release it.
    pub(crate) reentrant: bool,
    /// Whether it cannot be refused.
    pub(crate) insists: bool,
    pub(crate) place: &'a Location<'a>,
}

impl Teller for Call<'_> {
    fn text(&self) -> Option<Text> {
        Some(Text {
            thread: thread::current().name().unwrap_or_default().to_owned(),
            lock: format!("{} {}", self.kind, self.label),
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

/// Of a stack trace as it is printed: the program's functions, the outermost first.
fn callers(trace: &str) -> String {
    let names = trace.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(n, _)| n.parse::<u32>().is_ok());
    let ours = ["std::", "core::", "alloc::", "kettle::", "<kettle::", "kettle_core::", "<kettle_core::"];
    let mut callers: Vec<String> = names
        .map(|(_, name)| name)
        .take_while(|name| !name.contains("__rust_begin_short_backtrace"))
        .filter(|name| !ours.iter().any(|prefix| name.starts_with(prefix)))
        .map(|name| format!("  in {name}\n"))
        .collect();
    callers.reverse();
    callers.concat()
}

impl Call<'_> {
    /// Waits for the lock by `acquire`, and says so if that would never end.
    pub(crate) fn wait<H: Home, T>(
        &self,
        patience: &Patience<'_>,
        acquire: impl FnOnce(&Patience<'_>) -> Result<T, LockError>,
    ) -> Result<T, AcquireError> {
        learn();
        let (holder, reentrant, insists) = (self.holder, self.reentrant, self.insists);
        let wanted = Wanted { holder, reentrant, insists, scoped: true };
        match deadlock::watch::<H, _>(&wanted, self, patience, acquire) {
            Ok(result) => Ok(result?),
            Err(found) => Err(AcquireError::Deadlock(Box::new(found))),
        }
    }
}
