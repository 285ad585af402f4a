//! The locks and atomics of the cache, and the model checker's in their place.
//!
//! Under `--cfg shuttle` every step of the cache is a point where another
//! task may run, so that its tests explore the real code.

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
pub(crate) fn random() -> f64 {
    #[cfg(not(shuttle))]
    return fastrand::f64();
    #[cfg(shuttle)]
    return 0.5;
}
