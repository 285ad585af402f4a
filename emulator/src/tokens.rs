//! Signed tokens: what is in them, how they are checked, how they are revoked.
//!
//! Nothing is kept per issued token: the signature proves a token, its claims
//! say what it is for, and a number that rises with each one lets a whole kind
//! be revoked at once. So a test may mint millions in constant memory.

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

use crate::clock::UnixMillis;
use crate::error::EmulatorError;
use crate::random;
use crate::sync::lock;

/// Singly revoked tokens that are remembered; the oldest make room.
const REVOKED_CAP: usize = 100_000;

/// Access tokens of Layer's are roughly this long.
const TOKEN_BYTES: usize = 1024;

/// Which tokens to revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Access tokens from the token endpoint.
    Access,
    /// Business-scoped tokens.
    Business,
}

/// What a token's signature vouches for.
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

/// What the emulator adds for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PrivateClaims {
    number: u64,
    /// `exp` is in whole seconds; this makes a lifetime of one second last one.
    exp_ms: i64,
    padding: String,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    Expired,
    Revoked,
}

/// What a token is to be for.
pub(crate) struct Grant<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) business_id: Option<Uuid>,
    pub(crate) scope: &'a str,
    pub(crate) lifetime_seconds: u64,
}

/// Mints and checks tokens under a key made at start.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    random: SystemRandom,
    kid: String,
    issuer: String,
    next: AtomicU64,
    revoked: Mutex<Revoked>,
}

#[derive(Default)]
struct Revoked {
    access_before: u64,
    business_before: u64,
    numbers: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Tokens {
    pub(crate) fn new() -> Result<Self, EmulatorError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let crypto = |_| EmulatorError::Crypto("no signing key".to_owned());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(crypto)?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|rejected| EmulatorError::Crypto(rejected.to_string()))?;
        Ok(Self {
            key,
            random,
            kid: URL_SAFE_NO_PAD.encode(random::bytes::<32>()),
            issuer: format!("urn:layerfi-auth-emulator:{}", random::uuid()),
            next: AtomicU64::new(1),
            revoked: Mutex::default(),
        })
    }

    pub(crate) fn issue(&self, grant: &Grant<'_>, now: UnixMillis) -> Option<String> {
        let lifetime = i64::try_from(grant.lifetime_seconds).unwrap_or(i64::MAX / 2_000);
        let iat = now.div_euclid(1_000);
        let mut claims = Claims {
            sub: grant.client_id.to_owned(),
            iss: self.issuer.clone(),
            version: 2,
            client_id: grant.client_id.to_owned(),
            business_id: grant.business_id,
            token_use: if grant.business_id.is_some() {
                "business"
            } else {
                "access"
            }
            .to_owned(),
            scope: grant.scope.to_owned(),
            auth_time: iat,
            iat,
            exp: iat.saturating_add(lifetime),
            jti: random::uuid().to_string(),
            private: PrivateClaims {
                number: self.next.fetch_add(1, Ordering::Relaxed),
                exp_ms: now.saturating_add(lifetime.saturating_mul(1_000)),
                padding: String::new(),
            },
        };
        let header = serde_json::json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        // A short token would hide a header or buffer limit that Layer's own
        // token, of about a kilobyte, runs into. The signature takes 86.
        let bare = serde_json::to_vec(&claims).ok()?.len();
        let room = TOKEN_BYTES.saturating_sub(header.len() + 86 + 2) * 3 / 4;
        claims.private.padding = "x".repeat(room.saturating_sub(bare));
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).ok()?);
        let mut token = format!("{header}.{payload}");
        let signature = self.key.sign(&self.random, token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Some(token)
    }

    pub(crate) fn check(&self, token: &str, now: UnixMillis) -> Result<Claims, Refusal> {
        let claims = self.open(token).ok_or(Refusal::Malformed)?;
        if now >= claims.private.exp_ms {
            return Err(Refusal::Expired);
        }
        let number = claims.private.number;
        let revoked = lock(&self.revoked);
        let before = match claims.kind() {
            TokenKind::Access => revoked.access_before,
            TokenKind::Business => revoked.business_before,
        };
        if number < before || revoked.numbers.contains(&number) {
            return Err(Refusal::Revoked);
        }
        Ok(claims)
    }

    fn open(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_header, payload) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// Revokes one token; false if this emulator never issued it.
    pub(crate) fn revoke(&self, token: &str) -> bool {
        let Some(claims) = self.open(token) else {
            return false;
        };
        let mut revoked = lock(&self.revoked);
        if revoked.numbers.insert(claims.private.number) {
            revoked.order.push_back(claims.private.number);
        }
        if revoked.order.len() > REVOKED_CAP
            && let Some(oldest) = revoked.order.pop_front()
        {
            revoked.numbers.remove(&oldest);
        }
        true
    }

    /// Revokes every token of a kind that was issued until now.
    pub(crate) fn revoke_all(&self, kind: TokenKind) {
        let next = self.next.load(Ordering::Relaxed);
        let mut revoked = lock(&self.revoked);
        match kind {
            TokenKind::Access => revoked.access_before = next,
            TokenKind::Business => revoked.business_before = next,
        }
    }
}

impl Claims {
    pub(crate) fn kind(&self) -> TokenKind {
        if self.business_id.is_some() {
            TokenKind::Business
        } else {
            TokenKind::Access
        }
    }
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
    fn a_token_is_good_until_its_last_millisecond() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 1_900).unwrap();
        assert!((1000..1100).contains(&token.len()), "{}", token.len());
        assert_eq!(tokens.check(&token, 3_899).unwrap().client_id, "client");
        assert_eq!(tokens.check(&token, 3_900).unwrap_err(), Refusal::Expired);
    }

    #[test]
    fn the_claims_are_those_of_an_access_token() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 5_000).unwrap();
        let mut parts = token.split('.').map(|part| {
            serde_json::from_slice::<serde_json::Value>(
                &URL_SAFE_NO_PAD.decode(part).unwrap_or_default(),
            )
            .unwrap_or_default()
        });
        let header = parts.next().unwrap();
        assert_eq!(header["alg"], "ES256");
        assert!(header["kid"].is_string());
        let claims = parts.next().unwrap();
        assert_eq!(claims["client_id"], "client");
        assert_eq!(claims["scope"], "scope");
        assert_eq!(claims["token_use"], "access");
        assert_eq!(claims["iat"], 5);
        assert_eq!(claims["exp"], 7);
        assert!(claims["jti"].is_string());
    }

    #[test]
    fn forged_foreign_and_cut_tokens_are_refused() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(&GRANT, 0).unwrap();
        let foreign = Tokens::new().unwrap().issue(&GRANT, 0).unwrap();
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
            assert_eq!(tokens.check(bad, 0).unwrap_err(), Refusal::Malformed);
        }
    }

    #[test]
    fn revocation_takes_one_or_a_whole_kind_and_spares_later_ones() {
        let tokens = Tokens::new().unwrap();
        let business = Grant {
            business_id: Some(random::uuid()),
            ..GRANT
        };
        let (one, two) = (
            tokens.issue(&GRANT, 0).unwrap(),
            tokens.issue(&GRANT, 0).unwrap(),
        );
        let other = tokens.issue(&business, 0).unwrap();
        assert!(tokens.revoke(&one));
        assert!(!tokens.revoke("nonsense"));
        assert_eq!(tokens.check(&one, 0).unwrap_err(), Refusal::Revoked);
        assert!(tokens.check(&two, 0).is_ok());
        tokens.revoke_all(TokenKind::Access);
        assert_eq!(tokens.check(&two, 0).unwrap_err(), Refusal::Revoked);
        assert!(tokens.check(&other, 0).is_ok());
        assert!(tokens.check(&tokens.issue(&GRANT, 0).unwrap(), 0).is_ok());
        tokens.revoke_all(TokenKind::Business);
        assert_eq!(tokens.check(&other, 0).unwrap_err(), Refusal::Revoked);
    }
}
