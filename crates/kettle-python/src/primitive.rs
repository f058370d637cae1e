//! What all primitives have: a token to travel by, and a way to be waited for without blocking.

use kettle_core::arena::{Body, Handle, Ticket, Token, TokenError};
use kettle_core::wait::{Door, EventCount, Scope};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use pyo3::{PyClass, intern};
use std::cell::Cell;

use crate::errors;

thread_local! {
    /// The child for which this thread pickles now; see `sending_to`.
    static SENDING_TO: Cell<Option<Ticket>> = const { Cell::new(None) };
}

/// While this thread pickles the start data of a child that does not run yet, handles are granted to that child.
#[pyfunction]
#[pyo3(signature = (ticket))]
pub(crate) fn sending_to(ticket: Option<u64>) -> Option<u64> {
    SENDING_TO.replace(ticket.and_then(Ticket::from_bits)).map(Ticket::to_bits)
}

/// The child for which this thread pickles now, if it does.
pub(crate) fn recipient() -> Option<Ticket> {
    SENDING_TO.get()
}

/// Runs `f`, which makes a message for anybody, also while this thread pickles for a child.
pub(crate) fn to_anybody<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Ticket>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SENDING_TO.set(self.0);
        }
    }
    let _restore = Restore(SENDING_TO.take());
    f()
}

/// The token of a handle: granted to the child that is being started, or for whoever gets the message; outside of
/// either, for whoever may get it.
pub(crate) fn token<'py, T: Body>(py: Python<'py>, handle: &Handle<T>) -> Bound<'py, PyBytes> {
    let token = match recipient() {
        Some(ticket) => handle.token_for(ticket),
        None => handle.token_to_send(),
    };
    PyBytes::new(py, &token.to_bytes())
}

/// The handle behind a token.
pub(crate) fn from_token<T: Body>(token: &[u8]) -> PyResult<Handle<T>> {
    let token = token.try_into().map_err(|_| errors::token(TokenError::Malformed))?;
    let token = Token::from_bytes(token);
    Handle::from_token(&token).map_err(errors::token)
}

/// An instance of `cls`, which is `T` or a subclass of it, around what `token` leads to. `__init__` is not called.
pub(crate) fn rebuild<T: PyClass>(cls: &Bound<'_, PyType>, token: &[u8], name: Option<String>) -> PyResult<Py<PyAny>> {
    let py = cls.py();
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "_token"), PyBytes::new(py, token))?;
    kwargs.set_item(intern!(py, "name"), name)?;
    // The class's own `__new__`: a subclass may have one with another signature.
    let new = py.get_type::<T>().getattr(intern!(py, "__new__"))?;
    Ok(new.call((cls,), Some(&kwargs))?.unbind())
}

/// Tells which primitive rang: 20 bits, so a loop may now and then look at one that did not.
pub(crate) fn key<T: Body>(handle: &Handle<T>) -> u32 {
    let bits = handle.off().to_bits();
    // Objects stand 64 bytes apart at least; the segment is in the upper bits.
    ((bits >> 6) ^ (bits >> 48 << 9)) as u32 & 0xf_ffff
}

/// Something that can be waited for.
pub(crate) trait Waitable {
    fn ready(&self) -> bool;
    fn events(&self) -> &EventCount;
    fn call(&self) -> u32;
    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn arm(&self, door: u64) -> bool {
        Door::from_bits(door).is_some_and(|d| self.events().leave_door(d.calling(self.call())))
    }

    fn disarm(&self, door: u64) {
        if let Some(d) = Door::from_bits(door) {
            self.events().take_door(d.calling(self.call()), self.scope());
        }
    }
}

/// The methods that every waitable class has.
macro_rules! waitable {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// Whether the non-blocking call would succeed now.
            fn _ready(&self) -> bool {
                crate::primitive::Waitable::ready(self)
            }

            /// Asks that the doorbell `door` be rung when this may have become ready; False if there is no room.
            fn _arm(&self, door: u64) -> bool {
                crate::primitive::Waitable::arm(self, door)
            }

            /// Takes the door away again.
            fn _disarm(&self, door: u64) {
                crate::primitive::Waitable::disarm(self, door)
            }

            /// What `Doorbell.drain` gives when this rang.
            #[getter]
            fn _key(&self) -> u32 {
                crate::primitive::Waitable::call(self)
            }
        }
    };
}
pub(crate) use waitable;

/// How a class with a `body` in the arena and a `name` travels: by the token of its body.
macro_rules! travels {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// What it was named.
            #[getter]
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            /// What travels; `_from_token` rebuilds it in any process of the session.
            fn _token<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyBytes> {
                crate::primitive::token(py, &self.body)
            }

            /// An instance of this class, or of the subclass that is asked, around what the token leads to.
            #[classmethod]
            #[pyo3(signature = (token, name=None))]
            fn _from_token(
                cls: &Bound<'_, pyo3::types::PyType>,
                token: &[u8],
                name: Option<String>,
            ) -> PyResult<Py<PyAny>> {
                crate::primitive::rebuild::<Self>(cls, token, name)
            }
        }
    };
}
pub(crate) use travels;

/// A frozen record with these fields.
pub(crate) fn record<'py>(py: Python<'py>, name: &str, fields: &[(&str, u64)]) -> PyResult<Bound<'py, PyAny>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let classes = CLASSES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    let class = match classes.get_item(name)? {
        Some(class) => class,
        None => {
            let names: Vec<&str> = fields.iter().map(|(n, _)| *n).collect();
            let class = py.import("collections")?.getattr("namedtuple")?.call1((name, names))?;
            // Of several threads that come here at once, one is the first.
            classes.call_method1(intern!(py, "setdefault"), (name, class))?
        }
    };
    class.call_method1("_make", (fields.iter().map(|(_, v)| *v).collect::<Vec<u64>>(),))
}
