//! Small HTTP client over a raw socket, because the tests check bytes and ends
//! of connections that an ordinary HTTP client does not show.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test binary uses a part; a panic fails the test with its message"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerfi_auth_emulator::{
    Counters, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder, EmulatorError,
};
use serde_json::Value;

/// Limit of all waits. It is far above any real duration, so that it ends only
/// a test that would never end.
pub const MAX_WAIT: Duration = Duration::from_secs(300);

/// Time without data after which a connection counts as stalled. A longer time
/// only makes a wrong "stalled" less likely; a slow machine cannot fail a test.
const QUIET: Duration = Duration::from_millis(150);

pub fn start(builder: EmulatorBuilder) -> Emulator {
    builder
        .start_blocking()
        .unwrap_or_else(|error| panic!("the emulator must start, got the error: {error}"))
}

/// The error of a builder that must not start.
#[track_caller]
pub fn start_error(builder: EmulatorBuilder) -> EmulatorError {
    match builder.start_blocking() {
        Ok(layer) => panic!("the emulator must not start, but it did: {layer:?}"),
        Err(error) => error,
    }
}

/// Waits until the counters satisfy a condition, which `what` describes.
#[track_caller]
pub fn wait_until(layer: &Emulator, what: &str, condition: impl Fn(&Counters) -> bool) {
    assert!(
        layer.wait_until(condition, MAX_WAIT),
        "not reached within {MAX_WAIT:?}: {what}; counters: {:?}",
        layer.counters()
    );
}

/// End of a connection, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN.
    Closed,
    /// RST.
    Reset,
    /// Still open when the client stopped reading.
    Open,
}

/// Condition to stop reading.
#[derive(Clone, Copy)]
pub enum StopReading<'a> {
    /// The connection ends.
    AtEnd,
    /// This many bytes have come.
    AfterBytes(usize),
    /// The bytes satisfy the condition, and then no more come for a moment.
    WhenQuiet(&'a dyn Fn(&[u8]) -> bool),
}

/// Sends a request and reads until `stop`, or until the connection ends.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &str, stop: StopReading<'_>) -> (Vec<u8>, Ending) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let complete = match stop {
            StopReading::AtEnd => false,
            StopReading::AfterBytes(count) if received.len() >= count => {
                return (received, Ending::Open);
            }
            StopReading::AfterBytes(_) => false,
            StopReading::WhenQuiet(condition) => condition(&received),
        };
        let limit = if complete { QUIET } else { MAX_WAIT };
        stream.set_read_timeout(Some(limit)).unwrap();
        match stream.read(&mut buffer) {
            Ok(0) => return (received, Ending::Closed),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return (received, Ending::Reset);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(
                    complete,
                    "no more data and no end of the connection within {limit:?}; received: {:?}",
                    String::from_utf8_lossy(&received)
                );
                return (received, Ending::Open);
            }
            Err(error) => panic!("reading from the connection failed: {error}"),
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("not an HTTP response: {text:?}")),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {:?}", self.body))
    }

    #[track_caller]
    pub fn access_token(&self) -> String {
        match self.json()["access_token"].as_str() {
            Some(token) => token.to_owned(),
            None => panic!("no access_token in the response: {self:?}"),
        }
    }

    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "wrong status of the response {self:?}");
        self
    }

    #[track_caller]
    pub fn expect_header(self, name: &str, value: Option<&str>) -> Self {
        assert_eq!(
            self.header(name),
            value,
            "wrong header {name} in the response {self:?}"
        );
        self
    }

    #[track_caller]
    pub fn expect_field(self, name: &str, value: impl Into<Value>) -> Self {
        assert_eq!(
            self.json()[name],
            value.into(),
            "wrong field {name} in the response {self:?}"
        );
        self
    }

    /// Checks for the error envelope of the API.
    #[track_caller]
    pub fn expect_error(self, status: u16, error_enum: &str) -> Self {
        let json = self.json();
        assert!(
            json.get("data").is_none(),
            "an error must not have data: {self:?}"
        );
        assert_eq!(
            json["errors"][0]["error_enum"], error_enum,
            "wrong error_enum in the response {self:?}"
        );
        self.expect_status(status)
    }
}

/// The text of a request that closes its connection.
pub fn request_text(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("content-length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}")
}

#[track_caller]
pub fn send_text(address: SocketAddr, request: &str) -> Response {
    Response::parse(&exchange(address, request, StopReading::AtEnd).0)
}

#[track_caller]
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    send_text(address, &request_text(method, path, headers, body))
}

pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub fn form(layer: &Emulator, id: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("scope", layer.scope())
        .append_pair("client_id", id);
    form.finish()
}

/// The text of the documented token request.
pub fn token_request_text(layer: &Emulator) -> String {
    let authorization = basic(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET);
    let headers = [("authorization", authorization.as_str()), FORM];
    request_text(
        "POST",
        "/oauth2/token",
        &headers,
        &form(layer, DEFAULT_CLIENT_ID),
    )
}

#[track_caller]
pub fn request_token_with(layer: &Emulator, authorization: &str, form: &str) -> Response {
    let headers = [("authorization", authorization), FORM];
    send(layer.address(), "POST", "/oauth2/token", &headers, form)
}

#[track_caller]
pub fn request_token_as(layer: &Emulator, id: &str, secret: &str) -> Response {
    request_token_with(layer, &basic(id, secret), &form(layer, id))
}

#[track_caller]
pub fn request_token(layer: &Emulator) -> Response {
    request_token_as(layer, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
}

/// A new access token.
#[track_caller]
pub fn access_token(layer: &Emulator) -> String {
    request_token(layer).expect_status(200).access_token()
}

#[track_caller]
pub fn get(layer: &Emulator, path: &str, token: &str) -> Response {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    send(layer.address(), "GET", path, &headers, "")
}

/// The response to `GET /whoami`.
#[track_caller]
pub fn whoami(layer: &Emulator, token: &str) -> Response {
    get(layer, "/whoami", token)
}

#[track_caller]
pub fn request_business_token(
    layer: &Emulator,
    token: &str,
    business: &str,
    body: &str,
) -> Response {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/v1/businesses/{business}/auth-token");
    send(layer.address(), "POST", &path, &headers, body)
}

/// The response to a command of the control API.
#[track_caller]
pub fn control(layer: &Emulator, method: &str, path: &str, body: &str) -> Response {
    send(layer.control_address(), method, path, &[], body)
}

/// The result of a command of the control API that must succeed.
#[track_caller]
pub fn command(layer: &Emulator, method: &str, path: &str, body: &str) -> Value {
    control(layer, method, path, body).expect_status(200).json()
}

/// curl's exit code, and its output or error text.
pub fn curl(args: &[&str]) -> (i32, String) {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*"])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("curl must be installed: {error}"));
    let code = output.status.code().unwrap();
    let text = if code == 0 {
        &output.stdout
    } else {
        &output.stderr
    };
    (code, String::from_utf8_lossy(text).into_owned())
}
