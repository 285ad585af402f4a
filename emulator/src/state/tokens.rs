//! Signed tokens: issue, check, revoke.
//!
//! Issued tokens are not stored. The signature proves that a token is genuine,
//! and its claims contain all its data. Each token has an increasing number, so
//! that all tokens of a kind can be revoked at once. A test can therefore issue
//! millions of tokens in constant memory.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::EmulatorError;
use crate::ids::{random_bytes, random_uuid};
use crate::lock::lock;
use crate::state::clock::UnixMillis;

/// Limit of single revocations; above it, the oldest one is dropped.
const MAX_REVOKED: usize = 100_000;

/// Approximate length of Layer's access tokens.
const TOKEN_BYTES: usize = 1024;

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenKind {
    /// Access tokens from the token endpoint.
    Access,
    /// Business-scoped tokens.
    Business,
}

impl TokenKind {
    /// The kind of a token for this business.
    pub(crate) const fn of(business: Option<Uuid>) -> Self {
        if business.is_some() {
            Self::Business
        } else {
            Self::Access
        }
    }
}

/// The signed content of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) iss: String,
    pub(crate) version: u8,
    pub(crate) client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) business_id: Option<Uuid>,
    pub(crate) token_use: String,
    pub(crate) scope: String,
    pub(crate) auth_time: i64,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    #[serde(rename = "layerfi_emulator")]
    private: PrivateClaims,
}

/// Claims that only the emulator uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PrivateClaims {
    number: u64,
    /// Expiry in milliseconds, because `exp` is in whole seconds.
    exp_ms: i64,
    padding: String,
}

/// Reason why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    Expired,
    Revoked,
}

/// Content of a token to issue.
pub(crate) struct Grant<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) business_id: Option<Uuid>,
    pub(crate) scope: &'a str,
    pub(crate) lifetime_seconds: u64,
}

/// Issues and checks tokens with a key made at start.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    random: SystemRandom,
    kid: String,
    issuer: String,
    next_number: AtomicU64,
    revoked: Mutex<Revoked>,
}

#[derive(Default)]
struct Revoked {
    /// Access tokens with a lower number are revoked.
    access_before: u64,
    /// Business tokens with a lower number are revoked.
    business_before: u64,
    numbers: HashSet<u64>,
    /// The same numbers, oldest revocation first.
    order: VecDeque<u64>,
}

impl Tokens {
    pub(crate) fn new() -> Result<Self, EmulatorError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let crypto = |_| EmulatorError::Crypto("key generation failed".to_owned());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(crypto)?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|rejected| EmulatorError::Crypto(rejected.to_string()))?;
        Ok(Self {
            key,
            random,
            kid: URL_SAFE_NO_PAD.encode(random_bytes::<32>()),
            issuer: format!("urn:layerfi-auth-emulator:{}", random_uuid()),
            next_number: AtomicU64::new(1),
            revoked: Mutex::default(),
        })
    }

    /// The token and its number. `None` if the token cannot be signed.
    pub(crate) fn issue(&self, grant: &Grant<'_>, now: UnixMillis) -> Option<(String, u64)> {
        let lifetime = i64::try_from(grant.lifetime_seconds).unwrap_or(i64::MAX / 2_000);
        let iat = now.div_euclid(1_000);
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut claims = Claims {
            sub: grant.client_id.to_owned(),
            iss: self.issuer.clone(),
            version: 2,
            client_id: grant.client_id.to_owned(),
            business_id: grant.business_id,
            token_use: match TokenKind::of(grant.business_id) {
                TokenKind::Access => "access",
                TokenKind::Business => "business",
            }
            .to_owned(),
            scope: grant.scope.to_owned(),
            auth_time: iat,
            iat,
            exp: iat.saturating_add(lifetime),
            jti: random_uuid().to_string(),
            private: PrivateClaims {
                number,
                exp_ms: expiry(now, grant.lifetime_seconds),
                padding: String::new(),
            },
        };
        let header = serde_json::json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        // Padded to the length of Layer's tokens, because a shorter token could
        // hide a limit on header or buffer sizes. The signature is 86 bytes.
        let bare = serde_json::to_vec(&claims).ok()?.len();
        let available = TOKEN_BYTES.saturating_sub(header.len() + 86 + 2) * 3 / 4;
        claims.private.padding = "x".repeat(available.saturating_sub(bare));
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).ok()?);
        let mut token = format!("{header}.{payload}");
        let signature = self.key.sign(&self.random, token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Some((token, number))
    }

    /// The claims of a token that is genuine, not expired and not revoked.
    pub(crate) fn check(&self, token: &str, now: UnixMillis) -> Result<Claims, Refusal> {
        let claims = self.verify(token).ok_or(Refusal::Malformed)?;
        if now >= claims.private.exp_ms {
            return Err(Refusal::Expired);
        }
        if self.is_revoked(claims.private.number, TokenKind::of(claims.business_id)) {
            return Err(Refusal::Revoked);
        }
        Ok(claims)
    }

    /// A text that differs between emulators.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn is_revoked(&self, number: u64, kind: TokenKind) -> bool {
        let revoked = lock(&self.revoked);
        let before = match kind {
            TokenKind::Access => revoked.access_before,
            TokenKind::Business => revoked.business_before,
        };
        number < before || revoked.numbers.contains(&number)
    }

    /// The claims of a token with a valid signature.
    fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_header, payload) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// Revokes one token. Returns false if this emulator did not issue it.
    pub(crate) fn revoke(&self, token: &str) -> bool {
        self.verify(token)
            .is_some_and(|claims| self.revoke_number(claims.private.number))
    }

    /// Revokes the token with this number. Returns false if there is none.
    pub(crate) fn revoke_number(&self, number: u64) -> bool {
        if number == 0 || number >= self.next_number.load(Ordering::Relaxed) {
            return false;
        }
        let mut revoked = lock(&self.revoked);
        if revoked.numbers.insert(number) {
            revoked.order.push_back(number);
        }
        if revoked.order.len() > MAX_REVOKED
            && let Some(oldest) = revoked.order.pop_front()
        {
            revoked.numbers.remove(&oldest);
        }
        true
    }

    /// Revokes all tokens of a kind that were issued until now.
    pub(crate) fn revoke_all(&self, kind: TokenKind) {
        let next = self.next_number.load(Ordering::Relaxed);
        let mut revoked = lock(&self.revoked);
        match kind {
            TokenKind::Access => revoked.access_before = next,
            TokenKind::Business => revoked.business_before = next,
        }
    }
}

/// The expiry of a token that is issued now.
pub(crate) fn expiry(now: UnixMillis, lifetime_seconds: u64) -> UnixMillis {
    let lifetime = i64::try_from(lifetime_seconds).unwrap_or(i64::MAX / 2_000);
    now.saturating_add(lifetime.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant<'_> = Grant {
        client_id: "client",
        business_id: None,
        scope: "scope",
        lifetime_seconds: 2,
    };

    #[test]
    fn token_is_valid_until_the_last_millisecond_of_its_lifetime() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 1_900).unwrap().0;
        assert!(
            (1000..1100).contains(&token.len()),
            "a token must have about 1 KB, got {} bytes",
            token.len()
        );
        assert_eq!(
            tokens.check(&token, 3_899).unwrap().client_id,
            "client",
            "wrong client of a valid token"
        );
        assert_eq!(
            tokens.check(&token, 3_900).unwrap_err(),
            Refusal::Expired,
            "a token must expire after its lifetime"
        );
    }

    #[test]
    fn claims_are_those_of_an_access_token() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 5_000).unwrap().0;
        let mut parts = token.split('.').map(|part| {
            serde_json::from_slice::<serde_json::Value>(
                &URL_SAFE_NO_PAD.decode(part).unwrap_or_default(),
            )
            .unwrap_or_default()
        });
        let header = parts.next().unwrap();
        assert_eq!(header["alg"], "ES256", "wrong algorithm");
        assert!(header["kid"].is_string(), "the header must have a key id");
        let claims = parts.next().unwrap();
        for (name, value) in [
            ("client_id", "client".into()),
            ("scope", "scope".into()),
            ("token_use", "access".into()),
            ("iat", serde_json::Value::from(5)),
            ("exp", 7.into()),
        ] {
            assert_eq!(claims[name], value, "wrong claim {name}");
        }
        assert!(claims["jti"].is_string(), "the token must have an id");
    }

    #[test]
    fn forged_foreign_and_truncated_tokens_are_refused() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 0).unwrap().0;
        let foreign = Tokens::new().unwrap().issue(&GRANT, 0).unwrap().0;
        let mut forged = token.clone();
        forged.insert(token.find('.').unwrap() + 5, 'A');
        for bad in [
            "",
            ".",
            "..",
            "a.b.c",
            &token[..token.len() - 2],
            &foreign,
            &forged,
        ] {
            assert_eq!(
                tokens.check(bad, 0).unwrap_err(),
                Refusal::Malformed,
                "{bad:?} must be refused"
            );
        }
    }

    #[test]
    fn revocation_affects_one_token_or_a_kind_but_no_later_tokens() {
        let tokens = Tokens::new().unwrap();
        let business = Grant {
            business_id: Some(random_uuid()),
            ..GRANT
        };
        let refusal = |token: &str| tokens.check(token, 0).err();
        let one = tokens.issue(&GRANT, 0).unwrap().0;
        let two = tokens.issue(&GRANT, 0).unwrap().0;
        let other = tokens.issue(&business, 0).unwrap().0;
        assert!(tokens.revoke(&one), "an issued token must be revocable");
        assert!(!tokens.revoke("nonsense"), "other text must be unknown");
        let revoked = Some(Refusal::Revoked);
        assert_eq!(refusal(&one), revoked, "the token must be revoked");
        assert_eq!(refusal(&two), None, "another token must stay valid");
        let (three, number) = tokens.issue(&GRANT, 0).unwrap();
        assert!(tokens.revoke_number(number), "the number must be known");
        assert_eq!(refusal(&three), revoked, "its token must be revoked");
        for unknown in [0, number + 1] {
            assert!(!tokens.revoke_number(unknown), "{unknown} is no token");
        }
        tokens.revoke_all(TokenKind::Access);
        assert_eq!(refusal(&two), revoked, "access tokens must be revoked");
        assert_eq!(refusal(&other), None, "business tokens must stay valid");
        let later = tokens.issue(&GRANT, 0).unwrap().0;
        assert_eq!(refusal(&later), None, "a later token must be valid");
        tokens.revoke_all(TokenKind::Business);
        assert_eq!(refusal(&other), revoked, "business tokens must be revoked");
    }
}
