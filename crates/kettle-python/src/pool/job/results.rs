//! Storage for the outcomes of a job until they are fetched.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use kettle::pool::scheduler::Outcomes;
use kettle::pool::scheduler::process::Word;

use crate::pool::tasks::of_word;

/// A value, or the exception in its place.
pub(in crate::pool) type Outcome = Result<Py<PyAny>, Py<PyAny>>;

/// The outcomes of a job.
pub(super) enum Results {
    /// A call: one outcome.
    One(Option<Outcome>),
    /// A map: a list of all values, and the error of the first task in order that has one, with the task's number.
    All { values: Py<PyList>, error: Option<(u64, Py<PyAny>)> },
    /// An imap: its outcomes, and an error of its input, which is returned after all of them.
    Iterated { outcomes: Outcomes<Outcome>, last: Option<Py<PyAny>> },
    /// The results are discarded.
    Nowhere,
}

impl Results {
    /// The list of a map.
    pub(super) fn values(&self, py: Python<'_>) -> Option<Py<PyList>> {
        match self {
            Self::All { values, .. } => Some(values.clone_ref(py)),
            _ => None,
        }
    }

    /// Records the outcome of task `index`. Returns objects that are no longer needed, for the caller to drop where
    /// user code may run.
    pub(super) fn put(&mut self, py: Python<'_>, index: u64, outcome: Outcome) -> Option<Outcome> {
        match self {
            Self::One(one) => one.replace(outcome),
            Self::All { values, error } => match outcome {
                Ok(value) => {
                    // The list is as long as the job and has no other references; the old value is None.
                    let _ = values.bind(py).set_item(index as usize, value);
                    None
                }
                // The first in task order, not in time: which error is raised does not depend on chance.
                Err(e) if error.as_ref().is_some_and(|(first, _)| *first < index) => Some(Err(e)),
                Err(e) => error.replace((index, e)).map(|(_, e)| Err(e)),
            },
            Self::Iterated { outcomes, .. } => outcomes.put(index, outcome),
            Self::Nowhere => Some(outcome),
        }
    }

    /// Records the values of consecutive tasks. This runs no user code: the values are numbers and the like, and they
    /// replace None.
    pub(super) fn put_words(&mut self, py: Python<'_>, first: u64, words: &[Word]) {
        for (index, word) in (first..).zip(words) {
            match (of_word(py, *word), &mut *self) {
                (Ok(value), Self::All { values, .. }) => {
                    let _ = values.bind(py).set_item(index as usize, value);
                }
                (value, results) => {
                    let outcome = value.map(Bound::unbind).map_err(|e| e.into_value(py).into_any());
                    results.put(py, index, outcome);
                }
            }
        }
    }

    /// Records an error in place of all missing outcomes. Returns the objects that are no longer needed.
    pub(super) fn fail(&mut self, failure: Py<PyAny>) -> Vec<Outcome> {
        match self {
            Self::One(one) => one.replace(Err(failure)).into_iter().collect(),
            Self::All { error, .. } => error.replace((0, failure)).map(|(_, e)| Err(e)).into_iter().collect(),
            Self::Iterated { outcomes, last } => {
                let mut surplus = outcomes.end_with(Err(failure));
                surplus.extend(last.take().map(Err));
                surplus
            }
            Self::Nowhere => vec![Err(failure)],
        }
    }

    /// Records an error of the input of an imap. Returns the objects that are no longer needed.
    pub(super) fn put_input_error(&mut self, error: Py<PyAny>) -> Option<Outcome> {
        match self {
            Self::Iterated { last, .. } => last.replace(error).map(Err),
            Self::One(_) | Self::All { .. } | Self::Nowhere => Some(Err(error)),
        }
    }

    /// The next outcome of an imap, if it is there. `complete` states that all tasks have an outcome.
    pub(super) fn fetch(&mut self, complete: bool) -> Option<Outcome> {
        match self {
            Self::Iterated { outcomes, last } => {
                outcomes.take().or_else(|| if complete { last.take().map(Err) } else { None })
            }
            Self::One(_) | Self::All { .. } | Self::Nowhere => None,
        }
    }

    /// Whether [`fetch`](Self::fetch) would return an outcome.
    pub(super) fn has_next(&self, complete: bool) -> bool {
        match self {
            Self::Iterated { outcomes, last } => outcomes.has_next() || (complete && last.is_some()),
            Self::One(_) | Self::All { .. } | Self::Nowhere => false,
        }
    }

    /// All objects held here, for the garbage collector.
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let look = |outcome: &Outcome| match outcome {
            Ok(object) | Err(object) => visit.call(object),
        };
        match self {
            Self::One(one) => one.iter().try_for_each(look),
            Self::All { values, error } => {
                visit.call(values)?;
                error.iter().try_for_each(|(_, error)| visit.call(error))
            }
            Self::Iterated { outcomes, last } => {
                last.iter().try_for_each(|error| visit.call(error))?;
                outcomes.iter().try_for_each(look)
            }
            Self::Nowhere => Ok(()),
        }
    }

    /// Whether this is a call or a map with an error.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self, Self::One(Some(Err(_))) | Self::All { error: Some(_), .. })
    }

    /// The outcome of a call or a map as a whole, once it is there.
    pub(super) fn whole(&self, py: Python<'_>) -> Option<Outcome> {
        match self {
            Self::One(one) => one.as_ref().map(|outcome| match outcome {
                Ok(value) => Ok(value.clone_ref(py)),
                Err(e) => Err(e.clone_ref(py)),
            }),
            Self::All { error: Some((_, e)), .. } => Some(Err(e.clone_ref(py))),
            Self::All { values, error: None } => Some(Ok(values.clone_ref(py).into_any())),
            Self::Iterated { .. } | Self::Nowhere => None,
        }
    }
}
