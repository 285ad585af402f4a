//! Decides which text from a server may be shown.

/// Length of the shortest part of a secret that is recognized. Shorter parts
/// occur in too many words, and reveal little.
const MIN_PART: usize = 8;

/// Returns a word that a server sent if it may be shown: it is short and
/// contains only characters of identifiers. Other text could repeat a secret
/// from the request.
pub(crate) fn showable(word: &str, max_len: usize) -> Option<String> {
    let plain = !word.is_empty()
        && word.len() <= max_len
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain.then(|| word.to_owned())
}

/// Whether a word contains a part of a secret, because servers and gateways may
/// quote the request. Call it only on short words.
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
