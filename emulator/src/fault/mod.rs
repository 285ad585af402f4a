//! Scripted failures ("faults"): their definition, validation and queue.

pub(crate) mod definition;
pub(crate) mod held;
pub(crate) mod queue;
pub(crate) mod times;
pub(crate) mod validation;
pub(crate) mod wire;
