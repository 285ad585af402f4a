//! Request log. It never contains a secret.

use std::collections::{BTreeMap, VecDeque};

use http::HeaderMap;
use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::state::fingerprints::AuthorizationMark;

/// Limit of entries; above it, the oldest one is dropped.
pub(crate) const MAX_ENTRIES: usize = 16_384;
/// Limit of a path or header value in bytes; longer ones are truncated.
const MAX_TEXT_BYTES: usize = 512;

/// Request headers in the log: useful for tests, and without credentials.
const LOGGED_HEADERS: [&str; 15] = [
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

/// A received request and its response.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Number of the request, counted from 1.
    pub number: u64,
    /// Milliseconds of real time from the emulator's start to the request.
    pub at_ms: u64,
    /// Milliseconds from the request to the head of its response, once sent.
    pub took_ms: Option<u64>,
    /// Number of the connection, counted from 1.
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2`.
    pub http_version: &'static str,
    /// The HTTP method.
    pub method: String,
    /// The path as sent, without the query, truncated to 512 bytes. For the
    /// proxy, the requested `host:port`, or the URL without its query.
    pub path: String,
    /// The endpoint that method and path belong to.
    pub endpoint: Endpoint,
    /// The resource of the business, such as `bank-transactions/{id}`.
    pub resource: Option<&'static str>,
    /// The status of the response, once its head is sent.
    pub status: Option<u16>,
    /// True once the head of the response is sent or the request ended without.
    pub done: bool,
    /// The value of `x-request-id` in the response.
    pub request_id: String,
    /// The client, if its credentials or token are valid.
    pub client_id: Option<String>,
    /// The `{id}` of a business path, as sent.
    pub business_id: Option<String>,
    /// The granted session duration of a business token, in seconds.
    pub session_duration: Option<u64>,
    /// The user in Basic credentials for the proxy, correct or not.
    pub proxy_user: Option<String>,
    /// Scheme and fingerprint of the `Authorization` header, if there is one; for
    /// the proxy, of `Proxy-Authorization`.
    pub authorization: Option<AuthorizationMark>,
    /// Some request headers, none with credentials.
    pub headers: BTreeMap<String, String>,
    /// The number of the fault that was applied.
    pub fault: Option<u64>,
}

/// The logged headers of a request.
pub(crate) fn logged_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for name in LOGGED_HEADERS {
        if let Some(value) = headers.get(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            shown.insert(name.to_owned(), truncated(&value));
        }
    }
    shown
}

/// Truncates text between characters.
pub(crate) fn truncated(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// The last [`MAX_ENTRIES`] entries. Their numbers have no gaps, so the number
/// gives the position of an entry.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<LogEntry>,
    last_number: u64,
}

impl RequestLog {
    /// Adds an entry and returns its number.
    pub(crate) fn push(&mut self, mut entry: LogEntry) -> u64 {
        self.last_number += 1;
        entry.number = self.last_number;
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.last_number
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut LogEntry> {
        let first = self.entries.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Entries with a number above `after`, oldest first.
    pub(crate) fn after(&self, after: u64, limit: usize) -> Vec<LogEntry> {
        self.entries
            .iter()
            .filter(|entry| entry.number > after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The last `limit` entries with a number above `after`, oldest first, and the
    /// number of the oldest entry that exists or will exist.
    pub(crate) fn latest(&self, after: u64, limit: usize) -> (u64, Vec<LogEntry>) {
        let first = self.entries.front().map(|entry| entry.number);
        let mut latest: Vec<LogEntry> = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.number > after)
            .take(limit)
            .cloned()
            .collect();
        latest.reverse();
        (first.unwrap_or(self.last_number + 1), latest)
    }

    /// Removes all entries. Numbers continue, because requests in flight use them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_truncated_between_characters() {
        let text = format!("{}é", "a".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(
            truncated(&text).len(),
            MAX_TEXT_BYTES - 1,
            "a character that does not fit must be removed whole"
        );
    }

    #[test]
    fn header_with_credentials_is_not_logged() {
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
            logged_headers(&headers).into_keys().collect::<Vec<_>>(),
            ["user-agent"],
            "only headers without credentials must be logged"
        );
    }
}
