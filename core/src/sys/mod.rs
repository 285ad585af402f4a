//! Operating-system services for the engine: process generations, clocks,
//! locks, jitter, signals, threads, descriptors, and an allocator that wipes.

pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod events;
pub(crate) mod fork;
pub(crate) mod jitter;
pub(crate) mod queue;
pub(crate) mod signals;
pub(crate) mod sync;
pub(crate) mod threads;
#[cfg(unix)]
pub(crate) mod tokio_signals;
pub(crate) mod zero_on_free;
