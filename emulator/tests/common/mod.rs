//! A small client over a raw socket: what these tests look at is what no
//! well-behaved client shows.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test binary uses its own part"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder};
use serde_json::Value;

/// Long enough for a slow machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn start(builder: EmulatorBuilder) -> Emulator {
    builder.start_blocking().unwrap()
}

/// How a connection ended, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN.
    Closed,
    /// RST.
    Reset,
    /// Still open when the client lost patience.
    Open,
}

/// Sends bytes and reads until the connection ends, or nothing comes for as
/// long as the patience, or `cap` bytes have come.
pub fn raw(
    address: SocketAddr,
    request: &str,
    patience: Duration,
    cap: usize,
) -> (Vec<u8>, Ending) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (got, Ending::Closed),
            Ok(read) => got.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return (got, Ending::Reset);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (got, Ending::Open);
            }
            Err(error) => panic!("{error}"),
        }
        if got.len() >= cap {
            return (got, Ending::Open);
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
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

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub fn error_enum(&self) -> String {
        let json = self.json();
        assert!(json.get("data").is_none());
        json["errors"][0]["error_enum"].as_str().unwrap().to_owned()
    }
}

/// The text of a request that ends its connection.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("content-length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}")
}

pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let (bytes, _) = raw(
        address,
        &request(method, path, headers, body),
        PATIENCE,
        usize::MAX,
    );
    Answer::parse(&bytes)
}

pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub fn form(emulator: &Emulator, id: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("scope", emulator.scope())
        .append_pair("client_id", id);
    form.finish()
}

/// The token call as documented.
pub fn token_request(emulator: &Emulator) -> String {
    let authorization = basic(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET);
    let headers = [("authorization", authorization.as_str()), FORM];
    request(
        "POST",
        "/oauth2/token",
        &headers,
        &form(emulator, DEFAULT_CLIENT_ID),
    )
}

pub fn ask_as(emulator: &Emulator, id: &str, secret: &str) -> Answer {
    ask_with(emulator, &basic(id, secret), &form(emulator, id))
}

pub fn ask_with(emulator: &Emulator, authorization: &str, form: &str) -> Answer {
    let headers = [("authorization", authorization), FORM];
    send(emulator.address(), "POST", "/oauth2/token", &headers, form)
}

pub fn ask(emulator: &Emulator) -> Answer {
    ask_as(emulator, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
}

/// A fresh access token.
pub fn token(emulator: &Emulator) -> String {
    let answer = ask(emulator);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

pub fn get(emulator: &Emulator, path: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    send(
        emulator.address(),
        "GET",
        path,
        &[("authorization", &authorization)],
        "",
    )
}

pub fn whoami(emulator: &Emulator, token: &str) -> u16 {
    get(emulator, "/whoami", token).status
}

pub fn mint(emulator: &Emulator, token: &str, business: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/v1/businesses/{business}/auth-token");
    send(emulator.address(), "POST", &path, &headers, body)
}

pub fn control(emulator: &Emulator, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = send(emulator.control_address(), method, path, &[], body);
    (answer.status, answer.json())
}

/// curl's exit code and what it printed.
pub fn curl(args: &[&str]) -> (i32, String) {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*"])
        .args(args)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let text = if code == 0 {
        &output.stdout
    } else {
        &output.stderr
    };
    (code, String::from_utf8_lossy(text).into_owned())
}
