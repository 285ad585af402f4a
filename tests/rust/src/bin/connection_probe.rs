//! Uses many clients or makes many calls at once while the process can open few file
//! descriptors. `tests/connections.rs` runs it; it is a separate program because the
//! limit applies to a whole process.
//!
//! Usage: `connection_probe <scenario> <count> <descriptors>`, with the client's
//! settings in the environment. The exit code is 0 if all calls succeed; errors are
//! printed to standard error.

use std::time::Duration;

use layerfi_auth::{ClientBuilder, ErrorKind, SessionDuration, blocking};
use layerfi_auth_tests::{business, limit_descriptors, multi_thread_runtime};

/// Long timeouts: on a slow machine, no attempt may end early and open another connection.
fn builder() -> ClientBuilder {
    let patience = Duration::from_secs(120);
    let builder = ClientBuilder::from_env().unwrap();
    builder.timeout(patience).attempt_timeout(patience)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let mut number = || arguments.next().unwrap().parse().unwrap();
    let (count, descriptors) = (number(), number());
    limit_descriptors(descriptors);
    match scenario.as_str() {
        "equal_clients" => each_used_once(count, |_| builder()),
        "different_clients" => each_used_once(count, |number| {
            builder().user_agent(format!("program/{number}"))
        }),
        "calls" => calls_at_once(count),
        "waiting" => calls_that_wait(count),
        other => panic!("unknown scenario: {other}"),
    }
}

/// Gets a business token from each of many clients, which all stay alive.
fn each_used_once(count: u64, builder: impl Fn(u64) -> ClientBuilder) {
    let mut clients: Vec<blocking::Client> = Vec::new();
    for number in 0..count {
        let client = builder(number).build_blocking().unwrap();
        if let Err(error) = client.business_token(&business()) {
            panic!("client {number} of {count}: {error}");
        }
        clients.push(client);
    }
}

/// Makes numbered calls, more than there are places. One has a timeout that ends while
/// it waits for a place. Over plain HTTP, each response must take at least 2 s.
fn calls_that_wait(count: u64) {
    let client = builder().build().unwrap();
    let runtime = multi_thread_runtime(1);
    runtime.block_on(client.token()).unwrap();
    let short = client.with_timeout(Duration::from_millis(500));
    runtime.block_on(async {
        let numbered = (0..count).map(|number| {
            let client = client.clone();
            async move { client.get(&format!("/number/{number}")).await.map(drop) }
        });
        // Polled in this order.
        let (results, late) =
            tokio::join!(futures_util::future::join_all(numbered), short.get("/late"));
        for result in results {
            result.unwrap();
        }
        let error = late.expect_err("a call did not wait for a place");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(
            error.to_string().contains("because all 16 are in use"),
            "{error}"
        );
    });
}

/// Mints tokens and makes other calls, all at once.
fn calls_at_once(count: u64) {
    let client = builder().build().unwrap();
    let runtime = multi_thread_runtime(2);
    let calls: Vec<_> = (0..count)
        .map(|number| {
            let client = client.clone();
            runtime.spawn(async move {
                match number % 2 {
                    0 => client.get("/whoami").await.map(drop),
                    _ => client
                        .mint_business_token(&business(), SessionDuration::default())
                        .await
                        .map(drop),
                }
            })
        })
        .collect();
    let mut failed = Vec::new();
    for call in calls {
        failed.extend(runtime.block_on(call).unwrap().err());
    }
    if let Some(first) = failed.first() {
        panic!(
            "{} of {count} calls failed, the first: {first}",
            failed.len()
        );
    }
}
