//! Converting objects to bytes and back, with the interpreter's own pickler.
//!
//! A handful of exact types skip it, and so do small containers of these (`compact`). For the rest each thread keeps a
//! `_pickle.Pickler` and clears its memo after each use: creating a new one costs more than pickling a small object.

use std::cell::RefCell;

use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyException, PyKeyError, PyMemoryError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use std::sync::Mutex;

use kettle_core::arena::{Names, Token};

use crate::buffers;
use crate::compact::{self, Compact};
use crate::fast::calls;
use crate::{errors, primitive, replaced};

/// The kind of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Pickle = 0,
    None = 1,
    True = 2,
    False = 3,
    Int = 4,
    Float = 5,
    Bytes = 6,
    Str = 7,
    Compact = 8,
}

impl Tag {
    pub(crate) fn from_u8(tag: u8) -> PyResult<Self> {
        Ok(match tag {
            0 => Self::Pickle,
            1 => Self::None,
            2 => Self::True,
            3 => Self::False,
            4 => Self::Int,
            5 => Self::Float,
            6 => Self::Bytes,
            7 => Self::Str,
            8 => Self::Compact,
            _ => return Err(PyValueError::new_err(format!("a message of an unknown kind ({tag})"))),
        })
    }
}

/// An object ready to be sent.
pub(crate) enum Encoded<'py> {
    /// Eight bytes or less.
    Word(Tag, [u8; 8], usize),
    /// The bytes are in the object itself.
    Bytes(Bound<'py, PyBytes>),
    /// The bytes are in the object itself.
    Str(Bound<'py, PyString>),
    /// A small container of plain objects.
    Compact(Compact),
    /// A pickle, its out-of-band buffers, and the handles in it.
    Pickle(Pickle, Vec<PyBuffer<u8>>, Names),
}

/// The bytes of a pickle: the pickler's own object, if it wrote them in one piece.
pub(crate) enum Pickle {
    Whole(Py<PyBytes>),
    Joined(Vec<u8>),
}

impl Pickle {
    pub(crate) fn as_bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Whole(bytes) => bytes.as_bytes(py),
            Self::Joined(bytes) => bytes,
        }
    }
}

/// Buffers of at least this many bytes are sent out of band; for smaller ones a block costs more than the copy.
pub(crate) const OUT_OF_BAND: usize = 64 * 1024;

/// The maximum number of out-of-band buffers of a pickle. Its names are one more part, and a pool may have to send the
/// pickle itself as another.
const BUFFERS_MAX: usize = kettle_core::queue::PARTS_MAX - 2;

/// Encodes `obj`, or raises what pickling it raised.
pub(crate) fn encode<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    if replaced::is_set() {
        return pickled(obj);
    }
    // Exact types only: `np.float64` is a float, and must arrive as what it was.
    if let Ok(i) = obj.cast_exact::<PyInt>() {
        if let Ok(i) = i.extract::<i64>() {
            return Ok(Encoded::Word(Tag::Int, i.to_ne_bytes(), 8));
        }
    } else if let Ok(s) = obj.cast_exact::<PyString>() {
        // Lone surrogates have no UTF-8 encoding; pickle can send them.
        if s.to_str().is_ok() {
            return Ok(Encoded::Str(s.clone()));
        }
    } else if let Ok(b) = obj.cast_exact::<PyBytes>() {
        return Ok(Encoded::Bytes(b.clone()));
    } else if obj.is_none() {
        return Ok(Encoded::Word(Tag::None, [0; 8], 0));
    } else if let Ok(f) = obj.cast_exact::<PyFloat>() {
        return Ok(Encoded::Word(Tag::Float, f.value().to_ne_bytes(), 8));
    } else if let Ok(b) = obj.cast_exact::<PyBool>() {
        return Ok(Encoded::Word(if b.is_true() { Tag::True } else { Tag::False }, [0; 8], 0));
    } else if let Some(compact) = compact::encode(obj) {
        return Ok(Encoded::Compact(compact));
    }
    pickled(obj)
}

fn pickled<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    let ((pickle, buffers), names) = for_a_message(|| pickle(obj.py(), obj, true))?;
    Ok(Encoded::Pickle(pickle, buffers, names))
}

/// Like [`encode`], for an object passed by the program: the error names the part of it that cannot be pickled.
pub(crate) fn encode_or_explain<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    encode(obj).map_err(|refused| explained(obj, refused))
}

/// The error to raise if `obj` could not be pickled.
#[cold]
pub(crate) fn explained(obj: &Bound<'_, PyAny>, refused: PyErr) -> PyErr {
    let py = obj.py();
    if !refused.is_instance_of::<PyException>(py) {
        return refused;
    }
    let explain = || {
        let module = py.import("kettle._unpicklable")?;
        calls::call_method(module.as_any(), intern!(py, "explain_object"), (refused.value(py), obj))
    };
    // Anything pickled in the meantime is discarded.
    let (result, _names) = Names::collect(|| primitive::to_any_receiver(explain));
    match result {
        Ok(error) if error.is(refused.value(py)) => refused,
        Ok(error) => PyErr::from_value(error),
        Err(interrupted) if !interrupted.is_instance_of::<PyException>(py) => interrupted,
        Err(_) => refused,
    }
}

/// Finds the reducer of a class: in the first of two dicts, or in the second. Both are searched each time, so reducers
/// that are registered later count too.
#[pyclass(frozen, mapping, module = "kettle._native")]
struct Reducers {
    first: Py<PyDict>,
    second: Py<PyDict>,
}

#[pymethods]
impl Reducers {
    fn __getitem__<'py>(&self, class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        if class.is(py.get_type::<primitive::Travelling>()) {
            return name_in_message(py);
        }
        match self.first.bind(py).get_item(class)? {
            Some(reducer) => Ok(reducer),
            None => self.second.bind(py).get_item(class)?.ok_or_else(|| PyKeyError::new_err(())),
        }
    }
}

/// The reducer of a handle's token, used only by this pickler.
fn name_in_message(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || Ok::<_, PyErr>(wrap_pyfunction!(primitive::name_in_message, py)?.into_any().unbind());
    Ok(FUNCTION.get_or_try_init(py, make)?.bind(py).clone())
}

/// What pickling consults, and the fallback if it fails.
struct Pickling {
    reducers: Py<Reducers>,
    fallback: Option<Py<PyAny>>,
}

static PICKLING: Mutex<Option<Pickling>> = Mutex::new(None);

/// Sets where pickling finds its reducers (in `first`, then in `second`), and the fallback for objects that it rejects.
#[pyfunction]
#[pyo3(signature = (first, second, fallback=None))]
pub(crate) fn set_pickler(
    py: Python<'_>,
    first: Py<PyDict>,
    second: Py<PyDict>,
    fallback: Option<Py<PyAny>>,
) -> PyResult<()> {
    let reducers = Py::new(py, Reducers { first, second })?;
    let mut place = PICKLING.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
    let before = place.replace(Pickling { reducers, fallback });
    // Dropping objects may run user code, so they are dropped after the lock is released.
    drop(place);
    drop(before);
    Ok(())
}

/// The pickler's output. A short pickle comes in one piece, which is kept as it is.
#[pyclass(module = "kettle._native")]
struct Sink(Option<Pickle>);

#[pymethods]
impl Sink {
    fn write(&mut self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = data.py();
        let mut joined = match self.0.take() {
            None => match data.cast_exact::<PyBytes>() {
                Ok(bytes) => {
                    self.0 = Some(Pickle::Whole(bytes.clone().unbind()));
                    return Ok(bytes.as_bytes().len());
                }
                Err(_) => Vec::new(),
            },
            Some(Pickle::Whole(bytes)) => {
                let mut joined = Vec::new();
                append(&mut joined, bytes.as_bytes(py))?;
                joined
            }
            Some(Pickle::Joined(bytes)) => bytes,
        };
        // Not always bytes: a large buffer inside a pickle is passed as it is, for example an array of doubles.
        let result = buffers::with_bytes(&PyUntypedBuffer::get(data)?, |bytes| {
            append(&mut joined, bytes)?;
            Ok(bytes.len())
        });
        self.0 = Some(Pickle::Joined(joined));
        result
    }
}

/// A pickle may be as long as memory allows: running out of memory is an error here, and does not end the process.
fn append(pickle: &mut Vec<u8>, bytes: &[u8]) -> PyResult<()> {
    pickle.try_reserve(bytes.len()).map_err(|_| PyMemoryError::new_err("no memory for a pickle"))?;
    pickle.extend_from_slice(bytes);
    Ok(())
}

/// Collects the buffers that pickling finds, and decides which of them are sent out of band.
#[pyclass(module = "kettle._native")]
struct Buffers {
    taken: Vec<PyBuffer<u8>>,
    out_of_band: bool,
}

#[pymethods]
impl Buffers {
    /// A true value keeps the buffer inside the pickle.
    fn __call__(&mut self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !self.out_of_band || self.taken.len() >= BUFFERS_MAX {
            return Ok(true);
        }
        // `raw()` rejects buffers that are not contiguous; those stay inside the pickle.
        let Ok(raw) = buffer.call_method0(intern!(buffer.py(), "raw")) else { return Ok(true) };
        let view = PyBuffer::<u8>::get(&raw)?;
        if view.len_bytes() < OUT_OF_BAND || view.readonly() {
            return Ok(true);
        }
        self.taken.push(view);
        Ok(false)
    }
}

struct Pickler {
    dump: Py<PyAny>,
    clear_memo: Py<PyAny>,
    sink: Py<Sink>,
    buffers: Py<Buffers>,
    /// The length of its longest pickle. The memo has room for everything that was in it, never shrinks, and is cleared
    /// completely each time: creating a new pickler is faster than using one whose memo is much too large.
    longest: usize,
}

impl Pickler {
    fn new(py: Python<'_>) -> PyResult<Self> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CLASS
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import("_pickle")?.getattr(intern!(py, "Pickler"))?.unbind()))?;
        let sink = Py::new(py, Sink(None))?;
        let buffers = Py::new(py, Buffers { taken: Vec::new(), out_of_band: false })?;
        let pickler = class.bind(py).call1((&sink, 5, true, &buffers))?;
        let reducers = {
            let pickling = PICKLING.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
            pickling.as_ref().map(|p| p.reducers.clone_ref(py))
        };
        if let Some(reducers) = reducers {
            pickler.setattr(intern!(py, "dispatch_table"), reducers)?;
        }
        let method = |name| Ok::<_, PyErr>(pickler.getattr(name)?.unbind());
        Ok(Self { dump: method("dump")?, clear_memo: method("clear_memo")?, sink, buffers, longest: 0 })
    }

    fn dump(&self, obj: &Bound<'_, PyAny>, out_of_band: bool) -> PyResult<(Pickle, Vec<PyBuffer<u8>>)> {
        let py = obj.py();
        self.buffers.borrow_mut(py).out_of_band = out_of_band;
        calls::call_one(self.dump.bind(py), obj)?;
        self.clear_memo.bind(py).call0()?;
        let pickle = self.sink.borrow_mut(py).0.take().unwrap_or(Pickle::Joined(Vec::new()));
        let buffers = std::mem::take(&mut self.buffers.borrow_mut(py).taken);
        Ok((pickle, buffers))
    }
}

/// Pickles of at most this many bytes leave a small memo behind.
const SHORT: usize = 512;

thread_local! {
    /// The thread's pickler while it is not in use: reducers may pickle in turn.
    static PICKLER: RefCell<Option<Pickler>> = const { RefCell::new(None) };
}

fn pickle(py: Python<'_>, obj: &Bound<'_, PyAny>, out_of_band: bool) -> PyResult<(Pickle, Vec<PyBuffer<u8>>)> {
    if replaced::is_set() {
        if let Some(pickle) = replaced::dumps(obj) {
            return Ok((Pickle::Joined(pickle?), Vec::new()));
        }
    }
    let mut pickler = match PICKLER.with_borrow_mut(Option::take) {
        Some(pickler) => pickler,
        None => Pickler::new(py)?,
    };
    match pickler.dump(obj, out_of_band) {
        Ok(dumped) => {
            let len = dumped.0.as_bytes(py).len();
            pickler.longest = pickler.longest.max(len);
            if pickler.longest / 8 <= len.max(SHORT) {
                PICKLER.with_borrow_mut(|p| *p = Some(pickler));
            }
            Ok(dumped)
        }
        // After a failure the memo may be incomplete, so the pickler is not used again.
        Err(e) => fall_back(py, obj, e).map(|pickle| (Pickle::Joined(pickle), Vec::new())),
    }
}

fn fall_back(py: Python<'_>, obj: &Bound<'_, PyAny>, refused: PyErr) -> PyResult<Vec<u8>> {
    // If memory ran out, there is none for another attempt.
    if !refused.is_instance_of::<PyException>(py) || refused.is_instance_of::<PyMemoryError>(py) {
        return Err(refused);
    }
    // If the fallback fails too, the first error is raised.
    match by_value(obj) {
        Some(Ok(pickle)) => Ok(pickle),
        Some(Err(_)) | None => Err(refused),
    }
}

/// A pickle that contains functions and classes of the program's main module by value instead of by name. Made by the
/// fallback, if there is one.
pub(crate) fn by_value(obj: &Bound<'_, PyAny>) -> Option<PyResult<Vec<u8>>> {
    if replaced::is_set() {
        return replaced::dumps(obj);
    }
    let fallback = {
        let pickling = PICKLING.lock_py_attached(obj.py()).unwrap_or_else(|e| e.into_inner());
        pickling.as_ref().and_then(|p| p.fallback.as_ref().map(|f| f.clone_ref(obj.py())))
    };
    Some(fallback?.bind(obj.py()).call1((obj,)).and_then(|pickle| pickle.extract()))
}

/// Runs `pickle`, which creates a message, and returns the handles in it, which live as long as the message.
pub(crate) fn for_a_message<T>(pickle: impl FnOnce() -> PyResult<T>) -> PyResult<(T, Names)> {
    let (result, names) = Names::collect(|| primitive::to_any_receiver(pickle));
    Ok((result?, names))
}

/// Like [`by_value`], for a message.
pub(crate) fn by_value_for_a_message(obj: &Bound<'_, PyAny>) -> Option<PyResult<(Vec<u8>, Names)>> {
    let (pickle, names) = Names::collect(|| primitive::to_any_receiver(|| by_value(obj)));
    Some(pickle?.map(|pickle| (pickle, names)))
}

/// Marks the end of a pickle that is followed by the token of its names. Pickles end with a dot.
const SEEN_OFF: [u8; 8] = *b"\0kettle\0";

/// Creates a pickle without out-of-band data and passes it to `send`, which sends it where the session cannot track it,
/// for example over a socket. If there are handles in it, the token of a list of them follows its end, where pickle
/// does not read.
pub(crate) fn send_off(obj: &Bound<'_, PyAny>, send: impl FnOnce(&[u8]) -> PyResult<()>) -> PyResult<()> {
    let py = obj.py();
    let ((pickle, _), names) = for_a_message(|| pickle(py, obj, false)).map_err(|refused| explained(obj, refused))?;
    let Some(token) = names.see_off().map_err(errors::arena)? else { return send(pickle.as_bytes(py)) };
    send(&[pickle.as_bytes(py), &token.to_bytes(), &SEEN_OFF].concat()).inspect_err(|_| {
        // The message never arrives, so its names are released here.
        let _ = Names::arrived(&token);
    })
}

/// The handles of a pickle that was sent by `send_off` and arrives now.
pub(crate) fn arrived(pickle: &[u8]) -> Names {
    let token = pickle.strip_suffix(&SEEN_OFF).and_then(<[u8]>::last_chunk);
    // A copy of the message may have been read before: then each handle reports whether it still exists.
    token.and_then(|token| Names::arrived(&Token::from_bytes(token)).ok()).unwrap_or_default()
}

/// A pickle without out-of-band data. Handles in it live as long as the session, or as long as the message if this is
/// called while a message is created from the result.
#[pyfunction]
pub(crate) fn dumps<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = obj.py();
    Ok(match pickle(py, obj, false)?.0 {
        Pickle::Whole(bytes) => bytes.into_bound(py),
        Pickle::Joined(bytes) => buffers::to_bytes(py, &bytes)?,
    })
}

/// Rebuilds an object from a pickle and its out-of-band buffers.
pub(crate) fn loads<'py>(pickle: &Bound<'py, PyAny>, buffers: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = pickle.py();
    if replaced::is_set() && buffers.is_empty() {
        if let Some(object) = replaced::loads(pickle) {
            return object;
        }
    }
    let loads = LOADS
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("_pickle")?.getattr(intern!(py, "loads"))?.unbind()))?
        .bind(py);
    if buffers.is_empty() {
        return calls::call_one(loads, pickle);
    }
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "buffers"), PyList::new(py, buffers)?)?;
    calls::call_with(loads, &(pickle,).into_pyobject(py)?, &kwargs)
}
