//! `layerfi_str`: a view of a string that the library owns.

use std::ffi::{CStr, CString, c_char};

/// A view of a string: UTF-8, followed by a NUL byte that `len` does not count.
///
/// It is valid until the handle that it was taken from is freed; a view from a
/// function that takes no handle is always valid. `data` is never NULL: a value
/// that is absent is an empty string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_str {
    /// The first byte.
    pub data: *const c_char,
    /// The number of bytes, without the NUL.
    pub len: usize,
}

impl layerfi_str {
    pub(crate) const EMPTY: Self = Self::of(c"");

    pub(crate) const fn of(text: &CStr) -> Self {
        Self {
            data: text.as_ptr(),
            len: text.count_bytes(),
        }
    }

    /// A view of `bytes` without its last byte, which is a NUL.
    pub(crate) fn before_nul(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr().cast(),
            len: bytes.len().saturating_sub(1),
        }
    }

    /// A view of the token in `authorization`, a header value that ends with a NUL.
    pub(crate) fn token_of(authorization: &[u8]) -> Self {
        const BEARER: usize = "Bearer ".len();
        authorization
            .get(BEARER..)
            .map_or(Self::EMPTY, Self::before_nul)
    }
}

/// A string for C. The engine refuses texts of servers that contain a NUL. Any other NUL is
/// replaced with U+FFFD, because C would not see the text after it.
pub(crate) fn owned(text: &str) -> CString {
    CString::new(text)
        .or_else(|_| CString::new(text.replace('\0', "\u{fffd}")))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_an_owned_string_is_replaced() {
        assert_eq!(owned("ab\0c").to_str(), Ok("ab\u{fffd}c"));
        assert_eq!(owned("").as_c_str(), c"");
    }

    #[test]
    fn a_view_does_not_count_the_nul() {
        assert_eq!(layerfi_str::before_nul(b"ab\0").len, 2);
        assert_eq!(layerfi_str::EMPTY.len, 0);
        assert!(!layerfi_str::EMPTY.data.is_null());
    }
}
