//! TLS settings: the system's roots and additional private authorities.
//! Verification cannot be turned off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::error::{Error, ErrorKind, Result};

/// The system's roots, cached after all of them could be read. Reading them
/// takes some milliseconds, thirty times as long as a handshake.
static ROOTS: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// When [`ROOTS`] was last cleared, in seconds since 1970.
static FORGOTTEN_AT: AtomicU64 = AtomicU64::new(0);

/// The system's roots. An empty or incomplete store is used, but not cached: a
/// bundle may be mounted late, or the process may be out of file descriptors for
/// a moment.
fn system_roots() -> Arc<RootCertStore> {
    if let Some(roots) = ROOTS.load_full() {
        return roots;
    }
    let mut roots = RootCertStore::empty();
    // A system without certificates is not an error here, since a private
    // authority may be enough. Otherwise the first handshake fails and says so.
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(target: "layerfi_auth", added, ignored, "read the system's certificates");
    for error in &found.errors {
        tracing::warn!(target: "layerfi_auth", %error, "cannot read a certificate of the system");
    }
    let roots = Arc::new(roots);
    if added > 0 && found.errors.is_empty() {
        ROOTS.store(Some(Arc::clone(&roots)));
    }
    roots
}

/// Makes the next client read the system's roots again. `false` if that was done
/// within `interval`.
pub(super) fn forget_roots(interval: Duration) -> bool {
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    let last = FORGOTTEN_AT.load(Ordering::Relaxed);
    let is_due = now.abs_diff(last) >= interval.as_secs();
    let claimed = is_due
        && FORGOTTEN_AT
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if claimed {
        ROOTS.store(None);
    }
    claimed
}

/// TLS settings of a client, with `extra` roots in addition to the system's.
pub(super) fn client_config(extra: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig> {
    let mut roots = system_roots();
    if !extra.is_empty() {
        let roots = Arc::make_mut(&mut roots);
        for certificate in extra {
            roots
                .add(certificate.clone())
                .map_err(|error| bad_ca(error.to_string()))?;
        }
    }
    // The provider is named here and not taken from the process: a library must
    // not depend on the provider that the program installed, and must not install
    // one.
    let provider = super::crypto::provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            let what = format!("cannot set up TLS: {error}");
            Error::new(ErrorKind::Internal, what, "report this")
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn bad_ca(why: String) -> Error {
    Error::config(
        "ca_file",
        format!("ca_file is not valid: {why}"),
        "give a PEM file with one or more certificates in ca_file or LAYER_CA_FILE",
    )
}

/// Describes what is wrong with PEM text. The error's own text would quote it,
/// and a file that was named by mistake may contain anything.
fn malformed(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM text has no end",
        pem::Error::IllegalSectionStart { .. } => {
            "a section of the PEM text has an invalid first line"
        }
        pem::Error::Base64Decode(_) => "the PEM text is not valid base64",
        _ => "it is not PEM text",
    }
}

/// Parses PEM text of one or more certificates and checks that each can be a root.
pub(crate) fn parse_ca(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_ca(malformed(&error).to_owned()))?;
    if certificates.is_empty() {
        return Err(bad_ca("it has no certificate".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| bad_ca(error.to_string()))?;
    }
    Ok(certificates)
}

/// TLS error in a chain of causes.
pub(super) fn find_error(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    let mut cause = Some(error);
    while let Some(next) = cause {
        if let Some(tls) = next.downcast_ref::<rustls::Error>() {
            return Some(tls.clone());
        }
        // The `source` of an io::Error is its payload's source: check the payload.
        if let Some(payload) = next
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            && let Some(found) = find_error(payload)
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
    fn b22_invalid_ca_is_refused_without_quoting_it() {
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
            // Neither as text nor as a list of byte values.
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("canary") && !shown.contains("99, 97"),
                "{shown}"
            );
        }
    }
}
