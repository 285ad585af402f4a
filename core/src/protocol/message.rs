//! HTTP requests and responses as the engine sees them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::redact::{repeats, showable};
use crate::error::Details;
use crate::retry::parse_retry_after;
use crate::secret::Secret;
use crate::url::{Peer, Protocol};

/// Largest response body that this library reads for itself, in bytes. Layer's
/// have 2 KiB at most.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Request that can be sent more than once.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) peer: Peer,
    /// Shared by requests that differ only in what the other fields hold. Their value of
    /// `Authorization` is not sent.
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) authorization: HeaderValue,
    pub(crate) body: Bytes,
    /// Largest response body that is read, in bytes.
    pub(crate) max_body: usize,
    /// Whether an attempt ends after the attempt timeout, or only at the call's
    /// deadline.
    pub(crate) bounded_attempt: bool,
    /// The secret in `authorization`. A response may repeat it, so it must be removed
    /// from what is shown of the response.
    pub(crate) secret: Secret,
}

impl Request {
    /// All headers, for one attempt.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::clone(&self.headers);
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers
    }
}

/// Headers of a request that this library makes for itself. They include those that the
/// HTTP library would add, for which it would enlarge the table at each attempt.
pub(crate) fn headers(
    peer: &Peer,
    user_agent: &HeaderValue,
    content: Option<(&'static str, &Bytes)>,
) -> Arc<HeaderMap> {
    // One more than there are: the HTTP library asks for the place of another.
    let mut headers = HeaderMap::with_capacity(7);
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static(""));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, user_agent.clone());
    if let Some((media_type, body)) = content {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    // HTTP/2 has a pseudo-header instead.
    if peer.protocol != Protocol::Https
        && let Ok(host) = HeaderValue::from_str(&peer.host)
    {
        headers.insert(header::HOST, host);
    }
    Arc::new(headers)
}

/// Response, read to its end.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The secret or token of the request, and the header value that held it.
    pub(crate) secret: Secret,
    pub(crate) authorization: HeaderValue,
}

/// Headers in which servers and gateways send a request's id.
const REQUEST_IDS: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-amz-cf-id"),
];

impl Response {
    /// Details for each error from this response. Created only on failure.
    pub(crate) fn details(&self) -> Details {
        Details {
            http_status: Some(self.status.as_u16()),
            request_id: self.request_id(),
            retry_after: retry_after(&self.headers),
            ..Details::default()
        }
    }

    /// Returns a word of this response, if it may be shown.
    pub(crate) fn showable(&self, word: &str) -> Option<String> {
        self.checked(word, 64)
    }

    fn request_id(&self) -> Option<String> {
        REQUEST_IDS
            .into_iter()
            .find_map(|name| text(&self.headers, &name))
            .and_then(|id| self.checked(id, 128))
    }

    fn checked(&self, word: &str, max_len: usize) -> Option<String> {
        // Check length and characters first, because the comparison is only for
        // short words.
        let word = showable(word, max_len)?;
        let value = std::str::from_utf8(self.authorization.as_bytes()).unwrap_or_default();
        let credential = value
            .split_once(' ')
            .map_or(value, |(_, credential)| credential);
        let is_secret = repeats(&word, self.secret.expose()) || repeats(&word, credential);
        (!is_secret).then_some(word)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // Uses the server's `Date` if it sent one, because the date in
    // `Retry-After` refers to the server's clock.
    let now = text(headers, &header::DATE)
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(SystemTime::now);
    parse_retry_after(text(headers, &header::RETRY_AFTER)?, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_complete_and_have_a_host_only_for_http_1() {
        let body = Bytes::from_static(b"{}");
        let of = |protocol, content| {
            let peer = Peer {
                host: "localhost:8443".into(),
                protocol,
            };
            let own = HeaderValue::from_static("test/1");
            headers(&peer, &own, content)
        };
        let content = Some(("application/json", &body));
        for protocol in [Protocol::Http, Protocol::Https1] {
            let headers = of(protocol, content);
            assert_eq!(headers.get(header::HOST).unwrap(), "localhost:8443");
            assert_eq!(headers.get(header::CONTENT_LENGTH).unwrap(), "2");
            assert_eq!(headers.get(header::USER_AGENT).unwrap(), "test/1");
            assert!(headers.capacity() > headers.len(), "one more must fit");
        }
        assert!(!of(Protocol::Https, content).contains_key(header::HOST));
        assert!(!of(Protocol::Http, None).contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn b20_request_id_that_repeats_a_credential_is_not_shown() {
        const BASIC: &str = "YWxpY2U6b3BlbnNlc2FtZW9wZW5zZXNhbWU";
        for (id, is_shown) in [
            ("1-67891233-abcdef012345678912345678", true),
            ("sesame", true),
            ("opensesameopensesame", false),
            ("x-opensesameopensesame-x", false),
            ("sameopens", false),
            (BASIC, false),
            ("YWxpY2U6b3Bl", false),
            ("x-YWxpY2U6b3Bl-x", false),
            ("req-YWxpY2U6b3BlbnNlc2FtZW9wZW5zZXNhbWU", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_static(id));
            let response = Response {
                status: StatusCode::UNAUTHORIZED,
                headers,
                body: Bytes::new(),
                secret: Secret::new("opensesameopensesame"),
                authorization: HeaderValue::from_str(&format!("Basic {BASIC}")).unwrap(),
            };
            let shown = response.details().request_id;
            assert_eq!(shown.is_some(), is_shown, "request id {id}");
            assert_eq!(response.showable(id).is_some(), is_shown, "word {id}");
        }
    }
}
