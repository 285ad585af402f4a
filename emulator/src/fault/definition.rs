//! [`Fault`]: a scripted failure, as a Rust builder and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::fault::times::Times;
use crate::fault::wire::Wire;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encoding {
    /// gzip.
    Gzip,
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
}

/// A scripted failure.
///
/// A fault has four parts:
///
/// - the requests it applies to: `endpoint`, `business_id`, `resource`, `path`,
///   `skip`, `times`, `for_ms`;
/// - the delay of the response: `delay_ms`, `hold`;
/// - the response. With `status`, `body` or `body_base64` it is a fixed
///   response, and the endpoint does not run. Otherwise it is the endpoint's
///   real response, changed by `patch`, `headers`, `pad_headers`, `encoding` and
///   `pad_body_to`;
/// - the handling of the connection: `wire`.
///
/// Each request is matched against the faults in the order in which they were
/// added. Only the first one that matches is applied.
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
    /// The endpoint it applies to; every endpoint but `proxy` if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Applies only to requests whose path contains this business id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_id: Option<String>,
    /// Applies only to requests for this resource of a business, such as
    /// `bank-transactions` or `bank-transactions/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Applies only to requests with exactly this path, without a query; for the
    /// proxy, with this `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The number of matching requests that it skips first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skip: u32,
    /// The number of requests it applies to: 1 by default, or `"forever"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times: Times,
    /// Removes the fault after this many milliseconds of real time, even if it has
    /// not applied `times` times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Milliseconds from the request to the response. The response is made when
    /// the request arrives, so a token in it ages during the delay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay_ms: u64,
    /// Holds the response until [`Emulator::release`](crate::Emulator::release).
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold: bool,
    /// Status of a fixed response; 200 if only a body is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers to set on the response, fixed or real.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers to make longer: appends `x` to the value up to this many bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pad_headers: BTreeMap<String, u32>,
    /// Body of a fixed response: a string is sent unchanged, anything else as
    /// JSON. `{{token}}` in it is replaced by a valid token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Body of a fixed response as base64, for bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// JSON merge patch (RFC 7396) for the body of the real response: `null`
    /// removes a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    /// Encodes the body and sets `Content-Encoding`, whatever the client accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Appends spaces to the body up to this many bytes. JSON stays valid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pad_body_to: u64,
    /// Handling of the connection and the bytes; an ordinary response if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Fault {
    /// A fixed response with this status. Its body is empty unless
    /// [`body`](Self::body) sets one.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// A fixed response with status 200 and this text as its body.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::default().body(Value::String(body.into()))
    }

    /// A fixed response with status 200 and this JSON as its body.
    #[must_use]
    pub fn json(body: Value) -> Self {
        Self::default().body(body)
    }

    /// The real response with its JSON body changed by a merge patch.
    #[must_use]
    pub fn patch(patch: Value) -> Self {
        Self {
            patch: Some(patch),
            ..Self::default()
        }
    }

    /// The real response after a delay.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self::default().after(delay)
    }

    /// The real response, held until [`Emulator::release`](crate::Emulator::release).
    #[must_use]
    pub fn hold() -> Self {
        Self {
            hold: true,
            ..Self::default()
        }
    }

    /// The real response with a failure of the connection or its bytes.
    #[must_use]
    pub fn wire(wire: Wire) -> Self {
        Self::default().on_wire(wire)
    }

    /// These bytes instead of an HTTP response; then the connection closes.
    #[must_use]
    pub fn garbage(bytes: &[u8]) -> Self {
        Self::default().bytes(bytes).on_wire(Wire::Raw)
    }

    /// Sets the endpoint. [`Emulator::fault`](crate::Emulator::fault) also does this.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Applies only to requests whose path contains this business id.
    #[must_use]
    pub fn business(mut self, id: impl Into<String>) -> Self {
        self.business_id = Some(id.into());
        self
    }

    /// Applies only to requests for this resource of a business, such as
    /// `bank-transactions` or `bank-transactions/{id}`.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>) -> Self {
        self.resource = Some(name.into());
        self
    }

    /// Applies only to requests with exactly this path, without a query.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub const fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Applies to this many requests.
    #[must_use]
    pub const fn times(mut self, requests: u32) -> Self {
        self.times = Times::Count(requests);
        self
    }

    /// Applies to every request until the fault is removed.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.times = Times::Forever;
        self
    }

    /// Removes the fault after this time, in whole milliseconds of real time.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.for_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Delays the response, in whole milliseconds of real time (not of the
    /// emulator's clock).
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sets a header of the response.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Makes a header of the response this long.
    #[must_use]
    pub fn pad_header(mut self, name: impl Into<String>, bytes: u32) -> Self {
        self.pad_headers.insert(name.into(), bytes);
        self
    }

    /// Encodes the body.
    #[must_use]
    pub const fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// Sets the body of the fixed response. A string is sent unchanged.
    #[must_use]
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body of the fixed response to these bytes.
    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Self {
        use base64::Engine as _;
        self.body_base64 = Some(base64::engine::general_purpose::STANDARD.encode(body));
        self
    }

    /// Appends spaces to the body up to this many bytes.
    #[must_use]
    pub const fn pad_body_to(mut self, bytes: u64) -> Self {
        self.pad_body_to = bytes;
        self
    }

    /// Sets the handling of the connection and the bytes.
    #[must_use]
    pub const fn on_wire(mut self, wire: Wire) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Whether the response is fixed, so that the endpoint does not run.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.status.is_some() || self.body.is_some() || self.body_base64.is_some()
    }
}
