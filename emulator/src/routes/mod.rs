//! Endpoints: a request in, a response out, no I/O.

pub(crate) mod access_token;
pub(crate) mod api;
pub(crate) mod business;
pub(crate) mod business_token;
pub(crate) mod request;
pub(crate) mod router;
pub(crate) mod target;
pub(crate) mod whoami;
