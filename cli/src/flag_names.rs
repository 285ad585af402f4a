//! Replaces setting names in the engine's error texts with the command's flags.
//!
//! The engine says `client_id`; a user of the command can only set
//! `--client-id`.

/// Setting names that are not also English words, and what replaces them.
const FLAGS: [(&str, &str); 12] = [
    ("client_id", "--client-id"),
    ("client_secret", "--client-secret-file"),
    ("client_secret_file", "--client-secret-file"),
    ("api_url", "--api-url"),
    ("auth_url", "--auth-url"),
    ("ca_file", "--ca-file"),
    ("no_proxy", "--no-proxy"),
    ("allow_http_loopback", "--allow-http-loopback"),
    ("basic_encoding", "--basic-encoding"),
    ("allow_opaque_business_ids", "--allow-opaque-business-ids"),
    ("session_duration", "--session-duration"),
    ("business_id", "business id"),
];

/// Setting names that are also English words. They are replaced only in errors
/// whose `field` they are.
const WORDS: [(&str, &str); 4] = [
    ("environment", "--environment"),
    ("scope", "--scope"),
    ("proxy", "--proxy"),
    ("timeout", "--timeout"),
];

/// Rewrites an error's message. `origin` is the flag or variable that holds the
/// wrong value, if it is known; it replaces the name of the setting.
pub(crate) fn in_message(text: &str, field: Option<&str>, origin: Option<&str>) -> String {
    let text = match (field, origin) {
        (Some(field), Some(origin)) => replace_first(text, field, origin),
        _ => text.to_owned(),
    };
    replace_settings(&text)
}

/// Rewrites an error's remedy.
pub(crate) fn in_remedy(text: &str, field: Option<&str>) -> String {
    let text = replace_settings(text);
    let word = WORDS.iter().find(|(name, _)| Some(*name) == field);
    match word {
        Some((name, flag)) => replace_first(&text, name, flag),
        None => text,
    }
}

fn replace_first(text: &str, name: &str, new: &str) -> String {
    let mut replaced = false;
    map_words(text, |word| {
        (word == name && !std::mem::replace(&mut replaced, true)).then_some(new)
    })
}

fn replace_settings(text: &str) -> String {
    map_words(text, |word| {
        FLAGS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, flag)| *flag)
    })
}

/// Replaces words for which `replacement` returns a text. Text in double
/// quotes, such as a path, stays as it is.
fn map_words<'a>(text: &str, mut replacement: impl FnMut(&str) -> Option<&'a str>) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "_-/\\.".contains(c);
    let mut out = String::with_capacity(text.len() + 16);
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            out.push('"');
        }
        if index % 2 == 1 {
            out.push_str(part);
            continue;
        }
        for piece in part.split_inclusive(|c| !is_word(c)) {
            let word = piece.trim_end_matches(|c| !is_word(c) || c == '.');
            match replacement(word) {
                Some(new) => {
                    out.push_str(new);
                    out.push_str(piece.strip_prefix(word).unwrap_or_default());
                }
                None => out.push_str(piece),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_names_become_flags_and_variables_stay() {
        for (text, expected) in [
            (
                "set client_id or LAYER_CLIENT_ID",
                "set --client-id or LAYER_CLIENT_ID",
            ),
            (
                "check client_id and client_secret (LAYER_CLIENT_ID).",
                "check --client-id and --client-secret-file (LAYER_CLIENT_ID).",
            ),
            ("invalid_client (HTTP 400)", "invalid_client (HTTP 400)"),
            (
                "client_secret_file \"/client_id/api_url x\" is missing",
                "--client-secret-file \"/client_id/api_url x\" is missing",
            ),
            ("read api_url.", "read --api-url."),
            ("/etc/client_id is missing", "/etc/client_id is missing"),
            ("", ""),
        ] {
            assert_eq!(in_message(text, None, None), expected);
            assert_eq!(in_remedy(text, None), expected);
        }
    }

    #[test]
    fn english_words_are_replaced_only_where_they_are_the_field() {
        let remedy = "set environment or LAYER_ENVIRONMENT to sandbox; an environment is required";
        assert_eq!(in_remedy(remedy, Some("scope")), remedy);
        assert_eq!(
            in_remedy(remedy, Some("environment")),
            "set --environment or LAYER_ENVIRONMENT to sandbox; an environment is required"
        );
    }

    #[test]
    fn a_message_names_the_flag_or_variable_that_is_wrong() {
        let message = "client_id contains a colon; basic_encoding is raw";
        for origin in ["--client-id", "LAYER_CLIENT_ID"] {
            assert_eq!(
                in_message(message, Some("client_id"), Some(origin)),
                format!("{origin} contains a colon; --basic-encoding is raw")
            );
            assert_eq!(
                in_message("cannot use client_id", Some("client_id"), Some(origin)),
                format!("cannot use {origin}")
            );
        }
        // Another setting's name with the same start is not replaced.
        assert_eq!(
            in_message("scopes are wrong", Some("scope"), Some("LAYER_SCOPE")),
            "scopes are wrong"
        );
    }
}
