//! Operating-system services for the engine: process generations, clocks, file
//! descriptors, locks, jitter, signals, and an allocator that wipes.

pub(crate) mod clock;
pub(crate) mod descriptor_limit;
pub(crate) mod fork;
pub(crate) mod jitter;
pub(crate) mod signals;
pub(crate) mod sync;
pub(crate) mod zero_on_free;
