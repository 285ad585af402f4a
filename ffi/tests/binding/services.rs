//! `examples/cmake-service` and `examples/c-daemon-curl`: built as their pages say, against the
//! installed library, and run against the emulator.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault, TokenKind};
use layerfi_auth_test_support::{MAX_WAIT, Watchdog, control, eventually, wait_for};
use serde_json::json;

use crate::install::prefix;
use crate::support::{root, run, scratch, set_environment};

/// A running example. Its output is kept, and it is killed after [`MAX_WAIT`] if it hangs.
struct Service {
    child: Child,
    printed: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    _watchdog: Watchdog,
}

impl Service {
    fn start(command: &mut Command, layer: &Emulator) -> Self {
        // The programs find the library by their rpath.
        let mut child = set_environment(command.env_remove("LD_LIBRARY_PATH"), layer)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        let readers = outputs.map(|output| {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    let line = line.unwrap();
                    printed.lock().unwrap().push_str(&(line + "\n"));
                }
            })
        });
        let watchdog = Watchdog::new(child.id(), 5 * MAX_WAIT);
        Self {
            child,
            printed,
            readers: readers.into(),
            _watchdog: watchdog,
        }
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// The number of lines that the service printed with this text.
    fn lines(&self, text: &str) -> usize {
        let printed = self.printed();
        printed.lines().filter(|line| line.contains(text)).count()
    }

    fn signal(&self, name: &str) {
        run(Command::new("kill").args([name, &self.child.id().to_string()]));
    }

    /// Sends SIGTERM and waits for the end, which must be a success. Returns the output, in which
    /// there must be no secret.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let printed = self.printed();
        assert!(status.success(), "{status} after SIGTERM: {printed}");
        assert!(!printed.contains(DEFAULT_CLIENT_SECRET), "{printed}");
        printed
    }
}

impl Drop for Service {
    /// Only a test that fails gets here with a running child.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// Builds cmake-service with the commands of its page, once.
fn cmake_service() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let build = scratch().join("cmake-service");
        let _ = std::fs::remove_dir_all(&build);
        run(Command::new("cmake")
            .arg("-S")
            .arg(example("cmake-service"))
            .arg("-B")
            .arg(&build)
            .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()))
            .arg("-DCMAKE_CXX_FLAGS=-Werror"));
        run(Command::new("cmake").arg("--build").arg(&build));
        // As installed: CMake removes the rpath of programs that it installs, unless told.
        let installed = build.join("installed");
        run(Command::new("cmake")
            .arg("--install")
            .arg(&build)
            .arg("--prefix")
            .arg(&installed));
        installed.join("bin/cmake-service")
    })
}

fn start_cmake_service(layer: &Emulator) -> (Service, SocketAddr) {
    let mut command = Command::new(cmake_service());
    command.env("PORT", "0");
    let service = Service::start(&mut command, layer);
    let url = "listening on http://";
    wait_for("the service listens", || service.printed().contains('\n'));
    let printed = service.printed();
    let address = printed
        .lines()
        .find_map(|line| line.strip_prefix(url))
        .unwrap_or_else(|| panic!("the service did not start: {printed}"));
    (service, address.parse().unwrap())
}

#[test]
fn cmake_service_sends_one_token_request_under_load() {
    let layer = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let (service, address) = start_cmake_service(&layer);
    std::thread::scope(|threads| {
        for _ in 0..16 {
            threads.spawn(|| {
                for _ in 0..5 {
                    let session = control(address, "POST", "/layer-token", &json!({}));
                    assert!(session["renew_in"].as_u64().unwrap() > 0, "{session}");
                    let client = control(address, "GET", "/client", &json!(null));
                    assert!(client["data"]["clientName"].is_string(), "{client}");
                }
            });
        }
    });
    let counters = layer.counters();
    assert_eq!(counters.access_tokens, 1, "80 calls share one access token");
    assert_eq!(
        counters.business_tokens, 1,
        "80 pages share one business token"
    );
    assert_eq!(
        counters.endpoint(Endpoint::Whoami).total,
        80,
        "requests to whoami"
    );

    // A 401 of the API is not seen by the caller.
    layer.revoke_all(TokenKind::Access);
    let client = control(address, "GET", "/client", &json!(null));
    assert!(client["data"]["clientName"].is_string(), "{client}");
    assert_eq!(layer.counters().access_tokens, 2, "one more after the 401");

    let printed = service.stop();
    assert!(
        printed.ends_with("stopped: 2 token request(s), 1 business token(s)\n"),
        "{printed}"
    );
}

#[test]
fn cmake_service_replaces_a_token_that_the_page_says_was_refused() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let (service, address) = start_cmake_service(&layer);
    let token = |body| control(address, "POST", "/layer-token", &body)["access_token"].clone();
    let first = token(json!({}));
    assert_eq!(token(json!({})), first);
    // The library replaces no token that is less than ten seconds old.
    wait_for("the refused token is replaced", || {
        token(json!({ "refused": first })) != first
    });
    assert_eq!(layer.counters().business_tokens, 2);
    let printed = service.stop();
    assert!(!printed.contains(first.as_str().unwrap()), "{printed}");
}

#[test]
fn cmake_service_answers_503_during_an_outage() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let (service, address) = start_cmake_service(&layer);
    layer
        .fault(
            Endpoint::AuthToken,
            Fault::status(503).header("retry-after", "77").forever(),
        )
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"POST /layer-token HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    for part in [
        "HTTP/1.1 503 ",
        "Retry-After: 77",
        "Cache-Control: no-store",
        r#"{"error":"api"}"#,
    ] {
        assert!(
            response.contains(part),
            "not in the response: {part}: {response}"
        );
    }
    let printed = service.stop();
    assert!(printed.contains("HTTP 503"), "{printed}");
}

#[test]
fn cmake_service_answers_the_requests_that_run_before_it_stops() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let (service, address) = start_cmake_service(&layer);
    layer.fault(Endpoint::Whoami, Fault::hold()).unwrap();
    let call = std::thread::spawn(move || control(address, "GET", "/client", &json!(null)));
    eventually(&layer, |counters| {
        counters.endpoint(Endpoint::Whoami).in_flight == 1
    });
    service.signal("-TERM");
    wait_for("the service accepts no more connections", || {
        TcpStream::connect(address).is_err()
    });
    layer.release();
    let client = call.join().unwrap();
    assert!(client["data"]["clientName"].is_string(), "{client}");
    let printed = service.stop();
    assert!(printed.contains("stopped: 1 token request(s)"), "{printed}");
}

/// Builds c-daemon-curl with its Makefile, once.
fn daemon() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let build = scratch().join("c-daemon-curl");
        let _ = std::fs::remove_dir_all(&build);
        std::fs::create_dir_all(&build).unwrap();
        for file in ["Makefile", "daemon.c"] {
            std::fs::copy(example("c-daemon-curl").join(file), build.join(file)).unwrap();
        }
        run(Command::new("make")
            .current_dir(&build)
            .arg("CFLAGS=-O2 -Werror")
            .env_remove("MAKEFLAGS")
            .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")));
        build.join("daemon")
    })
}

#[test]
fn c_daemon_gets_a_new_token_after_401_and_keeps_it() {
    let layer = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let settings = scratch().join("daemon-401.conf");
    std::fs::write(&settings, "path /whoami\ninterval_ms 1\n").unwrap();
    let daemon = Service::start(Command::new(daemon()).arg(&settings), &layer);
    wait_for("20 calls", || daemon.lines("/whoami 200") >= 20);
    assert_eq!(layer.counters().access_tokens, 1, "all calls use one token");

    layer.revoke_all(TokenKind::Access);
    let calls = daemon.lines("/whoami 200");
    wait_for("20 more calls", || {
        daemon.lines("/whoami 200") >= calls + 20
    });
    assert_eq!(layer.counters().access_tokens, 2, "one more after the 401");
    let printed = daemon.stop();
    assert!(!printed.contains("401"), "{printed}");
    assert!(printed.ends_with("stopped\n"), "{printed}");
}

#[test]
fn c_daemon_reads_its_settings_on_sighup_and_keeps_the_old_ones_if_they_fail() {
    const SECOND: &str = "a-second-client";
    const SECOND_SECRET: &str = "the-secret-of-the-second-client";
    let layer = Emulator::builder()
        .rate_limit(None)
        .client(
            layerfi_auth_emulator::DEFAULT_CLIENT_ID,
            DEFAULT_CLIENT_SECRET,
        )
        .client(SECOND, SECOND_SECRET)
        .start_blocking()
        .unwrap();
    let settings = scratch().join("daemon-reload.conf");
    let secret = scratch().join("daemon-reload.secret");
    std::fs::write(&settings, "interval_ms 1\n").unwrap();
    std::fs::write(&secret, "not the secret").unwrap();
    let daemon = Service::start(Command::new(daemon()).arg(&settings), &layer);
    wait_for("a call", || daemon.lines("/whoami 200") >= 1);

    // Settings whose credentials get no token, and settings that are not valid.
    let new = format!(
        "interval_ms 1\nclient_id {SECOND}\nclient_secret_file {}\n",
        secret.display()
    );
    for (reloads, text) in [(1, new.as_str()), (2, "intervall_ms 1\n")] {
        std::fs::write(&settings, text).unwrap();
        daemon.signal("-HUP");
        wait_for("the settings were rejected", || {
            daemon.lines("reload: kept the old settings") == reloads
        });
        let calls = daemon.lines("/whoami 200");
        wait_for("a call with the old settings", || {
            daemon.lines("/whoami 200") > calls
        });
    }

    std::fs::write(&secret, SECOND_SECRET).unwrap();
    std::fs::write(&settings, &new).unwrap();
    daemon.signal("-HUP");
    wait_for("the settings were read", || {
        daemon.lines("reload: new settings") == 1
    });
    wait_for("a call of the second client", || {
        let log = layer.log();
        log.iter().any(|entry| {
            entry.endpoint == Endpoint::Whoami && entry.client_id.as_deref() == Some(SECOND)
        })
    });
    assert_eq!(layer.counters().access_tokens, 2, "one for each client");
    let printed = daemon.stop();
    assert!(!printed.contains(SECOND_SECRET), "{printed}");
}
