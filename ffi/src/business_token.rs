//! `layerfi_business_token`: a token for one business, and the calls that get and invalidate it.

use std::ffi::{CString, c_char};
use std::time::Duration;

use layerfi_auth::{BusinessToken, BusinessTokenOptions, SessionDuration};

use crate::client::layerfi_client;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get, get_str, read_str, write_optional, write_out};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};
use crate::time::unix_ms;

/// The session duration that Layer uses by default, in seconds.
pub const LAYERFI_SESSION_DURATION_DEFAULT: u64 = 3600;

/// A value for `min_remaining_s`: half of the lifetime that the server gave the
/// token.
pub const LAYERFI_MIN_REMAINING_DEFAULT: u64 = u64::MAX;

/// A token for one business, for a browser or a mobile app. It stays valid after
/// the client is freed. A const pointer to it may be used from several threads at
/// the same time. Free it with layerfi_business_token_free().
///
/// The library wipes its text from memory when the last reference to the token
/// (this handle, and the client's cache) is gone. Wipe your own copies yourself.
pub struct layerfi_business_token {
    token: BusinessToken,
    business_id: CString,
}

impl layerfi_business_token {
    pub(crate) fn new(token: BusinessToken) -> Self {
        Self {
            business_id: owned(token.business_id().as_str()),
            token,
        }
    }
}

/// Returns a token for one business: from the cache if it has enough lifetime
/// left, otherwise newly minted. Free it with layerfi_business_token_free().
///
/// `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds, or
/// LAYERFI_SESSION_DURATION_DEFAULT. `min_remaining_s` is the lifetime that the
/// token must have left, in seconds; it is reduced to nine tenths of the lifetime
/// that the server gave the token, and LAYERFI_MIN_REMAINING_DEFAULT is half of
/// it. `timeout_ms` limits the call in milliseconds; 0 is the client's timeout.
///
/// With LAYERFI_MIN_REMAINING_DEFAULT a cached token with less lifetime is
/// returned if minting fails with a retryable error.
///
/// Errors: LAYERFI_RESULT_INVALID_ARGUMENT for an id or a duration that is not
/// valid; otherwise as layerfi_client_token(), and LAYERFI_RESULT_API if Layer
/// refuses the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    min_remaining_s: u64,
    timeout_ms: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, id) = (borrow!(client), read_str!(business_id));
        check_out!(out);
        let business = client.client.business_id(id)?;
        let duration = SessionDuration::from_secs(session_duration_s)?;
        let mut options = BusinessTokenOptions::from(duration);
        options.min_remaining = (min_remaining_s != LAYERFI_MIN_REMAINING_DEFAULT)
            .then(|| Duration::from_secs(min_remaining_s));
        let cached = client
            .client
            .as_async()
            .cached_business_token(&business, options);
        let token = match cached {
            Some(token) => token,
            None => client
                .waiting(timeout_ms)?
                .business_token_with(&business, options)?,
        };
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Returns a cached business token that has at least half of its lifetime left,
/// and never waits. Free it with layerfi_business_token_free().
///
/// `business_id` and `session_duration_s` are as in
/// layerfi_client_business_token().
///
/// Errors: LAYERFI_RESULT_NOT_AVAILABLE if the cache has no such token; a request
/// for one is started in the background. After a failed request, its failure
/// until the next request is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, id) = (borrow!(client), read_str!(business_id));
        check_out!(out);
        let token = client
            .client
            .try_business_token(
                &client.client.business_id(id)?,
                SessionDuration::from_secs(session_duration_s)?,
            )?
            .ok_or(Failure::NotAvailable)?;
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Requests a new token for one business. The token is not cached. Free it with
/// layerfi_business_token_free().
///
/// `business_id`, `session_duration_s` and `timeout_ms` are as in
/// layerfi_client_business_token(), and so are the errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_mint_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    timeout_ms: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, id) = (borrow!(client), read_str!(business_id));
        check_out!(out);
        let business = client.client.business_id(id)?;
        let session_duration = SessionDuration::from_secs(session_duration_s)?;
        let token = client
            .waiting(timeout_ms)?
            .mint_business_token(&business, session_duration)?;
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Removes a business token from the cache, if it is still the current one. The
/// handle stays the caller's.
///
/// `invalidated` may be NULL; otherwise it is set to whether the token was
/// removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate_business_token(
    client: *const layerfi_client,
    token: *const layerfi_business_token,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, token) = (borrow!(client), borrow!(token));
        let done = client.client.invalidate_business_token(&token.token);
        write_optional!(invalidated, done);
        Ok(())
    })
}

/// The token itself, for the `businessAccessToken` property of `<LayerProvider>`.
/// It is a secret: do not log it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_secret(
    token: *const layerfi_business_token,
) -> layerfi_str {
    get!(token, layerfi_str::EMPTY, |token| {
        layerfi_str::token_of(token.token.authorization_with_nul())
    })
}

/// The value of the `Authorization` header: `Bearer` and the token. It is built
/// once per token, not per call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_authorization(
    token: *const layerfi_business_token,
) -> layerfi_str {
    get!(token, layerfi_str::EMPTY, |token| {
        layerfi_str::before_nul(token.token.authorization_with_nul())
    })
}

/// The business that the token is for: a UUID in lower case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_business_id(
    token: *const layerfi_business_token,
) -> layerfi_str {
    get_str!(token.business_id)
}

/// The session duration that was requested, in seconds; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_session_duration_s(
    token: *const layerfi_business_token,
) -> u64 {
    get!(token, 0, |token| u64::from(
        token.token.session_duration().as_secs()
    ))
}

/// The lifetime that the server gave the token, in seconds, counted from before
/// it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_expires_in_s(
    token: *const layerfi_business_token,
) -> u64 {
    get!(token, 0, |token| token.token.expires_in().as_secs())
}

/// When the token expires, in milliseconds since 1970-01-01 00:00 UTC, counted
/// from before it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_expires_at_ms(
    token: *const layerfi_business_token,
) -> i64 {
    get!(token, 0, |token| unix_ms(token.token.expires_at()))
}

/// Frees a business token and ends the views of it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_free(token: *mut layerfi_business_token) {
    free!(token);
}
