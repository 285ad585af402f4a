//! Strings that must never be shown and are wiped when the last copy goes.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use zeroize::{Zeroize, Zeroizing};

/// A secret string: a client secret, or a token.
///
/// `Debug` and `Display` show `[redacted]`. Clones share one buffer, which is
/// overwritten with zeros when the last of them is dropped. Comparison takes
/// the same time wherever the difference is.
#[derive(Clone)]
pub struct Secret(Bytes);

/// What stands in place of a secret wherever one would be printed.
pub(crate) const REDACTED: &str = "[redacted]";

impl Secret {
    /// Takes over `text`; no other copy of it is made.
    pub fn new(text: impl Into<String>) -> Self {
        Self::from_bytes(Zeroizing::new(text.into().into_bytes()))
    }

    fn from_bytes(text: Zeroizing<Vec<u8>>) -> Self {
        // The vector becomes the owner of the shared buffer, so its
        // `Zeroizing` runs exactly when the last view on it is gone.
        Self(Bytes::from_owner(text))
    }

    /// The secret itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        // Built from `String`s only and cut at character borders, so this
        // never fails; an empty string is the harmless way to say so.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret's bytes, with no look at whether they are text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A view on a part of it, sharing the buffer.
    pub(crate) fn slice(&self, part: Range<usize>) -> Self {
        let end = part.end.min(self.0.len());
        Self(self.0.slice(part.start.min(end)..end))
    }

    /// The buffer itself, for a header that shares it.
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
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
        // Folded over all bytes, so that the time tells only the length.
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(other.0.iter())
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
    pub(crate) fn into_secret(self) -> Option<Secret> {
        std::str::from_utf8(&self.0).ok()?;
        Some(Secret::from_bytes(self.0))
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
        assert_eq!(token.0.as_ptr() as usize, whole.0.as_ptr() as usize + 7);
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
