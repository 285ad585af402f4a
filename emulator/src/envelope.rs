//! The API's error envelope, and the emulator's error enums: one table.

use http::StatusCode;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use serde_json::json;

use crate::answer::Answer;

/// An API failure. Layer documents the envelope but no list of `error_enum`s;
/// these are the emulator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Unauthenticated(&'static str),
    Forbidden(&'static str),
    InvalidBusinessId,
    BusinessNotFound,
    InvalidBody(&'static str),
    InvalidSessionDuration,
    BodyTooLarge,
    RateLimited,
    NotFound,
    MethodNotAllowed(&'static str),
}

impl Problem {
    /// Status, type, error enum and description.
    const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::Unauthenticated(why) => (
                StatusCode::UNAUTHORIZED,
                "Authentication",
                "UNAUTHENTICATED",
                why,
            ),
            Self::Forbidden(why) => (StatusCode::FORBIDDEN, "Authorization", "FORBIDDEN", why),
            Self::InvalidBusinessId => (
                StatusCode::BAD_REQUEST,
                "Validation",
                "INVALID_BUSINESS_ID",
                "The business id is not a UUID.",
            ),
            Self::BusinessNotFound => (
                StatusCode::NOT_FOUND,
                "NotFound",
                "BUSINESS_NOT_FOUND",
                "No such business, or not one of this client's.",
            ),
            Self::InvalidBody(why) => (
                StatusCode::BAD_REQUEST,
                "Validation",
                "INVALID_REQUEST_BODY",
                why,
            ),
            Self::InvalidSessionDuration => (
                StatusCode::BAD_REQUEST,
                "Validation",
                "INVALID_SESSION_DURATION",
                "session_duration must be whole seconds from 1 to 86400.",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "Validation",
                "REQUEST_TOO_LARGE",
                "The request body is too large.",
            ),
            Self::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "RateLimit",
                "RATE_LIMIT_EXCEEDED",
                "Too many requests; wait as long as Retry-After says.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "NotFound",
                "NOT_FOUND",
                "No such resource.",
            ),
            Self::MethodNotAllowed(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Validation",
                "METHOD_NOT_ALLOWED",
                "This resource does not take this method.",
            ),
        }
    }

    pub(crate) fn answer(self) -> Answer {
        let (status, kind, error_enum, description) = self.parts();
        let body = json!({"errors": [{
            "type": kind,
            "description": description,
            "error_enum": error_enum,
            "meta": {},
        }]});
        let answer = Answer::json(status, &body);
        match self {
            Self::Unauthenticated(_) => answer.with(WWW_AUTHENTICATE, "Bearer"),
            Self::MethodNotAllowed(allowed) => answer.with(ALLOW, allowed),
            _ => answer,
        }
    }
}
