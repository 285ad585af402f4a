//! TLS: options, and a certificate authority made at start.

pub(crate) mod authority;
pub(crate) mod authority_file;
pub(crate) mod options;
