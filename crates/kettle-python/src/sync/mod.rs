//! The primitives. Each has a class for processes, in the arena, and one for threads, on the heap, next to each other.

pub(crate) mod barrier;
pub(crate) mod between_threads;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod semaphore;

use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use crate::deadlock::Numbered;

/// The number of the lock that is waited for through `object`, or released at the end of a `with` block on it.
pub(crate) fn lock_number(object: &Bound<'_, PyAny>) -> Option<u64> {
    fn number<T: PyClass<Frozen = True> + Numbered + Sync>(object: &Bound<'_, PyAny>) -> Option<u64> {
        object.cast::<T>().ok().map(|lock| lock.get().number())
    }
    number::<lock::thread::Lock>(object)
        .or_else(|| number::<lock::thread::RLock>(object))
        .or_else(|| number::<lock::process::Lock>(object))
        .or_else(|| number::<lock::process::RLock>(object))
        .or_else(|| object.cast::<condition::thread::Condition>().ok()?.get().number())
}
