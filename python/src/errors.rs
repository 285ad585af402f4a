//! The engine's errors as Python exceptions. The classes are defined in
//! `layerfi_auth/exceptions.py`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use layerfi_auth::{Error, ErrorKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The name of each kind's exception class.
const fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "ConfigError",
        ErrorKind::InvalidArgument => "InvalidArgumentError",
        ErrorKind::Credentials => "CredentialsError",
        ErrorKind::Transport => "TransportError",
        ErrorKind::Timeout => "RequestTimeoutError",
        ErrorKind::Tls => "TlsError",
        ErrorKind::OAuth => "OAuthError",
        ErrorKind::Api => "ApiError",
        ErrorKind::RateLimited => "RateLimitedError",
        ErrorKind::Protocol => "ProtocolError",
        // Internal, and a kind that is newer than this table, which a test finds.
        _ => "InternalError",
    }
}

fn class(py: Python<'_>, kind: ErrorKind) -> PyResult<&Bound<'_, PyType>> {
    static CLASSES: [PyOnceLock<Py<PyType>>; ErrorKind::ALL.len()] =
        [const { PyOnceLock::new() }; ErrorKind::ALL.len()];
    let unknown = || pyo3::exceptions::PySystemError::new_err("unknown kind of error");
    CLASSES.get(kind as usize).ok_or_else(unknown)?.import(
        py,
        "layerfi_auth.exceptions",
        class_name(kind),
    )
}

/// The exception object of an error.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("message", error.message())?;
    fields.set_item("remedy", error.remedy())?;
    fields.set_item("retryable", error.is_retryable())?;
    fields.set_item("http_status", error.http_status())?;
    fields.set_item("oauth_error", error.oauth_error())?;
    fields.set_item("error_enum", error.error_enum())?;
    fields.set_item(
        "retry_after",
        error.retry_after().map(|delay| delay.as_secs_f64()),
    )?;
    fields.set_item("request_id", error.request_id())?;
    fields.set_item("field", error.field())?;
    fields.set_item("attempts", error.attempts())?;
    class(py, error.kind())?.call((error.to_string(),), Some(&fields))
}

/// The error as a `PyErr`.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|error| error, PyErr::from_value)
}

/// An invalid argument that is refused before the engine gets it.
pub(crate) fn invalid_argument(py: Python<'_>, field: &str, message: &str, remedy: &str) -> PyErr {
    new(py, ErrorKind::InvalidArgument, Some(field), message, remedy)
}

/// An invalid setting of the client.
pub(crate) fn config(py: Python<'_>, field: &str, message: &str, remedy: &str) -> PyErr {
    new(py, ErrorKind::Config, Some(field), message, remedy)
}

/// A `TypeError` for a value of the wrong type. It shows only the type: the
/// value may be a secret that was passed to the wrong parameter.
pub(crate) fn expected(name: &str, what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let got = if value.is_none() {
        "None".to_owned()
    } else {
        let got = value.get_type().qualname();
        got.map_or_else(|_| "another type".to_owned(), |name| name.to_string())
    };
    PyTypeError::new_err(format!("{name} must be {what}, not {got}"))
}

/// A call whose task ended without a result.
pub(crate) fn call_without_result(py: Python<'_>) -> PyErr {
    new(
        py,
        ErrorKind::Internal,
        None,
        "the call's task ended without a result",
        "it panicked: report this, with the panic's text from standard error",
    )
}

/// A call that was not started because its result could not be returned.
pub(crate) fn call_not_started(py: Python<'_>, message: &str, remedy: &str) -> PyErr {
    new(py, ErrorKind::Internal, None, message, remedy)
}

/// A call whose result could not be returned, because no thread could be started.
pub(crate) fn no_thread(py: Python<'_>, cause: PyErr) -> PyErr {
    let error = new(
        py,
        ErrorKind::Transport,
        None,
        "no thread could be started to return the call's result",
        "raise the process's limits on threads and memory, or retry later",
    );
    error.set_cause(py, Some(cause));
    error
}

/// Runs a part of a call. A panic becomes an exception that `except Exception`
/// catches, which PyO3's own does not.
pub(crate) fn guarded<T>(py: Python<'_>, call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        // The text of the panic is on standard error.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        let remedy = "report this, with the panic's text from standard error";
        Err(new(
            py,
            ErrorKind::Internal,
            None,
            "the call panicked",
            remedy,
        ))
    })
}

/// An error that this module found, and not the engine.
fn new(py: Python<'_>, kind: ErrorKind, field: Option<&str>, message: &str, remedy: &str) -> PyErr {
    let make = || {
        let fields = PyDict::new(py);
        fields.set_item("message", message)?;
        fields.set_item("remedy", remedy)?;
        fields.set_item("field", field)?;
        fields.set_item("retryable", kind == ErrorKind::Transport)?;
        class(py, kind)?.call((format!("{message}: {remedy}"),), Some(&fields))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
