//! Maps the method and path of a request to its endpoint.

use http::Method;

use crate::endpoint::Endpoint;
use crate::resource::{self, Resource};

/// The endpoint of a request and the parts of its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: Endpoint,
    /// The `{id}` of a business path, as sent, not validated.
    pub(crate) business: Option<&'a str>,
    /// The resource of the business, for [`Endpoint::BusinessData`].
    pub(crate) resource: Option<Resource<'a>>,
}

/// Finds the endpoint of a request.
pub(crate) fn classify<'a>(method: &Method, path: &'a str) -> Target<'a> {
    let mut target = Target {
        endpoint: Endpoint::Unknown,
        business: None,
        resource: None,
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
                target.endpoint = match resource {
                    "" if !rest.contains('/') => Endpoint::Business,
                    "auth-token" => Endpoint::AuthToken,
                    _ => {
                        target.resource = resource::find(resource);
                        match target.resource {
                            Some(_) => Endpoint::BusinessData,
                            None => Endpoint::Unknown,
                        }
                    }
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
    fn each_path_belongs_to_one_endpoint() {
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
                "wrong endpoint or business id for path {path}"
            );
        }
        assert_eq!(
            classify(&Method::OPTIONS, "/whoami").endpoint,
            Endpoint::Preflight,
            "OPTIONS must be a preflight request on any path"
        );
    }
}
