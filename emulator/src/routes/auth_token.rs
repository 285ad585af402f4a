//! `POST /v1/businesses/{id}/auth-token`: a token for one business.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use super::{Notes, Received};
use crate::answer::Answer;
use crate::envelope::Problem;
use crate::random::parse_uuid;
use crate::state::State;
use crate::tokens::Claims;

/// The session duration of a request that names none.
pub(super) const DEFAULT_SECONDS: u64 = 3_600;
const MAXIMUM_SECONDS: u64 = 86_400;

pub(super) fn answer(
    state: &State,
    request: &Received<'_>,
    claims: &Claims,
    notes: &mut Notes,
) -> Result<Answer, Problem> {
    if claims.business_id.is_some() {
        return Err(Problem::Forbidden("A business token cannot mint another."));
    }
    let id = request.target.business.unwrap_or_default();
    let business = parse_uuid(id).ok_or(Problem::InvalidBusinessId)?;
    let seconds = session_duration(request)?;
    if !state.owns(&business) {
        return Err(Problem::BusinessNotFound);
    }
    notes.session_duration = Some(seconds);
    let settings = state.settings();
    let lifetime = settings.business_token_lifetime.unwrap_or(seconds);
    let token = state
        .issue(&claims.client_id, Some(business), lifetime)
        .ok_or(Problem::InvalidBody("No token could be signed."))?;
    let expires_in = settings
        .business_expires_in
        .unwrap_or_else(|| json!(lifetime));
    // Bare: the one answer of the API without the envelope's `data`.
    let body = json!({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"});
    Ok(Answer::json(StatusCode::OK, &body).with(CACHE_CONTROL, "no-store"))
}

fn session_duration(request: &Received<'_>) -> Result<u64, Problem> {
    let body = request.body.as_ref().ok_or(Problem::BodyTooLarge)?;
    if body.is_empty() {
        return Ok(DEFAULT_SECONDS);
    }
    let kind = request
        .headers
        .get(CONTENT_TYPE)
        .map(|kind| kind.as_bytes())
        .unwrap_or_default();
    let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default();
    if !essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
    {
        return Err(Problem::InvalidBody(
            "The content type must be application/json.",
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => whole_seconds(fields.get("session_duration")),
        _ => Err(Problem::InvalidBody("The body must be a JSON object.")),
    }
}

/// An integer, or one in a string, as Layer's own example sends it.
fn whole_seconds(value: Option<&Value>) -> Result<u64, Problem> {
    let seconds = match value {
        None => Some(DEFAULT_SECONDS),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        Some(_) => None,
    };
    seconds
        .filter(|seconds| (1..=MAXIMUM_SECONDS).contains(seconds))
        .ok_or(Problem::InvalidSessionDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_within_a_day() {
        for (value, seconds) in [
            (json!(1), 1),
            (json!(86_400), 86_400),
            (json!("3600"), 3_600),
            (json!("86400"), 86_400),
        ] {
            assert_eq!(whole_seconds(Some(&value)), Ok(seconds), "{value}");
        }
        assert_eq!(whole_seconds(None), Ok(3_600));
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
                Err(Problem::InvalidSessionDuration),
                "{value}"
            );
        }
    }
}
