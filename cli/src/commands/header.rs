//! The command `header`.

use serde_json::json;

use crate::args::SettingsArgs;
use crate::commands::token::fetch_token;
use crate::failure::Failure;
use crate::output::Output;
use crate::time_format::rfc3339;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let token = fetch_token(settings)?;
    let value = format!("Bearer {}", token.secret());
    output.result(
        &json!({
            "authorization": value,
            "expires_in": token.remaining().as_secs(),
            "expires_at": rfc3339(token.expires_at()),
        }),
        || format!("Authorization: {value}"),
    )
}
