//! Certificate authority, and server configurations with or without a defect.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

use crate::error::EmulatorError;
use crate::tls::options::{HttpVersions, TlsTrouble, TlsVersions};

/// Certificate authority that signs the server certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Hosts that a certificate is valid for.
    names: Vec<String>,
}

impl Authority {
    /// Makes an authority with `given_key` (PKCS#8 in PEM) or a new key. Its
    /// certificates are valid for `names`.
    pub(crate) fn new(given_key: Option<&str>, names: Vec<String>) -> Result<Self, EmulatorError> {
        let key = match given_key {
            Some(pem) => KeyPair::from_pem(pem).map_err(|_| {
                // Without the parser's text, which may quote the key.
                EmulatorError::Invalid(
                    "authority_key is not a private key in PEM (PKCS#8)".to_owned(),
                )
            })?,
            None => new_key()?,
        };
        // The names are only for `TlsTrouble::CaAsLeaf`: the certificate of an
        // authority usually has none.
        let mut params = CertificateParams::new(names.clone()).map_err(crypto)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "layerfi-auth emulator CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = OffsetDateTime::now_utc();
        // Longer than any server certificate, so that a client can only refuse
        // the dates of the server certificate.
        params.not_before = now - Duration::days(400);
        params.not_after = now + Duration::days(400);
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(crypto)?;
        Ok(Self { issuer, names })
    }

    /// An authority for the same names with a new key.
    pub(crate) fn renewed(&self) -> Result<Self, EmulatorError> {
        Self::new(None, self.names.clone())
    }

    /// The certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes a new server certificate, with the defect if one is set.
    pub(crate) fn server_config(
        &self,
        trouble: Option<TlsTrouble>,
        tls: TlsVersions,
        http: HttpVersions,
    ) -> Result<Arc<ServerConfig>, EmulatorError> {
        let names = match trouble {
            Some(TlsTrouble::WrongHost) => vec!["wrong-host.invalid".to_owned()],
            _ => self.names.clone(),
        };
        let mut params = CertificateParams::new(names).map_err(crypto)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "layerfi-auth emulator");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = OffsetDateTime::now_utc();
        let (from, until) = match trouble {
            Some(TlsTrouble::Expired) => (-30, -1),
            Some(TlsTrouble::NotYetValid) => (1, 30),
            _ => (-1, 365),
        };
        params.not_before = now + Duration::days(from);
        params.not_after = now + Duration::days(until);
        let key = new_key()?;
        let (leaf, key) = match trouble {
            Some(TlsTrouble::CaAsLeaf) => {
                let certificate: &Certificate = self.issuer.as_ref();
                (certificate.der().clone(), self.issuer.key().serialize_der())
            }
            Some(TlsTrouble::SelfSigned) => {
                let leaf = params.self_signed(&key).map_err(crypto)?;
                (leaf.der().clone(), key.serialize_der())
            }
            _ => {
                let leaf = params.signed_by(&key, &self.issuer).map_err(crypto)?;
                (leaf.der().clone(), key.serialize_der())
            }
        };
        let versions: &[&SupportedProtocolVersion] = match tls {
            TlsVersions::Both => &[&TLS13, &TLS12],
            TlsVersions::Tls12 => &[&TLS12],
            TlsVersions::Tls13 => &[&TLS13],
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        // With its own provider, so that the process-wide default stays unset.
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(crypto)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .map_err(crypto)?;
        config.alpn_protocols = http.alpn();
        Ok(Arc::new(config))
    }
}

fn new_key() -> Result<KeyPair, EmulatorError> {
    KeyPair::generate().map_err(crypto)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err needs"
)]
fn crypto(error: impl ToString) -> EmulatorError {
    EmulatorError::Crypto(error.to_string())
}
