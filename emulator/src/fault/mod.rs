//! Faults: what the emulator is told to do instead of, or on top of, answering
//! well. [`Fault`] is both the Rust builder and the JSON form.

mod check;
mod queue;
mod times;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::Endpoint;

pub use queue::FaultStatus;
pub(crate) use queue::Faults;
pub use times::Times;
pub use wire::{At, Drip, Endless, Part, Wire};

/// One scripted misbehaviour.
///
/// A fault says *when* it acts (`endpoint`, `business_id`, `skip`, `times`),
/// *how late* (`delay_ms`, `hold`), *what* is answered, and *how it goes over
/// the wire* (`wire`). What is answered is the real answer, changed by `patch`
/// and `headers`, unless `status`, `body` or `body_base64` is given: then the
/// answer is canned, and the endpoint itself is not run. The first fault that
/// fits a request takes it; the others do not see it.
///
/// ```
/// use layerfi_auth_emulator::{Fault, Wire, At};
///
/// let busy = Fault::status(503).header("retry-after", "1").times(2);
/// let text = Fault::patch(serde_json::json!({"expires_in": "12345"})).forever();
/// let cut = Fault::wire(Wire::Reset(At::MidBody)).skip(1);
///
/// let same: Fault = serde_json::from_str(
///     r#"{"status": 503, "headers": {"retry-after": "1"}, "times": 2}"#,
/// )?;
/// assert_eq!(same, busy);
/// # let _ = (text, cut);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The endpoint that it is for; every endpoint if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Only requests whose path names this business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_id: Option<String>,
    /// How many fitting requests pass before it acts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skip: u32,
    /// How many requests it acts on: 1 if left out, or `"forever"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times: Times,
    /// Milliseconds from the request to the answer. The answer is made when the
    /// request arrives, so a token's life runs while it waits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay_ms: u64,
    /// Keeps the answer back until faults are released.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold: bool,
    /// Status of a canned answer; 200 if only a body is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers to set, on a canned answer and on a real one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body of a canned answer: a string goes out as it is, anything else as
    /// JSON. `{{token}}` in it becomes a working token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Body of a canned answer that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// A JSON merge patch (RFC 7396) to the body of the real answer: `null`
    /// removes a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    /// Fills the body up to this many bytes with spaces, which leaves JSON valid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pad_body_to: u64,
    /// What happens on the wire; an ordinary answer if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Fault {
    /// A canned answer with this status and, unless [`body`](Self::body) gives
    /// one, an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// A canned answer `200` with this text as its body.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::default().body(Value::String(body.into()))
    }

    /// A canned answer `200` with this JSON as its body.
    #[must_use]
    pub fn json(body: Value) -> Self {
        Self::default().body(body)
    }

    /// The real answer, its JSON body changed by a merge patch.
    #[must_use]
    pub fn patch(patch: Value) -> Self {
        Self {
            patch: Some(patch),
            ..Self::default()
        }
    }

    /// The real answer, late.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self::default().after(delay)
    }

    /// The real answer, kept back until [`Emulator::release`](crate::Emulator::release).
    #[must_use]
    pub fn hold() -> Self {
        Self {
            hold: true,
            ..Self::default()
        }
    }

    /// The real answer, mishandled on the wire.
    #[must_use]
    pub fn wire(wire: Wire) -> Self {
        Self::default().on_wire(wire)
    }

    /// These bytes in place of any HTTP answer, then the end of the connection.
    #[must_use]
    pub fn garbage(bytes: &[u8]) -> Self {
        Self::default().bytes(bytes).on_wire(Wire::Raw)
    }

    /// Sets the endpoint; [`Emulator::fault`](crate::Emulator::fault) does it for you.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only requests whose path names this business.
    #[must_use]
    pub fn business(mut self, id: impl Into<String>) -> Self {
        self.business_id = Some(id.into());
        self
    }

    /// Lets this many fitting requests pass first.
    #[must_use]
    pub const fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Acts on this many requests.
    #[must_use]
    pub const fn times(mut self, requests: u32) -> Self {
        self.times = Times::Count(requests);
        self
    }

    /// Acts on every request until it is cleared.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.times = Times::Forever;
        self
    }

    /// Answers this much later. Whole milliseconds of real time, not of the
    /// emulator's clock.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the body of the canned answer; a string goes out as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body of the canned answer to these bytes.
    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Self {
        use base64::Engine as _;
        self.body_base64 = Some(base64::engine::general_purpose::STANDARD.encode(body));
        self
    }

    /// Fills the body up with spaces.
    #[must_use]
    pub const fn pad_body_to(mut self, bytes: u64) -> Self {
        self.pad_body_to = bytes;
        self
    }

    /// Sets what happens on the wire.
    #[must_use]
    pub const fn on_wire(mut self, wire: Wire) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Whether the endpoint itself is left out.
    pub(crate) const fn is_canned(&self) -> bool {
        self.status.is_some() || self.body.is_some() || self.body_base64.is_some()
    }
}
