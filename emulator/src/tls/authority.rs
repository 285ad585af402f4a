//! Certificate authority, and server configurations with or without a defect.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

use crate::error::EmulatorError;
use crate::tls::options::{HttpVersions, TlsTrouble, TlsVersions};

/// Certificate authority that signs the server certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the authority, in PEM and in DER.
    pem: String,
    certificate: CertificateDer<'static>,
    /// Hosts that a certificate is valid for.
    names: Vec<String>,
}

/// How long the certificate of an authority is valid, and for which hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// For tests of one process: 400 days, any host.
    Process,
    /// For a browser that trusts it once: 10 years, only the emulator's hosts. So
    /// the key in the file is of no use against other sites.
    Kept,
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
        Self::self_signed(key, names, Scope::Process)
    }

    /// Makes an authority to keep in a file, with a new key. Also returns the key in
    /// PEM.
    pub(crate) fn to_keep(names: Vec<String>) -> Result<(Self, String), EmulatorError> {
        let key = new_key()?;
        let key_pem = key.serialize_pem();
        Ok((Self::self_signed(key, names, Scope::Kept)?, key_pem))
    }

    /// The authority of a key and a certificate in PEM. The error is what is not
    /// valid, without a part of the key.
    pub(crate) fn kept(
        key_pem: &str,
        certificate_pem: &str,
        names: Vec<String>,
    ) -> Result<Self, &'static str> {
        let key = KeyPair::from_pem(key_pem).map_err(|_| "its private key is not PKCS#8 in PEM")?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| "its certificate is not valid PEM")?;
        let public = key.public_key_raw();
        if !certificate
            .windows(public.len())
            .any(|bytes| bytes == public)
        {
            return Err("its certificate belongs to another key");
        }
        let params = params(names.clone(), Scope::Kept).map_err(|_| "a host name is not valid")?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem: certificate_pem.to_owned(),
            certificate: certificate.into_owned(),
            names,
        })
    }

    fn self_signed(key: KeyPair, names: Vec<String>, scope: Scope) -> Result<Self, EmulatorError> {
        let params = params(names.clone(), scope)?;
        let certificate = params.self_signed(&key).map_err(crypto)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            certificate: certificate.into(),
            names,
        })
    }

    /// An authority for the same names with a new key.
    pub(crate) fn renewed(&self) -> Result<Self, EmulatorError> {
        Self::new(None, self.names.clone())
    }

    /// The certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
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
                (self.certificate.clone(), self.issuer.key().serialize_der())
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

/// The parameters of the authority's certificate.
fn params(names: Vec<String>, scope: Scope) -> Result<CertificateParams, EmulatorError> {
    let constraints = NameConstraints {
        permitted_subtrees: names.iter().map(|name| subtree(name)).collect(),
        excluded_subtrees: Vec::new(),
    };
    // The names are only for `TlsTrouble::CaAsLeaf`: the certificate of an
    // authority usually has none.
    let mut params = CertificateParams::new(names).map_err(crypto)?;
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
    if scope == Scope::Kept {
        params.name_constraints = Some(constraints);
        params.not_after = now + Duration::days(3_650);
    }
    Ok(params)
}

/// The name constraint that permits one host.
fn subtree(name: &str) -> GeneralSubtree {
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
        }
        Err(_) => GeneralSubtree::DnsName(name.to_owned()),
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
