//! `layerfi-auth doctor`: every link of the chain, one by one, each with what
//! to do where it is broken.

mod account;
mod clock;
mod environment;
mod network;
mod report;

use std::time::Duration;

use tokio::time::Instant;

use crate::args::SettingsArgs;
use crate::doctor::report::Report;
use crate::failure::Failure;
use crate::net::place::Place;
use crate::output::{Output, plain};
use crate::runtime::block_on;
use crate::settings;

/// The most that one look at the network may take.
const STEP: Duration = Duration::from_secs(5);

pub(crate) fn run(settings: &SettingsArgs, output: &Output) -> Result<(), Failure> {
    let mut report = Report::new(output);
    examine(settings, &mut report)?;
    report.finish()?;
    if report.failed() {
        return Err(Failure::Checks);
    }
    Ok(())
}

fn examine(settings: &SettingsArgs, report: &mut Report<'_>) -> Result<(), Failure> {
    let client = match settings::client(settings) {
        Ok(client) => client,
        // Not about Layer at all: standard input, say, or flags that clash.
        Err(failure @ Failure::Own(_)) => return Err(failure),
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
                report.skipped(name, None, "the configuration is not complete")?;
            }
            return Ok(());
        }
    };
    report.passed(
        "configuration",
        None,
        format!(
            "environment {}, API {}",
            client.environment(),
            plain(client.api_url())
        ),
    )?;
    environment::check(&client, report)?;
    block_on(async {
        let ends = Instant::now() + settings.timeout;
        let api = Place::of(client.api_url())?;
        let auth = Place::of(client.auth_url())?;
        let extra = network::extra_authorities(settings);
        let to_api = network::reach(&api, settings, &extra, ends, report).await?;
        let auth_is_reached = if auth == api {
            to_api.is_some()
        } else {
            network::reach(&auth, settings, &extra, ends, report)
                .await?
                .is_some()
        };
        let api_is_reached = to_api.is_some();
        clock::check(to_api, &api, &client, ends, report).await?;
        account::check(&client, auth_is_reached, api_is_reached, ends, report).await
    })
}

/// When a step that starts now has to be over.
fn step_ends(ends: Instant) -> Instant {
    ends.min(Instant::now() + STEP)
}
