//! Runs the body of an exported function, so that neither a panic nor a secret gets out of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::registers;
use crate::result::layerfi_result;

/// Runs the body of a function that returns a result code. A failure or a panic becomes the
/// function's result, and an error object if `error` is not null. Clears the vector registers
/// before it returns: any body may have copied a secret.
///
/// Unwind safety is asserted because `body` shares only the engine with the rest of the program:
/// its state is atomics and lock-free slots, which stay valid after a panic.
#[inline]
pub(crate) fn guard<B>(error: *mut *mut layerfi_error, body: B) -> layerfi_result
where
    B: FnOnce() -> Result<(), Failure>,
{
    let mut body = Some(body);
    run(error, &mut || body.take().map_or(Ok(()), |body| body()))
}

/// [`guard`], compiled once and not for each function, so that the library is smaller.
#[inline(never)]
fn run(
    error: *mut *mut layerfi_error,
    body: &mut dyn FnMut() -> Result<(), Failure>,
) -> layerfi_result {
    guard_hit(error, body)
}

/// [`guard`], compiled into the function: for those whose common case is a cache hit.
#[inline]
pub(crate) fn guard_hit<B>(error: *mut *mut layerfi_error, body: B) -> layerfi_result
where
    B: FnOnce() -> Result<(), Failure>,
{
    let result = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => layerfi_result::Ok,
        Ok(Err(failure)) => report(error, &failure),
        Err(payload) => report_panic(error, payload),
    };
    registers::clear();
    result
}

#[cold]
#[inline(never)]
fn report_panic(error: *mut *mut layerfi_error, payload: Box<dyn Any + Send>) -> layerfi_result {
    // Dropping a payload may panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    report(error, &Failure::Panic)
}

#[cold]
#[inline(never)]
fn report(error: *mut *mut layerfi_error, failure: &Failure) -> layerfi_result {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the header's conventions `error` is null or may be written.
        unsafe { layerfi_error::write(error, failure) };
    }));
    failure.result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle;

    type Body = fn() -> Result<(), Failure>;

    #[test]
    fn b23_a_panic_becomes_a_result() {
        let mut error = std::ptr::null_mut();
        for guard in [guard::<Body>, guard_hit::<Body>] {
            let result = guard(&mut error, || panic!("in a test"));
            assert_eq!(result, layerfi_result::Panic);
            assert!(!error.is_null());
            // SAFETY: `guard` wrote it, and it is freed once.
            unsafe { handle::free(error) };
        }
    }

    #[test]
    fn b23_a_payload_that_panics_when_dropped_becomes_a_result() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in a drop, in a test");
            }
        }
        let result = guard(std::ptr::null_mut(), || std::panic::panic_any(Bomb));
        assert_eq!(result, layerfi_result::Panic);
    }
}
