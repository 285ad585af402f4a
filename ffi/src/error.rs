//! `layerfi_error`: why a call failed.

use std::ffi::CString;

use crate::failure::Failure;
use crate::handle;
use crate::macros::{free, get, get_str};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};

/// Why a call failed. No text in it holds a secret, a token or the body of a
/// response. A const pointer to it may be used from several threads at the same
/// time. Free it with layerfi_error_free().
pub struct layerfi_error {
    result: layerfi_result,
    display: CString,
    message: CString,
    remedy: CString,
    field: CString,
    request_id: CString,
    oauth_error: CString,
    error_enum: CString,
    http_status: u32,
    attempts: u32,
    retry_after_ms: i64,
    retryable: bool,
}

impl layerfi_error {
    fn new(failure: &Failure) -> Self {
        let engine = failure.engine();
        let optional = |text: Option<&str>| text.map(owned).unwrap_or_default();
        Self {
            result: failure.result(),
            display: owned(&failure.display()),
            message: owned(&failure.to_string()),
            remedy: owned(failure.remedy()),
            field: optional(failure.field()),
            request_id: optional(engine.and_then(layerfi_auth::Error::request_id)),
            oauth_error: optional(engine.and_then(layerfi_auth::Error::oauth_error)),
            error_enum: optional(engine.and_then(layerfi_auth::Error::error_enum)),
            http_status: engine
                .and_then(layerfi_auth::Error::http_status)
                .map_or(0, u32::from),
            attempts: engine.map_or(0, layerfi_auth::Error::attempts),
            retry_after_ms: engine
                .and_then(layerfi_auth::Error::retry_after)
                .map_or(-1, |delay| {
                    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
                }),
            retryable: failure.is_retryable(),
        }
    }

    /// Writes a failure to the caller's `error` parameter, if there is one.
    ///
    /// # Safety
    /// `out` is null, or is aligned and may be written.
    pub(crate) unsafe fn write(out: *mut *mut Self, failure: &Failure) {
        if !out.is_null() {
            // SAFETY: as the caller promises.
            unsafe { handle::write(out, Self::new(failure)) };
        }
    }
}

/// The code that the call returned; LAYERFI_RESULT_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_result(error: *const layerfi_error) -> layerfi_result {
    get!(error, layerfi_result::Ok, |error| error.result)
}

/// The whole error in one line, for a log: what failed, the number of attempts,
/// the request id, and what to do about it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_display(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.display)
}

/// What failed, without the remedy. The text may change: branch on the result
/// code instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_message(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.message)
}

/// What to do about it. The text may change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_remedy(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.remedy)
}

/// The name of the setting or argument that is not valid, such as `client_id`;
/// empty if the error is not about one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_field(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.field)
}

/// The server's id for the request, for questions to Layer's support; empty if
/// the server sent none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_request_id(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.request_id)
}

/// The OAuth error code, such as `invalid_client` (RFC 6749 section 5.2); empty
/// if the server sent none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_oauth_error(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.oauth_error)
}

/// Layer's stable code for the failure (`error_enum`); empty if the server sent
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_error_enum(error: *const layerfi_error) -> layerfi_str {
    get_str!(error.error_enum)
}

/// The HTTP status of the response; 0 if there was no response. For a call that
/// timed out, the status of its last attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_http_status(error: *const layerfi_error) -> u32 {
    get!(error, 0, |error| error.http_status)
}

/// How many times the request was sent, retries included; 0 if it was not sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_attempts(error: *const layerfi_error) -> u32 {
    get!(error, 0, |error| error.attempts)
}

/// How long to wait before a retry, in milliseconds, as the server requests; -1
/// if it requests nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_retry_after_ms(error: *const layerfi_error) -> i64 {
    get!(error, -1, |error| error.retry_after_ms)
}

/// Whether the same call may succeed later without a change by the caller. The
/// client has already retried. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_is_retryable(error: *const layerfi_error) -> bool {
    get!(error, false, |error| error.retryable)
}

/// Frees an error and ends the views of its texts. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_free(error: *mut layerfi_error) {
    free!(error);
}
