//! Runs one operation many times: `operations NAME CALLS`.
//!
//! `make instructions` counts the instructions of this program under callgrind, once
//! with some calls and once with more; the difference is the cost of the calls. The
//! client's settings come from the environment, as `operations serve` prints them.

use std::hint::black_box;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use layerfi_auth::{
    AccessToken, BusinessId, BusinessTokenOptions, Client, ClientBuilder, SessionDuration,
    TestClock,
};
use layerfi_auth_bench::floors::{self, Bare, Target};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    if name == "serve" {
        return serve(arguments.next());
    }
    let calls = arguments.next().map_or(0, |calls| {
        calls.parse::<u32>().expect("CALLS must be a number")
    });
    run(&name, calls);
}

/// Runs an emulator until standard input is closed. Prints the settings of a client as
/// lines `NAME=value`, then an empty line. With a path, it uses TLS and writes the
/// certificate of its authority there.
fn serve(authority: Option<String>) {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .tls(authority.is_some())
        .start_blocking()
        .unwrap();
    println!("LAYER_ENVIRONMENT=custom");
    println!("LAYER_API_URL={}", emulator.url());
    println!("LAYER_AUTH_URL={}", emulator.token_url());
    println!("LAYER_SCOPE={}", emulator.scope());
    println!("LAYER_CLIENT_ID={DEFAULT_CLIENT_ID}");
    println!("LAYER_CLIENT_SECRET={DEFAULT_CLIENT_SECRET}");
    println!("LAYER_ALLOW_HTTP_LOOPBACK=1");
    if let (Some(path), Some(pem)) = (authority, emulator.ca_pem()) {
        std::fs::write(&path, pem).unwrap();
        println!("LAYER_CA_FILE={path}");
    }
    println!();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn client() -> Client {
    Client::from_env().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Calls in a task of the runtime, as a server does: the thread of `main` only waits.
fn in_task<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, calls: F) {
    runtime.block_on(async { tokio::spawn(calls).await.unwrap() });
}

fn repeat(calls: u32, mut call: impl FnMut()) {
    for _ in 0..calls {
        call();
    }
}

/// A client with a cached access token and a cached business token.
fn warm() -> (Client, layerfi_auth::blocking::Client, BusinessId) {
    let client = client();
    let blocking = layerfi_auth::blocking::Client::from(client.clone());
    let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    blocking.token().unwrap();
    blocking.business_token(&business).unwrap();
    (client, blocking, business)
}

#[allow(clippy::too_many_lines)] // one operation after the other
fn run(name: &str, calls: u32) {
    match name {
        // What all programs cost before their first call.
        "nothing" => {}
        "floor-guard-and-clock" => {
            let slot = arc_swap::ArcSwapOption::from(Some(Arc::new(1_u64)));
            repeat(calls, || {
                let guard = slot.load();
                black_box((&guard, clock_gettime(ClockId::MonotonicCoarse)));
            });
        }
        "floor-cache-and-clock" => {
            let slot = arc_swap::ArcSwapOption::from(Some(Arc::new(1_u64)));
            let mut cache = arc_swap::Cache::new(&slot);
            repeat(calls, || {
                black_box((cache.load(), clock_gettime(ClockId::MonotonicCoarse)));
            });
        }
        "floor-clone-and-clock" => {
            let slot = arc_swap::ArcSwapOption::from(Some(Arc::new(1_u64)));
            repeat(calls, || {
                black_box((slot.load_full(), clock_gettime(ClockId::MonotonicCoarse)));
            });
        }
        "hit-borrowed" => {
            let (client, ..) = warm();
            repeat(calls, || {
                black_box(
                    client
                        .borrow_token()
                        .as_deref()
                        .map(AccessToken::authorization),
                );
            });
        }
        "hit-owned" => {
            let (client, ..) = warm();
            repeat(calls, || {
                black_box(client.try_token().unwrap());
            });
        }
        "hit-awaited" => {
            let (client, ..) = warm();
            current_thread().block_on(async {
                for _ in 0..calls {
                    black_box(client.token().await.unwrap());
                }
            });
        }
        "hit-reader" => {
            let (client, ..) = warm();
            let mut reader = client.reader();
            repeat(calls, || {
                black_box(reader.borrow_token().map(AccessToken::authorization));
            });
        }
        "hit-blocking" => {
            let (_, blocking, _) = warm();
            repeat(calls, || {
                black_box(blocking.token().unwrap());
            });
        }
        "hit-business" => {
            let (client, _, business) = warm();
            let options = BusinessTokenOptions::default();
            repeat(calls, || {
                black_box(client.cached_business_token(&business, options));
            });
        }
        "hit-business-borrowed" => {
            let (client, _, business) = warm();
            let options = BusinessTokenOptions::default();
            repeat(calls, || {
                black_box(client.borrow_business_token(&business, options).is_some());
            });
        }
        "token" => {
            let clock = TestClock::new();
            let client = ClientBuilder::from_env()
                .unwrap()
                .test_clock(clock.clone())
                .build()
                .unwrap();
            in_task(&multi_thread(), async move {
                for _ in 0..=calls {
                    clock.advance(Duration::from_secs(4_000));
                    black_box(client.token().await.unwrap());
                }
            });
        }
        "mint" => {
            let client = client();
            let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
            in_task(&multi_thread(), async move {
                let session = SessionDuration::default();
                for _ in 0..=calls {
                    let minted = client.mint_business_token(&business, session).await;
                    black_box(minted.unwrap());
                }
            });
        }
        "floor-token" => {
            let bare = Bare::new(&Target::from_env());
            in_task(&multi_thread(), async move {
                for _ in 0..=calls {
                    bare.token().await;
                }
            });
        }
        "floor-mint" => {
            let target = Target::from_env();
            let bare = Bare::new(&target);
            let token = layerfi_auth::blocking::Client::from_env()
                .unwrap()
                .token()
                .unwrap();
            let authorization = token.authorization().clone();
            in_task(&multi_thread(), async move {
                for _ in 0..=calls {
                    bare.mint(DEMO_BUSINESS_ID, &authorization).await;
                }
            });
        }
        "first" => {
            current_thread().block_on(async { black_box(client().token().await.unwrap()) });
        }
        "floor-first" => {
            let target = Target::from_env();
            current_thread().block_on(async {
                let tls = target.is_tls().then(|| Arc::new(floors::tls(&target)));
                floors::raw_token(&target, tls.as_ref()).await;
            });
        }
        "new-client" => {
            current_thread().block_on(async {
                for _ in 0..=calls {
                    black_box(client().token().await.unwrap());
                }
            });
        }
        "new-client-reqwest" => {
            let target = Target::from_env();
            current_thread().block_on(async {
                for _ in 0..=calls {
                    Bare::new(&target).token().await;
                }
            });
        }
        "floor-new-client" => {
            let target = Target::from_env();
            current_thread().block_on(async {
                for _ in 0..=calls {
                    floors::new_client(&target).await;
                }
            });
        }
        other => panic!("there is no operation {other:?}"),
    }
}
