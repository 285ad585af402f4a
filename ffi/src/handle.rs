//! Handles: a box that C holds by its address.

use crate::failure::Failure;

/// What a handle points to.
///
/// # Safety
/// `handle` is null, or came from [`write`] for the same type, is not freed
/// during `'a`, and nobody holds an exclusive reference to it.
pub(crate) unsafe fn borrow<'a, T>(
    handle: *const T,
    argument: &'static str,
) -> Result<&'a T, Failure> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_ref() }.ok_or(Failure::Null(argument))
}

/// The same, for changing it.
///
/// # Safety
/// As [`borrow`], and nobody else holds any reference to it during `'a`.
pub(crate) unsafe fn borrow_mut<'a, T>(
    handle: *mut T,
    argument: &'static str,
) -> Result<&'a mut T, Failure> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_mut() }.ok_or(Failure::Null(argument))
}

/// Refuses a null out argument before anything is done.
pub(crate) fn check_out<T>(out: *mut T, argument: &'static str) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::Null(argument));
    }
    Ok(())
}

/// Hands a value out as a new handle.
///
/// # Safety
/// `out` is not null, aligned, and may be written.
pub(crate) unsafe fn write<T>(out: *mut *mut T, value: T) {
    // SAFETY: as the caller promises.
    unsafe { out.write(Box::into_raw(Box::new(value))) };
}

/// Takes a handle back; null is none.
///
/// # Safety
/// `handle` is null, or came from [`write`] for the same type and was not
/// freed before; nobody uses it any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(handle) });
    }
}
