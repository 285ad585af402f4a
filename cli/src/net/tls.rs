//! A handshake of which one is told more than that it failed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Summary, Witness};
use super::place::Place;

/// What a handshake came to.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) version: &'static str,
    pub(crate) certificate: Option<Summary>,
}

/// Why it came to nothing, and what to do.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// The authorities that the engine trusts: the system's, and those given.
pub(crate) fn roots(extra_pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // The engine has checked them when the client was built.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(extra_pem).flatten());
    roots
}

/// Shakes hands over a connection that stands.
pub(crate) async fn handshake(
    stream: TcpStream,
    to: &Place,
    roots: RootCertStore,
) -> Result<Handshake, Refused> {
    let internal = |error: String| Refused {
        what: format!("TLS cannot be set up ({error})"),
        remedy: "please report this",
    };
    if roots.is_empty() {
        return Err(Refused {
            what: "this machine has no certificate authorities".to_owned(),
            remedy: "install the system's certificates (ca-certificates), or give --ca-file",
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let check = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| internal(error.to_string()))?;
    let witness = Arc::new(Witness::new(check));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| internal(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
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
                certificate: witness.summary(),
            })
        }
        Err(error) => Err(explain(&error, witness.summary().as_ref())),
    }
}

fn explain(error: &std::io::Error, certificate: Option<&Summary>) -> Refused {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let issuer = certificate.map_or("unknown", |summary| summary.issuer.as_str());
    let Some(cause) = cause else {
        return Refused {
            what: format!("the handshake broke off ({error})"),
            remedy: "check that the URL's port speaks TLS, and what stands between",
        };
    };
    let rustls::Error::InvalidCertificate(why) = cause else {
        return Refused {
            what: format!("the handshake failed ({cause})"),
            remedy: "check that the URL's port speaks TLS 1.2 or 1.3, and what stands between",
        };
    };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refused {
            what: match certificate {
                Some(summary) => format!("the certificate {} (issuer: {issuer})", summary.life()),
                None => "the certificate has run out".to_owned(),
            },
            remedy: "the server's owner must renew it; if this machine's date is wrong, set it",
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Refused {
            what: format!("the certificate is not valid yet (issuer: {issuer})"),
            remedy: "set this machine's date, or ask the server's owner",
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Refused {
                what: format!("the certificate is for another host (issuer: {issuer})"),
                remedy: "check the host in the URL; a proxy or a portal may be answering instead",
            }
        }
        CertificateError::UnknownIssuer => Refused {
            what: format!("the certificate's issuer is not trusted (issuer: {issuer})"),
            remedy: "if that authority is yours, give its certificate with --ca-file or \
                     LAYER_CA_FILE",
        },
        _ => Refused {
            what: format!("the certificate is not accepted ({cause}; issuer: {issuer})"),
            remedy: "ask the server's owner; a proxy may be answering instead",
        },
    }
}
