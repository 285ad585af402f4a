//! Macros that handle the arguments of every exported function. They contain the reason why the
//! `unsafe` code is sound: callers follow the header's conventions.
//!
//! The functions themselves are not generated: cbindgen reads the sources without expanding
//! macros. Errors name an argument by the identifier that is passed to the macro.

/// The value behind a handle argument. Returns from the body with an error if it is null.
macro_rules! borrow {
    ($handle:ident) => {{
        // SAFETY: by the header's conventions a handle is null or valid, and it is not freed
        // during the call.
        unsafe { $crate::handle::borrow($handle, stringify!($handle)) }?
    }};
}

/// As [`borrow`], to change the value. For handles that are not `const` in C.
macro_rules! borrow_mut {
    ($handle:ident) => {{
        // SAFETY: by the header's conventions a handle is null or valid, and one that is not
        // const is used by one thread at a time.
        unsafe { $crate::handle::borrow_mut($handle, stringify!($handle)) }?
    }};
}

/// A string argument. Returns from the body with an error if it is null or not UTF-8.
macro_rules! read_str {
    ($text:ident) => {
        $crate::macros::read_str!($text, stringify!($text))
    };
    ($text:expr, $argument:expr) => {{
        // SAFETY: by the header's conventions a string is null or NUL-terminated, and it
        // does not change during the call.
        unsafe { $crate::input::read_str($text, $argument) }?
    }};
}

/// An array argument. Returns from the body with an error if it is null and not empty.
macro_rules! read_slice {
    ($first:ident, $count:ident) => {{
        // SAFETY: by the header's conventions an array is null or has `count` values, which do
        // not change during the call.
        unsafe { $crate::input::read_slice($first, $count, stringify!($first)) }?
    }};
}

/// An array of string arguments. As [`read_slice`] and [`read_str`].
macro_rules! read_strs {
    ($first:ident, $count:ident) => {{
        // SAFETY: by the header's conventions an array is null or has `count` strings, which do
        // not change during the call.
        unsafe { $crate::input::read_strs($first, $count, stringify!($first)) }?
    }};
}

/// Returns from the body with an error if an out parameter is null.
macro_rules! check_out {
    ($out:ident) => {
        $crate::handle::check_out($out, stringify!($out))?
    };
}

/// Writes a value to a checked out parameter as a new handle.
macro_rules! write_out {
    ($out:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: it was checked for null, and by the header's conventions it may be written.
        unsafe { $crate::handle::write($out, value) }
    }};
}

/// Writes a value to an out parameter that may be null.
macro_rules! write_optional {
    ($out:ident, $value:expr) => {{
        let value = $value;
        if !$out.is_null() {
            // SAFETY: by the header's conventions an out parameter is null or may be written.
            unsafe { $out.write(value) }
        }
    }};
}

/// Result of an accessor: `$read` of the value behind the handle, `$otherwise` for null.
macro_rules! get {
    ($handle:ident, $otherwise:expr, $read:expr) => {{
        // SAFETY: by the header's conventions a handle is null or valid, and it is not freed
        // during the call.
        unsafe { $crate::handle::get($handle, $otherwise, $read) }
    }};
}

/// A view of a text in the value behind a handle; empty for null.
macro_rules! get_str {
    ($handle:ident.$field:ident) => {
        $crate::macros::get!($handle, $crate::str_view::layerfi_str::EMPTY, |value| {
            $crate::str_view::layerfi_str::of(&value.$field)
        })
    };
}

/// Frees a handle.
macro_rules! free {
    ($handle:ident) => {{
        // SAFETY: by the header's conventions a handle is null or valid, is freed once, and is
        // not used any more.
        unsafe { $crate::handle::free($handle) }
    }};
}

pub(crate) use {
    borrow, borrow_mut, check_out, free, get, get_str, read_slice, read_str, read_strs,
    write_optional, write_out,
};
