//! What may be shown of text that a server sent.

/// Shortest part of a secret that is recognized. Shorter parts occur in too many
/// words, and reveal little.
const MIN_PART: usize = 8;

/// A word that a server sent, if it may be shown: short, and made of the letters
/// that identifiers have. Anything else could be an echo of what was sent.
pub(crate) fn showable(word: &str, max_len: usize) -> Option<String> {
    let plain = !word.is_empty()
        && word.len() <= max_len
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain.then(|| word.to_owned())
}

/// Whether a word repeats a part of a secret: servers and gateways quote what
/// they were sent. Call it on short words only.
pub(crate) fn repeats(word: &str, secret: &str) -> bool {
    let mut parts = secret.as_bytes().windows(MIN_PART);
    parts.any(|part| word.as_bytes().windows(MIN_PART).any(|other| other == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_only_plain_words_are_shown() {
        assert_eq!(
            showable("invalid_client", 64).as_deref(),
            Some("invalid_client")
        );
        for word in [
            "",
            "two words",
            "a\nb",
            "<b>",
            "Basic aWQ6c2VjcmV0==",
            &"x".repeat(65),
        ] {
            assert_eq!(showable(word, 64), None, "{word:?} is shown");
        }
    }
}
