//! Input of the endpoints.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use crate::routes::target::Target;

/// A complete request.
pub(crate) struct ReceivedRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target<'a>,
    /// The query, without the question mark.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// `None` if the body was too large or could not be read.
    pub(crate) body: Option<Bytes>,
}

impl ReceivedRequest<'_> {
    /// Compares the content type, without its parameters.
    pub(crate) fn has_content_type(&self, expected: &str) -> bool {
        self.headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.as_bytes().split(|&byte| byte == b';').next())
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(expected.as_bytes()))
    }
}

/// Facts about a request that an endpoint adds to the log.
#[derive(Debug, Default)]
pub(crate) struct LogNotes {
    pub(crate) client_id: Option<String>,
    pub(crate) session_duration: Option<u64>,
}
