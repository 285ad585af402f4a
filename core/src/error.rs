//! Error of this crate: what failed, what to do, and whether a retry helps.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::setting_names::{self, FromVariables};

/// Result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of a failure, for programs to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing or invalid. [`Error::field`] names it.
    Config,
    /// An argument of this call is invalid; nothing was sent.
    InvalidArgument,
    /// The credentials could not be read from their file or provider.
    Credentials,
    /// The server could not be reached, or the connection broke.
    Transport,
    /// The timeout of the call, or of one attempt, expired.
    Timeout,
    /// The server's certificate was not accepted, or the handshake failed.
    Tls,
    /// The token endpoint refused the request. [`Error::oauth_error`] is its code (RFC 6749
    /// section 5.2); there is none for a 400 or 401 without a body.
    OAuth,
    /// The Layer API returned an error, or the token endpoint returned one without an
    /// OAuth error code, such as a 503, or a 403 of a firewall. See
    /// [`Error::http_status`] and [`Error::error_enum`].
    Api,
    /// Too many requests. [`Error::retry_after`] says how long to wait.
    RateLimited,
    /// The response does not follow the protocol.
    Protocol,
    /// A fault in this library, such as a panic in a background task. The client stays usable.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order of declaration.
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

    /// Name used in logs, JSON and all bindings, such as `rate_limited`.
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

/// Reason why a call failed.
///
/// Cheap to clone: all callers that waited for one request get the same error.
/// Its text never contains a secret, a token or the body of a response; text from
/// a server is shown only if it is a short, plain identifier.
///
/// [`source`](std::error::Error::source) is the cause if it is known: a TLS or
/// I/O error, the error of a credentials provider, or the last failed attempt of
/// a call that timed out.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Arc<Inner>);

/// Cause of an error, shared by its clones.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    /// The remedy, in which settings are written as `{client_id}`.
    template: Cow<'static, str>,
    /// The remedy as it is shown.
    remedy: Cow<'static, str>,
    /// Settings that `remedy` names by their environment variables.
    variables: FromVariables,
    details: Details,
    cause: Option<Cause>,
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            remedy,
            details,
            ..
        } = self;
        write!(f, "{what}{}{}", request_id(details), remedy_of(remedy))
    }
}

/// Not derived: thiserror's `source` would be the `Arc`, which nobody can downcast.
impl std::error::Error for Inner {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

impl Error {
    /// The error as the value of a log event's field, so that a subscriber can
    /// read its kind and status.
    pub(crate) fn as_dyn(&self) -> &(dyn std::error::Error + 'static) {
        self
    }
}

/// Details of a failure, apart from its text.
#[derive(Clone, Default)]
pub(crate) struct Details {
    pub(crate) field: Option<&'static str>,
    pub(crate) http_status: Option<u16>,
    pub(crate) request_id: Option<String>,
    pub(crate) oauth_error: Option<String>,
    pub(crate) error_enum: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// How many times the request was sent.
    pub(crate) attempts: u32,
    /// A retry cannot help, although it can after other failures of this kind.
    pub(crate) permanent: bool,
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
        let template = remedy.into();
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            remedy: rendered(template.clone(), FromVariables::default()),
            template,
            variables: FromVariables::default(),
            details,
            cause: None,
        }))
    }

    /// The same error, whose remedy names these settings by their environment
    /// variables.
    pub(crate) fn naming(mut self, variables: FromVariables) -> Self {
        if self.0.template.contains('{') {
            let inner = Arc::make_mut(&mut self.0);
            inner.remedy = rendered(inner.template.clone(), variables);
            inner.variables = variables;
        }
        self
    }

    /// For the command: the remedy with other names for the settings. `name` gets
    /// the setting, and the environment variable from which its value comes or
    /// would come.
    #[doc(hidden)]
    #[must_use]
    pub fn remedy_naming(&self, name: impl Fn(&str, Option<&str>) -> String) -> String {
        let variables = self.0.variables;
        setting_names::render(&self.0.template, |setting| {
            name(setting, variables.variable(setting))
        })
    }

    /// Failure because of one setting or argument.
    pub(crate) fn of_field(
        kind: ErrorKind,
        field: &'static str,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let details = Details {
            field: Some(field),
            ..Details::default()
        };
        Self::with_details(kind, what, remedy, details)
    }

    /// Setting that is missing or invalid.
    pub(crate) fn config(
        field: &'static str,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of_field(ErrorKind::Config, field, what, remedy)
    }

    /// Invalid argument; no request was sent.
    pub(crate) fn invalid_argument(
        field: &'static str,
        what: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of_field(ErrorKind::InvalidArgument, field, what, remedy)
    }

    /// Attempt that timed out before the response was complete.
    pub(crate) fn attempt_timeout(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            ErrorKind::Timeout,
            what,
            "retry; if it happens again, check the network to this host, or set a longer {timeout}",
        )
    }

    /// Call that reached its deadline after `attempts` failed attempts.
    pub(crate) fn deadline(
        timeout: Duration,
        attempts: u32,
        last: Option<Self>,
        waits_for: Option<Arc<str>>,
    ) -> Self {
        let mut what = format!("no result within {}", seconds(timeout));
        if let Some(waits_for) = waits_for.as_deref().filter(|_| last.is_none()) {
            what.push_str(&format!(", waiting for {waits_for}"));
        }
        let Some(last) = last else {
            return match waits_for.as_deref() {
                Some(SECRET_FILE | PROVIDER) => Self::new(
                    ErrorKind::Timeout,
                    what,
                    "retry; if it happens again, find out why reading the credentials takes so \
                     long, or set a longer {timeout}",
                ),
                _ => Self::attempt_timeout(what),
            };
        };
        let plural = if attempts == 1 { "" } else { "s" };
        what.push_str(&format!(
            "; {attempts} failed attempt{plural}, last: {}",
            last.message()
        ));
        let details = Details {
            attempts,
            ..last.0.details.clone()
        };
        let remedy = last.0.template.clone();
        let variables = last.0.variables;
        Self::with_details(ErrorKind::Timeout, what, remedy, details)
            .naming(variables)
            .caused_by(Arc::new(last))
    }

    pub(crate) fn protocol(what: impl Into<Cow<'static, str>>, details: Details) -> Self {
        Self::with_details(
            ErrorKind::Protocol,
            what,
            "check that {api_url} and {auth_url} are those of the Layer API, and that no proxy or \
             login page answers instead",
            details,
        )
    }

    /// The same error with its cause.
    pub(crate) fn caused_by(mut self, cause: Cause) -> Self {
        Arc::make_mut(&mut self.0).cause = Some(cause);
        self
    }

    /// The same error with the number of attempts.
    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.details.attempts = attempts;
        if attempts > 1 {
            inner.what = format!("{}, after {attempts} attempts", inner.what).into();
        }
        self
    }

    /// Kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without a change by the caller.
    /// The client has already retried by then.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        is_retryable(self.kind(), &self.0.details)
    }

    /// Whether each further business of a batch would fail in the same way, so that it is
    /// better to end the batch: the reason is the client's settings or credentials.
    #[must_use]
    pub fn ends_batch(&self) -> bool {
        match self.kind() {
            ErrorKind::Config
            | ErrorKind::Credentials
            | ErrorKind::OAuth
            | ErrorKind::Tls
            | ErrorKind::Internal => true,
            ErrorKind::InvalidArgument
            | ErrorKind::Transport
            | ErrorKind::Timeout
            | ErrorKind::Api
            | ErrorKind::RateLimited
            | ErrorKind::Protocol => false,
        }
    }

    /// HTTP status of the response, if there was one. For a call that timed
    /// out, the status of its last attempt.
    #[must_use]
    pub fn http_status(&self) -> Option<u16> {
        self.0.details.http_status
    }

    /// The server's id of the request. Layer's support can find the request by
    /// it.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.details.request_id.as_deref()
    }

    /// OAuth error code, such as `invalid_client` (RFC 6749 section 5.2).
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.details.oauth_error.as_deref()
    }

    /// Layer's stable id of the failure, from the first entry in `errors`.
    #[must_use]
    pub fn error_enum(&self) -> Option<&str> {
        self.0.details.error_enum.as_deref()
    }

    /// How long the server says to wait before a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.details.retry_after
    }

    /// How many times the request was sent; 0 if it was not sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.details.attempts
    }

    /// Setting or argument that is invalid, such as `client_id`.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.0.details.field
    }

    /// What failed, without the remedy.
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

fn is_retryable(kind: ErrorKind, details: &Details) -> bool {
    match kind {
        _ if details.permanent => false,
        ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::RateLimited => true,
        // A vault or a mounted file may be available again soon.
        ErrorKind::Credentials => true,
        ErrorKind::OAuth | ErrorKind::Api | ErrorKind::Protocol => {
            details.http_status.is_some_and(is_retryable_status)
        }
        ErrorKind::Config | ErrorKind::InvalidArgument | ErrorKind::Tls | ErrorKind::Internal => {
            false
        }
    }
}

/// Statuses after which the same request may succeed: RFC 9110 section 15 for
/// 408 and 5xx, RFC 8470 for 425, RFC 6585 for 429.
pub(crate) const fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn remedy_of(remedy: &str) -> String {
    if remedy.is_empty() {
        return String::new();
    }
    format!(": {remedy}")
}

fn request_id(details: &Details) -> String {
    let id = details.request_id.as_deref();
    id.map_or_else(String::new, |id| format!(" (request id {id})"))
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `fn main() -> Result<(), Error>` prints this form, so it contains all
/// details.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            what,
            remedy,
            details,
            template: _,
            variables: _,
            cause: _,
        } = self;
        let mut out = f.debug_struct("Error");
        out.field("kind", kind).field("message", what);
        if !remedy.is_empty() {
            out.field("remedy", remedy);
        }
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
        if details.attempts > 0 {
            out.field("attempts", &details.attempts);
        }
        out.field("retryable", &is_retryable(*kind, details))
            .finish()
    }
}

fn rendered(template: Cow<'static, str>, variables: FromVariables) -> Cow<'static, str> {
    if !template.contains('{') {
        return template;
    }
    let name = |setting| variables.variable(setting).unwrap_or(setting);
    setting_names::render(&template, name).into()
}

/// What a call waits for while it reads credentials.
pub(crate) const SECRET_FILE: &str = "client_secret_file";
pub(crate) const PROVIDER: &str = "the credentials provider";

/// Remedy of an error that a correct library never returns.
pub(crate) const BUG: &str =
    "this is a bug in layerfi-auth: report it with this message; a retry does not help";

/// Duration in seconds, for messages: `2 s`, `0.25 s`. Not as a floating-point number: the code
/// that prints one is 20 kB of the C library, and nothing else there needs it.
pub(crate) fn seconds(duration: Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return format!("{whole} s");
    }
    let fraction = format!("{nanos:09}");
    format!("{whole}.{} s", fraction.trim_end_matches('0'))
}

/// Error text of a library, cut to the length of one line.
pub(crate) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_no_more_digits_than_needed() {
        for (nanos, text) in [
            (0, "0 s"),
            (2_000_000_000, "2 s"),
            (250_000_000, "0.25 s"),
            (90_001_000_000, "90.001 s"),
            (1, "0.000000001 s"),
        ] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), text, "of {nanos} ns");
        }
    }

    #[test]
    fn b14_kind_and_status_decide_whether_a_retry_helps() {
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
    fn only_failures_of_the_client_end_a_batch() {
        let ends: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| Error::new(*kind, "x", "").ends_batch())
            .map(ErrorKind::as_str)
            .collect();
        assert_eq!(ends, ["config", "credentials", "tls", "oauth", "internal"]);
    }

    #[test]
    fn the_type_of_the_cause_can_be_found() {
        let cause = std::io::Error::from_raw_os_error(24);
        let error = Error::new(ErrorKind::Transport, "x", "").caused_by(Arc::new(cause));
        let found = std::error::Error::source(&error)
            .and_then(|cause| cause.downcast_ref::<std::io::Error>())
            .and_then(std::io::Error::raw_os_error);
        assert_eq!(found, Some(24), "the source is not the I/O error");
    }

    #[test]
    fn kinds_have_different_names() {
        let names: std::collections::HashSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn source_is_the_cause_itself() {
        use std::error::Error as _;

        let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::new(ErrorKind::Transport, "x", "").caused_by(Arc::new(cause));
        let source = error.clone().after_attempts(2);
        let source = source.source().expect("no source");
        assert!(source.is::<std::io::Error>(), "cannot downcast {source:?}");
    }

    #[test]
    fn errors_are_send_sync_and_clone() {
        fn ok<T: Send + Sync + Clone + std::error::Error + 'static>() {}
        ok::<Error>();
    }

    #[test]
    fn b08_timed_out_call_reports_what_it_tried() {
        let timeout = Duration::from_secs(2);
        let waiting = Error::deadline(timeout, 0, None, Some("auth.layerfi.com".into()));
        assert_eq!(
            waiting.message(),
            "no result within 2 s, waiting for auth.layerfi.com"
        );
        let reading = Error::deadline(timeout, 0, None, Some(PROVIDER.into()));
        assert_eq!(
            reading.message(),
            "no result within 2 s, waiting for the credentials provider"
        );
        assert!(
            reading.remedy().contains("reading the credentials"),
            "{reading}"
        );
        let last = Error::with_details(
            ErrorKind::Api,
            "token endpoint auth.layerfi.com returned HTTP 503",
            "retry later",
            Details {
                http_status: Some(503),
                ..Details::default()
            },
        );
        let tried = Error::deadline(timeout, 3, Some(last), None);
        assert_eq!(
            tried.to_string(),
            "no result within 2 s; 3 failed attempts, last: token endpoint auth.layerfi.com \
             returned HTTP 503: retry later"
        );
        assert_eq!(tried.kind(), ErrorKind::Timeout);
        assert_eq!((tried.attempts(), tried.http_status()), (3, Some(503)));
        let source = std::error::Error::source(&tried).map(ToString::to_string);
        assert!(
            source.is_some_and(|text| text.contains("HTTP 503")),
            "the cause is lost"
        );
    }
}
