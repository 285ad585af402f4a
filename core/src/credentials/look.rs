//! What a wrong secret or id looks like, for the remedy after the server has
//! refused it. The texts never contain the value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// Characters that a terminal does not show, and that are not blanks.
const INVISIBLE: [char; 5] = ['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}'];

/// Pairs of quotes, as programs and word processors write them.
const QUOTES: [(char, char); 5] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('\u{201c}', '\u{201d}'),
    ('\u{2018}', '\u{2019}'),
];

/// Why a secret cannot be the one that Layer issued, and what to do. `None` if
/// nothing is unusual.
pub(super) fn secret(secret: &str, client_id: &str) -> Option<&'static str> {
    if secret == client_id {
        return Some("is the same as the client id: set the secret instead");
    }
    let rest = secret.strip_prefix(client_id).unwrap_or_default();
    if rest.starts_with(':') {
        return Some("starts with the client id and a colon: remove both");
    }
    if let Some(look) = any(secret) {
        return Some(look);
    }
    let starts_with = |starts: &[&str]| starts.iter().any(|start| secret.starts_with(start));
    if starts_with(&["Basic ", "basic ", "Bearer ", "bearer "]) {
        return Some("is an Authorization header: set the secret alone");
    }
    if starts_with(&["~/", "./", "../", "file:"]) || is_absolute_path(secret) {
        return Some(
            "looks like the path of a file: {client_secret_file} reads the secret from one",
        );
    }
    if secret.starts_with("arn:") || is_reference(secret) {
        return Some("looks like a reference to a secret store: set the secret that it names");
    }
    is_base64_of_text(secret).then_some("looks like Base64 of another text: decode it first")
}

/// The same, for what any value can look like.
pub(super) fn any(text: &str) -> Option<&'static str> {
    let at_an_end = |is: &dyn Fn(char) -> bool| text.starts_with(is) || text.ends_with(is);
    let is_enclosed = |(start, end): (char, char)| {
        text.chars().count() > 1 && text.starts_with(start) && text.ends_with(end)
    };
    let within = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    if at_an_end(&|c| INVISIBLE.contains(&c)) {
        Some("starts or ends with an invisible character, such as a byte order mark: remove it")
    } else if at_an_end(&char::is_whitespace) {
        Some("starts or ends with a blank: remove it")
    } else if QUOTES.into_iter().any(is_enclosed) {
        Some("is in quotes: remove them")
    } else if text.ends_with("\\n") || text.ends_with("\\r") {
        Some("ends with an escaped line end (a backslash and a letter): remove it")
    } else if within("${", "}") || within("$(", ")") || within("{{", "}}") || within("<", ">") {
        Some("looks like a placeholder that was not replaced by its value")
    } else if within("{", "}") || within("[", "]") {
        Some("looks like JSON: set only the value")
    } else if is_assignment(text) {
        Some("looks like a line NAME=value: set only the value")
    } else {
        None
    }
}

/// Whether a text is `NAME=value` or `name: value`. Base64 ends with `=`, which is
/// no value.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let split = text.split_once('=').or_else(|| text.split_once(": "));
    split.is_some_and(|(name, value)| {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let is_value = !value.trim_start_matches('=').trim().is_empty();
        name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && name.bytes().all(is_name)
            && is_value
    })
}

/// Whether a text is an absolute path with at least two names. Base64 may start
/// with `/`, but has no dots, and seldom two slashes and no `+` or `=`.
fn is_absolute_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && matches!(bytes.get(1..3), Some(b":\\" | b":/"));
    let is_unix =
        text.starts_with('/') && text.matches('/').count() >= 2 && !text.contains(['+', '=', ' ']);
    has_drive || is_unix
}

/// Whether a text is the address of a secret, such as `op://vault/item`.
fn is_reference(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Whether a text decodes to other text. A random secret decodes to bytes that are
/// not text.
fn is_base64_of_text(text: &str) -> bool {
    const SHORTEST: usize = 16;
    if text.len() < SHORTEST {
        return false;
    }
    let decoded = BASE64.decode(text).map(Zeroizing::new);
    let is_text = |b: u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\r');
    decoded.is_ok_and(|bytes| bytes.iter().all(|b| is_text(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_wrong_secret_is_described_without_being_shown() {
        for (text, expected) in [
            ("1example23456789", None),
            ("a/b+c/d==", None),
            ("/9j4AAQSkZJRg+a/b==", None),
            ("Xk3v9Qp2Lm8Zt5Rw7Yb1Nc4Hd6Gf0Js2Ka9Ue3Vi8Ox5Tq1Mz7", None),
            ("c2VjcmV0LW9m", None),
            ("se cret", None),
            ("a=", None),
            ("a:b", None),
            ("\u{feff}canary", Some("invisible")),
            ("canary\u{200b}", Some("invisible")),
            (" canary", Some("blank")),
            ("canary\u{a0}", Some("blank")),
            ("\"canary\"", Some("quotes")),
            ("'canary'", Some("quotes")),
            ("\u{201c}canary\u{201d}", Some("quotes")),
            ("canary\\n", Some("backslash")),
            ("${CANARY}", Some("placeholder")),
            ("$(canary)", Some("placeholder")),
            ("{{ canary }}", Some("placeholder")),
            ("<canary>", Some("placeholder")),
            (r#"{"secret":"canary"}"#, Some("JSON")),
            ("LAYER_CLIENT_SECRET=canary", Some("NAME=value")),
            ("export SECRET=canary", Some("NAME=value")),
            ("client_secret: canary", Some("NAME=value")),
            ("Basic canary", Some("Authorization")),
            ("/run/secrets/canary", Some("path")),
            ("~/canary", Some("path")),
            ("C:\\canary", Some("path")),
            ("file:///canary", Some("path")),
            ("op://canary/item/field", Some("store")),
            ("arn:aws:secretsmanager:canary", Some("store")),
            ("canary-id", Some("same as the client id")),
            ("canary-id:secret", Some("colon")),
            ("bXktc2VjcmV0LWNhbmFyeQo=", Some("Base64")),
        ] {
            let look = secret(text, "canary-id");
            match expected {
                None => assert_eq!(look, None, "{text:?}"),
                Some(word) => {
                    assert!(
                        look.is_some_and(|look| look.contains(word)),
                        "{text:?}: {look:?}"
                    );
                }
            }
            assert!(!look.unwrap_or_default().contains("canary"), "{text:?}");
        }
        for text in ["", "\"", "=", "{", "\\", ":", "://", "/", "$"] {
            let _ = secret(text, "id");
            let _ = secret("x", text);
        }
    }
}
