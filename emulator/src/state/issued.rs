//! List of the last tokens that were issued, without the tokens themselves.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::Serialize;
use uuid::Uuid;

use crate::lock::lock;
use crate::state::tokens::TokenKind;

/// Limit of listed tokens; above it, the oldest one is dropped.
const MAX_LISTED: usize = 1_000;

/// A token that was issued. It does not contain the token.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct IssuedToken {
    /// Number of the token, counted from 1.
    pub number: u64,
    /// Its kind.
    pub kind: TokenKind,
    /// The client that it was issued to.
    pub client_id: String,
    /// The business of a business token.
    pub business_id: Option<Uuid>,
    /// When it was issued, in milliseconds of the emulator's clock since the Unix
    /// epoch.
    pub issued_at_ms: i64,
    /// When it expires, by the same clock.
    pub expires_at_ms: i64,
    /// Its fingerprint, as in the log.
    pub fingerprint: String,
    /// Whether it is revoked.
    pub revoked: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Issued {
    tokens: Mutex<VecDeque<IssuedToken>>,
}

impl Issued {
    pub(crate) fn add(&self, token: IssuedToken) {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_LISTED {
            tokens.pop_front();
        }
        tokens.push_back(token);
    }

    /// The tokens, oldest first.
    pub(crate) fn list(&self) -> Vec<IssuedToken> {
        lock(&self.tokens).iter().cloned().collect()
    }
}
