//! The two calls of the Layer API that this library makes for itself, and the
//! envelope of the API's responses.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
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
    let authorization = token.authorization().clone();
    let headers = headers(&endpoints.api, user_agent, authorization, None);
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

/// Headers of [`mint_request`], made once. The token and the length of the body are
/// those of no request.
pub(crate) fn mint_headers(endpoints: &Endpoints, user_agent: &HeaderValue) -> HeaderMap {
    let content = Some(("application/json", &Bytes::new()));
    let no_token = HeaderValue::from_static("");
    headers(&endpoints.api, user_agent, no_token, content)
}

/// Request of `POST /v1/businesses/{id}/auth-token` (Layer's page "Create
/// business auth token").
pub(crate) fn mint_request(
    endpoints: &Endpoints,
    headers: &HeaderMap,
    token: &AccessToken,
    business: &BusinessId,
    session_duration: SessionDuration,
) -> Request {
    let path = ["/v1/businesses/", &business.path_segment(), "/auth-token"].concat();
    let url = endpoints.api_path(&path);
    let seconds = session_duration.as_secs().to_string();
    let body = Bytes::from([r#"{"session_duration":"#, &seconds, "}"].concat());
    let mut headers = headers.clone();
    headers.insert(header::AUTHORIZATION, token.authorization().clone());
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    request(endpoints, Method::POST, url, headers, body, token)
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
    headers: HeaderMap,
    body: Bytes,
    token: &AccessToken,
) -> Request {
    Request {
        method,
        url,
        peer: endpoints.api.clone(),
        headers,
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
    use crate::secret::Secret;

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
                authorization: None,
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
