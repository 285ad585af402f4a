//! What identifies a business, checked before a URL is made of it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The id of a business: a UUID, or, where you say so, an opaque id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BusinessId(Arc<str>);

impl BusinessId {
    /// Takes an id that is not a UUID. Layer documents UUIDs only; this is
    /// for systems that stand in for it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) where it is
    /// empty, longer than 128 bytes, all dots, or holds anything but ASCII letters, digits
    /// and `-_.~:@+=,`.
    pub fn opaque(id: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~:@+=,".contains(&b);
        // Dots alone are path segments that URL libraries resolve away.
        let dots = id.bytes().all(|b| b == b'.');
        if id.is_empty() || id.len() > 128 || dots || !id.bytes().all(plain) {
            return Err(refused(
                id,
                "letters, digits and -_.~:@+=, are allowed in an opaque id",
            ));
        }
        Ok(Self(id.into()))
    }

    /// The id as it was given, a UUID in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As one segment of a URL's path.
    pub(crate) fn path_segment(&self) -> Cow<'_, str> {
        percent_encode(&self.0)
    }
}

/// Encodes all but RFC 3986's unreserved characters.
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

fn refused(id: &str, remedy: &'static str) -> Error {
    Error::invalid_argument(
        "business_id",
        format!("business_id of {} bytes is not a UUID", id.len()),
        remedy,
    )
}

impl FromStr for BusinessId {
    type Err = Error;

    /// Takes a UUID with hyphens, in any case.
    fn from_str(id: &str) -> Result<Self> {
        let well_formed = id.len() == 36
            && id.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_hexdigit(),
            });
        if !well_formed {
            return Err(refused(
                id,
                "give the business's id as Layer shows it, such as \
                 3fa85f64-5717-4562-b3fc-2c963f66afa6; other forms must be allowed explicitly \
                 (allow_opaque_business_ids)",
            ));
        }
        Ok(Self(id.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b18_business_ids() {
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
            assert_eq!(error.field(), Some("business_id"), "{bad}");
        }
    }

    #[test]
    fn b18_opaque_ids_are_allowed_explicitly_and_still_encoded() {
        assert_eq!(BusinessId::opaque("biz_1").unwrap().path_segment(), "biz_1");
        assert_eq!(
            BusinessId::opaque("a:b+c").unwrap().path_segment(),
            "a%3Ab%2Bc"
        );
        for bad in [
            "", ".", "..", "...", "a/b", "a\\b", "a?b", "a#b", "a%2fb", "a b", "ä", "a\0",
        ] {
            assert!(BusinessId::opaque(bad).is_err(), "{bad:?}");
        }
    }
}
