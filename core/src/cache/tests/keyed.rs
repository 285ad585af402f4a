//! Tests of slots by key.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::super::Keyed;
use super::{Act, Script, assert_served, context, permanent, settle};
use crate::cache::Context;
use crate::deadline::Progress;
use crate::sys::clock::TestClock;
use crate::sys::fork;

struct Bench {
    clock: TestClock,
    cx: Context,
    keyed: Arc<Keyed<u32, u32>>,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let clock = TestClock::new();
        Self {
            cx: context(&clock),
            keyed: Arc::new(Keyed::new(capacity)),
            clock,
        }
    }

    #[track_caller]
    fn assert_keys(&self, expected: usize) {
        let keys = self.keyed.len(&self.cx);
        assert_eq!(keys, expected, "the cache has {keys} keys");
    }

    fn script(&self) -> Script {
        Script::new(&self.clock)
    }

    fn hit(&self, key: u32) -> Option<u32> {
        self.keyed
            .hit(&self.cx, &key, None, || self.script())
            .map(|hit| *hit.value())
    }

    async fn get(&self, key: u32, script: &Script) -> crate::Result<u32> {
        let progress = Progress::default();
        let get = self
            .keyed
            .get(&self.cx, &key, script.clone(), None, &progress);
        get.await.map(|entry| entry.value)
    }
}

#[tokio::test]
async fn b15_one_key_does_not_wait_for_another() {
    let bench = Bench::new(10);
    let slow = bench.script();
    slow.hold();
    assert!(bench.get(1, &slow).now_or_never().is_none());
    let failing = bench.script();
    failing.then(Act::Fail(permanent()));
    assert!(bench.get(2, &failing).await.is_err());
    let good = bench.script();
    assert_served(bench.get(3, &good).await, 1);
    assert_eq!(bench.hit(3), Some(1));
    assert_eq!(bench.hit(2), None);
    slow.release();
    settle().await;
    assert_eq!(bench.hit(1), Some(1));
    assert_eq!(
        (slow.fetches(), failing.fetches(), good.fetches()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn b04_b17_only_refresh_starts_a_refresh() {
    let bench = Bench::new(10);
    let script = bench.script();
    let peek = || bench.keyed.peek(&bench.cx, &1, |entry| entry.value);
    assert_eq!(peek(), None, "a key that is not there");
    bench.get(1, &script).await.unwrap();
    bench.keyed.refresh(&bench.cx, &1, script.clone());
    settle().await;
    assert_eq!(
        (peek(), script.fetches()),
        (Some((1, false)), 1),
        "a refresh ran before it was due"
    );
    bench.clock.advance(Duration::from_secs(3_100));
    for _ in 0..100 {
        assert_eq!(peek(), Some((1, true)));
    }
    settle().await;
    script.assert_fetches(1);
    script.hold();
    for _ in 0..100 {
        bench.keyed.refresh(&bench.cx, &1, script.clone());
        bench.keyed.refresh(&bench.cx, &2, script.clone());
    }
    assert_eq!(peek(), Some((1, false)), "while the refresh runs");
    settle().await;
    script.release();
    settle().await;
    assert_eq!((peek(), script.fetches()), (Some((2, false)), 2));
    bench.clock.advance(Duration::from_secs(3_600));
    assert_eq!(peek(), None, "an expired value");
}

#[tokio::test]
async fn b15_number_of_keys_is_bounded_and_used_keys_stay() {
    let bench = Bench::new(10);
    for key in 0..10 {
        bench.get(key, &bench.script()).await.unwrap();
    }
    for key in 0..5 {
        assert!(bench.hit(key).is_some());
    }
    for key in 10..15 {
        bench.get(key, &bench.script()).await.unwrap();
        assert!(bench.keyed.len(&bench.cx) <= 10);
    }
    let kept: Vec<u32> = (0..15).filter(|key| bench.hit(*key).is_some()).collect();
    assert_eq!(kept, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
}

#[tokio::test]
async fn b15_expired_keys_are_removed() {
    let bench = Bench::new(1_000);
    for key in 0..100 {
        let script = bench.script();
        script.then(Act::Give(Duration::from_secs(60)));
        bench.get(key, &script).await.unwrap();
    }
    let failing = bench.script();
    failing.then(Act::Fail(permanent()));
    assert!(bench.get(500, &failing).await.is_err());
    bench.clock.advance(Duration::from_secs(50));
    let long = bench.script();
    bench.get(1_000, &long).await.unwrap();
    bench.assert_keys(102);
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(
        bench.keyed.len(&bench.cx),
        2,
        "the long-lived one, and the failure"
    );
    bench.clock.advance(Duration::from_secs(120));
    bench.assert_keys(1);
    assert_eq!(bench.hit(1_000), Some(1));
}

#[tokio::test]
async fn b15_one_call_removes_a_bounded_number_of_expired_keys() {
    let bench = Bench::new(2_000);
    for key in 0..1_000 {
        let script = bench.script();
        script.then(Act::Give(Duration::from_secs(60)));
        bench.get(key, &script).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(60));
    for newcomer in 1..=3 {
        bench.get(10_000 + newcomer, &bench.script()).await.unwrap();
        let there = bench.keyed.nodes();
        assert!((500..1_000).contains(&there), "{there} keys are left");
    }
    bench.assert_keys(3);
}

#[tokio::test]
async fn b15_refreshed_key_is_not_removed_at_its_first_expiry() {
    let bench = Bench::new(10);
    let script = bench.script();
    script.then(Act::Give(Duration::from_secs(100)));
    bench.get(1, &script).await.unwrap();
    bench.clock.advance(Duration::from_secs(90));
    assert_eq!(
        bench
            .keyed
            .hit(&bench.cx, &1, None, || script.clone())
            .map(|hit| *hit.value()),
        Some(1)
    );
    settle().await;
    bench.clock.advance(Duration::from_secs(20));
    bench.assert_keys(1);
    assert_eq!(bench.hit(1), Some(2));
    bench.clock.advance(Duration::from_secs(3_600));
    bench.assert_keys(0);
}

#[tokio::test]
async fn b15_number_of_keys_is_bounded_while_all_are_fetched() {
    let bench = Bench::new(3);
    let scripts: Vec<_> = (0..8)
        .map(|key| {
            let script = bench.script();
            script.hold();
            assert!(bench.get(key, &script).now_or_never().is_none());
            script
        })
        .collect();
    assert!(bench.keyed.len(&bench.cx) <= 3);
    for script in &scripts {
        script.release();
    }
    settle().await;
    assert!(bench.keyed.len(&bench.cx) <= 3);
}

#[tokio::test]
async fn b13_forked_child_serves_the_parents_values() {
    let bench = Bench::new(10);
    for key in 0..5 {
        bench.get(key, &bench.script()).await.unwrap();
    }
    fork::pretend::fork();
    for key in 0..5 {
        let script = bench.script();
        assert_served(bench.get(key, &script).await, 1);
        script.assert_fetches(0);
        assert_eq!(bench.hit(key), Some(1));
    }
    bench.assert_keys(5);
}

#[tokio::test]
async fn b15_expired_keys_are_evicted_before_valid_keys() {
    let bench = Bench::new(10);
    for key in 0..10 {
        let script = bench.script();
        let seconds = if key % 2 == 0 { 3_600 } else { 60 };
        script.then(Act::Give(Duration::from_secs(seconds)));
        bench.get(key, &script).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(60));
    for key in 10..15 {
        bench.get(key, &bench.script()).await.unwrap();
    }
    let kept: Vec<u32> = (0..15).filter(|key| bench.hit(*key).is_some()).collect();
    assert_eq!(kept, [0, 2, 4, 6, 8, 10, 11, 12, 13, 14]);
}

#[tokio::test]
async fn b11_refused_value_is_found_without_its_key() {
    let bench = Bench::new(10);
    for key in 0..5 {
        let script = bench.script();
        for _ in 0..key {
            script.then(Act::Fail(permanent()));
        }
        for _ in 0..=key {
            let _ = bench.get(key, &script).await;
            bench.clock.advance(Duration::from_secs(61));
        }
    }
    // The value of key 3 is 4, the number of its fetch.
    assert!(bench.keyed.invalidate_any(&bench.cx, |value| *value == 4));
    assert!(!bench.keyed.invalidate_any(&bench.cx, |value| *value == 4));
    let left: Vec<u32> = (0..5).filter(|key| bench.hit(*key).is_some()).collect();
    assert_eq!(left, [0, 1, 2, 4]);
}
