//! Names, keys, sealed entries and failure notes of the shared cache. Pure, except for
//! the random nonces.

use std::time::Duration;

use super::{Mark, Names};
use crate::secret::Secret;

/// Key from which all names and keys of one client secret are derived.
#[derive(Clone)]
pub(crate) struct RootKey(ring::hkdf::Prk);

/// What decides which access token a request gets.
pub(crate) struct Principal<'a> {
    pub(crate) auth_url: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) client_id: &'a str,
    /// `raw` or `form`.
    pub(crate) basic_encoding: &'a str,
}

/// What else decides which business token a request gets.
pub(crate) struct BusinessScope<'a> {
    pub(crate) api_url: &'a str,
    pub(crate) business_id: &'a str,
    /// In seconds.
    pub(crate) session_duration: u32,
}

/// Names and keys of one token.
pub(crate) struct SealKeys {
    names: Names,
}

/// An entry that opened.
pub(crate) struct OpenEntry {
    pub(crate) mark: Mark,
    /// The store's time when the publisher got the lease, in milliseconds since 1970.
    pub(crate) born: u64,
    /// The publisher's wall clock then, in milliseconds since 1970.
    pub(crate) wall: u64,
    pub(crate) lifetime: Duration,
    pub(crate) token: Secret,
}

/// Content of a failure note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Failed requests in a row, of the whole fleet.
    pub(crate) failures: u8,
    /// Number of the error's kind, by `ErrorKind::ALL`.
    pub(crate) kind: u8,
    /// HTTP status; 0 without one.
    pub(crate) status: u16,
    /// OAuth error code; empty without one.
    pub(crate) oauth_error: String,
}

/// Why an entry or note was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Of another version or kind, or too long.
    Foreign,
    /// Altered, cut, moved, or sealed under another key.
    Damaged,
}

impl RootKey {
    pub(crate) fn new(secret: &Secret, shared_key: Option<&Secret>) -> Self {
        let _ = (secret, shared_key);
        unimplemented!()
    }

    pub(crate) fn access_token(&self, prefix: &str, principal: &Principal<'_>) -> SealKeys {
        let _ = (&self.0, prefix, principal);
        unimplemented!()
    }

    pub(crate) fn business_token(
        &self,
        prefix: &str,
        principal: &Principal<'_>,
        business: &BusinessScope<'_>,
    ) -> SealKeys {
        let _ = (&self.0, prefix, principal, business);
        unimplemented!()
    }
}

impl SealKeys {
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn mark(&self, token: &str) -> Mark {
        let _ = token;
        unimplemented!()
    }

    /// Seals a token. `None` only if the system has no random numbers.
    pub(crate) fn seal_entry(
        &self,
        born: u64,
        wall: u64,
        lifetime: Duration,
        token: &str,
    ) -> Option<Vec<u8>> {
        let _ = (born, wall, lifetime, token);
        unimplemented!()
    }

    pub(crate) fn open_entry(&self, entry: &[u8]) -> Result<OpenEntry, Rejected> {
        let _ = entry;
        unimplemented!()
    }

    /// Seals a failure note that forbids requests until this time of the store.
    pub(crate) fn seal_note(&self, until: u64, note: &Note) -> Option<Vec<u8>> {
        let _ = (until, note);
        unimplemented!()
    }

    /// The note, and until when it forbids requests.
    pub(crate) fn open_note(&self, note: &[u8]) -> Result<(u64, Note), Rejected> {
        let _ = note;
        unimplemented!()
    }
}
