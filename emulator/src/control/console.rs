//! The console: one page that uses the control API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("console.html");

/// Whether the client asks for a page, as browsers do, and not for JSON.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

pub(crate) fn page() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(PAGE));
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; script-src '{}'; \
         style-src '{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style"),
    );
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The hash of the page's only element with this name, for the policy.
fn hash_of(element: &str) -> String {
    let content = PAGE
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(content, _)| content);
    let hash = digest(&SHA256, content.as_bytes());
    format!("sha256-{}", STANDARD.encode(hash.as_ref()))
}
