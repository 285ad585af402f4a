//! The `layerfi-auth` command, for the console script of the wheel.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command with these arguments, the program's name first, and gives
/// its exit code.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| layerfi_auth_cli::run(arguments))
}
