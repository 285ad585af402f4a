//! `layerfi_business_token`: a token for one business, and the calls that get and invalidate it.

use std::ffi::{CString, c_char};
use std::time::Duration;

use layerfi_auth::{BusinessToken, BusinessTokenOptions, SessionDuration};

use crate::client::{Timeout, layerfi_client};
use crate::default::given;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get, get_str, read_str, write_optional, write_out};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};
use crate::time::{duration_ms, unix_ms};

/// A token for one business, for a browser or a mobile app. It stays valid after
/// the client is freed. A const pointer to it may be used from several threads at
/// the same time. Free it with layerfi_business_token_free().
///
/// The library wipes its text from memory when the last reference to the token
/// (this handle, and the client's cache) is gone. Wipe your own copies yourself.
pub struct layerfi_business_token {
    pub(crate) token: BusinessToken,
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

/// A session duration in seconds, or the default.
pub(crate) fn session_duration(seconds: u64) -> Result<SessionDuration, Failure> {
    let seconds = given(seconds).map(SessionDuration::from_secs).transpose()?;
    Ok(seconds.unwrap_or_default())
}

fn options(session_duration_s: u64, min_remaining_s: u64) -> Result<BusinessTokenOptions, Failure> {
    let mut options = BusinessTokenOptions::from(session_duration(session_duration_s)?);
    options.min_remaining = given(min_remaining_s).map(Duration::from_secs);
    Ok(options)
}

/// Returns a token for one business: from the cache if it has enough lifetime
/// left, otherwise newly minted. Free it with layerfi_business_token_free().
///
/// `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds;
/// LAYERFI_DEFAULT is 3,600 (1 hour). `min_remaining_s` is the lifetime that the
/// token must have left, in seconds; it is reduced to nine tenths of the lifetime
/// that the server gave the token. LAYERFI_DEFAULT is half of that lifetime, or
/// less if minting fails with a retryable error. `timeout_ms` limits the call in
/// milliseconds; LAYERFI_DEFAULT is the client's timeout.
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
        let options = options(session_duration_s, min_remaining_s)?;
        let timeout = Timeout::read(timeout_ms)?;
        let cached = client
            .client
            .as_async()
            .cached_business_token(&business, options);
        let token = match cached {
            Some(token) => token,
            None => client
                .waiting(timeout)?
                .business_token_with(&business, options)?,
        };
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Returns another business token than one that a page reports as refused, and keeps
/// serving that one to others until the new one arrives. Free it with
/// layerfi_business_token_free().
///
/// `refused` is the token, or the value of its `Authorization` header; it is compared in
/// constant time. The current token is returned if it is another one already, if it is
/// less than 10 seconds old, or after too many refusals. `business_id`,
/// `session_duration_s` and `timeout_ms` are as in layerfi_client_business_token().
///
/// Errors: as layerfi_client_business_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_renew_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    refused: *const c_char,
    timeout_ms: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, id) = (borrow!(client), read_str!(business_id));
        let refused = read_str!(refused);
        check_out!(out);
        let business = client.client.business_id(id)?;
        let options = BusinessTokenOptions::from(session_duration(session_duration_s)?);
        let timeout = Timeout::read(timeout_ms)?;
        let token = client
            .waiting(timeout)?
            .renew_business_token(&business, options, refused)?;
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Returns a cached business token that has enough lifetime left, and never
/// waits. Free it with layerfi_business_token_free().
///
/// `business_id`, `session_duration_s` and `min_remaining_s` are as in
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
    min_remaining_s: u64,
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
                options(session_duration_s, min_remaining_s)?,
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
        let duration = session_duration(session_duration_s)?;
        let timeout = Timeout::read(timeout_ms)?;
        let token = client
            .waiting(timeout)?
            .mint_business_token(&business, duration)?;
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Removes a business token from the cache because a server refused it with 401,
/// if it is still the current one. The handle stays the caller's. Otherwise as
/// layerfi_client_invalidate(), with a limit of its own.
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

/// How long the token is still valid, in milliseconds, as
/// layerfi_token_remaining_ms(); 0 after the expiry, and for NULL. A page counts
/// from this and not from the expiry, because the clocks of its users are wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_remaining_ms(
    token: *const layerfi_business_token,
) -> u64 {
    get!(token, 0, |token| duration_ms(token.token.remaining()))
}

/// Frees a business token and ends the views of it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_free(token: *mut layerfi_business_token) {
    free!(token);
}
