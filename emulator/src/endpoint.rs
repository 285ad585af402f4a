//! Names of the emulated endpoints.

use serde::{Deserialize, Serialize};

/// An emulated endpoint, as named by counters, faults and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST /oauth2/token`.
    Token,
    /// `GET /whoami`.
    Whoami,
    /// `POST /v1/businesses/{id}/auth-token`.
    AuthToken,
    /// `GET /v1/businesses/{id}`.
    Business,
    /// The resources of a business that Layer's React components read.
    BusinessData,
    /// A CORS preflight request: `OPTIONS` on any path.
    Preflight,
    /// Any other path.
    Unknown,
    /// The forward proxy: a `CONNECT`, or a request with an absolute URL. A fault
    /// without an endpoint does not apply to it.
    Proxy,
}

impl Endpoint {
    /// All endpoints, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Token,
        Self::Whoami,
        Self::AuthToken,
        Self::Business,
        Self::BusinessData,
        Self::Preflight,
        Self::Unknown,
        Self::Proxy,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Whoami => "whoami",
            Self::AuthToken => "auth_token",
            Self::Business => "business",
            Self::BusinessData => "business_data",
            Self::Preflight => "preflight",
            Self::Unknown => "unknown",
            Self::Proxy => "proxy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_the_json_form() {
        for endpoint in Endpoint::ALL {
            assert_eq!(
                serde_json::to_value(endpoint).unwrap(),
                endpoint.name(),
                "the JSON form must be the name"
            );
        }
    }
}
