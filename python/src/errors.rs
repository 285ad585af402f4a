//! The engine's errors as Python exceptions, whose classes are written in
//! `layerfi_auth/exceptions.py`.

use layerfi_auth::{Error, ErrorKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The exception class of each kind.
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
        ErrorKind::Internal => "InternalError",
    }
}

fn class(py: Python<'_>, kind: ErrorKind) -> PyResult<&Bound<'_, PyType>> {
    static CLASSES: [PyOnceLock<Py<PyType>>; ErrorKind::ALL.len()] =
        [const { PyOnceLock::new() }; ErrorKind::ALL.len()];
    let internal = || pyo3::exceptions::PySystemError::new_err("an error of no kind");
    CLASSES.get(kind as usize).ok_or_else(internal)?.import(
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

/// What is raised for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|error| error, PyErr::from_value)
}

/// A Python argument that is refused before the engine sees it.
pub(crate) fn invalid_argument(
    py: Python<'_>,
    field: &'static str,
    message: &str,
    remedy: &str,
) -> PyErr {
    own(py, ErrorKind::InvalidArgument, Some(field), message, remedy)
}

/// The same for a setting of the client.
pub(crate) fn config(py: Python<'_>, field: &'static str, message: &str, remedy: &str) -> PyErr {
    own(py, ErrorKind::Config, Some(field), message, remedy)
}

/// Of the value no more is told than its type: it may be a secret in the wrong place.
pub(crate) fn expected(name: &str, what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let got = value.get_type().qualname();
    let got = got.map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {what}, not {got}"))
}

/// A call of which nothing came.
pub(crate) fn lost(py: Python<'_>) -> PyErr {
    own(
        py,
        ErrorKind::Internal,
        None,
        "the call's task ended without a result",
        "it panicked: report this, with the panic's text from standard error",
    )
}

/// A call that is not begun, because nothing could bring its result.
pub(crate) fn no_way_back(py: Python<'_>, why: &str, remedy: &str) -> PyErr {
    own(py, ErrorKind::Internal, None, why, remedy)
}

/// An error that this face finds by itself.
fn own(
    py: Python<'_>,
    kind: ErrorKind,
    field: Option<&'static str>,
    message: &str,
    remedy: &str,
) -> PyErr {
    let make = || {
        let fields = PyDict::new(py);
        fields.set_item("message", message)?;
        fields.set_item("remedy", remedy)?;
        fields.set_item("field", field)?;
        class(py, kind)?.call((format!("{message}: {remedy}"),), Some(&fields))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
