//! What browsers need before and after a call, so that Layer's React components
//! can use the emulator.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
};
use http::{HeaderMap, StatusCode};

use crate::answer::Answer;

/// The headers that the components send.
const REQUEST_HEADERS: &str =
    "authorization, content-type, layer-locale, layer-react-version, cache-control";
const RESPONSE_HEADERS: &str =
    "x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after";

pub(crate) fn preflight() -> Answer {
    Answer::empty(StatusCode::NO_CONTENT)
        .with(
            ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        )
        .with(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        .with(ACCESS_CONTROL_MAX_AGE, "600")
}

/// Any origin may read: a bearer token is never sent by a browser of itself.
pub(crate) fn allow(request: &HeaderMap, answer: &mut Answer) {
    if request.contains_key(ORIGIN) {
        answer.set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        answer.set(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
}
