//! Runner of the shared table of cases, `tests/vectors/*.json`. The format is
//! documented in `tests/vectors/README.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use layerfi_auth::{BasicEncoding, Client, ClientBuilder, Environment, Error, Trust};
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};
use layerfi_auth_test_support::emulator_variables;
use layerfi_auth_test_support::vectors::{
    FILES, Files, bytes_of, repeat_if_slow, text_matches, variable_of, with_addresses,
    without_addresses,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::binding::{Binding, Call, Outcome, Output};
use crate::{Canary, control};

/// Placeholder for the URL of the listener that must not be contacted.
const CANARY_URL: &str = "{{canary_url}}";

/// A word that servers in the table send and that no error may contain.
const CANARY: &str = "canary";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Value>,
}

/// One case. It is kept as text until it runs, because addresses are inserted then.
pub struct Case {
    pub name: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(rename = "name")]
    _name: String,
    why: String,
    #[serde(default)]
    emulator: EmulatorOptions,
    #[serde(default)]
    only: Vec<String>,
    #[serde(rename = "files")]
    _files: Option<Value>,
    variables: Option<Map<String, Value>>,
    settings: Option<Value>,
    #[serde(default)]
    client: Map<String, Value>,
    #[serde(default)]
    faults: Vec<Value>,
    steps: Vec<Step>,
    requests: BTreeMap<Endpoint, Bounds>,
    #[serde(rename = "within_ms")]
    _within_ms: Option<u64>,
    #[serde(default)]
    stats: BTreeMap<String, u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EmulatorOptions {
    basic_decoding: Option<String>,
    invalid_client_status: Option<u16>,
    clients: Vec<EmulatorClient>,
    businesses: Vec<String>,
    tls: bool,
    names: Vec<String>,
    proxy: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmulatorClient {
    id: String,
    secret: String,
    #[serde(default)]
    unauthorized: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Call(Box<CallStep>),
    Control(ControlStep),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlStep {
    control: String,
    path: String,
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallStep {
    call: String,
    business_id: Option<String>,
    session_duration: Option<u64>,
    min_remaining: Option<u64>,
    token_of: Option<usize>,
    repeat: Option<usize>,
    callers: Option<usize>,
    elapsed_ms: Option<(u64, u64)>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Ok(ExpectOk),
    Error(Map<String, Value>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectOk {
    lifetime: Option<u64>,
    same_as: Option<usize>,
    differs_from: Option<usize>,
    business_id: Option<String>,
    session_duration: Option<u32>,
    client_name: Option<String>,
    client_id: Option<String>,
    invalidated: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Bounds {
    Exactly(u64),
    Between { min: u64, max: u64 },
}

impl Bounds {
    fn hold(self, count: u64) -> bool {
        match self {
            Self::Exactly(exactly) => count == exactly,
            Self::Between { min, max } => (min..=max).contains(&count),
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(exactly) => write!(f, "{exactly}"),
            Self::Between { min, max } => write!(f, "{min} to {max}"),
        }
    }
}

impl Case {
    /// The case as JSON, with its placeholders.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Returns a changed copy, for tests of the runner itself.
    #[must_use]
    pub fn altered(&self, alter: impl FnOnce(&mut Value)) -> Self {
        let mut case = serde_json::from_str(&self.text).unwrap();
        alter(&mut case);
        Self {
            name: self.name.clone(),
            text: case.to_string(),
        }
    }
}

/// Reads one file of the table.
pub fn read_table(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let table: Table = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{}: {error}", path.display());
    });
    table
        .cases
        .into_iter()
        .map(|case| Case {
            name: case["name"]
                .as_str()
                .unwrap_or("a case without a name")
                .into(),
            text: case.to_string(),
        })
        .collect()
}

/// The transport between the client and the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 without TLS, which the table assumes.
    Plain,
    /// HTTP/2 over TLS.
    Tls,
}

impl Row {
    /// Returns whether the case applies to the transport. Cases about URLs, about
    /// variables or about bytes of HTTP/1.1 do not apply to TLS and HTTP/2, nor do
    /// those with the exact text for a broken connection. Cases that use TLS run once.
    fn fits(&self, transport: Transport) -> bool {
        let has_text = |step: &Step| match step {
            Step::Call(step) => {
                matches!(&step.expect, Expect::Error(error) if error.contains_key("message"))
            }
            Step::Control(_) => false,
        };
        let is_broken = self.faults.iter().any(|fault| !fault["wire"].is_null());
        let plain_settings = ["api_url", "auth_url", "allow_http_loopback"];
        let plain_faults = ["raw", "head", "headers", "informational", "mid_head"];
        transport == Transport::Plain
            || !(self.variables.is_some()
                || self.emulator.tls
                || (is_broken && self.steps.iter().any(has_text))
                || plain_settings
                    .iter()
                    .any(|name| self.client.contains_key(*name))
                || self.faults.iter().any(|fault| {
                    let wire = fault["wire"].to_string();
                    plain_faults
                        .iter()
                        .any(|word| wire.contains(&format!("\"{word}\"")))
                }))
    }
}

/// Runs one case with a new emulator. The error says what is wrong and contains no
/// token.
pub fn run(
    case: &Case,
    binding: Binding,
    transport: Transport,
    runtime: &Runtime,
) -> Result<(), String> {
    repeat_if_slow(&case.json(), || run_once(case, binding, transport, runtime))
}

fn run_once(
    case: &Case,
    binding: Binding,
    transport: Transport,
    runtime: &Runtime,
) -> Result<(), String> {
    let canary = case.text.contains(CANARY_URL).then(Canary::new);
    let files = Files::create(case.json().get("files"));
    let text = match &canary {
        Some(canary) => case.text.replace(CANARY_URL, &canary.url()),
        None => case.text.clone(),
    };
    let text = files.fill(&text);
    let row: Row = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if row.why.is_empty() {
        return Err("the field `why` is empty".to_owned());
    }
    let known = ["rust", "c", "python", "command"];
    if let Some(unknown) = row.only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("`only` has an unknown binding: {unknown}"));
    }
    if !row.fits(transport) || !(row.only.is_empty() || row.only.iter().any(|name| name == "rust"))
    {
        return Ok(());
    }
    let layer = row.emulator.start(transport)?;
    let text = with_addresses(&text, &layer);
    let row: Row = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let address = layer.control_address();
    if let Some(settings) = &row.settings {
        control(address, "POST", "/settings", settings);
    }
    control(address, "POST", "/faults", &json!(row.faults));
    let client = |settings: &Map<String, Value>| match &row.variables {
        None => build(Client::builder(), settings),
        Some(variables) => build(from_variables(&layer, variables)?, settings),
    };
    let mut settings = match &row.variables {
        None => defaults(&layer),
        Some(_) => Map::new(),
    };
    settings.extend(row.client.clone());
    let secret = match &row.variables {
        None => settings.get("client_secret"),
        Some(variables) => variables.get("LAYER_CLIENT_SECRET"),
    };
    let secret = secret.and_then(Value::as_str);
    let runner = Runner {
        binding,
        runtime,
        layer: &layer,
        client: client(&settings),
        secret: secret.unwrap_or_default().to_owned(),
        uses_variables: row.variables.is_some(),
        name: case.name.clone(),
        files: &files,
    };
    let mut answers = Vec::new();
    for (number, step) in row.steps.iter().enumerate() {
        let answer = runner
            .step(step, &answers)
            .map_err(|why| format!("step {number}: {why}"))?;
        answers.push(answer);
    }
    let counters = layer.counters();
    for endpoint in Endpoint::ALL {
        let bounds = row.requests.get(&endpoint).copied();
        let bounds = bounds.unwrap_or(Bounds::Exactly(0));
        let count = counters.endpoint(endpoint).total;
        if !bounds.hold(count) {
            let name = endpoint.name();
            return Err(format!("{count} requests to {name}, expected {bounds}"));
        }
    }
    if let Ok(client) = &runner.client {
        check_stats(client, &row.stats)?;
    }
    match canary {
        Some(canary) if canary.was_contacted() => Err("the redirect was followed".to_owned()),
        _ => Ok(()),
    }
}

impl EmulatorOptions {
    fn start(&self, transport: Transport) -> Result<Emulator, String> {
        let mut builder = Emulator::builder().tls(self.tls || transport == Transport::Tls);
        if self.proxy {
            builder = builder.proxy();
        }
        for name in &self.names {
            builder = builder.name(name);
        }
        match self.basic_decoding.as_deref() {
            None | Some("raw") => {}
            Some("form") => builder = builder.basic_decoding(BasicDecoding::Form),
            Some(other) => return Err(format!("basic_decoding {other}")),
        }
        if let Some(status) = self.invalid_client_status {
            builder = builder.invalid_client_status(status);
        }
        for EmulatorClient {
            id,
            secret,
            unauthorized,
        } in &self.clients
        {
            builder = if *unauthorized {
                builder.unauthorized_client(id, secret)
            } else {
                builder.client(id, secret)
            };
        }
        for business in &self.businesses {
            builder = builder.business(business);
        }
        builder.start_blocking().map_err(|error| error.to_string())
    }
}

/// The default settings. A case replaces some of them, or removes them with null.
fn defaults(layer: &Emulator) -> Map<String, Value> {
    let Value::Object(mut settings) = json!({
        "environment": "custom",
        "api_url": layer.url(),
        "auth_url": layer.token_url(),
        "scope": layer.scope(),
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "allow_http_loopback": true,
    }) else {
        unreachable!("an object was written");
    };
    if let Some(pem) = layer.ca_pem() {
        settings.insert("ca_pem".to_owned(), json!(pem));
    }
    settings
}

/// A builder from variables: those for the emulator, and the changes of a case.
fn from_variables(layer: &Emulator, changes: &Map<String, Value>) -> Result<ClientBuilder, Error> {
    let mut variables: BTreeMap<String, OsString> = emulator_variables(layer)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    for (name, value) in changes {
        match bytes_of(value) {
            None => variables.remove(name),
            Some(bytes) => variables.insert(name.clone(), OsString::from_vec(bytes)),
        };
    }
    ClientBuilder::from_vars(|name| variables.get(name).cloned())
}

fn build(mut builder: ClientBuilder, settings: &Map<String, Value>) -> Result<Client, Error> {
    if !settings.contains_key("proxy") {
        builder = builder.no_proxy();
    }
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let text = || value.as_str().unwrap().to_owned();
        let flag = || value.as_bool().unwrap();
        let number = || value.as_u64().unwrap();
        let duration = || Duration::from_millis(number());
        builder = match name.as_str() {
            "environment" => builder.environment(text().parse::<Environment>()?),
            "api_url" => builder.api_url(text()),
            "auth_url" => builder.auth_url(text()),
            "scope" => builder.scope(text()),
            "client_id" => builder.client_id(text()),
            "client_secret" => builder.client_secret(text()),
            "client_secret_file" => builder.client_secret_file(text()),
            "basic_encoding" => builder.basic_encoding(match text().as_str() {
                "raw" => BasicEncoding::Raw,
                "form" => BasicEncoding::Form,
                other => panic!("basic_encoding {other}"),
            }),
            "allow_http_loopback" => builder.allow_http_loopback(flag()),
            "allow_opaque_business_ids" => builder.allow_opaque_business_ids(flag()),
            "ca_file" => builder.ca_file(text()),
            "ca_pem" => builder.ca_pem(text()),
            "trust" => builder.trust(text().parse::<Trust>()?),
            "proxy" => builder.proxy(text()),
            "user_agent" => builder.user_agent(text()),
            "shared_cache" => builder.shared_cache(text()),
            "shared_cache_key" => builder.shared_cache_key(text()),
            "shared_cache_prefix" => builder.shared_cache_prefix(text()),
            "timeout_ms" => builder.timeout(duration()),
            "connect_timeout_ms" => builder.connect_timeout(duration()),
            "attempt_timeout_ms" => builder.attempt_timeout(duration()),
            "max_attempts" => builder.max_attempts(u32::try_from(number()).unwrap()),
            "business_token_capacity" => {
                builder.business_token_capacity(usize::try_from(number()).unwrap())
            }
            other => panic!("unknown setting: {other}"),
        };
    }
    builder.build()
}

/// Texts of errors that differ from the table, as templates, by case and field.
pub type Texts = BTreeMap<String, BTreeMap<&'static str, String>>;

static TEXTS: Mutex<Texts> = Mutex::new(BTreeMap::new());

fn lock_texts() -> MutexGuard<'static, Texts> {
    TEXTS.lock().unwrap()
}

/// Takes the texts that differed since the last call.
pub fn take_texts() -> Texts {
    std::mem::take(&mut *lock_texts())
}

/// The expected text if it is the same, and the actual one otherwise.
fn compared(expected: &Value, text: &str, name: impl Fn(&str) -> String) -> Value {
    let wanted = expected.as_str().unwrap_or_default();
    if text_matches(wanted, text, name) {
        return expected.clone();
    }
    json!(text)
}

/// The message as it is written in the table.
fn message_template(error: &Error, layer: &Emulator, files: &Files) -> String {
    let message = without_addresses(error.message(), layer);
    let message = message.replace(&*files.folder().to_string_lossy(), FILES);
    let Some(field) = error.field() else {
        return message;
    };
    match message.strip_prefix(field) {
        Some(rest) if rest.starts_with(' ') => format!("{{{field}}}{rest}"),
        _ => message,
    }
}

struct Runner<'a> {
    binding: Binding,
    runtime: &'a Runtime,
    layer: &'a Emulator,
    client: Result<Client, Error>,
    secret: String,
    /// Whether the client was made from environment variables.
    uses_variables: bool,
    name: String,
    files: &'a Files,
}

impl Runner<'_> {
    fn step(&self, step: &Step, before: &[Option<Output>]) -> Result<Option<Output>, String> {
        let step = match step {
            Step::Control(order) => {
                let address = self.layer.control_address();
                control(address, &order.control, &order.path, &order.body);
                return Ok(None);
            }
            Step::Call(step) => step,
        };
        let mut first = None;
        let (began_at, started) = (SystemTime::now(), Instant::now());
        for _ in 0..step.repeat.unwrap_or(1) {
            for outcome in self.outcomes(step, before)? {
                self.check(&outcome, &step.expect, before, began_at)?;
                // Concurrent and repeated calls must return the same token.
                let answer = outcome.ok();
                let same = |first: &Option<Output>| match (first, &answer) {
                    (Some(first), Some(answer)) => first.secret() == answer.secret(),
                    _ => true,
                };
                if step.call != "mint_business_token" && !same(&first) {
                    return Err("callers got different tokens".to_owned());
                }
                first = first.or(answer);
            }
        }
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap();
        match step.elapsed_ms {
            Some((min, max)) if !(min..=max).contains(&elapsed) => Err(format!(
                "the step took {elapsed} ms, expected {min} to {max}"
            )),
            _ => Ok(first),
        }
    }

    fn outcomes(&self, step: &CallStep, before: &[Option<Output>]) -> Result<Vec<Outcome>, String> {
        let client = match (&self.client, step.call.as_str()) {
            (Ok(_), "build") => return Ok(vec![Ok(Output::Built)]),
            (Err(error), "build") => return Ok(vec![Err(error.clone())]),
            (Err(error), _) => return Err(format!("the client could not be built: {error}")),
            (Ok(client), _) => client,
        };
        let business_id = || step.business_id.clone().ok_or("a call without business_id");
        let call = match step.call.as_str() {
            "token" => Call::Token,
            "whoami" => Call::WhoAmI,
            "mint_business_token" => Call::Mint {
                business_id: business_id()?,
                session_duration: step.session_duration,
            },
            "business_token" => Call::Business {
                business_id: business_id()?,
                session_duration: step.session_duration,
                min_remaining: step.min_remaining,
            },
            "invalidate" => match step.token_of.and_then(|number| before.get(number)) {
                Some(Some(Output::Token(token))) => Call::Invalidate(token.clone()),
                _ => return Err("token_of must be a step that returned a token".to_owned()),
            },
            other => return Err(format!("unknown call: {other}")),
        };
        let callers = step.callers.unwrap_or(1);
        Ok(self.binding.call(self.runtime, client, &call, callers))
    }

    fn check(
        &self,
        outcome: &Outcome,
        expect: &Expect,
        before: &[Option<Output>],
        began: SystemTime,
    ) -> Result<(), String> {
        match (outcome, expect) {
            (Ok(answer), Expect::Ok(expected)) => check_answer(answer, expected, before, began),
            (Err(error), Expect::Error(expected)) => self.check_error(error, expected),
            (Ok(_), Expect::Error(expected)) => Err(format!(
                "the call succeeded, expected the error {}",
                json!(expected)
            )),
            (Err(error), Expect::Ok(_)) => Err(format!("the call failed: {error:?}")),
        }
    }

    /// Name of a setting in remedies: its variable, if the client was made from
    /// variables.
    fn name_in_remedy(&self, setting: &str) -> String {
        let variable = match setting {
            _ if !self.uses_variables => None,
            "allow_http_loopback" => Some("LAYER_ALLOW_HTTP_LOOPBACK=1".to_owned()),
            _ => variable_of(setting),
        };
        variable.unwrap_or_else(|| setting.to_owned())
    }

    fn check_error(&self, error: &Error, expected: &Map<String, Value>) -> Result<(), String> {
        let mut actual = BTreeMap::new();
        let mut wrong = None;
        for (name, expected) in expected {
            let got = match name.as_str() {
                "kind" => json!(error.kind().as_str()),
                "http_status" => json!(error.http_status()),
                "oauth_error" => json!(error.oauth_error()),
                "error_enum" => json!(error.error_enum()),
                "retryable" => json!(error.is_retryable()),
                "retry_after_ms" => {
                    json!(error.retry_after().map(|delay| delay.as_millis() as u64))
                }
                "field" => json!(error.field()),
                "message" => {
                    actual.insert("message", message_template(error, self.layer, self.files));
                    compared(expected, error.message(), str::to_owned)
                }
                "remedy" => {
                    let template = error.remedy_naming(|setting, _| format!("{{{setting}}}"));
                    actual.insert("remedy", template);
                    compared(expected, error.remedy(), |setting| {
                        self.name_in_remedy(setting)
                    })
                }
                other => return Err(format!("unknown field of an error: {other}")),
            };
            if got != *expected {
                wrong = Some(format!(
                    "{name} is {got}, expected {expected}, in {error:?}"
                ));
            }
        }
        if let Some(why) = wrong {
            lock_texts().insert(self.name.clone(), actual);
            return Err(why);
        }
        let shown = format!("{error} {error:?} {} {}", error.message(), error.remedy());
        if error.message().is_empty() || error.remedy().is_empty() {
            return Err(format!("the error has no message or no remedy: {error:?}"));
        }
        // The message of this check must not contain them.
        if shown.to_ascii_lowercase().contains(CANARY)
            || (!self.secret.is_empty() && shown.contains(&self.secret))
        {
            return Err("the error contains a secret or text from the server".to_owned());
        }
        Ok(())
    }
}

fn check_answer(
    answer: &Output,
    expected: &ExpectOk,
    before: &[Option<Output>],
    began: SystemTime,
) -> Result<(), String> {
    fn equal<T: PartialEq + std::fmt::Debug>(
        name: &str,
        got: Option<T>,
        expected: &Option<T>,
    ) -> Result<(), String> {
        if expected.is_some() && got != *expected {
            return Err(format!("{name} is {got:?}, expected {expected:?}"));
        }
        Ok(())
    }
    if let Some(seconds) = expected.lifetime {
        let expires_at = answer.expires_at().ok_or("the result has no lifetime")?;
        let requested_at = expires_at - Duration::from_secs(seconds);
        // The client's coarse clock differs by much less than a second.
        let slack = Duration::from_secs(1);
        if requested_at < began - slack || requested_at > SystemTime::now() + slack {
            let got = expires_at.duration_since(began).unwrap_or_default();
            return Err(format!("the lifetime is {got:?}, expected {seconds} s"));
        }
    }
    let earlier = |number: usize| match before.get(number) {
        Some(Some(earlier)) => Ok(earlier.secret()),
        _ => Err(format!("step {number} returned no token to compare with")),
    };
    if let Some(number) = expected.same_as
        && answer.secret() != earlier(number)?
    {
        return Err(format!("the token differs from that of step {number}"));
    }
    if let Some(number) = expected.differs_from
        && answer.secret() == earlier(number)?
    {
        return Err(format!("the token is the same as that of step {number}"));
    }
    if let Output::Business(token) = answer {
        let id = token.business_id().as_str().to_owned();
        equal("business_id", Some(id), &expected.business_id)?;
        let seconds = token.session_duration().as_secs();
        equal(
            "session_duration",
            Some(seconds),
            &expected.session_duration,
        )?;
        if let Some(lifetime) = expected.lifetime {
            equal(
                "expires_in",
                Some(token.expires_in().as_secs()),
                &Some(lifetime),
            )?;
        }
    }
    let (client_name, client_id) = match answer {
        Output::WhoAmI(me) => (Some(me.client_name.clone()), Some(me.client_id.clone())),
        _ => (None, None),
    };
    equal("client_name", client_name, &expected.client_name)?;
    equal("client_id", client_id, &expected.client_id)?;
    let invalidated = match answer {
        Output::Invalidated(invalidated) => Some(*invalidated),
        _ => None,
    };
    equal("invalidated", invalidated, &expected.invalidated)
}

fn check_stats(client: &Client, expected: &BTreeMap<String, u64>) -> Result<(), String> {
    let stats = client.stats();
    for (name, expected) in expected {
        let got = match name.as_str() {
            "hits" => stats.hits,
            "stale_serves" => stats.stale_serves,
            "misses" => stats.misses,
            "waits" => stats.waits,
            "refreshes" => stats.refreshes,
            "token_requests" => stats.token_requests,
            "mints" => stats.mints,
            "retries" => stats.retries,
            "invalidations" => stats.invalidations,
            other => return Err(format!("unknown statistic: {other}")),
        };
        if got != *expected {
            return Err(format!("stats.{name} is {got}, expected {expected}"));
        }
    }
    Ok(())
}
