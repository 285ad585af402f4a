//! The two calls of the Layer API that this library makes for itself, and the
//! envelope of the API's responses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::message::{MAX_BODY, Request, Response, headers};
use super::token_response::{self, TokenResponse};
use crate::business_id::BusinessId;
use crate::environment::Endpoints;
use crate::error::{Details, Error, ErrorKind, Result, clipped};
use crate::session_duration::SessionDuration;
use crate::token::AccessToken;
use crate::url::{host, parse_url};
use crate::whoami::WhoAmI;

/// Request of `GET /whoami` (Layer's page "Authentication").
pub(crate) fn whoami_request(
    endpoints: &Endpoints,
    user_agent: &HeaderValue,
    token: &AccessToken,
) -> Request {
    let url = endpoints.api_path("/whoami");
    let headers = headers(&endpoints.api, user_agent, None);
    request(endpoints, Method::GET, url, headers, Bytes::new(), token)
}

/// Reads the response of `GET /whoami`.
pub(crate) fn read_whoami(url: &Url, response: &Response) -> Result<WhoAmI> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        client_name: String,
        client_id: String,
    }

    let what = || format!("GET {}{}", host(url), clipped(url.path()));
    check_status(what, Resource::Whoami, response)?;
    let envelope: Envelope = serde_json::from_slice(&response.body).map_err(|_| {
        let what = format!("{}: the response is not a whoami response", what());
        Error::protocol(what, response.details())
    })?;
    let Data {
        client_name,
        client_id,
    } = envelope.data;
    // C would show only a part of such a name.
    if client_name.contains('\0') || client_id.contains('\0') {
        let what = format!("{}: the response contains a NUL character", what());
        return Err(Error::protocol(what, response.details()));
    }
    Ok(WhoAmI::new(client_name, client_id))
}

/// What requests for business tokens of one session duration have in common.
pub(crate) struct MintParts {
    pub(crate) session_duration: SessionDuration,
    /// `/v1/businesses`
    businesses: Url,
    headers: Arc<HeaderMap>,
    body: Bytes,
}

impl MintParts {
    pub(crate) fn new(
        endpoints: &Endpoints,
        user_agent: &HeaderValue,
        session_duration: SessionDuration,
    ) -> Self {
        let seconds = session_duration.as_secs();
        let body = Bytes::from(format!(r#"{{"session_duration":{seconds}}}"#));
        let content = Some(("application/json", &body));
        Self {
            session_duration,
            businesses: endpoints.api_path("/v1/businesses"),
            headers: headers(&endpoints.api, user_agent, content),
            body,
        }
    }
}

/// Request of `POST /v1/businesses/{id}/auth-token` (Layer's page "Create
/// business auth token").
pub(crate) fn mint_request(
    endpoints: &Endpoints,
    parts: &MintParts,
    token: &AccessToken,
    business: &BusinessId,
) -> Request {
    let url = mint_url(endpoints, parts, business);
    let (headers, body) = (Arc::clone(&parts.headers), parts.body.clone());
    request(endpoints, Method::POST, url, headers, body, token)
}

fn mint_url(endpoints: &Endpoints, parts: &MintParts, business: &BusinessId) -> Url {
    let id = business.path_segment();
    // `push` would encode percent signs again.
    if let Cow::Borrowed(id) = id {
        // The rest of the path only: each character costs 50 instructions.
        let mut url = parts.businesses.clone();
        let extended = url.path_segments_mut().map(|mut path| {
            path.extend([id, "auth-token"]);
        });
        if extended.is_ok() {
            return url;
        }
    }
    endpoints.api_path(&["/v1/businesses/", &id, "/auth-token"].concat())
}

/// Reads the response of `POST /v1/businesses/{id}/auth-token`.
pub(crate) fn read_mint<'a>(
    url: &Url,
    business: &BusinessId,
    response: &'a Response,
) -> Result<TokenResponse<'a>> {
    let what = || format!("minting a token for business {business} at {}", host(url));
    // Paths are appended to `api_url`.
    let resource = Resource::Business {
        has_prefix: !url.path().starts_with("/v1/"),
    };
    check_status(what, resource, response)?;
    token_response::parse(what, &response.body, || response.details())
}

fn request(
    endpoints: &Endpoints,
    method: Method,
    url: Url,
    headers: Arc<HeaderMap>,
    body: Bytes,
    token: &AccessToken,
) -> Request {
    Request {
        method,
        url,
        peer: endpoints.api.clone(),
        headers,
        authorization: token.authorization().clone(),
        body,
        max_body: MAX_BODY,
        bounded_attempt: true,
        secret: token.shared_secret(),
    }
}

/// URL of a path of the API that the program gave.
pub(crate) fn api_url(endpoints: &Endpoints, path: &str) -> Result<Url> {
    parse_url(&format!("{}{path}", endpoints.api_url)).map_err(|why| {
        Error::invalid_argument(
            "path",
            format!("path does not make a valid URL ({why})"),
            "give a path such as /v1/businesses",
        )
    })
}

/// Envelope of a failure (Layer's page "JSON data").
#[derive(Deserialize)]
struct ErrorEnvelope {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    error_enum: Option<String>,
}

/// Subject of a call, for the remedy of a 404.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    Whoami,
    Business {
        /// Whether `api_url` has a path of its own.
        has_prefix: bool,
    },
}

/// Converts every status except 200 and 201 to an error.
pub(crate) fn check_status(
    what: impl Fn() -> String,
    resource: Resource,
    response: &Response,
) -> Result<()> {
    let status = response.status;
    if matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Ok(());
    }
    let (what, details) = (what(), response.details());
    let http = format!("HTTP {}", status.as_u16());
    if status == StatusCode::TOO_MANY_REQUESTS {
        let remedy = "Layer limits the requests of a client per second, on all machines together";
        return Err(rate_limited(format!("{what}: {http}"), remedy, details));
    }
    if !status.is_client_error() && !status.is_server_error() {
        let why = if status.is_redirection() {
            format!("a redirect ({http}), which is not followed with a credential")
        } else {
            format!("unexpected {http}")
        };
        return Err(Error::protocol(format!("{what}: {why}"), details));
    }
    let envelope = serde_json::from_slice::<ErrorEnvelope>(&response.body).ok();
    let is_layers = envelope.is_some();
    let error_enum = envelope
        .and_then(|envelope| {
            envelope
                .errors
                .into_iter()
                .find_map(|entry| entry.error_enum)
        })
        .and_then(|code| response.showable(&code));
    let what = match &error_enum {
        Some(code) => format!("{what}: {code} ({http})"),
        None if is_layers || status.is_server_error() || status == StatusCode::UNAUTHORIZED => {
            format!("{what}: {http}")
        }
        None => format!("{what}: {http}, which is not an error of the Layer API"),
    };
    let details = Details {
        error_enum,
        ..details
    };
    let remedy = remedy(status, resource, is_layers, details.retry_after);
    Err(Error::with_details(ErrorKind::Api, what, remedy, details))
}

/// Error for HTTP 429, with the time to wait in its text.
pub(crate) fn rate_limited(what: String, remedy: &str, details: Details) -> Error {
    let wait = retry_in(details.retry_after, "1 s");
    let what = format!("{what}, too many requests");
    let remedy = format!("{wait}; {remedy}");
    Error::with_details(ErrorKind::RateLimited, what, remedy, details)
}

/// Remedy for a problem of the server.
pub(crate) fn server_problem(status: StatusCode, retry_after: Option<Duration>) -> String {
    match status.as_u16() {
        500 | 502..=504 => {
            let wait = retry_in(retry_after, "a minute");
            format!("{wait}: the server has a problem, not this client")
        }
        511 => "sign in to this network first: it answers instead of the server".to_owned(),
        _ => "a retry does not help: ask Layer's support, with the request id".to_owned(),
    }
}

fn retry_in(retry_after: Option<Duration>, default: &str) -> String {
    match retry_after {
        Some(delay) => {
            let begun = u64::from(delay.subsec_nanos() > 0);
            format!("retry in {} s", delay.as_secs().saturating_add(begun))
        }
        None => format!("retry in {default}"),
    }
}

fn remedy(
    status: StatusCode,
    resource: Resource,
    is_layers: bool,
    retry_after: Option<Duration>,
) -> Cow<'static, str> {
    if status.is_server_error() {
        return server_problem(status, retry_after).into();
    }
    let remedy = match (status.as_u16(), resource) {
        (401, _) => {
            "the API does not accept this client's access tokens: check that {api_url}, {auth_url} \
             and {scope} belong to the same environment"
        }
        (408 | 425, _) => "retry in 1 s",
        (404, Resource::Business { has_prefix: true }) if is_layers => {
            "check the path in {api_url}, and that the business exists and belongs to this client \
             and environment"
        }
        (404, Resource::Business { .. }) if is_layers => {
            "check that the business exists, and that it belongs to this client and environment"
        }
        (404 | 405, _) => {
            "check {api_url}: the server answered, but it has no Layer API at this address"
        }
        (403, _) if is_layers => "ask Layer to allow this request for this client",
        _ if is_layers => "a retry does not help: ask Layer's support, with the request id",
        _ => {
            "a firewall, a proxy or another server may have sent this response: check that this \
             machine may reach the host, and that {api_url} is that of the Layer API"
        }
    };
    remedy.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::secret::Secret;

    #[test]
    fn url_of_a_mint_has_the_id_as_one_encoded_segment() {
        let user_agent = HeaderValue::from_static("test/1");
        for (api_url, prefix) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com/layer/", "https://example.com/layer"),
        ] {
            let urls = (Some(api_url), Some("https://example.com/token"));
            let endpoints =
                Endpoints::new(Environment::Custom, urls.0, urls.1, Some("s"), false).unwrap();
            let parts = MintParts::new(&endpoints, &user_agent, SessionDuration::default());
            for (id, segment) in [
                (
                    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
                    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
                ),
                ("..a~b_c.", "..a~b_c."),
                ("a:b@c+d=e,f", "a%3Ab%40c%2Bd%3De%2Cf"),
            ] {
                let business = BusinessId::opaque(id).unwrap();
                let url = mint_url(&endpoints, &parts, &business);
                let expected = format!("{prefix}/v1/businesses/{segment}/auth-token");
                assert_eq!(url.as_str(), expected, "{api_url} {id}");
            }
        }
    }

    #[test]
    fn error_kind_depends_on_status_and_envelope() {
        for (status, body, kind, error_enum) in [
            (
                404,
                r#"{"errors":[{"error_enum":"NOT_FOUND"}]}"#,
                ErrorKind::Api,
                Some("NOT_FOUND"),
            ),
            (
                422,
                r#"{"errors":[{"type":"a"},{"error_enum":"SECOND"}]}"#,
                ErrorKind::Api,
                Some("SECOND"),
            ),
            (403, r#"{"errors":[]}"#, ErrorKind::Api, None),
            (
                403,
                r#"{"errors":[{"error_enum":"two words"}]}"#,
                ErrorKind::Api,
                None,
            ),
            (404, "<html>", ErrorKind::Api, None),
            (401, "", ErrorKind::Api, None),
            (500, r#"{"errors":"no list"}"#, ErrorKind::Api, None),
            (429, "", ErrorKind::RateLimited, None),
            (301, "", ErrorKind::Protocol, None),
            (204, "", ErrorKind::Protocol, None),
        ] {
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: body.as_bytes().into(),
                secret: Secret::new(""),
                authorization: HeaderValue::from_static(""),
            };
            let error = check_status(
                || "x".to_owned(),
                Resource::Business { has_prefix: false },
                &response,
            )
            .unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert_eq!(error.error_enum(), error_enum, "{status} {body}");
        }
    }
}
