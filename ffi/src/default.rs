//! `LAYERFI_DEFAULT`: the one number that selects the default of an argument.

/// A value for each number of a call that has a default: session_duration_s,
/// min_remaining_s, max_in_flight and timeout_ms. The comment of the function
/// names the default. It is the largest number, so that a duration that was
/// computed, such as the 0 ms until a deadline that has passed, never means it.
pub const LAYERFI_DEFAULT: u64 = u64::MAX;

/// The number, unless it is `LAYERFI_DEFAULT`.
pub(crate) fn given(number: u64) -> Option<u64> {
    (number != LAYERFI_DEFAULT).then_some(number)
}
