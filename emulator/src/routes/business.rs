//! `GET /v1/businesses/{id}` and the resources below it.

use http::StatusCode;

use crate::ids::parse_uuid;
use crate::response::api_error::ApiError;
use crate::response::buffered::BufferedResponse;
use crate::routes::business_data;
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
    let body = match request.target.resource {
        "" => business_data::profile(&business),
        resource => business_data::resource(resource, &business).ok_or(ApiError::NotFound)?,
    };
    Ok(BufferedResponse::json(StatusCode::OK, &body))
}
