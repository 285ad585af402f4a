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
mod tests;
