//! One slot, one promise at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::super::Reader;
use super::{Act, Bench, LIFE, Script, limited, permanent, settle, transient};
use crate::clock::TestClock;
use crate::error::ErrorKind;
use crate::fork;
use crate::stats::Event;

#[tokio::test]
async fn b01_a_hit_is_served_where_it_lies() {
    let bench = Bench::new();
    assert_eq!(bench.hit(), None);
    assert_eq!(bench.get().await.unwrap(), 1);
    let mut reader = Reader::new(Arc::clone(&bench.slot));
    for _ in 0..10 {
        assert_eq!(bench.hit(), Some(1));
        assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), Some(&1));
        assert_eq!(bench.get().now_or_never().unwrap().unwrap(), 1);
    }
    assert_eq!(bench.script.fetches(), 1);
    assert_eq!(bench.cx.stats.snapshot().hits, 30);
    // A reader sees a new value, and the end of an old one.
    assert!(bench.invalidate(1));
    assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), None);
    assert_eq!(bench.get().await.unwrap(), 2);
    assert_eq!(reader.hit(&bench.cx, || bench.script.clone()), Some(&2));
}

#[tokio::test]
async fn b02_a_cold_herd_makes_one_request() {
    let bench = Bench::new();
    bench.script.hold();
    let herd = join_all((0..1_000).map(|_| bench.get()));
    let both = futures_util::future::join(herd, async {
        settle().await;
        bench.script.let_go();
    });
    let (results, ()) = both.await;
    assert!(results.into_iter().all(|result| result.unwrap() == 1));
    assert_eq!(bench.script.fetches(), 1);
    let stats = bench.cx.stats.snapshot();
    assert_eq!((stats.misses, stats.waits), (1, 1_000));
}

#[tokio::test]
async fn b03_a_failing_herd_gets_one_error() {
    let bench = Bench::new();
    bench.script.then(Act::Fail(transient())).hold();
    let herd = join_all((0..1_000).map(|_| bench.get()));
    let (results, ()) = futures_util::future::join(herd, async {
        settle().await;
        bench.script.let_go();
    })
    .await;
    assert!(
        results
            .into_iter()
            .all(|result| result.unwrap_err().kind() == ErrorKind::Transport)
    );
    assert_eq!(bench.script.fetches(), 1);
}

#[tokio::test]
async fn b04_in_the_window_nobody_waits_and_one_refresh_runs() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.advance(2_699);
    assert_eq!(bench.hit(), Some(1));
    assert_eq!(
        bench.script.fetches(),
        1,
        "no refresh before 75 % of the life"
    );
    bench.script.hold();
    bench.advance(362); // 85 %: due, whatever the jitter
    for _ in 0..1_000 {
        assert_eq!(bench.get().now_or_never().unwrap().unwrap(), 1);
    }
    settle().await;
    assert_eq!(bench.script.fetches(), 2);
    bench.script.let_go();
    settle().await;
    assert_eq!(bench.hit(), Some(2));
    assert_eq!(bench.cx.stats.get(Event::Refresh), 1);
    assert_eq!(bench.cx.stats.snapshot().stale_serves, 1_000);
}

#[tokio::test]
async fn b04_a_short_life_is_not_refreshed_on_each_call() {
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
        "{}",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b05_a_failing_refresh_serves_the_current_one_to_its_end_and_backs_off() {
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
    // 540 s: 1, 2, 4, … 32 s, then each minute, halves of it by jitter.
    let refreshes = bench.script.fetches() - 1;
    assert!((12..=26).contains(&refreshes), "{refreshes} refreshes");
    // Dead is dead.
    assert_eq!(bench.hit(), None);
    assert_eq!(bench.get().await.unwrap_err().kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn b05_a_refusal_in_the_window_does_not_take_the_current_one_away() {
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
    assert_eq!(bench.hit(), Some(3), "and it heals");
}

#[tokio::test]
async fn b06_a_permanent_failure_is_asked_about_once_and_heals() {
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
    assert_eq!(bench.script.fetches(), 1);
    bench.advance(2);
    for _ in 0..20 {
        bench.get().await.unwrap_err();
    }
    assert_eq!(bench.script.fetches(), 2, "after the quiet time, one more");
    bench.advance(4);
    assert_eq!(bench.get().await.unwrap(), 3);
}

#[tokio::test]
async fn b06_changed_credentials_heal_at_once() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, true, 0.0), clock);
    bench.script.then(Act::Fail(permanent()));
    for _ in 0..20 {
        assert_eq!(
            bench.get().await.unwrap_err().oauth_error(),
            Some("invalid_client")
        );
    }
    assert_eq!((bench.script.fetches(), bench.script.probes()), (1, 19));
    bench.script.change_credentials();
    assert_eq!(bench.get().await.unwrap(), 2);
}

#[tokio::test]
async fn b06_a_poll_tells_of_the_failure_that_stands_and_asks_again_after_it() {
    for can_change in [false, true] {
        let clock = TestClock::new();
        let bench = Bench::with(Script::with(&clock, can_change, 0.0), clock);
        bench.script.then(Act::Fail(permanent()));
        let poll = || bench.slot.poll(&bench.cx, &bench.script);
        assert!(poll().unwrap().is_none());
        settle().await;
        for _ in 0..20 {
            let error = poll().map(|_| ()).unwrap_err();
            assert_eq!(error.oauth_error(), Some("invalid_client"));
            settle().await;
        }
        assert_eq!(bench.script.fetches(), 1);
        bench.advance(2);
        assert!(poll().unwrap().is_none(), "time to ask again");
        settle().await;
        assert_eq!(poll().unwrap().map(|entry| entry.value), Some(2));
    }
}

#[tokio::test]
async fn b06_b14_other_credentials_are_no_cure_for_a_server_that_is_busy() {
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
    assert_eq!(bench.get().await.unwrap(), 2);
}

#[tokio::test]
async fn b06_a_failure_of_what_it_is_made_from_is_not_its_own() {
    let bench = Bench::new();
    bench.script.then(Act::FailEarlier(permanent()));
    assert!(bench.get().await.is_err());
    assert_eq!(bench.get().await.unwrap(), 2, "no quiet of its own");
    // Nor is a refresh tried on every call.
    for _ in 0..100 {
        bench.script.then(Act::FailEarlier(permanent()));
    }
    bench.advance(3_100);
    for _ in 0..100 {
        assert_eq!(bench.hit(), Some(2));
        settle().await;
    }
    assert_eq!(bench.script.fetches(), 3);
}

#[tokio::test]
async fn b03_transient_failures_in_a_row_grow_quiet() {
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
        (10..=35).contains(&bench.script.fetches()),
        "{}",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b07_a_cancelled_leader_leaves_the_flight_to_the_others() {
    let bench = Bench::new();
    bench.script.hold();
    let mut leader = Box::pin(bench.get());
    assert!(leader.as_mut().now_or_never().is_none());
    let mut follower = Box::pin(bench.get());
    assert!(follower.as_mut().now_or_never().is_none());
    drop(leader);
    settle().await;
    bench.script.let_go();
    assert_eq!(follower.await.unwrap(), 1);
    assert_eq!(bench.script.fetches(), 1);
}

#[tokio::test]
async fn b07_a_flight_without_any_caller_left_still_lands() {
    let bench = Bench::new();
    bench.script.hold();
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    bench.script.let_go();
    settle().await;
    assert_eq!(bench.hit(), Some(1));
}

#[tokio::test]
async fn b09_either_clock_kills() {
    for (what, how) in [
        (
            "time passes",
            (|clock: &TestClock| clock.advance(LIFE)) as fn(&TestClock),
        ),
        ("the machine sleeps", |clock| clock.suspend(LIFE)),
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
            "{what}: one extra request, no storm"
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
    // The flight is long given up; what it brings is still good.
    bench.script.let_go();
    settle().await;
    assert_eq!(bench.hit(), Some(1));
    bench.advance(3_000);
    assert_eq!(bench.hit(), None);
}

#[tokio::test]
async fn b10_a_token_that_is_dead_on_arrival_is_not_served() {
    let bench = Bench::new();
    bench.script.then(Act::Give(Duration::from_secs(1))).hold();
    let waiting = bench.get();
    let late = async {
        settle().await;
        bench.advance(2);
        bench.script.let_go();
    };
    let (result, ()) = futures_util::future::join(waiting, late).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn b11_only_the_current_one_can_be_invalidated() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    let refused: u32 = (0..100).map(|_| u32::from(bench.invalidate(1))).sum();
    assert_eq!(refused, 1, "a hundred refusals of one token are one");
    let results = join_all((0..100).map(|_| bench.get())).await;
    assert!(results.into_iter().all(|result| result.unwrap() == 2));
    assert!(!bench.invalidate(1), "the old one is not the current one");
    assert_eq!(bench.script.fetches(), 2);
}

#[tokio::test]
async fn b11_a_server_that_refuses_all_tokens_costs_few_requests() {
    let bench = Bench::new();
    for _ in 0..1_000 {
        let value = bench.get().await.unwrap();
        bench.invalidate(value);
        bench.clock.advance(Duration::from_millis(10));
    }
    // Ten seconds: five at once, one more, and the first.
    assert!(
        (6..=8).contains(&bench.script.fetches()),
        "{}",
        bench.script.fetches()
    );
}

#[tokio::test]
async fn b13_after_a_fork_the_value_is_served_and_the_flight_is_not_waited_for() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    fork::pretend::fork();
    assert_eq!(bench.get().now_or_never().unwrap().unwrap(), 1);
    assert_eq!(bench.script.fetches(), 1);

    // In the middle of a flight, whose thread the child does not have.
    assert!(bench.invalidate(1));
    bench.script.then(Act::Hang);
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    fork::pretend::fork();
    assert_eq!(bench.get().await.unwrap(), 3);
}

#[tokio::test]
async fn b13_a_lock_held_at_the_fork_is_not_waited_for() {
    let bench = Bench::new();
    let held = bench.slot.with_lock_held_across(fork::pretend::fork);
    assert_eq!(bench.get().await.unwrap(), 1);
    drop(held);
}

#[tokio::test]
async fn b12_a_flight_that_dies_with_its_runtime_is_started_again() {
    let bench = Bench::new();
    bench.script.hold();
    let script = bench.script.clone();
    let (cx, slot) = (bench.cx.clone(), Arc::clone(&bench.slot));
    std::thread::spawn(move || {
        let other = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        other.block_on(async {
            let mut call = Box::pin(slot.get(&cx, &script, None));
            assert!(call.as_mut().now_or_never().is_none());
            settle().await;
        });
    })
    .join()
    .unwrap();
    bench.script.let_go();
    assert_eq!(bench.get().await.unwrap(), 2);
}

#[tokio::test]
async fn b12_a_flight_in_a_runtime_that_stands_still_is_given_up() {
    let bench = Bench::new();
    bench.script.then(Act::Hang);
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    bench.advance(32); // its budget of 30 s, and some grace
    assert_eq!(bench.get().await.unwrap(), 2);
}

#[tokio::test]
async fn b12_a_flight_that_was_given_up_has_no_say_in_what_came_after_it() {
    let bench = Bench::new();
    bench.script.then(Act::FailLate(permanent()));
    assert!(bench.get().now_or_never().is_none());
    settle().await;
    bench.advance(32);
    assert_eq!(bench.get().await.unwrap(), 2);
    bench.script.come_home();
    settle().await;
    // Neither is the successor refreshed before its time, nor is it quiet after it.
    bench.advance(120);
    assert_eq!(bench.hit(), Some(2));
    settle().await;
    assert_eq!(bench.script.fetches(), 2);
    assert!(bench.invalidate(2));
    assert_eq!(bench.get().await.unwrap(), 3);
}

#[tokio::test]
async fn b09_what_has_died_between_its_landing_and_the_waiters_look_is_not_served() {
    let bench = Bench::new();
    bench.script.hold();
    let mut waiter = Box::pin(bench.get());
    assert!(waiter.as_mut().now_or_never().is_none());
    settle().await;
    bench.script.let_go();
    settle().await;
    // It is there, and the machine sleeps before the waiter is woken.
    bench.clock.suspend(LIFE);
    bench.script.let_go();
    assert_eq!(waiter.await.unwrap(), 2);
}

#[tokio::test]
async fn b16_a_reserve_is_kept_and_given_up_only_when_nothing_else_is_to_be_had() {
    let clock = TestClock::new();
    let bench = Bench::with(Script::with(&clock, false, 0.5), clock);
    bench.get().await.unwrap();
    bench.advance(1_799);
    assert_eq!(bench.hit(), Some(1), "half of its life is left");
    settle().await;
    assert_eq!(bench.hit(), Some(2), "and a refresh was due before");

    for _ in 0..3 {
        bench.script.then(Act::Fail(transient()));
    }
    bench.advance(1_801);
    assert_eq!(bench.hit(), None);
    assert_eq!(bench.get().await.unwrap(), 2, "better than nothing");
    bench.advance(1_799);
    bench.script.then(Act::Fail(permanent()));
    assert!(bench.get().await.is_err(), "dead is dead");
}

#[tokio::test]
async fn b16_a_wish_for_more_life_than_is_left_fetches_anew() {
    let bench = Bench::new();
    let with = |seconds| {
        let wish = Some(Duration::from_secs(seconds));
        let get = bench.slot.get(&bench.cx, &bench.script, wish);
        async { get.await.map(|entry| entry.value) }
    };
    assert_eq!(with(3_000).await.unwrap(), 1);
    bench.advance(601);
    assert_eq!(with(2_000).await.unwrap(), 1);
    assert_eq!(with(3_000).await.unwrap(), 2);
    // More than a new one has: not a request per call.
    for _ in 0..10 {
        assert_eq!(with(1_000_000).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn b16_a_wish_is_met_or_fails_and_is_no_matter_of_others() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    bench.advance(601);
    for _ in 0..4 {
        bench.script.then(Act::Fail(transient()));
        let wish = Some(Duration::from_secs(3_000));
        let error = bench.slot.get(&bench.cx, &bench.script, wish).await;
        assert_eq!(error.err().unwrap().kind(), ErrorKind::Transport);
    }
    // The others have their token as before, and no refresh before its time.
    let fetches = bench.script.fetches();
    bench.advance(120);
    assert_eq!(bench.hit(), Some(1));
    settle().await;
    assert_eq!(bench.script.fetches(), fetches);
    assert_eq!(bench.cx.stats.snapshot().stale_serves, 0);
}

#[tokio::test]
async fn b23_a_panic_in_a_fetch_is_an_error_and_no_end() {
    let bench = Bench::new();
    bench.script.then(Act::Panic);
    let error = bench.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    bench.advance(2);
    assert_eq!(bench.get().await.unwrap(), 2);
}
