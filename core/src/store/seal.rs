//! Names, keys, sealed entries and failure notes of the shared cache. Pure, except for
//! the random nonces.
//!
//! All keys are derived from the client secret, so the store and whoever reads its
//! connections learn neither ids nor tokens, and cannot make an entry that opens.
//!
//! ```text
//! root  = HKDF-Extract(SHA-256, salt, len32(secret) | secret | shared_cache_key)
//! tag   = HMAC(Expand(root, "name"), kind | len32(field) | field | …), 18 bytes
//! mark  = HMAC(Expand(root, "mark" | tag), token), 16 bytes
//! entry = 1 | kind        | mark  | born, 13 digits  | nonce, 12 bytes | AES-256-GCM(wall | lifetime | token)
//! note  = 1 | kind | 0x80 | zeros | until, 13 digits | nonce, 12 bytes | AES-256-GCM(failures | kind | status | oauth_error)
//! ```
//!
//! The AES key is Expand(root, "seal" | tag). The additional data is "v" or "n", the tag
//! and all bytes before the ciphertext. Integers are big-endian.

use std::hint::black_box;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Okm, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Mark, Names};
use crate::secret::{Secret, SecretBuffer};

/// Version of the format: first byte of entries and notes, and part of the names.
const VERSION: u8 = 1;
const SALT: &[u8] = b"layerfi-auth shared cache v1";

/// Kinds of tokens. A failure note has the highest bit set.
const ACCESS_TOKEN: u8 = 1;
const BUSINESS_TOKEN: u8 = 2;
const NOTE: u8 = 0x80;

/// First byte of the additional data.
const VALUE_LABEL: u8 = b'v';
const NOTE_LABEL: u8 = b'n';

/// Longest entry.
const MAX_ENTRY: usize = 20 * 1024;
/// Digits of a time in milliseconds: enough until the year 2286.
const DIGITS: usize = 13;
const LAST_TIME: u64 = 9_999_999_999_999;
const TAG_LEN: usize = 18;
/// Bytes before the ciphertext.
const HEAD_LEN: usize = 2 + 16 + DIGITS + NONCE_LEN;

/// Key from which all names and keys of one client secret are derived.
#[derive(Clone)]
pub(crate) struct RootKey(Prk);

/// What decides which access token a request gets.
#[derive(Clone, Copy)]
pub(crate) struct Principal<'a> {
    pub(crate) auth_url: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) client_id: &'a str,
    /// `raw` or `form`.
    pub(crate) basic_encoding: &'a str,
}

/// What else decides which business token a request gets.
#[derive(Clone, Copy)]
pub(crate) struct BusinessScope<'a> {
    pub(crate) api_url: &'a str,
    pub(crate) business_id: &'a str,
    /// In seconds.
    pub(crate) session_duration: u32,
}

/// Names and keys of one token.
pub(crate) struct SealKeys {
    names: Names,
    kind: u8,
    tag: [u8; TAG_LEN],
    mark_key: hmac::Key,
    seal_key: LessSafeKey,
}

/// An entry that opened.
#[derive(Debug)]
pub(crate) struct OpenEntry {
    pub(crate) mark: Mark,
    /// The store's time when the publisher got the lease, in milliseconds since 1970.
    pub(crate) born: u64,
    /// The publisher's wall clock then, in milliseconds since 1970.
    pub(crate) wall: u64,
    pub(crate) lifetime: Duration,
    pub(crate) token: Secret,
}

/// Content of a failure note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Failed requests in a row, of the whole fleet.
    pub(crate) failures: u8,
    /// Number of the error's kind, by `ErrorKind::ALL`.
    pub(crate) kind: u8,
    /// HTTP status; 0 without one.
    pub(crate) status: u16,
    /// OAuth error code; empty without one.
    pub(crate) oauth_error: String,
}

/// Why an entry or note was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Of another version or kind, or too long.
    Foreign,
    /// Altered, cut, moved, or sealed under another key.
    Damaged,
}

impl RootKey {
    /// Derives the key. A `shared_key` makes the names and keys of the same secret
    /// others, and protects a secret that could be guessed.
    pub(crate) fn new(secret: &Secret, shared_key: Option<&Secret>) -> Self {
        let root = extract(secret, shared_key);
        overwrite_stack();
        Self(root)
    }

    pub(crate) fn access_token(&self, prefix: &str, principal: &Principal<'_>) -> SealKeys {
        let mut context = vec![ACCESS_TOKEN];
        push_principal(&mut context, principal);
        self.keys(prefix, ACCESS_TOKEN, &context)
    }

    pub(crate) fn business_token(
        &self,
        prefix: &str,
        principal: &Principal<'_>,
        business: &BusinessScope<'_>,
    ) -> SealKeys {
        let mut context = vec![BUSINESS_TOKEN];
        push_principal(&mut context, principal);
        push(&mut context, business.api_url);
        push(&mut context, business.business_id);
        push(&mut context, &business.session_duration.to_string());
        self.keys(prefix, BUSINESS_TOKEN, &context)
    }

    fn keys(&self, prefix: &str, kind: u8, context: &[u8]) -> SealKeys {
        let name_key: hmac::Key = self.expand(&[b"name"], hmac::HMAC_SHA256);
        let tag: [u8; TAG_LEN] = first_bytes(&hmac::sign(&name_key, context));
        let text = BASE64URL.encode(tag);
        let name = |what| format!("{prefix}:{VERSION}:{{{text}}}:{what}");
        let seal_key: UnboundKey = self.expand(&[b"seal", &tag], &AES_256_GCM);
        SealKeys {
            names: Names {
                value: name('v'),
                lease: name('l'),
                note: name('n'),
            },
            kind,
            mark_key: self.expand(&[b"mark", &tag], hmac::HMAC_SHA256),
            seal_key: LessSafeKey::new(seal_key),
            tag,
        }
    }

    fn expand<L: KeyType, K: for<'a> From<Okm<'a, L>>>(&self, info: &[&[u8]], key: L) -> K {
        match self.0.expand(info, key) {
            Ok(okm) => K::from(okm),
            // HKDF gives up to 8,160 bytes.
            Err(_) => unreachable!("a key of 32 bytes is too long"),
        }
    }
}

/// Its own function, so that its stack is below that of its caller.
#[inline(never)]
fn extract(secret: &Secret, shared_key: Option<&Secret>) -> Prk {
    let shared_key = shared_key.map(Secret::as_ref).unwrap_or_default();
    let secret: &[u8] = secret.as_ref();
    let mut input = SecretBuffer::with_capacity(4 + secret.len() + shared_key.len());
    input.push(&length(secret));
    input.push(secret);
    input.push(shared_key);
    Salt::new(HKDF_SHA256, SALT).extract(&input)
}

/// Overwrites what [`extract`] left below the caller's stack: ring does not wipe the
/// blocks that it hashes.
#[inline(never)]
fn overwrite_stack() {
    let mut area = [0_u8; 4096];
    area.zeroize();
    black_box(&area);
}

fn push_principal(context: &mut Vec<u8>, principal: &Principal<'_>) {
    push(context, principal.auth_url);
    push(context, principal.scope);
    push(context, principal.client_id);
    push(context, principal.basic_encoding);
}

/// Appends a field with its length, so that no two lists of fields are the same bytes.
fn push(context: &mut Vec<u8>, field: &str) {
    context.extend_from_slice(&length(field.as_bytes()));
    context.extend_from_slice(field.as_bytes());
}

fn length(bytes: &[u8]) -> [u8; 4] {
    // Settings and secrets are far shorter than 4 GiB.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A shortened HMAC.
fn first_bytes<const N: usize>(hmac: &hmac::Tag) -> [u8; N] {
    const { assert!(N <= 32, "HMAC-SHA-256 has 32 bytes") };
    hmac.as_ref()
        .first_chunk()
        .copied()
        .unwrap_or_else(|| unreachable!("an HMAC of less than {N} bytes"))
}

impl SealKeys {
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn mark(&self, token: &str) -> Mark {
        first_bytes(&hmac::sign(&self.mark_key, token.as_bytes()))
    }

    /// Seals a token. `None` if it is too long, a time is after the year 2286, or the
    /// system has no random numbers.
    pub(crate) fn seal_entry(
        &self,
        born: u64,
        wall: u64,
        lifetime: Duration,
        token: &str,
    ) -> Option<Vec<u8>> {
        self.seal_entry_with(random_nonce()?, born, wall, lifetime, token)
    }

    fn seal_entry_with(
        &self,
        nonce: [u8; NONCE_LEN],
        born: u64,
        wall: u64,
        lifetime: Duration,
        token: &str,
    ) -> Option<Vec<u8>> {
        let lifetime = u64::try_from(lifetime.as_millis()).ok()?;
        self.seal(
            (VALUE_LABEL, self.kind, self.mark(token), born, nonce),
            &[
                &wall.to_be_bytes(),
                &lifetime.to_be_bytes(),
                token.as_bytes(),
            ],
        )
    }

    pub(crate) fn open_entry(&self, entry: &[u8]) -> Result<OpenEntry, Rejected> {
        let (born, text) = self.open(VALUE_LABEL, self.kind, entry)?;
        let (wall, rest) = text.split_first_chunk().ok_or(Rejected::Damaged)?;
        let (lifetime, token) = rest.split_first_chunk().ok_or(Rejected::Damaged)?;
        let token = SecretBuffer::from(token)
            .into_secret()
            .ok_or(Rejected::Damaged)?;
        // AES-GCM alone does not commit to a key: a text can be made that opens under two.
        let mark = self.mark(token.expose());
        let stored = mark_of(entry).ok_or(Rejected::Damaged)?;
        if !equal_in_constant_time(&mark, &stored) {
            return Err(Rejected::Damaged);
        }
        Ok(OpenEntry {
            mark,
            born,
            wall: u64::from_be_bytes(*wall),
            lifetime: Duration::from_millis(u64::from_be_bytes(*lifetime)),
            token,
        })
    }

    /// Seals a failure note that forbids requests until this time of the store. `None`
    /// as with an entry.
    pub(crate) fn seal_note(&self, until: u64, note: &Note) -> Option<Vec<u8>> {
        self.seal_note_with(random_nonce()?, until, note)
    }

    fn seal_note_with(&self, nonce: [u8; NONCE_LEN], until: u64, note: &Note) -> Option<Vec<u8>> {
        self.seal(
            (NOTE_LABEL, self.kind | NOTE, Mark::default(), until, nonce),
            &[
                &[note.failures, note.kind],
                &note.status.to_be_bytes(),
                note.oauth_error.as_bytes(),
            ],
        )
    }

    /// The note, and until when it forbids requests.
    pub(crate) fn open_note(&self, note: &[u8]) -> Result<(u64, Note), Rejected> {
        let (until, text) = self.open(NOTE_LABEL, self.kind | NOTE, note)?;
        let ([failures, kind, status @ ..], oauth_error) =
            text.split_first_chunk::<4>().ok_or(Rejected::Damaged)?;
        let note = Note {
            failures: *failures,
            kind: *kind,
            status: u16::from_be_bytes(*status),
            oauth_error: str::from_utf8(oauth_error)
                .map_err(|_| Rejected::Damaged)?
                .to_owned(),
        };
        Ok((until, note))
    }

    fn seal(
        &self,
        (label, kind, mark, time, nonce): (u8, u8, Mark, u64, [u8; NONCE_LEN]),
        parts: &[&[u8]],
    ) -> Option<Vec<u8>> {
        let text: usize = parts.iter().map(|part| part.len()).sum();
        let all = HEAD_LEN
            .checked_add(text)?
            .checked_add(AES_256_GCM.tag_len())?;
        if all > MAX_ENTRY || time > LAST_TIME {
            return None;
        }
        // Has its final size at once: a buffer that grows would leave a copy of the token.
        let mut sealed = Zeroizing::new(Vec::with_capacity(all));
        sealed.extend_from_slice(&[VERSION, kind]);
        sealed.extend_from_slice(&mark);
        sealed.extend_from_slice(format!("{time:0DIGITS$}").as_bytes());
        sealed.extend_from_slice(&nonce);
        let aad = self.additional_data(label, &sealed);
        for part in parts {
            sealed.extend_from_slice(part);
        }
        let (_, text) = sealed.split_at_mut_checked(HEAD_LEN)?;
        let tag = self
            .seal_key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), text)
            .ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(std::mem::take(&mut *sealed))
    }

    /// Time and content of an entry or note.
    fn open(
        &self,
        label: u8,
        kind: u8,
        sealed: &[u8],
    ) -> Result<(u64, Zeroizing<Vec<u8>>), Rejected> {
        if sealed.len() > MAX_ENTRY || !sealed.starts_with(&[VERSION, kind]) {
            return Err(Rejected::Foreign);
        }
        let (head, text) = sealed.split_at_checked(HEAD_LEN).ok_or(Rejected::Damaged)?;
        let (head_without_nonce, nonce) = head.split_last_chunk().ok_or(Rejected::Damaged)?;
        let (_, digits) = head_without_nonce
            .split_last_chunk::<DIGITS>()
            .ok_or(Rejected::Damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .seal_key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.additional_data(label, head)),
                &mut text,
            )
            .map_err(|_| Rejected::Damaged)?
            .len();
        text.truncate(length);
        let time = time_of(digits).ok_or(Rejected::Damaged)?;
        Ok((time, text))
    }

    fn additional_data(&self, label: u8, head: &[u8]) -> Vec<u8> {
        [&[label], &self.tag[..], head].concat()
    }
}

/// Mark of an entry, which need not be authentic.
pub(crate) fn mark_of(entry: &[u8]) -> Option<Mark> {
    entry.get(2..)?.first_chunk().copied()
}

fn time_of(digits: &[u8; DIGITS]) -> Option<u64> {
    // `parse` would also accept a sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

fn equal_in_constant_time(a: &Mark, b: &Mark) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    black_box(difference) == 0
}

fn random_nonce() -> Option<[u8; NONCE_LEN]> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    Some(nonce)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const PRINCIPAL: Principal<'static> = Principal {
        auth_url: "https://auth.layerfi.com/oauth2/token",
        scope: "https://sandbox.layerfi.com/sandbox",
        client_id: "client-1",
        basic_encoding: "raw",
    };
    const BUSINESS: BusinessScope<'static> = BusinessScope {
        api_url: "https://sandbox.layerfi.com",
        business_id: "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        session_duration: 3600,
    };
    const BORN: u64 = 1_795_705_275_713;
    const LIFETIME: Duration = Duration::from_secs(3600);
    const TOKEN: &str = "fake.token.0123456789";

    fn root(secret: &str, shared_key: Option<&str>) -> RootKey {
        RootKey::new(&secret.into(), shared_key.map(Secret::from).as_ref())
    }

    fn access() -> SealKeys {
        root("fake-secret", None).access_token("layerfi", &PRINCIPAL)
    }

    fn business() -> SealKeys {
        root("fake-secret", None).business_token("layerfi", &PRINCIPAL, &BUSINESS)
    }

    fn entry(keys: &SealKeys) -> Vec<u8> {
        keys.seal_entry(BORN, BORN + 17, LIFETIME, TOKEN).unwrap()
    }

    fn note() -> Note {
        Note {
            failures: 3,
            kind: 6,
            status: 401,
            oauth_error: "invalid_client".to_owned(),
        }
    }

    fn sealed_note(keys: &SealKeys) -> Vec<u8> {
        keys.seal_note(BORN, &note()).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `seal_vectors.json` was computed with Python's `hmac`, `hashlib` and `cryptography`.
    #[test]
    fn b30_names_entries_and_notes_are_those_of_the_vectors() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("seal_vectors.json")).unwrap();
        assert_eq!(vectors.len(), 3);
        for vector in &vectors {
            let text = |field: &str| vector[field].as_str().unwrap();
            let number = |field: &str| vector[field].as_u64().unwrap();
            let what = text("name");
            let root = root(text("secret"), vector["shared_cache_key"].as_str());
            let principal = Principal {
                auth_url: text("auth_url"),
                scope: text("scope"),
                client_id: text("client_id"),
                basic_encoding: text("basic_encoding"),
            };
            let keys = match vector.get("business_id") {
                None => root.access_token(text("prefix"), &principal),
                Some(_) => root.business_token(
                    text("prefix"),
                    &principal,
                    &BusinessScope {
                        api_url: text("api_url"),
                        business_id: text("business_id"),
                        session_duration: number("session_duration").try_into().unwrap(),
                    },
                ),
            };
            let names = Names {
                value: text("value_name").to_owned(),
                lease: text("lease_name").to_owned(),
                note: text("note_name").to_owned(),
            };
            assert_eq!(keys.names(), &names, "{what}");
            let token = text("token");
            assert_eq!(hex(&keys.mark(token)), text("mark"), "{what}");

            let nonce: Vec<u8> = (0..NONCE_LEN)
                .map(|at| u8::from_str_radix(&text("nonce")[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            let nonce: [u8; NONCE_LEN] = nonce.try_into().unwrap();
            let (born, wall) = (number("born"), number("wall"));
            let lifetime = Duration::from_millis(number("lifetime_ms"));
            let sealed = keys
                .seal_entry_with(nonce, born, wall, lifetime, token)
                .unwrap();
            assert_eq!(hex(&sealed), text("entry"), "{what}");
            let opened = keys.open_entry(&sealed).unwrap();
            assert_eq!(
                (opened.born, opened.wall, opened.lifetime),
                (born, wall, lifetime),
                "{what}"
            );
            assert_eq!(opened.token.expose(), token, "{what}");
            assert_eq!(Some(opened.mark), mark_of(&sealed), "{what}");

            let note = Note {
                failures: number("failures").try_into().unwrap(),
                kind: number("kind").try_into().unwrap(),
                status: number("status").try_into().unwrap(),
                oauth_error: text("oauth_error").to_owned(),
            };
            let until = number("until");
            let sealed = keys.seal_note_with(nonce, until, &note).unwrap();
            assert_eq!(hex(&sealed), text("note"), "{what}");
            assert_eq!(keys.open_note(&sealed), Ok((until, note)), "{what}");
        }
    }

    #[test]
    fn b30_altered_cut_and_extended_entries_and_notes_do_not_open() {
        let mut refused = 0;
        for keys in [access(), business()] {
            let (entry, note) = (entry(&keys), sealed_note(&keys));
            assert!(keys.open_entry(&entry).is_ok() && keys.open_note(&note).is_ok());
            for sealed in [entry, note] {
                let mut changed = Vec::new();
                for at in 0..sealed.len() {
                    for bits in [1, 0x80, 0xff] {
                        let mut altered = sealed.clone();
                        altered[at] ^= bits;
                        changed.push(altered);
                    }
                    changed.push(sealed[..at].to_vec());
                    changed.push(sealed[at + 1..].to_vec());
                }
                changed.push([&sealed[..], &[0]].concat());
                for altered in changed {
                    assert!(
                        keys.open_entry(&altered).is_err() && keys.open_note(&altered).is_err(),
                        "an altered entry opened: {}",
                        hex(&altered)
                    );
                    refused += 1;
                }
            }
        }
        assert!(refused > 1_500, "{refused} altered entries");
    }

    /// Contexts that differ from the first one in one respect each.
    fn contexts() -> Vec<(&'static str, SealKeys)> {
        let of = |change: fn(&mut Principal<'static>)| {
            let mut principal = PRINCIPAL;
            change(&mut principal);
            root("fake-secret", None).access_token("layerfi", &principal)
        };
        let for_business = |change: fn(&mut BusinessScope<'static>)| {
            let mut scope = BUSINESS;
            change(&mut scope);
            root("fake-secret", None).business_token("layerfi", &PRINCIPAL, &scope)
        };
        let under = |secret: &str, shared_key: Option<&str>| {
            root(secret, shared_key).access_token("layerfi", &PRINCIPAL)
        };
        vec![
            ("the first", access()),
            (
                "auth_url",
                of(|it| it.auth_url = "https://auth.layerfi.com/oauth2/token/"),
            ),
            ("scope", of(|it| it.scope = "")),
            ("client_id", of(|it| it.client_id = "client-2")),
            ("basic_encoding", of(|it| it.basic_encoding = "form")),
            (
                "where a field ends",
                of(|it| {
                    it.client_id = "client-";
                    it.basic_encoding = "1raw";
                }),
            ),
            (
                "the order of fields",
                of(|it| {
                    it.client_id = "raw";
                    it.basic_encoding = "client-1";
                }),
            ),
            ("kind", business()),
            (
                "api_url",
                for_business(|it| it.api_url = "https://api.layerfi.com"),
            ),
            (
                "business_id",
                for_business(|it| it.business_id = "3fa85f64-5717-4562-b3fc-2c963f66afa7"),
            ),
            (
                "session_duration",
                for_business(|it| it.session_duration = 3601),
            ),
            (
                "where a field of a business ends",
                for_business(|it| {
                    it.business_id = "3fa85f64-5717-4562-b3fc-2c963f66afa63";
                    it.session_duration = 600;
                }),
            ),
            ("secret", under("fake-secret-2", None)),
            ("shared key", under("fake-secret", Some("key"))),
            ("another shared key", under("fake-secret", Some("key2"))),
            ("where the secret ends", under("fake-secre", Some("t"))),
        ]
    }

    #[test]
    fn b30_each_field_of_the_context_changes_the_names() {
        let contexts = contexts();
        let names = |keys: &SealKeys| {
            let Names { value, lease, note } = keys.names().clone();
            [value, lease, note]
        };
        let all: HashSet<_> = contexts.iter().flat_map(|(_, keys)| names(keys)).collect();
        assert_eq!(
            all.len(),
            3 * contexts.len(),
            "two contexts have the same names"
        );
        assert_eq!(access().names(), access().names());
        assert_eq!(business().names(), business().names());
        // In the cluster, all three are in the slot of the text in braces.
        let slots: HashSet<_> = names(&access())
            .iter()
            .map(|name| name[name.find('{').unwrap()..=name.find('}').unwrap()].to_owned())
            .collect();
        assert_eq!(slots.len(), 1);
        // Another prefix is another place for the same entries.
        let other = root("fake-secret", None).access_token("other", &PRINCIPAL);
        assert_ne!(other.names(), access().names());
        assert!(other.open_entry(&entry(&access())).is_ok());
    }

    #[test]
    fn b30_entries_and_notes_of_another_context_do_not_open() {
        let contexts = contexts();
        for (sealed_for, by) in &contexts {
            for (opened_for, keys) in &contexts {
                let same = sealed_for == opened_for;
                let opened = keys.open_entry(&entry(by)).is_ok();
                assert_eq!(opened, same, "entry: {sealed_for}, opened for {opened_for}");
                let opened = keys.open_note(&sealed_note(by)).is_ok();
                assert_eq!(opened, same, "note: {sealed_for}, opened for {opened_for}");
            }
        }
    }

    #[test]
    fn b30_entries_notes_kinds_and_versions_are_not_exchanged() {
        let keys = access();
        let (entry, note) = (entry(&keys), sealed_note(&keys));
        assert_eq!(keys.open_note(&entry), Err(Rejected::Foreign));
        assert_eq!(keys.open_entry(&note).unwrap_err(), Rejected::Foreign);
        for (byte, value, expected) in [
            (0, 0, Rejected::Foreign),
            (0, 2, Rejected::Foreign),
            (1, 2, Rejected::Foreign),
            (1, 0x81, Rejected::Foreign),
            (2, 0, Rejected::Damaged),
        ] {
            let mut altered = entry.clone();
            altered[byte] = value;
            assert_eq!(
                keys.open_entry(&altered).unwrap_err(),
                expected,
                "byte {byte} is {value}"
            );
        }
        // As a note that has the kind of an entry, and the reverse.
        let mut disguised = note.clone();
        disguised[1] = 1;
        assert_eq!(keys.open_entry(&disguised).unwrap_err(), Rejected::Damaged);
        let mut disguised = entry;
        disguised[1] = 0x81;
        assert_eq!(keys.open_note(&disguised), Err(Rejected::Damaged));
    }

    /// An authentic text under a wrong mark, which only an owner of the secret can make.
    #[test]
    fn b30_an_entry_with_the_mark_of_another_token_does_not_open() {
        let keys = access();
        let seal = |mark| {
            let text = [&[0; 8][..], &[0; 8], TOKEN.as_bytes()];
            let nonce = random_nonce().unwrap();
            let sealed = keys.seal((VALUE_LABEL, ACCESS_TOKEN, mark, BORN, nonce), &text);
            keys.open_entry(&sealed.unwrap())
        };
        assert!(seal(keys.mark(TOKEN)).is_ok());
        assert_eq!(seal(keys.mark("another")).unwrap_err(), Rejected::Damaged);
        for at in 0..16 {
            let mut mark = keys.mark(TOKEN);
            mark[at] ^= 1;
            assert_eq!(seal(mark).unwrap_err(), Rejected::Damaged, "byte {at}");
        }
    }

    #[test]
    fn b30_entries_over_20_kib_are_not_sealed_and_not_opened() {
        let keys = access();
        let overhead = entry(&keys).len() - TOKEN.len();
        let longest = "x".repeat(MAX_ENTRY - overhead);
        let sealed = keys.seal_entry(BORN, BORN, LIFETIME, &longest).unwrap();
        assert_eq!(sealed.len(), MAX_ENTRY);
        assert_eq!(keys.open_entry(&sealed).unwrap().token.expose(), longest);
        let too_long = format!("{longest}x");
        assert_eq!(keys.seal_entry(BORN, BORN, LIFETIME, &too_long), None);
        let foreign = [&sealed[..], &[0]].concat();
        assert_eq!(keys.open_entry(&foreign).unwrap_err(), Rejected::Foreign);
    }

    #[test]
    fn b30_times_that_do_not_fit_are_not_sealed() {
        let keys = access();
        assert!(keys.seal_entry(LAST_TIME, 0, LIFETIME, TOKEN).is_some());
        assert_eq!(keys.seal_entry(LAST_TIME + 1, 0, LIFETIME, TOKEN), None);
        assert_eq!(keys.seal_entry(BORN, 0, Duration::MAX, TOKEN), None);
        assert_eq!(keys.seal_note(LAST_TIME + 1, &note()), None);
        assert_eq!(time_of(b"0000000000007"), Some(7));
        for not_a_time in [b"+000000000007", b" 000000000007", b"000000000000a"] {
            assert_eq!(time_of(not_a_time), None);
        }
    }

    #[test]
    fn b30_each_seal_has_another_nonce() {
        let keys = access();
        let sealed: HashSet<_> = (0..200)
            .flat_map(|_| [entry(&keys), sealed_note(&keys)])
            .map(|sealed| sealed[HEAD_LEN - NONCE_LEN..HEAD_LEN].to_vec())
            .collect();
        assert_eq!(sealed.len(), 400);
    }

    #[test]
    fn b20_b30_sealed_text_and_debug_output_show_no_token() {
        let keys = access();
        let sealed = entry(&keys);
        assert!(
            !sealed
                .windows(4)
                .any(|part| TOKEN.as_bytes().starts_with(part))
        );
        let opened = keys.open_entry(&sealed).unwrap();
        assert!(!format!("{opened:?}").contains("fake"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn b30_what_is_sealed_opens(
            born in 0..=LAST_TIME,
            wall: u64,
            lifetime: u64,
            token in ".{0,200}",
            note in (any::<u8>(), any::<u8>(), any::<u16>(), ".{0,60}"),
            for_business: bool,
        ) {
            let keys = if for_business { business() } else { access() };
            let lifetime = Duration::from_millis(lifetime);
            let opened = keys.open_entry(&keys.seal_entry(born, wall, lifetime, &token).unwrap());
            let opened = opened.unwrap();
            prop_assert_eq!(
                (opened.born, opened.wall, opened.lifetime, opened.token.expose(), opened.mark),
                (born, wall, lifetime, &*token, keys.mark(&token))
            );
            let (failures, kind, status, oauth_error) = note;
            let note = Note { failures, kind, status, oauth_error };
            let opened = keys.open_note(&keys.seal_note(born, &note).unwrap());
            prop_assert_eq!(opened, Ok((born, note)));
        }

        #[test]
        fn b30_no_bytes_open_or_panic(bytes: Vec<u8>, kind in 0..4_u8, from in 0..200_usize) {
            let keys = access();
            let genuine = entry(&keys);
            let start = &genuine[..from.min(genuine.len() - 1)];
            for bytes in [
                bytes.clone(),
                [&[VERSION, kind][..], &bytes].concat(),
                [&[VERSION, kind | NOTE][..], &bytes].concat(),
                [start, &bytes].concat(),
            ] {
                // A genuine entry may come about by its last byte.
                prop_assert!(bytes == genuine || keys.open_entry(&bytes).is_err());
                prop_assert!(keys.open_note(&bytes).is_err());
                let _ = mark_of(&bytes);
            }
        }

        #[test]
        fn b30_equal_names_mean_equal_fields(
            one in proptest::array::uniform4("[ab]{0,3}"),
            other in proptest::array::uniform4("[ab]{0,3}"),
        ) {
            let names = |fields: &[String; 4]| {
                let [auth_url, scope, client_id, basic_encoding] = fields;
                let principal = Principal { auth_url, scope, client_id, basic_encoding };
                root("fake-secret", None).access_token("layerfi", &principal).names().clone()
            };
            prop_assert_eq!(names(&one) == names(&other), one == other);
        }
    }
}
