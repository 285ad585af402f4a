//! Key of a cached business token.

use std::hash::{Hash, Hasher};

use crate::business_id::BusinessId;
use crate::session_duration::SessionDuration;

/// Key of a cached business token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) business: BusinessId,
    pub(crate) session_duration: SessionDuration,
}

/// Borrowed key, so that a lookup does not change a shared reference count.
pub(crate) struct KeyRef<'a> {
    pub(crate) business: &'a BusinessId,
    pub(crate) session_duration: SessionDuration,
}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The same as `Key` derives.
        self.business.hash(state);
        self.session_duration.hash(state);
    }
}

impl hashbrown::Equivalent<Key> for KeyRef<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        *self.business == key.business && self.session_duration == key.session_duration
    }
}
