//! The shared table can fail: a simple client written without this library fails more
//! than a third of it.
//!
//! The client requests a token per call, follows redirects, has no size limits, no
//! retries and no timeouts, validates nothing, and puts responses into its errors. The
//! check is lenient: an error may have any kind and any text without a secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};
use layerfi_auth_tests::{Canary, control, multi_thread_runtime};
use serde::Deserialize;
use serde_json::{Value, json};

/// Time limit per case: longer than any case takes with this library's client.
const CASE_LIMIT: Duration = Duration::from_secs(8);

/// Limit for a response body; without it an endless body would fill the memory.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Number of threads. Most of the time they wait for cases that do not end.
const WORKERS: usize = 32;

#[derive(Clone)]
struct NaiveClient {
    http: reqwest::Client,
    api_url: String,
    auth_url: String,
    scope: String,
    client_id: String,
    client_secret: String,
}

#[derive(Clone, Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Clone)]
enum Answer {
    Nothing,
    Token(Token),
    WhoAmI(Value),
}

impl NaiveClient {
    async fn token(&self) -> Result<Token, String> {
        let request = self
            .http
            .post(&self.auth_url)
            .basic_auth(&self.client_id, Some(&self.client_secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!(
                "grant_type=client_credentials&scope={}&client_id={}",
                self.scope, self.client_id
            ));
        let body = send(request).await?;
        serde_json::from_str(&body).map_err(|error| format!("{error} in {body}"))
    }

    async fn mint(&self, business: &str, seconds: Option<u64>) -> Result<Token, String> {
        let token = self.token().await?;
        let url = format!("{}/v1/businesses/{business}/auth-token", self.api_url);
        let request = self
            .http
            .post(url)
            .bearer_auth(token.access_token)
            .header("content-type", "application/json")
            .body(json!({"session_duration": seconds.unwrap_or(3600)}).to_string());
        let body = send(request).await?;
        serde_json::from_str(&body).map_err(|error| format!("{error} in {body}"))
    }

    async fn whoami(&self) -> Result<Value, String> {
        let token = self.token().await?;
        let url = format!("{}/whoami", self.api_url);
        let body = send(self.http.get(url).bearer_auth(token.access_token)).await?;
        let answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error} in {body}"))?;
        answer
            .get("data")
            .cloned()
            .ok_or_else(|| format!("no data in {body}"))
    }

    async fn call(self, step: Value) -> Result<Answer, String> {
        let business = step["business_id"].as_str().unwrap_or_default();
        match step["call"].as_str().unwrap() {
            "token" => self.token().await.map(Answer::Token),
            "whoami" => self.whoami().await.map(Answer::WhoAmI),
            "mint_business_token" | "business_token" => {
                let seconds = step["session_duration"].as_u64();
                self.mint(business, seconds).await.map(Answer::Token)
            }
            // `build` always succeeds, and there is no cache to invalidate.
            _ => Ok(Answer::Nothing),
        }
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<String, String> {
    let mut answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| format!("{error:?}"))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err("body too large".to_owned());
        }
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("HTTP {status}: {body}"))
    }
}

/// Runs one case with the naive client. The error is a short reason.
async fn run(case: &Value) -> Result<(), &'static str> {
    let text = case.to_string();
    let canary = text.contains("{{canary_url}}").then(Canary::new);
    let case: Value = match &canary {
        Some(canary) => serde_json::from_str(&text.replace("{{canary_url}}", &canary.url())),
        None => Ok(case.clone()),
    }
    .unwrap();
    let layer = start(&case["emulator"]).await;
    let send_control = |method: String, path: String, body: Value| {
        let address = layer.control_address();
        tokio::task::spawn_blocking(move || control(address, &method, &path, &body))
    };
    if case.get("settings").is_some() {
        let settings = case["settings"].clone();
        send_control("POST".into(), "/settings".into(), settings)
            .await
            .unwrap();
    }
    let faults = case.get("faults").cloned().unwrap_or(json!([]));
    send_control("POST".into(), "/faults".into(), faults)
        .await
        .unwrap();
    let setting = |name: &str, default: String| match case["client"].get(name) {
        None => default,
        Some(value) => value.as_str().unwrap_or_default().to_owned(),
    };
    let naive = NaiveClient {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        api_url: setting("api_url", layer.url()),
        auth_url: setting("auth_url", layer.token_url()),
        scope: setting("scope", layer.scope().to_owned()),
        client_id: setting("client_id", DEFAULT_CLIENT_ID.to_owned()),
        client_secret: setting("client_secret", DEFAULT_CLIENT_SECRET.to_owned()),
    };
    let mut before: Vec<Option<Token>> = Vec::new();
    for step in case["steps"].as_array().unwrap() {
        if let Some(method) = step["control"].as_str() {
            let path = step["path"].as_str().unwrap().to_owned();
            send_control(method.to_owned(), path, step["body"].clone())
                .await
                .unwrap();
            before.push(None);
            continue;
        }
        let started = Instant::now();
        let mut token: Option<Token> = None;
        for _ in 0..step["repeat"].as_u64().unwrap_or(1) {
            let callers = step["callers"].as_u64().unwrap_or(1);
            let calls: Vec<_> = (0..callers)
                .map(|_| tokio::spawn(naive.clone().call(step.clone())))
                .collect();
            for call in calls {
                let outcome = call.await.unwrap();
                check(&outcome, step, &naive, &before)?;
                let Ok(Answer::Token(got)) = outcome else {
                    continue;
                };
                let one_for_all = step["call"] != "mint_business_token";
                if one_for_all
                    && token
                        .as_ref()
                        .is_some_and(|first| first.access_token != got.access_token)
                {
                    return Err("requested a token per call");
                }
                token.get_or_insert(got);
            }
        }
        let took = started.elapsed().as_millis();
        if step["elapsed_ms"][1]
            .as_u64()
            .is_some_and(|most| took > u128::from(most))
        {
            return Err("too slow");
        }
        before.push(token);
    }
    if canary.is_some_and(|canary| canary.was_contacted()) {
        return Err("followed a redirect");
    }
    let counters = layer.counters();
    for endpoint in Endpoint::ALL {
        let count = counters.endpoint(endpoint).total;
        let bounds = &case["requests"][endpoint.name()];
        let (min, max) = match bounds.as_u64() {
            Some(exactly) => (exactly, exactly),
            None => (
                bounds["min"].as_u64().unwrap_or(0),
                bounds["max"].as_u64().unwrap_or(0),
            ),
        };
        if count < min {
            return Err("too few requests");
        }
        if count > max {
            return Err("too many requests");
        }
    }
    Ok(())
}

fn check(
    outcome: &Result<Answer, String>,
    step: &Value,
    naive: &NaiveClient,
    before: &[Option<Token>],
) -> Result<(), &'static str> {
    let expected = &step["expect"]["ok"];
    let answer = match (outcome, expected.is_object()) {
        (Ok(answer), true) => answer,
        (Ok(_), false) => return Err("accepted an invalid response"),
        (Err(error), _) if error == "body too large" => return Err("no size limit"),
        (Err(_), true) => return Err("failed"),
        (Err(error), false) => {
            let secret = &naive.client_secret;
            let shown = error.to_ascii_lowercase().contains("canary")
                || (!secret.is_empty() && error.contains(secret));
            return if shown {
                Err("error contains a secret")
            } else {
                Ok(())
            };
        }
    };
    match answer {
        Answer::Nothing => Ok(()),
        Answer::WhoAmI(me) => {
            for (name, field) in [("client_name", "clientName"), ("client_id", "clientId")] {
                if expected.get(name).is_some() && expected[name] != me[field] {
                    return Err("wrong value");
                }
            }
            Ok(())
        }
        Answer::Token(token) => {
            if expected.get("lifetime").is_some()
                && expected["lifetime"].as_u64() != token.expires_in
            {
                return Err("wrong lifetime");
            }
            let same = |name: &str| {
                let number = usize::try_from(expected[name].as_u64()?).unwrap();
                let earlier = before[number].as_ref()?;
                Some(earlier.access_token == token.access_token)
            };
            if same("same_as") == Some(false) {
                return Err("requested a token per call");
            }
            if same("differs_from") == Some(true) {
                return Err("returned an old token");
            }
            Ok(())
        }
    }
}

async fn start(options: &Value) -> Emulator {
    let mut builder = Emulator::builder();
    if options["basic_decoding"] == "form" {
        builder = builder.basic_decoding(BasicDecoding::Form);
    }
    if let Some(status) = options["invalid_client_status"].as_u64() {
        builder = builder.invalid_client_status(u16::try_from(status).unwrap());
    }
    for client in options["clients"].as_array().into_iter().flatten() {
        let text = |name: &str| client[name].as_str().unwrap().to_owned();
        builder = match client["unauthorized"] == json!(true) {
            true => builder.unauthorized_client(text("id"), text("secret")),
            false => builder.client(text("id"), text("secret")),
        };
    }
    for business in options["businesses"].as_array().into_iter().flatten() {
        builder = builder.business(business.as_str().unwrap());
    }
    builder.start().await.unwrap()
}

fn cases() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            let text = std::fs::read_to_string(path).unwrap();
            let table: Value = serde_json::from_str(&text).unwrap();
            // The simple client speaks neither TLS to a private authority nor to proxies.
            let is_simple = |case: &&Value| {
                case["emulator"]["tls"].is_null() && case["client"]["proxy"].is_null()
            };
            let simple = table["cases"].as_array().unwrap().iter().filter(is_simple);
            cases.extend(simple.cloned());
        }
    }
    cases
}

#[test]
fn naive_client_fails_a_third_of_the_table() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let cases = cases();
    let runtime = multi_thread_runtime(2);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::<_, Vec<String>>::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = async { tokio::time::timeout(CASE_LIMIT, run(case)).await };
                    if let Err(why) = runtime.block_on(run).unwrap_or(Err("did not end")) {
                        let name = case["name"].as_str().unwrap().to_owned();
                        let mut failures = failures.lock().unwrap();
                        failures.entry(why).or_default().push(name);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let failed: usize = failures.values().map(Vec::len).sum();
    for (why, names) in &failures {
        println!("{:4} {why}, for example {}", names.len(), names[0]);
    }
    println!("the naive client fails {failed} of {} cases", cases.len());
    assert!(
        failed * 3 > cases.len(),
        "the naive client fails only {failed} cases"
    );
    assert!(
        failed < cases.len(),
        "the naive client passes no case, so this test proves nothing"
    );
}
