//! TLS: the platform's roots, own ones beside them, and no way round the check.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::error::{Error, ErrorKind, Result, clipped};

/// The platform's roots, read once per process: that takes some milliseconds,
/// thirty times as long as a handshake. Not behind a `Once`, since a fork may
/// come while it is being filled; the worst is that two threads read at once.
static PLATFORM: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

fn platform_roots() -> Arc<RootCertStore> {
    if let Some(roots) = PLATFORM.load_full() {
        return roots;
    }
    let mut roots = RootCertStore::empty();
    // A system without certificates is no error here: an own authority may be
    // all that is wanted. Without one the first handshake fails, and says so.
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(target: "layerfi_auth", added, ignored, "read the platform's certificates");
    for error in &found.errors {
        tracing::warn!(target: "layerfi_auth", %error, "a certificate of the platform cannot be read");
    }
    let roots = Arc::new(roots);
    // None is looked for again: they may not have been mounted yet.
    if added > 0 {
        PLATFORM.store(Some(Arc::clone(&roots)));
    }
    roots
}

/// What a client connects with.
pub(crate) fn client_config(extra: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig> {
    let mut roots = platform_roots();
    if !extra.is_empty() {
        let roots = Arc::make_mut(&mut roots);
        for certificate in extra {
            roots
                .add(certificate.clone())
                .map_err(|error| bad_ca(error.to_string()))?;
        }
    }
    // The provider is named, not taken from the process: a library must not
    // depend on what the host program installed, nor install anything.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS setup: {error}"), ""))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn bad_ca(why: String) -> Error {
    Error::config(
        "ca_file",
        format!("the certificate authority cannot be used: {why}"),
        "give a PEM file with one or more certificates in ca_file or LAYER_CA_FILE",
    )
}

/// What is wrong with PEM text. The error's own words quote it, and a file
/// named by mistake may hold anything.
fn malformed(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM text has no end",
        pem::Error::IllegalSectionStart { .. } => {
            "a section of the PEM text begins with a bad line"
        }
        pem::Error::Base64Decode(_) => "the PEM text holds what is not base64",
        _ => "it is not PEM text",
    }
}

/// Reads PEM text of one or more certificates and checks that each can be a root.
pub(crate) fn parse_ca(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_ca(malformed(&error).to_owned()))?;
    if certificates.is_empty() {
        return Err(bad_ca("there is no certificate in it".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| bad_ca(error.to_string()))?;
    }
    Ok(certificates)
}

/// The TLS failure in a chain of causes, if that is what it was.
pub(crate) fn cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(next) = cause {
        if let Some(tls) = next.downcast_ref::<rustls::Error>() {
            // It may name all that a certificate is for.
            return Some(clipped(&tls.to_string()));
        }
        // An io::Error's `source` is its payload's source: look at the payload.
        if let Some(payload) = next
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            && let Some(found) = self::cause(payload)
        {
            return Some(found);
        }
        cause = next.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_is_none_is_refused() {
        for pem in [
            &b""[..],
            b"hello",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            b"-----BEGIN canary",
            b"-----BEGIN canary-----\n",
        ] {
            let error = parse_ca(pem).unwrap_err();
            assert_eq!(error.field(), Some("ca_file"));
            // Neither as text nor as a list of bytes.
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("canary") && !shown.contains("99, 97"),
                "{shown}"
            );
        }
    }
}
