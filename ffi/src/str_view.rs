//! Strings in, and views on strings out.

use std::ffi::{CStr, CString, c_char};

use crate::failure::Failure;

/// A view on a string: UTF-8, with a NUL behind its last byte that `len` does
/// not count. It is valid as long as the handle that it was taken from, and
/// for ever where there was none. `data` is never NULL: what is absent is an
/// empty string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_str {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes, without the NUL.
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

    pub(crate) fn of_option(text: Option<&CString>) -> Self {
        text.map_or(Self::EMPTY, |text| Self::of(text))
    }

    /// A view on all but the last byte of `bytes`, which is a NUL.
    pub(crate) fn before_nul(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr().cast(),
            len: bytes.len().saturating_sub(1),
        }
    }
}

/// A string that C gave.
///
/// # Safety
/// `text` is null, or points to a NUL-terminated string that nobody changes
/// during `'a`.
pub(crate) unsafe fn read<'a>(
    text: *const c_char,
    argument: &'static str,
) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Null(argument));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::Utf8(argument))
}

/// A string for C. One that holds a NUL (none of ours does) ends before it.
pub(crate) fn owned(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_before_its_nul() {
        assert_eq!(owned("ab\0c").as_c_str(), c"ab");
        assert_eq!(owned("").as_c_str(), c"");
    }

    #[test]
    fn a_view_leaves_the_nul_out() {
        assert_eq!(layerfi_str::before_nul(b"ab\0").len, 2);
        assert_eq!(layerfi_str::EMPTY.len, 0);
        assert!(!layerfi_str::EMPTY.data.is_null());
    }
}
