//! What a server's certificate says, taken down on its way to the check.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::output::plain;

/// The check that rustls makes, and nothing taken away from it: this one only
/// looks at the certificate first, so that a refusal can be explained.
#[derive(Debug)]
pub(crate) struct Witness {
    check: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Witness {
    pub(crate) const fn new(check: Arc<WebPkiServerVerifier>) -> Self {
        Self {
            check,
            seen: Mutex::new(None),
        }
    }

    /// What the server showed, if it came that far.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Summary::of(seen.as_ref()?)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(end_entity.clone().into_owned());
        self.check
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.supported_verify_schemes()
    }
}

/// The part of a certificate that people ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) issuer: String,
    /// Whole days until it runs out; negative since it did.
    pub(crate) days_left: i64,
}

impl Summary {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let left = certificate.validity().not_after.timestamp() - i64::try_from(now).ok()?;
        Some(Self {
            issuer: name(certificate.issuer()),
            days_left: left.div_euclid(24 * 3_600),
        })
    }
}

/// Organization and common name, as far as there are any.
fn name(issuer: &X509Name<'_>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for attribute in issuer.iter_organization().chain(issuer.iter_common_name()) {
        if let Ok(text) = attribute.as_str()
            && !parts.contains(&text)
        {
            parts.push(text);
        }
    }
    let text: String = plain(&parts.join(", ")).chars().take(60).collect();
    if text.is_empty() {
        "an unnamed issuer".to_owned()
    } else {
        text
    }
}
