//! The endpoints, by themselves: a request in, an answer out, no wire.

mod api;
mod auth_token;
mod business;
mod token;
mod whoami;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::answer::Answer;
use crate::cors;
use crate::endpoint::{Endpoint, Target};
use crate::state::State;

pub(crate) use business::is_business_data;

/// A request, read to its end.
pub(crate) struct Received<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Option<Bytes>,
}

/// What a route found out that the log wants to know.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) client_id: Option<String>,
    pub(crate) session_duration: Option<u64>,
}

pub(crate) fn answer(state: &State, request: &Received<'_>, notes: &mut Notes) -> Answer {
    match request.target.endpoint {
        Endpoint::Token => token::answer(state, request, notes),
        Endpoint::Preflight => cors::preflight(),
        Endpoint::Whoami
        | Endpoint::AuthToken
        | Endpoint::Business
        | Endpoint::BusinessData
        | Endpoint::Unknown => api::answer(state, request, notes),
    }
}

/// A working token for a scripted body, of the kind that the endpoint gives,
/// and for the client that asked, so far as that can be told.
pub(crate) fn token_for_body(state: &State, request: &Received<'_>) -> String {
    let client = token::claimed_client(state, request.headers)
        .or_else(|| {
            api::bearer(state, request.headers)
                .ok()
                .map(|claims| claims.client_id)
        })
        .or_else(|| state.clients.ids().into_iter().next())
        .unwrap_or_default();
    let settings = state.settings();
    let business = match request.target.endpoint {
        Endpoint::AuthToken => request.target.business.and_then(crate::random::parse_uuid),
        _ => None,
    };
    let seconds = match business {
        Some(_) => settings
            .business_token_lifetime
            .unwrap_or(auth_token::DEFAULT_SECONDS),
        None => settings.access_token_lifetime,
    };
    state.issue(&client, business, seconds).unwrap_or_default()
}
