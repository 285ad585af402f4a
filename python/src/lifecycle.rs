//! Hooks for the start and the end of the interpreter.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::{gil, logging, pending};

/// Fails if an interpreter of this process that imported this module has ended.
/// Static data of this module and of PyO3 refers to objects of that one.
pub(crate) fn check_first_interpreter() -> PyResult<()> {
    if gil::is_open() {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "layerfi_auth cannot be imported again after the interpreter that imported it has ended; \
         start Python once per process",
    ))
}

/// Registers the hook of `module`, when it is imported.
pub(crate) fn register_hooks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    py.import("atexit")?
        .call_method1("register", (module.getattr("shut_down")?,))?;
    Ok(())
}

/// Stops the module's threads when the interpreter shuts down.
#[pyfunction]
pub(crate) fn shut_down(py: Python<'_>) {
    gil::CALLS.close(py);
    py.detach(|| {
        pending::WORKER.stop();
        logging::WORKER.stop();
    });
    logging::WORKER.run_remaining(py);
    gil::WORKERS.close(py);
}
