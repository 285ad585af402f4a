//! Responses before they are sent: success, error, CORS and scripted ones.

pub(crate) mod api_error;
pub(crate) mod buffered;
pub(crate) mod cors;
pub(crate) mod encoding;
pub(crate) mod scripted;
