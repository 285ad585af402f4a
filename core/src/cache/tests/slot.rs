//! Tests of one slot.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::super::Reader;
use super::{
    Act, Bench, LIFE, Params, Script, assert_served, limited, permanent, settle, transient,
};
use crate::error::ErrorKind;
use crate::stats::Event;
use crate::sys::clock::TestClock;
use crate::sys::fork;

#[tokio::test]
async fn b01_hit_is_served_without_a_fetch() {
    let bench = Bench::new();
    assert_eq!(bench.hit(), None);
    assert_served(bench.get().await, 1);
    let mut reader = Reader::new(Arc::clone(&bench.slot));
    for _ in 0..10 {
        assert_eq!(bench.hit(), Some(1));
        assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), Some(&1));
        assert_served(bench.get().now_or_never().unwrap(), 1);
    }
    bench.script.assert_fetches(1);
    assert_eq!(bench.cx.stats.snapshot().hits, 30);
    // A reader returns a new value, and no expired one.
    assert!(bench.invalidate(1));
    assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), None);
    assert_served(bench.get().await, 2);
    assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), Some(&2));
}

#[tokio::test]
async fn b02_cold_herd_makes_one_request() {
    let bench = Bench::new();
    bench.script.hold();
    let herd = join_all((0..1_000).map(|_| bench.get()));
    let both = futures_util::future::join(herd, async {
        settle().await;
        bench.script.release();
    });
    let (results, ()) = both.await;
    assert!(results.into_iter().all(|result| result.unwrap() == 1));
    bench.script.assert_fetches(1);
    let stats = bench.cx.stats.snapshot();
    assert_eq!((stats.misses, stats.waits), (1, 1_000));
}

#[tokio::test]
async fn b03_failing_herd_gets_one_error() {
    let bench = Bench::new();
    bench.script.then(Act::Fail(transient())).hold();
    let herd = join_all((0..1_000).map(|_| bench.get()));
    let (results, ()) = futures_util::future::join(herd, async {
        settle().await;
        bench.script.release();
    })
    .await;
    assert!(
        results
            .into_iter()
            .all(|result| result.unwrap_err().kind() == ErrorKind::Transport)
    );
    bench.script.assert_fetches(1);
}

#[tokio::test]
async fn b04_no_caller_waits_while_one_refresh_runs() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.advance(2_699);
    assert_eq!(bench.hit(), Some(1));
    assert_eq!(
        bench.script.fetches(),
        1,
        "refreshed before 75 % of the life"
    );
    bench.script.hold();
    bench.advance(362); // 85 %: due with any jitter
    for _ in 0..1_000 {
        assert_served(bench.get().now_or_never().unwrap(), 1);
    }
    settle().await;
    bench.script.assert_fetches(2);
    bench.script.release();
    settle().await;
    assert_eq!(bench.hit(), Some(2));
    assert_eq!(bench.cx.stats.get(Event::Refresh), 1);
    assert_eq!(bench.cx.stats.snapshot().stale_serves, 1_000);
}

#[tokio::test]
async fn b04_short_lived_value_is_not_refreshed_on_each_call() {
    let bench = Bench::new();
    for _ in 0..100 {
        bench.script.then(Act::Give(Duration::from_secs(15)));
    }
    // A call each tenth of a second for five minutes.
    for _ in 0..3_000 {
        bench.get().await.unwrap();
        bench.clock.advance(Duration::from_millis(100));
        settle().await;
    }
    // 300 s / (15 s * 0.75) = 26.7 at the most.
    assert!(
        (20..=27).contains(&bench.script.fetches()),
        "{} requests in five minutes",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b05_value_is_served_until_it_expires_while_refreshes_fail() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    for _ in 0..10_000 {
        bench.script.then(Act::Fail(transient()));
    }
    bench.advance(3_060);
    for second in 3_060..3_600 {
        assert_eq!(
            bench.get().now_or_never().unwrap().unwrap(),
            1,
            "at {second} s"
        );
        settle().await;
        bench.advance(1);
    }
    // 540 s: after 1, 2, 4, … 32 s, then each minute; by jitter half of that.
    let refreshes = bench.script.fetches() - 1;
    assert!((12..=26).contains(&refreshes), "{refreshes} refreshes");
    // Expired.
    assert_eq!(bench.hit(), None);
    assert_eq!(bench.get().await.unwrap_err().kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn b05_refused_refresh_keeps_the_current_value() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.script.then(Act::Fail(permanent()));
    bench.advance(3_100);
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    assert_eq!(bench.hit(), Some(1));
    bench.advance(60);
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    assert_eq!(bench.hit(), Some(3), "it does not recover");
}

#[tokio::test]
async fn b06_permanent_failure_makes_one_request_per_quiet_time() {
    let bench = Bench::new();
    bench
        .script
        .then(Act::Fail(permanent()))
        .then(Act::Fail(permanent()));
    for _ in 0..20 {
        assert_eq!(
            bench.get().await.unwrap_err().oauth_error(),
            Some("invalid_client")
        );
    }
    bench.script.assert_fetches(1);
    bench.advance(2);
    for _ in 0..20 {
        bench.get().await.unwrap_err();
    }
    assert_eq!(bench.script.fetches(), 2, "requests after the quiet time");
    bench.advance(4);
    assert_served(bench.get().await, 3);
}

#[tokio::test]
async fn b06_changed_credentials_are_used_within_a_second() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, true, 0.0), clock);
    bench.script.then(Act::Fail(permanent()));
    for _ in 0..20 {
        assert_eq!(
            bench.get().await.unwrap_err().oauth_error(),
            Some("invalid_client")
        );
    }
    assert_eq!((bench.script.fetches(), bench.script.probes()), (1, 1));
    bench.script.change_credentials();
    bench.advance(1);
    assert_served(bench.get().await, 2);
}

#[tokio::test]
async fn b06_try_get_returns_the_last_failure_during_the_quiet_time() {
    for can_change in [false, true] {
        let clock = TestClock::new();
        let bench = Bench::with(Script::with(&clock, can_change, 0.0), clock);
        bench.script.then(Act::Fail(permanent()));
        let poll = || bench.slot.try_get(&bench.cx, &bench.script, None);
        assert!(poll().unwrap().is_none());
        settle().await;
        for _ in 0..20 {
            let error = poll().map(|_| ()).unwrap_err();
            assert_eq!(error.oauth_error(), Some("invalid_client"));
            settle().await;
        }
        bench.script.assert_fetches(1);
        bench.advance(2);
        assert!(poll().unwrap().is_none(), "no request after the quiet time");
        settle().await;
        assert_eq!(poll().unwrap().map(|entry| entry.value), Some(2));
    }
}

#[tokio::test]
async fn b06_b14_rate_limit_causes_no_reread_of_credentials() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, true, 0.0), clock);
    bench
        .script
        .then(Act::Fail(limited(Duration::from_secs(60))));
    for _ in 0..20 {
        let error = bench.get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
    }
    assert_eq!((bench.script.fetches(), bench.script.probes()), (1, 0));
    bench.advance(60);
    assert_served(bench.get().await, 2);
}

#[tokio::test]
async fn b06_upstream_failure_causes_no_quiet_time() {
    let bench = Bench::new();
    bench.script.then(Act::FailUpstream(permanent()));
    assert!(bench.get().await.is_err());
    assert_eq!(bench.get().await.unwrap(), 2, "it has its own quiet time");
    // Not every call starts a refresh.
    for _ in 0..100 {
        bench.script.then(Act::FailUpstream(permanent()));
    }
    bench.advance(3_100);
    for _ in 0..100 {
        assert_eq!(bench.hit(), Some(2));
        settle().await;
    }
    bench.script.assert_fetches(3);
}

#[tokio::test]
async fn b03_transient_failures_in_a_row_make_few_requests() {
    let bench = Bench::new();
    for _ in 0..1_000 {
        bench.script.then(Act::Fail(transient()));
    }
    // A caller in a loop, a call each 10 ms for a minute.
    for _ in 0..6_000 {
        bench.get().await.unwrap_err();
        bench.clock.advance(Duration::from_millis(10));
    }
    assert!(
        (10..=20).contains(&bench.script.fetches()),
        "{} requests in a minute",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b07_cancelled_caller_does_not_cancel_the_fetch_of_others() {
    let bench = Bench::new();
    bench.script.hold();
    let mut leader = Box::pin(bench.get());
    assert!(leader.as_mut().now_or_never().is_none());
    let mut follower = Box::pin(bench.get());
    assert!(follower.as_mut().now_or_never().is_none());
    drop(leader);
    settle().await;
    bench.script.release();
    assert_served(follower.await, 1);
    bench.script.assert_fetches(1);
}

#[tokio::test]
async fn b07_fetch_without_callers_is_still_used() {
    let bench = Bench::new();
    bench.script.hold();
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    bench.script.release();
    settle().await;
    assert_eq!(bench.hit(), Some(1));
}

#[tokio::test]
async fn b09_value_expires_by_either_clock() {
    for (what, how) in [
        (
            "time passes",
            (|clock: &TestClock| clock.advance(LIFE)) as fn(&TestClock),
        ),
        ("the machine is suspended", |clock| clock.suspend(LIFE)),
        ("the wall clock is set back", |clock| {
            clock.set_wall_back(LIFE);
            clock.advance(LIFE);
        }),
    ] {
        let bench = Bench::new();
        bench.get().await.unwrap();
        assert_eq!(bench.hit(), Some(1));
        how(&bench.clock);
        assert_eq!(bench.hit(), None, "{what}");
        assert_eq!(bench.get().await.unwrap(), 2, "{what}");
        assert_eq!(
            bench.get().await.unwrap(),
            2,
            "{what}: more than one request"
        );
    }
}

#[tokio::test]
async fn b09_life_is_counted_from_before_the_request() {
    let bench = Bench::new();
    bench.script.hold();
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    bench.advance(600);
    // The fetch took ten minutes; its value is still valid.
    bench.script.release();
    settle().await;
    assert_eq!(bench.hit(), Some(1));
    bench.advance(3_000);
    assert_eq!(bench.hit(), None);
}

#[tokio::test]
async fn b10_value_that_expired_on_arrival_is_not_served() {
    let bench = Bench::new();
    bench.script.then(Act::Give(Duration::from_secs(1))).hold();
    let waiting = bench.get();
    let late = async {
        settle().await;
        bench.advance(2);
        bench.script.release();
    };
    let (result, ()) = futures_util::future::join(waiting, late).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn b11_only_the_current_value_can_be_invalidated() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    let refused: u32 = (0..100).map(|_| u32::from(bench.invalidate(1))).sum();
    assert_eq!(refused, 1, "invalidations of one value");
    let results = join_all((0..100).map(|_| bench.get())).await;
    assert!(results.into_iter().all(|result| result.unwrap() == 2));
    assert!(!bench.invalidate(1), "an old value was invalidated");
    bench.script.assert_fetches(2);
}

#[tokio::test]
async fn b11_server_that_refuses_all_values_gets_few_requests() {
    let bench = Bench::new();
    for _ in 0..1_000 {
        let value = bench.get().await.unwrap();
        bench.invalidate(value);
        bench.clock.advance(Duration::from_millis(10));
    }
    // Ten seconds: five at once, one more, and the first.
    assert!(
        (6..=8).contains(&bench.script.fetches()),
        "{} requests in ten seconds",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b11_no_caller_waits_while_a_refused_value_is_renewed() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.script.then(Act::Give(LIFE)).hold();
    let renewals = join_all((0..20).map(|_| bench.renew(1)));
    let others = async {
        settle().await;
        for _ in 0..20 {
            assert_served(bench.get().now_or_never().unwrap(), 1);
        }
        bench.script.release();
    };
    let (renewed, ()) = futures_util::future::join(renewals, others).await;
    assert!(renewed.into_iter().all(|new| new.unwrap() == Some(2)));
    assert_served(bench.get().await, 2);
    // A call that was refused the old value late takes the new one.
    assert_eq!(bench.renew(1).await.unwrap(), Some(2));
    bench.script.assert_fetches(2);
}

#[tokio::test]
async fn b11_renewals_are_limited_and_keep_the_value() {
    let bench = Bench::new();
    let mut value = bench.get().await.unwrap();
    for _ in 0..100 {
        value = bench.renew(value).await.unwrap().unwrap_or(value);
    }
    assert_eq!(bench.script.fetches(), 6, "the first and five renewals");
    assert_served(bench.get().await, 6);
}

#[tokio::test]
async fn b13_forked_child_serves_the_value_and_does_not_wait_for_the_parents_fetch() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    fork::pretend::fork();
    assert_served(bench.get().now_or_never().unwrap(), 1);
    bench.script.assert_fetches(1);

    // During a fetch, whose thread does not exist in the child.
    assert!(bench.invalidate(1));
    bench.script.then(Act::Hang);
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    fork::pretend::fork();
    assert_served(bench.get().await, 3);
}

#[tokio::test]
async fn b13_lock_held_at_the_fork_is_not_waited_for() {
    let bench = Bench::new();
    let held = bench.slot.hold_lock();
    fork::pretend::fork();
    assert_served(bench.get().await, 1);
    drop(held);
}

#[tokio::test]
async fn b12_dropped_fetch_is_an_error_and_the_next_call_fetches_again() {
    let bench = Bench::new();
    bench.script.hold();
    let script = bench.script.clone();
    let (cx, slot) = (bench.cx.clone(), Arc::clone(&bench.slot));
    let waiter = std::thread::spawn(move || {
        let other = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let call = async move {
            let progress = crate::deadline::Progress::default();
            slot.get(&cx, &script, None, &progress).await.map(|_| ())
        };
        let mut call = Box::pin(call);
        other.block_on(async {
            assert!(call.as_mut().now_or_never().is_none());
            settle().await;
        });
        // Its fetch is dropped with its runtime.
        drop(other);
        call.now_or_never()
    });
    let result = waiter.join().unwrap().expect("the waiter still waits");
    let error = result.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    bench.script.release();
    assert_served(bench.get().await, 2);
}

#[tokio::test]
async fn b06_new_wrong_credentials_each_time_cause_few_requests() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, true, 0.0), clock);
    for _ in 0..10_000 {
        bench.script.then(Act::Fail(permanent()));
    }
    // A call each 10 ms for a minute, each with other credentials.
    for _ in 0..6_000 {
        bench.script.change_credentials();
        bench.get().await.unwrap_err();
        bench.clock.advance(Duration::from_millis(10));
    }
    let (requests, reads) = (bench.script.fetches(), bench.script.probes());
    assert!(requests <= 16, "{requests} requests in a minute");
    assert!(reads <= 60, "{reads} reads in a minute");
}

#[tokio::test]
async fn b03_fetch_receives_the_number_of_earlier_failures() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.script.then(Act::Fail(transient()));
    }
    for failures in 0..=3 {
        let _ = bench.get().await;
        assert_eq!(bench.script.failures(), failures);
        bench.advance(5);
    }
}

#[tokio::test]
async fn b16_caller_with_a_minimum_does_not_wait_for_a_refresh() {
    let bench = Bench::new();
    let minimum = Some(Duration::from_secs(1_800));
    bench.get().await.unwrap();
    for second in 0..12 * 3_600 {
        assert!(
            bench.hit_with(minimum).is_some(),
            "a caller waits at {second} s"
        );
        settle().await;
        bench.advance(1);
    }
    // One per 75 to 85 % of half an hour.
    let requests = bench.script.fetches();
    assert!(
        (28..=33).contains(&requests),
        "{requests} requests in 12 hours"
    );
}

/// Subscriber that calls the cache, as a log callback of the user may.
struct Reentrant(Arc<Bench>);

impl tracing::Subscriber for Reentrant {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        // Takes the slot's lock.
        self.0.invalidate(u32::MAX);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn b27_log_subscriber_may_call_the_client() {
    let bench = Arc::new(Bench::new());
    bench.get().await.unwrap();
    bench.script.then(Act::Fail(transient()));
    bench.advance(3_100);
    let _default = tracing::subscriber::set_default(Reentrant(Arc::clone(&bench)));
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    assert_eq!(bench.script.fetches(), 2, "the refresh did not run");
}

#[tokio::test]
async fn b09_value_that_expired_before_a_waiter_woke_is_not_served() {
    let bench = Bench::new();
    bench.script.hold();
    let mut waiter = Box::pin(bench.get());
    assert!(waiter.as_mut().now_or_never().is_none());
    settle().await;
    bench.script.release();
    settle().await;
    // The value is stored, and the machine is suspended before the waiter runs.
    bench.clock.suspend(LIFE);
    bench.script.release();
    assert_served(waiter.await, 2);
}

#[tokio::test]
async fn b16_value_below_its_reserve_is_served_only_if_minting_fails() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, false, 0.5), clock);
    bench.get().await.unwrap();
    bench.advance(1_799);
    assert_eq!(bench.hit(), Some(1), "more than half of its life is left");
    settle().await;
    assert_eq!(bench.hit(), Some(2), "the refresh that was due did not run");

    for _ in 0..3 {
        bench.script.then(Act::Fail(transient()));
    }
    bench.advance(1_801);
    assert_eq!(bench.hit(), None);
    assert_eq!(
        bench.get().await.unwrap(),
        2,
        "not the value that is still valid"
    );
    bench.advance(1_799);
    bench.script.then(Act::Fail(permanent()));
    assert!(bench.get().await.is_err(), "an expired value is served");
}

#[tokio::test]
async fn b16_minimum_above_the_remaining_life_fetches_a_new_value() {
    let bench = Bench::new();
    let with = |seconds| bench.get_with(Some(Duration::from_secs(seconds)));
    assert_served(with(3_000).await, 1);
    bench.advance(601);
    assert_served(with(2_000).await, 1);
    assert_served(with(3_000).await, 2);
    // More than the lifetime of a new value: this must not cause a request per
    // call.
    for _ in 0..10 {
        assert_served(with(1_000_000).await, 2);
    }
}

#[tokio::test]
async fn b16_failed_minimum_does_not_affect_other_callers() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.advance(601);
    for _ in 0..4 {
        bench.script.then(Act::Fail(transient()));
        let error = bench.get_with(Some(Duration::from_secs(3_000))).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Transport);
    }
    // Other callers get their value as before, and no early refresh.
    let fetches = bench.script.fetches();
    bench.advance(120);
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    bench.script.assert_fetches(fetches);
    assert_eq!(bench.cx.stats.snapshot().stale_serves, 0);
}

#[tokio::test]
async fn b23_panic_in_a_fetch_is_an_error() {
    let bench = Bench::new();
    bench.script.then(Act::Panic);
    let error = bench.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    bench.advance(2);
    assert_served(bench.get().await, 2);
}

#[tokio::test]
async fn b30_postponed_refresh_is_no_failure_and_is_tried_again_at_its_time() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench
        .script
        .then(Act::Postpone(Duration::from_secs(100)))
        .then(Act::Fail(transient()));
    bench.advance(3_060);
    for second in 0..100 {
        assert_eq!(bench.hit(), Some(1), "{second} s after the refresh was due");
        settle().await;
        assert_eq!(bench.script.fetches(), 2, "refreshes, after {second} s");
        bench.advance(1);
    }
    assert_eq!(bench.script.params().held, Some(1), "the value to replace");
    let stats = bench.cx.stats.snapshot();
    assert_eq!((stats.refreshes, stats.failures), (1, vec![]), "at first");
    // A failure before would be counted here.
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    assert_eq!((bench.script.fetches(), bench.script.failures()), (3, 0));
    let failures = bench.cx.stats.snapshot().failures;
    assert_eq!(failures, [(ErrorKind::Transport, 1)], "the second refresh");
    // There is no quiet time: the value expires, and a caller fetches at once.
    bench.advance(440);
    assert_served(bench.get().await, 4);
}

#[tokio::test]
async fn b30_caller_that_joined_a_postponed_refresh_fetches_for_itself() {
    for renewal in [false, true] {
        let bench = Bench::new();
        bench.get().await.unwrap();
        bench.script.hold();
        bench.script.then(Act::Postpone(Duration::from_secs(100)));
        bench.advance(3_060);
        assert_eq!(bench.hit(), Some(1));
        settle().await;
        let joined = async {
            if renewal {
                // A server refuses the value while its refresh is in progress.
                return bench.renew(1).await.unwrap();
            }
            // It expires while its refresh is in progress.
            bench.advance(540);
            let callers = join_all((0..20).map(|_| bench.get())).await;
            let value = callers.first().unwrap().clone().unwrap();
            assert!(callers.into_iter().all(|other| other.unwrap() == value));
            Some(value)
        };
        let release = async {
            for _ in 0..2 {
                settle().await;
                bench.script.release();
            }
        };
        let (value, ()) = futures_util::future::join(joined, release).await;
        assert_eq!(value, Some(3), "renewal: {renewal}");
        assert_eq!(bench.script.fetches(), 3, "renewal: {renewal}");
        let refused = renewal.then_some(1);
        let own = Params {
            refused,
            ..Params::default()
        };
        assert_eq!(bench.script.params(), own, "the caller's own fetch");
    }
}

#[tokio::test]
async fn b30_keep_warm_that_joined_a_postponed_refresh_fetches_for_itself() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.script.hold();
    bench.script.then(Act::Postpone(Duration::from_secs(100)));
    bench.advance(3_060);
    assert_eq!(bench.hit(), Some(1));
    bench.advance(540);
    let release = async {
        for _ in 0..2 {
            settle().await;
            bench.script.release();
        }
    };
    let fresh = bench.slot.keep_fresh(&bench.cx, &bench.script);
    let (kept, ()) = futures_util::future::join(fresh, release).await;
    kept.unwrap();
    assert_eq!(bench.hit(), Some(3));
}

#[tokio::test]
async fn b30_fetch_that_callers_wait_for_cannot_be_postponed() {
    let bench = Bench::new();
    bench.script.then(Act::PostponeAny(Duration::ZERO));
    let error = bench.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    bench.script.assert_fetches(1);
}

#[tokio::test]
async fn b30_refused_value_is_handed_to_fetches_until_another_replaces_it() {
    let again = |value| Act::Adopt {
        value,
        age: Duration::from_secs(1),
    };
    for renewal in [false, true] {
        let bench = Bench::new();
        bench.get().await.unwrap();
        assert_eq!(bench.script.params().refused, None, "renewal: {renewal}");
        // It is handed to the next fetch, and after a failure to the one after it. That
        // one returns the refused value again. The one after it returns another.
        bench
            .script
            .then(Act::Fail(transient()))
            .then(again(1))
            .then(Act::Give(Duration::from_secs(100)));
        if renewal {
            bench.renew(1).await.unwrap_err();
            assert_eq!(bench.script.params().refused, Some(1));
            assert_eq!(bench.script.params().held, None, "a caller waits");
            assert_eq!(bench.renew(1).await.unwrap(), Some(1));
        } else {
            assert!(bench.invalidate(1));
            bench.get().await.unwrap_err();
            assert_eq!(bench.script.params().refused, Some(1));
            assert_served(bench.get().await, 1);
        }
        // Refreshes, before the refused value has expired.
        for (seconds, fetch, refused) in [(3_060, 4, Some(1)), (85, 5, None)] {
            bench.advance(seconds);
            assert!(bench.hit().is_some());
            settle().await;
            bench.script.assert_fetches(fetch);
            let given = bench.script.params().refused;
            assert_eq!(given, refused, "renewal: {renewal}, in fetch {fetch}");
        }
    }
}

#[tokio::test]
async fn b30_refused_value_is_forgotten_when_it_expires() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    let entry = Arc::downgrade(&bench.slot.peek().unwrap());
    assert!(bench.invalidate(1));
    bench.script.then(Act::Fail(transient()));
    bench.advance(3_599);
    bench.get().await.unwrap_err();
    assert_eq!(bench.script.params().refused, Some(1));
    assert!(entry.strong_count() > 0);
    bench.advance(1);
    bench.script.then(Act::Fail(transient()));
    bench.get().await.unwrap_err();
    assert_eq!(bench.script.params().refused, None);
    assert_eq!(entry.strong_count(), 0, "the expired value is kept");
}

#[tokio::test]
async fn b30_caller_gets_its_minimum_after_a_shared_value_that_falls_short() {
    let bench = Bench::new();
    let minimum = Some(Duration::from_secs(1_800));
    bench.script.then(Act::Adopt {
        value: 100,
        age: Duration::from_secs(2_400),
    });
    // Another caller, without a minimum, starts the fetch.
    let results = join_all([
        bench.get_with(None),
        bench.get_with(minimum),
        bench.get_with(minimum),
    ])
    .await;
    let values: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [100, 2, 2]);
    bench.script.assert_fetches(2);
    assert_eq!(bench.script.params().min_remaining, minimum);
}

#[tokio::test]
async fn b30_minimum_that_no_fetch_meets_ends_with_the_value_that_came() {
    let old = |value| Act::Adopt {
        value,
        age: Duration::from_secs(3_000),
    };
    let minimum = Some(Duration::from_secs(1_800));
    // Its own fetch is the last.
    let bench = Bench::new();
    bench.script.then(old(100)).then(old(101)).then(old(102));
    assert_served(bench.get_with(minimum).await, 100);
    bench.script.assert_fetches(1);
    // The second fetch is started by a caller with a lower minimum, who is served with
    // it. The third one is for both.
    let lower = Some(Duration::from_secs(1_000));
    let results = join_all([
        bench.get_with(lower),
        bench.get_with(minimum),
        bench.get_with(minimum),
    ])
    .await;
    let values: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [101, 102, 102]);
    bench.script.assert_fetches(3);
}

#[tokio::test]
async fn b30_callers_with_lower_minimums_do_not_make_another_wait_forever() {
    let bench = Bench::new();
    bench.script.hold();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let mut caller = Box::pin(bench.get_with(seconds(1_800)));
    for value in 100..103 {
        bench.script.then(Act::Adopt {
            value,
            age: Duration::from_secs(3_000),
        });
        // Another caller starts a fetch, which returns less than either requires.
        let mut other = Box::pin(bench.get_with(seconds(1_000)));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(caller.as_mut().now_or_never().is_none(), "served {value}");
        settle().await;
        bench.script.release();
        settle().await;
        assert_eq!(other.await.unwrap(), value);
    }
    assert_served(caller.now_or_never().unwrap(), 102);
    bench.script.assert_fetches(3);
}

#[tokio::test]
async fn b30_value_older_than_the_machines_start_has_its_age() {
    let bench = Bench::new();
    // The test clock starts 1,000 s after the boot.
    bench.script.then(Act::Adopt {
        value: 100,
        age: Duration::from_secs(2_600),
    });
    assert_served(bench.get().await, 100);
    // The wall clock tells nothing.
    bench.clock.set_wall_back(LIFE);
    let entry = bench.slot.peek().unwrap();
    let now = bench.cx.clock.now();
    assert_eq!(entry.age(now), Duration::from_secs(2_600));
    assert_eq!(now.age(entry.requested_at()), 2_600_000_000_000);
    assert_eq!(entry.oldest(None), LIFE - Duration::from_millis(10));
    bench.advance(999);
    assert_eq!(bench.hit(), Some(100));
    bench.advance(1);
    assert_eq!(bench.hit(), None, "an expired value is served");
}
