//! Catches panics in functions that return a value and no result code.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The value of `body`, or `otherwise` if it panics.
///
/// Unwind safety is asserted because `body` shares only the engine with the rest of the program:
/// its state is atomics and lock-free slots, which stay valid after a panic.
#[inline]
pub(crate) fn catch<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b23_a_panic_gives_the_other_value() {
        assert_eq!(catch(7, || panic!("in a test")), 7);
    }
}
