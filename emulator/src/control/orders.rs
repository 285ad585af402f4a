//! The orders themselves: JSON in, JSON out.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{Control, Refused};
use crate::emulator::DEMO_BUSINESS_ID;
use crate::fault::Fault;
use crate::log::LOG_CAP;
use crate::tls::TlsTrouble;
use crate::tokens::TokenKind;

type Reply = Result<Value, Refused>;

fn done() -> Value {
    json!({})
}

/// An empty body is an empty object.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(Refused::bad)
}

fn write(value: impl Serialize) -> Reply {
    serde_json::to_value(value)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

pub(super) fn info(control: &Control) -> Value {
    let Control {
        state, addresses, ..
    } = control;
    json!({
        "name": "layerfi-auth-emulator",
        "version": env!("CARGO_PKG_VERSION"),
        "environment": state.fixed.environment,
        "api_url": addresses.api_url(),
        "token_url": addresses.token_url(),
        "control_url": addresses.control_url(),
        "scope": state.fixed.scope,
        "client_ids": state.clients.ids(),
        "demo_business_id": DEMO_BUSINESS_ID,
        "ca_pem": state.ca_pem(),
        "orders": [
            "GET /", "GET /faults", "POST /faults", "DELETE /faults", "DELETE /faults/{id}",
            "POST /release", "GET /clock", "POST /clock", "GET /settings", "POST /settings",
            "POST /tokens", "POST /revoke", "POST /rotate", "GET /counters", "GET /log",
            "DELETE /log", "POST /fingerprint", "POST /reset", "POST /shutdown",
        ],
    })
}

pub(super) fn list_faults(control: &Control) -> Reply {
    Ok(json!({"faults": write(control.state.faults.list())?}))
}

/// One fault, or a list of them: all or none.
pub(super) fn add_faults(control: &Control, body: &Bytes) -> Reply {
    let many = body.trim_ascii_start().starts_with(b"[");
    let faults: Vec<Fault> = if many { read(body)? } else { vec![read(body)?] };
    for fault in &faults {
        fault.check().map_err(Refused::bad)?;
    }
    let mut ids = Vec::new();
    for fault in faults {
        ids.push(control.state.faults.add(fault)?);
    }
    Ok(json!({"ids": ids}))
}

pub(super) fn clear_faults(control: &Control) -> Value {
    control.state.faults.clear();
    done()
}

pub(super) fn remove_fault(control: &Control, id: &str) -> Reply {
    let id: u64 = id.parse().map_err(Refused::bad)?;
    Ok(json!({"removed": control.state.faults.remove(id)}))
}

pub(super) fn release(control: &Control) -> Value {
    control.state.release();
    done()
}

pub(super) fn clock(control: &Control) -> Value {
    let clock = &control.state.clock;
    json!({"now_ms": clock.now(), "stopped": clock.is_stopped()})
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClockOrder {
    /// Back if negative.
    advance_ms: i64,
    stopped: Option<bool>,
}

pub(super) fn set_clock(control: &Control, body: &Bytes) -> Reply {
    let order: ClockOrder = read(body)?;
    let state = &control.state;
    // Stopped first and set running last, so that an order moves it exactly.
    if order.stopped == Some(true) {
        state.clock.stop();
    }
    state.clock.shift(order.advance_ms);
    if order.stopped == Some(false) {
        state.clock.run();
    }
    Ok(clock(control))
}

/// Tells `null`, which clears, from a field left out, which changes nothing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SettingsOrder {
    access_token_lifetime: Option<u64>,
    #[serde(deserialize_with = "given")]
    business_token_lifetime: Option<Option<u64>>,
    #[serde(deserialize_with = "given")]
    access_expires_in: Option<Value>,
    #[serde(deserialize_with = "given")]
    business_expires_in: Option<Value>,
    #[serde(deserialize_with = "given")]
    rate_limit: Option<Option<u32>>,
    #[serde(deserialize_with = "given")]
    tls_trouble: Option<Option<TlsTrouble>>,
}

pub(super) fn settings(control: &Control) -> Value {
    let all = control.state.settings();
    json!({
        "access_token_lifetime": all.access_token_lifetime,
        "business_token_lifetime": all.business_token_lifetime,
        "access_expires_in": all.access_expires_in,
        "business_expires_in": all.business_expires_in,
        "rate_limit": all.rate_limit,
        "tls_trouble": control.state.tls().and_then(|(trouble, _)| trouble),
    })
}

pub(super) fn change_settings(control: &Control, body: &Bytes) -> Reply {
    let order: SettingsOrder = read(body)?;
    if let Some(trouble) = order.tls_trouble {
        control.state.set_tls_trouble(trouble)?;
    }
    let claim = |value: Value| if value.is_null() { None } else { Some(value) };
    control.state.change_settings(|all| {
        if let Some(seconds) = order.access_token_lifetime {
            all.access_token_lifetime = seconds;
        }
        if let Some(seconds) = order.business_token_lifetime {
            all.business_token_lifetime = seconds;
        }
        if let Some(value) = order.access_expires_in {
            all.access_expires_in = claim(value);
        }
        if let Some(value) = order.business_expires_in {
            all.business_expires_in = claim(value);
        }
        if let Some(limit) = order.rate_limit {
            all.rate_limit = limit;
        }
    });
    Ok(settings(control))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueOrder {
    client_id: String,
}

pub(super) fn issue(control: &Control, body: &Bytes) -> Reply {
    let order: IssueOrder = read(body)?;
    let state = &control.state;
    if !state.clients.ids().contains(&order.client_id) {
        return Err(Refused(StatusCode::NOT_FOUND, "no such client".to_owned()));
    }
    let token = state.issue(
        &order.client_id,
        None,
        state.settings().access_token_lifetime,
    );
    Ok(json!({"access_token": token}))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RevokeOrder {
    token: Option<String>,
    all: Option<TokenKind>,
}

pub(super) fn revoke(control: &Control, body: &Bytes) -> Reply {
    let order: RevokeOrder = read(body)?;
    let tokens = &control.state.tokens;
    match (order.token, order.all) {
        (Some(token), None) => Ok(json!({"revoked": tokens.revoke(&token)})),
        (None, Some(kind)) => {
            tokens.revoke_all(kind);
            Ok(json!({"revoked": true}))
        }
        _ => Err(Refused::bad(
            "give either token, or all: \"access\" or \"business\"",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateOrder {
    client_id: String,
    client_secret: String,
    #[serde(default)]
    keep_old: bool,
}

pub(super) fn rotate(control: &Control, body: &Bytes) -> Reply {
    let order: RotateOrder = read(body)?;
    let clients = &control.state.clients;
    clients.rotate(&order.client_id, &order.client_secret, order.keep_old)?;
    Ok(done())
}

pub(super) fn counters(control: &Control) -> Reply {
    write(control.state.traffic.counters())
}

/// `?after=N&limit=N`.
pub(super) fn log(control: &Control, query: &str) -> Reply {
    let (mut after, mut limit) = (0, LOG_CAP);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "after" => after = value.parse().map_err(Refused::bad)?,
            "limit" => limit = value.parse().map_err(Refused::bad)?,
            _ => return Err(Refused::bad("the log takes after and limit")),
        }
    }
    Ok(json!({"entries": write(control.state.traffic.log(after, limit))?}))
}

pub(super) fn clear_log(control: &Control) -> Value {
    control.state.traffic.clear();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FingerprintOrder {
    credentials: String,
}

pub(super) fn fingerprint(control: &Control, body: &Bytes) -> Reply {
    let order: FingerprintOrder = read(body)?;
    Ok(json!({"fingerprint": control.state.fingerprints.hash(&order.credentials)}))
}

pub(super) fn reset(control: &Control) -> Value {
    control.state.reset();
    done()
}

/// The answer leaves before the listeners do: the stop is noticed on the next
/// turn of the runtime, and sockets flush what they hold.
pub(super) fn shutdown(control: &Control) -> Value {
    control.stop.send_replace(true);
    done()
}
