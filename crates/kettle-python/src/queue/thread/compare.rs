//! Comparing the objects of a priority queue with Python's `<`, without running Python code while the queue's lock is
//! held.

use kettle_core::queue::local::Judge;
use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};

use crate::fast::calls;
use crate::fast::numbers::as_i64;

/// Compares numbers, texts and tuples of these directly, where the interpreter runs no user code. For everything else
/// it remembers the results of earlier comparisons.
pub(crate) struct Comparisons<'py> {
    py: Python<'py>,
    version: u64,
    /// The results of `<`, in the order of the comparisons.
    answers: Vec<bool>,
    used: usize,
}

/// A comparison that has to be made without the lock.
pub(crate) struct Question {
    left: Py<PyAny>,
    right: Py<PyAny>,
}

impl<'py> Comparisons<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self { py, version: 0, answers: Vec::new(), used: 0 }
    }

    /// Compares the objects in Python. Their methods may do anything meanwhile, including using this queue.
    pub(crate) fn ask(&mut self, question: &Question) -> PyResult<()> {
        let is_less = calls::is_less(question.left.bind(self.py), question.right.bind(self.py))?;
        self.answers.push(is_less);
        Ok(())
    }
}

impl Judge<Py<PyAny>> for Comparisons<'_> {
    type Question = Question;

    fn begin(&mut self, version: u64) {
        if self.version != version {
            self.version = version;
            self.answers.clear();
        }
        self.used = 0;
    }

    #[inline]
    fn less(&mut self, a: &Py<PyAny>, b: &Py<PyAny>) -> Result<bool, Question> {
        if let Some(is_less) = is_plainly_less(a.bind(self.py), b.bind(self.py)) {
            return Ok(is_less);
        }
        let answer = self.answers.get(self.used).copied();
        self.used += 1;
        answer.ok_or_else(|| Question { left: a.clone_ref(self.py), right: b.clone_ref(self.py) })
    }
}

/// Two objects that the interpreter compares without running user code.
enum Plain<'a, 'py> {
    Integers(i64, i64),
    Floats(f64, f64),
    /// Both texts, both bytes, or integers too long for the variant above.
    Others(&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>),
}

impl<'a, 'py> Plain<'a, 'py> {
    /// Returns None for other objects; subclasses may define their own comparison.
    #[inline(always)]
    fn of(a: &'a Bound<'py, PyAny>, b: &'a Bound<'py, PyAny>) -> Option<Self> {
        if let (Ok(a), Ok(b)) = (a.cast_exact::<PyInt>(), b.cast_exact::<PyInt>()) {
            return Some(match (as_i64(a), as_i64(b)) {
                (Some(a), Some(b)) => Self::Integers(a, b),
                _ => Self::Others(a, b),
            });
        }
        if let (Ok(a), Ok(b)) = (a.cast_exact::<PyFloat>(), b.cast_exact::<PyFloat>()) {
            return Some(Self::Floats(a.value(), b.value()));
        }
        (are_both::<PyString>(a, b) || are_both::<PyBytes>(a, b)).then_some(Self::Others(a, b))
    }

    #[inline(always)]
    fn is_less(&self) -> Option<bool> {
        match self {
            Self::Integers(a, b) => Some(a < b),
            Self::Floats(a, b) => Some(a < b),
            Self::Others(a, b) => a.lt(b).ok(),
        }
    }

    fn is_equal(&self) -> Option<bool> {
        match self {
            Self::Integers(a, b) => Some(a == b),
            Self::Floats(a, b) => Some(a == b),
            Self::Others(a, b) => a.eq(b).ok(),
        }
    }
}

fn are_both<T: PyTypeInfo>(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    a.is_exact_instance_of::<T>() && b.is_exact_instance_of::<T>()
}

/// `a < b`, if the interpreter runs no user code to evaluate it. Tuples are compared by the first pair that differs, as
/// in Python. Usually that is the first pair, and the elements after it may be of any kind.
#[inline]
fn is_plainly_less(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> Option<bool> {
    if let Some(pair) = Plain::of(a, b) {
        return pair.is_less();
    }
    let (Ok(a), Ok(b)) = (a.cast_exact::<PyTuple>(), b.cast_exact::<PyTuple>()) else { return None };
    for (a, b) in a.iter_borrowed().zip(b.iter_borrowed()) {
        if a.is(b) {
            continue;
        }
        let pair = Plain::of(&a, &b)?;
        if !pair.is_equal()? {
            return pair.is_less();
        }
    }
    Some(a.len() < b.len())
}
