//! Whether environment, URLs and scope belong together: a sandbox token is
//! worth nothing in production, and the API says only 401.

use layerfi_auth::{Client, Environment};
use url::Url;

use super::report::Report;
use crate::failure::Failure;

pub(super) fn check(client: &Client, report: &mut Report<'_>) -> Result<(), Failure> {
    let verdict = judge(
        client.environment(),
        client.api_url(),
        client.auth_url(),
        client.scope(),
    );
    match verdict {
        Ok(detail) => report.passed("environment", None, detail),
        Err(detail) => report.failed_as(
            "environment",
            None,
            detail,
            "give --environment alone, or API URL, token endpoint and scope of one environment",
        ),
    }
}

fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Layer's environment with this host or scope.
fn known(value: &str, of: impl Fn(Environment) -> Option<String>) -> Option<Environment> {
    Environment::ALL
        .into_iter()
        .find(|environment| of(*environment).is_some_and(|known| known == value))
}

fn judge(name: Environment, api: &str, auth: &str, scope: &str) -> Result<String, String> {
    let of_name = (name != Environment::Custom).then_some(name);
    let of_api =
        host(api).and_then(|api| known(&api, |environment| environment.api_url().and_then(host)));
    let of_scope = known(scope, |environment| environment.scope().map(str::to_owned));
    let named = [
        ("environment", of_name),
        ("API URL", of_api),
        ("scope", of_scope),
    ];
    let mut seen: Option<(&str, Environment)> = None;
    for (what, environment) in named {
        let Some(environment) = environment else {
            continue;
        };
        match seen {
            Some((before, other)) if other != environment => {
                return Err(format!(
                    "{before} is of {other}, but {what} is of {environment}"
                ));
            }
            Some(_) => {}
            None => seen = Some((what, environment)),
        }
    }
    let layers_auth = host(auth) == Environment::Sandbox.auth_url().and_then(host);
    if of_api.is_some() && !layers_auth {
        return Err(
            "the API is Layer's, but the token endpoint is not: its tokens would be refused"
                .to_owned(),
        );
    }
    Ok(match (of_api, layers_auth) {
        (Some(environment), _) => format!("API URL, token endpoint and scope are of {environment}"),
        (None, true) => "the API's host is not Layer's; it will get tokens of Layer's".to_owned(),
        (None, false) => "API and token endpoint are your own".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_belong_together_is_found() {
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
            let verdict = judge(name, api, auth, scope);
            assert_eq!(
                verdict.is_ok(),
                fits,
                "{name} {api} {auth} {scope}: {verdict:?}"
            );
        }
    }
}
