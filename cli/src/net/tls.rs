//! TLS handshake that reports the version, the certificate and why it failed.

use std::sync::Arc;

use layerfi_auth::diagnosis::Trusted;
use rustls::client::WebPkiServerVerifier;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::flag_names;
use crate::net::certificate::{CertificateSummary, RecordingVerifier};
use crate::net::endpoint::Endpoint;

/// A completed handshake.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) version: &'static str,
    pub(crate) certificate: Option<CertificateSummary>,
    /// What the certificate was verified with.
    pub(crate) trusted: String,
}

/// A failed step of a connection: what failed and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// Performs a TLS handshake over an open connection.
pub(crate) async fn handshake(
    stream: TcpStream,
    to: &Endpoint,
    trusted: &Trusted,
) -> Result<Handshake, Problem> {
    let internal = |error: String| Problem {
        message: format!("cannot set up TLS: {error}"),
        remedy: "report this as a bug".to_owned(),
    };
    let store = trusted.store();
    if store.is_empty() {
        return Err(explain(
            &rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            to,
            trusted,
            None,
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider))
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
                trusted: trusted.summary(),
            })
        }
        Err(error) => {
            let cause = error
                .get_ref()
                .and_then(|cause| cause.downcast_ref::<rustls::Error>());
            Err(match cause {
                Some(cause) => explain(cause, to, trusted, verifier.certificate().as_ref()),
                None => Problem {
                    message: format!("the connection broke during the handshake: {error}"),
                    remedy: "check that the URL's port serves TLS; a firewall or proxy may have \
                             closed the connection"
                        .to_owned(),
                },
            })
        }
    }
}

/// The engine's explanation, with the issuer of the certificate.
fn explain(
    cause: &rustls::Error,
    to: &Endpoint,
    trusted: &Trusted,
    certificate: Option<&CertificateSummary>,
) -> Problem {
    let error = trusted.explain(cause, &to.authority());
    let mut message = error.message().to_owned();
    if let (rustls::Error::InvalidCertificate(_), Some(summary)) = (cause, certificate) {
        message.push_str(&format!(" (issuer: {})", summary.issuer));
    }
    Problem {
        message,
        remedy: flag_names::remedy(&error),
    }
}
