//! The command `emulator`: runs until a signal or `POST /shutdown` stops it.

mod ca_file;
mod description;

use layerfi_auth::Environment as Layer;
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder, Environment,
};

use crate::args::{EmulatorArgs, Encoding, SettingsArgs};
use crate::commands::emulator::ca_file::CaFile;
use crate::commands::emulator::description::Description;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::signals::{self, StopSignals};
use crate::terminal::Style;

pub(super) fn run(
    settings: &SettingsArgs,
    args: &EmulatorArgs,
    output: &Output,
) -> Result<(), Failure> {
    let (builder, public_secret) = builder(settings, args)?;
    block_on(async {
        // Installed before the output is written: its reader may send a signal at once.
        let mut signals = StopSignals::install(signals::STOP_OR_HANG_UP)?;
        let emulator = builder.start().await?;
        for fault in &args.faults {
            emulator.add_fault(fault.clone())?;
        }
        let ca = CaFile::write(&emulator, args.ca_out.as_deref())?;
        let description = Description {
            emulator: &emulator,
            ca_file: ca.as_ref().map(|file| file.path().display().to_string()),
            public_secret,
        };
        output.result(&description.json(), || description.text(Style::stdout()))?;
        tokio::select! {
            _ = signals.received() => {}
            () = emulator.stopped() => {}
        }
        Ok(())
    })
}

/// Returns the emulator's builder, and whether its client has the public
/// default secret.
fn builder(
    settings: &SettingsArgs,
    args: &EmulatorArgs,
) -> Result<(EmulatorBuilder, bool), Failure> {
    let environment = match settings.environment {
        None | Some(Layer::Sandbox) => Environment::Sandbox,
        Some(Layer::Production) => Environment::Production,
        Some(Layer::ProductionCa) => Environment::ProductionCa,
        Some(_) => {
            return Err(Failure::usage(
                "the emulator does not support --environment custom",
                "give sandbox, production or production-ca",
                Some("environment"),
            ));
        }
    };
    let secret = settings::emulator_secret(settings)?;
    let mut builder = Emulator::builder()
        .port(args.port)
        .control_port(args.control_port)
        .tls(args.tls || args.ca_out.is_some())
        .tls_versions(args.tls_versions)
        .http_versions(args.http_versions)
        .environment(environment)
        .demo_data(args.demo_data)
        .console(!args.no_console)
        .access_token_lifetime(args.access_token_lifetime)
        .basic_decoding(match settings.basic_encoding {
            Encoding::Raw => BasicDecoding::Raw,
            Encoding::Form => BasicDecoding::Form,
        })
        .client(
            settings.client_id.as_deref().unwrap_or(DEFAULT_CLIENT_ID),
            secret
                .as_ref()
                .map_or(DEFAULT_CLIENT_SECRET, |secret| secret.expose()),
        );
    if let Some(scope) = &settings.scope {
        builder = builder.scope(scope);
    }
    if let Some(lifetime) = args.business_token_lifetime {
        builder = builder.business_token_lifetime(lifetime);
    }
    if let Some(limit) = args.rate_limit {
        builder = builder.rate_limit(limit.0);
    }
    for business in &args.businesses {
        builder = builder.business(business);
    }
    for name in &args.names {
        builder = builder.name(name);
    }
    if let Some(file) = &args.authority_key {
        builder = builder.authority_file(file);
    }
    if let Some(trouble) = args.tls_trouble {
        builder = builder.tls_trouble(trouble);
    }
    if let Some(timeout) = args.idle_timeout {
        builder = builder.idle_timeout(timeout);
    }
    if let Some(requests) = args.requests_per_connection {
        builder = builder.requests_per_connection(requests);
    }
    if let Some(port) = args.proxy_port {
        builder = builder.proxy_port(port);
    }
    Ok((builder, secret.is_none()))
}
