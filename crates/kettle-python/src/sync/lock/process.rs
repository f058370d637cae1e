//! `Lock` and `RLock`.

use kettle_core::arena::{Handle, participants};
use kettle_core::deadlock::Wanted;
use kettle_core::shared::Processes;
use kettle_core::sync::{self, Acquired, LockError, OnOwnerDeath};
use kettle_core::sys::Owner;
use kettle_core::wait::{Deadline, Patience};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::lock_methods;
use crate::deadlock::{CreationSite, FileAndLine, Numbered, shared_number, wait_watched};
use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::fast::FastLock;
use crate::parameters;
use crate::primitive::{self, key, picklable};

fn policy(on_owner_death: &str) -> PyResult<OnOwnerDeath> {
    match on_owner_death {
        "raise" => Ok(OnOwnerDeath::Raise),
        "recover" => Ok(OnOwnerDeath::Recover),
        other => Err(PyValueError::new_err(format!("on_owner_death must be \"raise\" or \"recover\", not {other:?}"))),
    }
}

fn acquired(py: Python<'_>, result: Result<Acquired, LockError>, what: &str) -> PyResult<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(LockError::Stopped(stopped)) => errors::in_time(Err(stopped)),
        Err(LockError::OwnerDied(owner)) => Err(errors::owner_died(py, owner, what)),
    }
}

/// Waits for a lock. Returns whether it was acquired.
fn wait_for<T>(
    slf: &Bound<'_, T>,
    wanted: Wanted<'_>,
    deadline: Deadline,
    acquire: impl FnOnce(&Patience<'_>) -> Result<Acquired, LockError> + Send,
) -> PyResult<bool> {
    errors::take_part()?;
    let py = slf.py();
    let r = wait_watched::<Processes, _>(slf.as_any(), wanted, acquire, |f| wait_outside(py, deadline, f))?;
    acquired(py, r, "lock")
}

fn pid_and_thread(owner: Option<Owner>) -> Option<(u32, u32)> {
    owner.map(|o| (participants::pid_of(o).unwrap_or(0), o.thread()))
}

/// What both locks for processes have, beside [`lock_methods`].
macro_rules! process_lock {
    ($class:ty, $body:ty) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*, on_owner_death="raise", name=None, _token=None))]
            fn new(
                py: Python<'_>,
                on_owner_death: &str,
                name: Option<String>,
                _token: Option<&[u8]>,
            ) -> PyResult<Self> {
                let (body, made) = match _token {
                    Some(token) => (primitive::from_token(token)?, CreationSite::default()),
                    None => {
                        let policy = policy(on_owner_death)?;
                        (Handle::new(|| <$body>::new(policy)).map_err(errors::arena)?, CreationSite::here(py))
                    }
                };
                Ok(Self { body, name, made })
            }

            /// Sets how a holder's death is treated, before any other thread knows the lock.
            fn _kettle_begin(
                &self,
                #[pyo3(from_py_with = parameters::on_owner_death)] on_owner_death: String,
            ) -> PyResult<()> {
                self.lock().set_policy(policy(&on_owner_death)?);
                Ok(())
            }

            /// Acquires the lock, waiting at most `timeout` seconds (None: forever), or not at all if `block` is false.
            /// Returns whether it was acquired. Raises `OwnerDied` if its holder died.
            #[pyo3(signature = (block=true, timeout=None))]
            fn acquire(
                slf: &Bound<'_, Self>,
                #[pyo3(from_py_with = parameters::truth)] block: bool,
                #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
            ) -> PyResult<bool> {
                let this = slf.get();
                if this.try_acquire() {
                    return Ok(true);
                }
                wait_for(slf, this.wanted(), deadline(block, timeout), |p| this.body.acquire::<Processes>(p))
            }

            /// Returns whether a thread of any process holds the lock.
            fn locked(&self) -> bool {
                self.body.owner().is_some()
            }

            /// Makes the lock free again after its holder died. Returns False, and changes nothing, if a living thread
            /// holds it, since another survivor may have reset and acquired it in the meantime.
            fn reset(&self) -> bool {
                self.body.reset::<Processes>().is_ok()
            }

            fn __enter__(slf: &Bound<'_, Self>) -> PyResult<bool> {
                let this = slf.get();
                if this.try_acquire() {
                    return Ok(true);
                }
                wait_for(slf, this.wanted_by_block(), Deadline::NEVER, |p| this.body.acquire::<Processes>(p))
            }

            /// What `_made` was in the process that it comes from.
            fn _kettle_set_made(&self, place: FileAndLine) {
                self.made.set_there(place);
            }

            fn _is_zero(&self) -> bool {
                self.locked()
            }

            fn _get_value(&self) -> u32 {
                u32::from(!self.locked())
            }
        }
        picklable!($class);

        impl $class {
            /// For Rust code that holds it briefly. Equivalent to `__enter__()`.
            pub(crate) fn hold(slf: &Bound<'_, Self>) -> PyResult<()> {
                Self::__enter__(slf).map(drop)
            }

            /// Equivalent to `release()`.
            pub(crate) fn let_go(&self) -> PyResult<()> {
                self.release()
            }
        }

        impl Numbered for $class {
            fn number(&self) -> u64 {
                shared_number(self.body.off())
            }
        }
    };
}

/// Mutual exclusion between processes (and their threads). Any thread may release it, even one that did not acquire it.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Lock {
    body: Handle<sync::Lock>,
    name: Option<String>,
    made: CreationSite,
}

#[pymethods]
impl Lock {
    /// Releases the lock, whichever thread holds it. Raises ValueError if none does.
    fn release(&self) -> PyResult<()> {
        self.body
            .release::<Processes>()
            .map_err(|_| errors::unless_damaged(PyValueError::new_err("semaphore or lock released too many times")))
    }

    fn _is_mine(&self) -> bool {
        participants::try_me().is_ok_and(|me| self.body.owner() == Some(me))
    }

    fn _count(&self) -> u32 {
        u32::from(self._is_mine())
    }
}

impl Lock {
    fn lock(&self) -> &sync::Lock {
        &self.body
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { holder: self.body.holder(), reentrant: false, insists: false, scoped: false }
    }

    fn is_free_for_me(&self) -> bool {
        !self.locked() || self.body.is_broken()
    }
}

process_lock!(Lock, sync::Lock);
lock_methods!(Lock, Processes);

/// A lock that its holder may take again. Only the thread that holds it may release it.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct RLock {
    body: Handle<sync::ReentrantLock>,
    name: Option<String>,
    made: CreationSite,
}

#[pymethods]
impl RLock {
    /// Gives it back once; it is free when that was done as often as it was taken. Raises AssertionError in a thread that does
    /// not hold it.
    fn release(&self) -> PyResult<()> {
        self.body.release::<Processes>().map_err(|_| {
            errors::unless_damaged(PyAssertionError::new_err("attempt to release recursive lock not owned by thread"))
        })
    }

    /// Leaves the lock altogether; says how often it was held. For a condition's wait.
    fn _release_save(&self) -> PyResult<u32> {
        self.body
            .release_all::<Processes>()
            .map_err(|_| errors::unless_damaged(PyRuntimeError::new_err("cannot release un-acquired lock")))
    }

    /// Takes it as often as `_release_save` said.
    fn _acquire_restore(slf: &Bound<'_, Self>, depth: u32) -> PyResult<()> {
        let this = slf.get();
        wait_for(slf, this.wanted_by_block(), Deadline::NEVER, |p| this.body.acquire_again::<Processes>(depth, p))
            .map(drop)
    }

    fn _is_mine(&self) -> bool {
        self.body.is_mine::<Processes>()
    }

    fn _count(&self) -> u32 {
        self.body.depth::<Processes>()
    }
}

impl RLock {
    fn lock(&self) -> &sync::Lock {
        self.body.lock()
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { holder: self.body.holder(), reentrant: true, insists: false, scoped: false }
    }

    fn is_free_for_me(&self) -> bool {
        !self.locked() || self._is_mine() || self.body.lock().is_broken()
    }
}

process_lock!(RLock, sync::ReentrantLock);
lock_methods!(RLock, Processes);
