//! `Client::prepare`: a token that is there before the first call needs one.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::Duration;

use layerfi_auth::{Client, ErrorKind, TestClock, blocking};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    ReservedPort, assert_requests, client, client_builder, emulator, eventually,
    multi_thread_runtime, wait_for,
};
use tracing::field::{Field, Visit};

fn wait_for_token(client: &Client) {
    wait_for("the prepared token is in the cache", || {
        client.stats().expires_at.is_some()
    });
}

fn failures(client: &blocking::Client) -> u64 {
    client.stats().failures.iter().map(|(_, count)| count).sum()
}

#[test]
fn b02_first_call_after_prepare_finds_a_token() {
    let layer = emulator();
    let client = client(&layer);
    // Without a runtime.
    client.prepare().unwrap();
    wait_for_token(&client);
    assert!(
        client.try_token().unwrap().is_some(),
        "the prepared token is not served"
    );
    assert!(client.borrow_token().is_some(), "reading in place misses");
    blocking::Client::from(client.clone()).token().unwrap();
    // There is a token, so these do nothing.
    for _ in 0..100 {
        client.prepare().unwrap();
        blocking::Client::from(client.clone()).prepare().unwrap();
    }
    let stats = client.stats();
    assert_eq!(
        (stats.misses, stats.waits, stats.hits, stats.refreshes),
        (1, 0, 3, 0),
        "misses, waits, hits, refreshes: prepare counts as the miss that it saves"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b02_calls_of_prepare_and_token_at_the_same_time_make_one_request() {
    const THREADS: usize = 8;
    const CALLS: usize = 125;
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let runtime = multi_thread_runtime(2);
    let start = Barrier::new(THREADS);
    let tasks = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..CALLS {
                    client.prepare().unwrap();
                    let client = client.clone();
                    let task = runtime.spawn(async move { client.token().await });
                    tasks.lock().unwrap().push(task);
                }
            });
        }
    });
    // No call of `prepare` has waited for the response, which is held.
    wait_for("all calls of token wait", || {
        client.stats().waits == (THREADS * CALLS) as u64
    });
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    for task in tasks.into_inner().unwrap() {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b02_call_during_prepare_waits_for_its_request() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = blocking::Client::from(client(&layer));
    client.prepare().unwrap();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    assert!(
        client.try_token().unwrap().is_none(),
        "there is a token, although the response is held"
    );
    let waiting = client.start(|client| async move { client.token().await });
    wait_for("the call waits", || client.stats().waits == 1);
    layer.release();
    waiting.unwrap().join().unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b12_prepare_completes_if_the_callers_runtime_is_not_driven_or_dropped() {
    let layer = emulator();
    let undriven = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let first = client(&layer);
    undriven.block_on(async { first.prepare() }).unwrap();
    wait_for_token(&first);

    let second = client(&layer);
    let dropped = multi_thread_runtime(1);
    dropped.block_on(async { second.prepare() }).unwrap();
    drop(dropped);
    wait_for_token(&second);
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b04_keep_warm_begins_with_prepare() {
    let layer = Emulator::builder()
        .access_token_lifetime(Duration::from_secs(1))
        .start_blocking()
        .unwrap();
    let client = client_builder(&layer).keep_warm(true).build().unwrap();
    client.prepare().unwrap();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).total >= 3);
    drop(client);
}

/// Warnings of this library as text. Each event also uses the client, as a subscriber
/// may do: it must not run under one of the library's locks.
#[derive(Clone, Default)]
struct Warnings {
    texts: Arc<Mutex<Vec<String>>>,
    client: Arc<OnceLock<Client>>,
}

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0 += &format!(" {}={value}", field.name());
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "layerfi_auth"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if IS_RUNNING.replace(true) {
            return;
        }
        if let Some(client) = self.client.get() {
            // These take all locks of the token.
            client.prepare().unwrap();
            let _ = client.try_token();
            client.invalidate_text("another");
            let _ = client.stats();
        }
        if *event.metadata().level() <= tracing::Level::WARN {
            let mut text = Text::default();
            event.record(&mut text);
            self.texts.lock().unwrap().push(text.0);
        }
        IS_RUNNING.set(false);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn b06_b27_failed_prepare_is_logged_once_and_returned_by_the_next_call() {
    let layer = emulator();
    layer.rotate(DEFAULT_CLIENT_ID, "another").unwrap();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    let log = Warnings::default();
    log.client.set(client.as_async().clone()).unwrap();
    tracing::subscriber::with_default(log.clone(), || {
        client.prepare().unwrap();
        wait_for("the request fails", || failures(&client) == 1);
        // During the quiet time it sends nothing, logs nothing, and does not fail.
        for _ in 0..20 {
            client.prepare().unwrap();
        }
        for call in [
            client.token().map(drop),
            client.try_token().map(drop),
            client.whoami().map(drop),
        ] {
            let error = call.unwrap_err();
            assert_eq!(error.oauth_error(), Some("invalid_client"), "{error:?}");
        }
    });
    let texts = log.texts.lock().unwrap().clone();
    assert_eq!(texts.len(), 1, "warnings: {texts:?}");
    for part in ["prepare", "invalid_client (HTTP 400)"] {
        assert!(texts[0].contains(part), "{part} is not in {:?}", texts[0]);
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);

    // After the quiet time it tries again.
    layer
        .rotate(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .unwrap();
    clock.advance(Duration::from_secs(2));
    client.prepare().unwrap();
    wait_for_token(client.as_async());
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b03_prepare_without_a_reachable_server_does_not_fail_and_the_next_call_does() {
    let layer = emulator();
    let closed = ReservedPort::new();
    let address = closed.address();
    let client = client_builder(&layer)
        .auth_url(format!("http://{address}/oauth2/token"))
        .max_attempts(1)
        .build_blocking()
        .unwrap();
    let log = Warnings::default();
    tracing::subscriber::with_default(log.clone(), || {
        client.prepare().unwrap();
        wait_for("the request fails", || failures(&client) == 1);
        let error = client.token().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}");
    });
    let texts = log.texts.lock().unwrap().clone();
    assert_eq!(texts.len(), 1, "warnings: {texts:?}");
    assert!(
        texts[0].contains(&address.to_string()),
        "{:?} does not name the server",
        texts[0]
    );
}
