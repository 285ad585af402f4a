//! No panic crosses the border: it becomes a result code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{layerfi_error, layerfi_result};
use crate::failure::Failure;
use crate::registers;

/// Runs the body of a function. What it fails with, a panic included, becomes
/// the function's result, and an error object where the caller wants one.
///
/// Unwind safety is asserted: what a body shares with the world is the engine,
/// whose state is atomics and lock-free slots that a panic leaves whole.
#[inline]
pub(crate) fn guard(
    error: *mut *mut layerfi_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> layerfi_result {
    let result = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => layerfi_result::Ok,
        Ok(Err(failure)) => report(error, failure),
        Err(payload) => {
            // A payload may panic when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
            report(error, Failure::panic())
        }
    };
    // Whatever the body copied, a token or a secret, ends here.
    registers::clear();
    result
}

/// The same for functions that give a value and cannot fail: `otherwise` is
/// what they give after a panic.
#[inline]
pub(crate) fn value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

#[cold]
fn report(error: *mut *mut layerfi_error, failure: Failure) -> layerfi_result {
    let result = failure.result();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the laws of the header `error` is null or may be written.
        unsafe { layerfi_error::write(error, &failure) };
    }));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle;

    #[test]
    fn b23_a_panic_becomes_a_result() {
        let mut error = std::ptr::null_mut();
        let result = guard(&mut error, || panic!("in a test"));
        assert_eq!(result, layerfi_result::Panic);
        assert!(!error.is_null());
        // SAFETY: written by `guard` just now, and freed once.
        unsafe { handle::free(error) };
    }

    #[test]
    fn b23_a_payload_that_panics_when_dropped_is_no_way_out() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in a drop, in a test");
            }
        }
        let result = guard(std::ptr::null_mut(), || std::panic::panic_any(Bomb));
        assert_eq!(result, layerfi_result::Panic);
    }

    #[test]
    fn b23_values_have_a_stand_in() {
        assert_eq!(value(7, || panic!("in a test")), 7);
    }
}
