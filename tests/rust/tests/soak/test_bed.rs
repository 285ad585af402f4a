//! The emulator in its own process, and the disruptions of it and of the network.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_tests::{Random, RedisServer, ServerKind, remove_settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::network::{End, Network, Server};
use crate::programs::{Program, SharedCache};
use crate::{ATTEMPT_TIMEOUT, BUSINESSES, CONNECT_TIMEOUT, LIFE, TIMEOUT};

/// How often the client processes are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

const CLIENT_ID: &str = "soak-client-id";
const CLIENT_SECRET: &str = "soak-client-secret-not-a-secret";

fn new_key() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

fn random_end(random: &mut Random) -> End {
    [End::Clients, End::Server][random.below(2) as usize]
}

fn up_to(random: &mut Random, longest: Duration) -> Duration {
    Duration::from_millis(random.below(longest.as_millis() as u64))
}

/// The emulator's process. It takes commands on standard input, because the
/// network to it may be cut.
struct EmulatorProcess {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl EmulatorProcess {
    fn start(network: &Network, port: u16, authority_key: Option<&str>) -> Self {
        let mut process = network
            .command(End::Server, env!("CARGO_BIN_EXE_emulator_process"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut layer = Self {
            process,
            input,
            output,
            port,
        };
        let started = layer.send(&json!({
            "address": network.address(Server::Emulator),
            "port": port,
            "life_seconds": LIFE.as_secs(),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "authority_key": authority_key,
        }));
        layer.port = started.as_u64().unwrap() as u16;
        layer
    }

    fn send(&mut self, message: &Value) -> Value {
        writeln!(self.input, "{message}").unwrap();
        let mut response = String::new();
        self.output.read_line(&mut response).unwrap();
        serde_json::from_str(&response).expect("the emulator's process ended early")
    }

    /// Writes the authority's certificate, if there is one, to the clients' `ca_file`.
    fn write_authority(&mut self, folder: &Path) {
        let about = self.control("GET", "/", &Value::Null);
        if let Some(pem) = about["ca_pem"].as_str() {
            let (new, file) = (folder.join("new.pem"), folder.join("ca.pem"));
            std::fs::write(&new, pem).unwrap();
            std::fs::rename(new, file).unwrap();
        }
    }

    fn control(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.send(&json!({"method": method, "path": path, "body": body}))
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process is a child of this one that has not been waited for.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "the signal could not be sent");
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for EmulatorProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How often each disruption occurred.
#[derive(Debug, Default)]
pub struct Disruptions {
    pub kills: u64,
    pub freezes: u64,
    pub revocations: u64,
    pub bad_handshakes: u64,
    pub faults: u64,
    pub frozen_connections: u64,
    pub new_authorities: u64,
    /// Periods in which a program could open few files, or start few threads.
    pub few_files: u64,
    pub few_threads: u64,
    /// Whether the number of threads could be limited.
    pub can_limit_threads: bool,
    /// Token requests that the emulator received.
    pub token_requests: u64,
    /// Whether the link could be cut and lose packets.
    pub can_cut: bool,
    pub cuts: u64,
    pub lossy_periods: u64,
    pub packets_lost: u64,
    pub store_kills: u64,
    pub store_pauses: u64,
    pub store_flushes: u64,
    /// Periods in which the store could write nothing, because its memory was full.
    pub store_fills: u64,
    pub store_cuts: u64,
    /// Calls that failed in the time in which only the store had trouble.
    pub failed_beside_store: Vec<FailedBesideStore>,
}

/// Calls of a program that failed while only the store had trouble.
#[derive(Debug)]
pub struct FailedBesideStore {
    pub name: &'static str,
    pub has_shared_cache: bool,
    pub failed: u64,
}

impl Disruptions {
    /// What happened to the store, and how often.
    pub fn store_events(&self) -> Vec<(&'static str, u64)> {
        let mut events = vec![
            ("killed", self.store_kills),
            ("paused", self.store_pauses),
            ("wiped", self.store_flushes),
            ("full", self.store_fills),
        ];
        if self.can_cut {
            events.push(("cut off", self.store_cuts));
        }
        events
    }
}

impl fmt::Display for Disruptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} token requests, {} kills, {} freezes, {} revocations, {} faults, {} frozen \
             connections, {} new authorities, {} periods of few files, {} of few threads, {} bad \
             handshakes",
            self.token_requests,
            self.kills,
            self.freezes,
            self.revocations,
            self.faults,
            self.frozen_connections,
            self.new_authorities,
            self.few_files,
            self.few_threads,
            self.bad_handshakes
        )?;
        if self.can_cut {
            write!(
                out,
                ", {} cuts, {} lossy periods ({} packets lost)",
                self.cuts, self.lossy_periods, self.packets_lost
            )?;
        }
        write!(out, "\nthe store was")?;
        for (event, count) in self.store_events() {
            write!(out, " {event} {count} times,")?;
        }
        write!(out, " and failed calls while only the store had trouble:")?;
        for one in &self.failed_beside_store {
            write!(out, " {} {},", one.name, one.failed)?;
        }
        Ok(())
    }
}

/// Trouble of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Killed,
    Paused,
    Wiped,
    Full,
    CutOff(End),
}

/// A period in which the store has a trouble.
struct StoreTrouble {
    what: Trouble,
    until: Instant,
}

/// A period in which the link loses packets.
struct Loss {
    end: End,
    until: Instant,
}

pub struct TestBed {
    layer: EmulatorProcess,
    network: Network,
    authority_key: Option<String>,
    files: TempDir,
    loss: Option<Loss>,
    store: RedisServer,
    store_trouble: Option<StoreTrouble>,
    disruptions: Disruptions,
}

impl TestBed {
    pub fn new(network: Network) -> Self {
        let authority_key = network.is_tls().then(new_key);
        let mut layer = EmulatorProcess::start(&network, 0, authority_key.as_deref());
        // Not in /tmp: a signal that ends the run prevents the removal of the
        // folder.
        let files = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        layer.write_authority(files.path());
        // A signal that ends this process ends the store too.
        let mut prefix = network.prefix();
        prefix.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        let store = RedisServer::builder(ServerKind::Redis)
            .elsewhere(network.address(Server::Store), prefix)
            .option("protected-mode", "no")
            .start();
        Self {
            layer,
            store,
            store_trouble: None,
            authority_key,
            files,
            loss: None,
            disruptions: Disruptions {
                can_cut: network.can_be_cut(),
                ..Disruptions::default()
            },
            network,
        }
    }

    /// The folder for temporary files.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    pub fn describe(&self) -> String {
        format!(
            "the emulator is at {}, the store at {}, {}",
            self.url(),
            self.store.url(),
            if self.network.can_be_cut() {
                "in a network namespace of their own"
            } else {
                "on loopback"
            }
        )
    }

    fn url(&self) -> String {
        let scheme = if self.network.is_tls() {
            "https"
        } else {
            "http"
        };
        let address = self.network.address(Server::Emulator);
        format!("{scheme}://{address}:{}", self.layer.port)
    }

    /// Passes a client program the addresses, the timeouts and the number of businesses.
    pub fn configure(&self, command: &mut Command, shared_cache: SharedCache) {
        remove_settings(command);
        let url = self.url();
        command
            .env("LAYER_ENVIRONMENT", "custom")
            .env("LAYER_API_URL", &url)
            .env("LAYER_AUTH_URL", format!("{url}/oauth2/token"))
            .env("LAYER_SCOPE", "https://sandbox.layerfi.com/sandbox")
            .env("LAYER_CLIENT_ID", CLIENT_ID)
            .env("LAYER_CLIENT_SECRET", CLIENT_SECRET);
        if shared_cache == SharedCache::On {
            command.env("LAYER_SHARED_CACHE", self.store.url());
        }
        if self.network.is_tls() {
            command.env("LAYER_CA_FILE", self.files.path().join("ca.pem"));
        } else {
            command.env("LAYER_ALLOW_HTTP_LOOPBACK", "1");
        }
        for timeout in [TIMEOUT, ATTEMPT_TIMEOUT, CONNECT_TIMEOUT] {
            command.arg(timeout.as_millis().to_string());
        }
        command.arg(BUSINESSES.to_string());
    }

    /// Causes each trouble of the store some times, and nothing else. Counts the calls
    /// that fail meanwhile: none may.
    pub fn disrupt_store(&mut self, rounds: u64, programs: &mut [Program]) {
        let mut random = Random(20_261_127);
        for _ in 0..rounds {
            for number in random.shuffled(5) {
                self.start_store_trouble(number, &mut random);
                while let Some(trouble) = &self.store_trouble {
                    pause(
                        trouble.until.saturating_duration_since(Instant::now()),
                        programs,
                    );
                    self.end_store_trouble();
                }
                // A part of a token's life in which the store works.
                pause(up_to(&mut random, LIFE / 4), programs);
            }
        }
        let failed = programs.iter_mut().map(|program| FailedBesideStore {
            name: program.name(),
            has_shared_cache: program.has_shared_cache(),
            failed: program.count_failed(),
        });
        self.disruptions.failed_beside_store = failed.collect();
    }

    /// Causes disruptions for `duration`, then stops them. Samples the programs every
    /// quarter of a second.
    pub fn disrupt(&mut self, duration: Duration, programs: &mut [Program]) {
        let mut random = Random(20_261_124);
        let mut store_random = Random(20_261_128);
        let started = Instant::now();
        // In random order, but each kind occurs about once in 15 s.
        let mut pending = Vec::new();
        while started.elapsed() < duration {
            pause(SAMPLE_INTERVAL, programs);
            if pending.is_empty() {
                pending = random.shuffled(28);
            }
            self.cause(pending.pop(), &mut random, programs);
            if self
                .loss
                .as_ref()
                .is_some_and(|loss| loss.until < Instant::now())
            {
                self.stop_losing();
            }
            // Independent of the other disruptions, so that they meet.
            match &self.store_trouble {
                Some(trouble) if trouble.until < Instant::now() => self.end_store_trouble(),
                None if store_random.below(16) == 0 => {
                    let number = store_random.below(5);
                    self.start_store_trouble(number, &mut store_random);
                }
                _ => {}
            }
        }
        self.stop_losing();
        self.end_store_trouble();
        // Frozen connections stay frozen: the clients must leave them.
        self.layer.control("DELETE", "/faults", &Value::Null);
    }

    /// Closes all connections to the emulator.
    pub fn close_connections(&mut self) {
        let close = json!({"action": "close"});
        self.layer.control("POST", "/connections", &close);
    }

    /// Returns the counts. Call it after the clients have ended.
    pub fn into_disruptions(mut self) -> Disruptions {
        self.count();
        std::mem::take(&mut self.disruptions)
    }

    /// Adds the emulator's count of token requests, which is lost when it is killed.
    fn count(&mut self) {
        let counters = self.layer.control("GET", "/counters", &Value::Null);
        let total = &counters["endpoints"]["token"]["total"];
        self.disruptions.token_requests += total.as_u64().unwrap();
    }

    /// Starts one trouble of the store, for at most two seconds.
    fn start_store_trouble(&mut self, number: u64, random: &mut Random) {
        let what = match number {
            0 => Trouble::Killed,
            1 => Trouble::Paused,
            2 => Trouble::Full,
            3 if self.network.can_be_cut() => Trouble::CutOff(random_end(random)),
            _ => Trouble::Wiped,
        };
        let count = &mut self.disruptions;
        match what {
            Trouble::Killed => {
                count.store_kills += 1;
                self.store.kill();
            }
            Trouble::Paused => {
                count.store_pauses += 1;
                self.store.pause();
            }
            Trouble::Full => {
                count.store_fills += 1;
                self.limit_store_memory("1");
            }
            Trouble::CutOff(end) => {
                count.store_cuts += 1;
                self.network.cut(Server::Store, end);
            }
            Trouble::Wiped => {
                count.store_flushes += 1;
                self.store.command(&["FLUSHALL"]);
            }
        }
        let until = Instant::now() + up_to(random, Duration::from_secs(2));
        self.store_trouble = Some(StoreTrouble { what, until });
    }

    fn end_store_trouble(&mut self) {
        let Some(trouble) = self.store_trouble.take() else {
            return;
        };
        match trouble.what {
            Trouble::Killed => self.store.restart(),
            Trouble::Paused => self.store.resume(),
            Trouble::Full => self.limit_store_memory("0"),
            Trouble::CutOff(end) => self.network.restore(Server::Store, end),
            Trouble::Wiped => {}
        }
    }

    fn limit_store_memory(&self, bytes: &str) {
        self.store.command(&["CONFIG", "SET", "maxmemory", bytes]);
    }

    /// Causes one disruption, or none.
    fn cause(&mut self, what: Option<u64>, random: &mut Random, programs: &mut [Program]) {
        match what {
            Some(0) => {
                self.disruptions.kills += 1;
                self.count();
                self.layer.kill();
                pause(up_to(random, Duration::from_secs(2)), programs);
                let new_authority = self.network.is_tls() && random.below(2) == 0;
                if new_authority {
                    self.authority_key = Some(new_key());
                }
                let key = self.authority_key.as_deref();
                self.layer = EmulatorProcess::start(&self.network, self.layer.port, key);
                if new_authority {
                    self.disruptions.new_authorities += 1;
                    pause(up_to(random, Duration::from_secs(2)), programs);
                    self.layer.write_authority(self.files.path());
                }
            }
            Some(1) => {
                self.disruptions.freezes += 1;
                self.layer.signal(libc::SIGSTOP);
                pause(up_to(random, Duration::from_secs(2)), programs);
                self.layer.signal(libc::SIGCONT);
            }
            Some(2) => {
                self.disruptions.revocations += 1;
                let all = json!({"all": "access"});
                self.layer.control("POST", "/revoke", &all);
            }
            Some(3 | 4) if self.network.can_be_cut() => {
                self.disruptions.cuts += 1;
                let end = random_end(random);
                self.network.cut(Server::Emulator, end);
                pause(up_to(random, Duration::from_secs(3)), programs);
                self.network.restore(Server::Emulator, end);
            }
            Some(5 | 6) if self.network.can_be_cut() && self.loss.is_none() => {
                self.disruptions.lossy_periods += 1;
                let end = random_end(random);
                self.network.lose(end, 20 << random.below(5));
                self.loss = Some(Loss {
                    end,
                    until: Instant::now() + Duration::from_secs(2 + random.below(4)),
                });
            }
            Some(7) if self.network.is_tls() => {
                self.disruptions.bad_handshakes += 1;
                let kind = ["handshake_stall", "expired", "self_signed"][random.below(3) as usize];
                let settings = json!({"tls_trouble": kind});
                self.layer.control("POST", "/settings", &settings);
                pause(up_to(random, Duration::from_secs(2)), programs);
                let none = json!({"tls_trouble": null});
                self.layer.control("POST", "/settings", &none);
            }
            Some(8..=17) => {
                self.disruptions.faults += 1;
                self.layer.control("POST", "/faults", &fault(random));
            }
            Some(18..=21) => {
                let chosen = random.below(programs.len() as u64) as usize;
                let what = random.below(3);
                let closed = json!({"action": "reset"});
                if let Some(scarcity) = programs[chosen].scarcity() {
                    self.disruptions.can_limit_threads |= scarcity.limits_threads();
                    if what != 0 {
                        self.disruptions.few_files += 1;
                        scarcity.limit_files(random).unwrap();
                    }
                    if what != 1 && scarcity.limits_threads() {
                        self.disruptions.few_threads += 1;
                        scarcity.limit_threads(random).unwrap();
                    }
                    // So that new connections are needed.
                    self.layer.control("POST", "/connections", &closed);
                    pause(up_to(random, Duration::from_secs(2)), programs);
                }
                if let Some(scarcity) = programs[chosen].scarcity() {
                    scarcity.lift().unwrap();
                }
            }
            Some(22 | 23) => {
                self.disruptions.frozen_connections += 1;
                let frozen = json!({"wire": "freeze", "endpoint": "whoami"});
                self.layer.control("POST", "/faults", &frozen);
            }
            _ => {}
        }
    }

    fn stop_losing(&mut self) {
        if let Some(loss) = self.loss.take() {
            self.disruptions.packets_lost += self.network.stop_losing(loss.end);
        }
    }
}

fn pause(length: Duration, programs: &mut [Program]) {
    let until = Instant::now() + length;
    while Instant::now() < until {
        for program in &mut *programs {
            program.record_sample();
        }
        std::thread::sleep(SAMPLE_INTERVAL.min(until.saturating_duration_since(Instant::now())));
    }
}

/// A random fault as JSON for the control API.
fn fault(random: &mut Random) -> Value {
    let endpoint = ["token", "auth_token", "whoami"][random.below(3) as usize];
    let mut fault = match random.below(9) {
        0 => json!({"status": 503}),
        1 => json!({"status": 429, "headers": {"retry-after": "0"}}),
        2 => json!({"status": 401, "body": {"errors": []}}),
        3 => json!({"body": "<html>"}),
        4 => json!({"wire": {"reset": "before"}}),
        5 => json!({"wire": {"close": "mid_body"}}),
        6 => json!({"wire": {"stall": "mid_head"}}),
        7 => json!({"wire": {"endless": "body"}}),
        _ => json!({"delay_ms": random.below(900)}),
    };
    fault["endpoint"] = json!(endpoint);
    fault["times"] = json!(1 + random.below(4));
    fault
}
