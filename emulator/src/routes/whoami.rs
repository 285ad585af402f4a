//! `GET /whoami`: whose token is this?

use http::StatusCode;
use serde_json::json;

use crate::answer::Answer;
use crate::envelope::Problem;
use crate::tokens::Claims;

/// The name that Layer's own example gives.
const CLIENT_NAME: &str = "Layer Example";
/// Layer's own example again: the `clientId` here is Layer's id of the client,
/// a UUID, and not the OAuth client id.
const CLIENT_ID: &str = "018f1657-dc66-7482-917b-c0c0e532f52b";

pub(super) fn answer(claims: &Claims) -> Result<Answer, Problem> {
    if claims.business_id.is_some() {
        return Err(Problem::Forbidden(
            "A business token is good for its business only.",
        ));
    }
    let body = json!({"data": {
        "type": "whoami",
        "clientName": CLIENT_NAME,
        "clientId": CLIENT_ID,
    }});
    Ok(Answer::json(StatusCode::OK, &body))
}
