//! Failures of the connection and of the bytes on it.

use serde::{Deserialize, Serialize};

/// Handling of the connection or of the response's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wire {
    /// Closes the connection at this point (FIN; over TLS `close_notify` first).
    /// `mid_body` gives a body shorter than its `Content-Length`.
    Close(At),
    /// Resets the TCP connection at this point.
    Reset(At),
    /// Sends nothing after this point and keeps the connection open.
    Stall(At),
    /// Sends one byte at a time.
    Drip(Drip),
    /// Sends a response that never ends.
    Endless(Endless),
    /// Sends the fault's body instead of an HTTP response, then closes.
    Raw,
    /// Freezes the whole connection until the next release: it accepts bytes and
    /// sends none. Other connections work.
    Freeze,
    /// Sends `GOAWAY` with last stream 0 and closes the connection, on HTTP/2: the
    /// client knows that no request was processed. On HTTP/1.1, closes the
    /// connection without a response.
    GoAway,
}

/// A point in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Before its first byte.
    Before,
    /// After half of its head.
    MidHead,
    /// After its head and half of its body.
    MidBody,
    /// After its last byte, without an announcement. The client sees it when it
    /// next uses the connection, or shortly before.
    After,
}

/// A slow response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// The part that is sent byte by byte; the rest is sent at once.
    pub part: Part,
    /// Milliseconds between two bytes.
    pub every_ms: u64,
}

/// A part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Status line and headers.
    Head,
    /// The body.
    Body,
}

/// The part of a response that never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endless {
    /// The body: the real one, then spaces, without `Content-Length`.
    Body,
    /// The headers.
    Headers,
    /// Informational responses: `103 Early Hints` without end.
    Informational,
}

impl Wire {
    /// Whether it changes the bytes of the head, which is possible on HTTP/1.1
    /// only.
    pub(crate) const fn changes_head(self) -> bool {
        match self {
            Self::Close(at) | Self::Reset(at) | Self::Stall(at) => matches!(at, At::MidHead),
            Self::Drip(drip) => matches!(drip.part, Part::Head),
            Self::Endless(what) => matches!(what, Endless::Headers | Endless::Informational),
            Self::Raw | Self::Freeze | Self::GoAway => false,
        }
    }
}
