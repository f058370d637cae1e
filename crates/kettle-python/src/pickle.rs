//! Objects to bytes and back, with the interpreter's own pickler.
//!
//! A handful of exact types skip it, and so do small containers of these (`compact`). For the rest each thread keeps a `_pickle.Pickler` and clears its memo after each
//! use: making one anew costs more than pickling a small object.

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
use crate::methods::calls;
use crate::{errors, primitive, replaced};

/// What kind of body a message has.
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
    /// The bytes stand in the object itself.
    Bytes(Bound<'py, PyBytes>),
    /// Likewise.
    Str(Bound<'py, PyString>),
    /// A small container of plain objects.
    Compact(Compact),
    /// A pickle, the buffers that travel beside it, and the handles in it.
    Pickle(Pickle, Vec<PyBuffer<u8>>, Names),
}

/// The bytes of a pickle: as the pickler handed them over, if it did so in one piece.
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

/// Buffers of at least this many bytes travel beside the pickle; for smaller ones a block costs more than the copy.
pub(crate) const OUT_OF_BAND: usize = 64 * 1024;

/// So many buffers travel beside a pickle; its names are one more part, and a pool may have to send the pickle itself as
/// another.
const BUFFERS_MAX: usize = kettle_core::queue::PARTS_MAX - 2;

/// Encodes `obj`, or raises what pickling it raised.
pub(crate) fn encode<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    if replaced::is_set() {
        return pickled(obj);
    }
    // Exact types alone: `np.float64` is a float, and must arrive as what it was.
    if let Ok(i) = obj.cast_exact::<PyInt>() {
        if let Ok(i) = i.extract::<i64>() {
            return Ok(Encoded::Word(Tag::Int, i.to_ne_bytes(), 8));
        }
    } else if let Ok(s) = obj.cast_exact::<PyString>() {
        // Lone surrogates have no UTF-8: pickle knows how to send them.
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

/// As [`encode`], for an object that the program sends as it is: the error says where in there it is that cannot be pickled.
pub(crate) fn encode_or_explain<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    encode(obj).map_err(|refused| explained(obj, refused))
}

/// The error to raise where `obj` could not be pickled.
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
    // What is pickled meanwhile goes nowhere.
    let (result, _names) = Names::collect(|| primitive::to_anybody(explain));
    match result {
        Ok(error) if error.is(refused.value(py)) => refused,
        Ok(error) => PyErr::from_value(error),
        Err(interrupted) if !interrupted.is_instance_of::<PyException>(py) => interrupted,
        Err(_) => refused,
    }
}

/// Finds the reducer of a class: in the first of two dicts, or in the second. Both are looked at each time, so what is
/// registered later counts too.
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

/// The reducer of a handle's token, which is for this pickler alone.
fn name_in_message(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || Ok::<_, PyErr>(wrap_pyfunction!(primitive::name_in_message, py)?.into_any().unbind());
    Ok(FUNCTION.get_or_try_init(py, make)?.bind(py).clone())
}

/// What pickling consults, and what is tried when it fails.
struct Pickling {
    reducers: Py<Reducers>,
    fallback: Option<Py<PyAny>>,
}

static PICKLING: Mutex<Option<Pickling>> = Mutex::new(None);

/// Says where pickling finds its reducers (in `first`, then in `second`), and what to try on what it refuses.
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
    // Letting objects go may run anybody's code: not under the lock.
    drop(place);
    drop(before);
    Ok(())
}

/// Where the pickler writes to. A short pickle comes in one piece, which is kept as it is.
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
        // Not always bytes: a large buffer inside a pickle comes as what it is, an array of doubles perhaps.
        let result = buffers::with_bytes(&PyUntypedBuffer::get(data)?, |bytes| {
            append(&mut joined, bytes)?;
            Ok(bytes.len())
        });
        self.0 = Some(Pickle::Joined(joined));
        result
    }
}

/// A pickle may be as long as memory allows: that there is no more of it is an error, and not the end of the process.
fn append(pickle: &mut Vec<u8>, bytes: &[u8]) -> PyResult<()> {
    pickle.try_reserve(bytes.len()).map_err(|_| PyMemoryError::new_err("no memory for a pickle"))?;
    pickle.extend_from_slice(bytes);
    Ok(())
}

/// Collects the buffers that pickling finds; tells pickle which to leave out.
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
        // `raw()` refuses what is not contiguous; such a buffer travels inside.
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
    /// The length of its longest pickle. The memo has room for all that was in it, never shrinks, and is cleared as a
    /// whole each time: to make a pickler anew is faster than to use one with a memo that is much too large.
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

/// Pickles of at most so many bytes leave a small memo behind.
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
        // One that failed may hold half a memo: it is not used again.
        Err(e) => fall_back(py, obj, e).map(|pickle| (Pickle::Joined(pickle), Vec::new())),
    }
}

fn fall_back(py: Python<'_>, obj: &Bound<'_, PyAny>, refused: PyErr) -> PyResult<Vec<u8>> {
    // Where there was no memory for it, there is none to do it again.
    if !refused.is_instance_of::<PyException>(py) || refused.is_instance_of::<PyMemoryError>(py) {
        return Err(refused);
    }
    // What the fallback cannot do either is told in the words of the first refusal.
    match by_value(obj) {
        Some(Ok(pickle)) => Ok(pickle),
        Some(Err(_)) | None => Err(refused),
    }
}

/// A pickle in which functions and classes of the program's main module stand themselves, and not by name: made by the
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

/// Runs `pickle`, which makes a message, and gives the handles that are in it: they live as long as the message does.
pub(crate) fn for_a_message<T>(pickle: impl FnOnce() -> PyResult<T>) -> PyResult<(T, Names)> {
    let (result, names) = Names::collect(|| primitive::to_anybody(pickle));
    Ok((result?, names))
}

/// As [`by_value`], for a message.
pub(crate) fn by_value_for_a_message(obj: &Bound<'_, PyAny>) -> Option<PyResult<(Vec<u8>, Names)>> {
    let (pickle, names) = Names::collect(|| primitive::to_anybody(|| by_value(obj)));
    Some(pickle?.map(|pickle| (pickle, names)))
}

/// What ends a pickle behind which stands the token of its names. Pickles end with a dot.
const SEEN_OFF: [u8; 8] = *b"\0kettle\0";

/// Makes a pickle with everything inside and hands it to `send`, which takes it where the session cannot see it: over a
/// socket, say. If there are handles in it, the token of a list of them stands behind its end, where pickle does not look.
pub(crate) fn send_off(obj: &Bound<'_, PyAny>, send: impl FnOnce(&[u8]) -> PyResult<()>) -> PyResult<()> {
    let py = obj.py();
    let ((pickle, _), names) = for_a_message(|| pickle(py, obj, false)).map_err(|refused| explained(obj, refused))?;
    let Some(token) = names.see_off().map_err(errors::arena)? else { return send(pickle.as_bytes(py)) };
    send(&[pickle.as_bytes(py), &token.to_bytes(), &SEEN_OFF].concat()).inspect_err(|_| {
        // It never will.
        let _ = Names::arrived(&token);
    })
}

/// The handles of a pickle that was sent off, and arrives now.
pub(crate) fn arrived(pickle: &[u8]) -> Names {
    let token = pickle.strip_suffix(&SEEN_OFF).and_then(<[u8]>::last_chunk);
    // A message that others have looked at may have arrived before: then each handle says whether it is still there.
    token.and_then(|token| Names::arrived(&Token::from_bytes(token)).ok()).unwrap_or_default()
}

/// A pickle with everything inside. Handles in it live as long as the session; or as long as the message, where this is
/// called while a message is made of the result.
#[pyfunction]
pub(crate) fn dumps<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = obj.py();
    Ok(match pickle(py, obj, false)?.0 {
        Pickle::Whole(bytes) => bytes.into_bound(py),
        Pickle::Joined(bytes) => buffers::to_bytes(py, &bytes)?,
    })
}

/// Rebuilds an object from a pickle and the buffers that came beside it.
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
