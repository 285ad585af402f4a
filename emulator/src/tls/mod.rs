//! TLS: options, and a certificate authority made at start.

pub(crate) mod authority;
pub(crate) mod options;
