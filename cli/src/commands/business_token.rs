//! The command `business-token`.

use layerfi_auth::BusinessToken;
use serde_json::{Value, json};

use crate::args::{BusinessTokenArgs, SettingsArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::time_format::rfc3339;

pub(super) fn run(
    settings: &SettingsArgs,
    args: &BusinessTokenArgs,
    output: &Output,
) -> Result<(), Failure> {
    let client = settings::client(settings)?;
    let business = client.business_id(args.business_id.as_deref().unwrap_or_default())?;
    let token = block_on(async {
        Ok(client
            .mint_business_token(&business, args.session_duration)
            .await?)
    })?;
    output.result(&to_json(&token), || token.secret().to_owned())
}

/// The JSON of a business token.
pub(super) fn to_json(token: &BusinessToken) -> Value {
    json!({
        "access_token": token.secret(),
        "token_type": "Bearer",
        "expires_in": token.remaining().as_secs(),
        "expires_at": rfc3339(token.expires_at()),
        "business_id": token.business_id().as_str(),
    })
}
