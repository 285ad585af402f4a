//! Replaces setting names in the engine's error texts with the command's flags.
//!
//! The engine says `client_id`; a user of the command can only set
//! `--client-id`.

use layerfi_auth::Error;

/// Setting names that are not also English words, and what replaces them.
const FLAGS: [(&str, &str); 14] = [
    ("client_id", "--client-id"),
    ("client_secret", "--client-secret-file"),
    ("client_secret_file", "--client-secret-file"),
    ("api_url", "--api-url"),
    ("auth_url", "--auth-url"),
    ("ca_file", "--ca-file"),
    ("no_proxy", "--no-proxy"),
    ("shared_cache", "--shared-cache"),
    ("shared_cache_prefix", "--shared-cache-prefix"),
    ("allow_http_loopback", "--allow-http-loopback"),
    ("basic_encoding", "--basic-encoding"),
    ("allow_opaque_business_ids", "--allow-opaque-business-ids"),
    ("session_duration", "--session-duration"),
    ("business_id", "business id"),
];

/// Setting names that are also English words. They are replaced only where a text
/// marks them as settings.
const WORDS: [(&str, &str); 5] = [
    ("environment", "--environment"),
    ("scope", "--scope"),
    ("proxy", "--proxy"),
    ("timeout", "--timeout"),
    ("trust", "--trust"),
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

/// The remedy of an error, with names that a user of the command can set: the
/// flag that was given, the variable that is set, or the choice between them.
pub(crate) fn remedy(error: &Error) -> String {
    // `LAYER_ALLOW_HTTP_LOOPBACK=1` names a value to set, so it is not the name of
    // a variable that is set.
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let text = error.remedy_naming(|setting, variable| name(setting, variable, is_set));
    // A remedy that marks no setting names the one that is wrong.
    let marks_none = text == error.remedy();
    in_remedy(&text, error.field().filter(|_| marks_none))
}

/// Rewrites a remedy that marks no settings.
pub(crate) fn in_remedy(text: &str, field: Option<&str>) -> String {
    let text = replace_settings(text);
    let word = WORDS.iter().find(|(name, _)| Some(*name) == field);
    match word {
        Some((name, flag)) => replace_first(&text, name, flag),
        None => text,
    }
}

/// Name of a setting. `variable` is the one from which its value comes or would
/// come; without one, a flag was given.
fn name(setting: &str, variable: Option<&str>, is_set: impl Fn(&str) -> bool) -> String {
    let flag = match setting {
        // No flag takes the secret itself.
        "client_secret" => None,
        _ => FLAGS
            .iter()
            .chain(&WORDS)
            .find(|(name, _)| *name == setting)
            .map(|(_, flag)| *flag),
    };
    match (variable, flag) {
        (Some(variable), _) if is_set(variable) => variable.to_owned(),
        (Some(variable), Some(flag)) => format!("{flag} or {variable}"),
        (Some(variable), None) => variable.to_owned(),
        (None, Some(flag)) => flag.to_owned(),
        (None, None) if setting == "client_secret" => "the client secret".to_owned(),
        (None, None) => setting.to_owned(),
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
        }
    }

    #[test]
    fn a_remedy_names_what_the_user_can_set() {
        for (setting, variable, is_set, expected) in [
            (
                "client_id",
                Some("LAYER_CLIENT_ID"),
                true,
                "LAYER_CLIENT_ID",
            ),
            (
                "client_id",
                Some("LAYER_CLIENT_ID"),
                false,
                "--client-id or LAYER_CLIENT_ID",
            ),
            ("client_id", None, false, "--client-id"),
            ("environment", None, false, "--environment"),
            ("timeout", None, false, "--timeout"),
            ("shared_cache", None, false, "--shared-cache"),
            (
                "shared_cache_key",
                Some("LAYER_SHARED_CACHE_KEY"),
                false,
                "LAYER_SHARED_CACHE_KEY",
            ),
            (
                "client_secret",
                Some("LAYER_CLIENT_SECRET"),
                false,
                "LAYER_CLIENT_SECRET",
            ),
            ("client_secret", None, false, "the client secret"),
            (
                "allow_http_loopback",
                Some("LAYER_ALLOW_HTTP_LOOPBACK=1"),
                false,
                "--allow-http-loopback or LAYER_ALLOW_HTTP_LOOPBACK=1",
            ),
        ] {
            assert_eq!(name(setting, variable, |_| is_set), expected, "{setting}");
        }
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
