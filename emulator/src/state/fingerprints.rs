//! Fingerprints of credentials for the request log.

use serde::Serialize;

use crate::ids::random_bytes;

/// Scheme and fingerprint of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuthorizationMark {
    /// `Basic`, `Bearer`, or `other`.
    pub scheme: &'static str,
    /// Salted hash of the credentials. Equal credentials have equal fingerprints
    /// on one emulator; [`Emulator::fingerprint`](crate::Emulator::fingerprint)
    /// makes one for comparison.
    pub fingerprint: String,
}

/// Hashes credentials with a random salt, which exists only in this process.
pub(crate) struct Fingerprints {
    salt: [u8; 32],
}

impl Fingerprints {
    pub(crate) fn new() -> Self {
        Self {
            salt: random_bytes(),
        }
    }

    /// Scheme and fingerprint of a header value.
    pub(crate) fn mark(&self, authorization: &[u8]) -> AuthorizationMark {
        let text = String::from_utf8_lossy(authorization);
        let (scheme, credentials) = text.split_once(' ').unwrap_or(("", &text));
        let scheme = if scheme.eq_ignore_ascii_case("basic") {
            "Basic"
        } else if scheme.eq_ignore_ascii_case("bearer") {
            "Bearer"
        } else {
            "other"
        };
        AuthorizationMark {
            scheme,
            fingerprint: self.hash(credentials.trim()),
        }
    }

    /// The fingerprint of credentials without their scheme, such as a token.
    pub(crate) fn hash(&self, credentials: &str) -> String {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.salt);
        let tag = ring::hmac::sign(&key, credentials.as_bytes());
        tag.as_ref()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_differs_per_credentials_and_does_not_show_them() {
        let fingerprints = Fingerprints::new();
        let one = fingerprints.mark(b"Bearer aaaa");
        assert_eq!(
            one,
            fingerprints.mark(b"bearer aaaa"),
            "equal credentials must have equal fingerprints"
        );
        assert_eq!(
            one.fingerprint,
            fingerprints.hash("aaaa"),
            "the scheme must not change the fingerprint"
        );
        assert_ne!(
            one.fingerprint,
            fingerprints.mark(b"Bearer bbbb").fingerprint,
            "other credentials must have another fingerprint"
        );
        assert_ne!(
            one.fingerprint,
            Fingerprints::new().hash("aaaa"),
            "another salt must give another fingerprint"
        );
        let other = fingerprints.mark(b"secret");
        assert_eq!(other.scheme, "other", "wrong scheme without a space");
        assert!(
            !format!("{other:?}").contains("secret"),
            "Debug must not show credentials"
        );
    }
}
