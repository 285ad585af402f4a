//! Runs one case of the table: its emulator, its canary, its client's settings, its steps.

use std::time::Duration;

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};
use layerfi_auth_test_support::vectors::{Files, repeat_if_slow, with_addresses};
use layerfi_auth_test_support::{Canary, control, emulator_variables};
use serde_json::{Map, Value, json};

use super::program::{Reply, VectorProgram};
use super::steps::{Steps, check_no_secret};

/// Fails for a field that this runner does not know.
pub fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("the table has an unknown field, {name}")),
        None => Ok(()),
    }
}

/// The protocol of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 without TLS, as the table expects.
    Plain,
    /// HTTP/2 over TLS.
    Tls,
}

impl Transport {
    /// Whether a case has the same outcome over this protocol. Cases about URLs or about bytes of
    /// HTTP/1.1 do not.
    pub fn fits(self, case: &Value) -> bool {
        let plain_settings = ["api_url", "auth_url", "allow_http_loopback"];
        let plain_faults = ["raw", "head", "headers", "informational", "mid_head"];
        let is_one = |fault: &Value| {
            let wire = fault["wire"].to_string();
            plain_faults
                .iter()
                .any(|word| wire.contains(&format!("\"{word}\"")))
        };
        // As well as cases with variables, and with the exact text for a broken connection.
        let has_text = case["steps"].to_string().contains(r#""message":"#);
        let is_broken = case["faults"]
            .as_array()
            .is_some_and(|faults| faults.iter().any(|fault| !fault["wire"].is_null()));
        self == Self::Plain
            || !(case.get("variables").is_some()
                || case["emulator"]["tls"] == true
                || (has_text && is_broken)
                || plain_settings
                    .iter()
                    .any(|name| case["client"].get(name).is_some())
                || case["faults"]
                    .as_array()
                    .is_some_and(|faults| faults.iter().any(is_one)))
    }
}

/// Runs one case against its own emulator. The error says how the outcome differs, and contains no
/// token.
pub fn run(case: &Value, transport: Transport, program: &mut VectorProgram) -> Result<(), String> {
    repeat_if_slow(case, || run_once(case, transport, program))
}

fn run_once(case: &Value, transport: Transport, program: &mut VectorProgram) -> Result<(), String> {
    let empty = Map::new();
    only(
        case.as_object().unwrap_or(&empty),
        &[
            "name",
            "why",
            "only",
            "emulator",
            "files",
            "variables",
            "settings",
            "client",
            "faults",
            "steps",
            "requests",
            "within_ms",
            "stats",
        ],
    )?;
    if case["only"]
        .as_array()
        .is_some_and(|names| !names.contains(&json!("c")))
    {
        return Ok(());
    }
    let files = Files::create(case.get("files"));
    let layer = start(case["emulator"].as_object().unwrap_or(&empty), transport)?;
    let mut text = with_addresses(&files.fill(&case.to_string()), &layer);
    let canary = text.contains("{{canary_url}}").then(Canary::new);
    if let Some(canary) = &canary {
        text = text.replace("{{canary_url}}", &canary.url());
    }
    let case: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let object = |name: &str| case[name].as_object().unwrap_or(&empty);
    if let Some(settings) = case.get("settings") {
        control(layer.control_address(), "POST", "/settings", settings);
    }
    if let Some(faults) = case.get("faults") {
        control(layer.control_address(), "POST", "/faults", faults);
    }
    let secret = configure(&case, &layer, program)?;
    program.send(&["build"])?;
    let built = program.receive()?;
    let mut replies: Vec<Option<Reply>> = Vec::new();
    let mut steps = Steps {
        program,
        layer: &layer,
        built: &built,
        secret: &secret,
        uses_variables: case.get("variables").is_some(),
        timeout: Duration::from_millis(case["client"]["timeout_ms"].as_u64().unwrap_or(30_000)),
    };
    for (number, step) in case["steps"]
        .as_array()
        .ok_or("no steps")?
        .iter()
        .enumerate()
    {
        let reply = steps
            .step(number, step, &replies)
            .map_err(|why| format!("step {number}: {why}"))?;
        replies.push(reply);
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
                "the emulator got {count} requests for {name}, expected {min} to {max}"
            ));
        }
    }
    if built.ok && case.get("stats").is_some() {
        program.send(&["stats"])?;
        let stats = program.receive()?;
        for (name, expected) in object("stats") {
            let got = stats.number(name)?;
            if json!(got) != *expected {
                return Err(format!("stats.{name} is {got}, expected {expected}"));
            }
        }
    }
    if built.ok {
        // A panic of a used client shows no secret.
        program.send(&["panic"])?;
        let panic = program.receive()?;
        if panic.ok || panic.get("kind")? != "panic" {
            return Err("the panic was not reported as a panic".to_owned());
        }
        check_no_secret(&panic, &secret, program)?;
    }
    if case.get("variables").is_some() {
        for (name, _) in emulator_variables(&layer) {
            program.send(&["env", name])?;
        }
        for name in object("variables").keys() {
            program.send(&["env", name])?;
        }
    }
    program.send(&["end"])?;
    if !program.receive()?.ok {
        return Err("the case did not end".to_owned());
    }
    match canary {
        Some(canary) if canary.was_contacted() => Err("a redirect was followed".to_owned()),
        _ => Ok(()),
    }
}

fn bounds(value: &Value) -> Result<(u64, u64), String> {
    if let Some(exactly) = value.as_u64() {
        return Ok((exactly, exactly));
    }
    match (value["min"].as_u64(), value["max"].as_u64()) {
        (Some(min), Some(max)) => Ok((min, max)),
        _ => Err(format!("{value} is not a number of requests")),
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
            "tls",
            "names",
            "proxy",
        ],
    )?;
    let is_set = |name: &str| options.get(name) == Some(&json!(true));
    let mut builder = Emulator::builder().tls(is_set("tls") || transport == Transport::Tls);
    if is_set("proxy") {
        builder = builder.proxy();
    }
    for name in options
        .get("names")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        builder = builder.name(name.as_str().unwrap_or_default());
    }
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

/// Timeouts for a case that sets none, under a sanitizer or valgrind: a slow program must not
/// retry because it is slow.
const SLOW_TIMEOUTS_MS: [(&str, u64); 3] = [
    ("timeout_ms", 1_200_000),
    ("connect_timeout_ms", 600_000),
    ("attempt_timeout_ms", 600_000),
];

/// How much longer a case's own timeouts are under a sanitizer or valgrind.
const SLOW_FACTOR: u64 = 10;

/// Whether a case's outcome depends on a timeout: it expects one, or a `Retry-After` beyond it.
fn depends_on_timeout(case: &Value) -> bool {
    let text = case.to_string().to_ascii_lowercase();
    text.contains(r#""kind":"timeout""#) || text.contains("retry-after")
}

/// Lengthens the timeouts for a slow program.
fn slow_down(case: &Value, settings: &mut Map<String, Value>) {
    let depends = depends_on_timeout(case);
    for (name, ms) in SLOW_TIMEOUTS_MS {
        match settings.get(name).and_then(Value::as_u64) {
            // If a case sets one timeout, the others keep their defaults.
            None if !depends => {
                settings.insert(name.to_owned(), json!(ms));
            }
            // 0 and more than an hour are errors that a case tests.
            Some(own) if !depends && (1..=60_000).contains(&own) => {
                settings.insert(name.to_owned(), json!(own * SLOW_FACTOR));
            }
            _ => {}
        }
    }
}

/// Sends the client's settings to the program, and returns the client secret.
fn configure(
    case: &Value,
    layer: &Emulator,
    program: &mut VectorProgram,
) -> Result<String, String> {
    let empty = Map::new();
    if let Some(variables) = case["variables"].as_object() {
        for (name, value) in emulator_variables(layer) {
            program.send(&["env", name, &value])?;
        }
        for (name, value) in variables {
            match value.as_str() {
                Some(text) => program.send(&["env", name, text])?,
                None => program.send(&["env", name])?,
            }
        }
        program.send(&["from_env"])?;
        program.send(&["set", "no_proxy", ""])?;
        let secret = variables.get("LAYER_CLIENT_SECRET").and_then(Value::as_str);
        let secret = secret.unwrap_or(DEFAULT_CLIENT_SECRET).to_owned();
        program.secrets.add_client(DEFAULT_CLIENT_ID, &secret);
        return Ok(secret);
    }
    let changes = case["client"].as_object().unwrap_or(&empty);
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
    if program.slow {
        slow_down(case, settings);
    }
    if !settings.contains_key("proxy") {
        program.send(&["set", "no_proxy", ""])?;
    }
    let secret = settings.get("client_secret").and_then(Value::as_str);
    let secret = secret.unwrap_or_default().to_owned();
    let id = settings.get("client_id").and_then(Value::as_str);
    program.secrets.add_client(id.unwrap_or_default(), &secret);
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        program.send(&["set", name, &text])?;
    }
    Ok(secret)
}

#[test]
fn b19_a_contacted_canary_is_noticed() {
    let canary = Canary::new();
    assert!(!canary.was_contacted());
    let address = canary.url().replace("http://", "");
    let _connection = std::net::TcpStream::connect(address).unwrap();
    assert!(canary.was_contacted());
}
