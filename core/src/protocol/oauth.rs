//! Token endpoint, `POST /oauth2/token`: exchanges client credentials for an
//! access token (RFC 6749 section 4.4; Layer's page "Authentication").

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::layer_api::{rate_limited, server_problem};
use super::message::{MAX_BODY, Request, Response, headers};
use super::token_response::{self, TokenResponse};
use crate::credentials::{BasicEncoding, Credentials, Origin};
use crate::environment::Endpoints;
use crate::error::{BUG, Details, Error, ErrorKind, Result, clipped};
use crate::secret::SecretBuffer;
use crate::url::host;

/// Token request for these credentials.
pub(crate) fn token_request(
    endpoints: &Endpoints,
    credentials: &Credentials,
    encoding: BasicEncoding,
    user_agent: &HeaderValue,
) -> Result<Request> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", &endpoints.scope)
        .append_pair("client_id", credentials.client_id())
        .finish();
    let (peer, body) = (&endpoints.auth, Bytes::from(body));
    let authorization = basic(credentials, encoding)?;
    let content = Some(("application/x-www-form-urlencoded", &body));
    Ok(Request {
        method: Method::POST,
        url: endpoints.auth_url.clone(),
        peer: peer.clone(),
        headers: headers(peer, user_agent, content),
        authorization,
        body,
        max_body: MAX_BODY,
        bounded_attempt: true,
        secret: credentials.client_secret().clone(),
    })
}

/// Basic header (RFC 7617), in memory that is wiped after use.
fn basic(credentials: &Credentials, encoding: BasicEncoding) -> Result<HeaderValue> {
    let id = credentials.client_id();
    let secret = credentials.client_secret().expose();
    let mut pair = SecretBuffer::with_capacity(3 * (id.len() + secret.len()) + 1);
    match encoding {
        BasicEncoding::Raw => {
            pair.push(id.as_bytes());
            pair.push(b":");
            pair.push(secret.as_bytes());
        }
        BasicEncoding::Form => {
            for piece in url::form_urlencoded::byte_serialize(id.as_bytes()) {
                pair.push(piece.as_bytes());
            }
            pair.push(b":");
            for piece in url::form_urlencoded::byte_serialize(secret.as_bytes()) {
                pair.push(piece.as_bytes());
            }
        }
    }
    pair.basic_header()
        .map_err(|_| Error::new(ErrorKind::Internal, "cannot build the Basic header", BUG))
}

#[derive(Deserialize)]
struct OAuthError {
    error: String,
}

/// Reads a response of the token endpoint to a request with these credentials.
pub(crate) fn read_response<'a>(
    url: &Url,
    response: &'a Response,
    credentials: &Credentials,
    origin: Origin,
) -> Result<TokenResponse<'a>> {
    let status = response.status;
    if status == StatusCode::OK {
        let details = || response.details();
        let what = || format!("token endpoint {}", host(url));
        return token_response::parse(what, &response.body, details);
    }
    Err(refusal(url, response, credentials, origin))
}

/// Error for a response that is not 200.
fn refusal(url: &Url, response: &Response, credentials: &Credentials, origin: Origin) -> Error {
    let status = response.status;
    let what = format!("token endpoint {} returned", host(url));
    let http = format!("HTTP {}", status.as_u16());
    let details = response.details();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let remedy = "share one client instead of creating many";
        return rate_limited(format!("{what} {http}"), remedy, details);
    }
    if !status.is_client_error() && !status.is_server_error() {
        let what = if status.is_redirection() {
            format!("{what} a redirect ({http}), which is not followed with a credential")
        } else {
            format!("{what} unexpected {http} without a token")
        };
        return Error::protocol(what, details);
    }
    let oauth_error = serde_json::from_slice::<OAuthError>(&response.body)
        .ok()
        .and_then(|body| response.showable(&body.error));
    let Some(code) = oauth_error else {
        return without_code(url, response, credentials, origin);
    };
    let what = format!("{what} {code} ({http})");
    let remedy = match code.as_str() {
        _ if status.is_server_error() => server_problem(status, details.retry_after),
        "invalid_client" => refused_credentials(credentials, origin),
        "invalid_scope" => {
            "check that {environment} is the one that these credentials are for, and {scope} if \
             you set it; a retry does not help"
                .to_owned()
        }
        "unauthorized_client" | "unsupported_grant_type" => {
            "ask Layer to allow the grant type client_credentials for this client; a retry does \
             not help"
                .to_owned()
        }
        "invalid_request" => {
            "check that {auth_url} is Layer's token endpoint; a retry does not help".to_owned()
        }
        _ => "a retry does not help: ask Layer's support, with this code and the request id"
            .to_owned(),
    };
    let details = Details {
        oauth_error: Some(code),
        ..details
    };
    Error::with_details(ErrorKind::OAuth, what, remedy, details)
}

/// Error for a 4xx or 5xx without a code of RFC 6749 section 5.2. It is the token
/// endpoint's own refusal only if it is a 400 or 401 without a body. Anything else
/// may come from a gateway, a firewall or another server.
fn without_code(
    url: &Url,
    response: &Response,
    credentials: &Credentials,
    origin: Origin,
) -> Error {
    let status = response.status;
    let what = format!(
        "token endpoint {} returned HTTP {}",
        host(url),
        status.as_u16()
    );
    let details = response.details();
    let is_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        && response.body.is_empty();
    if is_refusal {
        let what = format!("{what} without an error code");
        let remedy = refused_credentials(credentials, origin);
        return Error::with_details(ErrorKind::OAuth, what, remedy, details);
    }
    let path = clipped(url.path());
    let (what, remedy) = match status.as_u16() {
        408 | 425 => (what, "retry in 1 s".to_owned()),
        404 | 405 | 410 => (
            format!("{what} for POST {path}"),
            "check {auth_url}: the server answered, but it has no token endpoint at this path"
                .to_owned(),
        ),
        400 | 401 => (
            format!("{what} for POST {path}, which is not an OAuth error"),
            "check that {auth_url} is Layer's token endpoint, and that no gateway or proxy answers \
             in its place"
                .to_owned(),
        ),
        400..500 => (
            format!("{what} for POST {path}, which is not an OAuth error"),
            "a firewall, a proxy or another server may have sent this response: check that this \
             machine may reach the host, and that {auth_url} is Layer's token endpoint"
                .to_owned(),
        ),
        _ => (what, server_problem(status, details.retry_after)),
    };
    Error::with_details(ErrorKind::Api, what, remedy, details)
}

/// Remedy for credentials that the token endpoint refused.
fn refused_credentials(credentials: &Credentials, origin: Origin) -> String {
    let (what, again) = match origin {
        Origin::Given => (
            "{client_id} and {client_secret} are",
            "a retry does not help",
        ),
        Origin::SecretFile => (
            "{client_id} and the secret in {client_secret_file} are",
            "the next call reads the file again",
        ),
        Origin::Provider => (
            "the credentials provider returns",
            "the next call asks it again",
        ),
    };
    let check = format!("check that {what} the pair that Layer issued for this environment");
    match credentials.hint() {
        Some(hint) => format!("{hint}; otherwise {check}; {again}"),
        None => format!("{check}; {again}"),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use http::{HeaderMap, header};

    use super::*;
    use crate::environment::Environment;
    use crate::secret::Secret;

    fn header(id: &str, secret: &str, encoding: BasicEncoding) -> String {
        let value = basic(&Credentials::new(id, secret), encoding).unwrap();
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn basic_value_is_raw_by_default_and_form_encoded_on_request() {
        for (id, secret, raw, form) in [
            ("id", "secret", "id:secret", "id:secret"),
            ("i+d", "s%c:r t", "i+d:s%c:r t", "i%2Bd:s%25c%3Ar+t"),
            ("id", "sé", "id:sé", "id:s%C3%A9"),
        ] {
            assert_eq!(header(id, secret, BasicEncoding::Raw), raw);
            assert_eq!(header(id, secret, BasicEncoding::Form), form);
        }
    }

    #[test]
    fn token_request_is_the_documented_one() {
        let endpoints = Endpoints::new(Environment::Sandbox, None, None, None, false).unwrap();
        let request = token_request(
            &endpoints,
            &Credentials::new("id", "secret"),
            BasicEncoding::Raw,
            &HeaderValue::from_static("test/1"),
        )
        .unwrap();
        assert_eq!(request.method, Method::POST);
        assert_eq!(
            request.url.as_str(),
            "https://auth.layerfi.com/oauth2/token"
        );
        assert_eq!(
            request.body,
            "grant_type=client_credentials&scope=https%3A%2F%2Fsandbox.layerfi.com%2Fsandbox&\
             client_id=id"
        );
        assert_eq!(
            request.headers.get(header::CONTENT_TYPE).unwrap(),
            "application/x-www-form-urlencoded"
        );
    }

    #[test]
    fn refusal_is_oauth_only_with_a_code_or_as_a_bare_400_or_401() {
        let url = Url::parse("https://auth.layerfi.com/oauth2/token").unwrap();
        for (status, body, kind, code) in [
            (
                400,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::OAuth,
                Some("invalid_client"),
            ),
            (
                401,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::OAuth,
                Some("invalid_client"),
            ),
            (
                403,
                r#"{"error":"access_denied"}"#,
                ErrorKind::OAuth,
                Some("access_denied"),
            ),
            (
                503,
                r#"{"error":"temporarily_unavailable"}"#,
                ErrorKind::OAuth,
                Some("temporarily_unavailable"),
            ),
            (400, "", ErrorKind::OAuth, None),
            (401, "", ErrorKind::OAuth, None),
            (400, r#"{"error":"<script>"}"#, ErrorKind::Api, None),
            (400, r#"{"error":"no-not-a-secret"}"#, ErrorKind::Api, None),
            (400, r#"{"message":"Forbidden"}"#, ErrorKind::Api, None),
            (401, "<html>", ErrorKind::Api, None),
            (403, "", ErrorKind::Api, None),
            (404, "", ErrorKind::Api, None),
            (405, "", ErrorKind::Api, None),
            (429, "", ErrorKind::RateLimited, None),
            (500, "", ErrorKind::Api, None),
            (503, "<html>", ErrorKind::Api, None),
            (204, "", ErrorKind::Protocol, None),
            (302, "", ErrorKind::Protocol, None),
            (200, "<html>", ErrorKind::Protocol, None),
        ] {
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: body.as_bytes().into(),
                secret: Secret::new("not-a-secret"),
                authorization: HeaderValue::from_static(""),
            };
            let credentials = Credentials::new("id", "not-a-secret");
            match read_response(&url, &response, &credentials, Origin::Given) {
                Ok(_) => panic!("accepted {status}"),
                Err(error) => {
                    assert_eq!(error.kind(), kind, "{status}");
                    assert_eq!(error.oauth_error(), code, "{status}");
                    assert_eq!(error.http_status(), Some(status), "{status}");
                }
            }
        }
    }
}
