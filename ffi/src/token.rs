//! `layerfi_token`: an access token.

use std::time::{SystemTime, UNIX_EPOCH};

use layerfi_auth::AccessToken;

use crate::handle;
use crate::panic;
use crate::string::layerfi_str;

/// How long `Bearer ` is, behind which the token lies.
pub(crate) const BEARER: usize = 7;

/// An access token for the Layer API. It stays what it is while the client
/// goes on to others, and outlives the client. A const pointer to it may be
/// used from many threads at once.
///
/// Its text is wiped from memory when the last reference to the token (this
/// handle, and the client's cache) is gone; copies are yours to wipe.
pub struct layerfi_token {
    pub(crate) token: AccessToken,
}

/// Milliseconds since 1970 began, UTC.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The token itself. Whoever calls this answers for where it goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_secret(token: *const layerfi_token) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    match unsafe { token.as_ref() } {
        None => layerfi_str::EMPTY,
        Some(token) => secret(token.token.authorization_with_nul()),
    }
}

/// The value of the `Authorization` header, `Bearer` and the token, made once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_authorization(token: *const layerfi_token) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    match unsafe { token.as_ref() } {
        None => layerfi_str::EMPTY,
        Some(token) => layerfi_str::before_nul(token.token.authorization_with_nul()),
    }
}

/// When it expires, in milliseconds since 1970 began (UTC), counted from
/// before it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_expires_at_ms(token: *const layerfi_token) -> i64 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { token.as_ref() }.map_or(0, |token| unix_ms(token.token.expires_at()))
}

/// Frees a token, and the views on it with it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_token_free(token: *mut layerfi_token) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(token) };
    });
}

/// A view on the token in a header value that ends with a NUL.
pub(crate) fn secret(authorization: &[u8]) -> layerfi_str {
    authorization
        .get(BEARER..)
        .map_or(layerfi_str::EMPTY, layerfi_str::before_nul)
}
