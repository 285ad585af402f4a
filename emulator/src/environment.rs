//! Which Layer the emulator plays: its scope and its rate limit.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EmulatorError;

/// The Layer environment that the emulator plays.
///
/// It decides the scope that the token endpoint accepts and the rate limit of
/// the API; both can be set apart on the builder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// `sandbox`: 100 requests a second.
    #[default]
    Sandbox,
    /// `production`: 500 requests a second.
    Production,
    /// `production-ca`, Canada: 500 requests a second.
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

    /// Requests a second that one client may make of the API.
    #[must_use]
    pub const fn requests_per_second(self) -> u32 {
        match self {
            Self::Sandbox => 100,
            Self::Production | Self::ProductionCa => 500,
        }
    }

    /// The name, as Layer writes it.
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

    /// Reads the [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, EmulatorError> {
        [Self::Sandbox, Self::Production, Self::ProductionCa]
            .into_iter()
            .find(|environment| environment.name() == name)
            .ok_or_else(|| {
                let text = "the environment is sandbox, production or production-ca";
                EmulatorError::Invalid(text.to_owned())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for environment in [
            Environment::Sandbox,
            Environment::Production,
            Environment::ProductionCa,
        ] {
            assert_eq!(
                environment.name().parse::<Environment>().unwrap(),
                environment
            );
            assert_eq!(
                serde_json::to_value(environment).unwrap(),
                environment.name()
            );
        }
        assert!("Sandbox".parse::<Environment>().is_err());
    }
}
