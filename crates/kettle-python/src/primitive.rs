//! What all primitives share: a token for pickling, and a way to wait for them without blocking.

use kettle_core::arena::{Body, Handle, Ticket, Token, TokenError, Way};
use kettle_core::wait::{self, Door, EventCount, Line, Scope, Tickets};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use pyo3::{PyClass, intern};
use std::cell::Cell;

use crate::errors;

thread_local! {
    /// The child that this thread is currently pickling for; see `sending_to`.
    static SENDING_TO: Cell<Option<Ticket>> = const { Cell::new(None) };
}

/// While this thread pickles the start data of a child that does not run yet, handles are granted to that child.
#[pyfunction]
#[pyo3(signature = (ticket))]
pub(crate) fn sending_to(ticket: Option<u64>) -> Option<u64> {
    SENDING_TO.replace(ticket.and_then(Ticket::from_bits)).map(Ticket::to_bits)
}

/// The child that this thread is currently pickling for, if any.
pub(crate) fn recipient() -> Option<Ticket> {
    SENDING_TO.get()
}

/// Runs `f`, which creates a message for any receiver, even while this thread pickles for a child.
pub(crate) fn to_any_receiver<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Ticket>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SENDING_TO.set(self.0);
        }
    }
    let _restore = Restore(SENDING_TO.take());
    f()
}

/// A primitive that is pickled as the names of its objects in the arena.
pub(crate) trait Picklable: PyClass<Frozen = True> + Sync {
    /// These names, for this way of sending.
    fn names(&self, way: Way) -> Vec<u8>;
}

/// What pickle is given for a primitive; the names are created when a pickler reaches it. So only the pickler of a
/// message makes the message hold them. Another pickler may run in the meantime, in a `__reduce__` of the program: its
/// pickle may be kept, so what it names lives as long as the session.
#[pyclass(frozen, module = "kettle._native", name = "Token")]
pub(crate) struct Travelling {
    /// Kept alive until then.
    primitive: Py<PyAny>,
    names: fn(&Bound<'_, PyAny>, Way) -> PyResult<Vec<u8>>,
}

impl Travelling {
    pub(crate) fn new<T: Picklable>(primitive: &Bound<'_, T>) -> Self {
        Self {
            primitive: primitive.clone().into_any().unbind(),
            names: |primitive, way| Ok(primitive.cast::<T>()?.get().names(way)),
        }
    }

    fn bytes<'py>(&self, py: Python<'py>, otherwise: Way) -> PyResult<Bound<'py, PyBytes>> {
        let way = recipient().map_or(otherwise, Way::ToChild);
        Ok(PyBytes::new(py, &(self.names)(self.primitive.bind(py), way)?))
    }
}

/// What pickle does with a [`Travelling`].
type Reduced<'py> = (Bound<'py, PyType>, (Bound<'py, PyBytes>,));

#[pymethods]
impl Travelling {
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Reduced<'py>> {
        Ok((py.get_type::<PyBytes>(), (self.bytes(py, Way::Any)?,)))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.bytes(py, Way::Any)
    }
}

/// Like `Token.__reduce__`, for the pickler of the message that this thread is creating, if it is creating one.
#[pyfunction]
pub(crate) fn name_in_message<'py>(token: &Bound<'py, Travelling>) -> PyResult<Reduced<'py>> {
    let py = token.py();
    Ok((py.get_type::<PyBytes>(), (token.get().bytes(py, Way::InMessage)?,)))
}

/// Names that have arrived, or that the program has at hand.
pub(crate) struct Arrived(Vec<u8>);

impl Arrived {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'py> FromPyObject<'_, 'py> for Arrived {
    type Error = PyErr;

    fn extract(token: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(token) = token.cast::<Travelling>() {
            let (py, token) = (token.py(), token.get());
            return (token.names)(token.primitive.bind(py), Way::Nowhere).map(Self);
        }
        Ok(Self(token.extract::<&[u8]>()?.to_vec()))
    }
}

/// The handle that a token stands for.
pub(crate) fn from_token<T: Body>(token: &[u8]) -> PyResult<Handle<T>> {
    let token = token.try_into().map_err(|_| errors::token(TokenError::Malformed))?;
    let token = Token::from_bytes(token);
    Handle::from_token(&token).map_err(errors::token)
}

/// Creates an instance of `cls`, which is `T` or a subclass of it, around the object of `token`. `__init__` is not
/// called.
pub(crate) fn rebuild<T: PyClass>(cls: &Bound<'_, PyType>, token: &[u8], name: Option<String>) -> PyResult<Py<PyAny>> {
    let py = cls.py();
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "_token"), PyBytes::new(py, token))?;
    kwargs.set_item(intern!(py, "name"), name)?;
    // The class's own `__new__`: a subclass may have one with another signature.
    let new = py.get_type::<T>().getattr(intern!(py, "__new__"))?;
    Ok(new.call((cls,), Some(&kwargs))?.unbind())
}

/// Identifies the primitive that rang: 20 bits, so a loop may occasionally check one that did not.
pub(crate) fn key<T: Body>(handle: &Handle<T>) -> u32 {
    let bits = handle.off().to_bits();
    // Objects are at least 64 bytes apart; the segment is in the upper bits.
    ((bits >> 6) ^ (bits >> 48 << 9)) as u32 & 0xf_ffff
}

/// Something that can be waited for.
pub(crate) trait Waitable {
    fn ready(&self) -> bool;
    /// The number of waiters that would find it ready.
    fn available(&self) -> u32 {
        self.ready().into()
    }
    fn events(&self) -> &EventCount;
    fn call(&self) -> u32;
    fn scope(&self) -> Scope {
        Scope::Shared
    }

    /// Its wait list, if waiters are served in the order of arrival.
    fn line(&self) -> Option<&Line> {
        None
    }

    fn arm(&self, door: u64, ticket: u32, bits: u32) -> u32 {
        Door::from_bits(door)
            .map_or(0, |d| leave_door(self.events(), self.line(), d.calling(self.call()), ticket, bits))
    }

    fn disarm(&self, door: u64) {
        if let Some(d) = Door::from_bits(door) {
            self.events().take_door(d.calling(self.call()), self.scope());
        }
    }
}

/// Registers the doorbell for the holders of tickets with these [bits](Tickets), the first of whom has `ticket`; 0
/// stands for no ticket. Returns the ticket that counts from now on, at least 1; or 0 if there is no room.
pub(crate) fn leave_door(events: &EventCount, line: Option<&Line>, door: Door, ticket: u32, bits: u32) -> u32 {
    match (line, wait::Ticket::from_number(ticket)) {
        (Some(line), Some(ticket)) => {
            line.leave_door(door, ticket, Tickets::from_bits(bits)).map_or(0, wait::Ticket::number)
        }
        _ => events.leave_door(door).into(),
    }
}

/// Whether one of the holders of tickets with these bits may take one of the `available` things.
pub(crate) fn is_admitted(line: Option<&Line>, bits: u32, available: impl FnOnce() -> u32) -> bool {
    line.is_none_or(|line| line.admits_one_of(Tickets::from_bits(bits), available))
}

/// Removes the holder of a ticket, one of those with these bits, from the wait list. If something is left, wakes the
/// next one.
pub(crate) fn leave(line: Option<&Line>, ticket: u32, bits: u32, scope: Scope, available: impl FnOnce() -> u32) {
    let (Some(line), Some(ticket)) = (line, wait::Ticket::from_number(ticket)) else { return };
    line.leave_for_one_of(ticket, Tickets::from_bits(bits));
    let available = available();
    if available > 0 {
        line.pass_on(available, scope);
    }
}

/// The methods that every waitable class has.
macro_rules! waitable {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// Whether the non-blocking call would succeed now.
            fn _kettle_ready(&self) -> bool {
                crate::primitive::Waitable::ready(self)
            }

            /// Asks that the doorbell `door` be rung when this may have become ready, for the holder of `ticket`, the first
            /// of those with `bits`. Gives the ticket that counts from now on; 0 if there is no room.
            #[pyo3(signature = (door, ticket=0, bits=0))]
            fn _kettle_arm(&self, door: u64, ticket: u32, bits: u32) -> u32 {
                crate::primitive::Waitable::arm(self, door, ticket, bits)
            }

            /// Takes a place in the wait list; 0 if there is none.
            fn _kettle_take_ticket(&self) -> u32 {
                crate::primitive::Waitable::line(self).map_or(0, |line| line.take_ticket().number())
            }

            /// Whether one of the holders of tickets with these bits may try; without any, whether a newcomer may.
            #[pyo3(signature = (bits=0))]
            fn _kettle_is_admitted(&self, bits: u32) -> bool {
                let available = || crate::primitive::Waitable::available(self);
                crate::primitive::is_admitted(crate::primitive::Waitable::line(self), bits, available)
            }

            /// Returns the ticket, one of those with these bits.
            fn _kettle_leave_line(&self, ticket: u32, bits: u32) {
                let available = || crate::primitive::Waitable::available(self);
                let scope = crate::primitive::Waitable::scope(self);
                crate::primitive::leave(crate::primitive::Waitable::line(self), ticket, bits, scope, available)
            }

            /// Whether a ring is never lost, since no process can die on its way to it.
            #[getter]
            fn _kettle_rings_surely(&self) -> bool {
                crate::primitive::Waitable::scope(self) == kettle_core::wait::Scope::Private
            }

            /// Takes the door away again.
            fn _kettle_disarm(&self, door: u64) {
                crate::primitive::Waitable::disarm(self, door)
            }

            /// What `Doorbell.drain` gives when this rang.
            #[getter]
            fn _kettle_key(&self) -> u32 {
                crate::primitive::Waitable::call(self)
            }
        }
    };
}
pub(crate) use waitable;

/// How a class with a `body` in the arena and a `name` is pickled: as the token of its body.
macro_rules! picklable {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// The name given at creation.
            #[getter]
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            /// What travels; `_kettle_from_token` rebuilds it in any process of the session.
            fn _kettle_token(slf: &Bound<'_, Self>) -> crate::primitive::Travelling {
                crate::primitive::Travelling::new(slf)
            }

            /// An instance of this class, or of the subclass that is asked, around what the token leads to.
            #[classmethod]
            #[pyo3(signature = (token, name=None))]
            fn _kettle_from_token(
                cls: &Bound<'_, pyo3::types::PyType>,
                token: crate::primitive::Arrived,
                name: Option<String>,
            ) -> PyResult<Py<PyAny>> {
                crate::primitive::rebuild::<Self>(cls, token.as_bytes(), name)
            }
        }

        impl crate::primitive::Picklable for $class {
            fn names(&self, way: kettle_core::arena::Way) -> Vec<u8> {
                self.body.token_by(way).to_bytes().to_vec()
            }
        }
    };
}
pub(crate) use picklable;

/// A frozen record with these fields.
pub(crate) fn record<'py>(py: Python<'py>, name: &str, fields: &[(&str, u64)]) -> PyResult<Bound<'py, PyAny>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let classes = CLASSES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    let class = match classes.get_item(name)? {
        Some(class) => class,
        None => {
            let names: Vec<&str> = fields.iter().map(|(n, _)| *n).collect();
            let class = py.import("kettle._records")?.getattr("record")?.call1((name, names))?;
            // If several threads get here at once, one of them is the first.
            classes.call_method1(intern!(py, "setdefault"), (name, class))?
        }
    };
    class.call_method1("_make", (fields.iter().map(|(_, v)| *v).collect::<Vec<u64>>(),))
}
