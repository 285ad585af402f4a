//! Failures as responses.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use layerfi_auth::Error;

/// Error of `layerfi_auth` that a handler can return: with `?` in a handler that returns
/// `Result<_, LayerError>`.
///
/// As a response it is 503 with `Retry-After` if a retry may help, 404 if Layer does not
/// know the business or the id is not valid, else 502. The body is `{"error": kind}`. What
/// failed is not in the response but in the log: one warning.
///
/// ```
/// use axum::extract::State;
/// use layerfi_auth::Client;
/// use layerfi_auth_axum::LayerError;
///
/// async fn client_name(State(client): State<Client>) -> Result<String, LayerError> {
///     Ok(client.whoami().await?.client_name)
/// }
/// # let _: axum::Router<Client> = axum::Router::new()
/// #     .route("/", axum::routing::get(client_name));
/// ```
#[derive(Clone, Debug)]
pub struct LayerError(pub Error);

impl LayerError {
    /// Status and `Retry-After` of the response.
    pub(crate) fn status(&self) -> (StatusCode, Option<Duration>) {
        let error = &self.0;
        if error.is_retryable() {
            let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
            return (StatusCode::SERVICE_UNAVAILABLE, Some(wait));
        }
        let is_unknown = error.http_status() == Some(404) || error.field() == Some("business_id");
        match is_unknown {
            true => (StatusCode::NOT_FOUND, None),
            false => (StatusCode::BAD_GATEWAY, None),
        }
    }
}

impl From<Error> for LayerError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for LayerError {
    fn into_response(self) -> Response {
        let (status, retry_after) = self.status();
        let kind = self.0.kind().as_str();
        tracing::warn!(
            target: "layerfi_auth",
            kind,
            status = status.as_u16(),
            "a handler answered {}: {}",
            status.as_u16(),
            self.0
        );
        failure(status, kind, retry_after)
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LayerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Response `{"error": kind}`.
pub(crate) fn failure(status: StatusCode, kind: &str, retry_after: Option<Duration>) -> Response {
    let body = serde_json::json!({ "error": kind }).to_string();
    let mut response = json(status, body.into());
    if let Some(wait) = retry_after {
        // Rounded up, and never 0: a page must not ask at once.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let seconds = HeaderValue::from(seconds.max(1));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// Response with JSON that no cache may store.
pub(crate) fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
