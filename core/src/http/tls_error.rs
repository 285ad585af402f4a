//! Explains failed TLS handshakes: the fact, and one useful remedy.

use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use rustls_pki_types::UnixTime;

use crate::error::clipped;
use crate::trust::{Roots, Trust};

/// Most names of a certificate that are shown.
const MAX_NAMES: usize = 5;

/// What failed and what to do. `peer` is the host, `address` its `host:port`.
pub(crate) fn explain(
    error: &rustls::Error,
    peer: &str,
    address: &str,
    roots: &Roots,
) -> (String, String) {
    use rustls::Error as Tls;
    let (what, remedy) = match error {
        Tls::InvalidCertificate(reason) => return certificate(reason, peer, roots),
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => (
            format!("the server at {address} does not speak TLS"),
            "check the port in the URL: this one may be for plain HTTP",
        ),
        Tls::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | Tls::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
        | Tls::AlertReceived(AlertDescription::ProtocolVersion) => (
            format!("the server {peer} does not support TLS 1.2 or 1.3"),
            "ask the server's owner to enable TLS 1.2 or 1.3; if it has them, check which device \
             on the way answers for it",
        ),
        Tls::PeerIncompatible(_)
        | Tls::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        ) => (
            format!("the server {peer} and this client have no TLS cipher in common"),
            "ask the server's owner to enable TLS 1.3, or an ECDHE cipher of TLS 1.2, with a \
             certificate whose key is RSA, P-256, P-384 or Ed25519; a server that requires a \
             client certificate, which is not supported, may fail in the same way",
        ),
        Tls::AlertReceived(AlertDescription::UnrecognisedName) => (
            format!("the server at {address} does not serve the name {peer}"),
            "check the host name in the URL",
        ),
        Tls::AlertReceived(AlertDescription::CertificateRequired) => (
            format!("the server {peer} requires a client certificate, which is not supported"),
            "check the host name and the port in the URL",
        ),
        other => (
            format!(
                "the TLS handshake with {peer} failed: {}",
                clipped(&other.to_string())
            ),
            "check that the URL's port serves TLS 1.2 or 1.3 and that no proxy answers for it",
        ),
    };
    (what, remedy.to_owned())
}

fn certificate(reason: &CertificateError, peer: &str, roots: &Roots) -> (String, String) {
    let expired = "check the clock of this machine; if it is right, the server's owner must renew \
                   the certificate";
    let early = "check the clock of this machine; if it is right, ask the server's owner";
    let name = "check the host name in the URL; a proxy or a login page of the network may have \
                answered for the server";
    let (what, remedy) = match reason {
        CertificateError::ExpiredContext { time, not_after } => (
            format!(
                "the certificate of {peer} has expired: it was valid until {}, and this machine's \
                 clock says {}",
                date(*not_after),
                date(*time)
            ),
            expired,
        ),
        CertificateError::Expired => (format!("the certificate of {peer} has expired"), expired),
        CertificateError::NotValidYetContext { time, not_before } => (
            format!(
                "the certificate of {peer} is not valid yet: it is valid from {}, and this \
                 machine's clock says {}",
                date(*not_before),
                date(*time)
            ),
            early,
        ),
        CertificateError::NotValidYet => {
            (format!("the certificate of {peer} is not valid yet"), early)
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => (
            format!(
                "the certificate that {peer} presented has no subjectAltName; the name in its \
                 subject does not count"
            ),
            "create a certificate with the host name as subjectAltName",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => (
            format!(
                "the certificate that {peer} presented is valid for {} only",
                names(presented)
            ),
            name,
        ),
        CertificateError::NotValidForName => (
            format!("the certificate that {peer} presented is for another host"),
            name,
        ),
        CertificateError::UnknownIssuer if roots.store.is_empty() => (
            format!(
                "the certificate of {peer} cannot be verified, because this machine has 0 trusted \
                 certificates"
            ),
            "install the system's certificates (package ca-certificates), or set {trust} to \
             bundled, or set {ca_file}",
        ),
        CertificateError::UnknownIssuer => (
            format!(
                "the certificate of {peer} is signed by an unknown authority (there are {roots})"
            ),
            match roots.trust {
                Trust::System if roots.public == 0 => {
                    "install the system's certificates (package ca-certificates), or set {trust} \
                     to bundled; for a private CA, set {ca_file} to its certificate"
                }
                Trust::System => {
                    "for a private CA, set {ca_file} to its certificate; for a public one, let the \
                     server send its intermediate certificates, too"
                }
                Trust::Bundled => {
                    "for a private CA, set {ca_file} to its certificate, or set {trust} to system \
                     if this machine has it; for a public one, let the server send its \
                     intermediate certificates, too"
                }
                Trust::CaOnly => {
                    "set {ca_file} to the certificate of the server's authority, or set {trust} \
                     to system or bundled; let the server send its intermediate certificates, too"
                }
            },
        ),
        // The signature of the certificate, or of the server in the handshake.
        CertificateError::BadSignature => (
            format!(
                "the certificate of {peer} is not signed by the trusted authority of that name: \
                 the authority has another key, or the server's RSA key is shorter than 2048 bits"
            ),
            "if the private CA was renewed, set {ca_file} to its new certificate",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            format!("the certificate of {peer} is not one of a server (extended key usage)"),
            "create a certificate with the extended key usage serverAuth",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            format!(
                "the certificate of {peer} is signed with an algorithm that is not supported, such \
                 as SHA-1"
            ),
            "create a certificate that is signed with SHA-256, SHA-384 or Ed25519",
        ),
        other => return webpki(other, peer),
    };
    (what, remedy.to_owned())
}

/// Errors whose type is not public.
fn webpki(reason: &CertificateError, peer: &str) -> (String, String) {
    let name = format!("{reason:?}");
    let (what, remedy) = if name.contains("CaUsedAsEndEntity") {
        (
            format!(
                "{peer} uses the certificate of an authority as its own (basicConstraints CA:TRUE)"
            ),
            "create a certificate for the server that is not an authority, and set {ca_file} to \
             its issuer, or to that certificate itself",
        )
    } else if name.contains("UnsupportedCertVersion") {
        (
            format!("the certificate of {peer} is not one of X.509 version 3"),
            "create a certificate of version 3, with the host name as subjectAltName",
        )
    } else if name.contains("UnsupportedCriticalExtension") {
        (
            format!(
                "the certificate of {peer}, or of its authority, has a critical extension that \
                 this client does not know"
            ),
            "create a certificate in which this extension is not critical",
        )
    } else {
        (
            format!(
                "the certificate of {peer} is not valid: {}",
                clipped(&reason.to_string())
            ),
            "ask the server's owner; a proxy may have answered for the server",
        )
    };
    (what, remedy.to_owned())
}

/// Date and time, in the form of HTTP: `Fri, 20 Nov 2026 08:00:00 GMT`.
fn date(time: UnixTime) -> String {
    // The last second that the form can show.
    const MAX: u64 = 253_402_300_799;
    let time = Duration::from_secs(time.as_secs().min(MAX));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + time)
}

/// Names of a certificate, which rustls gives as `DnsName("a.b")` or
/// `IpAddress(192.0.2.1)`. They come from the server, so other characters than those
/// of a name are left out.
fn names(presented: &[String]) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-.*:".contains(*c);
    let names: Vec<String> = presented
        .iter()
        .take(MAX_NAMES)
        .map(|name| {
            let inner = name.split_once('(').map_or(&**name, |(_, inner)| inner);
            inner.chars().filter(is_plain).take(100).collect()
        })
        .collect();
    match presented.len().checked_sub(names.len()) {
        Some(more) if more > 0 => format!("{} and {more} more names", names.join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b22_names_of_a_certificate_are_plain_text() {
        for (presented, shown) in [
            (&["DnsName(\"a.b\")"][..], "a.b"),
            (&["DnsName(\"*.a.b\")", "IpAddress(::1)"], "*.a.b, ::1"),
            (&["DnsName(\"a\n<b> c\")"], "abc"),
            (&["a"; 7], "a, a, a, a, a and 2 more names"),
        ] {
            let presented: Vec<String> = presented.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(names(&presented), shown);
        }
    }

    #[test]
    fn b22_machine_without_certificates_is_told_so() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let with = |trust, public, private| {
            let roots = Roots::for_test(trust, public, private);
            let (what, remedy) = explain(&unknown, "host", "host:443", &roots);
            format!("{what}: {remedy}")
        };
        let none = with(Trust::System, 0, 0);
        assert!(none.contains("has 0 trusted certificates"), "{none}");
        assert!(none.contains("ca-certificates"), "{none}");
        assert!(none.contains("set {trust} to bundled"), "{none}");
        let private = with(Trust::System, 0, 1);
        assert!(
            private.contains("0 trusted certificates of the system and 1"),
            "{private}"
        );
        assert!(private.contains("ca-certificates"), "{private}");
        assert!(private.contains("set {trust} to bundled"), "{private}");
        let both = with(Trust::System, 137, 1);
        assert!(both.contains("137 trusted"), "{both}");
        assert!(!both.contains("ca-certificates"), "{both}");
        let bundled = with(Trust::Bundled, 121, 1);
        assert!(
            bundled.contains("121 trusted certificates of Mozilla"),
            "{bundled}"
        );
        assert!(bundled.contains("and 1 of ca_file"), "{bundled}");
        let only = with(Trust::CaOnly, 0, 1);
        assert!(only.contains("1 trusted certificates of ca_file"), "{only}");
        assert!(only.contains("set {trust} to system"), "{only}");
        assert!(!only.contains("of the system"), "{only}");
    }

    #[test]
    fn b22_dates_are_readable_at_any_time() {
        for (seconds, shown) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            assert_eq!(date(time), shown);
        }
    }
}
