//! `layerfi_environment`: which of Layer's systems a client talks to.

use layerfi_auth::Environment;

use crate::failure::Failure;

/// One of Layer's environments, or another system with the same API.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum layerfi_environment {
    /// https://sandbox.layerfi.com
    Sandbox = 1,
    /// https://api.layerfi.com
    Production = 2,
    /// https://api-ca.layerfi.com (Canada)
    ProductionCa = 3,
    /// An emulator, a staging system or a gateway. API URL, token endpoint and
    /// scope are required.
    Custom = 4,
}

impl layerfi_environment {
    pub(crate) const fn of(environment: Environment) -> Self {
        match environment {
            Environment::Sandbox => Self::Sandbox,
            Environment::Production => Self::Production,
            Environment::ProductionCa => Self::ProductionCa,
            // Custom. A new environment without a number here fails the test below.
            _ => Self::Custom,
        }
    }

    /// The environment for a number from C.
    pub(crate) fn read(number: u32) -> Result<Environment, Failure> {
        Environment::ALL
            .into_iter()
            .find(|known| Self::of(*known) as u32 == number)
            .ok_or(Failure::Enum("environment", number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_has_its_own_number() {
        for environment in Environment::ALL {
            let number = layerfi_environment::of(environment) as u32;
            let read = layerfi_environment::read(number).ok();
            assert_eq!(read, Some(environment), "the number of {environment}");
        }
    }
}
