//! Where the result of an async call goes.

use pyo3::prelude::*;

/// The two Python functions that pass a result to an event loop.
pub(crate) struct EventLoopTarget {
    /// Calls a function with arguments on the loop's own thread.
    pub(crate) post: Py<PyAny>,
    /// Takes a value and an error, one of which is `None`.
    pub(crate) settle: Py<PyAny>,
}
