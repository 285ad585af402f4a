//! Secrets, and where they must not be: in what a program says, in its memory,
//! and in what the machine tells of its processes. Nothing here says one.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shorter ones are found by chance.
const SHORTEST: usize = 6;

/// A secret in one of its forms, and what it is called.
struct Needle {
    what: &'static str,
    bytes: Vec<u8>,
}

/// What must not be seen.
#[derive(Default)]
pub struct Secrets(Vec<Needle>);

impl Secrets {
    /// As it is, in one form only.
    pub fn add(&mut self, what: &'static str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if bytes.len() >= SHORTEST && self.0.iter().all(|known| known.bytes != bytes) {
            self.0.push(Needle { what, bytes });
        }
    }

    /// A text, and parts of it: one that is cut or wrapped is seen all the
    /// same. The head of a JWT says nothing, so they are its middle and its end.
    fn add_text(&mut self, what: &'static str, text: &str) {
        self.add(what, text);
        // As a list of numbers, which is how a careless `Debug` shows bytes.
        let tail = &text.as_bytes()[text.len().saturating_sub(12)..];
        if tail.len() >= SHORTEST {
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

    /// A client's secret, and the Basic header that it makes, in both encodings.
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
            // Its end, where the secret is.
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

    /// What of it is somewhere.
    pub fn seen_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let seen = self
            .0
            .iter()
            .find(|needle| find(bytes, &needle.bytes).is_some());
        seen.map(|needle| needle.what)
    }

    /// Every line that shows a secret, as it may be shown itself; also those
    /// with the beginning of a token that nobody knows, and with what servers
    /// say in the table.
    pub fn lines_that_tell(&self, text: &str) -> Vec<String> {
        text.lines()
            .filter_map(|line| {
                let what = self.seen_in(line.as_bytes()).or_else(|| {
                    if line.contains("eyJ") {
                        Some("beginning of a token")
                    } else if line.to_ascii_lowercase().contains("canary") {
                        Some("word of a server")
                    } else {
                        None
                    }
                })?;
                Some(format!("the {what}: {}", self.without(line)))
            })
            .collect()
    }

    /// A text with nothing in it that could be a secret.
    pub fn without(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.0 {
            if let Ok(known) = std::str::from_utf8(&needle.bytes) {
                text = text.replace(known, "…");
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
        let words = text.split_inclusive(|c| !plain(c));
        // A part of a secret is long, and no word; paths are words.
        words
            .map(|word| {
                let letters = word.trim_end_matches(|c| !plain(c));
                let is_word = letters.len() < 16 || letters.contains('/') && letters.len() < 64;
                if is_word { word } else { "… " }
            })
            .collect()
    }

    /// Looks through all memory of a process that can be read, and tells what
    /// is in it and where.
    pub fn in_memory_of(&self, process: u32) -> Vec<String> {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let mut seen = Vec::new();
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
            // A mapping may be gone by now, and some are the kernel's own.
            if memory.read_exact_at(&mut bytes, from).is_err() {
                continue;
            }
            for needle in &self.0 {
                if let Some(at) = find(&bytes, &needle.bytes) {
                    let at = from + u64::try_from(at).unwrap();
                    seen.push(format!("{} in {place} at {at:x}", needle.what));
                }
            }
        }
        seen
    }

    /// What the machine shows of a process: its arguments and its environment.
    pub fn in_arguments_of(&self, process: u32) -> Vec<String> {
        let mut seen = Vec::new();
        for place in ["cmdline", "environ"] {
            let mut bytes = Vec::new();
            let file = File::open(format!("/proc/{process}/{place}"));
            file.unwrap().read_to_end(&mut bytes).unwrap();
            assert!(!bytes.is_empty(), "{place} is empty");
            if let Some(what) = self.seen_in(&bytes) {
                seen.push(format!("{what} in {place}"));
            }
        }
        seen
    }
}

/// As a form has it (RFC 6749 section 2.3.1).
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

/// The C library's search, which is quick in a debug build too.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both are valid for their lengths, and only read.
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
fn b20_secrets_are_seen_in_all_their_forms_and_not_said() {
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
        ("word of a server", "said Canary".to_owned()),
    ] {
        let lines = secrets.lines_that_tell(&format!("fine\n{text}\nfine, too\n"));
        let [line] = lines.as_slice() else {
            panic!("{} lines tell the {what}", lines.len());
        };
        assert!(line.starts_with(&format!("the {what}: ")), "{what}");
        assert!(
            secrets.seen_in(line.as_bytes()).is_none(),
            "the {what} is said"
        );
    }
    assert!(
        secrets
            .lines_that_tell("a request failed: 503, GET /v1/whoami")
            .is_empty()
    );
    let line = "no token from https://auth.example.com/oauth2/token in 3 attempts";
    assert_eq!(secrets.without(line), line);
}
