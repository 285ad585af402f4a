//! Readers of the access token without a copy.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::cache::{Borrowed, Reader};
use crate::engine::{Engine, keep_warm};
use crate::token::{AccessToken, BusinessToken};

/// Access token, read in place. See [`Client::borrow_token`](crate::Client::borrow_token).
pub struct TokenRef(Borrowed<AccessToken>);

impl TokenRef {
    #[inline]
    pub(super) fn new(borrowed: Borrowed<AccessToken>) -> Self {
        Self(borrowed)
    }
}

impl Deref for TokenRef {
    type Target = AccessToken;

    #[inline]
    fn deref(&self) -> &AccessToken {
        self.0.value()
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Business token, read in place. See
/// [`Client::borrow_business_token`](crate::Client::borrow_business_token).
pub struct BusinessTokenRef(Borrowed<BusinessToken>);

impl BusinessTokenRef {
    #[inline]
    pub(super) fn new(borrowed: Borrowed<BusinessToken>) -> Self {
        Self(borrowed)
    }
}

impl Deref for BusinessTokenRef {
    type Target = BusinessToken;

    #[inline]
    fn deref(&self) -> &BusinessToken {
        self.0.value()
    }
}

impl fmt::Debug for BusinessTokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Reader for one thread or task. See [`Client::reader`](crate::Client::reader).
pub struct TokenReader {
    reader: Reader<AccessToken>,
    engine: Arc<Engine>,
}

impl TokenReader {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self {
            reader: Reader::new(Arc::clone(&engine.access)),
            engine,
        }
    }

    /// As [`Client::borrow_token`](crate::Client::borrow_token).
    #[inline]
    pub fn borrow_token(&mut self) -> Option<&AccessToken> {
        let engine = &self.engine;
        let hit = self.reader.hit(&engine.cx, || engine.access_source());
        if hit.is_none() {
            keep_warm::ensure(engine);
        }
        hit
    }
}

impl fmt::Debug for TokenReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReader").finish_non_exhaustive()
    }
}
