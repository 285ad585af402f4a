//! Checks the shared cache, if the client has one: connection and rights, latency, clock
//! and memory of the store.

use std::time::Duration;

use layerfi_auth::Client;
use layerfi_auth::diagnosis::SharedCacheCheck;
use tokio::time::timeout;

use crate::commands::doctor::deadline::Deadline;
use crate::commands::doctor::report::Report;
use crate::failure::Failure;
use crate::flag_names;
use crate::terminal::sanitize;
use crate::time_format::short;

/// A slower store delays each miss noticeably. From 500 ms on it is not used.
const SLOW: Duration = Duration::from_millis(100);

/// Tokens look older to a process whose clock differs.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

const NAME: &str = "shared_cache";
const LATENCY: &str = "store_latency";
const CLOCK: &str = "store_clock";
const MEMORY: &str = "store_memory";

pub(super) async fn check(
    client: &Client,
    deadline: Deadline,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    // Each of its steps has a limit of its own.
    let found = match timeout(deadline.remaining(), SharedCacheCheck::of(client)).await {
        Ok(Ok(None)) => return Ok(()),
        Ok(Ok(Some(found))) => found,
        Ok(Err(error)) => {
            report.failed_with(NAME, None, &error.into())?;
            return skip_others(report);
        }
        Err(_) => {
            report.failed_as(
                NAME,
                None,
                "the store was not checked within the timeout of all checks",
                "check that the store is not overloaded, or set a longer --timeout",
            )?;
            return skip_others(report);
        }
    };
    let host = Some(found.server.as_str());
    match &found.failure {
        None => report.passed(NAME, host, summary(&found))?,
        Some(failure) => {
            let remedy = flag_names::in_remedy(&failure.remedy, None);
            // Most begin with the server, which stands before the detail.
            let what = failure.what.strip_prefix(&*found.server);
            let what = what.map_or(&*failure.what, str::trim_start);
            let detail = format!("{what} ({})", failure.kind);
            report.failed_as(NAME, host, detail, remedy)?;
        }
    }
    latency(&found, report)?;
    clock(&found, report)?;
    memory(&found, report)
}

fn skip_others(report: &mut Report<'_>) -> Result<(), Failure> {
    for name in [LATENCY, CLOCK, MEMORY] {
        report.skipped(name, None, "the store cannot be used")?;
    }
    Ok(())
}

fn summary(found: &SharedCacheCheck) -> String {
    let version = found
        .version
        .as_deref()
        .map_or_else(|| "the store".to_owned(), sanitize);
    let connected = found.connected_in.map_or_else(String::new, |time| {
        format!(", connected in {}", short(time))
    });
    format!("{version}{connected}; look-up, publication and release work")
}

fn latency(found: &SharedCacheCheck, report: &mut Report<'_>) -> Result<(), Failure> {
    let Some(time) = found.latency else {
        return report.skipped(LATENCY, None, "the store cannot be used");
    };
    let detail = format!("an answer takes {}", short(time));
    if time < SLOW {
        return report.passed(LATENCY, None, detail);
    }
    report.warned(
        LATENCY,
        None,
        detail,
        "use a store that is nearer or less busy: from 500 ms on each process gets its own tokens",
    )
}

fn clock(found: &SharedCacheCheck, report: &mut Report<'_>) -> Result<(), Failure> {
    let Some(difference) = found.clock_difference_ms else {
        return report.skipped(CLOCK, None, "the store cannot be used");
    };
    let size = difference.unsigned_abs();
    if size < CLOCK_TOLERANCE_MS {
        let detail = format!("within {} s of this machine's clock", size / 1_000 + 1);
        return report.passed(CLOCK, None, detail);
    }
    let direction = if difference > 0 { "ahead of" } else { "behind" };
    let seconds = size / 1_000;
    report.warned(
        CLOCK,
        None,
        format!("the store's clock is {seconds} s {direction} this machine's"),
        "set both clocks with NTP, or tokens are requested more often than needed",
    )
}

fn memory(found: &SharedCacheCheck, report: &mut Report<'_>) -> Result<(), Failure> {
    let Some(policy) = &found.eviction_policy else {
        // A store that answers answers this question, too, if it may.
        let reason = match found.latency {
            Some(_) => "the store's user may not ask for it: INFO is not allowed",
            None => "the store cannot be used",
        };
        return report.skipped(MEMORY, None, reason);
    };
    let limit = found.max_memory.filter(|bytes| *bytes > 0);
    let mut detail = format!("maxmemory-policy {}", sanitize(policy));
    detail.push_str(&match (limit, found.used_memory) {
        (None, _) => ", no limit".to_owned(),
        (Some(limit), None) => format!(", limit {}", megabytes(limit)),
        (Some(limit), Some(used)) => {
            format!(", {} of {} used", megabytes(used), megabytes(limit))
        }
    });
    if found.writes_to_disk == Some(true) {
        detail.push_str(", writes its data (sealed tokens too) to a disk");
    }
    if policy != "noeviction" || limit.is_none() {
        return report.passed(MEMORY, None, detail);
    }
    report.warned(
        MEMORY,
        None,
        detail,
        "set maxmemory-policy to volatile-ttl: a full store takes no new tokens, so that each \
         process gets its own",
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    /// The report of a check as JSON.
    fn reported(
        found: &SharedCacheCheck,
        check: fn(&SharedCacheCheck, &mut Report<'_>) -> Result<(), Failure>,
    ) -> String {
        let output = Output::new(true);
        let mut report = Report::new(&output);
        check(found, &mut report).unwrap();
        report.to_json().to_string()
    }

    #[test]
    fn b30_slow_store_and_wrong_clock_are_warnings() {
        for (ms, status) in [
            (0, "passed"),
            (99, "passed"),
            (100, "warning"),
            (480, "warning"),
        ] {
            let found = SharedCacheCheck {
                latency: Some(Duration::from_millis(ms)),
                ..SharedCacheCheck::default()
            };
            assert!(reported(&found, latency).contains(status), "{ms} ms");
        }
        for (ms, status, text) in [
            (0, "passed", "within 1 s"),
            (-4_999, "passed", "within 5 s"),
            (5_000, "warning", "5 s ahead of"),
            (-3_600_000, "warning", "3600 s behind"),
            (i64::MIN, "warning", "behind"),
        ] {
            let found = SharedCacheCheck {
                clock_difference_ms: Some(ms),
                ..SharedCacheCheck::default()
            };
            let json = reported(&found, clock);
            assert!(
                json.contains(status) && json.contains(text),
                "{ms} ms: {json}"
            );
        }
    }
}
