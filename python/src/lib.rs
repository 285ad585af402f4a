//! The native module of the Python package `layerfi_auth`. It translates
//! between Python and the engine; what users import is in `layerfi_auth/`.

mod args;
mod batch;
mod client;
mod client_state;
mod command;
mod emulator;
mod errors;
mod event_loop;
mod fork;
mod gil;
mod greenlets;
mod hit_methods;
mod lifecycle;
mod logging;
mod options;
mod origins;
mod pending;
mod provider;
mod references;
mod stats;
mod tokens;
mod try_cell;
mod worker;

/// Zeroes all memory that is freed, including the buffers of the HTTP and TLS
/// libraries. Memory of Python objects, such as a token's `str`, is allocated
/// and freed by Python.
#[global_allocator]
static ALLOCATOR: layerfi_auth::ZeroOnFree = layerfi_auth::ZeroOnFree::new();

/// `layerfi_auth._native`. `_native.pyi` describes it for type checkers.
#[pyo3::pymodule(name = "_native", gil_used = false)]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::client::ClientBase;
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::emulator::EmulatorBase;
    #[pymodule_export]
    use crate::hit_methods::add_hit_methods;
    #[pymodule_export]
    use crate::lifecycle::shut_down;
    #[pymodule_export]
    use crate::origins::AllowedOrigins;
    #[pymodule_export]
    use crate::pending::PendingCall;
    #[pymodule_export]
    use crate::provider::ProviderAnswer;
    #[pymodule_export]
    use crate::stats::Stats;
    #[pymodule_export]
    use crate::tokens::{AccessToken, BusinessToken, WhoAmI};
    #[pymodule_export]
    use crate::worker::Jobs;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::lifecycle::check_first_interpreter()?;
        crate::fork::watch();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::lifecycle::register_hooks(module)
    }
}
