//! What is simulated: fleets, and what happens to them.

use std::time::Duration;

use fastrand::Rng;

/// Timeouts of the processes: the defaults of a client.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The token endpoint answers as usual.
    EndpointRecovers,
    /// The token endpoint answers 503.
    EndpointFails,
    /// The token endpoint does not answer.
    EndpointIsSilent,
    /// This percentage of the processes do not reach the token endpoint; their requests
    /// get no answer.
    EndpointIsUnreachable(u32),
    /// The process that sends the next request ends before it has an answer.
    HolderIsKilled,
    /// All tokens issued so far are revoked: the API answers 401 to them. Each process
    /// makes a call within a second.
    TokensAreRevoked,
    /// The store refuses connections, or accepts them again.
    StoreIsDown(bool),
    /// This percentage of the processes do not reach the store; nothing answers them.
    StoreIsUnreachable(u32),
    /// The store does not execute what it receives, or continues.
    StoreIsPaused(bool),
    /// The store loses everything.
    StoreIsWiped,
    /// The store grants no leases, as a replica or a full server, or grants them again.
    StoreIsReadOnly(bool),
    /// The store says that somebody has a lease without an end, or speaks the truth again.
    StoreLies(bool),
    /// The clock of the store is moved, by seconds.
    StoreClockIs(i64),
}

impl Event {
    /// Whether it happens to the store, which a fleet without one does not notice.
    #[cfg(test)]
    pub(super) fn is_of_the_store(self) -> bool {
        matches!(
            self,
            Self::StoreIsDown(_)
                | Self::StoreIsUnreachable(_)
                | Self::StoreIsPaused(_)
                | Self::StoreIsWiped
                | Self::StoreIsReadOnly(_)
                | Self::StoreLies(_)
                | Self::StoreClockIs(_)
        )
    }
}

/// What is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Short name, in `snake_case`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Number of processes.
    pub processes: u32,
    /// Time within which they all start.
    pub start_within: Duration,
    /// Lifetime of a token.
    pub lifetime: Duration,
    /// For how long it runs.
    pub duration: Duration,
    /// Shortest and longest time for an answer of the token endpoint.
    pub latency: (Duration, Duration),
    /// Mean time between two calls of a process.
    pub call_interval: Duration,
    /// Requests per second to which the token endpoint gives a token; others get 429.
    pub rate_limit: Option<u32>,
    /// How far the wall clocks of processes are ahead or behind, at most.
    pub clock_skew: Duration,
    /// Events by their time after the start.
    pub events: Vec<(Duration, Event)>,
}

impl Scenario {
    /// Three lifetimes of one hour, without faults.
    #[must_use]
    pub fn three_lifetimes(processes: u32) -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            name: "three_lifetimes",
            title: "three lifetimes of one hour",
            processes,
            start_within: Duration::from_secs(1),
            lifetime: hour,
            duration: 3 * hour,
            latency: (Duration::from_millis(100), Duration::from_millis(800)),
            call_interval: Duration::from_secs(60),
            rate_limit: None,
            clock_skew: Duration::ZERO,
            events: Vec::new(),
        }
    }

    /// All scenarios.
    #[must_use]
    pub fn all(processes: u32, seed: u64) -> Vec<Self> {
        use Event::{
            EndpointFails, EndpointIsSilent, EndpointIsUnreachable, EndpointRecovers,
            HolderIsKilled, StoreClockIs, StoreIsDown, StoreIsPaused, StoreIsReadOnly,
            StoreIsUnreachable, StoreIsWiped, StoreLies, TokensAreRevoked,
        };
        let with = |name, title, events: &[(u64, Event)]| Self {
            name,
            title,
            events: events
                .iter()
                .map(|(at, event)| (Duration::from_secs(*at), *event))
                .collect(),
            ..Self::three_lifetimes(processes)
        };
        // A token is refreshed at 75 % to 85 % of its lifetime.
        vec![
            Self::three_lifetimes(processes),
            Self {
                rate_limit: Some(100),
                ..with(
                    "rate_limit",
                    "the token endpoint grants 100 requests a second",
                    &[],
                )
            },
            Self {
                latency: (Duration::from_secs(8), Duration::from_secs(8)),
                ..with("slow_endpoint", "the token endpoint takes 8 s", &[])
            },
            with(
                "endpoint_fails_at_the_start",
                "the token endpoint answers 503 for the first 60 s",
                &[(0, EndpointFails), (60, EndpointRecovers)],
            ),
            with(
                "endpoint_fails_at_the_refresh",
                "the token endpoint answers 503 for 10 min when the first refresh is due",
                &[(2_700, EndpointFails), (3_300, EndpointRecovers)],
            ),
            with(
                "endpoint_is_silent",
                "the token endpoint does not answer for the first 60 s",
                &[(0, EndpointIsSilent), (60, EndpointRecovers)],
            ),
            with(
                "endpoint_is_silent_at_the_refresh",
                "the token endpoint does not answer for 10 min when the first refresh is due",
                &[(2_700, EndpointIsSilent), (3_300, EndpointRecovers)],
            ),
            with(
                "endpoint_is_unreachable",
                "90 % of the processes do not reach the token endpoint for the first 60 s",
                &[
                    (0, EndpointIsUnreachable(90)),
                    (60, EndpointIsUnreachable(0)),
                ],
            ),
            with(
                "holder_is_killed",
                "the process that gets the first token is killed",
                &[(0, HolderIsKilled)],
            ),
            with(
                "tokens_are_revoked",
                "all tokens are revoked, and all processes see a 401 within 1 s",
                &[(1_000, TokensAreRevoked)],
            ),
            with(
                "store_is_away_1_min",
                "the store is down for 60 s when the first refresh is due",
                &[(2_700, StoreIsDown(true)), (2_760, StoreIsDown(false))],
            ),
            with(
                "store_is_away_10_min",
                "the store is down for 10 min when the first refresh is due",
                &[(2_700, StoreIsDown(true)), (3_300, StoreIsDown(false))],
            ),
            with(
                "store_is_unreachable",
                "half of the processes do not reach the store",
                &[(0, StoreIsUnreachable(50))],
            ),
            with(
                "store_is_paused",
                "the store does not answer for the first 60 s",
                &[(0, StoreIsPaused(true)), (60, StoreIsPaused(false))],
            ),
            with(
                "store_is_never_there",
                "the store is never there",
                &[(0, StoreIsDown(true))],
            ),
            with(
                "store_is_read_only",
                "the store is read-only",
                &[(0, StoreIsReadOnly(true))],
            ),
            with(
                "store_lies",
                "the store says that somebody always has a lease",
                &[(0, StoreLies(true))],
            ),
            with(
                "store_is_wiped",
                "the store loses everything every 10 min",
                &(1..18)
                    .map(|at| (600 * at, StoreIsWiped))
                    .collect::<Vec<_>>(),
            ),
            with(
                "store_clock_jumps",
                "the clock of the store is moved by 30 min, back, and behind",
                &[
                    (600, StoreClockIs(1_800)),
                    (1_800, StoreClockIs(0)),
                    (5_400, StoreClockIs(-1_800)),
                ],
            ),
            Self {
                clock_skew: Duration::from_secs(300),
                ..with(
                    "clock_skew",
                    "the clocks of the machines differ by up to 10 min",
                    &[],
                )
            },
            Self::chaos(processes, seed),
        ]
    }

    /// The store is paused, down, wiped or read-only at random times.
    #[must_use]
    pub fn chaos(processes: u32, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut events = Vec::new();
        let mut at = 240.0 * rng.f64();
        let end = 3.0 * 3_600.0;
        while at < end {
            let lasts = 1.0 + 119.0 * rng.f64();
            let (begins, ends) = match rng.u8(..4) {
                0 => (Event::StoreIsPaused(true), Event::StoreIsPaused(false)),
                1 => (Event::StoreIsDown(true), Event::StoreIsDown(false)),
                2 => (Event::StoreIsReadOnly(true), Event::StoreIsReadOnly(false)),
                _ => (Event::StoreIsWiped, Event::HolderIsKilled),
            };
            events.push((Duration::from_secs_f64(at), begins));
            events.push((Duration::from_secs_f64(at + lasts), ends));
            at += lasts + 240.0 * rng.f64();
        }
        Self {
            name: "chaos",
            title: "the store is paused, down, read-only or wiped, and holders are killed, at random",
            events,
            ..Self::three_lifetimes(processes)
        }
    }
}
