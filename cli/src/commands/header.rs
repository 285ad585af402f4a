//! `layerfi-auth header`.

use serde_json::json;

use super::token::acquire;
use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::when::rfc3339;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let token = acquire(settings)?;
    let value = format!("Bearer {}", token.secret());
    output.answer(
        &json!({
            "authorization": value,
            "expires_in": token.remaining().as_secs(),
            "expires_at": rfc3339(token.expires_at()),
        }),
        || format!("Authorization: {value}"),
    )
}
