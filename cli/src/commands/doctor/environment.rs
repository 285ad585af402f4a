//! Checks that environment, URLs and scope belong together.
//!
//! The production API answers a sandbox token with 401 and gives no reason.

use layerfi_auth::{Client, Environment};
use url::Url;

use crate::commands::doctor::report::Report;
use crate::failure::Failure;

pub(super) fn check(client: &Client, report: &mut Report<'_>) -> Result<(), Failure> {
    let result = compare(
        client.environment(),
        client.api_url(),
        client.auth_url(),
        client.scope(),
    );
    match result {
        Ok(detail) => report.passed("environment", None, detail),
        Err(detail) => report.failed_as(
            "environment",
            None,
            detail,
            "give only --environment, or give --api-url, --auth-url and --scope of one environment",
        ),
    }
}

fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Finds the environment whose host or scope is `value`.
fn find_environment(
    value: &str,
    of: impl Fn(Environment) -> Option<String>,
) -> Option<Environment> {
    Environment::ALL
        .into_iter()
        .find(|environment| of(*environment).is_some_and(|own| own == value))
}

fn compare(name: Environment, api: &str, auth: &str, scope: &str) -> Result<String, String> {
    let of_name = (name != Environment::Custom).then_some(name);
    let of_api = host(api)
        .and_then(|api| find_environment(&api, |environment| environment.api_url().and_then(host)));
    let of_scope = find_environment(scope, |environment| environment.scope().map(str::to_owned));
    let named = [
        ("environment", of_name),
        ("API URL", of_api),
        ("scope", of_scope),
    ];
    let mut first: Option<(&str, Environment)> = None;
    for (what, environment) in named {
        let Some(environment) = environment else {
            continue;
        };
        match first {
            Some((before, other)) if other != environment => {
                return Err(format!(
                    "the {before} is for {other}, but the {what} is for {environment}"
                ));
            }
            Some(_) => {}
            None => first = Some((what, environment)),
        }
    }
    let auth_is_layers = host(auth) == Environment::Sandbox.auth_url().and_then(host);
    if of_api.is_some() && !auth_is_layers {
        return Err(
            "the API URL is Layer's, but the token endpoint is not: the API would refuse its tokens"
                .to_owned(),
        );
    }
    Ok(match (of_api, auth_is_layers) {
        (Some(environment), _) => {
            format!("API URL, token endpoint and scope are for {environment}")
        }
        (None, true) => "the API URL is not Layer's, but it will receive Layer's tokens".to_owned(),
        (None, false) => "API URL and token endpoint are not Layer's".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_different_environments_are_found() {
        use Environment::{Custom, Production, ProductionCa, Sandbox};
        let layer = "https://auth.layerfi.com/oauth2/token";
        let own = "http://127.0.0.1:1/oauth2/token";
        let sandbox = "https://sandbox.layerfi.com/sandbox";
        let production = "https://api.layerfi.com/production";
        for (name, api, auth, scope, fits) in [
            (Sandbox, "https://sandbox.layerfi.com", layer, sandbox, true),
            (
                Production,
                "https://api.layerfi.com",
                layer,
                production,
                true,
            ),
            (Custom, "https://api.layerfi.com", layer, production, true),
            (Custom, "http://127.0.0.1:1", own, sandbox, true),
            (Sandbox, "http://127.0.0.1:1", own, sandbox, true),
            (Custom, "http://127.0.0.1:1", own, "own", true),
            (Production, "https://proxy.example", layer, production, true),
            (Sandbox, "https://api.layerfi.com", layer, sandbox, false),
            (
                Sandbox,
                "https://sandbox.layerfi.com",
                layer,
                production,
                false,
            ),
            (
                Sandbox,
                "https://api.layerfi.com/",
                layer,
                production,
                false,
            ),
            (Custom, "https://api.layerfi.com", layer, sandbox, false),
            (
                ProductionCa,
                "https://api-ca.layerfi.com",
                layer,
                production,
                false,
            ),
            (Custom, "https://api.layerfi.com", own, production, false),
            (Production, "http://127.0.0.1:1", own, sandbox, false),
        ] {
            let result = compare(name, api, auth, scope);
            assert_eq!(
                result.is_ok(),
                fits,
                "{name} {api} {auth} {scope}: {result:?}"
            );
        }
    }
}
