//! Search for secrets in a program's output, in its memory, and in what `/proc`
//! shows of it. No message of this module contains a secret.

#[cfg(target_os = "linux")]
use std::{fs::File, io::Read as _, os::unix::fs::FileExt as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shorter patterns could be found by chance.
const MIN_LENGTH: usize = 6;

/// One form of a secret, and the name it is reported by.
struct Pattern {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Secrets that must not be found.
#[derive(Default)]
pub struct Secrets(Vec<Pattern>);

impl Secrets {
    /// Adds one pattern as it is.
    pub fn add(&mut self, name: &'static str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if bytes.len() >= MIN_LENGTH && self.0.iter().all(|known| known.bytes != bytes) {
            self.0.push(Pattern { name, bytes });
        }
    }

    /// Adds a text and parts of it, so that a truncated or wrapped copy is found
    /// too. The head of a JWT is not secret, so its parts are the middle and the end.
    pub fn add_text(&mut self, name: &'static str, text: &str) {
        let bytes = text.as_bytes();
        self.add(name, text);
        // As a list of numbers, the way `Debug` prints bytes.
        let tail = &bytes[bytes.len().saturating_sub(12)..];
        if tail.len() >= MIN_LENGTH {
            self.add(name, format!("{tail:?}").trim_matches(['[', ']']));
        }
        if bytes.len() > 40 {
            self.add(name, &bytes[bytes.len() - 16..]);
            self.add(name, &bytes[bytes.len() / 2 - 6..][..12]);
            if !text.starts_with("eyJ") {
                self.add(name, &bytes[4..20]);
            }
        }
    }

    /// Adds a client secret and the `Basic` header made of it, in both encodings.
    pub fn add_client(&mut self, id: &str, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.add_text("client secret", secret);
        let (form_id, form_secret) = (form_encode(id), form_encode(secret));
        self.add_text("client secret", &form_secret);
        for pair in [format!("{id}:{secret}"), format!("{form_id}:{form_secret}")] {
            let header = STANDARD.encode(pair);
            self.add("Basic header", header.as_bytes());
            // The end of the header holds the secret.
            let end = header.trim_end_matches('=');
            self.add(
                "Basic header",
                &end.as_bytes()[end.len().saturating_sub(20)..],
            );
            // Parts of a long secret, for a truncated copy.
            if secret.len() >= 32 {
                let end = &end.as_bytes()[end.len() - 40..];
                self.add("Basic header", &end[..16]);
                self.add("Basic header", &end[12..28]);
            }
        }
    }

    /// Returns the name of a secret that occurs in `bytes`.
    pub fn find_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let found = self
            .0
            .iter()
            .find(|pattern| find(bytes, &pattern.bytes).is_some());
        found.map(|pattern| pattern.name)
    }

    /// Returns every line that contains a secret, redacted. Lines with the
    /// beginning of an unknown JWT, or with the word `canary` that servers in the
    /// shared table send, count as well.
    pub fn lines_with_secrets(&self, text: &str) -> Vec<String> {
        text.lines()
            .filter_map(|line| {
                let name = self.find_in(line.as_bytes()).or_else(|| {
                    if line.contains("eyJ") {
                        Some("beginning of a token")
                    } else if line.to_ascii_lowercase().contains("canary") {
                        Some("text of a server")
                    } else {
                        None
                    }
                })?;
                Some(format!("the {name}: {}", self.redact(line)))
            })
            .collect()
    }

    /// Removes every known secret and every long word that could be part of one.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.0 {
            if let Ok(known) = std::str::from_utf8(&pattern.bytes) {
                text = text.replace(known, "…");
            }
        }
        let is_word_char = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
        let words = text.split_inclusive(|c| !is_word_char(c));
        // Part of a secret would be long; paths are long too, but contain slashes.
        words
            .map(|word| {
                let trimmed = word.trim_end_matches(|c| !is_word_char(c));
                let is_plain = trimmed.len() < 16 || trimmed.contains('/') && trimmed.len() < 64;
                if is_plain { word } else { "… " }
            })
            .collect()
    }

    /// Searches all readable memory of a process and returns what was found and where.
    #[cfg(target_os = "linux")]
    pub fn in_memory_of(&self, process: u32) -> Vec<String> {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
            if !permissions.starts_with('r') {
                continue;
            }
            let mapping = words.nth(3).unwrap_or("anonymous memory");
            let (from, to) = range.split_once('-').unwrap();
            let from = u64::from_str_radix(from, 16).unwrap();
            let to = u64::from_str_radix(to, 16).unwrap();
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // Fails if the mapping no longer exists, or cannot be read
            // (`[vvar]`).
            if memory.read_exact_at(&mut bytes, from).is_err() {
                continue;
            }
            for pattern in &self.0 {
                if let Some(at) = find(&bytes, &pattern.bytes) {
                    let at = from + u64::try_from(at).unwrap();
                    found.push(format!("{} in {mapping} at {at:x}", pattern.name));
                }
            }
        }
        found
    }

    /// Searches the arguments and the environment that `/proc` shows of a process.
    #[cfg(target_os = "linux")]
    pub fn in_arguments_of(&self, process: u32) -> Vec<String> {
        let mut found = Vec::new();
        for file in ["cmdline", "environ"] {
            let mut bytes = Vec::new();
            File::open(format!("/proc/{process}/{file}"))
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            assert!(!bytes.is_empty(), "/proc/{process}/{file} is empty");
            if let Some(name) = self.find_in(&bytes) {
                found.push(format!("{name} in {file}"));
            }
        }
        found
    }
}

/// Form encoding (RFC 6749 section 2.3.1).
fn form_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Returns the position of `needle` in `haystack`. The C library's search is fast
/// in a debug build too.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both pointers are valid for their lengths, and only read.
    #[allow(unsafe_code)]
    let found = unsafe {
        libc::memmem(
            haystack.as_ptr().cast(),
            haystack.len(),
            needle.as_ptr().cast(),
            needle.len(),
        )
    };
    (!found.is_null()).then(|| found.addr() - haystack.as_ptr().addr())
}

#[test]
fn b20_every_form_of_a_secret_is_found_and_redacted() {
    const SECRET: &str = "s3cret of a kind+";
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIGJ1c2luZXNzIn0.c2lnbmF0dXJlLW9mLWl0";
    let mut secrets = Secrets::default();
    secrets.add_client("an id", SECRET);
    secrets.add_text("access token", TOKEN);
    let tail = &TOKEN.as_bytes()[TOKEN.len() - 12..];
    for (name, text) in [
        ("client secret", format!("with {SECRET:?} in it")),
        (
            "client secret",
            "a=b&client_secret=s3cret+of+a+kind%2B".to_owned(),
        ),
        ("client secret", format!("{:?}", SECRET.as_bytes())),
        (
            "Basic header",
            format!("Basic {}", STANDARD.encode(format!("an id:{SECRET}"))),
        ),
        ("Basic header", STANDARD.encode("an+id:s3cret+of+a+kind%2B")),
        ("access token", format!("Bearer {TOKEN}")),
        ("access token", format!("…{}", &TOKEN[20..])),
        ("access token", format!("{tail:?}")),
        ("beginning of a token", "eyJhbGciOi".to_owned()),
        ("text of a server", "said Canary".to_owned()),
    ] {
        let lines = secrets.lines_with_secrets(&format!("fine\n{text}\nfine, too\n"));
        let [line] = lines.as_slice() else {
            panic!("found {} lines with the {name}, expected 1", lines.len());
        };
        assert!(
            line.starts_with(&format!("the {name}: ")),
            "reported as another secret than the {name}"
        );
        assert!(
            secrets.find_in(line.as_bytes()).is_none(),
            "the report contains the {name}"
        );
    }
    assert!(
        secrets
            .lines_with_secrets("a request failed: 503, GET /v1/whoami")
            .is_empty()
    );
    let line = "no token from https://auth.example.com/oauth2/token in 3 attempts";
    assert_eq!(secrets.redact(line), line, "plain words were redacted");
}
