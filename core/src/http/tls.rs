//! TLS settings. Verification cannot be turned off.

use std::io;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::fork::PerProcess;
use crate::trust::Roots;

/// TLS settings of a client that trusts these roots.
pub(crate) fn client_config(roots: &Roots) -> Result<rustls::ClientConfig> {
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
        .with_root_certificates(Arc::clone(&roots.store))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS settings of connections without TLS, which the HTTP client also wants. Made once
/// per process.
pub(super) fn unused() -> Result<(rustls::ClientConfig, Arc<Roots>)> {
    static UNUSED: PerProcess<(rustls::ClientConfig, Arc<Roots>)> = PerProcess::new();
    let make = || {
        let roots = Roots::none();
        Ok((client_config(&roots)?, roots))
    };
    UNUSED.get_or_try_init(make).cloned()
}

/// TLS error that an error explains.
pub(super) fn of(error: &Error) -> Option<&rustls::Error> {
    let cause = std::error::Error::source(error)?;
    cause.downcast_ref::<rustls::Error>()
}

/// TLS error in a chain of causes.
pub(crate) fn find_error(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
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
