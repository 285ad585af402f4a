//! Common part of all API endpoints: bearer token, rate limit, method.

use http::header::{AUTHORIZATION, HeaderName, RETRY_AFTER};
use http::{HeaderMap, Method};

use crate::endpoint::Endpoint;
use crate::resource::CATEGORIZE;
use crate::response::api_error::ApiError;
use crate::response::buffered::BufferedResponse;
use crate::routes::request::{LogNotes, ReceivedRequest};
use crate::routes::{business, business_token, whoami};
use crate::state::rate_limiter::Decision;
use crate::state::shared::State;
use crate::state::tokens::{Claims, Refusal};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(crate) fn respond(
    state: &State,
    request: &ReceivedRequest<'_>,
    notes: &mut LogNotes,
) -> BufferedResponse {
    let claims = match authenticate(state, request.headers) {
        Ok(claims) => claims,
        Err(error) => return error.into_response(),
    };
    notes.client_id = Some(claims.client_id.clone());
    let now = state.clock.now();
    let decision = state.rate_limiter.take(&claims.client_id, now);
    if let Some(decision) = decision
        && !decision.allowed
    {
        state.traffic.rate_limited();
        // Rounded up to whole seconds, so that the bucket is refilled by then.
        let wait = (decision.reset * 1_000 - now + 999)
            .div_euclid(1_000)
            .max(1);
        return with_rate_headers(ApiError::RateLimited.into_response(), decision)
            .with(RETRY_AFTER, &wait.to_string());
    }
    match route(state, request, &claims, notes) {
        Ok(response) => match decision {
            Some(decision) => with_rate_headers(response, decision),
            None => response,
        },
        Err(error) => error.into_response(),
    }
}

fn route(
    state: &State,
    request: &ReceivedRequest<'_>,
    claims: &Claims,
    notes: &mut LogNotes,
) -> Result<BufferedResponse, ApiError> {
    match request.target.endpoint {
        Endpoint::Whoami => {
            require_method(request, &Method::GET, "GET")?;
            whoami::respond(claims)
        }
        Endpoint::AuthToken => {
            require_method(request, &Method::POST, "POST")?;
            business_token::respond(state, request, claims, notes)
        }
        Endpoint::Business | Endpoint::BusinessData => {
            match request.target.resource {
                Some(resource) if resource.name == CATEGORIZE => {
                    require_method(request, &Method::PUT, "PUT")?;
                }
                _ => require_method(request, &Method::GET, "GET")?,
            }
            business::respond(state, request, claims)
        }
        Endpoint::Token | Endpoint::Preflight | Endpoint::Unknown | Endpoint::Proxy => {
            Err(ApiError::NotFound)
        }
    }
}

fn require_method(
    request: &ReceivedRequest<'_>,
    method: &Method,
    name: &'static str,
) -> Result<(), ApiError> {
    if request.method == method {
        Ok(())
    } else {
        Err(ApiError::MethodNotAllowed(name))
    }
}

fn with_rate_headers(response: BufferedResponse, decision: Decision) -> BufferedResponse {
    response
        .with(LIMIT, &decision.limit.to_string())
        .with(REMAINING, &decision.remaining.to_string())
        .with(RESET, &decision.reset.to_string())
}

/// The claims of the bearer token, if it is valid.
pub(crate) fn authenticate(state: &State, headers: &HeaderMap) -> Result<Claims, ApiError> {
    const MISSING: ApiError = ApiError::Unauthenticated("A bearer token is required.");
    let value = headers
        .get(AUTHORIZATION)
        .ok_or(MISSING)?
        .to_str()
        .map_err(|_| MISSING)?;
    let (scheme, token) = value.split_once(' ').ok_or(MISSING)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(MISSING);
    }
    state
        .tokens
        .check(token.trim(), state.clock.now())
        .map_err(|refusal| {
            ApiError::Unauthenticated(match refusal {
                Refusal::Malformed => "The token was not issued by this server.",
                Refusal::Expired => "The token has expired.",
                Refusal::Revoked => "The token has been revoked.",
            })
        })
}
