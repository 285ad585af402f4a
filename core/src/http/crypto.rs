//! Cryptography of TLS connections.

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::SignatureScheme as Scheme;
use rustls::crypto::ring::{DEFAULT_KX_GROUPS, cipher_suite};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
};
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use webpki::ring as signatures;

/// Algorithms of `ring`, as rustls's own provider has them, without those that this library
/// has no use for. They are 105 kB of the C library, and part of it even if they are removed
/// from rustls's provider, so all others are named here.
///
/// - No signing, because it has no client certificates.
/// - No ChaCha20-Poly1305, because servers have AES-GCM: TLS 1.3 requires it (RFC 8446 section
///   9.1), and a server for TLS 1.2 with ChaCha20 alone would exclude most clients. ChaCha20
///   is faster on devices without instructions for AES, but not for messages of a few kB.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: DEFAULT_KX_GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Random,
        key_provider: &NoPrivateKeys,
    })
}

/// The same as in rustls's provider, where it is private.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signatures::ECDSA_P256_SHA256,
        signatures::ECDSA_P256_SHA384,
        signatures::ECDSA_P384_SHA256,
        signatures::ECDSA_P384_SHA384,
        signatures::ED25519,
        signatures::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signatures::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signatures::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signatures::RSA_PKCS1_2048_8192_SHA256,
        signatures::RSA_PKCS1_2048_8192_SHA384,
        signatures::RSA_PKCS1_2048_8192_SHA512,
        signatures::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        signatures::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        signatures::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // TLS 1.3 takes the first algorithm of a scheme only, because a scheme names its curve.
    mapping: &[
        (
            Scheme::ECDSA_NISTP384_SHA384,
            &[signatures::ECDSA_P384_SHA384, signatures::ECDSA_P256_SHA384],
        ),
        (
            Scheme::ECDSA_NISTP256_SHA256,
            &[signatures::ECDSA_P256_SHA256, signatures::ECDSA_P384_SHA256],
        ),
        (Scheme::ED25519, &[signatures::ED25519]),
        (
            Scheme::RSA_PSS_SHA512,
            &[signatures::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA384,
            &[signatures::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA256,
            &[signatures::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PKCS1_SHA512,
            &[signatures::RSA_PKCS1_2048_8192_SHA512],
        ),
        (
            Scheme::RSA_PKCS1_SHA384,
            &[signatures::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            Scheme::RSA_PKCS1_SHA256,
            &[signatures::RSA_PKCS1_2048_8192_SHA256],
        ),
    ],
};

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(bytes).map_err(|_| GetRandomFailed)
    }
}

#[derive(Debug)]
struct NoPrivateKeys;

impl KeyProvider for NoPrivateKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General(
            "client certificates are not supported".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails after an update of rustls that changes its algorithms: change them here too.
    #[test]
    fn algorithms_are_those_of_rustls_without_chacha20() {
        let (own, all) = (provider(), rustls::crypto::ring::default_provider());
        let mut suites: Vec<_> = all
            .cipher_suites
            .iter()
            .map(|suite| suite.suite())
            .collect();
        suites.retain(|suite| !format!("{suite:?}").contains("CHACHA20"));
        let own_suites: Vec<_> = own
            .cipher_suites
            .iter()
            .map(|suite| suite.suite())
            .collect();
        assert_eq!(own_suites, suites);

        let [own_groups, groups] =
            [&*own, &all].map(|provider| provider.kx_groups.iter().map(|group| group.name()));
        assert!(own_groups.eq(groups), "the groups for the key exchange");

        let [own, all] = [&*own, &all].map(|provider| &provider.signature_verification_algorithms);
        assert!(
            own.all.iter().map(ids).eq(all.all.iter().map(ids)),
            "the algorithms of certificates: {:?} and not {:?}",
            own.all,
            all.all
        );
        let [own, all] = [own, all].map(|algorithms| {
            let schemes = algorithms.mapping.iter();
            schemes
                .map(|(scheme, of)| (*scheme, of.iter().map(ids).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        });
        assert!(own == all, "the algorithms of handshakes");
    }

    type Ids = (
        rustls_pki_types::AlgorithmIdentifier,
        rustls_pki_types::AlgorithmIdentifier,
    );

    fn ids(algorithm: &&'static dyn rustls_pki_types::SignatureVerificationAlgorithm) -> Ids {
        (algorithm.public_key_alg_id(), algorithm.signature_alg_id())
    }

    #[test]
    fn random_bytes_differ() {
        let [mut one, mut other] = [[0; 32]; 2];
        Random.fill(&mut one).unwrap();
        Random.fill(&mut other).unwrap();
        assert_ne!(one, other);
    }
}
