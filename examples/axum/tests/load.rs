//! The example as a process, with 100 requests at once, against the emulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use layerfi_auth_emulator::Endpoint;
use layerfi_auth_test_support::{
    MAX_WAIT, emulator, emulator_variables, eventually, remove_settings, wait_for,
};

const REQUESTS: usize = 100;
const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// Ends the process if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request and returns the head and the body of the response.
fn ask(address: &str, method: &str, path: &str, cookie: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         cookie: {cookie}\r\ncontent-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn b02_b29_example_makes_one_token_request_under_load() {
    let layer = emulator();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerfi-auth-example-axum"));
    remove_settings(&mut command);
    let child = command
        .envs(emulator_variables(&layer))
        .env("ADDRESS", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Running(child);
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    let mut log = String::new();
    while !log.contains("listening on") {
        let read = output.read_line(&mut log).unwrap();
        assert!(read > 0, "the example ended before it listened: {log}");
    }
    let address = log.rsplit("http://").next().unwrap().trim();

    // Before any request: `prepare`.
    eventually(&layer, |counters| counters.access_tokens == 1);
    let (head, _) = ask(address, "POST", "/layer-token", "");
    assert!(
        head.starts_with("HTTP/1.1 401 "),
        "nobody is signed in: {head}"
    );
    let (head, _) = ask(address, "POST", "/sign-in/ada", "");
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .expect("the sign-in sets no cookie");
    let cookie = cookie.split(';').next().unwrap();

    let start = Barrier::new(REQUESTS);
    std::thread::scope(|scope| {
        for number in 0..REQUESTS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let (method, path) = match number % 2 {
                    0 => ("POST", "/layer-token"),
                    _ => ("GET", "/transactions"),
                };
                let (head, body) = ask(address, method, path, cookie);
                assert!(head.starts_with("HTTP/1.1 200 "), "{method} {path}: {head}");
                let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
                match path {
                    "/layer-token" => assert_eq!(answer["business_id"], BUSINESS),
                    _ => assert!(answer["data"].is_array(), "transactions are no list"),
                }
            });
        }
    });
    let counts = [Endpoint::Token, Endpoint::AuthToken].map(|endpoint| layer.count(endpoint));
    assert_eq!(counts, [1, 1], "token requests, minted business tokens");

    stop(&mut server.0);
    output.read_to_string(&mut log).unwrap();
    assert!(log.contains("stopped"), "no graceful shutdown: {log}");
    assert!(!log.contains("eyJ"), "a token is in the log");
}

/// Asks the server to stop, and waits until it has.
fn stop(server: &mut Child) {
    let pid = server.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(sent.unwrap().success(), "kill failed");
    let mut status = None;
    wait_for("the example stops after SIGTERM", || {
        status = server.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "the example failed: {status:?}");
}
