//! Tests of the slot with a model checker, which runs the real code in
//! thousands of schedules.
//!
//! `make model`, or `RUSTFLAGS="--cfg shuttle" cargo test -p layerfi-auth --lib model`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use shuttle::future::block_on;
use shuttle::thread;

use super::super::{Context, Spawn};
use super::{Act, Bench, Script, assert_served, permanent, transient};
use crate::error::{ErrorKind, Result};
use crate::sys::clock::TestClock;
use crate::sys::fork;

/// Schedules per scenario; more with `LAYERFI_MODEL_RUNS`.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let runs = std::env::var("LAYERFI_MODEL_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(5_000);
    let scenario = Arc::new(scenario);
    let same = Arc::clone(&scenario);
    shuttle::check_random(move || scenario(), runs);
    // Schedules with few task switches, at the worst points; random schedules
    // have many.
    shuttle::check_pct(move || same(), runs, 3);
}

/// Runs `call` in `count` threads and returns their results.
fn threads<T: Send + 'static>(
    count: u32,
    bench: &Arc<Bench>,
    call: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let call = Arc::new(call);
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (bench, call) = (Arc::clone(bench), Arc::clone(&call));
            thread::spawn(move || call(&bench))
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

#[test]
fn b02_model_cold_herd_makes_one_request() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        let values = threads(3, &bench, |bench| block_on(bench.get()).unwrap());
        assert_eq!(values, [1, 1, 1]);
        bench.script.assert_fetches(1);
    });
}

#[test]
fn b03_model_failing_herd_makes_one_request() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        bench.script.then(Act::Fail(permanent()));
        let results = threads(3, &bench, |bench| block_on(bench.get()));
        assert!(results.iter().all(Result::is_err));
        bench.script.assert_fetches(1);
    });
}

#[test]
fn b04_model_no_caller_waits_for_a_refresh() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        bench.advance(3_100);
        // A call that does not wait ends at its first poll.
        let values = threads(3, &bench, |bench| {
            bench.get().now_or_never().expect("waits").unwrap()
        });
        assert!(values.iter().all(|value| [1, 2].contains(value)));
        assert!(bench.script.fetches() <= 2);
    });
}

#[test]
fn b05_model_failing_refresh_keeps_the_value() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        bench
            .script
            .then(Act::Fail(transient()))
            .then(Act::Fail(transient()));
        bench.advance(3_100);
        let values = threads(3, &bench, |bench| {
            bench.get().now_or_never().expect("waits").unwrap()
        });
        assert_eq!(values, [1, 1, 1]);
    });
}

#[test]
fn b07_model_cancelled_caller_does_not_cancel_the_fetch() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        let dropped = Arc::new(AtomicU32::new(0));
        let values = threads(3, &bench, move |bench| {
            if dropped.fetch_add(1, Ordering::SeqCst) == 0 {
                // Polled once, then dropped in any state.
                return bench.get().now_or_never().map_or(1, Result::unwrap);
            }
            block_on(bench.get()).unwrap()
        });
        assert_eq!(values, [1, 1, 1]);
        bench.script.assert_fetches(1);
    });
}

#[test]
fn b11_model_refused_value_is_replaced_once() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        let values = threads(3, &bench, |bench| {
            bench.invalidate(1);
            block_on(bench.get()).unwrap()
        });
        assert_eq!(values, [2, 2, 2]);
        bench.script.assert_fetches(2);
    });
}

#[test]
fn b11_model_refused_value_is_renewed_once_and_served_until_then() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        let turn = Arc::new(AtomicU32::new(0));
        let values = threads(4, &bench, move |bench| {
            if turn.fetch_add(1, Ordering::SeqCst) < 2 {
                return block_on(bench.renew(1)).unwrap().unwrap();
            }
            let value = bench.hit().expect("the value was taken away");
            assert!([1, 2].contains(&value));
            2
        });
        assert_eq!(values, [2, 2, 2, 2]);
        bench.script.assert_fetches(2);
    });
}

#[test]
fn b09_model_value_that_expires_during_a_refresh_is_replaced_once() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        bench.advance(3_100);
        let clock = bench.clock.clone();
        let time = thread::spawn(move || clock.suspend(Duration::from_secs(600)));
        let values = threads(2, &bench, |bench| block_on(bench.get()).unwrap());
        time.join().unwrap();
        assert!(values.iter().all(|value| [1, 2].contains(value)));
        assert_served(block_on(bench.get()), 2);
        bench.script.assert_fetches(2);
    });
}

/// Does not finish the first task: drops it, like a runtime that ends, or keeps it
/// forever, as after a fork.
struct LostTasks {
    tasks: AtomicU32,
    forked: bool,
}

impl LostTasks {
    fn bench(forked: bool) -> Bench {
        let clock = TestClock::new();
        let bench = Bench::with(Script::new(&clock), clock);
        let spawn = Arc::new(Self {
            tasks: AtomicU32::new(0),
            forked,
        });
        let cx = Context {
            spawn,
            ..bench.cx.clone()
        };
        Bench { cx, ..bench }
    }
}

impl Spawn for LostTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        if self.tasks.fetch_add(1, Ordering::SeqCst) > 0 {
            drop(shuttle::future::spawn(task));
        } else if self.forked {
            std::mem::forget(task);
        } else {
            drop(shuttle::future::spawn(async move {
                shuttle::future::yield_now().await;
                drop(task);
            }));
        }
        Ok(())
    }
}

#[test]
fn b12_model_dropped_fetch_leaves_no_caller_waiting() {
    explore(|| {
        let bench = Arc::new(LostTasks::bench(false));
        let results = threads(3, &bench, |bench| block_on(bench.get()));
        for result in results {
            match result {
                Ok(value) => assert_eq!(value, 1),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Transport),
            }
        }
        assert_served(block_on(bench.get()), 1);
    });
}

#[test]
fn b13_model_child_does_not_wait_for_the_parents_fetch() {
    explore(|| {
        let bench = Arc::new(LostTasks::bench(true));
        // The parent forks during its first fetch. The child's threads have the
        // state of that moment.
        assert!(bench.get().now_or_never().is_none());
        fork::pretend::fork();
        let values = threads(3, &bench, |bench| block_on(bench.get()).unwrap());
        assert_eq!(values, [1, 1, 1]);
    });
}

#[test]
fn b30_model_no_caller_notices_a_postponed_refresh() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        let wait = Duration::from_secs(60);
        bench.script.then(Act::Postpone(wait));
        bench.advance(3_100);
        let values = threads(3, &bench, |bench| {
            bench.get().now_or_never().expect("waits").unwrap()
        });
        assert_eq!(values, [1, 1, 1]);
        assert!(bench.script.fetches() <= 2, "refreshes before its time");
        assert_eq!(bench.cx.stats.snapshot().failures, []);
    });
}

#[test]
fn b30_model_callers_that_join_a_postponed_refresh_get_a_value() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        let wait = Duration::from_secs(60);
        bench.script.then(Act::Postpone(wait));
        bench.advance(3_100);
        let clock = bench.clock.clone();
        // The value expires before, during or after its refresh.
        let time = thread::spawn(move || clock.advance(Duration::from_secs(600)));
        let turn = Arc::new(AtomicU32::new(0));
        let values = threads(3, &bench, move |bench| {
            if turn.fetch_add(1, Ordering::SeqCst) == 0 {
                return block_on(bench.renew(1)).unwrap().unwrap();
            }
            block_on(bench.get()).unwrap()
        });
        time.join().unwrap();
        assert!(values.iter().all(|value| [1, 2, 3].contains(value)));
        let value = block_on(bench.get()).unwrap();
        assert!(bench.script.is_alive(value), "an expired value is served");
        assert!(bench.script.fetches() <= 3, "{}", bench.script.fetches());
    });
}

#[test]
fn b30_model_refused_value_is_handed_to_the_fetch_that_replaces_it() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        block_on(bench.get()).unwrap();
        let turn = Arc::new(AtomicU32::new(0));
        let values = threads(3, &bench, move |bench| {
            match turn.fetch_add(1, Ordering::SeqCst) {
                0 => drop(bench.invalidate(1)),
                1 => return block_on(bench.renew(1)).unwrap().unwrap(),
                _ => {}
            }
            block_on(bench.get()).unwrap()
        });
        assert!(values.iter().all(|value| [1, 2].contains(value)));
        assert_served(block_on(bench.get()), 2);
        bench.script.assert_fetches(2);
        assert_eq!(bench.script.params().refused, Some(1));
        bench.advance(3_600);
        assert_served(block_on(bench.get()), 3);
        assert_eq!(bench.script.params().refused, None, "it was replaced");
    });
}

#[test]
fn b30_model_shared_value_that_falls_short_is_not_served_to_those_who_need_more() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        let shared = || Act::AdoptIfEnough {
            value: 100,
            age: Duration::from_secs(2_400),
        };
        bench.script.then(shared()).then(shared());
        let turn = Arc::new(AtomicU32::new(0));
        threads(3, &bench, move |bench| {
            // The shared value is enough for the first two.
            let (minimum, enough) = match turn.fetch_add(1, Ordering::SeqCst) {
                0 => (None, true),
                1 => (Some(1_000), true),
                _ => (Some(2_000), false),
            };
            let minimum = minimum.map(Duration::from_secs);
            let value = block_on(bench.get_with(minimum)).unwrap();
            assert!(value != 100 || enough, "a value of 1,200 s for {minimum:?}");
        });
        assert!(bench.script.fetches() <= 3, "{}", bench.script.fetches());
    });
}

/// All events together: in any schedule, no expired value is returned, no caller
/// waits forever, and no two fetches run at the same time (the source checks
/// that).
#[test]
fn b02_b05_b07_b11_b30_model_mixed_events() {
    explore(|| {
        let bench = Arc::new(Bench::new());
        bench
            .script
            .then(Act::Give(Duration::from_secs(20)))
            .then(Act::Postpone(Duration::from_secs(1)))
            .then(Act::Fail(transient()));
        let turn = Arc::new(AtomicU32::new(0));
        threads(4, &bench, move |bench| {
            match turn.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    let _ = block_on(bench.get());
                    bench.advance(18);
                    let _ = block_on(bench.get());
                }
                1 => {
                    bench.invalidate(1);
                    let _ = block_on(bench.renew(2));
                    let _ = block_on(bench.get());
                }
                2 => drop(bench.get().now_or_never()),
                _ => {
                    if let Ok(value) = block_on(bench.get()) {
                        assert!(value >= 1);
                    }
                }
            }
        });
        // The slot recovers after the quiet time at the latest.
        bench.advance(5);
        let value = block_on(bench.get())
            .or_else(|_| block_on(bench.get()))
            .unwrap();
        assert!(bench.script.is_alive(value));
    });
}
