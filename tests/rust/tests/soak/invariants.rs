//! Invariants checked at the end of a run. All violations are reported.

use std::time::Duration;

use crate::programs::{Report, SharedCache, Stats};
use crate::test_bed::Disruptions;
#[cfg(test)]
use crate::test_bed::FailedBesideStore;
use crate::{BUSINESSES, LIFE, TIMEOUT};

/// The client reads the kernel's coarse clock, which lags by up to one tick:
/// 10 ms with the slowest tick, 100 Hz.
const CLOCK_TICK_US: u64 = 10_000;
/// Time that a busy machine may take to wake a thread whose timeout has passed.
const SLACK_MS: u64 = 20_000;
const MEMORY_KIB: u64 = 8 * 1024;

/// Token requests that one call may send: the client's default.
const MAX_ATTEMPTS: u64 = 4;

/// Checks invariants over all programs.
pub fn violations_of_all(
    disruptions: &Disruptions,
    reports: &[Report],
    duration: Duration,
) -> Vec<String> {
    let mut violations = Vec::new();
    let mut check = |holds: bool, text: String| {
        if !holds {
            violations.push(text);
        }
    };
    // Every request that the emulator received was counted by a client.
    let sent = reports.iter().map(|report| {
        let figures = &report.figures;
        let counted = figures.clients.iter().map(|stats| stats.token_requests);
        counted.sum::<u64>() + MAX_ATTEMPTS * figures.short_lived
    });
    let sent: u64 = sent.sum();
    check(
        disruptions.token_requests <= sent,
        format!(
            "{} token requests, {sent} counted",
            disruptions.token_requests
        ),
    );
    // A program without a shared cache shows what fails for other reasons, such as a busy
    // machine.
    let alone = disruptions.failed_beside_store.iter();
    let is_clean = alone
        .clone()
        .all(|one| one.has_shared_cache || one.failed == 0);
    for one in alone.filter(|one| is_clean && one.has_shared_cache) {
        check(
            one.failed == 0,
            format!(
                "{}: {} calls failed while only the store had trouble",
                one.name, one.failed
            ),
        );
    }
    for (event, count) in disruptions.store_events() {
        check(count > 0, format!("the store was never {event}"));
    }
    // Each kind of disruption occurs in a run of 30 s or more.
    if duration >= Duration::from_secs(30) {
        check(
            disruptions.kills > 0,
            "the emulator was never killed".to_owned(),
        );
        check(
            disruptions.freezes > 0,
            "the emulator was never frozen".to_owned(),
        );
        check(
            disruptions.few_files > 0,
            "the files were never few".to_owned(),
        );
        if disruptions.can_limit_threads {
            check(
                disruptions.few_threads > 0,
                "the threads were never few".to_owned(),
            );
        }
        check(
            disruptions.frozen_connections > 0,
            "no connection was frozen".to_owned(),
        );
        if disruptions.can_cut {
            check(disruptions.cuts > 0, "the link was never cut".to_owned());
            check(
                disruptions.packets_lost > 0,
                "no packet was lost".to_owned(),
            );
        }
    }
    violations
}

pub fn violations_of(report: &Report, elapsed: Duration) -> Vec<String> {
    let mut violations = Vec::new();
    let mut check = |holds: bool, text: String| {
        if !holds {
            violations.push(format!("{}: {text}", report.name));
        }
    };
    let figures = &report.figures;
    check(
        figures.served > 10 * elapsed.as_secs(),
        format!("too little happened: {} tokens served", figures.served),
    );
    check(
        figures.max_expired_us < CLOCK_TICK_US,
        format!(
            "an expired token was served, {} us after its expiry",
            figures.max_expired_us
        ),
    );
    let max_ms = TIMEOUT.as_millis() as u64 + SLACK_MS;
    check(
        figures.slowest_ms <= max_ms,
        format!("a call took {} ms, {max_ms} allowed", figures.slowest_ms),
    );
    let sharing = report.shared_cache == SharedCache::On;
    let [adopted, faults] = [
        |stats: &Stats| stats.shared_adopted,
        |stats: &Stats| stats.shared_faults,
    ]
    .map(|count| figures.clients.iter().map(count).sum::<u64>());
    check(
        !sharing || adopted > 0,
        "no token came from the shared cache".to_owned(),
    );
    check(
        !sharing || faults > 0,
        "no operation of the shared cache failed".to_owned(),
    );
    check(
        sharing || adopted + faults == 0,
        "a shared cache was used that is off".to_owned(),
    );
    for stats in &figures.clients {
        let (requests, failures) = bounds(stats, elapsed);
        check(
            stats.token_requests as f64 <= requests,
            format!(
                "{} token requests, {requests:.0} allowed",
                stats.token_requests
            ),
        );
        check(
            (stats.failures as f64) < failures,
            format!("{} failed flights, {failures:.0} allowed", stats.failures),
        );
    }
    check(
        report.errors.is_empty(),
        format!("it wrote to standard error: {}", report.errors),
    );
    let (early, late) = (&report.early, &report.late);
    check(
        late.max.threads <= early.max.threads,
        format!("threads grow from {} to {}", early.max, late.max),
    );
    check(
        late.max.kib <= early.max.kib + MEMORY_KIB,
        format!("memory grows from {} to {}", early.max, late.max),
    );
    // Each caller uses at most one connection at a time; a few more may be idle.
    let max_files = report.idle.files + 3 * report.callers;
    check(
        early.max.files.max(late.max.files) <= max_files,
        format!("file descriptors are not bounded by {max_files}"),
    );
    // The number of files varies with the disruptions, but its median must not grow.
    check(
        late.median.files <= early.median.files + report.callers / 2,
        format!("files grow from {} to {}", early.median, late.median),
    );
    // At the end everything is released, connections included.
    check(
        report.at_end.files <= report.idle.files && report.at_end.threads <= report.idle.threads,
        format!("at the end {}, idle {}", report.at_end, report.idle),
    );
    violations
}

/// Returns the largest number of token requests that the policy allows (expiry,
/// rejected tokens: five and one per ten seconds, failures, retries, tokens of the
/// shared cache, which had lived before) and of failures (back-off limits them by time).
fn bounds(stats: &Stats, elapsed: Duration) -> (f64, f64) {
    let seconds = elapsed.as_secs_f64();
    let by_age = seconds / (LIFE.as_secs_f64() * 0.75);
    let rejections = 5.0 + seconds / 10.0;
    let repeated = (stats.failures + stats.retries) as f64;
    (
        2.0 + by_age + rejections + repeated + stats.shared_adopted as f64,
        2.0 * (BUSINESSES + 1) as f64 * (seconds + 5.0),
    )
}

/// Shows that each check can fail.
#[test]
fn each_invariant_can_be_violated() {
    let elapsed = Duration::from_secs(600);
    let valid = Report::example();
    assert_eq!(violations_of(&valid, elapsed), Vec::<String>::new());
    type Change = fn(&mut Report);
    let changes: [(&str, Change); 14] = [
        ("too little happened", |report| report.figures.served = 100),
        ("expired token was served", |report| {
            report.figures.max_expired_us = 10_000
        }),
        ("a call took", |report| report.figures.slowest_ms = 23_001),
        ("token requests", |report| {
            report.figures.clients[0].token_requests = 200;
        }),
        ("failed flights", |report| {
            report.figures.clients[0].failures = 20_000;
        }),
        ("wrote to standard error", |report| {
            report.errors = "panicked at".to_owned();
        }),
        ("threads grow", |report| report.late.max.threads += 1),
        ("memory grows", |report| {
            report.late.max.kib += MEMORY_KIB + 1;
        }),
        ("not bounded", |report| report.early.max.files = 500),
        ("files grow", |report| report.late.median.files += 20),
        ("at the end", |report| report.at_end.threads += 1),
        ("no token came from", |report| {
            report.figures.clients[0].shared_adopted = 0;
        }),
        ("no operation of the shared", |report| {
            report.figures.clients[0].shared_faults = 0;
        }),
        ("that is off", |report| {
            report.shared_cache = SharedCache::Off;
        }),
    ];
    for (words, change) in changes {
        let mut report = Report::example();
        change(&mut report);
        let violations = violations_of(&report, elapsed);
        assert!(
            violations.len() == 1 && violations[0].contains(words),
            "{words}: {violations:?}"
        );
    }
    let mut disruptions = Disruptions {
        kills: 1,
        freezes: 1,
        few_files: 1,
        frozen_connections: 1,
        store_kills: 1,
        store_pauses: 1,
        store_flushes: 1,
        store_fills: 1,
        failed_beside_store: vec![
            FailedBesideStore {
                name: "shared",
                has_shared_cache: true,
                failed: 0,
            },
            FailedBesideStore {
                name: "alone",
                has_shared_cache: false,
                failed: 0,
            },
        ],
        token_requests: valid.figures.clients[0].token_requests + MAX_ATTEMPTS,
        ..Disruptions::default()
    };
    let reports = [valid];
    assert!(violations_of_all(&disruptions, &reports, elapsed).is_empty());
    disruptions.token_requests += 1;
    disruptions.can_cut = true;
    disruptions.can_limit_threads = true;
    disruptions.few_files = 0;
    disruptions.frozen_connections = 0;
    disruptions.store_flushes = 0;
    disruptions.failed_beside_store[0].failed = 1;
    let violations = violations_of_all(&disruptions, &reports, elapsed);
    // One of them is that the store was never cut off.
    assert_eq!(violations.len(), 9, "{violations:?}");
    // On a machine that makes calls fail for other reasons, this is not judged.
    disruptions.failed_beside_store[1].failed = 1;
    let violations = violations_of_all(&disruptions, &reports, elapsed);
    assert_eq!(violations.len(), 8, "{violations:?}");
}
