//! TLS handshake that reports the version, the certificate and why it failed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::certificate::{CertificateSummary, RecordingVerifier};
use crate::net::endpoint::Endpoint;

/// A completed handshake.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) version: &'static str,
    pub(crate) certificate: Option<CertificateSummary>,
}

/// A failed step of a connection: what failed and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
}

/// The CAs that the engine trusts: the system's and those in `extra_pem`.
pub(crate) fn roots(extra_pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // The engine validated them when the client was built.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(extra_pem).flatten());
    roots
}

/// Performs a TLS handshake over an open connection.
pub(crate) async fn handshake(
    stream: TcpStream,
    to: &Endpoint,
    roots: RootCertStore,
) -> Result<Handshake, Problem> {
    let internal = |error: String| Problem {
        message: format!("cannot set up TLS: {error}"),
        remedy: "report this as a bug",
    };
    if roots.is_empty() {
        return Err(Problem {
            message: "no CA certificates are installed on this machine".to_owned(),
            remedy: "install the system's CA certificates (package ca-certificates), or give a \
                     CA with --ca-file or LAYER_CA_FILE",
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| internal(error.to_string()))?;
    let verifier = Arc::new(RecordingVerifier::new(verifier));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| internal(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<RecordingVerifier>::clone(&verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name =
        ServerName::try_from(to.host.clone()).map_err(|error| internal(error.to_string()))?;
    match TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
    {
        Ok(stream) => {
            let version = match stream.get_ref().1.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            };
            Ok(Handshake {
                stream,
                version,
                certificate: verifier.certificate(),
            })
        }
        Err(error) => {
            let cause = error
                .get_ref()
                .and_then(|cause| cause.downcast_ref::<rustls::Error>());
            Err(match cause {
                Some(cause) => explain(cause, verifier.certificate().as_ref()),
                None => Problem {
                    message: format!("the connection broke during the handshake: {error}"),
                    remedy: "check that the URL's port serves TLS; a firewall or proxy may have \
                             closed the connection",
                },
            })
        }
    }
}

fn explain(cause: &rustls::Error, certificate: Option<&CertificateSummary>) -> Problem {
    let reason = match cause {
        rustls::Error::InvalidCertificate(reason) => reason,
        rustls::Error::InvalidMessage(_) => {
            return Problem {
                message: format!("the server's response is not TLS ({cause})"),
                remedy: "check the port in the URL; this port may serve plain HTTP",
            };
        }
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        ) => {
            return Problem {
                message: format!(
                    "the server and this client share no TLS version or cipher ({cause})"
                ),
                remedy: "the server must support TLS 1.2 or 1.3",
            };
        }
        _ => {
            return Problem {
                message: format!("the TLS handshake failed ({cause})"),
                remedy: "check that the URL's port serves TLS 1.2 or 1.3; a proxy may answer \
                         instead of the server",
            };
        }
    };
    let issuer = certificate.map_or("unknown", |summary| summary.issuer.as_str());
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Problem {
            message: match certificate {
                Some(summary) => {
                    format!("the certificate {} (issuer: {issuer})", summary.lifetime())
                }
                None => "the certificate has expired".to_owned(),
            },
            remedy: "the server's owner must renew it; if this machine's date is wrong, set it",
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Problem {
            message: format!("the certificate is not valid yet (issuer: {issuer})"),
            remedy: "check this machine's date, or ask the server's owner",
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Problem {
                message: format!("the certificate is for another host (issuer: {issuer})"),
                remedy: "check the host in the URL; a proxy or a captive portal may answer \
                         instead of the server",
            }
        }
        CertificateError::UnknownIssuer => Problem {
            message: format!(
                "the certificate is signed by an authority that is not trusted (issuer: {issuer})"
            ),
            remedy: "for a private CA, give its certificate with --ca-file or LAYER_CA_FILE",
        },
        _ => Problem {
            message: format!("the certificate is not valid ({reason}; issuer: {issuer})"),
            remedy: "ask the server's owner; a proxy may answer instead of the server",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_handshake_failure_has_its_own_remedy() {
        for (cause, message, remedy) in [
            (
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "is not TLS",
                "check the port",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::ProtocolVersion),
                "share no TLS version",
                "TLS 1.2 or 1.3",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::Expired),
                "has expired",
                "renew",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "not trusted",
                "--ca-file",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::Revoked),
                "is not valid",
                "owner",
            ),
            (
                rustls::Error::DecryptError,
                "handshake failed",
                "serves TLS",
            ),
        ] {
            let problem = explain(&cause, None);
            assert!(problem.message.contains(message), "{cause}: {problem:?}");
            assert!(problem.remedy.contains(remedy), "{cause}: {problem:?}");
        }
    }
}
