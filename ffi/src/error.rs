//! `layerfi_result` and `layerfi_error`.

use std::ffi::CString;

use layerfi_auth::ErrorKind;

use crate::failure::Failure;
use crate::handle;
use crate::panic;
use crate::string::{layerfi_str, owned};

/// What became of a call. Numbers are never reused; later versions may add
/// some, so treat one that you do not know as a failure like the others.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum layerfi_result {
    /// Success.
    Ok = 0,
    /// A setting is missing or wrong; layerfi_error_field() names it.
    Config = 1,
    /// An argument of this call is wrong; nothing was sent.
    InvalidArgument = 2,
    /// The credentials could not be read from their file or provider.
    Credentials = 3,
    /// The server could not be reached, or the connection broke.
    Transport = 4,
    /// The call's time, or an attempt's, ran out.
    Timeout = 5,
    /// The server's certificate was not accepted, or the handshake failed.
    Tls = 6,
    /// The token endpoint refused; layerfi_error_oauth_error() has its code.
    Oauth = 7,
    /// The Layer API refused; see layerfi_error_http_status() and
    /// layerfi_error_error_enum().
    Api = 8,
    /// Too many requests; layerfi_error_retry_after_ms() says how long to wait.
    RateLimited = 9,
    /// The answer is not what the protocol allows.
    Protocol = 10,
    /// A fault in the library, such as a panic in its background thread.
    Internal = 11,
    /// A pointer that must not be NULL is.
    NullPointer = 100,
    /// A string is not UTF-8.
    InvalidUtf8 = 101,
    /// A number is no value of its enum.
    InvalidEnum = 102,
    /// The buffer is too small for the answer.
    BufferTooSmall = 103,
    /// Nothing is at hand, in a call that does not wait.
    NotAvailable = 104,
    /// A call that waits was made from a callback that its answer may depend on.
    WouldDeadlock = 105,
    /// The library panicked. The panic ended here, and the client stays usable.
    Panic = 106,
}

impl layerfi_result {
    const ALL: [Self; 19] = [
        Self::Ok,
        Self::Config,
        Self::InvalidArgument,
        Self::Credentials,
        Self::Transport,
        Self::Timeout,
        Self::Tls,
        Self::Oauth,
        Self::Api,
        Self::RateLimited,
        Self::Protocol,
        Self::Internal,
        Self::NullPointer,
        Self::InvalidUtf8,
        Self::InvalidEnum,
        Self::BufferTooSmall,
        Self::NotAvailable,
        Self::WouldDeadlock,
        Self::Panic,
    ];

    /// The engine's kinds in C. Exhaustive, so that a new kind does not
    /// compile until it has a number here.
    pub(crate) const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config => Self::Config,
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::Credentials => Self::Credentials,
            ErrorKind::Transport => Self::Transport,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Tls => Self::Tls,
            ErrorKind::OAuth => Self::Oauth,
            ErrorKind::Api => Self::Api,
            ErrorKind::RateLimited => Self::RateLimited,
            ErrorKind::Protocol => Self::Protocol,
            ErrorKind::Internal => Self::Internal,
        }
    }

    /// The names of the engine's kinds are the engine's (`ErrorKind::as_str`).
    const fn name(self) -> layerfi_str {
        layerfi_str::of(match self {
            Self::Ok => c"ok",
            Self::Config => c"config",
            Self::InvalidArgument => c"invalid_argument",
            Self::Credentials => c"credentials",
            Self::Transport => c"transport",
            Self::Timeout => c"timeout",
            Self::Tls => c"tls",
            Self::Oauth => c"oauth",
            Self::Api => c"api",
            Self::RateLimited => c"rate_limited",
            Self::Protocol => c"protocol",
            Self::Internal => c"internal",
            Self::NullPointer => c"null_pointer",
            Self::InvalidUtf8 => c"invalid_utf8",
            Self::InvalidEnum => c"invalid_enum",
            Self::BufferTooSmall => c"buffer_too_small",
            Self::NotAvailable => c"not_available",
            Self::WouldDeadlock => c"would_deadlock",
            Self::Panic => c"panic",
        })
    }
}

/// The name of a result code, such as `rate_limited`; empty for a number that
/// is none.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_result_name(result: u32) -> layerfi_str {
    layerfi_result::ALL
        .into_iter()
        .find(|known| *known as u32 == result)
        .map_or(layerfi_str::EMPTY, layerfi_result::name)
}

/// Why a call failed. No text in it holds a secret, a token or the body of an
/// answer. A const pointer to it may be used from many threads at once.
pub struct layerfi_error {
    result: layerfi_result,
    display: CString,
    message: CString,
    remedy: CString,
    field: Option<CString>,
    request_id: Option<CString>,
    oauth_error: Option<CString>,
    error_enum: Option<CString>,
    http_status: u32,
    retry_after_ms: i64,
    retryable: bool,
}

impl layerfi_error {
    fn new(failure: &Failure) -> Self {
        let engine = failure.engine();
        let (message, remedy) = failure.texts();
        Self {
            result: failure.result(),
            display: owned(&failure.display()),
            message: owned(&message),
            remedy: owned(&remedy),
            field: failure.field().map(owned),
            request_id: engine.and_then(|error| error.request_id().map(owned)),
            oauth_error: engine.and_then(|error| error.oauth_error().map(owned)),
            error_enum: engine.and_then(|error| error.error_enum().map(owned)),
            http_status: engine
                .and_then(layerfi_auth::Error::http_status)
                .map_or(0, u32::from),
            retry_after_ms: engine
                .and_then(layerfi_auth::Error::retry_after)
                .map_or(-1, |delay| {
                    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
                }),
            retryable: failure.is_retryable(),
        }
    }

    /// Writes a failure where the caller wants to have it.
    ///
    /// # Safety
    /// `out` is null, or aligned and may be written.
    pub(crate) unsafe fn write(out: *mut *mut Self, failure: &Failure) {
        if !out.is_null() {
            // SAFETY: as the caller promises.
            unsafe { handle::write(out, Self::new(failure)) };
        }
    }

    /// A view on one of its texts; empty for a null handle.
    ///
    /// # Safety
    /// As [`handle::borrow`].
    unsafe fn text(
        error: *const Self,
        text: impl FnOnce(&Self) -> Option<&CString>,
    ) -> layerfi_str {
        panic::value(layerfi_str::EMPTY, || {
            // SAFETY: as the caller promises.
            layerfi_str::of_option(unsafe { error.as_ref() }.and_then(text))
        })
    }
}

/// The same code that the call returned; LAYERFI_RESULT_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_result(error: *const layerfi_error) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { error.as_ref() }.map_or(layerfi_result::Ok, |error| error.result)
}

/// The whole story in one line: what failed, after how many attempts, the
/// request's id, and what to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_display(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| Some(&error.display)) }
}

/// What failed, without the advice. For people: branch on codes instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_message(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| Some(&error.message)) }
}

/// What to do about it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_remedy(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| Some(&error.remedy)) }
}

/// The setting or argument that is wrong, such as `client_id`; empty where it
/// is not about one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_field(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| error.field.as_ref()) }
}

/// The server's id for the request, to quote to Layer's support; empty where
/// there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_request_id(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| error.request_id.as_ref()) }
}

/// The OAuth error code, such as `invalid_client` (RFC 6749 section 5.2);
/// empty where there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_oauth_error(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| error.oauth_error.as_ref()) }
}

/// Layer's stable id of the failure; empty where there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_error_enum(error: *const layerfi_error) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { layerfi_error::text(error, |error| error.error_enum.as_ref()) }
}

/// The HTTP status of the answer; 0 where there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_http_status(error: *const layerfi_error) -> u32 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { error.as_ref() }.map_or(0, |error| error.http_status)
}

/// How long the server asked to wait, in milliseconds; -1 where it did not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_retry_after_ms(error: *const layerfi_error) -> i64 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { error.as_ref() }.map_or(-1, |error| error.retry_after_ms)
}

/// Whether the same call may succeed a little later, with nothing changed on
/// this side. The client has already retried by then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_is_retryable(error: *const layerfi_error) -> bool {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { error.as_ref() }.is_some_and(|error| error.retryable)
}

/// Frees an error, and the views on its texts with it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_error_free(error: *mut layerfi_error) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(error) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_engine_has_its_own_name_here() {
        for kind in ErrorKind::ALL {
            let name = layerfi_result_name(layerfi_result::of(kind) as u32);
            // SAFETY: names are literals.
            let name = unsafe { std::ffi::CStr::from_ptr(name.data) };
            assert_eq!(name.to_str().unwrap(), kind.as_str());
        }
        assert_eq!(layerfi_result_name(12).len, 0);
    }
}
