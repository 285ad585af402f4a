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
mod gil;
mod logging;
mod options;
mod provider;
mod stats;
mod tokens;
mod wait;

/// Nothing of a secret or a token is left in memory that is given back, in the
/// buffers of the HTTP and TLS libraries included. Python's own objects, such
/// as a token's `str`, are Python's.
#[global_allocator]
static ALLOCATOR: layerfi_auth::ZeroOnFree = layerfi_auth::ZeroOnFree::new();

/// `layerfi_auth._native`. Described for type checkers in `_native.pyi`.
#[pyo3::pymodule(name = "_native", gil_used = false)]
mod native {
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::calls::PendingCall;
    #[pymodule_export]
    use crate::client::ClientBase;
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::courier::{Errands, shut_down};
    #[pymodule_export]
    use crate::emulator::EmulatorBase;
    #[pymodule_export]
    use crate::gil::after_fork;
    #[pymodule_export]
    use crate::provider::ProviderAnswer;
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
        let os = module.py().import("os")?;
        if os.hasattr("register_at_fork")? {
            let hooks = PyDict::new(module.py());
            hooks.set_item("after_in_child", module.getattr("after_fork")?)?;
            os.call_method("register_at_fork", (), Some(&hooks))?;
        }
        Ok(())
    }
}
