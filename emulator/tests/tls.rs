//! HTTPS with and without a defect, verified by curl.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use common::{curl, start, start_error, wait_until};
use layerfi_auth_emulator::{Emulator, EmulatorError, HttpVersions, TlsTrouble, TlsVersions};

// Exit codes of curl.
const SUCCESS: i32 = 0;
const CERTIFICATE_REFUSED: i32 = 60;
const TIMED_OUT: i32 = 28;
const HANDSHAKE_FAILED: i32 = 35;

/// curl that trusts the authority of an emulator.
struct TrustingCurl(std::path::PathBuf);

impl TrustingCurl {
    fn of(layer: &Emulator) -> Self {
        let port = layer.address().port();
        let file =
            std::env::temp_dir().join(format!("layerfi-tls-{}-{port}.pem", std::process::id()));
        layer.write_ca_pem(&file).unwrap();
        Self(file)
    }

    /// Exit code, and HTTP version and status or the error text.
    fn run(&self, url: &str, more: &[&str]) -> (i32, String) {
        let file = self.0.to_str().unwrap();
        let args = [
            "--cacert",
            file,
            "-w",
            "%{http_version} %{http_code}",
            "-o",
            "/dev/null",
            url,
        ];
        curl(&[&args, more].concat())
    }

    #[track_caller]
    fn expect(&self, url: &str, more: &[&str], expected: i32) -> String {
        let (code, text) = self.run(url, more);
        assert_eq!(
            code, expected,
            "wrong exit code of curl {more:?} for {url}: {text}"
        );
        text
    }

    #[track_caller]
    fn expect_http2(&self, url: &str, more: &[&str]) {
        let text = self.expect(url, more, SUCCESS);
        assert_eq!(text, "2 401", "wrong HTTP version or status for {url}");
    }
}

impl Drop for TrustingCurl {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn whoami_url(layer: &Emulator) -> String {
    format!("{}/whoami", layer.url())
}

#[test]
fn certificate_is_valid_for_loopback_names_with_the_authority() {
    let layer = start(Emulator::builder().tls(true));
    let trusting = TrustingCurl::of(&layer);
    let port = layer.address().port();
    for host in ["localhost", "127.0.0.1"] {
        trusting.expect_http2(&format!("https://{host}:{port}/whoami"), &["-4"]);
    }
    let (code, text) = curl(&[&format!("https://localhost:{port}/whoami")]);
    assert_eq!(
        code, CERTIFICATE_REFUSED,
        "curl without the authority must refuse the certificate: {text}"
    );
}

#[test]
fn emulator_without_tls_has_no_authority_and_no_defects() {
    let layer = start(Emulator::builder());
    assert!(
        layer.ca_pem().is_none(),
        "plain HTTP must have no authority"
    );
    let result = layer.set_tls_trouble(None);
    assert!(
        matches!(result, Err(EmulatorError::Invalid(_))),
        "plain HTTP must refuse a TLS defect: {result:?}"
    );
}

#[test]
fn authority_with_the_same_key_is_trusted_after_a_restart() {
    let key = &rcgen::KeyPair::generate().unwrap().serialize_pem();
    let address = "127.4.5.6".parse().unwrap();
    let trusting = TrustingCurl::of(&start(Emulator::builder().authority_key(key)));
    let again = start(Emulator::builder().authority_key(key).api_address(address));
    trusting.expect_http2(&whoami_url(&again), &[]);
    let other = start(Emulator::builder().tls(true));
    trusting.expect(&whoami_url(&other), &[], CERTIFICATE_REFUSED);
    let error = start_error(Emulator::builder().authority_key("not a key"));
    assert!(
        matches!(error, EmulatorError::Invalid(_)),
        "wrong error for an invalid key: {error:?}"
    );
}

#[test]
fn emulator_can_listen_on_ipv6_loopback() {
    let Ok(layer) = Emulator::builder()
        .bind_address("::1".parse().unwrap())
        .tls(true)
        .start_blocking()
    else {
        return; // This machine has no IPv6.
    };
    TrustingCurl::of(&layer).expect_http2(&whoami_url(&layer), &[]);
}

#[test]
fn each_defect_makes_curl_fail_and_can_be_removed() {
    let layer = start(Emulator::builder().tls(true));
    let trusting = TrustingCurl::of(&layer);
    let url = whoami_url(&layer);
    for (trouble, part) in [
        (TlsTrouble::Expired, "expired"),
        (TlsTrouble::NotYetValid, "not yet valid"),
        (
            TlsTrouble::WrongHost,
            "no alternative certificate subject name matches",
        ),
        (TlsTrouble::SelfSigned, "self"),
    ] {
        layer.set_tls_trouble(Some(trouble)).unwrap();
        let text = trusting.expect(&url, &[], CERTIFICATE_REFUSED);
        assert!(
            text.contains(part),
            "curl's error for {trouble:?} must contain {part:?}: {text}"
        );
    }
    layer
        .set_tls_trouble(Some(TlsTrouble::HandshakeStall))
        .unwrap();
    trusting.expect(&url, &["--max-time", "1"], TIMED_OUT);
    layer.set_tls_trouble(Some(TlsTrouble::Tls11)).unwrap();
    let text = trusting.expect(&url, &[], HANDSHAKE_FAILED);
    assert!(
        text.contains("protocol version"),
        "curl's error must be the alert protocol_version: {text}"
    );
    layer.set_tls_trouble(Some(TlsTrouble::PlainHttp)).unwrap();
    let text = trusting.expect(&url, &[], HANDSHAKE_FAILED);
    assert!(
        text.contains("wrong version number"),
        "curl's error must be that the answer is not TLS: {text}"
    );
    common::send(layer.address(), "GET", "/", &[], "").expect_status(401);
    layer.clear_log();
    layer.set_tls_trouble(None).unwrap();
    trusting.expect(&url, &[], SUCCESS);
    assert_eq!(
        layer.counters().total,
        1,
        "no request must arrive over a connection with a defect"
    );
    wait_until(&layer, "no open connection", |counters| {
        counters.open_connections == 0
    });
}

#[test]
fn defect_set_at_start_is_restored_by_a_reset() {
    let layer = start(Emulator::builder().tls_trouble(TlsTrouble::WrongHost));
    let trusting = TrustingCurl::of(&layer);
    let url = whoami_url(&layer);
    trusting.expect(&url, &[], CERTIFICATE_REFUSED);
    layer.set_tls_trouble(None).unwrap();
    trusting.expect(&url, &[], SUCCESS);
    layer.reset();
    trusting.expect(&url, &[], CERTIFICATE_REFUSED);
}

#[test]
fn only_the_set_tls_versions_are_offered() {
    for (versions, accepted, refused) in [
        (
            TlsVersions::Tls12,
            &["--tls-max", "1.2"][..],
            &["--tlsv1.3"][..],
        ),
        (TlsVersions::Tls13, &["--tlsv1.3"], &["--tls-max", "1.2"]),
    ] {
        let layer = start(Emulator::builder().tls(true).tls_versions(versions));
        let trusting = TrustingCurl::of(&layer);
        let url = whoami_url(&layer);
        trusting.expect(&url, accepted, SUCCESS);
        trusting.expect(&url, refused, HANDSHAKE_FAILED);
        wait_until(&layer, "one failed TLS handshake", |counters| {
            counters.tls_failures == 1
        });
    }
}

#[test]
fn only_the_set_http_versions_are_used() {
    for (versions, expected) in [
        (HttpVersions::Both, "2 401"),
        (HttpVersions::Http1, "1.1 401"),
        (HttpVersions::Http2, "2 401"),
    ] {
        let layer = start(Emulator::builder().tls(true).http_versions(versions));
        let (_, text) = TrustingCurl::of(&layer).run(&whoami_url(&layer), &[]);
        assert_eq!(
            text, expected,
            "wrong HTTP version or status with {versions:?}"
        );
    }
    let layer = start(Emulator::builder());
    let url = whoami_url(&layer);
    let (_, text) = curl(&[
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}",
        "-o",
        "/dev/null",
        &url,
    ]);
    assert_eq!(
        text, "2",
        "plain HTTP must support HTTP/2 with prior knowledge"
    );
}

#[test]
fn authority_can_be_served_as_the_certificate() {
    let layer = start(Emulator::builder().tls_trouble(TlsTrouble::CaAsLeaf));
    let served = std::process::Command::new("sh")
        .args([
            "-c",
            "openssl s_client -connect $1 </dev/null 2>/dev/null",
            "sh",
        ])
        .arg(layer.address().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&served.stdout).into_owned();
    assert!(
        text.contains(layer.ca_pem().unwrap().replace("\r\n", "\n").trim()),
        "the served certificate must be the authority's: {text}"
    );
}

#[test]
fn rotated_authority_is_trusted_and_the_old_one_is_not_until_a_reset() {
    let layer = start(Emulator::builder().tls(true));
    let (old, url) = (TrustingCurl::of(&layer), whoami_url(&layer));
    let old_pem = layer.ca_pem().unwrap();
    old.expect(&url, &[], SUCCESS);
    let pem = layer.rotate_authority().unwrap();
    assert_eq!(
        Some(&pem),
        layer.ca_pem().as_ref(),
        "ca_pem must be the new one"
    );
    assert_ne!(pem, old_pem, "the authority must be a new one");
    old.expect(&url, &[], CERTIFICATE_REFUSED);
    // Writes the new authority to the same file.
    layer.write_ca_pem(&old.0).unwrap();
    old.expect(&url, &[], SUCCESS);
    let rotated = common::command(&layer, "POST", "/tls/rotate", "");
    let info = common::command(&layer, "GET", "/", "");
    assert_eq!(
        rotated["ca_pem"], info["ca_pem"],
        "GET / must show the new authority"
    );
    old.expect(&url, &[], CERTIFICATE_REFUSED);
    layer.reset();
    assert_eq!(
        layer.ca_pem(),
        Some(old_pem),
        "a reset must restore the authority"
    );
    let plain = start(Emulator::builder());
    common::control(&plain, "POST", "/tls/rotate", "").expect_status(400);
}

/// A file that does not exist yet, and is removed at the end.
struct AuthorityFile(std::path::PathBuf);

impl AuthorityFile {
    fn new(test: &str) -> Self {
        let name = format!("layerfi-authority-{}-{test}.pem", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for AuthorityFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn authority_in_a_file_is_the_same_after_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = AuthorityFile::new("restart");
    let first = start(Emulator::builder().authority_file(&file.0));
    let mode = std::fs::metadata(&file.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the owner may read the key");
    let pem = first.ca_pem().unwrap();
    let curl = TrustingCurl::of(&first);
    drop(first);
    let second = start(Emulator::builder().authority_file(&file.0));
    assert_eq!(
        second.ca_pem().unwrap(),
        pem,
        "the certificate must be the same"
    );
    let url = format!("{}/whoami", second.url());
    curl.expect_http2(&url, &[]);
    second.rotate_authority().unwrap();
    curl.expect(&url, &[], CERTIFICATE_REFUSED);
    let third = start(Emulator::builder().authority_file(&file.0));
    curl.expect_http2(&format!("{}/whoami", third.url()), &[]);
}

#[test]
fn authority_in_a_file_certifies_no_other_host() {
    let file = AuthorityFile::new("hosts");
    let own = start(
        Emulator::builder()
            .authority_file(&file.0)
            .name("layer.test"),
    );
    let curl = TrustingCurl::of(&own);
    let at = |layer: &Emulator, host: &str| {
        let port = layer.address().port();
        let resolve = format!("{host}:{port}:127.0.0.1");
        (format!("https://{host}:{port}/whoami"), resolve)
    };
    let (url, resolve) = at(&own, "layer.test");
    curl.expect_http2(&url, &["--resolve", &resolve]);
    // Somebody who has the key signs a certificate for another site.
    let text = std::fs::read_to_string(&file.0).unwrap();
    let key = &text[text.find("-----BEGIN PRIVATE KEY-----").unwrap()..];
    let thief = start(Emulator::builder().authority_key(key).name("bank.example"));
    let (url, resolve) = at(&thief, "bank.example");
    curl.expect(&url, &["--resolve", &resolve], CERTIFICATE_REFUSED);
    // A later start says so, instead of the client.
    let error = start_error(
        Emulator::builder()
            .authority_file(&file.0)
            .name("bank.example"),
    );
    assert!(
        error
            .to_string()
            .contains("cannot certify the host bank.example"),
        "wrong error for another host: {error}"
    );
}

#[test]
fn authority_file_that_is_not_valid_is_refused_without_its_content() {
    let file = AuthorityFile::new("invalid");
    drop(start(Emulator::builder().authority_file(&file.0)));
    let text = std::fs::read_to_string(&file.0).unwrap();
    let other = AuthorityFile::new("other");
    drop(start(Emulator::builder().authority_file(&other.0)));
    let foreign = std::fs::read_to_string(&other.0).unwrap();
    let (certificate, _) = text.split_once("-----BEGIN PRIVATE KEY-----").unwrap();
    let key = &foreign[foreign.find("-----BEGIN PRIVATE KEY-----").unwrap()..];
    for (content, expected) in [
        (String::new(), "no private key"),
        (certificate.to_owned(), "no private key"),
        (key.to_owned(), "no certificate"),
        (format!("{certificate}{key}"), "another key"),
        (
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n\
             -----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
                .to_owned(),
            "not PKCS#8",
        ),
    ] {
        std::fs::write(&file.0, &content).unwrap();
        let error = start_error(Emulator::builder().authority_file(&file.0)).to_string();
        assert!(
            error.contains(expected) && error.contains("delete it"),
            "the error must contain {expected:?}: {error}"
        );
        assert!(!error.contains("c2Vj"), "the error must not show the key");
    }
    let missing = start_error(Emulator::builder().authority_file("/nonexistent/ca.pem"));
    assert!(
        matches!(missing, EmulatorError::AuthorityFile { .. }),
        "wrong error for a folder that does not exist: {missing}"
    );
    let both = Emulator::builder()
        .authority_file(&other.0)
        .authority_key("x");
    assert!(
        matches!(start_error(both), EmulatorError::Invalid(_)),
        "a key and a file together must be refused"
    );
}
