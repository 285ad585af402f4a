//! Which Layer the emulator plays: its scope and its rate limit.

use serde::{Deserialize, Serialize};

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
