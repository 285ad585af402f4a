//! The protocol: requests and responses of the token endpoint and of the Layer
//! API. No I/O.

pub(crate) mod layer_api;
pub(crate) mod message;
pub(crate) mod oauth;
pub(crate) mod redact;
pub(crate) mod token_response;
