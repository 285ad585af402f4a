//! `layerfi_token`: an access token, and the calls that get and invalidate it.

use std::ffi::c_char;

use layerfi_auth::AccessToken;
use layerfi_auth_hits::copy_authorization;

use crate::client::{Timeout, layerfi_client};
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::{guard, guard_hit};
use crate::macros::{borrow, check_out, free, get, read_str, write_optional, write_out};
use crate::result::layerfi_result;
use crate::str_view::layerfi_str;
use crate::time::{duration_ms, unix_ms};

/// An access token for the Layer API. It does not change when the client gets a
/// newer token, and stays valid after the client is freed. A const pointer to it
/// may be used from several threads at the same time. Free it with
/// layerfi_token_free().
///
/// The library wipes its text from memory when the last reference to the token
/// (this handle, and the client's cache) is gone. Wipe your own copies yourself.
pub struct layerfi_token {
    token: AccessToken,
}

/// Returns a valid access token. A cached token is returned at once; otherwise
/// the call waits for a request that all callers share. A token that expires
/// soon is returned at once and refreshed in the background. Free the token with
/// layerfi_token_free().
///
/// `timeout_ms` limits the call in milliseconds; LAYERFI_DEFAULT is the client's
/// timeout.
///
/// Errors: the failure of the token request, after its retries. After a failure
/// the same error is returned without a new request, until a new request may
/// succeed (2 to 60 seconds if the credentials were refused).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_token(
    client: *const layerfi_client,
    timeout_ms: u64,
    out: *mut *mut layerfi_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard_hit(error, || {
        let client = borrow!(client);
        check_out!(out);
        let timeout = Timeout::read(timeout_ms)?;
        let token = match layerfi_auth_hits::token(&client.client) {
            Some(token) => token,
            None => client.wait_for_token(timeout)?,
        };
        write_out!(out, layerfi_token { token });
        Ok(())
    })
}

/// Returns the cached access token and never waits. Free the token with
/// layerfi_token_free().
///
/// Errors: LAYERFI_RESULT_NOT_AVAILABLE if the cache has no valid token; a
/// request for one is started in the background. After a failed request, its
/// failure until the next request is allowed, as from layerfi_client_token(). In
/// both cases call again later: the library sends new requests by itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_token(
    client: *const layerfi_client,
    out: *mut *mut layerfi_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard_hit(error, || {
        let client = borrow!(client);
        check_out!(out);
        let token = match layerfi_auth_hits::token(&client.client) {
            Some(token) => token,
            None => cached(client)?,
        };
        write_out!(out, layerfi_token { token });
        Ok(())
    })
}

#[cold]
#[inline(never)]
fn cached(client: &layerfi_client) -> Result<AccessToken, Failure> {
    let token = client.client.try_token()?;
    token.ok_or(Failure::NotAvailable)
}

/// Copies the value of the `Authorization` header (`Bearer` and the token) and a
/// NUL into the caller's buffer. It is layerfi_client_token() without a handle
/// to free. Threads do not slow one another while a token is cached.
///
/// `capacity` is the size of `buffer` in bytes. 16,392 bytes are enough for any
/// token; Layer's tokens have some 1,000 bytes. `length` may be NULL; otherwise
/// it is set to the length of the value without the NUL. `timeout_ms` limits the
/// call in milliseconds; LAYERFI_DEFAULT is the client's timeout.
///
/// The copy belongs to the caller, which must wipe it. If a server refuses it
/// with 401, call layerfi_client_invalidate_authorization().
///
/// Errors: as layerfi_client_token(). LAYERFI_RESULT_BUFFER_TOO_SMALL if
/// `capacity` is less than the length and the NUL; `length` is set in this case
/// too, the only out parameter that is written on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_copy_authorization(
    client: *const layerfi_client,
    timeout_ms: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard_hit(error, || {
        let client = borrow!(client);
        let timeout = Timeout::read(timeout_ms)?;
        copy(client, buffer, capacity, length, |client| {
            client.wait_for_token(timeout)
        })
    })
}

/// layerfi_client_copy_authorization() for the cached token; never waits.
///
/// Errors: as layerfi_client_try_token(), and LAYERFI_RESULT_BUFFER_TOO_SMALL as
/// layerfi_client_copy_authorization().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_copy_authorization(
    client: *const layerfi_client,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard_hit(error, || {
        let client = borrow!(client);
        copy(client, buffer, capacity, length, cached)
    })
}

/// Copies the header value and a NUL of the cached token, or of the token that `otherwise`
/// returns, to a buffer as the header describes it.
#[inline]
fn copy(
    client: &layerfi_client,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    otherwise: impl FnOnce(&layerfi_client) -> Result<AccessToken, Failure>,
) -> Result<(), Failure> {
    if buffer.is_null() && capacity > 0 {
        return Err(Failure::Null("buffer"));
    }
    let to = buffer.cast();
    // SAFETY: by the header's conventions the buffer has `capacity` bytes.
    let copied = unsafe { copy_authorization(&client.client, to, capacity) };
    let size = match copied {
        Some(size) => size,
        None => {
            let token = otherwise(client)?;
            // SAFETY: as above.
            unsafe { layerfi_auth_hits::copy(&token, to, capacity) }
        }
    };
    write_optional!(length, size.get() - 1);
    if size.get() > capacity {
        return Err(Failure::Buffer("capacity", size.get()));
    }
    Ok(())
}

/// Returns an access token other than one that a server refused with 401: the
/// current one if it is another, otherwise a new one. Until that arrives, other
/// callers get the current token, because the server may refuse it for one
/// resource only. Free the token with layerfi_token_free(); `refused` stays the
/// caller's.
///
/// After too many refusals (allowed are five at once, then one in ten seconds) it
/// returns the refused token again, with the same text: the 401 is then final.
///
/// `timeout_ms` and errors: as layerfi_client_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_renew_token(
    client: *const layerfi_client,
    refused: *const layerfi_token,
    timeout_ms: u64,
    out: *mut *mut layerfi_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, refused) = (borrow!(client), borrow!(refused));
        check_out!(out);
        let timeout = Timeout::read(timeout_ms)?;
        let token = client.waiting(timeout)?.renew_token(&refused.token)?;
        write_out!(out, layerfi_token { token });
        Ok(())
    })
}

/// Removes an access token from the cache because a server refused it with 401,
/// if it is still the current one. The next call gets a new token. The handle
/// stays the caller's.
///
/// `invalidated` may be NULL; otherwise it is set to whether the token was
/// removed. The number of removals is limited: five at once, then one in ten
/// seconds. Above this limit the token is not removed, because new tokens do not
/// help.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate(
    client: *const layerfi_client,
    token: *const layerfi_token,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, token) = (borrow!(client), borrow!(token));
        write_optional!(invalidated, client.client.invalidate(&token.token));
        Ok(())
    })
}

/// Removes a token from the cache that a server refused with 401, an access token
/// or a business token, given as the value of the `Authorization` header or as
/// the token alone. The values are compared in constant time. Otherwise as
/// layerfi_client_invalidate().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate_authorization(
    client: *const layerfi_client,
    authorization: *const c_char,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let (client, value) = (borrow!(client), read_str!(authorization));
        write_optional!(invalidated, client.client.invalidate_text(value));
        Ok(())
    })
}

/// The token itself. It is a secret: do not log it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_secret(token: *const layerfi_token) -> layerfi_str {
    get!(token, layerfi_str::EMPTY, |token| {
        layerfi_str::token_of(token.token.authorization_with_nul())
    })
}

/// The value of the `Authorization` header: `Bearer` and the token. It is built
/// once per token, not per call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_authorization(token: *const layerfi_token) -> layerfi_str {
    get!(token, layerfi_str::EMPTY, |token| {
        layerfi_str::before_nul(token.token.authorization_with_nul())
    })
}

/// When the token expires, in milliseconds since 1970-01-01 00:00 UTC, counted
/// from before it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_expires_at_ms(token: *const layerfi_token) -> i64 {
    get!(token, 0, |token| unix_ms(token.token.expires_at()))
}

/// The lifetime that the server gave the token, in seconds, counted from before
/// it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_expires_in_s(token: *const layerfi_token) -> u64 {
    get!(token, 0, |token| token.token.expires_in().as_secs())
}

/// How long the token is still valid, in milliseconds: the lesser of the values
/// by the monotonic and the wall clock, so that a wall clock that is set back does
/// not extend it. 0 after the expiry, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_remaining_ms(token: *const layerfi_token) -> u64 {
    get!(token, 0, |token| duration_ms(token.token.remaining()))
}

/// Frees a token and ends the views of it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_free(token: *mut layerfi_token) {
    free!(token);
}
