//! CORS headers, so that Layer's React components can call the emulator from a
//! browser.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
};
use http::{HeaderMap, StatusCode};

use crate::response::buffered::BufferedResponse;

/// Request headers of the React components.
const REQUEST_HEADERS: &str =
    "authorization, content-type, layer-locale, layer-react-version, cache-control";
const RESPONSE_HEADERS: &str =
    "x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after";

/// The response to a preflight request.
pub(crate) fn preflight() -> BufferedResponse {
    BufferedResponse::empty(StatusCode::NO_CONTENT)
        .with(
            ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        )
        .with(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        .with(ACCESS_CONTROL_MAX_AGE, "600")
}

/// Lets pages of any origin read the response. This is safe because a browser
/// never adds a bearer token by itself.
pub(crate) fn allow(request: &HeaderMap, response: &mut BufferedResponse) {
    if request.contains_key(ORIGIN) {
        response.set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        response.set(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
}
