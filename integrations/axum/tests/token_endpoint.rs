//! The token endpoint in a real server, with the table of cases that all web frameworks
//! have in common.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::{HeaderMap, StatusCode, request::Parts};
use layerfi_auth::{Client, Environment, TestClock};
use layerfi_auth_axum::{LayerTokenOptions, layer_token_route, layer_token_route_with};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};
use layerfi_auth_test_support::{MAX_WAIT, emulator, multi_thread_runtime};
use serde_json::{Value, json};

const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// The application's own code: a header in place of a sign-in.
async fn current_business(headers: HeaderMap) -> Result<Option<String>, StatusCode> {
    match headers
        .get("x-business")
        .map(|value| value.to_str().unwrap())
    {
        Some("refuse") => Err(StatusCode::FORBIDDEN),
        business => Ok(business.map(str::to_owned)),
    }
}

/// A server with the endpoint, a client and an emulator behind it.
struct Server {
    layer: Emulator,
    clock: TestClock,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let layer = emulator();
        let clock = TestClock::new();
        let client = Client::builder()
            .environment(Environment::Custom)
            .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
            .api_url(layer.url())
            .auth_url(layer.token_url())
            .scope(layer.scope())
            .allow_http_loopback(true)
            .no_proxy()
            .test_clock(clock.clone())
            .build()
            .unwrap();
        // Long, so that a busy machine does not answer 503 by itself.
        let options = LayerTokenOptions::default()
            .timeout(Duration::from_secs(30))
            .allow_origins(["https://app.example.com"])
            .unwrap();
        let with_get = options.clone().allow_get(true);
        let app: Router =
            Router::new()
                .route(
                    "/layer-token",
                    layer_token_route_with(client.clone(), current_business, options),
                )
                .route(
                    "/with-get",
                    layer_token_route_with(client.clone(), current_business, with_get),
                )
                .route(
                    "/extractors",
                    layer_token_route(
                        client,
                        |(State(business), _): (State<&'static str>, User)| async move {
                            Some(business)
                        },
                    ),
                )
                .with_state(BUSINESS);
        let runtime = multi_thread_runtime(2);
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            layer,
            clock,
            address,
            _runtime: runtime,
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Answer {
            status: status["HTTP/1.1 ".len()..][..3].parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    /// The session of a page, which reports a token as refused if it gives one.
    fn session(&self, refused: Option<&str>) -> Value {
        let body = json!({ "refused": refused }).to_string();
        let answer = self.ask("POST", "/layer-token", &[("x-business", BUSINESS)], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[test]
fn b29_token_endpoint_passes_the_table() {
    let table = include_str!("../../../tests/token_endpoints/cases.json");
    let table: Value = serde_json::from_str(table).unwrap();
    let server = Server::start();
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 20, "the table has only {} cases", cases.len());
    for case in cases {
        check(&server, &table, case);
    }
}

fn check(server: &Server, table: &Value, case: &Value) {
    let name = &case["name"];
    let text = |key: &str, default| case[key].as_str().unwrap_or(default);
    let business = match case.get("business") {
        None => table["business"].as_str(),
        Some(business) => business.as_str(),
    };
    let sent = [
        ("origin", case["origin"].as_str()),
        ("x-business", business),
    ];
    let sent: Vec<_> = sent
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    if let Some(layer) = case.get("layer") {
        let fault: Fault = serde_json::from_value(layer.clone()).unwrap();
        server
            .layer
            .fault(Endpoint::AuthToken, fault.forever())
            .unwrap();
    }
    let (method, path) = (text("method", "POST"), text("path", "/layer-token"));
    let answer = server.ask(method, path, &sent, text("body", ""));
    server.layer.clear_faults();

    assert_eq!(
        json!(answer.status),
        case["status"],
        "{name}: {}",
        answer.body
    );
    if let Some(error) = case.get("error") {
        assert_eq!(answer.json(), json!({ "error": error }), "{name}");
    }
    let own = [table.get("always"), case.get("headers")];
    for (header, value) in own
        .into_iter()
        .flatten()
        .flat_map(|all| all.as_object().unwrap())
    {
        let is_own = case.get("is_the_frameworks").is_none();
        assert!(
            !is_own || answer.headers.get(header).map(String::as_str) == value.as_str(),
            "{name}: {header} must be {value}: {:?}",
            answer.headers
        );
    }
    for missing in [table.get("never"), case.get("missing")]
        .into_iter()
        .flatten()
    {
        for header in missing.as_array().unwrap() {
            let header = header.as_str().unwrap();
            assert!(
                !answer.headers.contains_key(header),
                "{name}: {header} is sent"
            );
        }
    }
    if answer.status == 200 {
        let session = answer.json();
        assert_eq!(answer.headers["content-type"], "application/json", "{name}");
        assert_eq!(session["business_id"], BUSINESS, "{name}");
        assert_eq!(session["token_type"], "Bearer", "{name}");
        assert_eq!(session["session_duration"], 28_800, "{name}");
        let seconds = |key: &str| session[key].as_u64().unwrap();
        assert!((28_700..=28_800).contains(&seconds("expires_in")), "{name}");
        assert!((14_300..=14_400).contains(&seconds("renew_in")), "{name}");
        let props = &session["layer_provider_props"];
        assert!(
            props["businessAccessToken"] == session["access_token"],
            "{name}"
        );
    }
}

#[test]
fn b29_refused_token_is_replaced_at_most_once_in_ten_seconds() {
    let server = Server::start();
    let token = |session: &Value| session["access_token"].as_str().unwrap().to_owned();
    let first = token(&server.session(None));
    let again = token(&server.session(Some(&first)));
    assert!(again == first, "a token that is not 10 s old was replaced");
    server.clock.advance(Duration::from_secs(11));
    server.layer.advance(Duration::from_secs(11));
    let second = token(&server.session(Some(&first)));
    assert!(second != first, "the refused token was given again");
    for _ in 0..10 {
        let session = server.session(Some(&first));
        assert!(
            token(&session) == second,
            "the page did not get the current token"
        );
    }
    assert_eq!(server.layer.count(Endpoint::AuthToken), 2, "minted tokens");
}

#[test]
fn b29_token_with_less_than_five_seconds_left_is_not_given() {
    let server = Server::start();
    server.session(None);
    server
        .layer
        .fault(Endpoint::AuthToken, Fault::status(503).forever())
        .unwrap();
    // What is left, and whether the page gets the token.
    for (left, status) in [(60, 200), (4, 503)] {
        let session = server.ask("POST", "/layer-token", &[("x-business", BUSINESS)], "");
        let expires_in = match session.status {
            200 => session.json()["expires_in"].as_u64().unwrap(),
            status => panic!("{status} before the token ages: {}", session.body),
        };
        server.clock.advance(Duration::from_secs(expires_in - left));
        let answer = server.ask("POST", "/layer-token", &[("x-business", BUSINESS)], "");
        assert_eq!(answer.status, status, "with {left} s left: {}", answer.body);
        if status == 503 {
            assert!(answer.headers.contains_key("retry-after"), "no Retry-After");
            assert_eq!(answer.json(), json!({ "error": "timeout" }));
        }
    }
}

#[test]
fn b29_body_that_is_too_long_is_refused() {
    let server = Server::start();
    for (length, status) in [(20_000, 200), (30_000, 400)] {
        let body = json!({ "a": "x".repeat(length) }).to_string();
        let answer = server.ask("POST", "/layer-token", &[("x-business", BUSINESS)], &body);
        assert_eq!(answer.status, status, "a body with {length} characters");
    }
}

/// An extractor of the application.
struct User;

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = (StatusCode, [(&'static str, &'static str); 2], &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match parts.headers.contains_key("x-user") {
            true => Ok(Self),
            false => Err((
                StatusCode::IM_A_TEAPOT,
                [("vary", "Accept"), ("x-why", "tea")],
                "sign in",
            )),
        }
    }
}

#[test]
fn b29_rejection_of_an_extractor_is_the_answer_with_the_headers_of_the_endpoint() {
    let server = Server::start();
    let signed_in = server.ask("POST", "/extractors", &[("x-user", "ada")], "");
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    let answer = server.ask("POST", "/extractors", &[], "");
    assert_eq!((answer.status, &*answer.body), (418, "sign in"));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("vary", "Cookie"),
        ("x-content-type-options", "nosniff"),
        ("x-why", "tea"),
    ] {
        let found = answer.headers.get(name).map(String::as_str);
        assert_eq!(found, Some(value), "{name}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn b20_b29_log_of_the_token_endpoint_has_a_line_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = Server::start();
    let session = server.session(None);
    let token = session["access_token"].as_str().unwrap();
    server.session(Some(token));
    let long = "x".repeat(1_000);
    let answer = server.ask("POST", "/layer-token", &[("x-business", &long)], "{}");
    assert_eq!(answer.status, 404, "{}", answer.body);
    let text = log.text();
    let line = format!(
        "the token endpoint answered 404 for business \"{}\": business_id of 1000 bytes is not",
        &long[..64]
    );
    let lines: Vec<_> = text.lines().filter(|found| found.contains(&line)).collect();
    assert_eq!(lines.len(), 1, "lines about the failure");
    assert!(lines[0].contains(" WARN layerfi_auth: "), "{}", lines[0]);
    assert!(
        lines[0].contains("kind=\"invalid_argument\" status=404"),
        "{}",
        lines[0]
    );
    for (what, secret) in [
        ("the business token", token),
        ("the client secret", DEFAULT_CLIENT_SECRET),
        ("the whole id", &long[..100]),
    ] {
        assert!(!text.contains(secret), "{what} is in the log");
    }
}
