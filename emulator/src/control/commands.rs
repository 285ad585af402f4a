//! Commands of the control API: JSON in, JSON out.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::control::context::{CommandError, Control};
use crate::defaults::DEMO_BUSINESS_ID;
use crate::endpoint::Endpoint;
use crate::error::EmulatorError;
use crate::fault::definition::Fault;
use crate::resource::RESOURCES;
use crate::state::connections::ConnectionAction;
use crate::state::log::MAX_ENTRIES;
use crate::state::settings::ProxyCredentials;
use crate::state::tokens::TokenKind;
use crate::tls::options::TlsTrouble;

type CommandResult = Result<Value, CommandError>;

/// The result of a command without data.
fn done() -> Value {
    json!({})
}

/// Parses the body of a command. An empty body is an empty object.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, CommandError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(CommandError::bad_request)
}

fn write(value: impl Serialize) -> CommandResult {
    serde_json::to_value(value)
        .map_err(|error| CommandError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

pub(crate) fn info(control: &Control) -> Value {
    let Control {
        state, addresses, ..
    } = control;
    json!({
        "name": "layerfi-auth-emulator",
        "version": env!("CARGO_PKG_VERSION"),
        "environment": state.config.environment,
        "api_url": addresses.api_url(),
        "token_url": addresses.token_url(),
        "control_url": addresses.control_url(),
        "console_url": state.config.console.then(|| format!("{}/", addresses.control_url())),
        "proxy_url": addresses.proxy_url(),
        "scope": state.config.scope,
        "client_ids": state.clients.ids(),
        "demo_business_id": DEMO_BUSINESS_ID,
        "ca_pem": state.ca_pem(),
        "orders": [
            "GET /", "GET /faults", "POST /faults", "DELETE /faults", "DELETE /faults/{id}",
            "POST /release", "POST /connections", "GET /clock", "POST /clock", "GET /settings", "POST /settings",
            "GET /tokens", "POST /tokens", "GET /snapshot", "POST /revoke", "POST /rotate", "GET /credentials", "POST /tls/rotate", "GET /counters", "GET /log",
            "DELETE /log", "POST /fingerprint", "POST /reset", "POST /shutdown",
        ],
    })
}

pub(crate) fn list_faults(control: &Control) -> CommandResult {
    Ok(json!({"faults": write(control.state.faults.list())?}))
}

/// Adds one fault or a list. Adds none if one is not valid.
pub(crate) fn add_faults(control: &Control, body: &Bytes) -> CommandResult {
    let many = body.trim_ascii_start().starts_with(b"[");
    let faults: Vec<Fault> = if many { read(body)? } else { vec![read(body)?] };
    Ok(json!({"ids": control.state.faults.add_all(faults)?}))
}

pub(crate) fn clear_faults(control: &Control) -> Value {
    control.state.faults.clear();
    done()
}

pub(crate) fn remove_fault(control: &Control, id: &str) -> CommandResult {
    let id: u64 = id.parse().map_err(CommandError::bad_request)?;
    Ok(json!({"removed": control.state.faults.remove(id)}))
}

pub(crate) fn release(control: &Control) -> Value {
    control.state.releases.release();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionOrder {
    action: ConnectionAction,
    connection: Option<u64>,
    #[serde(default)]
    only_idle: bool,
}

pub(crate) fn connections(control: &Control, body: &Bytes) -> CommandResult {
    let order: ConnectionOrder = read(body)?;
    let connections = &control.state.connections;
    let count = connections.order(order.action, order.connection, order.only_idle);
    Ok(json!({"connections": count}))
}

pub(crate) fn clock(control: &Control) -> Value {
    let clock = &control.state.clock;
    json!({"now_ms": clock.now(), "stopped": clock.is_stopped()})
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClockChange {
    /// A negative value sets the clock back.
    advance_ms: i64,
    stopped: Option<bool>,
}

pub(crate) fn set_clock(control: &Control, body: &Bytes) -> CommandResult {
    let change: ClockChange = read(body)?;
    let state = &control.state;
    // Stops first and starts last, so that the clock moves exactly by the given
    // amount.
    if change.stopped == Some(true) {
        state.clock.stop();
    }
    state.clock.shift(change.advance_ms);
    if change.stopped == Some(false) {
        state.clock.run();
    }
    Ok(clock(control))
}

/// Distinguishes `null`, which clears a setting, from an absent field, which
/// keeps it.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SettingsChange {
    access_token_lifetime: Option<u64>,
    #[serde(deserialize_with = "present")]
    business_token_lifetime: Option<Option<u64>>,
    #[serde(deserialize_with = "present")]
    access_expires_in: Option<Value>,
    #[serde(deserialize_with = "present")]
    business_expires_in: Option<Value>,
    #[serde(deserialize_with = "present")]
    rate_limit: Option<Option<u32>>,
    demo_data: Option<bool>,
    #[serde(deserialize_with = "present")]
    idle_timeout_ms: Option<Option<u64>>,
    #[serde(deserialize_with = "present")]
    requests_per_connection: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    proxy_credentials: Option<Option<GivenProxyCredentials>>,
    #[serde(deserialize_with = "present")]
    tls_trouble: Option<Option<TlsTrouble>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenProxyCredentials {
    user: String,
    password: String,
}

pub(crate) fn settings(control: &Control) -> Value {
    let settings = control.state.settings();
    json!({
        "access_token_lifetime": settings.access_token_lifetime,
        "business_token_lifetime": settings.business_token_lifetime,
        "access_expires_in": settings.access_expires_in,
        "business_expires_in": settings.business_expires_in,
        "rate_limit": settings.rate_limit,
        "demo_data": settings.demo_data,
        "idle_timeout_ms": settings.idle_timeout_ms,
        "requests_per_connection": settings.requests_per_connection,
        // Without the password.
        "proxy_credentials": settings.proxy_credentials.map(|own| json!({"user": own.user})),
        "tls_trouble": control.state.tls().and_then(|tls| tls.trouble),
    })
}

pub(crate) fn change_settings(control: &Control, body: &Bytes) -> CommandResult {
    let change: SettingsChange = read(body)?;
    if change.requests_per_connection == Some(Some(0)) {
        return Err(CommandError::bad_request(
            "requests_per_connection: must be at least 1, got 0",
        ));
    }
    if let Some(trouble) = change.tls_trouble {
        control.state.set_tls_trouble(trouble)?;
    }
    let not_null = |value: Value| (!value.is_null()).then_some(value);
    control.state.change_settings(|settings| {
        if let Some(seconds) = change.access_token_lifetime {
            settings.access_token_lifetime = seconds;
        }
        if let Some(seconds) = change.business_token_lifetime {
            settings.business_token_lifetime = seconds;
        }
        if let Some(value) = change.access_expires_in {
            settings.access_expires_in = not_null(value);
        }
        if let Some(value) = change.business_expires_in {
            settings.business_expires_in = not_null(value);
        }
        if let Some(limit) = change.rate_limit {
            settings.rate_limit = limit;
        }
        if let Some(demo_data) = change.demo_data {
            settings.demo_data = demo_data;
        }
        if let Some(timeout) = change.idle_timeout_ms {
            settings.idle_timeout_ms = timeout;
        }
        if let Some(requests) = change.requests_per_connection {
            settings.requests_per_connection = requests;
        }
        if let Some(credentials) = change.proxy_credentials {
            settings.proxy_credentials = credentials.map(|given| ProxyCredentials {
                user: given.user,
                password: given.password,
            });
        }
    });
    Ok(settings(control))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueToken {
    client_id: String,
}

pub(crate) fn tokens(control: &Control) -> CommandResult {
    Ok(json!({"tokens": write(control.state.issued_tokens())?}))
}

pub(crate) fn issue(control: &Control, body: &Bytes) -> CommandResult {
    let IssueToken { client_id } = read(body)?;
    let token = control
        .state
        .issue_access_token(&client_id)
        .ok_or(EmulatorError::UnknownClient)?;
    Ok(json!({"access_token": token}))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Revocation {
    token: Option<String>,
    number: Option<u64>,
    all: Option<TokenKind>,
}

pub(crate) fn revoke(control: &Control, body: &Bytes) -> CommandResult {
    let revocation: Revocation = read(body)?;
    let tokens = &control.state.tokens;
    match (revocation.token, revocation.number, revocation.all) {
        (Some(token), None, None) => Ok(json!({"revoked": tokens.revoke(&token)})),
        (None, Some(number), None) => Ok(json!({"revoked": tokens.revoke_number(number)})),
        (None, None, Some(kind)) => {
            tokens.revoke_all(kind);
            Ok(json!({"revoked": true}))
        }
        _ => Err(CommandError::bad_request(
            "set one of token, number, or all to \"access\" or \"business\"",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    client_id: String,
    client_secret: String,
    #[serde(default)]
    keep_old: bool,
}

pub(crate) fn rotate(control: &Control, body: &Bytes) -> CommandResult {
    let rotation: Rotation = read(body)?;
    let clients = &control.state.clients;
    clients.rotate(
        &rotation.client_id,
        &rotation.client_secret,
        rotation.keep_old,
    )?;
    Ok(done())
}

/// The current credentials. A secret that the emulator was started with is null.
pub(crate) fn credentials(control: &Control) -> Value {
    let clients = &control.state.clients;
    let credentials = |id: String| {
        let secret = clients.known_secret(&id);
        json!({"client_id": id, "client_secret": secret})
    };
    let all: Vec<_> = clients.ids().into_iter().map(credentials).collect();
    json!({"clients": all})
}

pub(crate) fn rotate_authority(control: &Control) -> CommandResult {
    Ok(json!({"ca_pem": control.state.rotate_authority()?}))
}

pub(crate) fn counters(control: &Control) -> CommandResult {
    write(control.state.traffic.counters())
}

/// Entries of the log; the query is `after=N&limit=N`.
pub(crate) fn log(control: &Control, query: &str) -> CommandResult {
    let (mut after, mut limit) = (0, MAX_ENTRIES);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "after" => after = value.parse().map_err(CommandError::bad_request)?,
            "limit" => limit = value.parse().map_err(CommandError::bad_request)?,
            _ => {
                return Err(CommandError::bad_request(
                    "the query parameters are after and limit",
                ));
            }
        }
    }
    Ok(json!({"entries": write(control.state.traffic.log(after, limit))?}))
}

/// Entries of the log, and tokens, in one snapshot.
const SNAPSHOT_ENTRIES: usize = 200;

/// All that the console shows, at one moment, without secrets and tokens. The query
/// is `after=N`, the number of the last log entry that the reader has.
pub(crate) fn snapshot(control: &Control, query: &str) -> CommandResult {
    let state = &control.state;
    let mut after = 0;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "after" => after = value.parse().map_err(CommandError::bad_request)?,
            _ => return Err(CommandError::bad_request("the query parameter is after")),
        }
    }
    let (log_from, log) = state.traffic.latest(after, SNAPSHOT_ENTRIES);
    let mut tokens = state.issued_tokens();
    let listed = tokens.split_off(tokens.len().saturating_sub(SNAPSHOT_ENTRIES));
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "instance": state.tokens.issuer(),
        "environment": state.config.environment,
        "api_url": control.addresses.api_url(),
        "elapsed_ms": state.traffic.elapsed_ms(),
        "clock": clock(control),
        "settings": settings(control),
        "client_ids": state.clients.ids(),
        "endpoints": Endpoint::ALL,
        "resources": RESOURCES.as_slice(),
        "counters": write(state.traffic.counters())?,
        "faults": write(state.faults.list())?,
        "tokens": write(listed)?,
        "log_from": log_from,
        "log": write(log)?,
    }))
}

pub(crate) fn clear_log(control: &Control) -> Value {
    control.state.traffic.clear();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FingerprintOf {
    credentials: String,
}

pub(crate) fn fingerprint(control: &Control, body: &Bytes) -> CommandResult {
    let FingerprintOf { credentials } = read(body)?;
    Ok(json!({"fingerprint": control.state.fingerprints.hash(&credentials)}))
}

pub(crate) fn reset(control: &Control) -> Value {
    control.state.reset();
    done()
}

/// Stops the emulator. The response is still sent: the runtime notices the stop
/// in its next iteration, and closing a socket sends its buffered data.
pub(crate) fn shutdown(control: &Control) -> Value {
    control.stop.send_replace(true);
    done()
}
