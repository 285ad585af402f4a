//! The words for what goes wrong on the wire.

use serde::{Deserialize, Serialize};

/// What happens to the connection, or to the answer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wire {
    /// An orderly end (FIN; over TLS a `close_notify` first) at this point.
    /// `mid_body` is a body shorter than its `Content-Length`.
    Close(At),
    /// A TCP reset at this point.
    Reset(At),
    /// Silence from this point on, the connection left open.
    Stall(At),
    /// One byte at a time.
    Drip(Drip),
    /// An answer without an end.
    Endless(Endless),
    /// The fault's body, in place of any HTTP answer; then an orderly end.
    Raw,
}

/// A point in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Before its first byte.
    Before,
    /// Half through its head.
    MidHead,
    /// After its head and half of its body.
    MidBody,
}

/// A slow answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// Which part drips; the rest goes out at once.
    pub part: Part,
    /// Milliseconds between two bytes.
    pub every_ms: u64,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Status line and headers.
    Head,
    /// The body.
    Body,
}

/// What never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endless {
    /// The body: the answer's own, then spaces, with no `Content-Length`.
    Body,
    /// Headers of the answer.
    Headers,
    /// `103 Early Hints`, again and again.
    Informational,
}

impl Wire {
    /// Whether it shapes the head, which can be done by hand on HTTP/1.1 only.
    pub(crate) const fn shapes_head(self) -> bool {
        match self {
            Self::Close(at) | Self::Reset(at) | Self::Stall(at) => matches!(at, At::MidHead),
            Self::Drip(drip) => matches!(drip.part, Part::Head),
            Self::Endless(what) => matches!(what, Endless::Headers | Endless::Informational),
            Self::Raw => false,
        }
    }
}
