//! Connections made by hand, step by step, where the engine's HTTP library
//! would tell only that the whole did or did not work.

pub(crate) mod certificate;
pub(crate) mod place;
pub(crate) mod proxy;
pub(crate) mod request;
pub(crate) mod tls;
