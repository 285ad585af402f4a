//! Id of a business, validated before it becomes part of a URL.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Id of a business: a UUID, or an opaque id if the client allows them. A UUID is parsed
/// and cloned without memory from the allocator.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BusinessId(Text);

/// Length of a UUID with its hyphens.
const UUID_LEN: usize = 36;

/// The text of an id, which is ASCII. All texts of one length are the same variant.
#[derive(Clone, PartialEq, Eq)]
enum Text {
    /// With the length of a UUID.
    Inline([u8; UUID_LEN]),
    Shared(Arc<str>),
}

impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            // By words: hashers have a slow way for texts of any length.
            Self::Inline(text) => {
                let (words, rest) = text.as_chunks::<16>();
                for word in words {
                    state.write_u128(u128::from_ne_bytes(*word));
                }
                for word in rest.as_chunks::<4>().0 {
                    state.write_u32(u32::from_ne_bytes(*word));
                }
            }
            Self::Shared(text) => text.hash(state),
        }
    }
}

impl BusinessId {
    /// Parses a UUID with hyphens, in upper or lower case.
    #[inline]
    pub(crate) fn parse_uuid(id: &str) -> Option<Self> {
        const SHAPE: &[u8; UUID_LEN] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        let mut text: [u8; UUID_LEN] = id.as_bytes().try_into().ok()?;
        text.make_ascii_lowercase();
        // A loop without an exit is vectorized.
        let is_uuid = text.iter().zip(SHAPE).fold(true, |is_uuid, (b, shape)| {
            let is_hex = (b.wrapping_sub(b'0') < 10) | (b.wrapping_sub(b'a') < 6);
            let is_hyphen = *b == b'-';
            is_uuid & if *shape == b'-' { is_hyphen } else { is_hex }
        });
        is_uuid.then_some(Self(Text::Inline(text)))
    }

    /// Accepts an id that is not a UUID. Layer documents only UUIDs; other ids
    /// are for systems that replace Layer, such as a mock server.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is
    /// empty, longer than 128 bytes, consists only of dots, or contains characters other
    /// than ASCII letters, digits and `-_.~:@+=,`.
    pub fn opaque(id: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~:@+=,".contains(&b);
        // URL libraries resolve `.` and `..` segments.
        let dots = id.bytes().all(|b| b == b'.');
        if id.is_empty() || id.len() > 128 || dots || !id.bytes().all(plain) {
            return Err(Error::invalid_argument(
                "business_id",
                format!("{} is not a valid opaque id", shown(id)),
                "give 1 to 128 of the ASCII letters, digits and -_.~:@+=, but not only dots",
            ));
        }
        Ok(Self(match id.as_bytes().try_into() {
            Ok(text) => Text::Inline(text),
            Err(_) => Text::Shared(id.into()),
        }))
    }

    /// The id. A UUID is in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Always ASCII.
            Text::Inline(text) => std::str::from_utf8(text).unwrap_or_default(),
            Text::Shared(text) => text,
        }
    }

    /// The id as one segment of a URL's path.
    pub(crate) fn path_segment(&self) -> Cow<'_, str> {
        percent_encode(self.as_str())
    }
}

/// Longest id that a message shows. A longer one may be a token.
const MAX_SHOWN: usize = 40;

/// An invalid id in a message: itself if it is short and plain, or its length.
fn shown(id: &str) -> String {
    let is_plain = id.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
    match id.len() {
        0..=MAX_SHOWN if is_plain => format!("business_id \"{id}\""),
        length => format!("business_id of {length} bytes"),
    }
}

/// Percent-encodes all characters except the unreserved ones of RFC 3986.
fn percent_encode(text: &str) -> Cow<'_, str> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if text.bytes().all(unreserved) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 3);
    for b in text.bytes() {
        if unreserved(b) {
            encoded.push(char::from(b));
        } else {
            encoded.push_str(&format!("%{b:02X}"));
        }
    }
    Cow::Owned(encoded)
}

impl FromStr for BusinessId {
    type Err = Error;

    /// Parses a UUID with hyphens, in upper or lower case.
    #[inline]
    fn from_str(id: &str) -> Result<Self> {
        Self::parse_uuid(id).ok_or_else(|| not_a_uuid(id))
    }
}

#[cold]
fn not_a_uuid(id: &str) -> Error {
    Error::invalid_argument(
        "business_id",
        format!("{} is not a UUID", shown(id)),
        "give the id as Layer shows it, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6; for a \
         system whose ids are not UUIDs, set {allow_opaque_business_ids}",
    )
}

/// By their texts.
impl Ord for BusinessId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for BusinessId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b18_business_id_must_be_a_uuid() {
        let good = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
        assert_eq!(good.parse::<BusinessId>().unwrap().as_str(), good);
        assert_eq!(
            good.to_uppercase().parse::<BusinessId>().unwrap().as_str(),
            good
        );
        for bad in [
            "",
            ".",
            "..",
            "%2e%2e",
            "3fa85f64",
            "3fa85f6457174562b3fc2c963f66afa6",
            "{3fa85f64-5717-4562-b3fc-2c963f66afa6}",
            "3fa85f64-5717-4562-b3fc-2c963f66afa6/",
            "3fa85f64-5717-4562-b3fc-2c963f66afa\n",
            "3fa85f64-5717-4562-b3fc-2c963f66afg6",
            "3fa85f64/5717-4562-b3fc-2c963f66afa6",
            "../../../../../../../../../../whoami",
            "３fa85f64-5717-4562-b3fc-2c963f66a",
        ] {
            let error = bad.parse::<BusinessId>().unwrap_err();
            assert_eq!(error.field(), Some("business_id"), "{bad:?}");
        }
    }

    #[test]
    fn b18_ids_with_equal_text_are_equal() {
        let uuid = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
        let parsed: BusinessId = uuid.to_uppercase().parse().unwrap();
        let opaque = BusinessId::opaque(uuid).unwrap();
        assert_eq!(parsed, opaque);
        let set = std::collections::HashSet::from([parsed.clone()]);
        assert!(set.contains(&opaque), "equal ids have different hashes");
        let upper = BusinessId::opaque(&uuid.to_uppercase()).unwrap();
        assert_ne!(upper, parsed, "an opaque id keeps its letters");
        let ids = ["biz_1", uuid, "4", "3", "biz_2"];
        let mut sorted = ids.map(|id| BusinessId::opaque(id).unwrap());
        sorted.sort();
        let mut texts = ids;
        texts.sort_unstable();
        assert_eq!(sorted.each_ref().map(BusinessId::as_str), texts);
        for at in 0..uuid.len() {
            let mut other = uuid.to_owned();
            other.replace_range(at..=at, if at % 2 == 0 { "_" } else { "=" });
            let other = BusinessId::opaque(&other).unwrap();
            assert_ne!(other, parsed, "ids that differ at {at} are equal");
            assert!(other.as_str().parse::<BusinessId>().is_err(), "{other}");
        }
    }

    #[test]
    fn b18_opaque_id_is_checked_and_percent_encoded() {
        assert_eq!(BusinessId::opaque("biz_1").unwrap().path_segment(), "biz_1");
        assert_eq!(
            BusinessId::opaque("a:b+c").unwrap().path_segment(),
            "a%3Ab%2Bc"
        );
        for bad in [
            "", ".", "..", "...", "a/b", "a\\b", "a?b", "a#b", "a%2fb", "a b", "ä", "a\0",
        ] {
            assert!(BusinessId::opaque(bad).is_err(), "{bad:?} is accepted");
        }
    }
}
