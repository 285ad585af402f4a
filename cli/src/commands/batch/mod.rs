//! `business-token --from`: mints a token for each business of a list.
//!
//! The engine's batch bounds the requests in flight and obeys the rate limit. Each
//! result is written as one line as soon as those before it are written.

mod ids;
mod progress;
mod results;

use std::path::Path;

use futures_util::StreamExt as _;
use layerfi_auth::{BatchOptions, BusinessToken, Error};
use serde_json::{Value, json};

use crate::args::{BusinessTokenArgs, SettingsArgs};
use crate::commands::batch::progress::{Counts, Progress};
use crate::commands::batch::results::Results;
use crate::commands::business_token::to_json;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::signals::{self, StopSignals};

pub(super) fn run(
    settings: &SettingsArgs,
    args: &BusinessTokenArgs,
    from: &Path,
    output: &Output,
) -> Result<(), Failure> {
    if from == Path::new("-") && settings.client_secret_stdin {
        return Err(Failure::usage(
            "--from - and --client-secret-stdin both read standard input",
            "give the ids in a file, or the secret with --client-secret-file",
            Some("from"),
        ));
    }
    let client = settings::client(settings)?;
    let mut ids = ids::read(from, &client)?;
    let all = ids.len();
    let mut results = match &args.output {
        Some(path) => {
            let results = Results::open(path, args.resume)?;
            ids.retain(|id| !results.has(id));
            results
        }
        None => Results::stdout(),
    };
    let counts = Counts {
        skipped: all - ids.len(),
        left: ids.len(),
        ..Counts::default()
    };
    let mut progress = Progress::start(counts, args.quiet);
    let options = BatchOptions::default().session_duration(args.session_duration);

    let end = block_on(async {
        let mut signals = StopSignals::install(signals::STOP)?;
        let mut batch = client.business_tokens_for_ids(ids.iter().cloned(), options);
        let stop = batch.stopper();
        let mut end = Ok(());
        let mut is_stopped = false;
        // One result per id, in the order of the ids.
        let mut ids = ids.iter();
        loop {
            let result = tokio::select! {
                result = batch.next() => result,
                signal = signals.received(), if !is_stopped => {
                    // The requests in flight end, so that no minted token is lost.
                    stop();
                    is_stopped = true;
                    end = Err(Failure::Stopped(signal));
                    progress.stopping();
                    continue;
                }
            };
            let (Some(result), Some(id)) = (result, ids.next()) else {
                return end;
            };
            progress.count(result.is_ok());
            let line = line(id, &result);
            progress.above(|| results.write(&line))?;
            if let Err(error) = result
                && !is_stopped
                && error.ends_batch()
            {
                stop();
                is_stopped = true;
                end = Err(error.into());
            }
        }
    });
    let counts = progress.finish(output);
    end?;
    if counts.failed > 0 {
        return Err(Failure::SomeFailed);
    }
    Ok(())
}

/// The line of one business.
fn line(id: &str, result: &Result<BusinessToken, Error>) -> Value {
    match result {
        Ok(token) => to_json(token),
        Err(error) => {
            let failure = Failure::from(error.clone());
            json!({ "business_id": id, "error": failure.report() })
        }
    }
}
