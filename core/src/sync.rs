//! The locks and atomics of the cache, and the model checker's in their place.
//!
//! Under `--cfg shuttle` every step of the cache is a point where another
//! task may run, so that its tests explore the real code.

#[cfg(not(shuttle))]
use std::cell::Cell;
#[cfg(not(shuttle))]
use std::time::SystemTime;

#[cfg(not(shuttle))]
use crate::fork;

#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};

/// Locks, also after a panic: what the locks here guard is whole after every
/// statement, so a panic in between leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Before each use of what the model checker does not know (the atomic
/// pointer), so that it may switch there too.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// A number in 0..1, for jitter. The model checker wants the same run twice.
#[cfg(shuttle)]
pub(crate) fn random() -> f64 {
    0.5
}

/// A number in 0..1, for jitter. A thread's generator is copied by a fork:
/// children would all draw the same, and refresh together.
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
    fn b13_children_do_not_draw_what_the_parent_draws() {
        random();
        let before = fastrand::get_seed();
        let parents = random();
        fastrand::seed(before);
        fork::pretend::fork();
        assert_ne!(random().to_bits(), parents.to_bits());
    }
}
