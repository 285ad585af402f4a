//! The command `business-token`.

use serde_json::json;

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
    let business = client.business_id(&args.business_id)?;
    let token = block_on(async {
        Ok(client
            .mint_business_token(&business, args.session_duration)
            .await?)
    })?;
    output.result(
        &json!({
            "access_token": token.secret(),
            "token_type": "Bearer",
            "expires_in": token.remaining().as_secs(),
            "expires_at": rfc3339(token.expires_at()),
            "business_id": business.as_str(),
        }),
        || token.secret().to_owned(),
    )
}
