//! Random numbers for jitter.

#[cfg(not(shuttle))]
use std::cell::Cell;
#[cfg(not(shuttle))]
use std::time::SystemTime;

#[cfg(not(shuttle))]
use super::fork;

/// Number in 0..1. Constant, because the model checker must be able to repeat a
/// run.
#[cfg(shuttle)]
pub(crate) fn random() -> f64 {
    0.5
}

/// Number in 0..1. All jitter uses this function. A fork copies a thread's
/// generator, so forked siblings would otherwise draw the same numbers and
/// retry or refresh together.
#[cfg(not(shuttle))]
pub(crate) fn random() -> f64 {
    thread_local! {
        static SEEDED_IN: Cell<u32> = Cell::new(fork::generation());
    }
    let this = fork::generation();
    if SEEDED_IN.replace(this) != this {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let process = u64::from(std::process::id());
        fastrand::seed(fastrand::u64(..) ^ (since_1970.as_nanos() as u64) ^ (process << 32));
    }
    fastrand::f64()
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn b13_a_forked_child_draws_other_numbers_than_its_parent() {
        random();
        let before = fastrand::get_seed();
        let parents = random();
        fastrand::seed(before);
        fork::pretend::fork();
        assert_ne!(random().to_bits(), parents.to_bits());
    }
}
