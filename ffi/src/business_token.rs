//! `layerfi_business_token`: a token for one business.

use std::ffi::CString;

use layerfi_auth::BusinessToken;

use crate::handle;
use crate::panic;
use crate::string::{layerfi_str, owned};
use crate::token::{secret, unix_ms};

/// A token for one business, to be handed to a browser or a mobile app. It
/// outlives the client. A const pointer to it may be used from many threads at
/// once.
///
/// Its text is wiped from memory when the last reference to the token (this
/// handle, and the client's cache) is gone; copies are yours to wipe.
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

/// The token itself, for `businessAccessToken` of `<LayerProvider>`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_secret(
    token: *const layerfi_business_token,
) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    match unsafe { token.as_ref() } {
        None => layerfi_str::EMPTY,
        Some(token) => secret(token.token.authorization_with_nul()),
    }
}

/// The value of the `Authorization` header, `Bearer` and the token, made once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_authorization(
    token: *const layerfi_business_token,
) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    match unsafe { token.as_ref() } {
        None => layerfi_str::EMPTY,
        Some(token) => layerfi_str::before_nul(token.token.authorization_with_nul()),
    }
}

/// The business that it is good for, a UUID in lower case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_business_id(
    token: *const layerfi_business_token,
) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { token.as_ref() }.map_or(layerfi_str::EMPTY, |token| {
        layerfi_str::of(&token.business_id)
    })
}

/// The session duration that was asked for, in seconds; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_session_duration_s(
    token: *const layerfi_business_token,
) -> u64 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { token.as_ref() }.map_or(0, |token| {
        u64::from(token.token.session_duration().as_secs())
    })
}

/// The life that the server gave it, in seconds, counted from before it was
/// requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_expires_in_s(
    token: *const layerfi_business_token,
) -> u64 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { token.as_ref() }.map_or(0, |token| token.token.expires_in().as_secs())
}

/// When it expires, in milliseconds since 1970 began (UTC), counted from
/// before it was requested; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_expires_at_ms(
    token: *const layerfi_business_token,
) -> i64 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { token.as_ref() }.map_or(0, |token| unix_ms(token.token.expires_at()))
}

/// Frees a business token, and the views on it with it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_free(token: *mut layerfi_business_token) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(token) };
    });
}
