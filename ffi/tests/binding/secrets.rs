//! Searches for secrets in a program's output, in its memory, and in what the system shows of its
//! process. Reports never contain a secret.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shorter texts are found by chance.
const MIN_LENGTH: usize = 6;

/// A secret in one of its forms, and its name in reports.
struct Needle {
    what: &'static str,
    bytes: Vec<u8>,
}

/// The secrets to search for.
#[derive(Default)]
pub struct Secrets(Vec<Needle>);

impl Secrets {
    /// Adds these bytes, in this form only.
    pub fn add(&mut self, what: &'static str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if bytes.len() >= MIN_LENGTH && self.0.iter().all(|known| known.bytes != bytes) {
            self.0.push(Needle { what, bytes });
        }
    }

    /// Adds a text and parts of it, so that a cut or wrapped text is found as well. The beginning
    /// of a JWT is no secret, so the parts are its middle and its end.
    fn add_text(&mut self, what: &'static str, text: &str) {
        self.add(what, text);
        // As a list of numbers: the derived `Debug` of bytes.
        let tail = &text.as_bytes()[text.len().saturating_sub(12)..];
        if tail.len() >= MIN_LENGTH {
            self.add(what, format!("{tail:?}").trim_matches(['[', ']']));
        }
        if text.len() > 40 {
            let bytes = text.as_bytes();
            self.add(what, &bytes[bytes.len() - 16..]);
            self.add(what, &bytes[bytes.len() / 2 - 8..][..16]);
            if !text.starts_with("eyJ") {
                self.add(what, &bytes[4..20]);
            }
        }
    }

    /// Adds a client secret and its Basic header, in both encodings.
    pub fn add_client(&mut self, id: &str, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.add_text("client secret", secret);
        let (form_id, form_secret) = (form(id), form(secret));
        self.add_text("client secret", &form_secret);
        for pair in [format!("{id}:{secret}"), format!("{form_id}:{form_secret}")] {
            let header = STANDARD.encode(pair);
            self.add("Basic header", header.as_bytes());
            // The end of the header, which encodes the secret.
            let end = header.trim_end_matches('=');
            self.add(
                "Basic header",
                &end.as_bytes()[end.len().saturating_sub(20)..],
            );
        }
    }

    pub fn add_token(&mut self, what: &'static str, token: &str) {
        self.add_text(what, token);
    }

    /// The name of a secret that these bytes contain.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let found = self
            .0
            .iter()
            .find(|needle| find(bytes, &needle.bytes).is_some());
        found.map(|needle| needle.what)
    }

    /// Every line that contains a secret, the beginning of any token, or a canary that a server of
    /// the table sends. The secrets in them are replaced.
    pub fn lines_with_secrets(&self, text: &str) -> Vec<String> {
        text.lines()
            .filter_map(|line| {
                let what = self.found_in(line.as_bytes()).or_else(|| {
                    if line.contains("eyJ") {
                        Some("beginning of a token")
                    } else if line.to_ascii_lowercase().contains("canary") {
                        Some("canary of a server")
                    } else {
                        None
                    }
                })?;
                Some(format!("the {what}: {}", self.redact(line)))
            })
            .collect()
    }

    /// The text with everything replaced that may be a secret.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.0 {
            if let Ok(known) = std::str::from_utf8(&needle.bytes) {
                text = text.replace(known, "…");
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
        let words = text.split_inclusive(|c| !plain(c));
        // Parts of secrets are long words. Paths are kept.
        words
            .map(|word| {
                let letters = word.trim_end_matches(|c| !plain(c));
                let is_word = letters.len() < 16 || letters.contains('/') && letters.len() < 64;
                if is_word { word } else { "… " }
            })
            .collect()
    }

    /// Searches all readable memory of a process. Returns the name of each secret and its place.
    pub fn in_memory_of(&self, process: u32) -> Vec<String> {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with('r') {
                continue;
            }
            let place = words.nth(3).unwrap_or("anonymous");
            let (from, to) = range.split_once('-').unwrap();
            let from = u64::from_str_radix(from, 16).unwrap();
            let to = u64::from_str_radix(to, 16).unwrap();
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // A mapping may have been removed meanwhile, and the kernel's own cannot be read.
            if memory.read_exact_at(&mut bytes, from).is_err() {
                continue;
            }
            for needle in &self.0 {
                if let Some(at) = find(&bytes, &needle.bytes) {
                    let at = from + u64::try_from(at).unwrap();
                    found.push(format!("{} in {place} at {at:x}", needle.what));
                }
            }
        }
        found
    }

    /// Searches the arguments and the environment of a process.
    pub fn in_arguments_of(&self, process: u32) -> Vec<String> {
        let mut found = Vec::new();
        for place in ["cmdline", "environ"] {
            let mut bytes = Vec::new();
            let file = File::open(format!("/proc/{process}/{place}"));
            file.unwrap().read_to_end(&mut bytes).unwrap();
            assert!(!bytes.is_empty(), "{place} of process {process} is empty");
            if let Some(what) = self.found_in(&bytes) {
                found.push(format!("{what} in {place}"));
            }
        }
        found
    }
}

/// Form-urlencoded (RFC 6749 section 2.3.1).
fn form(text: &str) -> String {
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

/// The C library's search, which is fast in a debug build too.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both are valid for their lengths, and are only read.
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
fn b20_secrets_are_found_in_all_forms_and_redacted() {
    const SECRET: &str = "s3cret of a kind+";
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIGJ1c2luZXNzIn0.c2lnbmF0dXJlLW9mLWl0";
    let mut secrets = Secrets::default();
    secrets.add_client("an id", SECRET);
    secrets.add_token("access token", TOKEN);
    let tail = &TOKEN.as_bytes()[TOKEN.len() - 12..];
    for (what, text) in [
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
        ("canary of a server", "a Canary".to_owned()),
    ] {
        let lines = secrets.lines_with_secrets(&format!("fine\n{text}\nfine, too\n"));
        let [line] = lines.as_slice() else {
            panic!("{} lines contain the {what}, expected 1", lines.len());
        };
        assert!(line.starts_with(&format!("the {what}: ")), "{what}");
        assert!(
            secrets.found_in(line.as_bytes()).is_none(),
            "the report contains the {what}"
        );
    }
    assert!(
        secrets
            .lines_with_secrets("a request failed: 503, GET /v1/whoami")
            .is_empty()
    );
    let line = "no token from https://auth.example.com/oauth2/token in 3 attempts";
    assert_eq!(secrets.redact(line), line);
}
