//! HTTPS: a certificate authority of its own, and certificates gone wrong.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

use crate::error::EmulatorError;

/// What is wrong with the emulator's TLS, for tests of a client's checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsTrouble {
    /// The certificate ran out yesterday.
    Expired,
    /// The certificate becomes valid tomorrow.
    NotYetValid,
    /// The certificate is for another host.
    WrongHost,
    /// The certificate does not come from the emulator's authority.
    SelfSigned,
    /// The handshake is never answered.
    HandshakeStall,
}

/// Which versions of TLS are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2-1.3")]
    Both,
    /// TLS 1.2 only.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Which versions of HTTP the listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HttpVersions {
    /// HTTP/1.1, and HTTP/2 for those who ask (ALPN, or prior knowledge).
    #[default]
    #[serde(rename = "1.1-2")]
    Both,
    /// HTTP/1.1 only.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 only.
    #[serde(rename = "2")]
    Http2,
}

impl HttpVersions {
    fn alpn(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Both => vec![two, one],
            Self::Http1 => vec![one],
            Self::Http2 => vec![two],
        }
    }
}

/// The authority, and a server configuration for each trouble when asked.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a certificate without trouble is for.
    names: Vec<String>,
}

impl Authority {
    /// With a key of its own, or the one that is given (PKCS#8 in PEM). Its
    /// certificates are for loopback, and for `address`.
    pub(crate) fn new(
        given_key: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Self, EmulatorError> {
        let key = match given_key {
            Some(pem) => KeyPair::from_pem(pem).map_err(|_| {
                // Not what the parser says: it may quote.
                EmulatorError::Invalid("the authority's key is no private key in PEM".to_owned())
            })?,
            None => key()?,
        };
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "layerfi-auth emulator CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = OffsetDateTime::now_utc();
        // From before a not-yet-valid or expired leaf to after it, so that the
        // leaf's dates are all that a client can object to.
        params.not_before = now - Duration::days(400);
        params.not_after = now + Duration::days(400);
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(crypto)?;
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        names.extend(address.map(|address| address.to_string()));
        Ok(Self { issuer, names })
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

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
        let key = key()?;
        let leaf = match trouble {
            Some(TlsTrouble::SelfSigned) => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        }
        .map_err(crypto)?;
        let versions: &[&SupportedProtocolVersion] = match tls {
            TlsVersions::Both => &[&TLS13, &TLS12],
            TlsVersions::Tls12 => &[&TLS12],
            TlsVersions::Tls13 => &[&TLS13],
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Its own provider, so that the process default stays the caller's.
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(crypto)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(crypto)?;
        config.alpn_protocols = http.alpn();
        Ok(Arc::new(config))
    }
}

fn key() -> Result<KeyPair, EmulatorError> {
    KeyPair::generate().map_err(crypto)
}

#[allow(clippy::needless_pass_by_value, reason = "a map_err target")]
fn crypto(error: impl ToString) -> EmulatorError {
    EmulatorError::Crypto(error.to_string())
}
