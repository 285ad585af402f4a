use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::store::cases::{entry, names, owner, store_cases};

const LEASE: Duration = Duration::from_secs(3);

fn store() -> MemoryStore {
    let start = Instant::now();
    MemoryStore::new(move || 1_780_000_000_000_000_000 + nanos(start.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn b30_store_in_memory_passes_the_cases_of_stores() {
    store_cases(&store(), "memory").await;
    let slow = store();
    slow.set_faults(|faults| faults.latency = Duration::from_millis(3));
    store_cases(&slow, "slow").await;
}

#[tokio::test(start_paused = true)]
async fn b30_store_that_is_down_fails_and_recovers() {
    let store = store();
    let names = names("memory", "down");
    store.set_faults(|faults| faults.is_down = true);
    let look = store.look_up(&names, &[], &owner(1), LEASE).await;
    assert_eq!(look.unwrap_err().kind, StoreErrorKind::Connect);
    assert!(!store.is_up());
    store.set_faults(|faults| faults.is_down = false);
    let look = store.look_up(&names, &[], &owner(1), LEASE).await;
    assert_eq!(look.unwrap().found, Found::Lease);
    assert!(store.is_up());
}

#[tokio::test(start_paused = true)]
async fn b30_read_only_store_shows_values_and_grants_no_lease() {
    let store = store();
    let names = names("memory", "read-only");
    let one = entry(1, 100);
    store.put(&names.value, &one, LEASE);
    store.set_faults(|faults| faults.is_read_only = true);
    let look = store.look_up(&names, &[], &owner(1), LEASE).await;
    assert_eq!(look.unwrap().found, Found::Entry(one));
    store.evict(&names.value);
    let look = store.look_up(&names, &[], &owner(1), LEASE).await;
    assert_eq!(look.unwrap().found, Found::Refused);
    let two = entry(2, 200);
    let published = store.publish(&names, &owner(1), &two, LEASE).await;
    assert!(published.is_err());
    assert_eq!(store.get(&names.value), None);
}

/// The ghost of a process that has given up holds a lease.
#[tokio::test(start_paused = true)]
async fn b30_paused_store_executes_what_was_given_up() {
    let store = store();
    let names = names("memory", "paused");
    store.pause();
    let ghost = owner(1);
    let look = store.look_up(&names, &[], &ghost, LEASE);
    let given_up = tokio::time::timeout(Duration::from_millis(500), look).await;
    assert!(given_up.is_err());
    let waiting = owner(2);
    let waits = store.look_up(&names, &[], &waiting, LEASE);
    let later = async {
        sleep(Duration::from_secs(10)).await;
        store.resume();
    };
    let (look, ()) = tokio::join!(waits, later);
    assert_eq!(look.unwrap().found, Found::Held(Some(LEASE)));
    sleep(LEASE).await;
    let look = store.look_up(&names, &[], &waiting, LEASE).await;
    assert_eq!(look.unwrap().found, Found::Lease);
}

#[tokio::test(start_paused = true)]
async fn b30_store_has_latency_costs_and_a_clock_of_its_own() {
    let store = store();
    let names = names("memory", "slow");
    store.set_faults(|faults| {
        faults.latency = Duration::from_millis(20);
        faults.cost = Duration::from_millis(10);
        faults.clock_ahead = -5_000;
    });
    let start = Instant::now();
    let owners: Vec<_> = (0..10).map(owner).collect();
    let looks = owners
        .iter()
        .map(|owner| store.look_up(&names, &[], owner, LEASE));
    let looks = futures_util::future::join_all(looks).await;
    assert_eq!(start.elapsed(), Duration::from_millis(20 + 10 * 10 + 20));
    let times = looks.into_iter().map(|look| look.unwrap().now);
    assert!(
        times.eq([1_779_999_995_020; 10]),
        "time of the store's clock"
    );
    assert_eq!(
        store.counts(),
        Counts {
            look_ups: 10,
            peak: 10,
            ..Counts::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn b30_lying_store_says_that_a_lease_has_no_end() {
    let store = store();
    store.set_faults(|faults| faults.has_endless_lease = true);
    let names = names("memory", "lying");
    let look = store.look_up(&names, &[], &owner(1), LEASE).await;
    assert_eq!(look.unwrap().found, Found::Held(None));
}
