//! Calls the endpoint of a request.

use crate::endpoint::Endpoint;
use crate::ids::parse_uuid;
use crate::response::buffered::BufferedResponse;
use crate::response::cors;
use crate::routes::request::{LogNotes, ReceivedRequest};
use crate::routes::{access_token, api, business_token};
use crate::state::shared::State;

pub(crate) fn respond(
    state: &State,
    request: &ReceivedRequest<'_>,
    notes: &mut LogNotes,
) -> BufferedResponse {
    match request.target.endpoint {
        Endpoint::Token => access_token::respond(state, request, notes),
        Endpoint::Preflight => cors::preflight(),
        Endpoint::Whoami
        | Endpoint::AuthToken
        | Endpoint::Business
        | Endpoint::BusinessData
        | Endpoint::Unknown
        | Endpoint::Proxy => api::respond(state, request, notes),
    }
}

/// A valid token for a scripted body: a business token on the business token
/// endpoint, an access token elsewhere. Its client is the one that sent the
/// request, or the first one if the request has no valid credentials.
pub(crate) fn token_for_body(state: &State, request: &ReceivedRequest<'_>) -> String {
    let client = access_token::claimed_client(state, request.headers)
        .or_else(|| {
            api::authenticate(state, request.headers)
                .ok()
                .map(|claims| claims.client_id)
        })
        .or_else(|| state.clients.ids().into_iter().next())
        .unwrap_or_default();
    let settings = state.settings();
    let business = match request.target.endpoint {
        Endpoint::AuthToken => request.target.business.and_then(parse_uuid),
        _ => None,
    };
    let seconds = match business {
        Some(_) => settings
            .business_token_lifetime
            .unwrap_or(business_token::DEFAULT_SECONDS),
        None => settings.access_token_lifetime,
    };
    state.issue(&client, business, seconds).unwrap_or_default()
}
