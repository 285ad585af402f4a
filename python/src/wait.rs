//! Waiting for a call on a Python thread: others run meanwhile, and Ctrl-C
//! ends it.

use std::time::Duration;

use layerfi_auth::blocking::{Client, Pending};
use layerfi_auth::{Error, Result};
use pyo3::prelude::*;

use crate::gil;

/// How long signals may go unnoticed: short for a person, long for a processor.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Makes a call and waits for its result. A signal whose Python handler raises
/// ends the wait, and the call with it.
pub(crate) fn block<T, F>(
    py: Python<'_>,
    client: &Client,
    call: impl FnOnce(layerfi_auth::Client) -> F + Send,
    raise: impl Fn(Error) -> PyErr + Copy,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut pending: Pending<T> = gil::released(py, || client.start(call)).map_err(raise)?;
    loop {
        let (back, result) = gil::released(py, move || {
            let result = pending.wait(SLICE);
            (pending, result)
        });
        if let Some(result) = result {
            return result.map_err(raise);
        }
        py.check_signals()?;
        pending = back;
    }
}
