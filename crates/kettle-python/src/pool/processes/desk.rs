//! The data that a worker needs to attach to its channel.

use kettle::pool::scheduler::process;
use kettle_core::arena::{Token, TokenError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::primitive::recipient;

/// The shared memory between a pool and one of its workers. It goes to the worker with its start data.
#[pyclass(frozen, module = "kettle._native", name = "PoolDesk")]
pub(crate) struct Desk(pub(in crate::pool) process::Desk);

#[pymethods]
impl Desk {
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        let tokens = slf.get().0.tokens(recipient()).map(|token| token.to_bytes()).concat();
        Ok((slf.get_type().getattr("_from_tokens")?, (PyBytes::new(py, &tokens),)))
    }

    #[staticmethod]
    fn _from_tokens(tokens: &[u8]) -> PyResult<Self> {
        let malformed = || errors::token(TokenError::Malformed);
        let tokens: &[u8; 5 * Token::LEN] = tokens.try_into().map_err(|_| malformed())?;
        let token = |i: usize| core::array::from_fn(|at| tokens[i * Token::LEN + at]);
        let tokens = core::array::from_fn(|i| Token::from_bytes(&token(i)));
        let desk = process::Desk::from_tokens(&tokens).map_err(errors::token)?;
        Ok(Self(desk))
    }
}
