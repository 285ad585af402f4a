//! No secret and no token is in any output or log, with the logs of all libraries
//! enabled. This is one test, because a process has one logger.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerfi_auth::{Client, Error, SessionDuration};
use layerfi_auth_emulator::{
    At, DEFAULT_CLIENT_ID, Emulator, EmulatorBuilder, Endless, Endpoint, Fault, HttpVersions, Wire,
};
use layerfi_auth_tests::{Secrets, business, businesses, client_builder, multi_thread_runtime};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

const SECRET: &str = "canary-0f6e2a9b41d7-secret";

/// Collects log lines, except those of the emulator's thread, which is the server.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        if std::thread::current().name() != Some("layerfi-emulator") {
            self.0.lock().unwrap().extend_from_slice(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        let _ = self.clone().write(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Asserts that no line of a text contains a secret; the message is redacted.
#[track_caller]
fn assert_absent(secrets: &Secrets, place: &str, text: &str) {
    for line in text.lines() {
        if let Some(name) = secrets.find_in(line.as_bytes()) {
            panic!("{place} contains the {name}: {}", secrets.redact(line));
        }
    }
}

/// Returns all texts of an error that a program may print.
fn shown(error: &Error) -> String {
    format!(
        "{error} {error:?} {error:#?} {} {} {:?} {:?} {:?}\n",
        error.message(),
        error.remedy(),
        error.request_id(),
        error.oauth_error(),
        error.error_enum()
    )
}

/// Makes successful and failing calls. Adds their tokens to the secrets, and every
/// printable result to the text.
async fn everything(layer: &Emulator, secrets: &Mutex<Secrets>, text: &Mutex<String>) {
    let keep = |name, secret: &str| secrets.lock().unwrap().add_text(name, secret);
    let show = |more: String| text.lock().unwrap().push_str(&more);
    let client = |secret: &str| -> Client {
        client_builder(layer)
            .credentials(DEFAULT_CLIENT_ID, secret)
            .max_attempts(2)
            .timeout(Duration::from_millis(800))
            .build()
            .unwrap()
    };
    let good = client(SECRET);
    let token = good.token().await.unwrap();
    keep("access token", token.secret());
    show(format!(
        "{good:?} {token:?} {token:#?} {:?}\n",
        token.authorization()
    ));
    show(format!("{:?} {:?}\n", good.borrow_token(), good.reader()));
    show(format!("{:?}\n", good.whoami().await.unwrap()));
    let kept = good.business_token(&business()).await.unwrap();
    keep("business token", kept.secret());
    show(format!("{kept:?} {:?}\n", kept.authorization()));
    let minted = good
        .mint_business_token(&business(), SessionDuration::default())
        .await
        .unwrap();
    keep("business token", minted.secret());
    show(format!("{minted:?}\n"));
    let stream = good.business_tokens(businesses(2));
    show(format!("{stream:?} {:?}\n", good.stats()));

    // The secret is rejected, and the response repeats it.
    let wrong = format!("{SECRET}-wrong");
    let rejected = client(&wrong);
    show(shown(&rejected.token().await.unwrap_err()));
    let echo = json!({"error": wrong, "error_description": wrong, "access_token": wrong});
    for status in [200, 400, 401, 503] {
        layer
            .fault(
                Endpoint::Token,
                Fault::status(status).body(echo.clone()).times(2),
            )
            .unwrap();
        show(shown(&client(SECRET).token().await.unwrap_err()));
    }
    layer.clear_faults();
    // A token in a response that is invalid for another reason.
    for patch in [
        json!({"token_type": token.secret()}),
        json!({"expires_in": token.secret()}),
        json!({"access_token": [token.secret()]}),
    ] {
        layer.fault(Endpoint::Token, Fault::patch(patch)).unwrap();
        show(shown(&client(SECRET).token().await.unwrap_err()));
    }
    let echo = json!({"errors": [{"error_enum": token.secret(), "description": token.secret()}]});
    for status in [401, 403, 404, 429] {
        layer
            .fault(
                Endpoint::Whoami,
                Fault::status(status).body(echo.clone()).times(2),
            )
            .unwrap();
        show(shown(&good.whoami().await.unwrap_err()));
        layer.clear_faults();
    }
    let fresh = good.token().await.unwrap();
    keep("access token", fresh.secret());
    // Broken connections.
    for wire in [
        Wire::Reset(At::Before),
        Wire::Close(At::MidHead),
        Wire::Close(At::MidBody),
        Wire::Stall(At::MidBody),
        Wire::Endless(Endless::Body),
    ] {
        layer
            .fault(Endpoint::AuthToken, Fault::wire(wire).forever())
            .unwrap();
        let business = business();
        let mint = good.mint_business_token(&business, SessionDuration::default());
        show(shown(&mint.await.unwrap_err()));
        layer.clear_faults();
        layer
            .fault(Endpoint::Token, Fault::wire(wire).forever())
            .unwrap();
        show(shown(&client(SECRET).token().await.unwrap_err()));
        layer.clear_faults();
    }
    let location = "https://layer.example/?canary";
    layer
        .fault(
            Endpoint::Token,
            Fault::status(302).header("location", location),
        )
        .unwrap();
    show(shown(&client(SECRET).token().await.unwrap_err()));
    show(shown(
        &good.get("https://layer.example/").await.unwrap_err(),
    ));
}

#[test]
fn b20_no_secret_is_printed_or_logged() {
    let sink = Sink::default();
    tracing::subscriber::set_global_default(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(sink.clone())
            .finish(),
    )
    .unwrap();
    log::set_boxed_logger(Box::new(sink.clone())).unwrap();
    log::set_max_level(log::LevelFilter::Trace);

    let secrets = Mutex::new(Secrets::default());
    {
        let mut secrets = secrets.lock().unwrap();
        secrets.add_client(DEFAULT_CLIENT_ID, SECRET);
    }
    let text = Mutex::new(String::new());
    let start = |change: fn(EmulatorBuilder) -> EmulatorBuilder| {
        let builder = Emulator::builder()
            .client(DEFAULT_CLIENT_ID, SECRET)
            .rate_limit(None);
        change(builder).start_blocking().unwrap()
    };
    let runtime = multi_thread_runtime(2);
    for layer in [
        start(|builder| builder),
        start(|builder| builder.tls(true).http_versions(HttpVersions::Http1)),
        start(|builder| builder.tls(true)),
    ] {
        runtime.block_on(everything(&layer, &secrets, &text));
        // A failed handshake.
        if layer.ca_pem().is_some() {
            let untrusting = client_builder(&layer).ca_pem("").build().unwrap();
            let error = runtime.block_on(untrusting.token()).unwrap_err();
            text.lock().unwrap().push_str(&shown(&error));
        }
    }
    drop(runtime);

    let secrets = secrets.into_inner().unwrap();
    assert_absent(&secrets, "the output", &text.into_inner().unwrap());
    let logged = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    for library in ["layerfi_auth", "reqwest", "hyper_util", "h2", "rustls"] {
        assert!(
            logged.contains(library),
            "{library} logged nothing, so its log was not tested"
        );
    }
    assert_absent(&secrets, "the log", &logged);
}
