//! Issuer and lifetime of a server's certificate, recorded during verification.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::terminal::sanitize;

/// Verifier that records the server's certificate and then verifies it with
/// rustls's own verifier. The record explains why a certificate was refused.
#[derive(Debug)]
pub(crate) struct RecordingVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    recorded: Mutex<Option<CertificateDer<'static>>>,
}

impl RecordingVerifier {
    pub(crate) const fn new(verifier: Arc<WebPkiServerVerifier>) -> Self {
        Self {
            verifier,
            recorded: Mutex::new(None),
        }
    }

    /// The server's certificate, if the handshake got that far.
    pub(crate) fn certificate(&self) -> Option<CertificateSummary> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        CertificateSummary::of(recorded.as_ref()?)
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(end_entity.clone().into_owned());
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Issuer and remaining lifetime of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateSummary {
    pub(crate) issuer: String,
    /// Whole days until, or since, its expiry.
    days: i64,
    expired: bool,
}

impl CertificateSummary {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let not_after = certificate.validity().not_after.timestamp();
        let left = not_after.saturating_sub(i64::try_from(now).ok()?);
        Some(Self::new(name(certificate.issuer()), left))
    }

    fn new(issuer: String, seconds_left: i64) -> Self {
        Self {
            issuer,
            days: (seconds_left / (24 * 3_600)).saturating_abs(),
            expired: seconds_left < 0,
        }
    }

    /// Formats the lifetime: `364 days left`, `expired 1 day ago`.
    pub(crate) fn lifetime(&self) -> String {
        let days = match self.days {
            0 => "less than a day".to_owned(),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        if self.expired {
            format!("expired {days} ago")
        } else {
            format!("{days} left")
        }
    }
}

/// Returns the organization and common name of an issuer.
fn name(issuer: &X509Name<'_>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for attribute in issuer.iter_organization().chain(issuer.iter_common_name()) {
        if let Ok(text) = attribute.as_str()
            && !parts.contains(&text)
        {
            parts.push(text);
        }
    }
    let text: String = sanitize(&parts.join(", ")).chars().take(60).collect();
    if text.is_empty() {
        "an unnamed issuer".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_is_shown_in_whole_days_before_and_after_expiry() {
        const DAY: i64 = 24 * 3_600;
        for (seconds, text) in [
            (365 * DAY - 1, "364 days left"),
            (DAY, "1 day left"),
            (5, "less than a day left"),
            (-5, "expired less than a day ago"),
            (-DAY - 1, "expired 1 day ago"),
            (-2 * DAY, "expired 2 days ago"),
        ] {
            assert_eq!(
                CertificateSummary::new(String::new(), seconds).lifetime(),
                text
            );
        }
    }
}
