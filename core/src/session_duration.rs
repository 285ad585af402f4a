//! Session duration of a business token.

use crate::error::{Error, Result};

/// Requested lifetime of a business token: 1 to 86,400 whole seconds, 3,600 by
/// default (Layer's page "Create business auth token").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionDuration(u32);

impl SessionDuration {
    /// One day, the longest that Layer grants.
    pub const MAX: Self = Self(86_400);

    /// Checks a number of seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) outside 1..=86400.
    pub fn from_secs(seconds: u64) -> Result<Self> {
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=86_400) => Ok(Self(seconds)),
            _ => Err(Error::invalid_argument(
                "session_duration",
                format!("session_duration must be 1 to 86400 seconds, got {seconds}"),
                "give whole seconds: 3600 is an hour, and 86400 (a day) the longest",
            )),
        }
    }

    /// Number of seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl Default for SessionDuration {
    fn default() -> Self {
        Self(3_600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b18_session_duration_is_1_to_86400_seconds() {
        for (seconds, is_valid) in [
            (0, false),
            (1, true),
            (3_600, true),
            (86_400, true),
            (86_401, false),
            (u64::from(u32::MAX) + 2, false),
            (u64::MAX, false),
        ] {
            let result = SessionDuration::from_secs(seconds);
            assert_eq!(result.is_ok(), is_valid, "{seconds} seconds");
        }
        let error = SessionDuration::from_secs(0).unwrap_err();
        assert_eq!(error.field(), Some("session_duration"));
    }
}
