//! Props of the `<LayerProvider>` React component.

use std::fmt;

use serde::Serialize;

use crate::environment::Endpoints;
use crate::secret::{REDACTED, Secret, SecretBuffer};

/// Props of `<LayerProvider>` of the npm package `@layerfi/components`, as JSON.
///
/// One of Layer's own environments is given by its name, any other by its URLs.
/// The props contain the business token: `Debug` does not show it, but
/// serialization does.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerProviderProps<'a> {
    business_id: &'a str,
    business_access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment_config_override: Option<EnvironmentConfig<'a>>,
}

/// Environment of the components, instead of a named one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentConfig<'a> {
    environment: &'a str,
    api_url: &'a str,
    auth_url: &'a str,
    scope: &'a str,
}

impl<'a> LayerProviderProps<'a> {
    pub(crate) fn new(
        business_id: &'a str,
        business_access_token: &'a str,
        endpoints: &'a Endpoints,
    ) -> Self {
        let environment = endpoints.components_environment();
        let own = endpoints.is_layers_own();
        let config = EnvironmentConfig {
            environment,
            api_url: &endpoints.api_url,
            auth_url: endpoints.auth_url.as_str(),
            scope: &endpoints.scope,
        };
        Self {
            business_id,
            business_access_token,
            environment: own.then_some(environment),
            environment_config_override: (!own).then_some(config),
        }
    }

    /// The same props with another name from the components' table of
    /// environments, such as `sandbox`. The components crash if the name is not in
    /// that table.
    #[must_use]
    pub fn with_environment(mut self, name: &'a str) -> Self {
        match &mut self.environment_config_override {
            Some(config) => config.environment = name,
            None => self.environment = Some(name),
        }
        self
    }

    /// The props as a JSON object. It contains the token, and is wiped from memory
    /// when it is dropped.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        SecretBuffer::json(self)
    }

    /// Business of the token.
    #[must_use]
    pub fn business_id(&self) -> &'a str {
        self.business_id
    }

    /// Name of the environment in the components' table.
    #[must_use]
    pub fn environment(&self) -> &'a str {
        match &self.environment_config_override {
            Some(config) => config.environment,
            None => self.environment.unwrap_or_default(),
        }
    }

    /// URLs and scope (API URL, token endpoint, scope) of an environment that is
    /// not Layer's own.
    #[must_use]
    pub fn urls(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let config = self.environment_config_override.as_ref()?;
        Some((config.api_url, config.auth_url, config.scope))
    }
}

impl fmt::Debug for LayerProviderProps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerProviderProps")
            .field("business_id", &self.business_id)
            .field("business_access_token", &REDACTED)
            .field("environment", &self.environment)
            .field(
                "environment_config_override",
                &self.environment_config_override,
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn props_name_an_environment_that_the_components_know() {
        for (environment, scope, name) in [
            (Environment::Sandbox, None, "sandbox"),
            (Environment::Production, None, "production"),
            (Environment::ProductionCa, None, "production-ca"),
            (
                Environment::Custom,
                Some("https://layer.test/sandbox"),
                "sandbox",
            ),
            (
                Environment::Custom,
                Some("https://layer.test/production"),
                "production",
            ),
            (Environment::Custom, Some("anything"), "sandbox"),
        ] {
            let custom = (environment == Environment::Custom).then_some("https://layer.test");
            let endpoints = Endpoints::new(environment, custom, custom, scope, false).unwrap();
            let props = LayerProviderProps::new("id", "token", &endpoints);
            let json = serde_json::to_value(&props).unwrap();
            let text: serde_json::Value = serde_json::from_str(props.to_json().expose()).unwrap();
            assert_eq!(text, json, "to_json is not the serialization");
            let named = match &custom {
                None => &json["environment"],
                Some(_) => &json["environmentConfigOverride"]["environment"],
            };
            assert_eq!(named, name, "{environment} {scope:?}");
            assert_eq!(json["businessAccessToken"], "token");
            assert_eq!(props.with_environment("sandbox").environment(), "sandbox");
        }
    }

    #[test]
    fn own_urls_in_a_named_environment_are_an_override() {
        let url = "https://proxy.example/layer";
        let endpoints =
            Endpoints::new(Environment::Production, Some(url), None, None, false).unwrap();
        let props = LayerProviderProps::new("id", "token", &endpoints);
        let json = serde_json::to_value(&props).unwrap();
        assert_eq!(json["environmentConfigOverride"]["apiUrl"], url);
        assert_eq!(
            json["environmentConfigOverride"]["environment"],
            "production"
        );
        assert!(json.get("environment").is_none(), "both are given");
    }
}
