//! Many business tokens at once, in step with the rate limit.

use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use layerfi_auth::{BatchOptions, BusinessId, SessionDuration, TestClock};
use layerfi_auth_emulator::{Emulator, Endpoint, Environment, Fault};
use layerfi_auth_tests::{
    MAX_WAIT, assert_requests, businesses, client, client_builder, emulator, eventually,
    multi_thread_runtime,
};

/// Runs a batch and checks what every batch promises.
fn mints(layer: &Emulator, count: usize, at_most: Duration) {
    let client = client(layer);
    let businesses = businesses(count);
    // Each business a second time, all over the place.
    let mut inputs = businesses.clone();
    inputs.extend(businesses.iter().rev().cloned());
    let runtime = multi_thread_runtime(2);
    let started = Instant::now();
    let results: Vec<_> = runtime.block_on(client.business_tokens(inputs.clone()).collect());
    let took = started.elapsed();
    assert_eq!(results.len(), inputs.len());
    for (input, result) in inputs.iter().zip(&results) {
        assert_eq!(result.as_ref().unwrap().business_id(), input);
    }
    let counters = layer.counters();
    let mints = counters.endpoint(Endpoint::AuthToken);
    assert_eq!(counters.rate_limited, 0, "it met the limit in {took:?}");
    assert_eq!(mints.total, count as u64, "duplicates are minted once");
    assert!(
        mints.max_in_flight <= 32,
        "{} in flight",
        mints.max_in_flight
    );
    assert_eq!(counters.endpoint(Endpoint::Token).total, 1);
    assert!(took < at_most, "took {took:?}");
}

#[test]
fn b17_a_batch_keeps_in_step_with_the_sandbox() {
    let layer = Emulator::builder().start_blocking().unwrap();
    // A hundred a second, less what is left to others.
    mints(&layer, 400, Duration::from_secs(12));
}

#[test]
fn b17_a_batch_keeps_in_step_with_production() {
    let layer = Emulator::builder()
        .environment(Environment::Production)
        .start_blocking()
        .unwrap();
    mints(&layer, 1_000, Duration::from_secs(12));
}

#[test]
fn b17_a_batch_with_no_limit_is_not_slowed() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let started = Instant::now();
    let results: Vec<_> = runtime.block_on(client.business_tokens(businesses(2_000)).collect());
    assert!(results.iter().all(Result::is_ok));
    // At a hundred a second it would take twenty.
    assert!(
        started.elapsed() < Duration::from_secs(19),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn b17_two_batches_and_a_mint_share_one_pace() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let all = businesses(200);
    let (left, right) = all.split_at(100);
    let batch = |part: &[BusinessId]| {
        let stream = client.business_tokens(part.to_vec());
        runtime.spawn(stream.collect::<Vec<_>>())
    };
    for task in [batch(left), batch(right)] {
        assert!(runtime.block_on(task).unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(layer.counters().rate_limited, 0);
}

#[test]
fn b17_in_flight_is_bounded_and_progress_is_seen() {
    let layer = emulator();
    let slow = Fault::delay(Duration::from_millis(20)).forever();
    layer.fault(Endpoint::AuthToken, slow).unwrap();
    let client = client(&layer);
    let options = BatchOptions {
        session_duration: SessionDuration::from_secs(900).unwrap(),
        max_in_flight: 4,
    };
    let mut inputs = businesses(40);
    inputs.push(inputs[0].clone());
    let runtime = multi_thread_runtime(2);
    runtime.block_on(async {
        let mut stream = client.business_tokens_with(inputs, options);
        let before = stream.progress();
        assert_eq!((before.total, before.distinct, before.done), (41, 40, 0));
        let mut seen = 0;
        while let Some(result) = stream.next().await {
            assert_eq!(result.unwrap().session_duration().as_secs(), 900);
            seen += 1;
            let now = stream.progress();
            assert!(
                now.done + 1 >= seen && now.done <= 40,
                "{now:?} after {seen}"
            );
        }
        assert_eq!(seen, 41);
        assert_eq!((stream.progress().done, stream.progress().failed), (40, 0));
    });
    let mints = layer.counters().endpoint(Endpoint::AuthToken);
    assert_eq!(mints.max_in_flight, 4);
    assert_eq!(mints.total, 40);
}

#[test]
fn b17_a_failure_stands_in_its_own_place() {
    let layer = emulator();
    let all = businesses(30);
    let bad = &all[7];
    let gone = Fault::status(404).business(bad.as_str()).forever();
    layer.fault(Endpoint::AuthToken, gone).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let results: Vec<_> = runtime.block_on(client.business_tokens(all.clone()).collect());
    for (business, result) in all.iter().zip(&results) {
        match result {
            Ok(token) => assert_eq!(token.business_id(), business),
            Err(error) => {
                assert_eq!(business, bad);
                assert_eq!(error.http_status(), Some(404));
            }
        }
    }
    assert!(results[7].is_err());
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 30)]);
}

#[test]
fn b17_a_slow_one_at_the_front_holds_up_none_behind_it() {
    let layer = emulator();
    let all = businesses(60);
    let hold = Fault::hold().business(all[0].as_str());
    layer.fault(Endpoint::AuthToken, hold).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let task = runtime.spawn(client.business_tokens(all.clone()).collect::<Vec<_>>());
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&59)
    });
    layer.release();
    let results = runtime.block_on(task).unwrap();
    for (business, result) in all.iter().zip(&results) {
        assert_eq!(result.as_ref().unwrap().business_id(), business);
    }
}

#[test]
fn b17_a_limit_met_through_others_is_waited_out() {
    let layer = emulator();
    let busy = Fault::status(429)
        .header("retry-after", "1")
        .skip(5)
        .times(3);
    layer.fault(Endpoint::AuthToken, busy).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let results: Vec<_> = runtime.block_on(client.business_tokens(businesses(40)).collect());
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(layer.count(Endpoint::AuthToken), 43);
}

#[test]
fn b17_a_dropped_batch_starts_no_more() {
    let layer = emulator();
    layer
        .fault(Endpoint::AuthToken, Fault::hold().forever())
        .unwrap();
    let client = client(&layer);
    let options = BatchOptions {
        max_in_flight: 3,
        ..BatchOptions::default()
    };
    let runtime = multi_thread_runtime(2);
    let task = runtime.spawn(
        client
            .business_tokens_with(businesses(50), options)
            .collect::<Vec<_>>(),
    );
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 3
    });
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    layer.clear_faults();
    layer.release();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 0
    });
    runtime.block_on(client.whoami()).unwrap();
    assert_eq!(layer.count(Endpoint::AuthToken), 3);
}

#[test]
fn b17_threads_get_their_batch_too() {
    let layer = emulator();
    let client = client_builder(&layer).build_blocking().unwrap();
    let mut inputs = businesses(50);
    inputs.push(inputs[3].clone());
    let mut reports = Vec::new();
    let results = client.business_tokens(inputs.clone(), BatchOptions::default(), |progress| {
        reports.push(progress.done);
        true
    });
    for (input, result) in inputs.iter().zip(&results) {
        assert_eq!(result.as_ref().unwrap().business_id(), input);
    }
    assert_eq!(reports.len(), 51);
    assert!(reports.is_sorted() && reports.last() == Some(&50));
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 50)]);

    // Ended early: a result for each input all the same.
    let results = client.business_tokens(inputs, BatchOptions::default(), |_| false);
    assert_eq!(results.len(), 51);
    assert!(results[0].is_ok() && results[50].is_err());
}

#[test]
fn b17_a_batch_of_none_is_done() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(1);
    let results: Vec<_> = runtime.block_on(client.business_tokens([]).collect());
    assert!(results.is_empty());
    assert_requests(&layer, &[]);
}

/// Past the moment at which the refresh of a business token is due, and before
/// the one from which it is not handed out any more.
const IN_THE_WINDOW: Duration = Duration::from_secs(1_600);

#[test]
fn b17_a_batch_of_tokens_due_for_refresh_keeps_in_step() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let runtime = multi_thread_runtime(2);
    let all = businesses(300);
    let batch = || -> Vec<_> {
        let results: Vec<_> = runtime.block_on(client.business_tokens(all.clone()).collect());
        results.into_iter().map(Result::unwrap).collect()
    };
    let first = batch();
    clock.advance(IN_THE_WINDOW);
    // Long enough for those that are sent together to be seen together.
    let slow = Fault::delay(Duration::from_millis(50)).forever();
    layer.fault(Endpoint::AuthToken, slow).unwrap();
    let started = Instant::now();
    let second = batch();
    // At the pace it would take three seconds.
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "a refresh was waited for: {:?}",
        started.elapsed()
    );
    for (first, second) in first.iter().zip(&second) {
        assert!(first.secret() == second.secret());
    }
    let minted = 300 + client.stats().refreshes;
    assert!(minted > 300, "no refresh was started");
    eventually(&layer, |now| {
        let mints = now.endpoint(Endpoint::AuthToken);
        mints.total >= minted && mints.in_flight == 0
    });
    let counters = layer.counters();
    let mints = counters.endpoint(Endpoint::AuthToken);
    assert_eq!(counters.rate_limited, 0, "{} mints", mints.total);
    assert!(
        mints.max_in_flight <= 32,
        "{} in flight",
        mints.max_in_flight
    );
}

#[test]
fn b04_b17_a_batch_refreshes_behind_what_is_missing_and_waits_for_none() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let runtime = multi_thread_runtime(2);
    let all = businesses(25);
    let batch = |part: &[BusinessId]| -> Vec<_> {
        let options = BatchOptions {
            max_in_flight: 20,
            ..BatchOptions::default()
        };
        let stream = client.business_tokens_with(part.to_vec(), options);
        let results: Vec<_> = runtime.block_on(stream.collect());
        results.into_iter().map(Result::unwrap).collect()
    };
    let (due, missing) = all.split_at(20);
    let first = batch(due);
    clock.advance(IN_THE_WINDOW);
    for business in due {
        let hold = Fault::hold().business(business.as_str());
        layer.fault(Endpoint::AuthToken, hold).unwrap();
    }
    // Were the refreshes first, they would keep every place.
    let second = batch(&all);
    for (first, second) in first.iter().zip(&second) {
        assert!(first.secret() == second.secret());
    }
    assert_eq!(second.len(), 25);
    let minted = u64::try_from(due.len() + missing.len()).unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&minted)
    });
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 20
    });
    // Each is refreshed once, however often it is asked for.
    let third = batch(&all);
    for (first, third) in first.iter().zip(&third) {
        assert!(first.secret() == third.secret());
    }
    layer.release();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&45)
    });
    eventually_fresh(&first, || batch(due));
    assert_eq!(layer.count(Endpoint::AuthToken), 45);
    assert_eq!(client.stats().refreshes, 20);
}

/// Waits until all tokens are others than these: an answer is counted a moment
/// before the client has it.
fn eventually_fresh(
    stale: &[layerfi_auth::BusinessToken],
    look: impl Fn() -> Vec<layerfi_auth::BusinessToken>,
) {
    let started = Instant::now();
    loop {
        let now = look();
        if now.iter().zip(stale).all(|(a, b)| a.secret() != b.secret()) {
            return;
        }
        assert!(started.elapsed() < MAX_WAIT, "the refreshes never landed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn b17_waiting_for_ones_turn_is_no_part_of_the_timeout() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let client = client_builder(&layer)
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let options = BatchOptions {
        max_in_flight: usize::MAX,
        ..BatchOptions::default()
    };
    let runtime = multi_thread_runtime(2);
    // Of all sizes, and many at once; together they take more than seven seconds.
    let all = businesses(750);
    let (large, small) = all.split_at(450);
    let tasks: Vec<_> = std::iter::once(large)
        .chain(small.chunks(20))
        .map(|part| {
            let stream = client.business_tokens_with(part.to_vec(), options);
            runtime.spawn(stream.collect::<Vec<_>>())
        })
        .collect();
    for task in tasks {
        let results = runtime.block_on(task).unwrap();
        let failed: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
    }
    assert_eq!(layer.counters().rate_limited, 0);
}

#[test]
fn b12_a_batch_without_a_runtime_says_so() {
    let layer = emulator();
    let client = client(&layer);
    let mut stream = client.business_tokens(businesses(3));
    for _ in 0..3 {
        let result = stream.next().now_or_never().flatten().unwrap();
        assert_eq!(result.unwrap_err().field(), Some("runtime"));
    }
    assert_requests(&layer, &[]);
}
