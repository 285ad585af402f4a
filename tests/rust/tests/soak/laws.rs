//! What must hold at the end. All that does not is told, and not the first only.

use std::time::Duration;

use crate::faces::{Report, Stats};
use crate::world::Trouble;
use crate::{BUSINESSES, LIFE, TIMEOUT};

/// The client's clock is the kernel's coarse one, which is behind by up to a
/// tick: 10 ms at 100 Hz, the slowest kernel there is.
const CLOCK_TICK_US: u64 = 10_000;
/// What the machine may take to wake whoever's time is up.
const SLACK_MS: u64 = 2_000;
const MEMORY_KIB: u64 = 8 * 1024;

/// What a call that needs a token may send for it: the client's default.
const MAX_ATTEMPTS: u64 = 4;

/// What is not about one program.
pub fn broken_by_all(trouble: &Trouble, reports: &[Report], for_so_long: Duration) -> Vec<String> {
    let mut broken = Vec::new();
    let mut law = |holds: bool, text: String| {
        if !holds {
            broken.push(text);
        }
    };
    // The clients do not send what they do not count.
    let sent = reports.iter().map(|report| {
        let figures = &report.figures;
        let counted = figures.clients.iter().map(|stats| stats.token_requests);
        counted.sum::<u64>() + MAX_ATTEMPTS * figures.passed
    });
    let sent: u64 = sent.sum();
    law(
        trouble.token_requests <= sent,
        format!("{} token requests, {sent} counted", trouble.token_requests),
    );
    // In a run that is not of a few seconds each kind of trouble has its turn.
    if for_so_long >= Duration::from_secs(30) {
        law(trouble.kills > 0, "nothing was killed".to_owned());
        law(trouble.freezes > 0, "nothing was frozen".to_owned());
        if trouble.has_line {
            law(trouble.cuts > 0, "no line was cut".to_owned());
            law(trouble.packets_lost > 0, "no packet was lost".to_owned());
        }
    }
    broken
}

pub fn broken_by(report: &Report, elapsed: Duration) -> Vec<String> {
    let mut broken = Vec::new();
    let mut law = |holds: bool, text: String| {
        if !holds {
            broken.push(format!("{}: {text}", report.name));
        }
    };
    let figures = &report.figures;
    law(
        figures.served > 30 * elapsed.as_secs(),
        format!("hardly anything happened: {} tokens", figures.served),
    );
    law(
        figures.deadest_us < CLOCK_TICK_US,
        format!("a token was served dead, by {} us", figures.deadest_us),
    );
    let most_ms = TIMEOUT.as_millis() as u64 + SLACK_MS;
    law(
        figures.slowest_ms <= most_ms,
        format!("a call took {} ms, {most_ms} allowed", figures.slowest_ms),
    );
    for stats in &figures.clients {
        let (requests, failures) = bounds(stats, elapsed);
        law(
            stats.token_requests as f64 <= requests,
            format!(
                "{} token requests, {requests:.0} allowed",
                stats.token_requests
            ),
        );
        law(
            (stats.failures as f64) < failures,
            format!("{} failed flights, {failures:.0} allowed", stats.failures),
        );
    }
    let (early, late) = (&report.early, &report.late);
    law(
        late.most.threads <= early.most.threads,
        format!("threads grow from {} to {}", early.most, late.most),
    );
    law(
        late.most.kib <= early.most.kib + MEMORY_KIB,
        format!("memory grows from {} to {}", early.most, late.most),
    );
    // Each of those who call has one connection at the most under way, and a
    // few may be idle.
    let most_files = report.at_rest.files + 3 * report.callers;
    law(
        early.most.files.max(late.most.files) <= most_files,
        format!("file descriptors are not bounded by {most_files}"),
    );
    // Their number follows what happens; its middle does not wander off.
    law(
        late.median.files <= early.median.files + report.callers / 2,
        format!("files grow from {} to {}", early.median, late.median),
    );
    // And when all is over nothing of it is left, connections included.
    law(
        report.left.files <= report.at_rest.files && report.left.threads <= report.at_rest.threads,
        format!("{} are left, {} at rest", report.left, report.at_rest),
    );
    broken
}

/// The policy's bound on token requests: by age, by refusals (five and one in
/// ten seconds), what failed, and what was sent again. And that on failures: a
/// failing flight is slow to be repeated, so they are bounded by time.
fn bounds(stats: &Stats, elapsed: Duration) -> (f64, f64) {
    let seconds = elapsed.as_secs_f64();
    let by_age = seconds / (LIFE.as_secs_f64() * 0.75);
    let refusals = 5.0 + seconds / 10.0;
    let sent_again = (stats.failures + stats.retries) as f64;
    (
        2.0 + by_age + refusals + sent_again,
        2.0 * (BUSINESSES + 1) as f64 * (seconds + 5.0),
    )
}

/// A law that cannot be broken is none.
#[test]
fn each_law_can_be_broken() {
    let elapsed = Duration::from_secs(600);
    let lawful = Report::example();
    assert_eq!(broken_by(&lawful, elapsed), Vec::<String>::new());
    type Break = fn(&mut Report);
    let breaks: [(&str, Break); 10] = [
        ("hardly anything", |report| report.figures.served = 100),
        ("served dead", |report| report.figures.deadest_us = 10_000),
        ("a call took", |report| report.figures.slowest_ms = 5_001),
        ("token requests", |report| {
            report.figures.clients[0].token_requests = 200;
        }),
        ("failed flights", |report| {
            report.figures.clients[0].failures = 20_000;
        }),
        ("threads grow", |report| report.late.most.threads += 1),
        ("memory grows", |report| {
            report.late.most.kib += MEMORY_KIB + 1;
        }),
        ("not bounded", |report| report.early.most.files = 500),
        ("files grow", |report| report.late.median.files += 20),
        ("are left", |report| report.left.threads += 1),
    ];
    for (words, break_it) in breaks {
        let mut report = Report::example();
        break_it(&mut report);
        let broken = broken_by(&report, elapsed);
        assert!(
            broken.len() == 1 && broken[0].contains(words),
            "{words}: {broken:?}"
        );
    }
    let mut trouble = Trouble {
        kills: 1,
        freezes: 1,
        token_requests: lawful.figures.clients[0].token_requests + MAX_ATTEMPTS,
        ..Trouble::default()
    };
    let reports = [lawful];
    assert!(broken_by_all(&trouble, &reports, elapsed).is_empty());
    trouble.token_requests += 1;
    trouble.has_line = true;
    let broken = broken_by_all(&trouble, &reports, elapsed);
    assert_eq!(broken.len(), 3, "{broken:?}");
}
