//! Strings that must never be shown and are wiped when the last copy goes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::{Zeroize, Zeroizing};

/// A secret string: a client secret, or a token.
///
/// `Debug` and `Display` show `[redacted]`. Clones share one buffer, which is
/// overwritten with zeros when the last of them is dropped. Comparison takes
/// the same time wherever the difference is.
#[derive(Clone)]
pub struct Secret {
    text: Arc<Zeroizing<String>>,
    /// The part that this view shows, at character borders.
    part: Range<usize>,
}

/// What stands in place of a secret wherever one would be printed.
pub(crate) const REDACTED: &str = "[redacted]";

impl Secret {
    /// Takes over `text`; no other copy of it is made.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            part: 0..text.len(),
            text: Arc::new(Zeroizing::new(text)),
        }
    }

    /// The secret itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        // The part was cut at character borders, so this never fails; an empty
        // string is the harmless way to say so.
        self.text.get(self.part.clone()).unwrap_or_default()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// A view on a part of it, sharing the buffer.
    pub(crate) fn slice(&self, part: Range<usize>) -> Self {
        let within = |at: usize| self.part.end.min(self.part.start.saturating_add(at));
        Self {
            text: Arc::clone(&self.text),
            part: within(part.start)..within(part.end),
        }
    }

    /// The same bytes, for a header that shares the buffer.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.expose().as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.as_ref(), other.as_ref());
        // Folded over all bytes, so that the time tells only the length.
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .fold(0u8, |difference, (a, b)| difference | (a ^ b))
                == 0
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// A text that is being put together from secrets: wiped when dropped, and
/// wiped on growth too, where `String` would leave its old buffer behind.
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut grown = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            grown.extend_from_slice(&self.0);
            self.0.zeroize();
            *self.0 = grown;
        }
        self.0.extend_from_slice(text);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// The finished text, if it is UTF-8.
    pub(crate) fn into_secret(mut self) -> Option<Secret> {
        let text = String::from_utf8(std::mem::take(&mut self.0));
        // What is no text is wiped here as well.
        text.map_err(|error| drop(Zeroizing::new(error.into_bytes())))
            .ok()
            .map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_nothing_shows_a_secret() {
        let secret = Secret::new("canary-secret");
        assert_eq!(
            format!("{secret:?} {secret} {secret:#?}"),
            "[redacted] [redacted] [redacted]"
        );
    }

    #[test]
    fn equality_is_by_content() {
        assert!(Secret::new("a") == Secret::new("a"));
        assert!(Secret::new("a") != Secret::new("b"));
        assert!(Secret::new("a") != Secret::new("ab"));
    }

    #[test]
    fn a_slice_shares_the_buffer() {
        let whole = Secret::new("Bearer abc.");
        let token = whole.slice(7..10);
        assert_eq!(token.expose(), "abc");
        assert_eq!(whole.slice(99..100).expose(), "");
        let at = |secret: &Secret| secret.expose().as_ptr() as usize;
        assert_eq!(at(&token), at(&whole) + 7);
    }

    #[test]
    fn a_buffer_grows_and_keeps_its_text() {
        let mut buffer = SecretBuffer::with_capacity(2);
        buffer.push(b"abc");
        buffer.push(b"defgh");
        assert_eq!(buffer.len(), 8);
        assert_eq!(buffer.into_secret().unwrap().expose(), "abcdefgh");
    }
}
