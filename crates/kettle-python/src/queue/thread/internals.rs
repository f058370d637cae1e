//! The queue methods for `kettle.queue`, event loops and the garbage collector, which users do not call.

use kettle_core::queue::local::Sign;
use kettle_core::wait::{Door, Scope};
use pyo3::exceptions::PyMemoryError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use super::{ObjectQueue, too_many_done};
use crate::fast::Attached;
use crate::primitive;

const SIGNS: [Sign; 3] = [Sign::Item, Sign::Room, Sign::Done];

impl ObjectQueue {
    fn door(&self, door: u64) -> Option<Door> {
        Door::from_bits(door).map(|d| d.calling(self._kettle_key()))
    }
}

#[pymethods]
impl ObjectQueue {
    // ------------------------------------------------------------ after the items moved out

    /// What holds the items, once they moved out.
    #[getter]
    fn _kettle_outside(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.outside.get().map(|outside| outside.clone_ref(py))
    }

    /// Moves the items into `outside.queue` by its `extend`, or only the responsibility for them if there is none yet,
    /// and says so in `outside.filled`. Gives what the items moved to first, if that was not now.
    fn _kettle_move_into<'py>(&self, outside: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = outside.py();
        if self.outside.set(outside.clone().unbind()).is_err() {
            return Ok(self.outside.get().map_or(outside, |first| first.bind(py).clone()));
        }
        // No signal handler runs from here to the end; it might leave the items in neither place.
        let items = self.body.move_out(py.into()).unwrap_or_default();
        if !items.is_empty() {
            outside.getattr(intern!(py, "queue"))?.call_method1(intern!(py, "extend"), (items,))?;
        }
        outside.setattr(intern!(py, "filled"), true)?;
        Ok(outside)
    }

    /// The items that are here, in the order in which they would be put again.
    fn _kettle_items(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let mut items = Vec::new();
        self.body.try_for_each(py.into(), |item| {
            items.try_reserve(1).map_err(|_| PyMemoryError::new_err("no memory for a list of the items"))?;
            items.push(item.clone_ref(py));
            Ok::<(), PyErr>(())
        })?;
        Ok(items)
    }

    /// Counts an item that was put outside, and rings the doorbells that wait for one.
    fn _kettle_note_put(&self, py: Python<'_>) {
        self.body.note_put(py.into());
    }

    /// Counts an item that was taken outside, and rings the doorbells that wait for room.
    fn _kettle_note_got(&self, py: Python<'_>) {
        self.body.note_got(py.into());
    }

    /// Counts an item that was put outside as done, and rings the doorbells that wait until all are.
    fn _kettle_one_done(&self, py: Python<'_>) -> PyResult<()> {
        self.body.note_done(py.into()).map_err(|_| too_many_done())
    }

    // ------------------------------------------------------------ event loops

    /// What `Doorbell.drain` gives when this rang.
    fn _kettle_key(&self) -> u32 {
        // Twenty bits, so a loop may occasionally check a queue that did not ring.
        (std::ptr::from_ref(self).addr() >> 4) as u32 & 0xf_ffff
    }

    /// Asks that the doorbell `door` be rung when there may be an item (0), room (1), or nothing unfinished (2); False
    /// if there is no room for one more.
    #[pyo3(signature = (what, door, ticket=0, bits=0))]
    fn _kettle_arm(&self, py: Python<'_>, what: usize, door: u64, ticket: u32, bits: u32) -> u32 {
        let line = self.body.line_of(py.into(), SIGNS[what]);
        self.door(door).map_or(0, |d| primitive::leave_door(line.events(), Some(line), d, ticket, bits))
    }

    /// Takes a place in the wait list.
    fn _kettle_take_ticket(&self, py: Python<'_>, what: usize) -> u32 {
        self.body.line_of(py.into(), SIGNS[what]).take_ticket().number()
    }

    /// Whether one of the holders of tickets with these bits may try; without any, whether a newcomer may.
    #[pyo3(signature = (what, bits=0))]
    fn _kettle_is_admitted(&self, py: Python<'_>, what: usize, bits: u32) -> bool {
        let line = self.body.line_of(py.into(), SIGNS[what]);
        primitive::is_admitted(Some(line), bits, || self.body.available(py.into(), SIGNS[what]))
    }

    /// Returns the ticket, one of those with these bits.
    fn _kettle_leave_line(&self, py: Python<'_>, what: usize, ticket: u32, bits: u32) {
        let line = self.body.line_of(py.into(), SIGNS[what]);
        primitive::leave(Some(line), ticket, bits, Scope::Private, || self.body.available(py.into(), SIGNS[what]));
    }

    /// Takes the door away again.
    fn _kettle_disarm(&self, what: usize, door: u64) {
        if let Some(d) = self.door(door) {
            self.body.take_door(SIGNS[what], d);
        }
    }

    // ------------------------------------------------------------ garbage

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.outside.get())?;
        self.body.try_for_each(Attached::by(&visit), |item| visit.call(item))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.body.reset(py.into(), self.body.order(py.into()), self.body.maxsize(py.into())));
    }
}
