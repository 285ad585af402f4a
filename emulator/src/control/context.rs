//! What the commands act on, and their errors.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::watch;

use crate::error::EmulatorError;
use crate::server::addresses::Addresses;
use crate::state::shared::State;

/// What the commands act on.
pub(crate) struct Control {
    pub(crate) state: Arc<State>,
    pub(crate) addresses: Addresses,
    /// Set to `true` to stop the emulator.
    pub(crate) stop: watch::Sender<bool>,
}

/// Error response of a command: status and text.
pub(crate) struct CommandError(pub(crate) StatusCode, pub(crate) String);

impl CommandError {
    pub(crate) fn bad_request(text: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }
}

impl From<EmulatorError> for CommandError {
    fn from(error: EmulatorError) -> Self {
        let status = match error {
            EmulatorError::UnknownClient => StatusCode::NOT_FOUND,
            EmulatorError::Crypto(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}
