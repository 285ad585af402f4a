//! One case of the table, and what it stands on: an emulator, a canary, a
//! client's settings.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};
use serde_json::{Map, Value, json};

use super::program::{Answer, Face};
use super::steps::{Steps, check_shown};

/// Refuses what nobody here looks at.
pub fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("the table has an unknown field, {name}")),
        None => Ok(()),
    }
}

/// A server that nobody may ask.
struct Canary(TcpListener);

impl Canary {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    fn was_met(&self) -> bool {
        self.0.accept().is_ok()
    }
}

/// What the calls go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 in clear, as the table is written for.
    Plain,
    /// HTTP/2 over TLS.
    Tls,
}

impl Transport {
    /// Whether a case means the same over it: not where it is about URLs, or
    /// about bytes that only HTTP/1.1 has.
    pub fn fits(self, case: &Value) -> bool {
        let plain_settings = ["api_url", "auth_url", "allow_http_loopback"];
        let plain_faults = ["raw", "head", "headers", "informational", "mid_head"];
        let is_one = |fault: &Value| {
            let wire = fault["wire"].to_string();
            plain_faults
                .iter()
                .any(|word| wire.contains(&format!("\"{word}\"")))
        };
        self == Self::Plain
            || !(plain_settings
                .iter()
                .any(|name| case["client"].get(name).is_some())
                || case["faults"]
                    .as_array()
                    .is_some_and(|faults| faults.iter().any(is_one)))
    }
}

/// Runs one case, on an emulator of its own. The error says what is wrong with
/// the outcome, and shows no token.
pub fn run(case: &Value, transport: Transport, face: &mut Face) -> Result<(), String> {
    let text = case.to_string();
    let canary = text.contains("{{canary_url}}").then(Canary::new);
    let case: Value = match &canary {
        Some(canary) => serde_json::from_str(&text.replace("{{canary_url}}", &canary.url()))
            .map_err(|error| error.to_string())?,
        None => case.clone(),
    };
    let empty = Map::new();
    let object = |name: &str| case[name].as_object().unwrap_or(&empty);
    only(
        case.as_object().unwrap_or(&empty),
        &[
            "name", "why", "emulator", "settings", "client", "faults", "steps", "requests", "stats",
        ],
    )?;
    let layer = start(object("emulator"), transport)?;
    if let Some(settings) = case.get("settings") {
        control(&layer, "POST", "/settings", settings)?;
    }
    if let Some(faults) = case.get("faults") {
        control(&layer, "POST", "/faults", faults)?;
    }
    let secret = configure(object("client"), &layer, face)?;
    face.order(&["build"])?;
    let built = face.answer()?;
    let mut answers: Vec<Option<Answer>> = Vec::new();
    let mut steps = Steps {
        face,
        layer: &layer,
        built: &built,
        secret: &secret,
        timeout: Duration::from_millis(case["client"]["timeout_ms"].as_u64().unwrap_or(30_000)),
    };
    for (number, step) in case["steps"]
        .as_array()
        .ok_or("no steps")?
        .iter()
        .enumerate()
    {
        let answer = steps
            .step(number, step, &answers)
            .map_err(|why| format!("step {number}: {why}"))?;
        answers.push(answer);
    }
    let counters = layer.counters();
    let wanted = object("requests");
    let names: Vec<_> = Endpoint::ALL
        .iter()
        .map(|endpoint| endpoint.name())
        .collect();
    only(wanted, &names)?;
    for endpoint in Endpoint::ALL {
        let (min, max) = bounds(wanted.get(endpoint.name()).unwrap_or(&json!(0)))?;
        let count = counters.endpoint(endpoint).total;
        if !(min..=max).contains(&count) {
            let name = endpoint.name();
            return Err(format!(
                "{count} requests of {name}, expected {min} to {max}"
            ));
        }
    }
    if built.ok && case.get("stats").is_some() {
        face.order(&["stats"])?;
        let stats = face.answer()?;
        for (name, expected) in object("stats") {
            let got = stats.number(name)?;
            if json!(got) != *expected {
                return Err(format!("stats.{name} is {got}, expected {expected}"));
            }
        }
    }
    if built.ok {
        // Whatever the client went through, a panic in it shows none of it.
        face.order(&["panic"])?;
        let panic = face.answer()?;
        if panic.ok || panic.get("kind")? != "panic" {
            return Err("a panic became something else".to_owned());
        }
        check_shown(&panic, &secret, face)?;
    }
    face.order(&["end"])?;
    if !face.answer()?.ok {
        return Err("the case did not end".to_owned());
    }
    match canary {
        Some(canary) if canary.was_met() => Err("a redirect was followed".to_owned()),
        _ => Ok(()),
    }
}

fn bounds(value: &Value) -> Result<(u64, u64), String> {
    if let Some(exactly) = value.as_u64() {
        return Ok((exactly, exactly));
    }
    match (value["min"].as_u64(), value["max"].as_u64()) {
        (Some(min), Some(max)) => Ok((min, max)),
        _ => Err(format!("{value} is no number of requests")),
    }
}

fn start(options: &Map<String, Value>, transport: Transport) -> Result<Emulator, String> {
    only(
        options,
        &[
            "basic_decoding",
            "invalid_client_status",
            "clients",
            "businesses",
        ],
    )?;
    let mut builder = Emulator::builder().tls(transport == Transport::Tls);
    if let Some(decoding) = options.get("basic_decoding") {
        builder = builder.basic_decoding(match decoding.as_str() {
            Some("raw") => BasicDecoding::Raw,
            Some("form") => BasicDecoding::Form,
            _ => return Err(format!("basic_decoding {decoding}")),
        });
    }
    if let Some(status) = options.get("invalid_client_status").and_then(Value::as_u64) {
        builder = builder.invalid_client_status(u16::try_from(status).unwrap());
    }
    for client in options
        .get("clients")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
        builder = match client["unauthorized"].as_bool() {
            Some(true) => builder.unauthorized_client(text("id"), text("secret")),
            _ => builder.client(text("id"), text("secret")),
        };
    }
    for business in options
        .get("businesses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        builder = builder.business(business.as_str().unwrap_or_default());
    }
    builder.start_blocking().map_err(|error| error.to_string())
}

/// Tells the program the client's settings, and gives the secret.
fn configure(
    changes: &Map<String, Value>,
    layer: &Emulator,
    face: &mut Face,
) -> Result<String, String> {
    let mut settings = json!({
        "environment": "custom",
        "api_url": layer.url(),
        "auth_url": layer.token_url(),
        "scope": layer.scope(),
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "allow_http_loopback": true,
    });
    let settings = settings.as_object_mut().ok_or("no object")?;
    if let Some(pem) = layer.ca_pem() {
        settings.insert("ca_pem".to_owned(), json!(pem));
    }
    settings.extend(changes.clone());
    if !settings.contains_key("proxy") {
        face.order(&["set", "no_proxy", ""])?;
    }
    let secret = settings.get("client_secret").and_then(Value::as_str);
    let secret = secret.unwrap_or_default().to_owned();
    let id = settings.get("client_id").and_then(Value::as_str);
    face.secrets.add_client(id.unwrap_or_default(), &secret);
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        face.order(&["set", name, &text])?;
    }
    Ok(secret)
}

/// An order to the emulator's control API, which must be accepted.
pub fn control(layer: &Emulator, method: &str, path: &str, body: &Value) -> Result<(), String> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let address = layer.control_address();
    let failed = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if !answer.starts_with("HTTP/1.1 2") {
        return Err(format!("{method} {path}: {answer}"));
    }
    Ok(())
}

#[test]
fn b19_a_canary_that_is_met_says_so() {
    let canary = Canary::new();
    assert!(!canary.was_met());
    let address = canary.url().replace("http://", "");
    let _met = TcpStream::connect(address).unwrap();
    assert!(canary.was_met());
}
