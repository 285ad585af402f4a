//! Waiting in a greenlet of gevent or eventlet, so that the other greenlets of
//! its thread run meanwhile. `layerfi_auth/_greenlets.py` does the waiting.

use pyo3::prelude::*;

use crate::event_loop::EventLoopTarget;
use crate::gil;

/// Modules of which one is imported if blocking functions were patched.
const PATCHERS: [&str; 2] = ["gevent.monkey", "eventlet.patcher"];

/// Waits for one call in the current greenlet.
pub(crate) struct Waiter<'py>(Bound<'py, PyAny>);

impl<'py> Waiter<'py> {
    /// `None` where a call has to block its thread: the program has not patched
    /// blocking functions, or no other greenlet can run in this thread.
    pub(crate) fn current(py: Python<'py>) -> PyResult<Option<Self>> {
        let modules = py.import("sys")?.getattr("modules")?;
        let mut patchers = PATCHERS.iter();
        if !patchers.any(|name| modules.contains(*name).unwrap_or(false)) || !gil::is_open() {
            return Ok(None);
        }
        let waiter = py
            .import("layerfi_auth._greenlets")?
            .call_method0("current_waiter")?;
        Ok((!waiter.is_none()).then_some(Self(waiter)))
    }

    pub(crate) fn target(&self) -> PyResult<EventLoopTarget> {
        Ok(EventLoopTarget {
            post: self.0.getattr("post")?.unbind(),
            settle: self.0.getattr("settle")?.unbind(),
        })
    }

    /// Waits for the result. An exception that another greenlet raises in this
    /// one, such as a `gevent.Timeout`, ends the wait.
    pub(crate) fn wait(&self, pending: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.0.call_method1("wait", (pending,))
    }
}
