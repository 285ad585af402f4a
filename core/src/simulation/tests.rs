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

fn with_lease(name: &str) -> Outcomes {
    simulate(&scenario(name), Sharing::WithLease, 1)
}

/// For each scenario: the requests with leases, and the longest time without a token.
#[test]
fn b30_simulated_fleets_send_few_requests_and_no_call_fails_because_of_the_store() {
    let seconds = Duration::from_secs;
    for (name, requests, longest) in [
        ("three_lifetimes", 4..=4, seconds(1)),
        ("rate_limit", 4..=4, seconds(1)),
        // The lease ends before the answer.
        ("slow_endpoint", 4..=12, seconds(10)),
        // One more, by the process that gets the lease next.
        ("holder_is_killed", 5..=5, seconds(5)),
        ("tokens_are_revoked", 5..=6, seconds(2)),
        ("store_is_away_1_min", 4..=5, seconds(1)),
        ("store_is_wiped", 4..=20, seconds(1)),
        ("store_clock_jumps", 4..=12, seconds(1)),
        ("clock_skew", 4..=12, seconds(1)),
        // All are alone at the start.
        ("store_is_paused", 100..=110, seconds(3)),
        ("store_lies", 4..=100, seconds(20)),
        ("store_is_away_10_min", 4..=150, seconds(1)),
        ("store_is_never_there", 400..=400, seconds(3)),
        ("store_is_read_only", 400..=400, seconds(3)),
    ] {
        let outcomes = with_lease(name);
        assert_eq!(outcomes.failed_calls, 0, "failed calls: {name}");
        assert!(
            requests.contains(&outcomes.requests),
            "{name}: {} requests, expected {requests:?}",
            outcomes.requests
        );
        let without = outcomes.longest_without;
        assert!(without <= longest, "{name}: {without:?} without a token");
    }
}

#[test]
fn b30_simulated_fleet_sends_one_request_at_a_time_while_the_endpoint_fails() {
    for (name, most, calls_fail) in [
        ("endpoint_fails_at_the_start", 40, true),
        ("endpoint_fails_at_the_refresh", 300, false),
    ] {
        let outcomes = with_lease(name);
        assert!(outcomes.requests <= most, "{name}: {outcomes:?}");
        assert!(outcomes.peak_requests <= 3, "{name}: {outcomes:?}");
        assert_eq!(outcomes.failed_calls > 0, calls_fail, "{name}");
        let alone = simulate(&scenario(name), Sharing::Alone, 1);
        assert!(alone.requests > 10 * outcomes.requests, "{name}: {alone:?}");
    }
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
