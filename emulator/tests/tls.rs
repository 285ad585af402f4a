//! HTTPS, good and bad, as curl judges it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use common::{PATIENCE, curl, start};
use layerfi_auth_emulator::{Emulator, HttpVersions, TlsTrouble, TlsVersions};

struct Trust(std::path::PathBuf);

impl Trust {
    fn of(layer: &Emulator) -> Self {
        let port = layer.address().port();
        let file =
            std::env::temp_dir().join(format!("layerfi-tls-{}-{port}.pem", std::process::id()));
        layer.write_ca_pem(&file).unwrap();
        Self(file)
    }

    fn call(&self, url: &str, more: &[&str]) -> (i32, String) {
        let file = self.0.to_str().unwrap();
        curl(
            &[
                &[
                    "--cacert",
                    file,
                    "-w",
                    "%{http_version} %{http_code}",
                    "-o",
                    "/dev/null",
                    url,
                ],
                more,
            ]
            .concat(),
        )
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const REFUSED: i32 = 60;
const TIMEOUT: i32 = 28;
const HANDSHAKE: i32 = 35;

#[test]
fn its_authority_vouches_for_every_loopback_name() {
    let layer = start(Emulator::builder().tls(true));
    let trust = Trust::of(&layer);
    let port = layer.address().port();
    for host in ["localhost", "127.0.0.1"] {
        let (code, text) = trust.call(&format!("https://{host}:{port}/whoami"), &["-4"]);
        assert_eq!((code, text.as_str()), (0, "2 401"), "{host}");
    }
    let (code, _) = curl(&[&format!("https://localhost:{port}/whoami")]);
    assert_eq!(code, REFUSED, "nobody else does");
    let plain = start(Emulator::builder());
    assert!(plain.ca_pem().is_none());
    assert!(plain.set_tls_trouble(None).is_err());
}

#[test]
fn an_authority_whose_key_is_kept_is_trusted_after_a_restart() {
    let key = &rcgen::KeyPair::generate().unwrap().serialize_pem();
    let address = "127.4.5.6".parse().unwrap();
    let trust = Trust::of(&start(Emulator::builder().authority_key(key)));
    let again = start(Emulator::builder().authority_key(key).api_address(address));
    let (code, text) = trust.call(&format!("{}/whoami", again.url()), &[]);
    assert_eq!((code, text.as_str()), (0, "2 401"), "{}", again.url());
    let other = start(Emulator::builder().tls(true));
    let (code, _) = trust.call(&format!("{}/whoami", other.url()), &[]);
    assert_eq!(code, REFUSED);
    let none = Emulator::builder().authority_key("no key");
    assert!(none.start_blocking().is_err());
}

#[test]
fn it_listens_on_ipv6_loopback_too() {
    let Ok(layer) = Emulator::builder()
        .bind_address("::1".parse().unwrap())
        .tls(true)
        .start_blocking()
    else {
        return; // No IPv6 on this machine.
    };
    let (code, text) = Trust::of(&layer).call(&format!("{}/whoami", layer.url()), &[]);
    assert_eq!((code, text.as_str()), (0, "2 401"));
}

#[test]
fn each_trouble_is_refused_and_can_be_mended() {
    let layer = start(Emulator::builder().tls(true));
    let trust = Trust::of(&layer);
    let url = format!("{}/whoami", layer.url());
    for trouble in [
        TlsTrouble::Expired,
        TlsTrouble::NotYetValid,
        TlsTrouble::WrongHost,
        TlsTrouble::SelfSigned,
    ] {
        layer.set_tls_trouble(Some(trouble)).unwrap();
        let (code, text) = trust.call(&url, &[]);
        assert_eq!(code, REFUSED, "{trouble:?}: {text}");
        let word = match trouble {
            TlsTrouble::Expired => "expired",
            TlsTrouble::NotYetValid => "not yet valid",
            TlsTrouble::WrongHost => "no alternative certificate subject name matches",
            _ => "self",
        };
        assert!(text.contains(word), "{trouble:?}: {text}");
    }
    layer
        .set_tls_trouble(Some(TlsTrouble::HandshakeStall))
        .unwrap();
    assert_eq!(trust.call(&url, &["--max-time", "1"]).0, TIMEOUT);
    layer.set_tls_trouble(None).unwrap();
    assert_eq!(trust.call(&url, &[]).0, 0);
    assert_eq!(layer.counters().total, 1, "no request came through trouble");
    assert!(layer.wait_until(|counters| counters.open_connections == 0, PATIENCE));
}

#[test]
fn trouble_can_be_there_from_the_start_and_is_there_after_a_reset() {
    let layer = start(Emulator::builder().tls_trouble(TlsTrouble::WrongHost));
    let trust = Trust::of(&layer);
    let url = format!("{}/whoami", layer.url());
    assert_eq!(trust.call(&url, &[]).0, REFUSED);
    layer.set_tls_trouble(None).unwrap();
    assert_eq!(trust.call(&url, &[]).0, 0);
    layer.reset();
    assert_eq!(trust.call(&url, &[]).0, REFUSED);
}

#[test]
fn versions_can_be_chosen() {
    for (versions, good, bad) in [
        (TlsVersions::Tls12, "--tls-max=1.2", "--tlsv1.3"),
        (TlsVersions::Tls13, "--tlsv1.3", "--tls-max=1.2"),
    ] {
        let layer = start(Emulator::builder().tls(true).tls_versions(versions));
        let trust = Trust::of(&layer);
        let url = format!("{}/whoami", layer.url());
        let flags = |flag: &'static str| flag.split('=').collect::<Vec<_>>();
        assert_eq!(trust.call(&url, &flags(good)).0, 0);
        assert_eq!(trust.call(&url, &flags(bad)).0, HANDSHAKE);
        assert!(layer.wait_until(|counters| counters.tls_failures == 1, PATIENCE));
    }
    for (versions, seen) in [
        (HttpVersions::Both, "2 401"),
        (HttpVersions::Http1, "1.1 401"),
        (HttpVersions::Http2, "2 401"),
    ] {
        let layer = start(Emulator::builder().tls(true).http_versions(versions));
        let (_, text) = Trust::of(&layer).call(&format!("{}/whoami", layer.url()), &[]);
        assert_eq!(text, seen);
    }
    let layer = start(Emulator::builder());
    let url = format!("{}/whoami", layer.url());
    let (_, text) = curl(&[
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}",
        "-o",
        "/dev/null",
        &url,
    ]);
    assert_eq!(text, "2", "without TLS, for those who know");
}
