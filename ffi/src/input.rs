//! Checks strings and arrays that C passes.

use std::ffi::{CStr, c_char};

use crate::failure::Failure;

/// A string argument.
///
/// # Safety
/// `text` is null, or points to a NUL-terminated string that does not change during `'a`.
pub(crate) unsafe fn read_str<'a>(
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

/// An array argument. Null is allowed for an empty one.
///
/// # Safety
/// `first` is null, or points to `count` values that do not change during `'a`.
pub(crate) unsafe fn read_slice<'a, T>(
    first: *const T,
    count: usize,
    argument: &'static str,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(Failure::Null(argument));
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// An array of string arguments.
///
/// # Safety
/// As [`read_slice`] for the array and [`read_str`] for each string.
pub(crate) unsafe fn read_strs<'a>(
    first: *const *const c_char,
    count: usize,
    argument: &'static str,
) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: as the caller promises.
    let texts = unsafe { read_slice(first, count, argument)? };
    texts
        .iter()
        // SAFETY: as the caller promises.
        .map(|text| unsafe { read_str(*text, argument) })
        .collect()
}
