//! The request log: what came in, in order, and never a secret.

use std::collections::{BTreeMap, VecDeque};

use http::HeaderMap;
use serde::Serialize;

use crate::endpoint::Endpoint;

/// Entries kept; the oldest make room.
pub(crate) const LOG_CAP: usize = 16_384;
/// A longer path or header value is cut.
const TEXT_CAP: usize = 512;

/// Headers worth a test's look that carry no credential.
const SHOWN: [&str; 15] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "layer-locale",
    "layer-react-version",
    "origin",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "x-request-id",
];

/// One request, as it was seen.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its number, rising from 1.
    pub number: u64,
    /// Milliseconds of real time from the emulator's start to its arrival.
    pub at_ms: u64,
    /// Milliseconds from its arrival to its answer's head, once there is one.
    pub took_ms: Option<u64>,
    /// The number of its connection, rising from 1.
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2`.
    pub http_version: &'static str,
    /// The method.
    pub method: String,
    /// The path as sent, without the query, cut at 512 bytes.
    pub path: String,
    /// What the path and method were taken for.
    pub endpoint: Endpoint,
    /// The answer's status; none yet, or none at all.
    pub status: Option<u16>,
    /// True once the answer's head went out, or the request ended without one.
    pub done: bool,
    /// The id in the `x-request-id` of the answer.
    pub request_id: String,
    /// The client, once its credentials or token were found good.
    pub client_id: Option<String>,
    /// The `{id}` of a business path, as sent.
    pub business_id: Option<String>,
    /// The session duration that a mint was granted, in seconds.
    pub session_duration: Option<u64>,
    /// The `Authorization` header, if any: enough to tell two apart, no more.
    pub authorization: Option<AuthorizationMark>,
    /// Some of the request's headers; none that carries a credential.
    pub headers: BTreeMap<String, String>,
    /// The number of the fault that took it.
    pub fault: Option<u64>,
}

/// What is kept of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuthorizationMark {
    /// `Basic`, `Bearer`, or `other`.
    pub scheme: &'static str,
    /// A salted hash, the same for the same value on the same emulator;
    /// [`Emulator::fingerprint`](crate::Emulator::fingerprint) makes one to compare.
    pub fingerprint: String,
}

/// Hashes `Authorization` values under a salt that leaves with the process.
pub(crate) struct Fingerprints {
    salt: [u8; 32],
}

impl Fingerprints {
    pub(crate) fn new() -> Self {
        Self {
            salt: crate::random::bytes(),
        }
    }

    pub(crate) fn mark(&self, authorization: &[u8]) -> AuthorizationMark {
        let text = String::from_utf8_lossy(authorization);
        let (scheme, credentials) = text.split_once(' ').unwrap_or(("", &text));
        let scheme = if scheme.eq_ignore_ascii_case("basic") {
            "Basic"
        } else if scheme.eq_ignore_ascii_case("bearer") {
            "Bearer"
        } else {
            "other"
        };
        AuthorizationMark {
            scheme,
            fingerprint: self.hash(credentials.trim()),
        }
    }

    /// Of the credentials without their scheme, so that a token can be looked
    /// up by itself.
    pub(crate) fn hash(&self, credentials: &str) -> String {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.salt);
        let tag = ring::hmac::sign(&key, credentials.as_bytes());
        tag.as_ref()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

pub(crate) fn shown_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for name in SHOWN {
        if let Some(value) = headers.get(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            shown.insert(name.to_owned(), cut(&value));
        }
    }
    shown
}

pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_CAP);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// The ring of entries. Numbers have no gap, so an entry is found by its own.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<LogEntry>,
    last: u64,
}

impl Ring {
    pub(crate) fn push(&mut self, mut entry: LogEntry) -> u64 {
        self.last += 1;
        entry.number = self.last;
        if self.entries.len() >= LOG_CAP {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.last
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut LogEntry> {
        let first = self.entries.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Entries with a number above `after`, the oldest first.
    pub(crate) fn after(&self, after: u64, limit: usize) -> Vec<LogEntry> {
        self.entries
            .iter()
            .filter(|entry| entry.number > after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Forgets the entries but not the numbering, which running requests use.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_values_apart_and_shows_none() {
        let prints = Fingerprints::new();
        let one = prints.mark(b"Bearer aaaa");
        assert_eq!(one, prints.mark(b"bearer aaaa"));
        assert_eq!(one.fingerprint, prints.hash("aaaa"));
        assert_ne!(one.fingerprint, prints.mark(b"Bearer bbbb").fingerprint);
        assert_ne!(one.fingerprint, Fingerprints::new().hash("aaaa"), "salted");
        assert_eq!(prints.mark(b"secret").scheme, "other");
        assert!(!format!("{:?}", prints.mark(b"secret")).contains("secret"));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = format!("{}é", "a".repeat(TEXT_CAP - 1));
        assert_eq!(cut(&text).len(), TEXT_CAP - 1);
    }

    #[test]
    fn credential_headers_are_not_shown() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "user-agent",
        ] {
            headers.insert(name, "x".parse().unwrap());
        }
        assert_eq!(
            shown_headers(&headers).into_keys().collect::<Vec<_>>(),
            ["user-agent"]
        );
    }
}
