//! Random identifiers and salts, and the check of a business id.

use ring::rand::{SecureRandom, SystemRandom};
use uuid::{Builder, Uuid};

/// Random bytes from the operating system.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    // This fails only without any system randomness. In that case making the
    // signing key, from the same source, has already failed at start.
    let _ = SystemRandom::new().fill(&mut buffer);
    buffer
}

pub(crate) fn random_uuid() -> Uuid {
    Builder::from_random_bytes(random_bytes()).into_uuid()
}

/// Parses a UUID in the hyphenated form. Layer does not use the other forms
/// that the `uuid` crate accepts (braces, URN, no hyphens).
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_in_another_form_than_hyphenated_is_refused() {
        let id = random_uuid();
        assert_eq!(
            parse_uuid(&id.to_string()),
            Some(id),
            "the hyphenated form must parse"
        );
        for bad in [
            "",
            "..",
            "{018f1657-dc66-7482-917b-c0c0e532f5}",
            "018f1657dc667482917bc0c0e532f52b",
            &id.simple().to_string(),
            &id.urn().to_string(),
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad:?} must not parse");
        }
    }
}
