//! What all API calls share: the bearer token, the rate limit, the methods.

use http::header::{AUTHORIZATION, HeaderName, RETRY_AFTER};
use http::{HeaderMap, Method};

use super::{Notes, Received, auth_token, business, whoami};
use crate::answer::Answer;
use crate::endpoint::Endpoint;
use crate::envelope::Problem;
use crate::rate::Standing;
use crate::state::State;
use crate::tokens::{Claims, Refusal};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(super) fn answer(state: &State, request: &Received<'_>, notes: &mut Notes) -> Answer {
    let claims = match bearer(state, request.headers) {
        Ok(claims) => claims,
        Err(problem) => return problem.answer(),
    };
    notes.client_id = Some(claims.client_id.clone());
    let now = state.clock.now();
    let standing = state.rate.take(&claims.client_id, now);
    if let Some(standing) = standing
        && !standing.allowed
    {
        state.traffic.rate_limited();
        // Whole seconds, rounded up: a wait of less would meet the empty bucket.
        let wait = (standing.reset * 1_000 - now + 999)
            .div_euclid(1_000)
            .max(1);
        return with_standing(Problem::RateLimited.answer(), standing)
            .with(RETRY_AFTER, &wait.to_string());
    }
    match route(state, request, &claims, notes) {
        Ok(answer) => match standing {
            Some(standing) => with_standing(answer, standing),
            None => answer,
        },
        Err(problem) => problem.answer(),
    }
}

fn route(
    state: &State,
    request: &Received<'_>,
    claims: &Claims,
    notes: &mut Notes,
) -> Result<Answer, Problem> {
    match request.target.endpoint {
        Endpoint::Whoami => {
            only(request, &Method::GET, "GET")?;
            whoami::answer(claims)
        }
        Endpoint::AuthToken => {
            only(request, &Method::POST, "POST")?;
            auth_token::answer(state, request, claims, notes)
        }
        Endpoint::Business | Endpoint::BusinessData => {
            only(request, &Method::GET, "GET")?;
            business::answer(state, request, claims)
        }
        Endpoint::Token | Endpoint::Preflight | Endpoint::Unknown => Err(Problem::NotFound),
    }
}

fn only(request: &Received<'_>, method: &Method, name: &'static str) -> Result<(), Problem> {
    if request.method == method {
        Ok(())
    } else {
        Err(Problem::MethodNotAllowed(name))
    }
}

fn with_standing(answer: Answer, standing: Standing) -> Answer {
    answer
        .with(LIMIT, &standing.limit.to_string())
        .with(REMAINING, &standing.remaining.to_string())
        .with(RESET, &standing.reset.to_string())
}

/// The claims of the bearer token, if it is good now.
pub(super) fn bearer(state: &State, headers: &HeaderMap) -> Result<Claims, Problem> {
    const MISSING: Problem = Problem::Unauthenticated("A bearer token is required.");
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
            Problem::Unauthenticated(match refusal {
                Refusal::Malformed => "The token is not one of this server's.",
                Refusal::Expired => "The token has expired.",
                Refusal::Revoked => "The token has been revoked.",
            })
        })
}
