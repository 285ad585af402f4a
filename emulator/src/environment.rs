//! Layer environments with their scopes and rate limits.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EmulatorError;

/// The Layer environment that the emulator imitates.
///
/// It sets the scope that the token endpoint accepts and the rate limit of the
/// API. The builder can override both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Environment {
    /// `sandbox`: 100 requests per second.
    #[default]
    Sandbox,
    /// `production`: 500 requests per second.
    Production,
    /// `production-ca` (Canada): 500 requests per second.
    ProductionCa,
}

impl Environment {
    /// The OAuth scope of this environment.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Sandbox => "https://sandbox.layerfi.com/sandbox",
            Self::Production => "https://api.layerfi.com/production",
            Self::ProductionCa => "https://api-ca.layerfi.com/production",
        }
    }

    /// The API requests per second that one client may make.
    #[must_use]
    pub const fn requests_per_second(self) -> u32 {
        match self {
            Self::Sandbox => 100,
            Self::Production | Self::ProductionCa => 500,
        }
    }

    /// The name in Layer's documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::ProductionCa => "production-ca",
        }
    }
}

impl FromStr for Environment {
    type Err = EmulatorError;

    /// Parses a [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, EmulatorError> {
        [Self::Sandbox, Self::Production, Self::ProductionCa]
            .into_iter()
            .find(|environment| environment.name() == name)
            .ok_or_else(|| {
                EmulatorError::Invalid(format!(
                    "environment must be sandbox, production or production-ca, got {name:?}"
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_parses_to_its_environment() {
        for environment in [
            Environment::Sandbox,
            Environment::Production,
            Environment::ProductionCa,
        ] {
            assert_eq!(
                environment.name().parse::<Environment>().unwrap(),
                environment,
                "the name must parse to its environment"
            );
            assert_eq!(
                serde_json::to_value(environment).unwrap(),
                environment.name(),
                "the JSON form must be the name"
            );
        }
        assert!(
            "Sandbox".parse::<Environment>().is_err(),
            "names must be case-sensitive"
        );
    }
}
