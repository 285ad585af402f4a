//! Secret strings, which are never shown, and wiped from memory when the last clone
//! is dropped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroize as _;

/// Secret string: a client secret or a token.
///
/// `Debug` and `Display` show `[redacted]`. Clones share one buffer, which is
/// overwritten with zeros when the last of them is dropped. The duration of a
/// comparison depends only on the length.
#[derive(Clone)]
pub struct Secret {
    text: Arc<Text>,
    /// Range of the text that this view shows, at character boundaries.
    part: Range<usize>,
}

/// Text that is printed in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

impl Secret {
    /// Wraps `text` without copying it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            part: 0..text.len(),
            text: Arc::new(Text(text)),
        }
    }

    /// Several texts as one, in a buffer of its own.
    pub(crate) fn concat(texts: &[&str]) -> Self {
        Self::new(texts.concat())
    }

    /// The secret itself. The caller must keep it out of logs and error messages.
    #[must_use]
    pub fn expose(&self) -> &str {
        // The range is at character boundaries, so `get` never fails.
        self.text.0.get(self.part.clone()).unwrap_or_default()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// View of a part of it, which shares the buffer.
    pub(crate) fn slice(&self, part: Range<usize>) -> Self {
        let within = |at: usize| self.part.end.min(self.part.start.saturating_add(at));
        Self {
            text: Arc::clone(&self.text),
            part: within(part.start)..within(part.end),
        }
    }

    /// Compares in constant time for a given length.
    pub(crate) fn equals(&self, other: &[u8]) -> bool {
        let own = self.as_ref();
        // Reads all bytes, so that the duration reveals only the length.
        own.len() == other.len()
            && own
                .iter()
                .zip(other)
                .fold(0u8, |difference, (a, b)| difference | (a ^ b))
                == 0
    }

    /// The same bytes, for a header that shares the buffer.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        // The range is within the text, so `get` never fails.
        let text = self.text.0.as_bytes();
        text.get(self.part.clone()).unwrap_or_default()
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
        self.equals(other.as_ref())
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

/// Text that is wiped when dropped.
struct Text(String);

impl Drop for Text {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

/// Overwrites a vector with zeros, its spare capacity included. As slices:
/// [`Zeroizing`](zeroize::Zeroizing) overwrites a vector byte by byte.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.as_mut_slice().zeroize();
    bytes.spare_capacity_mut().zeroize();
}

/// Buffer for a text that contains secrets. It is wiped when dropped and when it
/// grows; `String` would free its old buffer unwiped.
#[derive(Default)]
pub(crate) struct SecretBuffer(Vec<u8>);

impl SecretBuffer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut grown = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            grown.extend_from_slice(&self.0);
            wipe(&mut self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(text);
    }

    /// A value as JSON. Writing to memory fails only if a value cannot be serialized.
    pub(crate) fn json(value: &impl serde::Serialize) -> Secret {
        let mut text = Self::with_capacity(2 * 1024);
        let written = serde_json::to_writer(&mut text, value);
        debug_assert!(written.is_ok(), "a value is not serializable as JSON");
        text.into_secret().unwrap_or_else(|| Secret::new(""))
    }

    /// Value of a Basic header (RFC 7617) for `user:password`, marked as sensitive.
    pub(crate) fn basic_header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        const SCHEME: &[u8] = b"Basic ";
        let mut text = Self(vec![0; SCHEME.len() + self.0.len().div_ceil(3) * 4]);
        let (scheme, encoded) = text.0.split_at_mut(SCHEME.len());
        scheme.copy_from_slice(SCHEME);
        // Not `encode_string`, which leaves a copy on the stack.
        let written = BASE64.encode_slice(&self.0, encoded);
        debug_assert!(written.is_ok_and(|length| length == encoded.len()));
        let text = text.into_secret().unwrap_or_else(|| Secret::new(""));
        let mut value = HeaderValue::from_maybe_shared(text.bytes())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text as a secret, if it is UTF-8.
    pub(crate) fn into_secret(mut self) -> Option<Secret> {
        let text = String::from_utf8(std::mem::take(&mut self.0));
        // Bytes that are not UTF-8 are wiped as well.
        text.map_err(|error| drop(Self(error.into_bytes())))
            .ok()
            .map(Secret::new)
    }
}

impl Deref for SecretBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SecretBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for SecretBuffer {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl std::io::Write for SecretBuffer {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_debug_and_display_show_redacted() {
        let secret = Secret::new("canary-secret");
        assert_eq!(
            format!("{secret:?} {secret} {secret:#?}"),
            "[redacted] [redacted] [redacted]"
        );
    }

    #[test]
    fn secrets_with_equal_text_are_equal() {
        assert!(Secret::new("a") == Secret::new("a"));
        assert!(Secret::new("a") != Secret::new("b"));
        assert!(Secret::new("a") != Secret::new("ab"));
    }

    #[test]
    fn slice_shares_the_buffer() {
        let whole = Secret::new("Bearer abc.");
        let token = whole.slice(7..10);
        assert_eq!(token.expose(), "abc");
        assert_eq!(whole.slice(99..100).expose(), "");
        let at = |secret: &Secret| secret.expose().as_ptr() as usize;
        assert_eq!(at(&token), at(&whole) + 7);
    }

    #[test]
    fn buffer_grows_and_keeps_its_text() {
        let mut buffer = SecretBuffer::with_capacity(2);
        buffer.push(b"abc");
        buffer.push(b"defgh");
        assert_eq!(buffer.len(), 8);
        assert_eq!(buffer.into_secret().unwrap().expose(), "abcdefgh");
    }
}
