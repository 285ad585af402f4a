//! `layerfi_result`: the result codes.

use layerfi_auth::ErrorKind;

use crate::str_view::layerfi_str;

/// The result of a call. Numbers are never reused. Later versions may add
/// codes: treat an unknown code as a failure.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum layerfi_result {
    /// Success.
    Ok = 0,
    /// A setting is missing or not valid; layerfi_error_field() names it.
    Config = 1,
    /// An argument of this call is not valid. No request was sent.
    InvalidArgument = 2,
    /// The credentials could not be read from their file or callback.
    Credentials = 3,
    /// The server could not be reached, or the connection was lost.
    Transport = 4,
    /// The call's timeout, or the timeout of its last attempt, has passed.
    Timeout = 5,
    /// The server's certificate was not accepted, or the TLS handshake failed.
    Tls = 6,
    /// The token endpoint refused the request; layerfi_error_oauth_error() has
    /// its OAuth error code, or is empty for a 400 or 401 without a body.
    Oauth = 7,
    /// The Layer API refused the request, or the token endpoint failed without
    /// an OAuth error code; see layerfi_error_http_status() and
    /// layerfi_error_error_enum().
    Api = 8,
    /// Too many requests; layerfi_error_retry_after_ms() has the time to wait.
    RateLimited = 9,
    /// The server's response is not valid.
    Protocol = 10,
    /// A fault in the library, such as a panic in its background thread.
    Internal = 11,
    /// An argument is NULL, which is not allowed.
    NullPointer = 100,
    /// A string is not valid UTF-8.
    InvalidUtf8 = 101,
    /// A number is not a value of its enum.
    InvalidEnum = 102,
    /// The buffer is too small for the value.
    BufferTooSmall = 103,
    /// The cache has no value, in a call that does not wait.
    NotAvailable = 104,
    /// A call that waits was made in a callback that the call may itself wait
    /// for.
    WouldDeadlock = 105,
    /// The library panicked. The panic was caught; the client stays usable.
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

    /// The code for a kind of error. A test checks that each kind has its own code.
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
            // Internal. A new kind without a code here fails the test below.
            _ => Self::Internal,
        }
    }

    /// Its name; for the engine's kinds the same as `ErrorKind::as_str`.
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

/// The name of a result code, such as `rate_limited`; empty for an unknown
/// number. The view is always valid.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_result_name(result: u32) -> layerfi_str {
    layerfi_result::ALL
        .into_iter()
        .find(|known| *known as u32 == result)
        .map_or(layerfi_str::EMPTY, layerfi_result::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_kind_has_a_code_with_the_same_name() {
        for kind in ErrorKind::ALL {
            let name = layerfi_result_name(layerfi_result::of(kind) as u32);
            // SAFETY: names are literals.
            let name = unsafe { std::ffi::CStr::from_ptr(name.data) };
            assert_eq!(name.to_str().unwrap(), kind.as_str());
        }
        assert_eq!(layerfi_result_name(12).len, 0);
    }
}
