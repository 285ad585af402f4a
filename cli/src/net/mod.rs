//! Connections that are opened step by step.
//!
//! `doctor` uses them to report which step fails: name resolution, TCP, the
//! proxy, or TLS. The engine's HTTP library reports only the result.

pub(crate) mod certificate;
pub(crate) mod endpoint;
pub(crate) mod proxy;
pub(crate) mod request;
pub(crate) mod resolve;
pub(crate) mod tls;
