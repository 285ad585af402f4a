//! `POST /oauth2/token`: client credentials in, an access token out, errors in
//! the shape of an AWS Cognito token endpoint.

use std::collections::HashMap;

use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::{Notes, Received};
use crate::answer::Answer;
use crate::clients::basic;
use crate::state::State;

/// The errors of RFC 6749 section 5.2.
#[derive(Clone, Copy)]
enum OAuthError {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
}

impl OAuthError {
    fn answer(self, state: &State) -> Answer {
        let mut status = StatusCode::BAD_REQUEST;
        let body = match self {
            Self::InvalidRequest(why) => {
                json!({"error": "invalid_request", "error_description": why})
            }
            Self::InvalidClient => {
                let wanted = StatusCode::from_u16(state.fixed.invalid_client_status);
                status = wanted.unwrap_or(status);
                json!({"error": "invalid_client"})
            }
            Self::InvalidScope => json!({"error": "invalid_scope"}),
            Self::UnauthorizedClient => json!({"error": "unauthorized_client"}),
            Self::UnsupportedGrantType => json!({"error": "unsupported_grant_type"}),
        };
        let answer = Answer::json(status, &body).with(CACHE_CONTROL, "no-store");
        if status == StatusCode::UNAUTHORIZED {
            return answer.with(WWW_AUTHENTICATE, "Basic realm=\"layerfi-auth-emulator\"");
        }
        answer
    }
}

pub(super) fn answer(state: &State, request: &Received<'_>, notes: &mut Notes) -> Answer {
    if request.method != Method::POST {
        return Answer::empty(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, "POST");
    }
    match grant(state, request, notes) {
        Ok(answer) => answer.with(CACHE_CONTROL, "no-store"),
        Err(error) => error.answer(state),
    }
}

fn grant(state: &State, request: &Received<'_>, notes: &mut Notes) -> Result<Answer, OAuthError> {
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
            "the secret goes into the Basic header only",
        ));
    }
    match field("client_id") {
        Some(claimed) if claimed == id => {}
        Some(_) => return Err(OAuthError::InvalidClient),
        None => return Err(OAuthError::InvalidRequest("client_id is missing")),
    }
    match field("grant_type") {
        Some("client_credentials") if client.may_ask => {}
        Some("client_credentials" | "authorization_code" | "refresh_token") => {
            return Err(OAuthError::UnauthorizedClient);
        }
        Some(_) => return Err(OAuthError::UnsupportedGrantType),
        None => return Err(OAuthError::InvalidRequest("grant_type is missing")),
    }
    match field("scope") {
        Some(scope) if scope == state.fixed.scope => {}
        Some(_) => return Err(OAuthError::InvalidScope),
        None => return Err(OAuthError::InvalidRequest("scope is missing")),
    }
    let settings = state.settings();
    let lifetime = settings.access_token_lifetime;
    let token = state
        .issue(&id, None, lifetime)
        .ok_or(OAuthError::InvalidRequest("no token could be signed"))?;
    let expires_in = settings
        .access_expires_in
        .unwrap_or_else(|| json!(lifetime));
    let body = json!({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"});
    Ok(Answer::json(StatusCode::OK, &body))
}

/// The form's fields. Twice the same is an error, as RFC 6749 section 3.2 says.
fn form(request: &Received<'_>) -> Result<HashMap<String, String>, OAuthError> {
    let kind = request
        .headers
        .get(CONTENT_TYPE)
        .map(|kind| kind.as_bytes())
        .unwrap_or_default();
    let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default();
    if !essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    {
        return Err(OAuthError::InvalidRequest("the body is no form"));
    }
    let Some(body) = &request.body else {
        return Err(OAuthError::InvalidRequest("the body is too large"));
    };
    let mut form = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(OAuthError::InvalidRequest("a field is given twice"));
        }
    }
    Ok(form)
}

fn credentials(state: &State, headers: &HeaderMap) -> Option<(String, String)> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    basic(authorization, state.fixed.basic_decoding)
}

/// The client that the Basic header names, if it is one of ours; its secret is
/// not looked at.
pub(super) fn claimed_client(state: &State, headers: &HeaderMap) -> Option<String> {
    let (id, _secret) = credentials(state, headers)?;
    state.clients.ids().contains(&id).then_some(id)
}
