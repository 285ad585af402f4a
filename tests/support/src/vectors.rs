//! Placeholders of the shared table, `tests/vectors/*.json`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use layerfi_auth_emulator::Emulator;
use serde_json::Value;

/// Placeholder for the folder with the files of a case.
pub const FILES: &str = "{{files}}";

/// Placeholder for the host and port of the emulator.
pub const HOST: &str = "{{host}}";

/// Host and port of the emulator.
#[must_use]
pub fn host(layer: &Emulator) -> String {
    let url = layer.url();
    url.split_once("://").unwrap().1.to_owned()
}

/// Placeholder for the host and port of the emulator's proxy.
pub const PROXY: &str = "{{proxy}}";

/// Puts the placeholders for the addresses into a text.
#[must_use]
pub fn without_addresses(text: &str, layer: &Emulator) -> String {
    let text = text.replace(&host(layer), HOST);
    match layer.proxy_url() {
        Some(proxy) => text.replace(proxy.trim_start_matches("http://"), PROXY),
        None => text,
    }
}

/// Placeholder for a number that varies, such as a time.
pub const NUMBER: &str = "{{number}}";

/// Placeholder for a date, in the form of HTTP.
pub const DATE: &str = "{{date}}";

/// Puts the addresses of the emulator into the text of a case.
#[must_use]
pub fn with_addresses(text: &str, layer: &Emulator) -> String {
    let proxy = layer.proxy_url().unwrap_or_default();
    text.replace(HOST, &host(layer))
        .replace(PROXY, proxy.trim_start_matches("http://"))
}

static CASES: AtomicU32 = AtomicU32::new(0);

/// Files of one case, in a folder of their own. They are removed when this is dropped.
pub struct Files(PathBuf);

impl Files {
    /// Writes the files of a case's field `files`. A value is the text of a file, or
    /// `{"base64": …}`.
    #[must_use]
    pub fn create(files: Option<&Value>) -> Self {
        let number = CASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("layerfi-case-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let files = files.and_then(Value::as_object);
        for (name, content) in files.into_iter().flatten() {
            std::fs::write(folder.join(name), bytes_of(content).unwrap()).unwrap();
        }
        Self(folder)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Puts the folder into the text of a case.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace(FILES, &self.0.to_string_lossy())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a case, and once more if it failed and took longer than its `within_ms`; five times
/// at the most.
pub fn repeat_if_slow(
    case: &Value,
    mut run: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let within = case["within_ms"].as_u64().map(Duration::from_millis);
    let mut is_slow = || {
        let started = Instant::now();
        let result = run();
        let took = started.elapsed();
        (result, within.is_some_and(|within| took > within))
    };
    for _ in 0..4 {
        match is_slow() {
            (Err(_), true) => {}
            (result, _) => return result,
        }
    }
    is_slow().0
}

/// Bytes of a value in the table: a text, or `{"base64": …}`. `None` for null.
#[must_use]
pub fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_bytes().to_vec()),
        other => Some(BASE64.decode(other["base64"].as_str().unwrap()).unwrap()),
    }
}

/// Environment variable of a setting that has one.
#[must_use]
pub fn variable_of(setting: &str) -> Option<String> {
    let has_one = [
        "environment",
        "client_id",
        "client_secret",
        "client_secret_file",
        "api_url",
        "auth_url",
        "scope",
        "ca_file",
        "trust",
        "shared_cache",
        "shared_cache_key",
        "allow_http_loopback",
    ];
    let variable = format!("LAYER_{}", setting.to_ascii_uppercase());
    has_one.contains(&setting).then_some(variable)
}

/// Whether a text of an error is the expected one. `{setting}` in the expected text
/// stands for `name(setting)`.
#[must_use]
pub fn text_matches(expected: &str, text: &str, name: impl Fn(&str) -> String) -> bool {
    let expected = named(expected, name);
    let (mut expected, mut text) = (&*expected, text);
    loop {
        let next = [NUMBER, DATE]
            .into_iter()
            .filter_map(|placeholder| Some((expected.find(placeholder)?, placeholder)))
            .min();
        let Some((at, placeholder)) = next else {
            return expected == text;
        };
        let after = text.strip_prefix(&expected[..at]);
        let after = after.and_then(|rest| match placeholder {
            NUMBER => after_number(rest),
            _ => after_date(rest),
        });
        match after {
            Some(after) => (expected, text) = (&expected[at + placeholder.len()..], after),
            None => return false,
        }
    }
}

/// The text after a decimal number at its start.
fn after_number(text: &str) -> Option<&str> {
    let after_digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let whole = after_digits(text);
    if whole == 0 {
        return None;
    }
    let rest = &text[whole..];
    match rest
        .strip_prefix('.')
        .map(|fraction| (fraction, after_digits(fraction)))
    {
        Some((fraction, length)) if length > 0 => Some(&fraction[length..]),
        _ => Some(rest),
    }
}

/// The text after a date such as `Fri, 20 Nov 2026 08:00:00 GMT` at its start.
fn after_date(text: &str) -> Option<&str> {
    const FORM: &str = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    let (date, rest) = text.split_at_checked(FORM.len())?;
    let is_same = |(form, c): (char, char)| match form {
        'A' => c.is_ascii_uppercase(),
        'a' => c.is_ascii_lowercase(),
        '0' => c.is_ascii_digit(),
        form => form == c,
    };
    FORM.chars().zip(date.chars()).all(is_same).then_some(rest)
}

/// Replaces each `{setting}`.
#[must_use]
pub fn named(text: &str, name: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let is_setting = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        match after.split_once('}') {
            Some((setting, after)) if is_setting(setting) => {
                out.push_str(&name(setting));
                rest = after;
            }
            // `{{number}}` is replaced later.
            _ => {
                let twice = after.strip_prefix('{');
                out.push_str(if twice.is_some() { "{{" } else { "{" });
                rest = twice.unwrap_or(after);
            }
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn texts_are_compared_exactly_except_for_numbers_and_dates() {
    let name = |setting: &str| format!("--{setting}");
    for (expected, text, same) in [
        ("set {api_url}", "set --api_url", true),
        ("set {api_url}", "set api_url", false),
        ("in {{number}} s", "in 0.3 s", true),
        ("in {{number}} s", "in 10 s", true),
        ("in {{number}}", "in 10.", false),
        ("in {{number}} s", "in  s", false),
        ("in {{number}} s", "in 1 s more", false),
        ("{{number}} of {{number}}", "1 of 2.5", true),
        (
            "until {{date}}, {{number}}",
            "until Fri, 20 Nov 2026 08:00:00 GMT, 7",
            true,
        ),
        ("until {{date}}", "until Friday", false),
        (
            "until {{date}}.",
            "until Fri, 20 Nov 2026 08:00:00 GMT",
            false,
        ),
        ("{x y} {", "{x y} {", true),
    ] {
        assert_eq!(
            text_matches(expected, text, name),
            same,
            "{expected:?} and {text:?}"
        );
    }
}
