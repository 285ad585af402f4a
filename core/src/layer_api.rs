//! The two calls of the Layer API that this library makes for itself, and the
//! envelope in which the API answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::auth_token::{self, AuthToken};
use crate::business_id::BusinessId;
use crate::environment::{self, Endpoints};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Answer, BODY_CAP, Http, Request};
use crate::token::{AccessToken, SessionDuration, WhoAmI};

/// An answer's value, with the headers that pacing reads.
pub(crate) struct ApiAnswer<T> {
    pub(crate) value: T,
    pub(crate) headers: HeaderMap,
}

/// `GET /whoami` (Layer's page "Authentication"), once.
pub(crate) async fn whoami(
    http: &Http,
    endpoints: &Endpoints,
    token: &AccessToken,
    deadline: Instant,
) -> Result<WhoAmI> {
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

    let request = request(endpoints, Method::GET, "/whoami", token, Bytes::new())?;
    let answer = http.send(&request, deadline).await?;
    let what = format!("GET {}/whoami", environment::host(&request.url));
    check_status(&what, &answer)?;
    let envelope: Envelope = serde_json::from_slice(&answer.body).map_err(|_| {
        Error::protocol(
            format!("{what}: the answer is not a whoami answer"),
            answer.details(),
        )
    })?;
    Ok(WhoAmI {
        client_name: envelope.data.client_name,
        client_id: envelope.data.client_id,
    })
}

/// `POST /v1/businesses/{id}/auth-token` (Layer's page "Create business auth
/// token"), once.
pub(crate) async fn mint_business_token(
    http: &Http,
    endpoints: &Endpoints,
    token: &AccessToken,
    business: &BusinessId,
    session_duration: SessionDuration,
    deadline: Instant,
) -> Result<ApiAnswer<AuthToken>> {
    let path = format!("/v1/businesses/{}/auth-token", business.path_segment());
    let body = format!(r#"{{"session_duration":{}}}"#, session_duration.as_secs());
    let request = request(endpoints, Method::POST, &path, token, Bytes::from(body))?;
    let answer = http.send(&request, deadline).await?;
    let what = format!(
        "minting a token for business {business} at {}",
        host(&request.url)
    );
    check_status(&what, &answer)?;
    let value = auth_token::parse(&what, &answer.body, answer.details())?;
    Ok(ApiAnswer {
        value,
        headers: answer.headers,
    })
}

fn host(url: &Url) -> String {
    environment::host(url)
}

fn request(
    endpoints: &Endpoints,
    method: Method,
    path: &str,
    token: &AccessToken,
    body: Bytes,
) -> Result<Request> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, token.authorization().clone());
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if !body.is_empty() {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    Ok(Request {
        method,
        url: api_url(endpoints, path)?,
        headers,
        body,
        body_cap: BODY_CAP,
        secret: token.shared_secret(),
    })
}

/// The URL of a path of the API.
pub(crate) fn api_url(endpoints: &Endpoints, path: &str) -> Result<Url> {
    environment::parse_url(&format!("{}{path}", endpoints.api_url)).map_err(|why| {
        Error::invalid_argument(
            "path",
            format!("the path does not make a URL ({why})"),
            "give a path such as /v1/businesses",
        )
    })
}

/// The envelope of a failure (Layer's page "JSON data").
#[derive(Deserialize)]
struct ErrorEnvelope {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    error_enum: Option<String>,
}

/// Turns every status but 200 and 201 into an error.
pub(crate) fn check_status(what: &str, answer: &Answer) -> Result<()> {
    let status = answer.status;
    let mut details = answer.details();
    if matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Ok(());
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Error::with_details(
            ErrorKind::RateLimited,
            format!("{what}: too many requests (HTTP 429)"),
            "wait as long as retry_after says; Layer grants each client so many requests a second",
            details,
        ));
    }
    if !status.is_client_error() && !status.is_server_error() {
        let why = if status.is_redirection() {
            "redirected, which is never followed with a credential"
        } else {
            "answered without what was asked for"
        };
        return Err(Error::protocol(
            format!("{what}: {why} (HTTP {})", status.as_u16()),
            details,
        ));
    }
    details.error_enum = serde_json::from_slice::<ErrorEnvelope>(&answer.body)
        .ok()
        .and_then(|envelope| {
            envelope
                .errors
                .into_iter()
                .find_map(|entry| entry.error_enum)
        })
        .and_then(|code| answer.showable(&code));
    let code = details.error_enum.as_deref().unwrap_or("no error_enum");
    let message = format!("{what}: {code} (HTTP {})", status.as_u16());
    Err(Error::with_details(
        ErrorKind::Api,
        message,
        remedy(status),
        details,
    ))
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => {
            "Layer refuses the access token, a fresh one too: check that API URL and scope are \
             of one environment"
        }
        403 => "these credentials may not do this: ask Layer for access",
        404 => "check that the business exists and belongs to this client and environment",
        500.. => "the server is in trouble; a retry may help",
        _ => "retrying will not help",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use zeroize::Zeroizing;

    #[test]
    fn failures_by_status_and_envelope() {
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
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Zeroizing::new(body.into()),
                secret: Secret::new(""),
                authorization: None,
            };
            let error = check_status("x", &answer).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert_eq!(error.error_enum(), error_enum, "{status} {body}");
        }
    }
}
