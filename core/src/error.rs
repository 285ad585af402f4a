//! The one error of this crate: what failed, what to do, whether a retry helps.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Programs branch on this.
///
/// The list is closed on purpose: a match over it is complete, and a new kind
/// is a breaking change that every face must take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// A setting is missing or wrong. [`Error::field`] names it.
    Config,
    /// An argument of this call is wrong; nothing was sent.
    InvalidArgument,
    /// The credentials could not be read from their file or provider.
    Credentials,
    /// The server could not be reached, or the connection broke.
    Transport,
    /// The call's time, or an attempt's, ran out.
    Timeout,
    /// The server's certificate was not accepted, or the handshake failed.
    Tls,
    /// The token endpoint refused. [`Error::oauth_error`] has its code (RFC 6749 section 5.2).
    OAuth,
    /// The Layer API refused. See [`Error::http_status`] and [`Error::error_enum`].
    Api,
    /// Too many requests. [`Error::retry_after`] says how long to wait.
    RateLimited,
    /// The answer is not what the protocol allows.
    Protocol,
    /// A fault in this library, such as a panic in a background task. The client stays usable.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Config,
        Self::InvalidArgument,
        Self::Credentials,
        Self::Transport,
        Self::Timeout,
        Self::Tls,
        Self::OAuth,
        Self::Api,
        Self::RateLimited,
        Self::Protocol,
        Self::Internal,
    ];

    /// The name used in logs, JSON and every face, such as `rate_limited`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidArgument => "invalid_argument",
            Self::Credentials => "credentials",
            Self::Transport => "transport",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::OAuth => "oauth",
            Self::Api => "api",
            Self::RateLimited => "rate_limited",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call failed.
///
/// Cheap to clone: one failure is handed to everyone who waited for it. Its
/// text never holds a secret, a token or the body of an answer; what a server
/// sent is shown only where it is a short, plain identifier.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    remedy: Cow<'static, str>,
    details: Details,
}

/// What an answer told about its failure.
#[derive(Clone, Default)]
pub(crate) struct Details {
    pub(crate) field: Option<&'static str>,
    pub(crate) http_status: Option<u16>,
    pub(crate) request_id: Option<String>,
    pub(crate) oauth_error: Option<String>,
    pub(crate) error_enum: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// How often the request was sent; told where it was more than once.
    pub(crate) attempts: u32,
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with_details(kind, what, remedy, Details::default())
    }

    pub(crate) fn with_details(
        kind: ErrorKind,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
        details: Details,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            remedy: remedy.into(),
            details,
        }))
    }

    /// A setting that is missing or wrong.
    pub(crate) fn config(
        field: &'static str,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let details = Details {
            field: Some(field),
            ..Details::default()
        };
        Self::with_details(ErrorKind::Config, what, remedy, details)
    }

    /// An argument that is refused before anything is sent.
    pub(crate) fn invalid_argument(
        field: &'static str,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let details = Details {
            field: Some(field),
            ..Details::default()
        };
        Self::with_details(ErrorKind::InvalidArgument, what, remedy, details)
    }

    pub(crate) fn timeout(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            ErrorKind::Timeout,
            what,
            "the network or the server is slow; a retry may help, or a longer timeout",
        )
    }

    pub(crate) fn protocol(what: impl Into<Cow<'static, str>>, details: Details) -> Self {
        Self::with_details(
            ErrorKind::Protocol,
            what,
            "check that the URLs name the Layer API and not a proxy or a login page",
            details,
        )
    }

    /// The same failure, telling how often it was tried.
    pub(crate) fn after_attempts(self, attempts: u32) -> Self {
        let Inner {
            kind,
            what,
            remedy,
            details,
        } = &*self.0;
        let details = Details {
            attempts,
            ..details.clone()
        };
        let what = match attempts {
            0 | 1 => what.clone(),
            _ => Cow::Owned(format!("{what}, after {attempts} attempts")),
        };
        Self::with_details(*kind, what, remedy.clone(), details)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed a little later, with nothing changed
    /// by anyone on this side. The client has already retried by then.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::RateLimited => true,
            // A vault or a mounted file may be back in a moment.
            ErrorKind::Credentials => true,
            ErrorKind::OAuth | ErrorKind::Api | ErrorKind::Protocol => {
                self.http_status().is_some_and(is_retryable_status)
            }
            ErrorKind::Config
            | ErrorKind::InvalidArgument
            | ErrorKind::Tls
            | ErrorKind::Internal => false,
        }
    }

    /// The HTTP status of the answer, where there was one.
    #[must_use]
    pub fn http_status(&self) -> Option<u16> {
        self.0.details.http_status
    }

    /// The server's id for the request, to quote to Layer's support.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.details.request_id.as_deref()
    }

    /// The OAuth error code, such as `invalid_client` (RFC 6749 section 5.2).
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.details.oauth_error.as_deref()
    }

    /// Layer's stable id of the failure, of the first entry in `errors`.
    #[must_use]
    pub fn error_enum(&self) -> Option<&str> {
        self.0.details.error_enum.as_deref()
    }

    /// How long the server asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.details.retry_after
    }

    /// How often the request was sent, where it was sent at all.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.details.attempts
    }

    /// The setting or argument that is wrong, such as `client_id`.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.0.details.field
    }

    /// What failed, without the advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.what
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.0.remedy
    }
}

/// Statuses after which the same request may succeed: RFC 9110 section 15 for
/// 408 and the 5xx, RFC 8470 for 425, RFC 6585 for 429.
pub(crate) const fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.what)?;
        if let Some(id) = self.request_id() {
            write!(f, " (request id {id})")?;
        }
        if !self.0.remedy.is_empty() {
            write!(f, ": {}", self.0.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind)
            .field("message", &self.0.what);
        let details = &self.0.details;
        if let Some(field) = details.field {
            out.field("field", &field);
        }
        if let Some(status) = details.http_status {
            out.field("http_status", &status);
        }
        if let Some(code) = &details.oauth_error {
            out.field("oauth_error", code);
        }
        if let Some(code) = &details.error_enum {
            out.field("error_enum", code);
        }
        if let Some(delay) = details.retry_after {
            out.field("retry_after", &delay);
        }
        if let Some(id) = &details.request_id {
            out.field("request_id", id);
        }
        out.field("retryable", &self.is_retryable()).finish()
    }
}

impl std::error::Error for Error {}

/// So much of a library's text as is fit for one line.
pub(crate) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// A word a server sent, if it is fit to be shown: short, and of the letters
/// that identifiers have. Anything else could be an echo of what was sent.
pub(crate) fn showable(word: &str, longest: usize) -> Option<String> {
    let plain = !word.is_empty()
        && word.len() <= longest
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retryability_is_decided_by_kind_and_status() {
        let with = |kind, status| {
            Error::with_details(
                kind,
                "x",
                "",
                Details {
                    http_status: status,
                    ..Details::default()
                },
            )
        };
        for (kind, status, retryable) in [
            (ErrorKind::Config, None, false),
            (ErrorKind::InvalidArgument, None, false),
            (ErrorKind::Credentials, None, true),
            (ErrorKind::Transport, None, true),
            (ErrorKind::Timeout, None, true),
            (ErrorKind::Tls, None, false),
            (ErrorKind::OAuth, Some(400), false),
            (ErrorKind::OAuth, Some(401), false),
            (ErrorKind::OAuth, Some(503), true),
            (ErrorKind::Api, Some(404), false),
            (ErrorKind::Api, Some(408), true),
            (ErrorKind::Api, Some(425), true),
            (ErrorKind::Api, Some(500), true),
            (ErrorKind::Api, Some(501), false),
            (ErrorKind::Api, Some(502), true),
            (ErrorKind::Api, Some(504), true),
            (ErrorKind::RateLimited, Some(429), true),
            (ErrorKind::Protocol, Some(200), false),
            (ErrorKind::Protocol, Some(503), true),
            (ErrorKind::Internal, None, false),
        ] {
            assert_eq!(
                with(kind, status).is_retryable(),
                retryable,
                "{kind} {status:?}"
            );
        }
    }

    #[test]
    fn only_plain_words_are_shown() {
        assert_eq!(
            showable("invalid_client", 64).as_deref(),
            Some("invalid_client")
        );
        for word in [
            "",
            "two words",
            "a\nb",
            "<b>",
            "Basic aWQ6c2VjcmV0==",
            &"x".repeat(65),
        ] {
            assert_eq!(showable(word, 64), None, "{word:?}");
        }
    }

    #[test]
    fn every_kind_has_its_own_name() {
        let names: std::collections::HashSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn errors_cross_threads() {
        fn ok<T: Send + Sync + Clone + std::error::Error + 'static>() {}
        ok::<Error>();
    }
}
