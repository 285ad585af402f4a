//! The cache hits of the C binding. They are a crate of their own because they are compiled for
//! speed, and all else in the C library for size (`profile.release` in the workspace's
//! `Cargo.toml`). So nothing here is generic or inlined.

#![allow(unsafe_code)] // Each block has a comment that says why it is sound.

use std::num::NonZeroUsize;

use layerfi_auth::{AccessToken, blocking};

/// The cached token, if one can be served now.
#[inline(never)]
#[must_use]
pub fn token(client: &blocking::Client) -> Option<AccessToken> {
    client.borrow_token().map(|token| token.clone())
}

/// [`copy`] of the cached token, if one can be served now.
///
/// # Safety
/// As [`copy`].
#[inline(never)]
#[must_use]
pub unsafe fn copy_authorization(
    client: &blocking::Client,
    buffer: *mut u8,
    capacity: usize,
) -> Option<NonZeroUsize> {
    let token = client.borrow_token()?;
    // SAFETY: as the caller promises.
    Some(unsafe { copy(&token, buffer, capacity) })
}

/// Copies the value of the `Authorization` header and a NUL, if there is space for them. Returns
/// how many bytes they have.
///
/// # Safety
/// `capacity` bytes from `buffer` on may be written.
#[inline]
#[must_use]
pub unsafe fn copy(token: &AccessToken, buffer: *mut u8, capacity: usize) -> NonZeroUsize {
    let value = token.authorization().as_bytes();
    let size = NonZeroUsize::MIN.saturating_add(value.len());
    if size.get() <= capacity {
        // SAFETY: as the caller promises; the token's text and the buffer do not overlap.
        unsafe {
            buffer.copy_from_nonoverlapping(value.as_ptr(), value.len());
            buffer.add(value.len()).write(0);
        }
    }
    size
}
