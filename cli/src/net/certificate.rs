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
    /// Whole days until it runs out, or since it did.
    days: i64,
    ran_out: bool,
}

impl Summary {
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
            ran_out: seconds_left < 0,
        }
    }

    /// Such as `364 days left`.
    pub(crate) fn life(&self) -> String {
        let days = match self.days {
            0 => "less than a day".to_owned(),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        if self.ran_out {
            format!("ran out {days} ago")
        } else {
            format!("{days} left")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_on_either_side_of_the_end() {
        const DAY: i64 = 24 * 3_600;
        for (seconds, text) in [
            (365 * DAY - 1, "364 days left"),
            (DAY, "1 day left"),
            (5, "less than a day left"),
            (-5, "ran out less than a day ago"),
            (-DAY - 1, "ran out 1 day ago"),
            (-2 * DAY, "ran out 2 days ago"),
        ] {
            assert_eq!(Summary::new(String::new(), seconds).life(), text);
        }
    }
}
