//! Identifiers and salts from the system's generator.

use ring::rand::{SecureRandom, SystemRandom};
use uuid::{Builder, Uuid};

pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    // Fails only where the kernel has no randomness at all; the keys, made from
    // the same source at start, would have failed first.
    let _ = SystemRandom::new().fill(&mut buffer);
    buffer
}

pub(crate) fn uuid() -> Uuid {
    Builder::from_random_bytes(bytes()).into_uuid()
}

/// A UUID in its canonical, hyphenated form; the other spellings that the
/// `uuid` crate reads (braces, URN, no hyphens) are not ids of Layer's.
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
    fn only_the_hyphenated_form_is_an_id() {
        let id = uuid();
        assert_eq!(parse_uuid(&id.to_string()), Some(id));
        for bad in [
            "",
            "..",
            "{018f1657-dc66-7482-917b-c0c0e532f5}",
            "018f1657dc667482917bc0c0e532f52b",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
        assert_eq!(parse_uuid(&id.simple().to_string()), None);
        assert_eq!(parse_uuid(&id.urn().to_string()), None);
    }
}
