//! The command `whoami`.

use serde_json::json;

use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::terminal::sanitize;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let client = settings::client(settings)?;
    let me = block_on(async { Ok(client.whoami().await?) })?;
    let environment = client.environment().as_str();
    output.result(
        &json!({
            "client_name": me.client_name,
            "client_id": me.client_id,
            "environment": environment,
            "api_url": client.api_url(),
        }),
        || {
            format!(
                "client name  {}\nclient id    {}\nenvironment  {environment}\nAPI          {}",
                sanitize(&me.client_name),
                sanitize(&me.client_id),
                client.api_url(),
            )
        },
    )
}
