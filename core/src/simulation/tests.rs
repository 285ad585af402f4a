use std::collections::HashMap;
use std::time::Duration;

use super::*;

const PROCESSES: u32 = 100;

/// A scenario of a small fleet whose processes call rarely.
fn scenario(name: &str) -> Scenario {
    let mut all = Scenario::all(PROCESSES, 1).into_iter();
    let found = all.find(|scenario| scenario.name == name);
    Scenario {
        call_interval: Duration::from_secs(300),
        ..found.unwrap_or_else(|| panic!("no scenario {name}"))
    }
}

fn simulate(scenario: &Scenario, sharing: Sharing, seed: u64) -> Outcomes {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let outcomes = runtime.block_on(run(scenario, sharing, seed));
    assert!(outcomes.calls > 30 * u64::from(PROCESSES), "{outcomes:?}");
    assert_eq!(outcomes.dead_tokens, 0, "{}", scenario.name);
    outcomes
}

/// What each scenario costs: the requests with leases, and the longest time without a
/// token in seconds. Whatever happens, the store makes nothing worse.
#[test]
fn b30_simulated_fleet_sends_few_requests_and_is_never_worse_than_its_processes_alone() {
    let mut bounds = HashMap::from([
        ("three_lifetimes", (4..=4, 1)),
        ("rate_limit", (4..=4, 1)),
        // The lease ends before the answer.
        ("slow_endpoint", (4..=12, 10)),
        // One request at a time.
        ("endpoint_fails_at_the_start", (20..=60, 68)),
        ("endpoint_fails_at_the_refresh", (50..=400, 1)),
        // One for each process, although each makes two calls, and one for each lease.
        ("endpoint_is_silent", (100..=130, 65)),
        ("endpoint_is_silent_at_the_refresh", (50..=300, 1)),
        // Served by those that reach it.
        ("endpoint_is_unreachable", (4..=40, 40)),
        // One more, by the process that gets the lease next.
        ("holder_is_killed", (5..=5, 5)),
        ("tokens_are_revoked", (5..=6, 2)),
        ("store_is_away_1_min", (4..=5, 1)),
        ("store_is_away_10_min", (4..=150, 1)),
        // Half of the fleet is alone.
        ("store_is_unreachable", (200..=215, 3)),
        // All are alone at the start.
        ("store_is_paused", (100..=110, 3)),
        ("store_is_never_there", (400..=400, 3)),
        ("store_is_read_only", (400..=400, 3)),
        ("store_lies", (4..=100, 20)),
        ("store_is_wiped", (4..=20, 1)),
        ("store_clock_jumps", (4..=12, 1)),
        ("clock_skew", (4..=12, 1)),
        ("chaos", (4..=100, 4)),
    ]);
    let mut alone = Vec::new();
    for scenario in Scenario::all(PROCESSES, 1) {
        let scenario = Scenario {
            call_interval: Duration::from_secs(300),
            ..scenario
        };
        let name = scenario.name;
        let alone = alone_as(&scenario, &mut alone);
        let shared = simulate(&scenario, Sharing::WithLease, 1);
        let figures = format!("{name}\n alone: {alone:?}\nshared: {shared:?}");
        let bound = bounds.remove(name);
        let (requests, longest) = bound.unwrap_or_else(|| panic!("no bounds for {name}"));
        assert!(
            requests.contains(&shared.requests),
            "not {requests:?} requests: {figures}"
        );
        let is_late = shared.longest_without > Duration::from_secs(longest);
        assert!(!is_late, "more than {longest} s without a token: {figures}");
        assert!(
            shared.requests <= alone.requests,
            "more requests: {figures}"
        );
        let is_peak_higher = shared.peak_requests > alone.peak_requests;
        assert!(!is_peak_higher, "more requests in a second: {figures}");
        let fail_more = shared.failed_calls > alone.failed_calls;
        assert!(!fail_more, "more failed calls: {figures}");
        let is_one_at_a_time = name.starts_with("endpoint_fails");
        assert!(!is_one_at_a_time || shared.peak_requests <= 3, "{figures}");
    }
    assert!(bounds.is_empty(), "no such scenarios: {bounds:?}");
}

/// The result without a store, which does not depend on what happens to one.
fn alone_as(scenario: &Scenario, known: &mut Vec<(Scenario, Outcomes)>) -> Outcomes {
    let mut key = scenario.clone();
    key.events.retain(|(_, event)| !event.is_of_the_store());
    (key.name, key.title) = ("", "");
    if let Some((_, outcomes)) = known.iter().find(|(other, _)| *other == key) {
        return outcomes.clone();
    }
    let outcomes = simulate(scenario, Sharing::Alone, 1);
    known.push((key, outcomes.clone()));
    outcomes
}

#[test]
fn b30_simulated_chaos_of_the_store_costs_requests_and_no_calls() {
    for seed in [1, 2] {
        let scenario = Scenario {
            call_interval: Duration::from_secs(300),
            ..Scenario::chaos(PROCESSES, seed)
        };
        let alone = simulate(&scenario, Sharing::Alone, seed);
        let shared = simulate(&scenario, Sharing::WithLease, seed);
        assert_eq!(shared.failed_calls, 0, "seed {seed}");
        assert!(
            shared.requests < alone.requests,
            "seed {seed}: {} requests, and {} alone",
            shared.requests,
            alone.requests
        );
    }
}

#[test]
fn b30_simulated_fleet_without_leases_sends_more_requests_than_with_them() {
    let scenario = scenario("three_lifetimes");
    let without = simulate(&scenario, Sharing::WithoutLease, 1);
    let alone = simulate(&scenario, Sharing::Alone, 1);
    assert_eq!(alone.requests, 4 * u64::from(PROCESSES));
    assert!(
        (5..alone.requests).contains(&without.requests),
        "{without:?}"
    );
}

#[test]
fn simulation_with_the_same_seed_has_the_same_result() {
    let scenario = scenario("chaos");
    let first = simulate(&scenario, Sharing::WithLease, 7);
    assert_eq!(simulate(&scenario, Sharing::WithLease, 7), first);
    assert_ne!(simulate(&scenario, Sharing::WithLease, 8), first);
}
