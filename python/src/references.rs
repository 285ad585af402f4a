//! The Python objects that a client keeps alive, for the garbage collector.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::provider::PythonProvider;

/// The Python objects that a client and its batches keep alive. Only this object
/// shows them to the garbage collector, which needs to find each reference once:
/// the engine uses the provider too, on its own thread.
///
/// A cycle through a client, such as a provider that is a method of an object
/// with the client, is collected like any other: nothing outside can reach the
/// client then, so no call needs its provider.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct References {
    provider: Option<PythonProvider>,
    /// What must not end before the client, such as its emulator.
    owner: Mutex<Option<Py<PyAny>>>,
}

impl References {
    pub(crate) fn new(py: Python<'_>, provider: Option<PythonProvider>) -> PyResult<Py<Self>> {
        let owner = Mutex::default();
        Py::new(py, Self { provider, owner })
    }

    /// Keeps an object alive, instead of the one that was kept before.
    pub(crate) fn keep_alive(&self, owner: Option<Py<PyAny>>) {
        let mut kept = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *kept, owner);
        // Dropping an object may run any code, which must not wait for this lock.
        drop(kept);
        drop(before);
    }
}

#[pymethods]
impl References {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The locks are free: they are only held by a thread that has the GIL, for less
        // than a Python call.
        if let Ok(owner) = self.owner.try_lock() {
            visit.call(&*owner)?;
        }
        match &self.provider {
            Some(provider) => provider.traverse(&visit),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.keep_alive(None);
        if let Some(provider) = &self.provider {
            provider.clear();
        }
    }
}

impl Drop for References {
    fn drop(&mut self) {
        self.__clear__();
    }
}
