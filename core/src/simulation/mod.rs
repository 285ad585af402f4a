//! Simulation of a fleet: thousands of processes that share a token through a store, in
//! the time of a test clock.
//!
//! Each process is a task with the real cache slot, the real fetch through the store with
//! its policy, the real retry policy and the real parser of token responses. The store is
//! in memory; the token endpoint is a few lines here. Both have latencies and faults.
//! All runs with the same seed have the same result.

mod endpoint;
mod process;
mod scenario;
#[cfg(test)]
mod tests;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use self::endpoint::{Behaviour, Endpoint};
use self::process::{Process, Times};
pub use self::scenario::{Event, Scenario};
use self::world::World;
pub use self::world::{Outcomes, Sharing};
use crate::deadline;
use crate::secret::Secret;
use crate::stats::Event as Counted;
use crate::store::memory::MemoryStore;
use crate::store::seal::{Principal, RootKey, SealKeys};
use crate::sys::clock::{Clock, TestClock};
use crate::sys::sync::{Mutex, lock};
use crate::sys::{fork, jitter};

/// Properties of the store: a way of 1 ms, and what a command cost when it was measured.
const STORE_LATENCY: Duration = Duration::from_millis(1);
const STORE_COST: Duration = Duration::from_micros(35);

/// Lets deadlines of this thread follow Tokio's time while it lives.
struct SimulatedTime;

impl SimulatedTime {
    fn new() -> Self {
        deadline::follow_tokio(true);
        Self
    }
}

impl Drop for SimulatedTime {
    fn drop(&mut self) {
        deadline::follow_tokio(false);
    }
}

/// Runs a simulation. It must run on a current-thread runtime of Tokio whose time is
/// paused, and alone on its thread.
pub async fn run(scenario: &Scenario, sharing: Sharing, seed: u64) -> Outcomes {
    let _time = SimulatedTime::new();
    // The first fork that is noticed starts the generator of jitter anew, and so does the
    // first process.
    fork::notice();
    // Another seed than that of the numbers below: with the same one, the moments of the
    // processes' calls and their jitter would depend on each other.
    jitter::set_seed(!seed);
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    let clock = TestClock::following_tokio();
    let of_store = Clock::Test(clock.clone());
    let store = Arc::new(MemoryStore::new(move || of_store.now().wall));
    store.set_faults(|faults| {
        faults.latency = STORE_LATENCY;
        faults.cost = STORE_COST;
    });
    let world = Arc::new(World {
        endpoint: Endpoint::new(scenario, &mut rng),
        store,
        keys: Arc::new(keys()),
        outcomes: Mutex::default(),
        stats: Arc::default(),
    });
    let revocations = scenario
        .events
        .iter()
        .filter(|(_, event)| *event == Event::TokensAreRevoked)
        .map(|(at, _)| start + *at)
        .collect();
    let times = Times {
        begin: start,
        start_within: scenario.start_within,
        end: start + scenario.duration,
        call_interval: scenario.call_interval,
        revocations,
    };
    let processes: Vec<_> = (0..scenario.processes)
        .map(|_| {
            let process = Process::new(&world, sharing, scenario.clock_skew, &mut rng);
            Arc::new(process)
        })
        .collect();
    let runs: Vec<_> = processes
        .iter()
        .map(|process| tokio::spawn(Arc::clone(process).run(rng.fork(), times.clone())))
        .collect();
    let mut events = scenario.events.clone();
    events.sort_by_key(|(at, _)| *at);
    for (at, event) in events {
        sleep_until(start + at).await;
        world.apply(event, &processes);
    }
    join_all(runs).await;
    world.outcomes()
}

impl World {
    fn apply(&self, event: Event, processes: &[Arc<Process>]) {
        // The first of them.
        let are_cut_off = |percent: u32| {
            let cut_off = processes.len() * percent as usize / 100;
            processes
                .iter()
                .enumerate()
                .map(move |(at, process)| (process, at < cut_off))
        };
        let store = &self.store;
        let mut endpoint = lock(&self.endpoint.state);
        match event {
            Event::EndpointRecovers => endpoint.behaviour = Behaviour::Normal,
            Event::EndpointFails => endpoint.behaviour = Behaviour::Fails,
            Event::EndpointIsSilent => endpoint.behaviour = Behaviour::Silent,
            Event::EndpointIsUnreachable(percent) => {
                for (process, is) in are_cut_off(percent) {
                    process.is_offline.store(is, Ordering::Relaxed);
                }
            }
            Event::StoreIsUnreachable(percent) => {
                for (process, is) in are_cut_off(percent) {
                    process.client.set_cut_off(is);
                }
            }
            Event::HolderIsKilled => endpoint.kills = true,
            Event::TokensAreRevoked => endpoint.revoked = endpoint.expiries.len(),
            Event::StoreIsDown(is) => store.set_faults(|faults| faults.is_down = is),
            Event::StoreIsPaused(true) => store.pause(),
            Event::StoreIsPaused(false) => store.resume(),
            Event::StoreIsWiped => store.wipe(),
            Event::StoreIsReadOnly(is) => store.set_faults(|faults| faults.is_read_only = is),
            Event::StoreLies(does) => store.set_faults(|faults| faults.has_endless_lease = does),
            Event::StoreClockIs(ahead) => {
                store.set_faults(|faults| faults.clock_ahead = ahead.saturating_mul(1_000));
            }
        }
    }

    fn outcomes(&self) -> Outcomes {
        let endpoint = lock(&self.endpoint.state);
        let commands = self.store.counts();
        Outcomes {
            requests: endpoint.requests,
            peak_requests: endpoint.peak,
            commands: commands.all(),
            peak_commands: commands.peak,
            adopted: self.stats.get(Counted::SharedAdopted),
            alone: self.stats.get(Counted::SharedAlone),
            ..lock(&self.outcomes).clone()
        }
    }
}

/// Keys of the fleet's token.
fn keys() -> SealKeys {
    let root = RootKey::new(&Secret::new("simulated-secret"), None);
    let principal = Principal {
        auth_url: "https://auth.simulated/oauth2/token",
        scope: "simulated",
        client_id: "simulated-client",
        basic_encoding: "raw",
    };
    root.access_token("layerfi", &principal)
}
