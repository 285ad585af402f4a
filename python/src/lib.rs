//! The Python face of layerfi-auth: the native half of the package
//! `layerfi_auth`. It translates, and nothing else; its Python half, with what
//! users import, is in `layerfi_auth/`.

mod batch;
mod calls;
mod client;
mod command;
mod courier;
mod emulator;
mod errors;
mod logging;
mod options;
mod provider;
mod stats;
mod tokens;
mod wait;

/// `layerfi_auth._native`. Described for type checkers in `_native.pyi`.
#[pyo3::pymodule(name = "_native", gil_used = false)]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::calls::PendingCall;
    #[pymodule_export]
    use crate::client::ClientBase;
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::courier::shut_down;
    #[pymodule_export]
    use crate::emulator::EmulatorBase;
    #[pymodule_export]
    use crate::stats::Stats;
    #[pymodule_export]
    use crate::tokens::{AccessToken, BusinessToken, WhoAmI};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Threads of ours must not enter an interpreter that is going away.
        module
            .py()
            .import("atexit")?
            .call_method1("register", (module.getattr("shut_down")?,))?;
        Ok(())
    }
}
