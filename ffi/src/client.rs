//! `layerfi_client`: the client and its settings. Its calls are in the files of what they return.

use std::ffi::CString;
use std::time::Duration;

use layerfi_auth::{AccessToken, blocking};

use crate::callback;
use crate::default::given;
use crate::environment::layerfi_environment;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get, get_str, write_out};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};

/// The maximum timeout of a call; a longer one is reduced to it.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The timeout of a call; `None` is the client's.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(Option<Duration>);

impl Timeout {
    /// Reads a `timeout_ms`. Every call reads it first, so that a wrong one fails with a cached
    /// token too.
    #[inline]
    pub(crate) fn read(timeout_ms: u64) -> Result<Self, Failure> {
        match given(timeout_ms) {
            Some(0) => Err(Failure::Argument(
                "timeout_ms",
                "must be at least 1, got 0",
                "use LAYERFI_DEFAULT for the client's own timeout",
            )),
            given => Ok(Self(
                given.map(|ms| Duration::from_millis(ms).min(MAX_TIMEOUT)),
            )),
        }
    }
}

/// A client for Layer's authentication. Make one per set of credentials and use
/// it in the whole program. A const pointer to it may be used from several
/// threads at the same time, and in the child after a fork(). Free it with
/// layerfi_client_free().
///
/// The `timeout_ms` of a call limits the whole call in milliseconds: waiting,
/// retries and back-off included. LAYERFI_DEFAULT is the client's own timeout, 0
/// is LAYERFI_RESULT_INVALID_ARGUMENT, and a value above one day is reduced to one
/// day. A call that times out does not cancel a request that other callers wait
/// for.
pub struct layerfi_client {
    pub(crate) client: blocking::Client,
    api_url: CString,
    auth_url: CString,
    scope: CString,
}

impl layerfi_client {
    pub(crate) fn new(client: blocking::Client) -> Self {
        let settings = client.as_async();
        Self {
            api_url: owned(settings.api_url()),
            auth_url: owned(settings.auth_url()),
            scope: owned(settings.scope()),
            client,
        }
    }

    /// An access token for a call that found none in the cache.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_for_token(&self, timeout: Timeout) -> Result<AccessToken, Failure> {
        Ok(self.waiting(timeout)?.token()?)
    }

    /// The client for a call that may wait. Fails in a callback.
    pub(crate) fn waiting(&self, timeout: Timeout) -> Result<blocking::Client, Failure> {
        callback::check_may_wait()?;
        Ok(match timeout.0 {
            None => self.client.clone(),
            Some(timeout) => self.client.with_timeout(timeout),
        })
    }
}

/// Makes a client from environment variables. It is
/// layerfi_client_builder_from_env() and layerfi_client_builder_build() in one
/// call. Free the client with layerfi_client_free().
///
/// Errors: LAYERFI_RESULT_CONFIG if a variable is missing or not valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_from_env(
    out: *mut *mut layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        check_out!(out);
        let client = blocking::Client::from_env()?;
        write_out!(out, layerfi_client::new(client));
        Ok(())
    })
}

/// Starts to get an access token in the background, so that the first call that
/// needs one finds it. Call it where the program starts: it never waits. It does
/// nothing while there is a valid token or a request for one. In a child after a
/// fork() it starts the child's own request.
///
/// The library's threads start, read the trusted certificates, and connect to the
/// token endpoint. The connection to the API is opened by the first request to it.
///
/// The failure of the request is not an error here. It is logged as a warning, and
/// the calls that need a token return it, as if they had sent it.
///
/// Errors: LAYERFI_RESULT_TRANSPORT, retryable, if the library's threads cannot be
/// started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_prepare(
    client: *const layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        client.client.prepare()?;
        Ok(())
    })
}

/// The client's environment, a layerfi_environment; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_environment(client: *const layerfi_client) -> u32 {
    get!(client, 0, |client| {
        layerfi_environment::of(client.client.as_async().environment()) as u32
    })
}

/// The base URL of the API, without a slash at its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_api_url(client: *const layerfi_client) -> layerfi_str {
    get_str!(client.api_url)
}

/// The URL of the token endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_auth_url(client: *const layerfi_client) -> layerfi_str {
    get_str!(client.auth_url)
}

/// The OAuth scope that the client requests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_scope(client: *const layerfi_client) -> layerfi_str {
    get_str!(client.scope)
}

/// Frees a client. NULL is allowed. Tokens that it returned stay valid. Requests
/// that run in the background are completed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_free(client: *mut layerfi_client) {
    free!(client);
}
