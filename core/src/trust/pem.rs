//! Parsing of certificates in PEM text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::error::{Error, Result};

/// Passes on each certificate of PEM text in the form of RFC 7468, in which all bundles
/// are: lines of 64 characters. `None` for any other text, which only rustls-pki-types
/// reads; some certificates may have been passed on. Its decoder takes four times as long,
/// more than the rest of a process's first token.
pub(crate) fn strict_pem(
    mut text: &str,
    mut found: impl FnMut(CertificateDer<'static>),
) -> Option<()> {
    let mut base64 = Vec::new();
    loop {
        // Lines between certificates are comments.
        while !text.starts_with('-') {
            let (comment, rest) = text.split_once('\n').unwrap_or((text, ""));
            if comment.contains('\r') {
                return None;
            }
            if rest.is_empty() {
                return Some(());
            }
            text = rest;
        }
        text = text.strip_prefix("-----BEGIN CERTIFICATE-----\n")?;
        let (lines, rest) = text.split_at(text.find('-')?);
        text = rest.strip_prefix("-----END CERTIFICATE-----")?;
        text = if text.is_empty() {
            text
        } else {
            text.strip_prefix('\n')?
        };
        base64.clear();
        for line in lines.as_bytes().chunks(65) {
            base64.extend_from_slice(line.strip_suffix(b"\n")?);
        }
        let der = BASE64_STANDARD.decode(&base64).ok()?;
        found(der.into());
    }
}

/// Parses PEM text of one or more certificates and checks that each can be a root.
/// `place` is where it comes from.
pub(crate) fn parse_ca(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |why: &str| {
        Error::config(
            "ca_file",
            format!("{place} is not valid: {why}"),
            "set {ca_file} to a PEM file with one or more certificates",
        )
    };
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(malformed(&error)))?;
    if certificates.is_empty() {
        return Err(bad("it has no certificate"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| bad(&error.to_string()))?;
    }
    Ok(certificates)
}

/// Describes what is wrong with PEM text. The error's own text would quote it,
/// and a file that was named by mistake may contain anything.
pub(super) fn malformed(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM text has no end",
        pem::Error::IllegalSectionStart { .. } => {
            "a section of the PEM text has an invalid first line"
        }
        pem::Error::Base64Decode(_) => "the PEM text is not valid base64",
        _ => "it is not PEM text",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_strictly(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
        let mut certificates = Vec::new();
        strict_pem(pem, |certificate| certificates.push(certificate))?;
        Some(certificates)
    }

    #[test]
    fn b25_carriage_returns_in_a_bundle_are_left_to_the_library() {
        for pem in [
            "# comment\r-----BEGIN CERTIFICATE-----\n",
            "# comment\r",
            "# comment\r\n# another\n",
        ] {
            assert_eq!(read_strictly(pem), None, "{pem:?}");
        }
    }

    fn read_by_library(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<_, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        certificates.ok()
    }

    fn armored(der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    }

    proptest! {
        #[test]
        fn b25_bundle_of_usual_form_is_read_as_the_library_reads_it(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..4),
            comment in "[a-zA-Z #\\n]*",
        ) {
            let mut pem = String::new();
            for der in &contents {
                pem.push_str(&format!("{comment}\n{}", armored(der)));
            }
            pem.push_str(&comment);
            let read = read_strictly(&pem);
            prop_assert_eq!(&read, &read_by_library(&pem));
            let expected: Vec<_> = contents.into_iter().map(CertificateDer::from).collect();
            prop_assert_eq!(read, Some(expected));
        }

        #[test]
        fn b25_bundle_of_another_form_is_left_to_the_library(
            der in prop::collection::vec(any::<u8>(), 1..300),
            at in any::<prop::sample::Index>(),
            new in prop::sample::select(vec![
                "", "\n", "\r", "\r\n", " ", "-", "-----", "=", "==", "A", "é", "-----BEGIN ",
                "-----END CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\n",
            ]),
            removed in 0..3_usize,
        ) {
            let mut pem = armored(&der);
            pem.push_str(&armored(b"another"));
            let at = at.index(pem.len());
            pem.replace_range(at..(at + removed).min(pem.len()), new);
            if let Some(read) = read_strictly(&pem) {
                prop_assert_eq!(Some(read), read_by_library(&pem), "{}", pem);
            }
        }
    }

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
            let error = parse_ca(pem, "ca_file").unwrap_err();
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
