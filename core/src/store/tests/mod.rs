//! Tests against real servers of Redis and Valkey, and of fetches through a store in
//! memory.

#[cfg(not(shuttle))]
mod fetch;
#[cfg(all(unix, not(shuttle)))]
mod servers;
#[cfg(all(unix, not(shuttle)))]
mod stress;
#[cfg(all(unix, not(shuttle)))]
mod tls;

use super::seal::Note;
use crate::error::ErrorKind;

/// Failure note with this error.
pub(crate) fn a_note(failures: u8, kind: ErrorKind, status: u16, oauth_error: &str) -> Note {
    let kind = ErrorKind::ALL.iter().position(|other| *other == kind);
    Note {
        failures,
        kind: u8::try_from(kind.unwrap()).unwrap(),
        status,
        oauth_error: oauth_error.to_owned(),
    }
}
