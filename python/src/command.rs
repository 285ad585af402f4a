//! The command `layerfi-auth`, for the console script of the wheel.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command and returns its exit code. The first argument is the
/// program's name.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| layerfi_auth_cli::run(arguments))
}
