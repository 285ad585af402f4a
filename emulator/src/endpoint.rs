//! Which endpoint a request is for; decided here and nowhere else.

use http::Method;
use serde::{Deserialize, Serialize};

/// An endpoint of Layer's, as counters, faults and the log name it.
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
    /// The resources below a business that Layer's React components read.
    BusinessData,
    /// A CORS preflight, `OPTIONS` on any path.
    Preflight,
    /// Any other path.
    Unknown,
}

impl Endpoint {
    /// Every endpoint, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Token,
        Self::Whoami,
        Self::AuthToken,
        Self::Business,
        Self::BusinessData,
        Self::Preflight,
        Self::Unknown,
    ];

    /// The name used in JSON.
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
        }
    }
}

/// A request's path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: Endpoint,
    /// The `{id}` of a business path, as sent and not yet checked.
    pub(crate) business: Option<&'a str>,
    /// What stands below the business, without its first slash.
    pub(crate) resource: &'a str,
}

pub(crate) fn classify<'a>(method: &Method, path: &'a str) -> Target<'a> {
    let mut target = Target {
        endpoint: Endpoint::Unknown,
        business: None,
        resource: "",
    };
    if method == Method::OPTIONS {
        target.endpoint = Endpoint::Preflight;
        return target;
    }
    match path {
        "/oauth2/token" => target.endpoint = Endpoint::Token,
        "/whoami" => target.endpoint = Endpoint::Whoami,
        _ => {
            if let Some(rest) = path.strip_prefix("/v1/businesses/") {
                let (id, resource) = rest.split_once('/').unwrap_or((rest, ""));
                target.business = Some(id);
                target.resource = resource;
                target.endpoint = match resource {
                    "" if !rest.contains('/') => Endpoint::Business,
                    "auth-token" => Endpoint::AuthToken,
                    resource if crate::routes::is_business_data(resource) => Endpoint::BusinessData,
                    _ => Endpoint::Unknown,
                };
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let table = [
            ("/oauth2/token", Endpoint::Token, None),
            ("/oauth2/token/", Endpoint::Unknown, None),
            ("/whoami", Endpoint::Whoami, None),
            ("/v1/businesses/abc", Endpoint::Business, Some("abc")),
            ("/v1/businesses/abc/", Endpoint::Unknown, Some("abc")),
            ("/v1/businesses//auth-token", Endpoint::AuthToken, Some("")),
            (
                "/v1/businesses/abc/auth-token",
                Endpoint::AuthToken,
                Some("abc"),
            ),
            (
                "/v1/businesses/a/b/auth-token",
                Endpoint::Unknown,
                Some("a"),
            ),
            (
                "/v1/businesses/abc/vendors",
                Endpoint::BusinessData,
                Some("abc"),
            ),
            (
                "/v1/businesses/abc/bookkeeping/status",
                Endpoint::BusinessData,
                Some("abc"),
            ),
            ("/v1/businesses/abc/secrets", Endpoint::Unknown, Some("abc")),
            ("/", Endpoint::Unknown, None),
        ];
        for (path, endpoint, business) in table {
            let target = classify(&Method::GET, path);
            assert_eq!(
                (target.endpoint, target.business),
                (endpoint, business),
                "{path}"
            );
        }
        assert_eq!(
            classify(&Method::OPTIONS, "/whoami").endpoint,
            Endpoint::Preflight
        );
    }

    #[test]
    fn the_name_is_the_json_form() {
        for endpoint in Endpoint::ALL {
            assert_eq!(serde_json::to_value(endpoint).unwrap(), endpoint.name());
        }
    }
}
