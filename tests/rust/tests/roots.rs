//! Files with certificates and secrets that are missing, late, incomplete or
//! replaced: nothing that was wrong for a moment is remembered. Tests of environment
//! variables and limits run `src/bin/roots_probe.rs` in a separate process.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use layerfi_auth::{ClientBuilder, ErrorKind, TestClock, Trust, blocking};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, Emulator};
use layerfi_auth_tests::{
    Authority, MAX_WAIT, TlsFront, Watchdog, client_builder, emulator, emulator_variables,
    remove_settings, wait_for,
};
use tempfile::TempDir;

/// An emulator behind TLS with a private authority.
struct Layer {
    emulator: Emulator,
    authority: Authority,
    front: TlsFront,
    folder: TempDir,
}

impl Layer {
    fn start() -> Self {
        let emulator = emulator();
        let authority = Authority::new();
        let front = TlsFront::start(emulator.address(), authority.server(&["127.0.0.1"]));
        Self {
            emulator,
            authority,
            front,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in a folder that is removed after the test.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn builder(&self) -> ClientBuilder {
        let url = self.front.url();
        client_builder(&self.emulator)
            .auth_url(format!("{url}/oauth2/token"))
            .api_url(url)
    }

    /// Uses a certificate of a new authority with the same name.
    fn renew_authority(&mut self) {
        self.authority = Authority::new();
        self.front.replace(self.authority.server(&["127.0.0.1"]));
    }

    /// Starts the probe with these variables.
    fn probe(&self, variables: &[(&str, &str)]) -> Probe {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roots_probe"));
        remove_settings(&mut command);
        let url = self.front.url();
        let mut child = command
            .envs(emulator_variables(&self.emulator))
            .env("LAYER_API_URL", &url)
            .env("LAYER_AUTH_URL", format!("{url}/oauth2/token"))
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Probe {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            _watchdog: Watchdog::new(child.id(), 3 * MAX_WAIT),
            child,
        }
    }
}

struct Probe {
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    child: Child,
    _watchdog: Watchdog,
}

impl Probe {
    fn run(&mut self, command: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the probe ended at {command:?}");
        answer
    }

    /// Asserts that a call fails because the certificate is not trusted.
    #[track_caller]
    fn assert_untrusted(&mut self) -> String {
        let answer = self.run("call");
        assert!(answer.starts_with("tls "), "{answer}");
        answer
    }

    /// Calls until a call succeeds. The quiet time after a failed call and the
    /// interval of reading files again must end first.
    #[track_caller]
    fn assert_heals(&mut self) {
        let mut last = String::new();
        wait_for("a call succeeds", || {
            last = self.run("call");
            std::thread::sleep(Duration::from_millis(50));
            last.starts_with("ok ")
        });
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn b25_bundle_that_appears_after_the_first_call_is_used() {
    let layer = Layer::start();
    let bundle = layer.path("bundle.pem");
    let pem = layer.authority.pem();
    let mut probe = layer.probe(&[("SSL_CERT_FILE", text(&bundle))]);
    let answer = probe.assert_untrusted();
    assert!(answer.contains("has 0 trusted certificates"), "{answer}");
    assert!(answer.contains("ca-certificates"), "{answer}");
    // Written in steps: empty, a part, all of it.
    for part in ["", &pem[..pem.len() / 2]] {
        fs::write(&bundle, part).unwrap();
        probe.assert_untrusted();
    }
    fs::write(&bundle, &pem).unwrap();
    probe.assert_heals();
}

#[test]
fn b25_no_free_descriptor_at_the_first_handshake_is_not_remembered() {
    let layer = Layer::start();
    // With few descriptors the folder can be opened, and its files cannot.
    for free in 0..6 {
        let folder = layer.path(&format!("certs-{free}"));
        fs::create_dir(&folder).unwrap();
        let mut probe = layer.probe(&[("SSL_CERT_DIR", text(&folder))]);
        // The thread needs descriptors of its own. No certificates are found meanwhile.
        probe.run("start");
        fs::write(folder.join("ca.pem"), layer.authority.pem()).unwrap();
        probe.run(&format!("descriptors {free}"));
        probe.run("call");
        probe.run("descriptors all");
        probe.assert_heals();
    }
}

#[test]
fn b25_unreadable_file_in_ssl_cert_dir_is_read_when_it_becomes_readable() {
    let layer = Layer::start();
    let folder = layer.path("certs");
    fs::create_dir(&folder).unwrap();
    // A link to itself cannot be read, not even by root.
    let file = folder.join("ca.pem");
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let other = folder.join("other.pem");
    fs::write(&other, Authority::new().pem()).unwrap();
    let mut probe = layer.probe(&[("SSL_CERT_DIR", text(&folder))]);
    probe.assert_untrusted();
    fs::remove_file(&file).unwrap();
    fs::write(&file, layer.authority.pem()).unwrap();
    probe.assert_heals();

    // The other files are used meanwhile.
    fs::remove_file(&other).unwrap();
    std::os::unix::fs::symlink(&other, &other).unwrap();
    let mut probe = layer.probe(&[("SSL_CERT_DIR", text(&folder))]);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
}

#[test]
fn b25_rotated_bundle_of_the_system_is_read_again() {
    let mut layer = Layer::start();
    let bundle = layer.path("bundle.pem");
    fs::write(&bundle, layer.authority.pem()).unwrap();
    let mut probe = layer.probe(&[("SSL_CERT_FILE", text(&bundle))]);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    layer.renew_authority();
    fs::write(&bundle, layer.authority.pem()).unwrap();
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "not read again: {answer}");
}

#[test]
fn b25_empty_certificate_variables_count_as_unset() {
    let layer = Layer::start();
    let of_system = layer.probe(&[]).assert_untrusted();
    let number = |answer: &str| {
        let (before, _) = answer
            .split_once(" trusted certificates of the system")
            .unwrap();
        before.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert!(number(&of_system) > 0, "this machine has no certificates");
    for variables in [
        &[("SSL_CERT_FILE", "")][..],
        &[("SSL_CERT_DIR", "")],
        &[("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", "")],
        &[("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", ":")],
    ] {
        let answer = layer.probe(variables).assert_untrusted();
        assert_eq!(
            number(&answer),
            number(&of_system),
            "{variables:?}: {answer}"
        );
    }
    // The other variable is used.
    let bundle = layer.path("ca.pem");
    fs::write(&bundle, layer.authority.pem()).unwrap();
    for variables in [
        [
            ("SSL_CERT_FILE", ""),
            ("SSL_CERT_DIR", text(layer.folder.path())),
        ],
        [("SSL_CERT_FILE", text(&bundle)), ("SSL_CERT_DIR", "")],
    ] {
        let answer = layer.probe(&variables).run("call");
        assert!(answer.starts_with("ok "), "{variables:?}: {answer}");
    }
}

/// The files and folders of the system that a probe has read.
fn read_places(probe: &mut Probe) -> Vec<String> {
    let log = probe.run("log");
    let reads = log.split(" | ").filter_map(|line| {
        let (_, after) = line.split_once("read the system's certificates place=\"")?;
        after.split_once('"').map(|(place, _)| place.to_owned())
    });
    reads.collect()
}

/// A certificate authority with another name than those of these tests.
fn unrelated_authority() -> String {
    let emulator = Emulator::builder().tls(true).start_blocking().unwrap();
    emulator.ca_pem().unwrap().to_owned()
}

#[test]
fn b25_folder_is_not_read_where_the_bundle_is_enough() {
    let layer = Layer::start();
    let bundle = layer.path("bundle.pem");
    fs::write(&bundle, layer.authority.pem()).unwrap();
    let folder = layer.path("certs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ca.pem"), Authority::new().pem()).unwrap();
    let variables = [
        ("SSL_CERT_FILE", text(&bundle)),
        ("SSL_CERT_DIR", text(&folder)),
    ];
    let mut probe = layer.probe(&variables);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    assert_eq!(read_places(&mut probe), [text(&bundle)], "what was read");
}

#[test]
fn b25_folder_is_read_after_an_unknown_authority() {
    let layer = Layer::start();
    let bundle = layer.path("bundle.pem");
    fs::write(&bundle, unrelated_authority()).unwrap();
    let folder = layer.path("certs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ca.pem"), layer.authority.pem()).unwrap();
    let variables = [
        ("SSL_CERT_FILE", text(&bundle)),
        ("SSL_CERT_DIR", text(&folder)),
    ];
    let mut probe = layer.probe(&variables);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    assert_eq!(
        read_places(&mut probe),
        [text(&bundle), text(&bundle), text(&folder)],
        "what was read"
    );
    // New connections use both, and read nothing.
    layer.front.replace(layer.authority.server(&["127.0.0.1"]));
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    assert_eq!(read_places(&mut probe).len(), 3, "read again");

    // A file of the folder that cannot be read takes nothing away from the others.
    let unreadable = folder.join("unreadable.pem");
    std::os::unix::fs::symlink(&unreadable, &unreadable).unwrap();
    let mut probe = layer.probe(&variables);
    for _ in 0..2 {
        let answer = probe.run("call");
        assert!(answer.starts_with("ok "), "{answer}");
        layer.front.replace(layer.authority.server(&["127.0.0.1"]));
    }
}

#[test]
fn b25_bundle_that_is_missing_does_not_hide_the_folder() {
    let layer = Layer::start();
    let folder = layer.path("certs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ca.pem"), layer.authority.pem()).unwrap();
    let bundle = layer.path("bundle.pem");
    let variables = [
        ("SSL_CERT_FILE", text(&bundle)),
        ("SSL_CERT_DIR", text(&folder)),
    ];
    let mut probe = layer.probe(&variables);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
}

#[test]
fn b25_bundled_roots_need_no_file_of_the_system() {
    let layer = Layer::start();
    let nothing = layer.path("nothing");
    let ca = layer.path("ca.pem");
    fs::write(&ca, layer.authority.pem()).unwrap();
    let without = ("SSL_CERT_FILE", text(&nothing));
    let answer = layer.probe(&[without]).assert_untrusted();
    assert!(answer.contains("set LAYER_TRUST to bundled"), "{answer}");

    let bundled = ("LAYER_TRUST", "bundled");
    let mut probe = layer.probe(&[without, bundled]);
    let answer = probe.assert_untrusted();
    let (before, _) = answer
        .split_once(" trusted certificates of Mozilla, compiled in, and 0 of ca_file")
        .unwrap_or_else(|| panic!("not the certificates of Mozilla: {answer}"));
    let number: u32 = before.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(number > 100, "{number} certificates of Mozilla");
    assert!(read_places(&mut probe).is_empty(), "the system's were read");

    let mut probe = layer.probe(&[without, bundled, ("LAYER_CA_FILE", text(&ca))]);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    assert!(read_places(&mut probe).is_empty(), "the system's were read");
}

#[test]
fn b25_with_ca_only_the_system_is_not_trusted() {
    let layer = Layer::start();
    let own = layer.path("own.pem");
    fs::write(&own, layer.authority.pem()).unwrap();
    let other = layer.path("other.pem");
    fs::write(&other, unrelated_authority()).unwrap();
    let ca_only = ("LAYER_TRUST", "ca_only");
    let system = ("SSL_CERT_FILE", text(&own));
    let mut probe = layer.probe(&[system, ca_only, ("LAYER_CA_FILE", text(&other))]);
    let answer = probe.assert_untrusted();
    assert!(
        answer.contains("there are 1 trusted certificates of ca_file; trust is ca_only"),
        "{answer}"
    );
    assert!(read_places(&mut probe).is_empty(), "the system's were read");
    // The file is read again as with other settings.
    fs::write(&other, layer.authority.pem()).unwrap();
    probe.assert_heals();
    assert!(read_places(&mut probe).is_empty(), "the system's were read");
}

#[test]
fn b25_connections_are_not_shared_between_kinds_of_trust() {
    let layer = Layer::start();
    let connections = |trust| {
        let builder = layer.builder().ca_pem(layer.authority.pem()).trust(trust);
        let client = builder.build_blocking().unwrap();
        let before = layer.emulator.counters().connections;
        client.whoami().unwrap();
        (client, layer.emulator.counters().connections - before)
    };
    let (_first, made) = connections(Trust::System);
    assert!(made > 0, "no connection");
    let (_equal, made) = connections(Trust::System);
    assert_eq!(made, 0, "a client with the same settings made connections");
    for other in [Trust::Bundled, Trust::CaOnly] {
        let (_other, made) = connections(other);
        assert!(made > 0, "{other} uses connections that system verified");
    }
}

#[test]
fn b25_client_of_http_urls_reads_no_certificates() {
    let layer = Layer::start();
    let (api, auth) = (layer.emulator.url(), layer.emulator.token_url());
    let mut probe = layer.probe(&[("LAYER_API_URL", &api), ("LAYER_AUTH_URL", &auth)]);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    assert!(
        read_places(&mut probe).is_empty(),
        "certificates were read for http://"
    );
}

/// Events that were logged by this process.
fn logged() -> String {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    struct Writer;
    impl std::io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOG.get().unwrap().lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = LOG.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_writer(|| Writer)
            .with_ansi(false)
            .init();
        Mutex::default()
    });
    String::from_utf8_lossy(&log.lock().unwrap()).into_owned()
}

/// Calls until a call succeeds, over new connections.
#[track_caller]
fn assert_heals(client: &blocking::Client, clock: &TestClock) {
    let mut last = None;
    wait_for("a call succeeds", || {
        // Beyond the quiet time after a failed call.
        clock.advance(Duration::from_secs(61));
        std::thread::sleep(Duration::from_millis(20));
        last = client.whoami().err();
        last.is_none()
    });
}

#[test]
fn b25_rotated_ca_file_is_read_again_after_a_failed_verification() {
    for way in ["written", "renamed", "linked"] {
        let mut layer = Layer::start();
        let file = layer.path("ca.pem");
        let place = |number: u32, pem: &str| match way {
            "written" => fs::write(&file, pem).unwrap(),
            "renamed" => {
                let new = layer.folder.path().join("new.pem");
                fs::write(&new, pem).unwrap();
                fs::rename(&new, &file).unwrap();
            }
            // As Kubernetes does: ca.pem -> ..data/ca.pem, and ..data is replaced.
            _ => {
                let folder = layer.folder.path();
                let version = folder.join(format!("..{number}"));
                fs::create_dir(&version).unwrap();
                fs::write(version.join("ca.pem"), pem).unwrap();
                let link = folder.join("..data_tmp");
                std::os::unix::fs::symlink(&version, &link).unwrap();
                fs::rename(&link, folder.join("..data")).unwrap();
                if number == 1 {
                    std::os::unix::fs::symlink("..data/ca.pem", &file).unwrap();
                } else {
                    fs::remove_dir_all(folder.join("..1")).unwrap();
                }
            }
        };
        place(1, &layer.authority.pem());
        let client = layer.builder().ca_file(&file).build_blocking().unwrap();
        client.whoami().unwrap();
        let renewed = Authority::new();
        place(2, &renewed.pem());
        layer.front.replace(renewed.server(&["127.0.0.1"]));
        layer.authority = renewed;
        if let Err(error) = client.whoami() {
            panic!("{way}: the file was not read again: {error}");
        }
    }
}

#[test]
fn b25_ca_file_that_becomes_invalid_keeps_its_last_content() {
    logged();
    let mut layer = Layer::start();
    let clock = TestClock::new();
    let file = layer.path("invalid-for-a-moment.pem");
    let first = layer.authority.pem();
    fs::write(&file, &first).unwrap();
    let client = layer
        .builder()
        .ca_file(&file)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    client.whoami().unwrap();
    // The server is ahead of the file, which is being written.
    fs::write(&file, &first[..first.len() / 2]).unwrap();
    let old = std::mem::take(&mut layer.authority);
    layer.front.replace(layer.authority.server(&["127.0.0.1"]));
    let error = client.whoami().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("set ca_file"), "{error}");
    let log = logged();
    let line = log
        .lines()
        .find(|line| line.contains("cannot read ca_file again"));
    let line = line.unwrap_or_else(|| panic!("no warning in the log: {log}"));
    assert!(line.contains("WARN"), "{line}");
    assert!(
        line.contains("invalid-for-a-moment.pem"),
        "no file name: {line}"
    );
    // The old roots still count.
    layer.front.replace(old.server(&["127.0.0.1"]));
    assert_heals(&client, &clock);
    // And the file counts as soon as it is complete.
    layer.front.replace(layer.authority.server(&["127.0.0.1"]));
    fs::write(&file, layer.authority.pem()).unwrap();
    assert_heals(&client, &clock);
}

/// Makes a pipe with a name, and a thread that writes the text into it, once.
fn pipe(path: &Path, text: String) -> std::thread::JoinHandle<()> {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success(), "mkfifo failed");
    let path = path.to_owned();
    std::thread::spawn(move || fs::write(path, text).unwrap())
}

#[test]
fn b25_pipe_with_certificates_is_read_once() {
    let mut layer = Layer::start();
    let clock = TestClock::new();
    let file = layer.path("pipe");
    let writer = pipe(&file, layer.authority.pem());
    let client = layer
        .builder()
        .ca_file(&file)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    writer.join().unwrap();
    client.whoami().unwrap();
    let bundle = layer.path("pipe-of-the-system");
    let writer = pipe(&bundle, layer.authority.pem());
    let mut probe = layer.probe(&[("SSL_CERT_FILE", text(&bundle))]);
    let answer = probe.run("call");
    assert!(answer.starts_with("ok "), "{answer}");
    writer.join().unwrap();

    // Opening a pipe without a writer would never return.
    let old = std::mem::take(&mut layer.authority);
    layer.front.replace(layer.authority.server(&["127.0.0.1"]));
    let error = client.whoami().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    probe.assert_untrusted();
    layer.front.replace(old.server(&["127.0.0.1"]));
    assert_heals(&client, &clock);
    probe.assert_heals();
}

#[test]
fn b25_ca_files_are_read_again_at_a_limited_rate() {
    let mut layer = Layer::start();
    let clock = TestClock::new();
    let file = layer.path("ca.pem");
    fs::write(&file, layer.authority.pem()).unwrap();
    let client = layer
        .builder()
        .ca_file(&file)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    client.whoami().unwrap();
    layer.renew_authority();
    let started = std::time::Instant::now();
    let error = client.whoami().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    fs::write(&file, layer.authority.pem()).unwrap();
    clock.advance(Duration::from_secs(61));
    // Read some milliseconds ago, and with success. The interval is 10 s.
    let result = client.whoami();
    if started.elapsed() < Duration::from_secs(8) {
        assert!(result.is_err(), "the files are read after each failure");
    }
    assert_heals(&client, &clock);
}

#[test]
fn b25_secret_file_that_is_replaced_by_a_link_is_read_again() {
    let layer = Layer::start();
    let clock = TestClock::new();
    let folder = layer.folder.path();
    let place = |number: u32, secret: &str| {
        let version = folder.join(format!("..{number}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("secret"), secret).unwrap();
        let link = folder.join("..data_tmp");
        std::os::unix::fs::symlink(&version, &link).unwrap();
        fs::rename(&link, folder.join("..data")).unwrap();
    };
    let file = folder.join("secret");
    place(1, layerfi_auth_emulator::DEFAULT_CLIENT_SECRET);
    std::os::unix::fs::symlink("..data/secret", &file).unwrap();
    let client = client_builder(&layer.emulator)
        .client_id(DEFAULT_CLIENT_ID)
        .client_secret_file(&file)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    client.whoami().unwrap();
    let rotated = "a-rotated-secret-of-this-test";
    layer.emulator.rotate(DEFAULT_CLIENT_ID, rotated).unwrap();
    layer
        .emulator
        .revoke_all(layerfi_auth_emulator::TokenKind::Access);
    place(2, rotated);
    fs::remove_dir_all(folder.join("..1")).unwrap();
    client.whoami().unwrap();
}
