//! Program that uses a secret and drops it. `tests/memory.rs` searches its memory
//! from outside. There are two binaries: with the system's allocator and with
//! `ZeroOnFree`.
//!
//! `memory_probe <blocking|async> <given|file>` takes the client's settings from the
//! environment, except the secret, which is in the file `PROBE_SECRET_FILE`: a
//! process cannot erase its initial environment. The file `PROBE_SHARED_CACHE_FILE`, if it
//! is set, has the URL of a shared cache. It prints `working`, then
//! `dropped`, and waits for a line on standard input after each.
//!
//! `memory_probe time <number>` makes this many requests and prints the microseconds
//! per request.

use std::io::Read as _;
use std::time::{Duration, Instant};

use layerfi_auth::{Client, ClientBuilder, Secret, SessionDuration, blocking};

use crate::clients::business;

/// Runs the program.
pub fn main() {
    let argument = |number| std::env::args().nth(number).unwrap_or_default();
    let builder = match argument(2).as_str() {
        "file" => ClientBuilder::from_env()
            .unwrap()
            .client_secret_file(secret_file()),
        _ => ClientBuilder::from_env()
            .unwrap()
            .client_secret(secret(&secret_file())),
    };
    let builder = match std::env::var("PROBE_SHARED_CACHE_FILE") {
        Ok(file) => builder.shared_cache(secret(&file)),
        Err(_) => builder,
    };
    let client = builder.max_attempts(2).build().unwrap();
    match argument(1).as_str() {
        "blocking" => blocking(client),
        "async" => asynchronous(client),
        "time" => time(&client, argument(2).parse().unwrap()),
        other => panic!("unknown scenario: {other}"),
    }
}

fn secret_file() -> String {
    std::env::var("PROBE_SECRET_FILE").unwrap()
}

/// Reads a secret into a single buffer, which becomes the client's.
fn secret(file: &str) -> Secret {
    let mut text = String::with_capacity(4_096);
    std::fs::File::open(file)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    Secret::new(text)
}

fn wait_after(word: &str) {
    println!("{word}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn blocking(client: Client) {
    let client = blocking::Client::from(client);
    let token = client.token().unwrap();
    client.whoami().unwrap();
    let kept = client.business_token(&business()).unwrap();
    let minted = client.mint_business_token(&business(), SessionDuration::default());
    let answer = client.execute(request()).unwrap();
    assert_eq!(answer.status(), 200, "the status of the response");
    wait_after("working");
    drop((token, kept, minted.unwrap(), answer, client));
    wait_after("dropped");
}

fn asynchronous(client: Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let token = client.token().await.unwrap();
        client.whoami().await.unwrap();
        let kept = client.business_token(&business()).await.unwrap();
        let business = business();
        let mint = client.mint_business_token(&business, SessionDuration::default());
        let minted = mint.await.unwrap();
        let answer = client.execute(request()).await.unwrap();
        assert_eq!(answer.status(), 200, "the status of the response");
        wait_after("working");
        drop((token, kept, minted, answer, client));
    });
    // The runtime still exists: its connection buffers must be clean too.
    wait_after("dropped");
}

fn request() -> http::Request<bytes::Bytes> {
    http::Request::get("/v1/businesses/3fa85f64-5717-4562-b3fc-2c963f66afa6")
        .body(bytes::Bytes::new())
        .unwrap()
}

fn time(client: &Client, rounds: u32) {
    let client = blocking::Client::from(client.clone()).with_timeout(Duration::from_secs(60));
    client.token().unwrap();
    client
        .mint_business_token(&business(), SessionDuration::default())
        .unwrap();
    let started = Instant::now();
    for _ in 0..rounds {
        // Minting is the same exchange without a cache or a refresh policy.
        client
            .mint_business_token(&business(), SessionDuration::default())
            .unwrap();
    }
    println!(
        "{:.1}",
        started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    );
}
