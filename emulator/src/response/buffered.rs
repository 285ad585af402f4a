//! HTTP response in memory.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// Status, headers and body of a response, not sent yet.
#[derive(Debug)]
pub(crate) struct BufferedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl BufferedResponse {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        let mut response = Self::empty(status).with(CONTENT_TYPE, "application/json");
        response.body = body.to_string().into();
        response
    }

    /// The success response of both endpoints that issue tokens.
    pub(crate) fn token(token: &str, expires_in: &Value) -> Self {
        let body = json!({
            "access_token": token,
            "expires_in": expires_in,
            "token_type": "Bearer",
        });
        Self::json(StatusCode::OK, &body).with(CACHE_CONTROL, "no-store")
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header. A value that is not valid in a header is ignored.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}
