//! `POST /oauth2/token`: issues an access token for client credentials. Errors
//! have the format of an AWS Cognito token endpoint.

use std::collections::HashMap;

use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::response::buffered::BufferedResponse;
use crate::routes::request::{LogNotes, ReceivedRequest};
use crate::state::basic_auth;
use crate::state::shared::State;

/// Errors of RFC 6749 section 5.2.
#[derive(Clone, Copy)]
enum OAuthError {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
}

impl OAuthError {
    fn into_response(self, state: &State) -> BufferedResponse {
        let mut status = StatusCode::BAD_REQUEST;
        let body = match self {
            Self::InvalidRequest(description) => {
                json!({"error": "invalid_request", "error_description": description})
            }
            Self::InvalidClient => {
                let configured = StatusCode::from_u16(state.config.invalid_client_status);
                status = configured.unwrap_or(status);
                json!({"error": "invalid_client"})
            }
            Self::InvalidScope => json!({"error": "invalid_scope"}),
            Self::UnauthorizedClient => json!({"error": "unauthorized_client"}),
            Self::UnsupportedGrantType => json!({"error": "unsupported_grant_type"}),
        };
        let response = BufferedResponse::json(status, &body).with(CACHE_CONTROL, "no-store");
        if status == StatusCode::UNAUTHORIZED {
            return response.with(WWW_AUTHENTICATE, "Basic realm=\"layerfi-auth-emulator\"");
        }
        response
    }
}

pub(crate) fn respond(
    state: &State,
    request: &ReceivedRequest<'_>,
    notes: &mut LogNotes,
) -> BufferedResponse {
    if request.method != Method::POST {
        return BufferedResponse::empty(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, "POST");
    }
    issue(state, request, notes).unwrap_or_else(|error| error.into_response(state))
}

fn issue(
    state: &State,
    request: &ReceivedRequest<'_>,
    notes: &mut LogNotes,
) -> Result<BufferedResponse, OAuthError> {
    let form = form(request)?;
    let field = |name: &str| form.get(name).map(String::as_str);
    let (id, secret) = credentials(state, request.headers).ok_or(OAuthError::InvalidClient)?;
    let client = state
        .clients
        .authenticate(&id, &secret)
        .ok_or(OAuthError::InvalidClient)?;
    notes.client_id = Some(id.clone());
    if field("client_secret").is_some() {
        return Err(OAuthError::InvalidRequest(
            "send the secret only in the Basic header",
        ));
    }
    match field("client_id") {
        Some(claimed) if claimed == id => {}
        Some(_) => return Err(OAuthError::InvalidClient),
        None => return Err(OAuthError::InvalidRequest("client_id is missing")),
    }
    match field("grant_type") {
        Some("client_credentials") if client.may_use_grant => {}
        Some("client_credentials" | "authorization_code" | "refresh_token") => {
            return Err(OAuthError::UnauthorizedClient);
        }
        Some(_) => return Err(OAuthError::UnsupportedGrantType),
        None => return Err(OAuthError::InvalidRequest("grant_type is missing")),
    }
    match field("scope") {
        Some(scope) if scope == state.config.scope => {}
        Some(_) => return Err(OAuthError::InvalidScope),
        None => return Err(OAuthError::InvalidRequest("scope is missing")),
    }
    let settings = state.settings();
    let lifetime = settings.access_token_lifetime;
    let token = state
        .issue(&id, None, lifetime)
        .ok_or(OAuthError::InvalidRequest("the token could not be signed"))?;
    let expires_in = settings
        .access_expires_in
        .unwrap_or_else(|| json!(lifetime));
    Ok(BufferedResponse::token(&token, &expires_in))
}

/// The fields of the form. RFC 6749 section 3.2 forbids repeated fields.
fn form(request: &ReceivedRequest<'_>) -> Result<HashMap<String, String>, OAuthError> {
    if !request.has_content_type("application/x-www-form-urlencoded") {
        return Err(OAuthError::InvalidRequest(
            "the content type must be application/x-www-form-urlencoded",
        ));
    }
    let Some(body) = &request.body else {
        return Err(OAuthError::InvalidRequest("the body is too large"));
    };
    let mut form = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(OAuthError::InvalidRequest("a field is repeated"));
        }
    }
    Ok(form)
}

fn credentials(state: &State, headers: &HeaderMap) -> Option<(String, String)> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    basic_auth::parse(authorization, state.config.basic_decoding)
}

/// The client id in the Basic header, if that client exists. Does not check the
/// secret.
pub(crate) fn claimed_client(state: &State, headers: &HeaderMap) -> Option<String> {
    let (id, _secret) = credentials(state, headers)?;
    state.clients.contains(&id).then_some(id)
}
