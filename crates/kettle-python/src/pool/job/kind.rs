//! The kinds of jobs.

use kettle::pool::scheduler::Order;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Kind {
    /// A single call.
    Call,
    /// One call for each of many items, whose results are wanted together; if it `unpacks`, the items are tuples of
    /// arguments.
    Map { unpacks: bool },
    /// The same, but threads may wait for any of the results, which are fetched one by one.
    Imap(Order),
}

impl Kind {
    /// The kind with this name: "call", "map", "ordered" or "unordered".
    pub(super) fn of(name: &str, unpacks: bool) -> PyResult<Self> {
        Ok(match name {
            "call" => Self::Call,
            "map" => Self::Map { unpacks },
            "ordered" => Self::Imap(Order::OfTasks),
            "unordered" => Self::Imap(Order::OfArrival),
            _ => return Err(PyValueError::new_err(format!("no such kind of job: {name}"))),
        })
    }

    /// The pool method that creates a job of many items; empty for a call.
    pub(in crate::pool) fn method(self) -> &'static str {
        match self {
            Self::Call => "",
            Self::Map { unpacks: false } => "map",
            Self::Map { unpacks: true } => "starmap",
            Self::Imap(Order::OfTasks) => "imap",
            Self::Imap(Order::OfArrival) => "imap_unordered",
        }
    }
}
