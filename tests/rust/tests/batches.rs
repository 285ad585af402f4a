//! Batches of business tokens, within the rate limit.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use layerfi_auth::{BatchOptions, BusinessId, SessionDuration, TestClock};
use layerfi_auth_emulator::{Emulator, Endpoint, Environment, Fault};
use layerfi_auth_tests::{
    MAX_WAIT, assert_requests, assert_same_token, businesses, client, client_builder, emulator,
    eventually, multi_thread_runtime, unwrap_all, wait_for,
};

/// Runs a batch and checks the properties of every batch.
fn check_batch(layer: &Emulator, count: usize) {
    let client = client(layer);
    let businesses = businesses(count);
    // Each business occurs twice, in different positions.
    let mut inputs = businesses.clone();
    inputs.extend(businesses.iter().rev().cloned());
    let runtime = multi_thread_runtime(2);
    let started = Instant::now();
    let results: Vec<_> = runtime.block_on(client.business_tokens(inputs.clone()).collect());
    let elapsed = started.elapsed();
    let tokens = unwrap_all(results);
    assert_eq!(tokens.len(), inputs.len(), "one result per input");
    for (input, token) in inputs.iter().zip(&tokens) {
        assert_eq!(token.business_id(), input, "the results are out of order");
    }
    let counters = layer.counters();
    let mints = counters.endpoint(Endpoint::AuthToken);
    assert_eq!(
        counters.rate_limited, 0,
        "the batch exceeded the rate limit"
    );
    assert_eq!(mints.total, count as u64, "a duplicate was minted again");
    assert!(
        mints.max_in_flight <= 32,
        "{} requests were in flight, the limit is 32",
        mints.max_in_flight
    );
    assert_eq!(
        counters.endpoint(Endpoint::Token).total,
        1,
        "token requests"
    );
    // A few seconds on an idle machine.
    assert!(elapsed < 3 * MAX_WAIT, "{count} mints took {elapsed:?}");
}

#[test]
fn b17_batch_stays_within_the_sandbox_limit() {
    let layer = Emulator::builder().start_blocking().unwrap();
    // 100 requests per second, minus a reserve for other calls.
    check_batch(&layer, 400);
}

#[test]
fn b17_batch_stays_within_the_production_limit() {
    let layer = Emulator::builder()
        .environment(Environment::Production)
        .start_blocking()
        .unwrap();
    check_batch(&layer, 1_000);
}

#[test]
fn b17_batch_without_a_limit_is_not_delayed() {
    const COUNT: usize = 1_200;
    let layer = emulator();
    let runtime = multi_thread_runtime(2);
    // The load of the machine can change between a batch and its control: a batch that is
    // delayed is too slow in each round.
    let rounds = (0..4).map(|_| {
        let client = client(&layer);
        // The same number of single mints, without a rate limiter, on the same machine.
        let started = Instant::now();
        let single = runtime.block_on(
            futures_util::stream::iter(businesses(COUNT))
                .map(|business| {
                    let client = client.clone();
                    async move {
                        let duration = SessionDuration::default();
                        client.mint_business_token(&business, duration).await
                    }
                })
                .buffer_unordered(32)
                .collect::<Vec<_>>(),
        );
        let control = started.elapsed();
        unwrap_all(single);
        let started = Instant::now();
        let results: Vec<_> = runtime.block_on(client.business_tokens(businesses(COUNT)).collect());
        let elapsed = started.elapsed();
        unwrap_all(results);
        (elapsed, control)
    });
    // At 100 requests per second it would take 12 s.
    let is_delayed = |(elapsed, control): &(Duration, Duration)| {
        *elapsed > 3 * *control + Duration::from_secs(3)
    };
    let delayed: Vec<_> = rounds.take_while(is_delayed).collect();
    assert!(
        delayed.len() < 4,
        "batches of {COUNT}, and {COUNT} single mints, took {delayed:?}"
    );
}

#[test]
fn b17_concurrent_batches_share_one_rate_limiter() {
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
        unwrap_all(runtime.block_on(task).unwrap());
    }
    assert_eq!(layer.counters().rate_limited, 0, "requests above the limit");
}

#[test]
fn b17_requests_in_flight_are_bounded_and_progress_is_reported() {
    let layer = emulator();
    let slow = Fault::delay(Duration::from_millis(20)).forever();
    layer.fault(Endpoint::AuthToken, slow).unwrap();
    let client = client(&layer);
    let options = BatchOptions::default()
        .session_duration(SessionDuration::from_secs(900).unwrap())
        .max_in_flight(4);
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
    assert_eq!(mints.max_in_flight, 4, "requests in flight");
    assert_eq!(mints.total, 40, "mints");
}

#[test]
fn b17_failed_item_keeps_its_position() {
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
    assert!(
        results[7].is_err(),
        "the failure is not at its input's index"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 30)]);
}

#[test]
fn b17_slow_first_item_does_not_delay_the_others() {
    let layer = emulator();
    let all = businesses(60);
    let hold = Fault::hold().business(all[0].as_str());
    layer.fault(Endpoint::AuthToken, hold).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let task = runtime.spawn(client.business_tokens(all.clone()).collect::<Vec<_>>());
    eventually(&layer, |now| {
        let mints = now.endpoint(Endpoint::AuthToken);
        mints.by_status.get(&200) == Some(&59) && mints.in_flight == 1
    });
    layer.release();
    let results = runtime.block_on(task).unwrap();
    for (business, result) in all.iter().zip(&results) {
        assert_eq!(result.as_ref().unwrap().business_id(), business);
    }
}

#[test]
fn b17_batch_waits_and_continues_after_429_responses() {
    let layer = emulator();
    let busy = Fault::status(429)
        .header("retry-after", "1")
        .skip(5)
        .times(3);
    layer.fault(Endpoint::AuthToken, busy).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let results: Vec<_> = runtime.block_on(client.business_tokens(businesses(40)).collect());
    unwrap_all(results);
    assert_eq!(
        layer.count(Endpoint::AuthToken),
        43,
        "40 mints and 3 retries"
    );
}

#[test]
fn b17_dropped_batch_sends_no_more_requests() {
    let layer = emulator();
    layer
        .fault(Endpoint::AuthToken, Fault::hold().forever())
        .unwrap();
    let client = client(&layer);
    let options = BatchOptions::default().max_in_flight(3);
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
    assert_eq!(
        layer.count(Endpoint::AuthToken),
        3,
        "the dropped batch sent more requests"
    );
}

#[test]
fn b17_stopped_batch_sends_no_more_requests() {
    let layer = emulator();
    layer
        .fault(Endpoint::AuthToken, Fault::hold().forever())
        .unwrap();
    let client = client(&layer);
    let options = BatchOptions::default().max_in_flight(2);
    let stream = client.business_tokens_with(businesses(50), options);
    let stop = stream.stopper();
    let runtime = multi_thread_runtime(2);
    let task = runtime.spawn(stream.collect::<Vec<_>>());
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 2
    });
    stop();
    layer.clear_faults();
    layer.release();
    let results = runtime.block_on(task).unwrap();
    assert_eq!(unwrap_all(results).len(), 2, "results of a stopped batch");
    assert_eq!(
        layer.count(Endpoint::AuthToken),
        2,
        "the stopped batch sent more requests"
    );
}

#[test]
fn b17_blocking_batch_returns_one_result_per_input() {
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
    // One report per result, and more if a result takes long.
    assert!(reports.len() >= 51, "{} progress reports", reports.len());
    assert!(
        reports.is_sorted() && reports.last() == Some(&50),
        "progress must rise to 50: {reports:?}"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 50)]);

    // The callback ends the batch early; there is still one result per input.
    // Only the first input has a token; the callback also runs while results take long.
    let hold = Fault::hold().forever();
    layer.fault(Endpoint::AuthToken, hold).unwrap();
    inputs.truncate(1);
    inputs.extend(businesses(100).split_off(50));
    let mut calls = 0;
    let results = client.business_tokens(inputs, BatchOptions::default(), |progress| {
        calls += u32::from(progress.done > 0);
        calls < 2
    });
    assert_eq!(results.len(), 51, "one result per input");
    assert!(
        results[0].is_ok() && results[50].is_err(),
        "the first result must be a token and the last one an error"
    );
}

#[test]
fn b17_empty_batch_completes() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(1);
    let results: Vec<_> = runtime.block_on(client.business_tokens([]).collect());
    assert!(results.is_empty(), "an empty batch gave results");
    assert_requests(&layer, &[]);
}

/// An age at which the refresh of a business token is due and calls still return
/// the token.
const REFRESH_DUE: Duration = Duration::from_secs(1_600);

#[test]
fn b17_refreshes_of_a_batch_stay_within_the_limit() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let runtime = multi_thread_runtime(2);
    let all = businesses(300);
    let batch = || -> Vec<_> {
        unwrap_all(runtime.block_on(client.business_tokens(all.clone()).collect()))
    };
    let first = batch();
    clock.advance(REFRESH_DUE);
    // A batch starts only refreshes that the rate limit permits at once. The first
    // batch has used the permits of the current second.
    std::thread::sleep(Duration::from_millis(1_200));
    // No refresh is answered until the batch has ended, so it waits for none.
    layer
        .fault(Endpoint::AuthToken, Fault::hold().forever())
        .unwrap();
    let second = batch();
    for (first, second) in first.iter().zip(&second) {
        assert_same_token(second, first);
    }
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight > 0
    });
    layer.clear_faults();
    layer.release();
    wait_for("all refreshes end", || {
        let minted = 300 + client.stats().refreshes;
        let counters = layer.counters();
        let mints = counters.endpoint(Endpoint::AuthToken);
        mints.total >= minted && mints.in_flight == 0
    });
    let counters = layer.counters();
    let mints = counters.endpoint(Endpoint::AuthToken);
    assert_eq!(
        counters.rate_limited, 0,
        "{} mints exceeded the limit",
        mints.total
    );
    assert!(
        mints.max_in_flight <= 32,
        "{} requests were in flight, the limit is 32",
        mints.max_in_flight
    );
}

#[test]
fn b04_b17_batch_mints_missing_tokens_before_it_refreshes_others() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let runtime = multi_thread_runtime(2);
    let all = businesses(25);
    let batch = |part: &[BusinessId]| -> Vec<_> {
        let options = BatchOptions::default().max_in_flight(20);
        let stream = client.business_tokens_with(part.to_vec(), options);
        unwrap_all(runtime.block_on(stream.collect()))
    };
    let (due, missing) = all.split_at(20);
    let first = batch(due);
    clock.advance(REFRESH_DUE);
    for business in due {
        let hold = Fault::hold().business(business.as_str());
        layer.fault(Endpoint::AuthToken, hold).unwrap();
    }
    // If the refreshes came first, they would use every slot and block the mints.
    let second = batch(&all);
    for (first, second) in first.iter().zip(&second) {
        assert_same_token(second, first);
    }
    assert_eq!(second.len(), 25, "one token per input");
    let minted = u64::try_from(due.len() + missing.len()).unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&minted)
    });
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 20
    });
    // Each token is refreshed once, however often it is requested.
    let third = batch(&all);
    for (first, third) in first.iter().zip(&third) {
        assert_same_token(third, first);
    }
    layer.release();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&45)
    });
    // The emulator counts a response a moment before the client stores it.
    wait_for("all tokens are refreshed", || {
        let now = batch(due);
        now.iter()
            .zip(&first)
            .all(|(now, old)| now.secret() != old.secret())
    });
    assert_eq!(layer.count(Endpoint::AuthToken), 45, "mints");
    assert_eq!(client.stats().refreshes, 20, "refreshes");
}

#[test]
fn b17_wait_for_a_permit_does_not_count_toward_the_timeout() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let client = client_builder(&layer)
        .timeout(Duration::from_secs(8))
        .build()
        .unwrap();
    let options = BatchOptions::default().max_in_flight(usize::MAX);
    let runtime = multi_thread_runtime(2);
    // Batches of different sizes at once; together they take more than 11 s.
    let all = businesses(1_150);
    let (large, small) = all.split_at(850);
    let tasks: Vec<_> = std::iter::once(large)
        .chain(small.chunks(20))
        .map(|part| {
            let stream = client.business_tokens_with(part.to_vec(), options);
            runtime.spawn(stream.collect::<Vec<_>>())
        })
        .collect();
    for task in tasks {
        unwrap_all(runtime.block_on(task).unwrap());
    }
    assert_eq!(layer.counters().rate_limited, 0, "requests above the limit");
}

#[test]
fn b12_batch_works_without_a_runtime() {
    let layer = emulator();
    let client = client(&layer);
    let stream = client.business_tokens(businesses(3));
    let tokens = unwrap_all(futures::executor::block_on(stream.collect()));
    assert_eq!(tokens.len(), 3, "one result per input");
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 3)]);
}
