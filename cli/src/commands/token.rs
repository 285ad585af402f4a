//! `layerfi-auth token`.

use layerfi_auth::AccessToken;
use serde_json::json;

use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::when::rfc3339;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let token = acquire(settings)?;
    output.answer(
        &json!({
            "access_token": token.secret(),
            "token_type": "Bearer",
            "expires_in": token.remaining().as_secs(),
            "expires_at": rfc3339(token.expires_at()),
        }),
        || token.secret().to_owned(),
    )
}

pub(super) fn acquire(settings: &SettingsArgs) -> Result<AccessToken, Failure> {
    let client = settings::client(settings)?;
    block_on(async { Ok(client.token().await?) })
}
