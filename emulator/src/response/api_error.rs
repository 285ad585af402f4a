//! Error responses of the API: status, `error_enum` and description.

use http::StatusCode;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use serde_json::json;

use crate::response::buffered::BufferedResponse;

/// An error of the API. Layer documents the envelope but no list of
/// `error_enum` values, so these values are the emulator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
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

impl ApiError {
    /// A business token used for another purpose than reading its business.
    pub(crate) const WRONG_TOKEN: Self =
        Self::Forbidden("A business token can only read its own business.");

    /// Status, type, error enum and description.
    const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::Unauthenticated(description) => (
                StatusCode::UNAUTHORIZED,
                "Authentication",
                "UNAUTHENTICATED",
                description,
            ),
            Self::Forbidden(description) => (
                StatusCode::FORBIDDEN,
                "Authorization",
                "FORBIDDEN",
                description,
            ),
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
                "The business does not exist or does not belong to this client.",
            ),
            Self::InvalidBody(description) => (
                StatusCode::BAD_REQUEST,
                "Validation",
                "INVALID_REQUEST_BODY",
                description,
            ),
            Self::InvalidSessionDuration => (
                StatusCode::BAD_REQUEST,
                "Validation",
                "INVALID_SESSION_DURATION",
                "session_duration must be 1 to 86400 whole seconds.",
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
                "Too many requests; retry after the seconds in Retry-After.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "NotFound",
                "NOT_FOUND",
                "The resource does not exist.",
            ),
            Self::MethodNotAllowed(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Validation",
                "METHOD_NOT_ALLOWED",
                "The resource does not support this method.",
            ),
        }
    }

    pub(crate) fn into_response(self) -> BufferedResponse {
        let (status, kind, error_enum, description) = self.parts();
        let body = json!({"errors": [{
            "type": kind,
            "description": description,
            "error_enum": error_enum,
            "meta": {},
        }]});
        let response = BufferedResponse::json(status, &body);
        match self {
            Self::Unauthenticated(_) => response.with(WWW_AUTHENTICATE, "Bearer"),
            Self::MethodNotAllowed(allowed) => response.with(ALLOW, allowed),
            _ => response,
        }
    }
}
