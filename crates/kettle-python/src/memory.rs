//! Shared memory: bytes, the buffers that arrive with messages, and single numbers.

use std::ptr::NonNull;

use kettle_core::arena::{self, Block, Handle};
use kettle_core::shared::Bytes;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors;
use crate::number::{Code, Word};
use crate::parameters;
use crate::primitive::{self, picklable};
use crate::sync::lock::process::{Lock, RLock};

/// A buffer in the arena that came with a message; freed with its last view.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Lease {
    lease: arena::Lease,
}

impl Lease {
    pub(crate) fn new(block: Block) -> PyResult<Self> {
        Ok(Self { lease: block.into_lease().map_err(errors::arena)? })
    }

    /// The address and the length of its bytes.
    pub(crate) fn bytes(&self) -> (NonNull<u8>, usize) {
        (self.lease.as_ptr(), self.lease.len())
    }
}

#[pymethods]
impl Lease {
    fn __len__(&self) -> usize {
        self.lease.len()
    }
}

/// Zeroed bytes in the arena, shared by every process that has the handle. A writable buffer.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct SharedBytes {
    body: Handle<Bytes>,
    name: Option<String>,
}

impl SharedBytes {
    /// The address and the length of its bytes.
    pub(crate) fn bytes(&self) -> (NonNull<u8>, usize) {
        self.body.tail()
    }
}

#[pymethods]
impl SharedBytes {
    #[new]
    #[pyo3(signature = (size=0, *, name=None, _token=None))]
    fn new(py: Python<'_>, size: i64, name: Option<String>, _token: Option<&[u8]>) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => {
                let size = usize::try_from(size).map_err(|_| PyValueError::new_err("size is negative"))?;
                // Allocating many bytes takes time.
                py.detach(|| Handle::zeroed(size)).map_err(errors::arena)?
            }
        };
        Ok(Self { body, name })
    }

    fn __len__(&self) -> usize {
        self.bytes().1
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        primitive::record(py, "SharedBytesStatistics", &[("size", self.bytes().1 as u64)])
    }

    #[getter]
    fn _key(&self) -> u32 {
        primitive::key(&self.body)
    }
}
picklable!(SharedBytes);

/// One number in shared bytes, with its lock.
///
/// `value` takes the lock to read and to write. `fetch_add` and `compare_exchange` are single steps without it.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Cell {
    memory: Handle<Bytes>,
    offset: usize,
    code: Code,
    lock: CellLock,
}

/// The lock of a cell. Our own locks are acquired without running Python code.
enum CellLock {
    None,
    Reentrant(Py<RLock>),
    Plain(Py<Lock>),
    Foreign(Py<PyAny>),
}

impl CellLock {
    fn new(py: Python<'_>, lock: Option<Py<PyAny>>) -> Self {
        let Some(lock) = lock else { return Self::None };
        let lock = lock.into_bound(py);
        match lock.cast_into::<RLock>() {
            Ok(lock) => Self::Reentrant(lock.unbind()),
            Err(e) => match e.into_inner().cast_into::<Lock>() {
                Ok(lock) => Self::Plain(lock.unbind()),
                Err(e) => Self::Foreign(e.into_inner().unbind()),
            },
        }
    }
}

impl Cell {
    fn word(&self) -> PyResult<Word<'_>> {
        errors::check()?;
        self.word_to_lock()
    }

    /// The same, for callers that continue with [`locked`](Self::locked), which checks.
    #[inline]
    fn word_to_lock(&self) -> PyResult<Word<'_>> {
        self.code.word(&self.memory, self.offset).ok_or_else(|| {
            let size = self.code.size();
            let len = self.memory.tail().1;
            PyValueError::new_err(format!(
                "offset must be a multiple of {size}, and {size} bytes from there inside the {len} of the memory"
            ))
        })
    }

    /// Runs `look` with the lock held, if there is one.
    fn locked<T>(&self, py: Python<'_>, look: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        match &self.lock {
            CellLock::None => {
                errors::check()?;
                look()
            }
            CellLock::Reentrant(lock) => {
                RLock::hold(lock.bind(py))?;
                let result = look();
                lock.get().let_go()?;
                result
            }
            CellLock::Plain(lock) => {
                Lock::hold(lock.bind(py))?;
                let result = look();
                lock.get().let_go()?;
                result
            }
            CellLock::Foreign(lock) => {
                errors::check()?;
                let lock = lock.bind(py);
                lock.call_method0(intern!(py, "acquire"))?;
                let result = look();
                lock.call_method0(intern!(py, "release"))?;
                result
            }
        }
    }

    /// Its lock.
    #[inline]
    pub(crate) fn lock(&self) -> Option<&Py<PyAny>> {
        match &self.lock {
            CellLock::None => None,
            CellLock::Reentrant(lock) => Some(lock.as_any()),
            CellLock::Plain(lock) => Some(lock.as_any()),
            CellLock::Foreign(lock) => Some(lock),
        }
    }

    fn bound_lock<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        match self.lock() {
            Some(lock) => Ok(lock.bind(py)),
            None => Err(PyAttributeError::new_err("this value has no lock")),
        }
    }
}

#[pymethods]
impl Cell {
    #[new]
    #[pyo3(signature = (typecode, memory, offset=0, lock=None))]
    fn new(typecode: &str, memory: &Bound<'_, SharedBytes>, offset: i64, lock: Option<Py<PyAny>>) -> PyResult<Self> {
        let code = Code::parse(typecode)?;
        let offset = usize::try_from(offset).map_err(|_| PyValueError::new_err("offset is negative"))?;
        let lock = CellLock::new(memory.py(), lock);
        let cell = Self { memory: memory.get().body.clone(), offset, code, lock };
        cell.word()?;
        Ok(cell)
    }

    /// The number; the lock is held while it is read or written.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let word = self.word_to_lock()?;
        let bits = self.locked(py, || Ok(word.load()))?;
        self.code.to_object(py, bits)
    }

    #[setter]
    fn set_value(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let word = self.word_to_lock()?;
        // The conversion may run the value's own code, so it is done without the lock.
        let bits = self.code.to_bits(value)?;
        self.locked(py, || {
            word.store(bits);
            Ok(())
        })
    }

    /// Adds in a single step, without the lock, and returns the previous value. Integers wrap as in C.
    fn fetch_add<'py>(&self, py: Python<'py>, n: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !self.code.is_number() {
            return Err(PyTypeError::new_err(format!("values of type code {:?} cannot be added to", self.code)));
        }
        let addend = self.code.to_bits(n).map_err(|e| parameters::refused(n, "n", "a number", e))?;
        let before = self.word()?.update(|bits| Some(self.code.add(bits, addend)));
        self.code.to_object(py, before.unwrap_or_else(|bits| bits))
    }

    /// Sets the value to `new` if it equals `expected`, in a single step and without the lock; returns whether it did.
    fn compare_exchange(&self, expected: &Bound<'_, PyAny>, new: &Bound<'_, PyAny>) -> PyResult<bool> {
        let must_be = if self.code.is_number() { "a number" } else { "one character, as bytes" };
        let bits = |value, name| self.code.to_bits(value).map_err(|e| parameters::refused(value, name, must_be, e));
        let (expected, new) = (bits(expected, "expected")?, bits(new, "new")?);
        Ok(self.word()?.update(|bits| self.code.equal(bits, expected).then_some(new)).is_ok())
    }

    /// Returns the lock; None if there is none.
    fn get_lock<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.lock().map(|lock| lock.bind(py))
    }

    /// Calls `acquire` of the lock.
    #[pyo3(signature = (*args, **kwargs))]
    fn acquire<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.bound_lock(args.py())?.call_method(intern!(args.py(), "acquire"), args, kwargs)
    }

    /// Calls `release` of the lock.
    fn release<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.bound_lock(py)?.call_method0(intern!(py, "release"))
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.bound_lock(py)?.call_method0(intern!(py, "__enter__"))
    }

    #[pyo3(signature = (*args))]
    fn __exit__<'py>(&self, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.bound_lock(args.py())?.call_method1(intern!(args.py(), "__exit__"), args)
    }

    /// Those of its lock, since that is what its users wait for.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.bound_lock(py)?.call_method0(intern!(py, "statistics"))
    }
}
