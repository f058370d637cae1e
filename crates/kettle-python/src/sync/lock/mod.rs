//! `Lock` and `RLock`, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::sync;
use pyo3::prelude::*;

use crate::primitive;

/// The state of a lock that `owner` holds: a process and a thread in the kernel's numbering.
pub(super) fn lock_statistics<'py>(
    py: Python<'py>,
    lock: &sync::Lock,
    owner: Option<(u32, u32)>,
) -> PyResult<Bound<'py, PyAny>> {
    let s = lock.statistics();
    let (pid, thread) = owner.unwrap_or((0, 0));
    primitive::record(
        py,
        "LockStatistics",
        &[
            ("locked", u64::from(owner.is_some())),
            ("broken", u64::from(s.broken)),
            ("owner_pid", pid.into()),
            ("owner_tid", thread.into()),
            ("waiting", s.waiting.into()),
            ("contended", s.contended.into()),
            ("owners_died", s.owners_died.into()),
        ],
    )
}

/// The methods of all locks. Given in the class: `body`; `made`, where it was created; `release`; `lock`; `wanted`; and
/// `is_free_for_me`. Given beside it: `pid_and_thread` and `key`.
macro_rules! lock_methods {
    ($class:ty, $domain:ty $(, acquire_doc = $acquire_doc:expr)?) => {
        #[pymethods]
        impl $class {
            #[pyo3(signature = (_type=None, _value=None, _traceback=None, /))]
            fn __exit__(
                &self,
                _type: Option<&Bound<'_, PyAny>>,
                _value: Option<&Bound<'_, PyAny>>,
                _traceback: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<()> {
                self.release()
            }

            /// Where it was made, if that is known.
            fn _kettle_made(&self, py: Python<'_>) -> PyResult<Option<crate::deadlock::FileAndLine>> {
                self.made.file_and_line(py)
            }

            fn _kettle_owner(&self) -> Option<(u32, u32)> {
                pid_and_thread(self.body.owner())
            }

            fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                crate::sync::lock::lock_statistics(py, self.lock(), self._kettle_owner())
            }
        }

        impl $class {
            /// What a `with` block waits for.
            fn wanted_by_block(&self) -> kettle_core::deadlock::Wanted<'_> {
                kettle_core::deadlock::Wanted { scoped: true, ..self.wanted() }
            }
        }

        impl FastLock for $class {
            $(const ACQUIRE_DOC: &'static std::ffi::CStr = $acquire_doc;)?
            const HOLDER_CAN_DIE: bool = matches!(<$domain as kettle_core::sync::Home>::SCOPE, kettle_core::wait::Scope::Shared);

            #[inline(always)]
            fn try_acquire(&self) -> bool {
                self.body.try_acquire_now::<$domain>()
            }
            #[inline(always)]
            fn try_release(&self) -> bool {
                self.body.release::<$domain>().is_ok()
            }
        }

        impl crate::primitive::Waitable for $class {
            fn ready(&self) -> bool {
                self.is_free_for_me()
            }
            fn events(&self) -> &kettle_core::wait::EventCount {
                self.body.freed().events()
            }
            fn line(&self) -> Option<&kettle_core::wait::Line> {
                Some(self.body.freed())
            }
            fn scope(&self) -> kettle_core::wait::Scope {
                <$domain as kettle_core::sync::Home>::SCOPE
            }
            fn call(&self) -> u32 {
                key(&self.body)
            }
        }
        crate::primitive::waitable!($class);
    };
}
use lock_methods;
