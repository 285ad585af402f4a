//! The command `doctor`: checks settings, network, TLS, clock and credentials,
//! and prints a remedy for each check that fails.

mod clock;
mod connection;
mod credentials;
mod deadline;
mod environment;
mod report;
mod shared_cache;

use layerfi_auth::{Client, diagnosis};

use crate::args::SettingsArgs;
use crate::commands::doctor::deadline::Deadline;
use crate::commands::doctor::report::Report;
use crate::failure::Failure;
use crate::net::endpoint::Endpoint;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::terminal::sanitize;

pub(super) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let mut report = Report::new(output);
    match settings::client(settings) {
        Ok(client) => {
            let detail = format!(
                "environment {}, API {}",
                client.environment(),
                sanitize(client.api_url())
            );
            report.passed("configuration", None, detail)?;
            check_client(&client, settings, &mut report)?;
        }
        // An error of the command, such as contradictory flags, is not a finding.
        Err(failure @ Failure::Command(_)) => return Err(failure),
        Err(failure) => {
            report.failed_with("configuration", None, &failure)?;
            for name in [
                "environment",
                "dns",
                "tcp",
                "tls",
                "clock",
                "credentials",
                "whoami",
            ] {
                report.skipped(name, None, "the configuration is not valid")?;
            }
        }
    }
    report.finish()?;
    if report.failed() {
        return Err(Failure::ChecksFailed);
    }
    Ok(())
}

fn check_client(
    client: &Client,
    settings: &SettingsArgs,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    environment::check(client, report)?;
    block_on(async {
        let deadline = Deadline::after(settings.timeout);
        let api = Endpoint::of(client.api_url())?;
        let auth = Endpoint::of(client.auth_url())?;
        let to_api = connection::check(&api, client, deadline, report).await?;
        let api_is_reachable = to_api.is_some();
        let auth_is_reachable = if auth == api {
            api_is_reachable
        } else {
            connection::check(&auth, client, deadline, report)
                .await?
                .is_some()
        };
        clock::check(to_api, &api, client, deadline, report).await?;
        shared_cache::check(client, deadline, report).await?;
        credentials::check(
            &diagnosis::without_shared_cache(client),
            auth_is_reachable,
            api_is_reachable,
            deadline,
            report,
        )
        .await
    })
}
