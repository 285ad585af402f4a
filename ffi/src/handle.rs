//! Handles: boxed values that C holds by their address.

use crate::failure::Failure;
use crate::panic;

/// The value behind a handle.
///
/// # Safety
/// `handle` is null, or came from [`write`] for the same type and is not freed during `'a`, and
/// no other code has an exclusive reference to it.
pub(crate) unsafe fn borrow<'a, T>(
    handle: *const T,
    argument: &'static str,
) -> Result<&'a T, Failure> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_ref() }.ok_or(Failure::Null(argument))
}

/// The value behind a handle, to be changed.
///
/// # Safety
/// As [`borrow`], and no other code has a reference to it during `'a`.
pub(crate) unsafe fn borrow_mut<'a, T>(
    handle: *mut T,
    argument: &'static str,
) -> Result<&'a mut T, Failure> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_mut() }.ok_or(Failure::Null(argument))
}

/// Returns `read` of the value behind a handle, or `otherwise` if the handle is null or `read`
/// panics.
///
/// # Safety
/// As [`borrow`].
#[inline]
pub(crate) unsafe fn get<'a, T: 'a, R>(
    handle: *const T,
    otherwise: R,
    read: impl FnOnce(&'a T) -> R,
) -> R {
    // SAFETY: as the caller promises.
    match unsafe { handle.as_ref() } {
        Some(value) => panic::catch(otherwise, || read(value)),
        None => otherwise,
    }
}

/// Refuses a null out parameter, before anything else is done.
pub(crate) fn check_out<T>(out: *mut T, argument: &'static str) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::Null(argument));
    }
    Ok(())
}

/// Writes a value to an out parameter as a new handle.
///
/// # Safety
/// `out` is not null, is aligned, and may be written.
pub(crate) unsafe fn write<T>(out: *mut *mut T, value: T) {
    // SAFETY: as the caller promises.
    unsafe { out.write(Box::into_raw(Box::new(value))) };
}

/// Frees a handle; does nothing for null.
///
/// # Safety
/// `handle` is null, or came from [`write`] for the same type, was not freed before and is not
/// used any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if handle.is_null() {
        return;
    }
    panic::catch((), || {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(handle) });
    });
}
