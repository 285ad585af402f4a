//! The command `token`.

use layerfi_auth::AccessToken;
use serde_json::json;

use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::time_format::rfc3339;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let token = fetch_token(settings)?;
    output.result(
        &json!({
            "access_token": token.secret(),
            "token_type": "Bearer",
            "expires_in": token.remaining().as_secs(),
            "expires_at": rfc3339(token.expires_at()),
        }),
        || token.secret().to_owned(),
    )
}

/// Gets an access token with the given settings.
pub(super) fn fetch_token(settings: &SettingsArgs) -> Result<AccessToken, Failure> {
    let client = settings::client(settings)?;
    block_on(async { Ok(client.token().await?) })
}
