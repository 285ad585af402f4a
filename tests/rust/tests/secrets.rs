//! No secret and no token in anything that is shown or logged, with the logs
//! of every library below switched on. One test: a process has one logger.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use layerfi_auth::{Client, Error, SessionDuration};
use layerfi_auth_emulator::{
    At, DEFAULT_CLIENT_ID, Emulator, EmulatorBuilder, Endless, Endpoint, Fault, HttpVersions, Wire,
};
use layerfi_auth_tests::{business, businesses, client_builder, multi_thread_runtime};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

const SECRET: &str = "canary-0f6e2a9b41d7-secret";

/// Keeps what is logged, the emulator's part apart: its thread is the server.
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

/// What must not be seen, and by which of its forms it would be known.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) {
        let mut forms = vec![secret.to_owned()];
        // Parts: a cut or wrapped token is a token's part all the same. The
        // head of a JWT says nothing, so the parts are its middle and its end.
        if let Some(start) = secret.len().checked_sub(24) {
            forms.push(secret[start..].to_owned());
            forms.push(secret[secret.len() / 2..][..12].to_owned());
        }
        // As a list of bytes, which is how a careless `Debug` shows them.
        let tail = &secret.as_bytes()[secret.len().saturating_sub(12)..];
        forms.push(format!("{tail:?}").trim_matches(['[', ']']).to_owned());
        self.0.extend(forms.into_iter().map(|form| (what, form)));
    }

    fn assert_unseen(&self, place: &str, text: &str) {
        for (what, form) in &self.0 {
            if let Some(at) = text.find(form.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                // The line up to the secret tells who said it.
                panic!("{place} shows the {what} after {:?}", &text[line..at]);
            }
        }
    }
}

/// Everything that a program might print of an error.
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

/// Good calls and bad ones. Adds the tokens to the secrets, and everything
/// that can be shown to the text.
async fn everything(layer: &Emulator, secrets: &Mutex<Secrets>, text: &Mutex<String>) {
    let keep = |what, secret: &str| secrets.lock().unwrap().add(what, secret);
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

    // Refused: the secret is not one, and the answer repeats what was sent.
    let wrong = format!("{SECRET}-wrong");
    let refused = client(&wrong);
    show(shown(&refused.token().await.unwrap_err()));
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
    // A token in an answer that is refused for something else.
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
    // What breaks on the way.
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
fn b20_no_secret_is_shown_or_logged_by_anyone() {
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
        secrets.add("client secret", SECRET);
        let pair = format!("{DEFAULT_CLIENT_ID}:{SECRET}");
        let basic = base64::engine::general_purpose::STANDARD.encode(pair);
        secrets.add("Basic header", &basic);
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
        // A handshake that fails, with the secret in hand.
        if layer.ca_pem().is_some() {
            let stranger = client_builder(&layer).ca_pem("").build().unwrap();
            let error = runtime.block_on(stranger.token()).unwrap_err();
            text.lock().unwrap().push_str(&shown(&error));
        }
    }
    drop(runtime);

    let secrets = secrets.into_inner().unwrap();
    secrets.assert_unseen("what is shown", &text.into_inner().unwrap());
    let logged = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    for library in ["layerfi_auth", "reqwest", "hyper_util", "h2", "rustls"] {
        assert!(
            logged.contains(library),
            "{library} logged nothing: no test"
        );
    }
    secrets.assert_unseen("the log", &logged);
}
