//! Gets a token and exports the client's statistics with OpenTelemetry.

mod metrics;

use std::error::Error;

use layerfi_auth::Client;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};

use crate::print::Print;

mod print;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env()?;

    // `Print` writes to standard output. Use `opentelemetry_otlp::MetricExporter` instead.
    let reader = PeriodicReader::builder(Print).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    metrics::instrument(&provider.meter("layerfi_auth"), &client);

    client.token().await?;
    provider.shutdown()?; // Exports what was counted last.
    Ok(())
}
