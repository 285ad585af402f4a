//! Settings and decisions of a token endpoint, the same as in the Python package.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use layerfi_auth::{BusinessToken, BusinessTokenOptions, Client, Error, Secret};
use serde_json::{Map, Value};

use crate::error::{LayerError, failure, json};
use crate::options::LayerTokenOptions;

/// A token with less is not given to a page: it would expire on the way.
const MIN_REMAINING: Duration = Duration::from_secs(5);

const MAX_BODY: usize = 20_480;

/// Longest part of a business id that is logged, in characters.
const MAX_SHOWN: usize = 64;

pub(crate) struct Endpoint {
    client: Client,
    token: BusinessTokenOptions,
    allow_get: bool,
    origins: Vec<String>,
}

impl Endpoint {
    pub(crate) fn new(client: &Client, options: LayerTokenOptions) -> Self {
        Self {
            client: client.with_timeout(options.timeout),
            token: options.session_duration.into(),
            allow_get: options.allow_get,
            origins: options.origins,
        }
    }

    /// Sets the headers of every answer to a request with this `Origin`.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        let vary = if self.origins.is_empty() {
            "Cookie"
        } else {
            "Cookie, Origin"
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static(vary));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }

    /// Answers a browser that asks whether a page of another origin may call this.
    pub(crate) fn preflight(&self, origin: Option<HeaderValue>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let (methods, allow) = if self.allow_get {
            ("POST, GET", "POST, GET, OPTIONS")
        } else {
            ("POST", "POST, OPTIONS")
        };
        headers.insert(ALLOW, HeaderValue::from_static(allow));
        self.add_headers(headers, origin);
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, methods),
                (ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"),
                (ACCESS_CONTROL_MAX_AGE, "600"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }

    /// Answers a request of a user of this business; `None` is nobody.
    pub(crate) async fn answer(&self, business: Option<String>, body: Body) -> Response {
        match self.session(business.as_deref(), body).await {
            Ok(session) => json(StatusCode::OK, Bytes::from_owner(session).into()),
            Err(refusal) => {
                tracing::warn!(
                    target: "layerfi_auth",
                    kind = refusal.kind,
                    status = refusal.status.as_u16(),
                    "the token endpoint answered {} for business {}: {}",
                    refusal.status.as_u16(),
                    shown(business.as_deref()),
                    refusal.reason
                );
                failure(refusal.status, refusal.kind, refusal.retry_after)
            }
        }
    }

    async fn session(&self, business: Option<&str>, body: Body) -> Result<Secret, Refusal> {
        let Some(business) = business else {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "the user is not signed in",
            ));
        };
        let refused = refused(body).await?;
        let token = self.token(business, refused).await?;
        if token.remaining() < MIN_REMAINING {
            // An outage of Layer, during which no new token can be had.
            return Err(Refusal {
                retry_after: Some(Duration::from_secs(1)),
                ..Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "timeout",
                    "the business token has less than 5 s left",
                )
            });
        }
        Ok(token.session().to_json())
    }

    async fn token(&self, business: &str, refused: Option<Secret>) -> Result<BusinessToken, Error> {
        let business = self.client.business_id(business)?;
        match refused {
            None => self.client.business_token_with(&business, self.token).await,
            Some(refused) => {
                self.client
                    .renew_business_token(&business, self.token, refused)
                    .await
            }
        }
    }
}

/// Why a request gets no session.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    reason: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, reason: &str) -> Self {
        Self {
            status,
            kind,
            reason: reason.to_owned(),
            retry_after: None,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        let kind = error.kind().as_str();
        let (status, retry_after) = LayerError(error).status();
        Self {
            status,
            kind,
            reason,
            retry_after,
        }
    }
}

/// The token that a page reports as refused, from the request's JSON.
async fn refused(body: Body) -> Result<Option<Secret>, Refusal> {
    let wrong = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_argument",
            "the body must be {} or {\"refused\": \"<token>\"}",
        )
    };
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| wrong())?;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    // Not a struct: those can be read from a JSON array too.
    let mut given: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| wrong())?;
    match given.remove("refused") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.into())),
        Some(_) => Err(wrong()),
    }
}

/// The id for a log: one line, and not long.
fn shown(business: Option<&str>) -> String {
    match business {
        None => "none".to_owned(),
        Some(id) => format!("{:?}", id.chars().take(MAX_SHOWN).collect::<String>()),
    }
}
