//! A pickler of the program's own that replaces the standard library's `ForkingPickler`.
//!
//! All objects then go through it, even those that otherwise skip pickle, since its purpose may be to avoid unpickling,
//! or to count.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::buffers;
use crate::fast::calls;

/// The ways that objects are sent. As in the standard library, each may have its own pickler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Queues, pools and executors.
    Queues = 1,
    Connections = 2,
}

type Functions = Option<(Py<PyAny>, Py<PyAny>)>;

/// The ways that have such a pickler.
static ARE_SET: AtomicU8 = AtomicU8::new(0);
static FUNCTIONS: Mutex<[Functions; 2]> = Mutex::new([None, None]);

thread_local! {
    static WAY: Cell<Way> = const { Cell::new(Way::Queues) };
}

/// While this exists, objects that this thread pickles are sent through a connection.
pub(crate) struct ThroughConnection(Way);

impl ThroughConnection {
    #[inline(always)]
    pub(crate) fn begin() -> Option<Self> {
        (ARE_SET.load(Ordering::Relaxed) != 0).then(|| Self(WAY.replace(Way::Connections)))
    }
}

impl Drop for ThroughConnection {
    fn drop(&mut self) {
        WAY.set(self.0);
    }
}

/// While this exists, the program's own code runs; objects that it sends do not count as sent through the connection.
struct Inside(Way);

impl Inside {
    fn begin() -> Self {
        Self(WAY.replace(Way::Queues))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        WAY.set(self.0);
    }
}

/// Whether there is such a pickler for the current way of sending.
#[inline(always)]
pub(crate) fn is_set() -> bool {
    let set = ARE_SET.load(Ordering::Relaxed);
    set != 0 && set & WAY.get() as u8 != 0
}

/// Has all objects that go through queues, or through connections, go through these two, `dumps` and `loads`; or, with
/// None, through pickle again.
#[pyfunction]
#[pyo3(signature = (queues, connections))]
pub(crate) fn replace_picklers(py: Python<'_>, queues: Functions, connections: Functions) {
    let mut place = FUNCTIONS.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
    let bit = |functions: &Functions, way: Way| if functions.is_some() { way as u8 } else { 0 };
    ARE_SET.store(bit(&queues, Way::Queues) | bit(&connections, Way::Connections), Ordering::Relaxed);
    let before = std::mem::replace(&mut *place, [queues, connections]);
    // Dropping objects may run user code, so they are dropped after the lock is released.
    drop(place);
    drop(before);
}

/// Its `dumps` and `loads`, or None if it has been removed.
fn functions(py: Python<'_>) -> Functions {
    let place = FUNCTIONS.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
    let [queues, connections] = &*place;
    let functions = if WAY.get() == Way::Queues { queues } else { connections };
    functions.as_ref().map(|(dumps, loads)| (dumps.clone_ref(py), loads.clone_ref(py)))
}

/// The bytes that it makes from an object.
#[cold]
pub(crate) fn dumps(obj: &Bound<'_, PyAny>) -> Option<PyResult<Vec<u8>>> {
    let py = obj.py();
    let (dumps, _) = functions(py)?;
    let _inside = Inside::begin();
    let dumped = calls::call_one(dumps.bind(py), obj);
    Some(dumped.and_then(|dumped| buffers::with_bytes(&PyUntypedBuffer::get(&dumped)?, |bytes| Ok(bytes.to_vec()))))
}

/// The object that it makes from these bytes.
#[cold]
pub(crate) fn loads<'py>(bytes: &Bound<'py, PyAny>) -> Option<PyResult<Bound<'py, PyAny>>> {
    let py = bytes.py();
    let (_, loads) = functions(py)?;
    let _inside = Inside::begin();
    let whole =
        PyUntypedBuffer::get(bytes).and_then(|view| buffers::with_bytes(&view, |bytes| buffers::to_bytes(py, bytes)));
    Some(whole.and_then(|whole| calls::call_one(loads.bind(py), whole.as_any())))
}
