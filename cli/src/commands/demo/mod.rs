//! The command `demo`: runs the engine against an emulator in this process.
//!
//! It compares the emulator's counters with what the engine guarantees, and
//! fails if they differ.

mod client;
mod report;
mod steps;

use layerfi_auth_emulator::Emulator;

use crate::commands::demo::client::new_client;
use crate::commands::demo::report::Report;
use crate::commands::demo::steps::Demo;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;

pub(super) fn run(output: &Output) -> Result<(), Failure> {
    let emulator = Emulator::builder().tls(true).start_blocking()?;
    let mut report = Report::new(output);
    block_on(async {
        report.start(&emulator.url())?;
        let demo = Demo {
            emulator: &emulator,
            client: new_client(&emulator)?,
        };
        demo.access_token(&mut report).await?;
        demo.whoami(&mut report).await?;
        let token = demo.business_token(&mut report).await?;
        demo.concurrent_callers(&mut report).await?;
        demo.revoked_token(&mut report).await?;
        demo.background_refresh(&mut report).await?;
        report.browser_snippet(&token)?;
        report.finish()
    })
}
