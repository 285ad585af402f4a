//! `GET /v1/businesses/{id}` and the resources below it.

use http::StatusCode;
use serde_json::Value;

use crate::data::book::Book;
use crate::data::request::DataRequest;
use crate::data::{bodies, setup, transactions};
use crate::ids::parse_uuid;
use crate::resource::{CATEGORIZE, Resource};
use crate::response::api_error::ApiError;
use crate::response::buffered::BufferedResponse;
use crate::routes::request::ReceivedRequest;
use crate::state::shared::State;
use crate::state::tokens::Claims;

pub(crate) fn respond(
    state: &State,
    request: &ReceivedRequest<'_>,
    claims: &Claims,
) -> Result<BufferedResponse, ApiError> {
    let id = request.target.business.unwrap_or_default();
    let business = parse_uuid(id).ok_or(ApiError::InvalidBusinessId)?;
    if claims.business_id.is_some_and(|own| own != business) {
        return Err(ApiError::WRONG_TOKEN);
    }
    if !state.config.knows_business(&business) {
        return Err(ApiError::BusinessNotFound);
    }
    let (mut book, mut chosen) = state.book(business);
    let body = match request.target.resource {
        None => setup::business(&book),
        Some(resource) => {
            if resource.name == CATEGORIZE {
                categorize(state, request, resource, &book)?;
                (book, chosen) = state.book(business);
            }
            let data = DataRequest::new(resource, &book, request.query);
            bodies::body(&data, &chosen).ok_or(ApiError::NotFound)?
        }
    };
    Ok(BufferedResponse::json(StatusCode::OK, &body))
}

/// Sets the category of a bank transaction.
fn categorize(
    state: &State,
    request: &ReceivedRequest<'_>,
    resource: Resource<'_>,
    book: &Book,
) -> Result<(), ApiError> {
    let id = resource.id.and_then(parse_uuid).ok_or(ApiError::NotFound)?;
    if book.has_demo_data && !book.entries.iter().any(|entry| entry.id == id) {
        return Err(ApiError::NotFound);
    }
    let body = request.body.as_ref().ok_or(ApiError::BodyTooLarge)?;
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| ApiError::InvalidBody("The body must be a JSON object."))?;
    let lines =
        transactions::parse_categorization(book, id, &body).map_err(ApiError::InvalidBody)?;
    state.categorize(id, lines);
    Ok(())
}
