//! Options of the TLS and HTTP listener.

use serde::{Deserialize, Serialize};

/// A defect of the emulator's TLS, for tests of a client's verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsTrouble {
    /// The certificate expired yesterday.
    Expired,
    /// The certificate becomes valid tomorrow.
    NotYetValid,
    /// The certificate is for another host.
    WrongHost,
    /// The certificate is self-signed, not signed by the emulator's authority.
    SelfSigned,
    /// The authority's own certificate is used as the server's certificate.
    CaAsLeaf,
    /// The server supports only TLS 1.1 and older: it answers with the alert
    /// `protocol_version`.
    #[serde(rename = "tls_1_1")]
    Tls11,
    /// The server speaks plain HTTP on the TLS port.
    PlainHttp,
    /// The server never answers the handshake.
    HandshakeStall,
}

/// TLS versions that the server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2-1.3")]
    Both,
    /// TLS 1.2 only.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// HTTP versions that the server supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HttpVersions {
    /// HTTP/1.1, and HTTP/2 if the client selects it (ALPN or prior knowledge).
    #[default]
    #[serde(rename = "1.1-2")]
    Both,
    /// HTTP/1.1 only.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 only.
    #[serde(rename = "2")]
    Http2,
}

impl TlsTrouble {
    /// All defects, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongHost,
        Self::SelfSigned,
        Self::CaAsLeaf,
        Self::Tls11,
        Self::PlainHttp,
        Self::HandshakeStall,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongHost => "wrong_host",
            Self::SelfSigned => "self_signed",
            Self::CaAsLeaf => "ca_as_leaf",
            Self::Tls11 => "tls_1_1",
            Self::PlainHttp => "plain_http",
            Self::HandshakeStall => "handshake_stall",
        }
    }
}

impl HttpVersions {
    /// The ALPN protocols, in order of preference.
    pub(crate) fn alpn(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Both => vec![two, one],
            Self::Http1 => vec![one],
            Self::Http2 => vec![two],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_the_json_form() {
        for trouble in TlsTrouble::ALL {
            assert_eq!(
                serde_json::to_value(trouble).unwrap(),
                trouble.name(),
                "the JSON form must be the name"
            );
        }
    }
}
