//! `GET /whoami`.

use http::StatusCode;
use serde_json::json;

use crate::response::api_error::ApiError;
use crate::response::buffered::BufferedResponse;
use crate::state::tokens::Claims;

/// The name in Layer's example.
const CLIENT_NAME: &str = "Layer Example";
/// The id in Layer's example. It is Layer's own id of the client, not the OAuth
/// client id.
const CLIENT_ID: &str = "018f1657-dc66-7482-917b-c0c0e532f52b";

pub(crate) fn respond(claims: &Claims) -> Result<BufferedResponse, ApiError> {
    if claims.business_id.is_some() {
        return Err(ApiError::WRONG_TOKEN);
    }
    let body = json!({"data": {
        "type": "whoami",
        "clientName": CLIENT_NAME,
        "clientId": CLIENT_ID,
    }});
    Ok(BufferedResponse::json(StatusCode::OK, &body))
}
