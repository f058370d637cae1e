//! `ObjectQueue`: the queues of Python objects between the threads of one process, `kettle.queue`.
//!
//! The body is the core's [`LocalQueue`], whose module documents the guarantees of its lock. This module keeps its part
//! of them: **the lock is taken only by threads that are attached to the interpreter**, and nothing detaches while it
//! is held. This has consequences that are hard to get otherwise:
//!
//! - with a GIL no thread ever finds it taken; without one, its holder needs nothing from the threads that wait for it,
//!   so a thread may wait for it while attached;
//! - a garbage collection, which is attached or has stopped the other threads at points where they do not hold the
//!   lock, sees every item, and always the same ones;
//! - `fork` finds it free, so that the child has nothing to repair;
//! - a signal handler, a finalizer or a comparison that uses the queue again finds it free too.
//!
//! A waiting thread is detached, and reads only the body's atomic flags; it takes the item after it has attached again.
//!
//! When a program accesses the container, or the lock and the conditions around it (`q.queue`, `q.mutex` ...), or a
//! subclass defines methods that handle the container, the items *move out* into a real container; see
//! `python/kettle/queue.py`, whose methods named `_kettle_...` take over then.

mod compare;
mod internals;
mod limit;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::queue::local::{self, LocalQueue, NotDone, Order, Refused, Sign, State};
use kettle_core::wait::{Deadline, Patience, Stopped};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyDict, PyFloat, PyList, PyTuple, PyType};

use crate::door::wait_outside;
use crate::errors;
use crate::fast::{AttachedLock, Called, Ours, calls};
use crate::parameters;
use crate::queue::queue_statistics;
use crate::sync::between_threads::set_name;
use compare::Comparisons;
pub(crate) use limit::replaced_clock;
use limit::{Clock, Limit};

type Item = Py<PyAny>;
type Body = LocalQueue<Item, AttachedLock<State<Item>>>;
type Place<'a> = local::Place<'a, Item, AttachedLock<State<Item>>>;

/// A queue of objects between threads.
///
/// Names that begin with `_kettle_` are for `kettle.queue` only; they are long because the class is there to be
/// subclassed, by programs that use shorter ones.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct ObjectQueue {
    body: Body,
    /// Where the items are after they moved out.
    outside: OnceLock<Py<PyAny>>,
    /// Whether the class handles the container with its own methods.
    house: Ours,
    /// Whether `put_nowait` and `get_nowait` may work without calling `put` and `get`.
    calls: Ours,
    /// Whether they call the other methods at all, which is not the case for a `SimpleQueue`.
    calls_others: AtomicBool,
}

/// What `put_nowait` and `get_nowait` call.
static CALLS: Called = Called::new(&["put", "get"]);
/// What `put`, `get` and others call in a class that handles its container itself: see `_kettle_keeps_house`.
static HOUSE: Called = Called::new(&[]);

/// Whether a class has no methods of its own that handle the container.
fn leaves_the_house(class: &Bound<'_, PyType>) -> PyResult<bool> {
    calls::call_method(class, "_kettle_follow", ())?;
    Ok(!class.call_method0(intern!(class.py(), "_kettle_keeps_house"))?.is_truthy()?)
}

/// A parameter that is converted to a truth value, as in the standard library: `block=0` is common.
struct Truth(bool);

impl FromPyObject<'_, '_> for Truth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        object.is_truthy().map(Self)
    }
}

/// A bound as the standard library accepts it: any number, where infinity means no bound.
fn bound(maxsize: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(float) = maxsize.cast::<PyFloat>() {
        return Ok(float.value().ceil() as i64);
    }
    match maxsize.extract() {
        Ok(bound) => Ok(bound),
        Err(e) if e.is_instance_of::<PyTypeError>(maxsize.py()) => parameters::maxsize(maxsize),
        // The integer has more than 64 bits.
        Err(_) => Ok(if maxsize.lt(0)? { i64::MIN } else { i64::MAX }),
    }
}

fn too_many_done() -> PyErr {
    PyValueError::new_err("task_done() called too many times: once for each item that get() gave")
}

/// Waits in the wait list. Returns false on timeout.
fn wait_in(py: Python<'_>, place: &Place<'_>, deadline: Deadline) -> PyResult<bool> {
    let waiting = place.waiting();
    let wait = |patience: &Patience<'_>| {
        // With a GIL, the thread that provides the item or the room still holds it: noticing that earlier would only
        // mean queueing for the GIL earlier.
        if cfg!(Py_GIL_DISABLED) && waiting.spin() { Ok(()) } else { waiting.sleep(&patience.among_threads(false)) }
    };
    Ok(wait_outside(py, deadline, wait)? != Err(Stopped::TimedOut))
}

/// Why nothing could be taken at once.
pub(crate) enum NothingNow {
    Empty,
    Otherwise,
}

/// The ordinary cases, for `fast_methods`: nothing to wait for, nothing to raise, and no Python code to run.
impl ObjectQueue {
    #[inline]
    pub(crate) fn put_now(&self, py: Python<'_>, item: Py<PyAny>) -> Result<(), Py<PyAny>> {
        self.body.put_now(py.into(), item, &mut Comparisons::new(py)).map_err(|(item, _)| item)
    }

    #[inline]
    pub(crate) fn put_unreserved(&self, py: Python<'_>, item: Py<PyAny>) -> Result<(), Py<PyAny>> {
        self.body.put_unreserved(py.into(), item, &mut Comparisons::new(py)).map_err(|(item, _)| item)
    }

    #[inline]
    pub(crate) fn take_unreserved(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.body.take_unreserved(py.into(), &mut Comparisons::new(py)).ok()
    }

    #[inline]
    pub(crate) fn take_now(&self, py: Python<'_>) -> Result<Py<PyAny>, NothingNow> {
        self.body.take_now(py.into(), &mut Comparisons::new(py)).map_err(|refused| match refused {
            Refused::NotNow => NothingNow::Empty,
            _ => NothingNow::Otherwise,
        })
    }

    #[inline]
    pub(crate) fn one_done(&self, py: Python<'_>) -> bool {
        self.body.task_done(py.into()).is_ok()
    }
}

impl ObjectQueue {
    /// For comparisons in Python without a GIL: one thread at a time makes them. If several did, each might be
    /// overtaken by another one's change to the queue and never finish. The comparisons themselves may still change the
    /// queue.
    fn in_turn<R>(slf: &Bound<'_, Self>, operation: impl FnOnce() -> R) -> R {
        match slf.get().body.order(slf.py().into()) {
            Order::Priority => with_critical_section(slf.as_any(), operation),
            Order::Fifo | Order::Lifo => operation(),
        }
    }

    fn put_by(slf: &Bound<'_, Self>, mut item: Py<PyAny>, limit: Limit) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let mut comparisons = Comparisons::new(py);
        let (mut place, mut clock) = (None, Clock::default());
        loop {
            let result = match &place {
                None if limit.is_now() => this.body.put_now(py.into(), item, &mut comparisons),
                None => this.body.put_unreserved(py.into(), item, &mut comparisons),
                Some(place) => Place::put(place, item, &mut comparisons),
            };
            let refused = match result {
                Ok(()) => return Ok(()),
                Err((back, refused)) => {
                    item = back;
                    refused
                }
            };
            match refused {
                Refused::Compare(question) => comparisons.ask(&question)?,
                Refused::OutOfMemory => return Err(errors::no_memory_for_an_item()),
                Refused::ShutDown => return Err(errors::shut_down(py)),
                Refused::MovedOut => {
                    drop(place);
                    let (block, timeout) = limit.block_and_timeout();
                    return calls::call_method(slf, "_kettle_put", (item, block, timeout)).map(drop);
                }
                Refused::NotNow if limit.is_now() => return Err(errors::full(py)),
                Refused::NotNow => {
                    let place = place.get_or_insert_with(|| this.body.line(py.into(), Sign::Room));
                    let Some(deadline) = clock.next(slf.as_any(), limit)? else { return Err(errors::full(py)) };
                    if !wait_in(py, place, deadline)? && clock.is_own() {
                        return Err(errors::full(py));
                    }
                }
            }
        }
    }

    fn take_by(slf: &Bound<'_, Self>, limit: Limit) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let mut comparisons = Comparisons::new(py);
        let (mut place, mut clock) = (None, Clock::default());
        loop {
            let result = match &place {
                None if limit.is_now() => this.body.take_now(py.into(), &mut comparisons),
                None => this.body.take_unreserved(py.into(), &mut comparisons),
                Some(place) => Place::take(place, &mut comparisons),
            };
            match result {
                Ok(item) => return Ok(item),
                Err(Refused::Compare(question)) => comparisons.ask(&question)?,
                Err(Refused::OutOfMemory) => return Err(errors::no_memory_for_an_item()),
                Err(Refused::ShutDown) => return Err(errors::shut_down(py)),
                Err(Refused::MovedOut) => {
                    drop(place);
                    return calls::call_method(slf, "_kettle_get", limit.block_and_timeout()).map(Bound::unbind);
                }
                Err(Refused::NotNow) if limit.is_now() => return Err(errors::empty(py)),
                Err(Refused::NotNow) => {
                    let place = place.get_or_insert_with(|| this.body.line(py.into(), Sign::Item));
                    let Some(deadline) = clock.next(slf.as_any(), limit)? else { return Err(errors::empty(py)) };
                    if !wait_in(py, place, deadline)? && clock.is_own() {
                        return Err(errors::empty(py));
                    }
                }
            }
        }
    }

    /// Whether the class leaves the handling of the container to the core. Whether the container is still in the core
    /// is for the core to say. `object` is this queue.
    #[inline(always)]
    pub(crate) fn keeps_no_house(&self, object: &Bound<'_, PyAny>) -> bool {
        self.house.in_class(object, &HOUSE, leaves_the_house)
    }

    /// Whether it is known already that the class has our methods and leaves the container to the core.
    #[inline(always)]
    pub(crate) fn is_class_known(&self, object: &Bound<'_, PyAny>) -> bool {
        self.house.is_known(object)
    }

    /// If the class of `object` turns out to have a fast method that is no longer its base's: the class that gave it
    /// up, so that the lookup continues after it.
    #[cold]
    pub(crate) fn follow<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyType>>> {
        if HOUSE.is_known(object) {
            return Ok(None);
        }
        Ok(calls::call_method(&object.get_type(), "_kettle_follow", ())?.cast_into::<PyType>().ok())
    }

    /// The same, and whether `put_nowait` and `get_nowait` work without `put` and `get`. `object` is this queue.
    #[inline(always)]
    pub(crate) fn is_called_directly(&self, object: &Bound<'_, PyAny>) -> bool {
        self.calls.in_object(object, &CALLS, leaves_the_house) || !self.calls_others.load(Ordering::Relaxed)
    }

    /// Makes the items move out if a class has begun to handle the container itself since the queue was created.
    fn look_for_house(slf: &Bound<'_, Self>) -> PyResult<()> {
        if !slf.get().keeps_no_house(slf) && !slf.get().has_moved_out() {
            calls::call_method(slf, "_kettle_move_out", ())?;
        }
        Ok(())
    }

    fn has_moved_out(&self) -> bool {
        self.outside.get().is_some()
    }
}

#[pymethods]
impl ObjectQueue {
    /// The parameters are for `__init__`: a subclass may have others of its own.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(*, name=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            body: LocalQueue::new(Order::Fifo, 0),
            outside: OnceLock::new(),
            house: Ours::new(),
            calls: Ours::new(),
            calls_others: AtomicBool::new(false),
        }
    }

    /// Of one that has no bound and no order.
    #[pyo3(signature = (*, name=None))]
    fn __init__(slf: &Bound<'_, Self>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        set_name(slf, name)
    }

    /// What `__init__` does. Says whether the class has its own way to handle the container.
    fn _kettle_begin(slf: &Bound<'_, Self>, order: &str, maxsize: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let order = match order {
            "fifo" => Order::Fifo,
            "lifo" => Order::Lifo,
            "priority" => Order::Priority,
            other => return Err(PyValueError::new_err(format!("there is no order {other:?}"))),
        };
        drop(this.body.reset(py.into(), order, bound(maxsize)?));
        this.calls_others.store(true, Ordering::Relaxed);
        Ok(!this.keeps_no_house(slf))
    }

    /// Puts `item`, waiting for room at most `timeout` seconds (None: forever), or not at all if `block` is false.
    /// Raises queue.Full if there is no room (in time), ShutDown after `shutdown`.
    #[pyo3(signature = (item, block=Truth(true), timeout=None), text_signature = "($self, item, block=True, timeout=None)")]
    fn put(
        slf: &Bound<'_, Self>,
        item: Py<PyAny>,
        block: Truth,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<()> {
        // As in the standard library, an unbounded put accepts any time-out.
        let timeout = timeout.filter(|t| *t >= 0.0 || slf.get().body.maxsize(slf.py().into()) > 0);
        let limit = Limit::new(block.0, timeout)?;
        Self::look_for_house(slf)?;
        Self::in_turn(slf, || Self::put_by(slf, item, limit))
    }

    /// Returns the next item, waiting for one at most `timeout` seconds (None: forever), or not at all if `block` is
    /// false. Raises queue.Empty if there is none (in time), ShutDown after `shutdown` once the queue is empty.
    #[pyo3(signature = (block=Truth(true), timeout=None), text_signature = "($self, block=True, timeout=None)")]
    fn get(
        slf: &Bound<'_, Self>,
        block: Truth,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        let limit = Limit::new(block.0, timeout)?;
        Self::look_for_house(slf)?;
        Self::in_turn(slf, || Self::take_by(slf, limit))
    }

    /// `put(item, block=False)`.
    fn put_nowait(slf: &Bound<'_, Self>, item: Py<PyAny>) -> PyResult<()> {
        if !slf.get().is_called_directly(slf) {
            return calls::call_keyword(slf, "put", &[item.bind(slf.py()).clone()], "block", false).map(drop);
        }
        Self::look_for_house(slf)?;
        Self::in_turn(slf, || Self::put_by(slf, item, Limit::NOW))
    }

    /// `get(block=False)`.
    fn get_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        if !slf.get().is_called_directly(slf) {
            return calls::call_keyword(slf, "get", &[], "block", false).map(Bound::unbind);
        }
        Self::look_for_house(slf)?;
        Self::in_turn(slf, || Self::take_by(slf, Limit::NOW))
    }

    /// Puts all of `objs`, in order, and returns their number. The `timeout` (seconds) is for all together. Raises
    /// queue.Full, with the number that were put as its `done`, if there is no room in time.
    #[pyo3(signature = (objs, block=Truth(true), timeout=None), text_signature = "($self, objs, block=True, timeout=None)")]
    fn put_many(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        block: Truth,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<u64> {
        let limit = Limit::new(block.0, timeout)?;
        let mut done = 0;
        let objs = parameters::iterator(objs, "objs")?;
        Self::look_for_house(slf)?;
        loop {
            let result = match calls::next(&objs) {
                Ok(None) => return Ok(done),
                Ok(Some(item)) => Self::in_turn(slf, || Self::put_by(slf, item.unbind(), limit)),
                Err(e) => Err(e),
            };
            if let Err(e) = result {
                e.value(slf.py()).setattr(intern!(slf.py(), "done"), done)?;
                return Err(e);
            }
            done += 1;
        }
    }

    /// Waits for an item, then takes up to `max` of the available items. Raises queue.Empty if none arrives in
    /// `timeout` seconds.
    #[pyo3(signature = (max, timeout=None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = parameters::max)] max: i64,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        if max < 1 {
            return Err(PyValueError::new_err("max must be at least 1"));
        }
        let mut items = vec![Self::get(slf, Truth(true), timeout)?];
        let mut for_the_list: Vec<Py<PyAny>> = Vec::new();
        while (items.len() as i64) < max {
            // Items must not be lost for lack of memory: an item without room in the list stays in the queue.
            let grows = items.len() == items.capacity();
            if grows && (items.try_reserve(1).is_err() || for_the_list.try_reserve_exact(items.capacity()).is_err()) {
                break;
            }
            match Self::in_turn(slf, || Self::take_by(slf, Limit::NOW)) {
                Ok(item) => items.push(item),
                Err(e) if errors::is_empty_or_shut_down(py, &e)? => break,
                Err(e) => {
                    // A comparison raised; the items taken before must not be lost with it.
                    e.value(py).setattr(intern!(py, "items"), items)?;
                    return Err(e);
                }
            }
        }
        drop(for_the_list);
        PyList::new(py, items)
    }

    /// Returns the number of items.
    fn qsize(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Self::look_for_house(slf)?;
        match slf.get().body.len_unless_moved(slf.py().into()) {
            Some(len) => Ok(len),
            None => calls::call_method(slf, "_kettle_qsize", ())?.extract(),
        }
    }

    /// Returns whether there is no item.
    fn empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(Self::qsize(slf)? == 0)
    }

    /// Returns whether there is no room.
    fn full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let maxsize = slf.get().body.maxsize(slf.py().into());
        Ok(maxsize > 0 && Self::qsize(slf)? as u64 >= maxsize as u64)
    }

    /// Marks an item that was taken as finished. Raises ValueError if it is called more often than items were put.
    fn task_done(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().body.task_done(slf.py().into()) {
            Ok(()) => Ok(()),
            Err(NotDone::TooMany) => Err(too_many_done()),
            Err(NotDone::MovedOut) => calls::call_method(slf, "_kettle_task_done", ()).map(drop),
        }
    }

    /// Waits until every item that was put is finished.
    fn join(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let place = this.body.line(py.into(), Sign::Done);
        while this.body.unfinished(py.into()) != 0 {
            if this.has_moved_out() {
                drop(place);
                return calls::call_method(slf, "_kettle_join", ()).map(drop);
            }
            wait_in(py, &place, Deadline::NEVER)?;
        }
        Ok(())
    }

    /// Makes `put` raise ShutDown from now on, and `get` too once the queue is empty; waiters wake up. With `immediate`
    /// the remaining items are dropped, and count as done.
    #[pyo3(signature = (immediate=Truth(false)), text_signature = "($self, immediate=False)")]
    fn shutdown(slf: &Bound<'_, Self>, immediate: Truth) -> PyResult<()> {
        Self::look_for_house(slf)?;
        match slf.get().body.shut_down(slf.py().into(), immediate.0) {
            Some(dropped) => {
                drop(dropped);
                Ok(())
            }
            None => calls::call_method(slf, "_kettle_shutdown", (immediate.0,)).map(drop),
        }
    }

    /// The most items that there can be; no bound if it is zero or less.
    #[getter]
    fn maxsize(&self, py: Python<'_>) -> i64 {
        self.body.maxsize(py.into())
    }

    #[setter]
    fn set_maxsize(&self, py: Python<'_>, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        self.body.set_maxsize(py.into(), bound(maxsize)?);
        Ok(())
    }

    /// The number of items that were put and not marked as finished.
    #[getter]
    fn unfinished_tasks(&self, py: Python<'_>) -> i64 {
        self.body.unfinished(py.into())
    }

    #[setter]
    fn set_unfinished_tasks(&self, py: Python<'_>, unfinished: i64) {
        self.body.set_unfinished(py.into(), unfinished);
    }

    /// Whether `shutdown` was called.
    #[getter]
    fn is_shutdown(&self, py: Python<'_>) -> bool {
        self.body.is_shut(py.into())
    }

    #[setter]
    fn set_is_shutdown(&self, py: Python<'_>, shut: Truth) {
        self.body.set_shut(py.into(), shut.0);
    }

    /// Returns counters and the present state.
    fn statistics<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let size = Self::qsize(slf)?;
        queue_statistics(slf.py(), size as u64, &slf.get().body.statistics(slf.py().into()))
    }
}
