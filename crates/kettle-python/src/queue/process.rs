//! `Queue`: `put` pickles, `get` rebuilds, and the core does the rest.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::arena::{Block, Handle};
use kettle_core::queue::{self, GetError, JoinError, Parcel, PutError, Taken};
use kettle_core::shared::{ArenaStore, place_of};
use kettle_core::wait::{Deadline, EventCount, Line, Patience, Scope};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyType, PyWeakrefMethods, PyWeakrefReference};

use super::queue_statistics;
use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::fast::{Ours, calls};
use crate::message;
use crate::parameters::{self, Timeout};
use crate::pickle::{self, Encoded};
use crate::primitive::{self, Waitable, picklable, waitable};
use crate::sync::between_threads::Truth;

type Outgoing<'b> = Parcel<'b, ArenaStore>;
type Incoming = Taken<Block>;

/// A first-in, first-out queue between processes, bounded when `maxsize` is positive.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Queue {
    body: Handle<queue::Queue>,
    closed: AtomicBool,
    name: Option<String>,
    front: OnceLock<Front>,
}

/// The queue of `kettle.multiprocessing` that contains this one. It has `put` and `get` of this one as its own
/// attributes, which saves a call. If its class is changed later, these two have to call the class's method instead.
struct Front {
    queue: Py<PyWeakrefReference>,
    class: Py<PyType>,
    /// The methods of the class at that time.
    methods: Vec<Py<PyAny>>,
    ours: Ours,
}

/// The methods that a class may define.
const METHODS: [&str; 3] = ["put", "get", "_on_queue_feeder_error"];

impl Front {
    fn methods_of(class: &Bound<'_, PyType>) -> PyResult<Vec<Py<PyAny>>> {
        METHODS.iter().filter_map(|name| class.getattr_opt(*name).transpose()).map(|m| m.map(Bound::unbind)).collect()
    }

    /// The queue, if its class has changed and its method has to be called.
    #[inline]
    fn to_be_asked<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let class = self.class.bind(py);
        let is_unchanged = self.ours.in_type(class, || {
            let now = Self::methods_of(class)?;
            Ok(now.len() == self.methods.len() && now.iter().zip(&self.methods).all(|(now, then)| now.is(then)))
        });
        if is_unchanged { None } else { self.queue.bind(py).upgrade() }
    }
}

thread_local! {
    /// The buffer for short bodies that are about to be rebuilt. Moved out while in use: rebuilding may get in turn.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// More capacity than this is not kept for the next message.
const SCRATCH_KEPT: usize = 64 * 1024;

impl Queue {
    fn open(&self, slf: &Bound<'_, Self>) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) {
            let repr = slf.repr()?;
            return Err(PyValueError::new_err(format!("Queue {repr} is closed")));
        }
        Ok(())
    }

    fn put_parcel(&self, py: Python<'_>, parcel: Outgoing<'_>, deadline: Deadline) -> PyResult<()> {
        let place = place_of(&self.body);
        // In the ordinary case there is room and the lock is free, so the thread need not detach. A process outside the
        // session cannot take the queue's lock, so it finds the queue full here.
        let parcel = match self.body.put(place, parcel, &Patience::instant()) {
            Ok(()) => return Ok(()),
            Err(PutError::Full(parcel)) => parcel,
            Err(e) => return Err(put_error(py, e)),
        };
        errors::take_part()?;
        let body = &self.body;
        wait_outside(py, deadline, |p| body.put(place, parcel, p).map_err(PutFailure::from))?.map_err(|e| e.into_py(py))
    }

    fn take(&self, py: Python<'_>, bytes: &mut Vec<u8>, deadline: Deadline) -> PyResult<Incoming> {
        // A process outside the session cannot take the queue's lock, so it finds the queue empty here, unless it is
        // shut.
        match self.body.get::<ArenaStore>(bytes, &Patience::instant()) {
            Ok(taken) => return Ok(taken),
            Err(GetError::Empty | GetError::Interrupted) => {}
            Err(e) => return Err(get_error(py, e)),
        }
        errors::take_part()?;
        let body = &self.body;
        wait_outside(py, deadline, |p| body.get::<ArenaStore>(bytes, p))?.map_err(|e| get_error(py, e))
    }

    fn get_object<'py>(&self, py: Python<'py>, deadline: Deadline) -> PyResult<Bound<'py, PyAny>> {
        let mut bytes = SCRATCH.take();
        bytes.clear();
        let result = self.take(py, &mut bytes, deadline).and_then(|taken| message::rebuild(py, taken, &bytes));
        if bytes.capacity() <= SCRATCH_KEPT {
            SCRATCH.replace(bytes);
        }
        result
    }
}

fn get_error(py: Python<'_>, e: GetError) -> PyErr {
    match e {
        GetError::ShutDown => errors::shut_down(py),
        GetError::Empty | GetError::Interrupted => errors::empty(py),
        GetError::Exhausted(e) => errors::exhausted(e),
        GetError::Damaged => errors::session_damaged(),
    }
}

/// The error of a put, without the message that it returns.
enum PutFailure {
    Full,
    ShutDown,
    Exhausted(queue::Exhausted),
    Damaged,
}

impl<P> From<PutError<P>> for PutFailure {
    fn from(e: PutError<P>) -> Self {
        match e {
            PutError::Full(_) | PutError::Interrupted(_) => Self::Full,
            PutError::ShutDown(_) => Self::ShutDown,
            PutError::Exhausted(_, e) => Self::Exhausted(e),
            PutError::Damaged(_) => Self::Damaged,
        }
    }
}

impl PutFailure {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Full => errors::full(py),
            Self::ShutDown => errors::shut_down(py),
            Self::Exhausted(e) => errors::exhausted(e),
            Self::Damaged => errors::session_damaged(),
        }
    }
}

fn put_error<P>(py: Python<'_>, e: PutError<P>) -> PyErr {
    PutFailure::from(e).into_py(py)
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (maxsize=0, *, joinable=false, name=None, _token=None))]
    fn new(
        #[pyo3(from_py_with = parameters::maxsize)] maxsize: i64,
        joinable: bool,
        #[pyo3(from_py_with = parameters::name)] name: Option<String>,
        _token: Option<&[u8]>,
    ) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => {
                // Zero and less means unbounded, as in the standard library.
                let maxsize = u32::try_from(maxsize.max(0))
                    .map_err(|_| PyValueError::new_err("maxsize must be less than 2**32"))?;
                Handle::new(|| queue::Queue::new(maxsize, joinable)).map_err(errors::arena)?
            }
        };
        Ok(Self { body, closed: AtomicBool::new(false), name, front: OnceLock::new() })
    }

    /// Puts an item, waiting for room at most `timeout` seconds (None: forever), or not at all if `block` is false.
    /// Raises `queue.Full` if there is none, and ShutDown after `shutdown`.
    #[pyo3(signature = (obj, block=Truth(true), timeout=Timeout(None)), text_signature = "($self, obj, block=True, timeout=None)")]
    fn put(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>, block: Truth, timeout: Timeout) -> PyResult<()> {
        let (block, timeout) = (block.0, timeout.0);
        let this = slf.get();
        let py = slf.py();
        this.open(slf)?;
        let encoded = pickle::encode_or_explain(obj)?;
        message::with_parcel(py, &encoded, |parcel| this.put_parcel(py, parcel, deadline(block, timeout)))
    }

    /// `put(obj, block=False)`.
    fn put_nowait(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::put(slf, obj, Truth(false), Timeout(None))
    }

    /// Says that `queue` has `_kettle_put` and `_kettle_get` for `put` and `get` of its own.
    fn _kettle_set_front(&self, queue: &Bound<'_, PyAny>) -> PyResult<()> {
        let class = queue.get_type();
        let methods = Front::methods_of(&class)?;
        let queue = PyWeakrefReference::new(queue)?.unbind();
        // Set once: it is created with its queue.
        drop(self.front.set(Front { queue, class: class.unbind(), methods, ours: Ours::new() }));
        Ok(())
    }

    /// `put` of the queue in front.
    #[pyo3(signature = (obj, block=Truth(true), timeout=Timeout(None)), text_signature = "($self, obj, block=True, timeout=None)")]
    fn _kettle_put(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>, block: Truth, timeout: Timeout) -> PyResult<()> {
        match slf.get().front.get().and_then(|front| front.to_be_asked(slf.py())) {
            None => Self::put(slf, obj, block, timeout),
            Some(queue) => calls::call_method(&queue, "_kettle_put_changed", (obj, block.0, timeout.0)).map(drop),
        }
    }

    /// `get` of the queue in front.
    #[pyo3(signature = (block=Truth(true), timeout=Timeout(None)), text_signature = "($self, block=True, timeout=None)")]
    fn _kettle_get<'py>(slf: &Bound<'py, Self>, block: Truth, timeout: Timeout) -> PyResult<Bound<'py, PyAny>> {
        match slf.get().front.get().and_then(|front| front.to_be_asked(slf.py())) {
            None => Self::get(slf, block, timeout),
            Some(queue) => calls::call_method(&queue, "_kettle_get_changed", (block.0, timeout.0)),
        }
    }

    /// Puts all items, in order. After the timeout raises queue.Full, whose `done` is the number of items that were
    /// put.
    #[pyo3(signature = (objs, block=true, timeout=None))]
    fn put_many(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = parameters::truth)] block: bool,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<u64> {
        let this = slf.get();
        let py = slf.py();
        let deadline = deadline(block, timeout);
        let mut done = 0;
        for obj in objs.try_iter()? {
            let result = this.open(slf).and_then(|()| {
                let encoded: Encoded<'_> = pickle::encode_or_explain(&obj?)?;
                message::with_parcel(py, &encoded, |parcel| this.put_parcel(py, parcel, deadline))
            });
            if let Err(e) = result {
                e.value(py).setattr(intern!(py, "done"), done)?;
                return Err(e);
            }
            done += 1;
        }
        Ok(done)
    }

    /// Returns the next item, waiting for one at most `timeout` seconds (None: forever), or not at all if `block` is
    /// false. Raises `queue.Empty` if there is none, and ShutDown after `shutdown` once the queue is empty.
    #[pyo3(signature = (block=Truth(true), timeout=Timeout(None)), text_signature = "($self, block=True, timeout=None)")]
    fn get<'py>(slf: &Bound<'py, Self>, block: Truth, timeout: Timeout) -> PyResult<Bound<'py, PyAny>> {
        let (block, timeout) = (block.0, timeout.0);
        let this = slf.get();
        this.open(slf)?;
        this.get_object(slf.py(), deadline(block, timeout))
    }

    /// `get(block=False)`.
    fn get_nowait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::get(slf, Truth(false), Timeout(None))
    }

    /// Waits for the first item, then takes up to `max` of the available items.
    #[pyo3(signature = (max, timeout=None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = parameters::max)] max: i64,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let this = slf.get();
        let py = slf.py();
        if max < 1 {
            return Err(PyValueError::new_err("max must be at least 1"));
        }
        this.open(slf)?;
        let items = PyList::empty(py);
        items.append(this.get_object(py, deadline(true, timeout))?)?;
        // Only items that are certainly there are taken: an error in the middle would lose the items before it.
        while (items.len() as i64) < max && !this.body.is_empty() {
            match this.get_object(py, Deadline::NOW) {
                Ok(item) => items.append(item)?,
                Err(e) if e.is_instance(py, &errors::empty(py).get_type(py)) => break,
                Err(e) => {
                    // An item that cannot be rebuilt was taken; the items before it must not be lost with it.
                    e.value(py).setattr(intern!(py, "items"), &items)?;
                    return Err(e);
                }
            }
        }
        Ok(items)
    }

    /// Returns the number of items.
    fn qsize(&self) -> PyResult<u32> {
        errors::check()?;
        Ok(self.body.len())
    }

    /// Returns whether there is no item.
    fn empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        errors::check()?;
        slf.get().open(slf)?;
        Ok(slf.get().body.is_empty())
    }

    /// Returns whether there is no room for another item.
    fn full(&self) -> PyResult<bool> {
        errors::check()?;
        Ok(self.body.is_full())
    }

    /// The maximum number of items; 0: limited only by memory.
    #[getter]
    fn maxsize(&self) -> u32 {
        self.body.maxsize()
    }

    /// Accepts no more items; those inside can still be taken, unless `immediate`, which drops them.
    #[pyo3(signature = (immediate=false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        errors::take_part()?;
        let body = &self.body;
        py.detach(|| body.shutdown::<ArenaStore>(immediate));
        Ok(())
    }

    /// Whether `shutdown` was called.
    #[getter]
    fn is_shutdown(&self) -> bool {
        self.body.is_shut()
    }

    /// Marks a taken item as finished. Raises ValueError if it is called more often than items were put.
    fn task_done(&self, py: Python<'_>) -> PyResult<()> {
        errors::check()?;
        if self.body.task_done::<ArenaStore>().is_ok() {
            return Ok(());
        }
        errors::take_part()?;
        let ahead = wait_outside(py, Deadline::NEVER, |p| self.body.task_done_ahead::<ArenaStore>(p))?;
        match ahead {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                Err(PyValueError::new_err("task_done() called too many times: once for each item that get() gave"))
            }
            Err(stopped) => errors::in_time(Err(stopped)).map(drop),
        }
    }

    /// Waits until every item that was put is finished; returns False after the timeout. Raises ConsumerDied when a
    /// process died with unfinished items.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        errors::take_part()?;
        let body = &self.body;
        match wait_outside(py, deadline(true, timeout), |p| body.join::<ArenaStore>(p))? {
            Ok(()) => Ok(true),
            Err(JoinError::Stopped(stopped)) => errors::in_time(Err(stopped)),
            Err(JoinError::ConsumerDied(loss)) => Err(errors::consumer_died(py, loss)),
            Err(JoinError::Exhausted(e)) => Err(errors::exhausted(e)),
        }
    }

    /// Whether nothing is unfinished; raises ConsumerDied as `join` does.
    fn _join_ready(&self, py: Python<'_>) -> PyResult<bool> {
        errors::check()?;
        if self.body.unfinished::<ArenaStore>() == 0 {
            return Ok(true);
        }
        match self.body.find_loss::<ArenaStore>() {
            Some(loss) => Err(errors::consumer_died(py, loss)),
            None => Ok(false),
        }
    }

    /// Like `_kettle_arm`, for waiting in `join`.
    #[pyo3(signature = (door, _ticket=0, _bits=0))]
    fn _arm_join(&self, door: u64, _ticket: u32, _bits: u32) -> u32 {
        self.door(door).is_some_and(|d| self.body.finished().leave_door(d)).into()
    }

    fn _disarm_join(&self, door: u64) {
        if let Some(d) = self.door(door) {
            self.body.finished().take_door(d, Scope::Shared);
        }
    }

    /// Like `_kettle_arm`, for waiting for room for `put`; so are the four that follow.
    fn _arm_space(&self, door: u64, ticket: u32, bits: u32) -> u32 {
        let space = self.body.space();
        self.door(door).map_or(0, |d| primitive::leave_door(space.events(), Some(space), d, ticket, bits))
    }

    fn _disarm_space(&self, door: u64) {
        if let Some(d) = self.door(door) {
            self.body.space().events().take_door(d, Scope::Shared);
        }
    }

    fn _take_ticket_space(&self) -> u32 {
        self.body.space().take_ticket().number()
    }

    #[pyo3(signature = (bits=0))]
    fn _is_admitted_space(&self, bits: u32) -> bool {
        primitive::is_admitted(Some(self.body.space()), bits, || self.body.spare())
    }

    fn _leave_space(&self, ticket: u32, bits: u32) {
        primitive::leave(Some(self.body.space()), ticket, bits, Scope::Shared, || self.body.spare());
    }

    /// Closes this handle: put and get raise ValueError from now on.
    fn _close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Puts bytes as they are, for callers that do their own pickling.
    #[pyo3(signature = (data, block=true, timeout=None))]
    fn _put_bytes(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyBytes>,
        #[pyo3(from_py_with = parameters::truth)] block: bool,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<()> {
        Self::put(slf, data.as_any(), Truth(block), Timeout(timeout))
    }

    #[pyo3(signature = (block=true, timeout=None))]
    fn _get_bytes<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = parameters::truth)] block: bool,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::get(slf, Truth(block), Timeout(timeout))
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let s = self.body.statistics::<ArenaStore>();
        queue_statistics(py, s.size.into(), &s)
    }
}
picklable!(Queue);

impl Queue {
    fn door(&self, door: u64) -> Option<kettle_core::wait::Door> {
        kettle_core::wait::Door::from_bits(door).map(|d| d.calling(primitive::key(&self.body)))
    }
}

impl Waitable for Queue {
    fn ready(&self) -> bool {
        self.available() > 0
    }
    fn available(&self) -> u32 {
        if self.body.is_shut() { u32::MAX } else { self.body.len() }
    }
    fn events(&self) -> &EventCount {
        self.body.items().events()
    }
    fn line(&self) -> Option<&Line> {
        Some(self.body.items())
    }
    fn call(&self) -> u32 {
        primitive::key(&self.body)
    }
}
waitable!(Queue);
