//! Single flight with many callers, failures, timeouts and 401 responses, over
//! real sockets, runtimes and threads.

use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use layerfi_auth::{
    BusinessTokenOptions, Client, Credentials, CredentialsProvider, ErrorKind, SessionDuration,
    TestClock, blocking,
};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Endpoint, Fault, TokenKind};
use layerfi_auth_tests::{
    MAX_WAIT, assert_requests, business, businesses, client, client_builder, emulator, eventually,
    multi_thread_runtime, wait_for,
};
use serde_json::json;

#[test]
fn b02_cold_herd_of_tasks_and_threads_makes_one_request() {
    let layer = emulator();
    layer
        .fault(Endpoint::Token, Fault::delay(Duration::from_millis(300)))
        .unwrap();
    let client = client(&layer);
    let runtimes: Vec<_> = (0..4).map(|_| multi_thread_runtime(2)).collect();
    let start = Barrier::new(runtimes.len() + 16);
    let secrets = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for runtime in &runtimes {
            scope.spawn(|| {
                start.wait();
                let tasks: Vec<_> = (0..500)
                    .map(|_| {
                        let client = client.clone();
                        runtime.spawn(async move { client.token().await })
                    })
                    .collect();
                for task in tasks {
                    let token = runtime.block_on(task).unwrap().unwrap();
                    secrets.lock().unwrap().push(token.secret().to_owned());
                }
            });
        }
        for _ in 0..16 {
            scope.spawn(|| {
                let client = blocking::Client::from(client.clone());
                start.wait();
                let token = client.token().unwrap();
                secrets.lock().unwrap().push(token.secret().to_owned());
            });
        }
    });
    let secrets = secrets.into_inner().unwrap();
    assert_eq!(secrets.len(), 2_016, "one token per caller");
    assert!(
        secrets.iter().all(|secret| *secret == secrets[0]),
        "callers got different tokens"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b03_failing_herd_shares_one_retry_sequence_and_its_error() {
    let layer = emulator();
    let down = Fault::status(503).after(Duration::from_millis(200));
    layer.fault(Endpoint::Token, down.forever()).unwrap();
    let client = client_builder(&layer).max_attempts(3).build().unwrap();
    let runtime = multi_thread_runtime(4);
    let errors: Vec<_> = runtime.block_on(async {
        let tasks: Vec<_> = (0..500)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.token().await })
            })
            .collect();
        let mut errors = Vec::new();
        for task in tasks {
            errors.push(task.await.unwrap().unwrap_err());
        }
        errors
    });
    assert_eq!(errors.len(), 500, "one error per caller");
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Api);
        // The server's id of the last request: all callers get the same error.
        assert_eq!(
            error.request_id(),
            errors[0].request_id(),
            "callers got different errors"
        );
        assert!(error.to_string().contains("after 3 attempts"), "{error}");
    }
    assert_requests(&layer, &[(Endpoint::Token, 3)]);
}

#[test]
fn b06_rejection_is_cached_and_recovers_after_the_back_off() {
    let layer = emulator();
    layer.rotate(DEFAULT_CLIENT_ID, "another").unwrap();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    for _ in 0..20 {
        let error = client.token().unwrap_err();
        assert_eq!(error.oauth_error(), Some("invalid_client"));
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);

    // The first back-off is at most two seconds.
    layer
        .rotate(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .unwrap();
    clock.advance(Duration::from_secs(2));
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b06_back_off_after_failures_is_capped() {
    let layer = emulator();
    layer.rotate(DEFAULT_CLIENT_ID, "another").unwrap();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    for request in 1..=12 {
        client.token().unwrap_err();
        client.token().unwrap_err();
        assert_eq!(layer.count(Endpoint::Token), request);
        clock.advance(Duration::from_secs(60));
    }
}

#[test]
fn b06_b14_secret_file_does_not_bypass_retry_after() {
    let layer = emulator();
    let busy = Fault::status(429).header("retry-after", "60").forever();
    layer.fault(Endpoint::Token, busy).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, DEFAULT_CLIENT_SECRET).unwrap();
    let client = client_builder(&layer)
        .client_secret_file(&file)
        // Less than the server asks for, so that a call does not wait for it.
        .timeout(Duration::from_secs(30))
        .build_blocking()
        .unwrap();
    for _ in 0..20 {
        let error = client.token().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

/// Credentials are read again at most once in this time.
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn b06_rotated_secret_file_is_used_before_the_back_off_ends() {
    let layer = emulator();
    let clock = TestClock::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "not-the-secret\n").unwrap();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .client_secret_file(&file)
        .build_blocking()
        .unwrap();
    for _ in 0..20 {
        let error = client.token().unwrap_err();
        assert_eq!(error.oauth_error(), Some("invalid_client"));
        let error = client.business_token(&business()).unwrap_err();
        assert_eq!(error.oauth_error(), Some("invalid_client"));
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);

    std::fs::write(&file, format!("{DEFAULT_CLIENT_SECRET}\n")).unwrap();
    clock.advance(REREAD_INTERVAL);
    client.business_token(&business()).unwrap();
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::AuthToken, 1)]);

    // The same with a client that has a token.
    layer.rotate(DEFAULT_CLIENT_ID, "the-next-secret").unwrap();
    layer.revoke_all(TokenKind::Access);
    std::fs::write(&file, "the-next-secret").unwrap();
    client.whoami().unwrap();
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 3),
            (Endpoint::Whoami, 2),
            (Endpoint::AuthToken, 1),
        ],
    );
}

/// Provider whose secret changes between two calls.
struct Vault(Arc<Mutex<Vec<&'static str>>>);

impl CredentialsProvider for Vault {
    async fn credentials(&self) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        let mut secrets = self.0.lock().unwrap();
        let secret = match secrets.len() {
            0 => return Err("the vault is sealed".into()),
            1 => secrets[0],
            _ => secrets.remove(0),
        };
        Ok(Credentials::new(DEFAULT_CLIENT_ID, secret))
    }
}

#[test]
fn b06_provider_is_called_again_before_the_call_fails() {
    let layer = emulator();
    let secrets = Arc::new(Mutex::new(vec!["old", DEFAULT_CLIENT_SECRET]));
    let client = client_builder(&layer)
        .credentials_provider(Vault(Arc::clone(&secrets)))
        .build_blocking()
        .unwrap();
    // The secret was rotated just after it was read: the caller gets no error.
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b06_wrong_secret_of_a_provider_is_sent_once_until_it_changes() {
    let layer = emulator();
    let secrets = Arc::new(Mutex::new(vec!["old"]));
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .credentials_provider(Vault(Arc::clone(&secrets)))
        .build_blocking()
        .unwrap();
    for _ in 0..20 {
        let error = client.token().unwrap_err();
        assert_eq!(error.oauth_error(), Some("invalid_client"));
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    *secrets.lock().unwrap() = vec![DEFAULT_CLIENT_SECRET];
    clock.advance(REREAD_INTERVAL);
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b06_provider_with_a_new_wrong_secret_each_time_causes_no_loop() {
    let layer = emulator();
    let secrets = Arc::new(Mutex::new(vec!["a", "b", "c", "d", "e", "f"]));
    let client = client_builder(&layer)
        .credentials_provider(Vault(secrets))
        .build_blocking()
        .unwrap();
    client.token().unwrap_err();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b06_error_of_a_provider_is_reported_and_sends_no_request() {
    let layer = emulator();
    let secrets = Arc::new(Mutex::new(Vec::new()));
    let client = client_builder(&layer)
        .credentials_provider(Vault(Arc::clone(&secrets)))
        .build_blocking()
        .unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    assert_requests(&layer, &[]);
    *secrets.lock().unwrap() = vec![DEFAULT_CLIENT_SECRET];
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

/// Provider that panics on its first call.
struct Faulty(Arc<Mutex<u32>>);

impl CredentialsProvider for Faulty {
    async fn credentials(&self) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        let faulty = *calls == 1;
        drop(calls);
        assert!(!faulty, "a bug in a user's provider");
        Ok(Credentials::new(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET))
    }
}

#[test]
fn b23_panic_in_a_provider_is_an_error_and_the_client_stays_usable() {
    let layer = emulator();
    let client = client_builder(&layer)
        .credentials_provider(Faulty(Arc::default()))
        .build_blocking()
        .unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_requests(&layer, &[]);
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b07_cancelled_leader_does_not_cancel_the_request() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let ask = || {
        let client = client.clone();
        runtime.spawn(async move { client.token().await })
    };
    let leader = ask();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    let followers: Vec<_> = (0..10).map(|_| ask()).collect();
    leader.abort();
    assert!(runtime.block_on(leader).unwrap_err().is_cancelled());
    layer.release();
    for follower in followers {
        runtime.block_on(follower).unwrap().unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b07_request_without_waiters_completes() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let dropped = client.with_timeout(Duration::from_millis(200));
    let error = runtime.block_on(dropped.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // On a busy machine the request arrives after that.
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    runtime.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b07_cancelled_blocking_call_does_not_cancel_the_request() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client_builder(&layer).build_blocking().unwrap();
    let pending = client
        .start(|client| async move { client.token().await })
        .unwrap();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    assert!(pending.wait(Duration::from_millis(10)).is_none());
    drop(pending);
    layer.release();
    client.token().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

/// Makes a call that gets no response and checks that its own timeout of 300 ms
/// ends it, and not that of the client, which is longer than `MAX_WAIT`.
fn ends_in_time<T>(what: &str, call: impl FnOnce() -> layerfi_auth::Result<T>) {
    let started = Instant::now();
    let Err(error) = call() else {
        panic!("{what}: the call succeeded");
    };
    let elapsed = started.elapsed();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error}");
    assert!(error.is_retryable(), "{what}: not retryable: {error}");
    assert!(
        (Duration::from_millis(250)..MAX_WAIT).contains(&elapsed),
        "{what}: a timeout of 300 ms ended the call after {elapsed:?}"
    );
}

#[test]
fn b08_every_call_ends_at_its_own_timeout() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let short = client.with_timeout(Duration::from_millis(300));
    let business = business();
    let minute = SessionDuration::from_secs(60).unwrap();

    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    ends_in_time("token", || runtime.block_on(short.token()));
    ends_in_time("whoami", || runtime.block_on(short.whoami()));
    ends_in_time("token, blocking", || {
        blocking::Client::from(short.clone()).token()
    });
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    runtime.block_on(client.token()).unwrap();

    for endpoint in [Endpoint::Whoami, Endpoint::AuthToken] {
        layer.fault(endpoint, Fault::hold().forever()).unwrap();
    }
    ends_in_time("whoami", || runtime.block_on(short.whoami()));
    ends_in_time("execute", || runtime.block_on(short.get("/whoami")));
    ends_in_time("mint", || {
        runtime.block_on(short.mint_business_token(&business, minute))
    });
    ends_in_time("business_token", || {
        runtime.block_on(short.business_token(&business))
    });
    let short = blocking::Client::from(short);
    ends_in_time("whoami, blocking", || short.whoami());
    ends_in_time("mint, blocking", || {
        short.mint_business_token(&business, minute)
    });
    layer.clear_faults();
    layer.release();
    runtime.block_on(client.business_token(&business)).unwrap();
    assert_eq!(layer.count(Endpoint::Token), 1, "token requests");
}

#[test]
fn b08_call_that_waits_for_two_shared_requests_ends_at_its_timeout() {
    let layer = emulator();
    let timeout = Duration::from_secs(6);
    let client = client_builder(&layer).timeout(timeout).build().unwrap();
    let runtime = multi_thread_runtime(2);
    runtime.block_on(client.token()).unwrap();
    // The first mint is held, and the next one takes 4 s.
    let half = Duration::from_secs(4);
    layer.fault(Endpoint::AuthToken, Fault::hold()).unwrap();
    let slow = Fault::delay(half).forever();
    layer.fault(Endpoint::AuthToken, slow).unwrap();
    let session = SessionDuration::from_secs(10).unwrap();
    let options = BusinessTokenOptions::from(session);
    let first = runtime.spawn({
        let client = client.clone();
        async move { client.business_token_with(&business(), options).await }
    });
    wait_for("the first mint", || layer.count(Endpoint::AuthToken) == 1);
    // The first mint's token is more than 4 s old when it arrives, and so too old for this
    // call. It needs a second mint, and would end after more than 8 s.
    let young = options.min_remaining(Duration::from_secs(9));
    let waits = client.stats().waits;
    let second = runtime.spawn({
        let client = client.clone();
        async move { client.business_token_with(&business(), young).await }
    });
    wait_for("the second call waits", || client.stats().waits > waits);
    std::thread::sleep(half);
    layer.release();
    let result = runtime.block_on(second).unwrap();
    let kind = result.map_err(|error| error.kind()).err();
    assert_eq!(
        kind,
        Some(ErrorKind::Timeout),
        "a call with a timeout of 6 s waited for two requests of 4 s each"
    );
    drop(runtime.block_on(first));
}

#[test]
fn b08_zero_and_maximum_timeouts_work() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(1);
    let zero = client.with_timeout(Duration::ZERO);
    for endpoint in [Endpoint::Token, Endpoint::Whoami] {
        layer.fault(endpoint, Fault::hold()).unwrap();
    }
    let error = runtime.block_on(zero.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let error = blocking::Client::from(zero.clone()).whoami().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    layer.clear_faults();
    layer.release();
    let unlimited = client.with_timeout(Duration::MAX);
    runtime.block_on(unlimited.token()).unwrap();
    let unlimited = blocking::Client::from(unlimited);
    unlimited.whoami().unwrap();
    unlimited.business_token(&business()).unwrap();
    // With a cached token there is nothing to wait for.
    runtime.block_on(zero.token()).unwrap();
}

#[test]
fn b08_back_off_counts_toward_the_timeout() {
    let layer = emulator();
    let down = Fault::status(503).header("retry-after", "1").forever();
    layer.fault(Endpoint::Token, down).unwrap();
    let client = client_builder(&layer).max_attempts(50).build().unwrap();
    let runtime = multi_thread_runtime(1);
    let short = client.with_timeout(Duration::from_millis(300));
    ends_in_time("token", || runtime.block_on(short.token()));
}

#[test]
fn b11_hundred_concurrent_401s_cost_one_token_request() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(4);
    runtime.block_on(client.token()).unwrap();
    layer.revoke_all(TokenKind::Access);
    // All 100 requests are sent with the old token before the first is rejected.
    layer
        .fault(Endpoint::Whoami, Fault::hold().times(100))
        .unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            runtime.spawn(async move { client.whoami().await })
        })
        .collect();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Whoami).in_flight == 100
    });
    layer.release();
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 200)]);
    assert_eq!(
        layer.counters().endpoint(Endpoint::Whoami).by_status[&401],
        100,
        "401 responses"
    );
    assert_eq!(client.stats().invalidations, 1, "invalidations");
}

#[test]
fn b11_second_401_is_returned_to_the_caller() {
    let layer = emulator();
    layer
        .fault(Endpoint::Whoami, Fault::status(401).forever())
        .unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(1);
    let answer = runtime.block_on(client.get("/whoami")).unwrap();
    assert_eq!(answer.status(), 401, "the status of the response");
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b11_route_that_always_answers_401_delays_no_other_call() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    runtime.block_on(client.token()).unwrap();
    layer
        .fault(Endpoint::Business, Fault::status(401).forever())
        .unwrap();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let path = format!("/v1/businesses/{}", business());
    let refused = runtime.spawn({
        let client = client.clone();
        async move { client.get(&path).await }
    });
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    // The new token is requested, but nobody else waits for it.
    let waits = client.stats().waits;
    runtime.block_on(client.token()).unwrap();
    runtime.block_on(client.whoami()).unwrap();
    assert_eq!(client.stats().waits, waits, "waits of other calls");
    layer.release();
    let answer = runtime.block_on(refused).unwrap().unwrap();
    assert_eq!(answer.status(), 401, "the status of the response");
}

#[test]
fn b11_refused_token_is_renewed_once_for_all_callers() {
    let layer = emulator();
    // It stands still: refused tokens are replaced again after some seconds.
    let client = client_builder(&layer).test_clock(TestClock::new());
    let client = client.build().unwrap();
    let runtime = multi_thread_runtime(4);
    let refused = runtime.block_on(client.token()).unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (client, refused) = (client.clone(), refused.clone());
            runtime.spawn(async move { client.renew_token(&refused).await })
        })
        .collect();
    let mut last = refused.clone();
    for task in tasks {
        last = runtime.block_on(task).unwrap().unwrap();
        assert!(last != refused, "the refused token was returned");
    }
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
    // A server that refuses every token gets no more than five new ones in a row.
    let blocking = layerfi_auth::blocking::Client::from(client);
    for _ in 0..10 {
        last = blocking.renew_token(&last).unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 6)]);
}

#[test]
fn b11_any_api_call_is_repeated_once_after_a_401() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = multi_thread_runtime(1);
    runtime.block_on(async {
        client.token().await.unwrap();
        layer.revoke_all(TokenKind::Access);
        let path = format!("/v1/businesses/{}", business());
        let answer = client.get(&path).await.unwrap();
        assert_eq!(answer.status(), 200, "the status of the response");
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["data"]["id"], json!(business().as_str()));
    });
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Business, 2)]);
}

#[test]
fn b11_call_for_a_business_is_repeated_once_with_a_new_business_token() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer).test_clock(clock.clone());
    let client = client.build_blocking().unwrap();
    let (business, minute) = (business(), SessionDuration::from_secs(120).unwrap());
    let call = || {
        let request = http::Request::get(format!("/v1/businesses/{business}"));
        let request = request.body(bytes::Bytes::new()).unwrap();
        client.execute_for_business(&business, minute, request)
    };
    assert_eq!(call().unwrap().status(), 200, "with a new token");
    layer.revoke_all(TokenKind::Business);
    // A younger token would not be replaced.
    clock.advance(Duration::from_secs(20));
    assert_eq!(call().unwrap().status(), 200, "with a revoked token");
    let calls = (Endpoint::Business, 3);
    assert_requests(
        &layer,
        &[(Endpoint::Token, 1), (Endpoint::AuthToken, 2), calls],
    );

    layer.revoke_all(TokenKind::Access);
    let not_authorized = Fault::status(401).forever();
    layer.fault(Endpoint::Business, not_authorized).unwrap();
    clock.advance(Duration::from_secs(20));
    assert_eq!(call().unwrap().status(), 401, "refused for ever");
    let log = layer.log();
    let of_business: Vec<_> = log
        .iter()
        .filter(|entry| entry.endpoint == Endpoint::Business)
        .map(|entry| format!("{:?}", entry.authorization))
        .collect();
    assert_eq!(of_business.len(), 5, "requests of the business");
    assert_ne!(
        of_business[3], of_business[4],
        "the same token was sent twice"
    );
}

#[test]
fn b15_slow_business_does_not_delay_others() {
    let layer = emulator();
    let slow = business();
    let others = businesses(20);
    let hold = Fault::hold().business(slow.as_str());
    layer.fault(Endpoint::AuthToken, hold).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (client, slow) = (client.clone(), slow.clone());
            runtime.spawn(async move { client.business_token(&slow).await })
        })
        .collect();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 1
    });
    runtime.block_on(async {
        for other in &others {
            client.business_token(other).await.unwrap();
        }
    });
    assert!(
        waiting.iter().all(|task| !task.is_finished()),
        "a call for the slow business ended before its response"
    );
    layer.release();
    for task in waiting {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 21)]);
}

#[test]
fn b15_number_of_cached_business_tokens_is_bounded() {
    let layer = emulator();
    let client = client_builder(&layer)
        .business_token_capacity(8)
        .build_blocking()
        .unwrap();
    for business in businesses(50) {
        client.business_token(&business).unwrap();
    }
    let cached = client.stats().business_tokens;
    assert!(
        cached <= 8,
        "{cached} business tokens are cached, the limit is 8"
    );
    // The most recent token is still cached.
    let last = businesses(50).pop().unwrap();
    client.business_token(&last).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 50)]);
}

#[test]
fn b01_try_token_leaves_no_tasks_behind() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    runtime.block_on(async {
        for _ in 0..10_000 {
            assert!(
                client.try_token().unwrap().is_none(),
                "there is no token yet"
            );
        }
    });
    let tasks = runtime.metrics().num_alive_tasks();
    assert!(tasks < 10, "10,000 calls of try_token left {tasks} tasks");
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    runtime.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b01_try_token_returns_a_cached_token_without_waiting() {
    let layer = emulator();
    let client = client(&layer);
    // Outside any runtime the request is sent in the background.
    assert!(
        client.try_token().unwrap().is_none(),
        "there is no token yet"
    );
    wait_for("the background request gets a token", || {
        client.try_token().unwrap().is_some()
    });
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    let token = client.borrow_token().unwrap();
    assert!(
        token.authorization().is_sensitive(),
        "the header is not marked as sensitive"
    );
    let header = token.authorization().to_str().unwrap();
    assert!(
        header.strip_prefix("Bearer ") == Some(token.secret()),
        "the header does not contain the token"
    );
    fn assert_shareable<T: Send + Sync>(_: &T) {}
    assert_shareable::<Client>(&client);
}

#[test]
fn b01_borrowed_business_token_is_read_in_place() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .business_token_capacity(1)
        .build_blocking()
        .unwrap();
    let [first, second] = [businesses(2)[0].clone(), businesses(2)[1].clone()];
    let session = SessionDuration::default();
    assert!(
        client.borrow_business_token(&first, session).is_none(),
        "there is no token yet"
    );
    assert_requests(&layer, &[]);
    let token = client.business_token(&first).unwrap();
    let borrowed = client.borrow_business_token(&first, session).unwrap();
    let again = client.borrow_business_token(&first, session).unwrap();
    assert!(*borrowed == token, "another token is borrowed");
    assert!(
        std::ptr::eq(&*borrowed, &*again),
        "the token is copied, not borrowed"
    );
    let hour = SessionDuration::from_secs(7_200).unwrap();
    assert!(
        client.borrow_business_token(&first, hour).is_none(),
        "a token of another session duration is borrowed"
    );
    clock.advance(token.expires_in() / 4);
    let too_long = BusinessTokenOptions::default().min_remaining(token.expires_in());
    assert!(
        client.borrow_business_token(&first, too_long).is_none(),
        "a token with less than the minimum lifetime is borrowed"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 1)]);
    // The cache has room for one token.
    client.business_token(&second).unwrap();
    assert!(
        client.borrow_business_token(&first, session).is_none(),
        "the first token is still cached"
    );
    assert!(
        borrowed.secret() == token.secret(),
        "a borrowed token does not outlive its eviction"
    );
}
