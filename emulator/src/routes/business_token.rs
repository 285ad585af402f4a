//! `POST /v1/businesses/{id}/auth-token`: issues a business token.

use serde_json::{Value, json};

use crate::ids::parse_uuid;
use crate::response::api_error::ApiError;
use crate::response::buffered::BufferedResponse;
use crate::routes::request::{LogNotes, ReceivedRequest};
use crate::state::shared::State;
use crate::state::tokens::Claims;

/// Session duration of a request without `session_duration`.
pub(crate) const DEFAULT_SECONDS: u64 = 3_600;
const MAX_SECONDS: u64 = 86_400;

pub(crate) fn respond(
    state: &State,
    request: &ReceivedRequest<'_>,
    claims: &Claims,
    notes: &mut LogNotes,
) -> Result<BufferedResponse, ApiError> {
    if claims.business_id.is_some() {
        return Err(ApiError::Forbidden(
            "A business token cannot issue another token.",
        ));
    }
    let id = request.target.business.unwrap_or_default();
    let business = parse_uuid(id).ok_or(ApiError::InvalidBusinessId)?;
    let seconds = session_duration(request)?;
    if !state.config.knows_business(&business) {
        return Err(ApiError::BusinessNotFound);
    }
    notes.session_duration = Some(seconds);
    let settings = state.settings();
    let lifetime = settings.business_token_lifetime.unwrap_or(seconds);
    let token = state
        .issue(&claims.client_id, Some(business), lifetime)
        .ok_or(ApiError::InvalidBody("The token could not be signed."))?;
    let expires_in = settings
        .business_expires_in
        .unwrap_or_else(|| json!(lifetime));
    // The only success response of the API that is not inside `data`.
    Ok(BufferedResponse::token(&token, &expires_in))
}

fn session_duration(request: &ReceivedRequest<'_>) -> Result<u64, ApiError> {
    let body = request.body.as_ref().ok_or(ApiError::BodyTooLarge)?;
    if body.is_empty() {
        return Ok(DEFAULT_SECONDS);
    }
    if !request.has_content_type("application/json") {
        return Err(ApiError::InvalidBody(
            "The content type must be application/json.",
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => whole_seconds(fields.get("session_duration")),
        _ => Err(ApiError::InvalidBody("The body must be a JSON object.")),
    }
}

/// Parses an integer, or a string of digits as in Layer's example.
fn whole_seconds(value: Option<&Value>) -> Result<u64, ApiError> {
    let seconds = match value {
        None => Some(DEFAULT_SECONDS),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        Some(_) => None,
    };
    seconds
        .filter(|seconds| (1..=MAX_SECONDS).contains(seconds))
        .ok_or(ApiError::InvalidSessionDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_duration_is_1_to_86400_whole_seconds() {
        for (value, seconds) in [
            (json!(1), 1),
            (json!(86_400), 86_400),
            (json!("3600"), 3_600),
            (json!("86400"), 86_400),
        ] {
            assert_eq!(
                whole_seconds(Some(&value)),
                Ok(seconds),
                "{value} must be accepted"
            );
        }
        assert_eq!(whole_seconds(None), Ok(3_600), "wrong default");
        for value in [
            json!(0),
            json!(-1),
            json!(86_401),
            json!(1.5),
            json!("0"),
            json!("1.5"),
            json!("+5"),
            json!(" 5"),
            json!(""),
            json!(null),
            json!(true),
            json!([3600]),
            json!("99999999999999999999"),
        ] {
            assert_eq!(
                whole_seconds(Some(&value)),
                Err(ApiError::InvalidSessionDuration),
                "{value} must be refused"
            );
        }
    }
}
