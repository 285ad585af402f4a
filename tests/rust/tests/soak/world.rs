//! The emulator in its process, and what happens to it and to the line.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_tests::Dice;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::line::{End, Line};
use crate::{ATTEMPT_TIMEOUT, BUSINESSES, CONNECT_TIMEOUT, LIFE, TIMEOUT};

/// How often the clients' processes are looked at.
const TURN: Duration = Duration::from_millis(250);

const CLIENT_ID: &str = "soak-client-id";
const CLIENT_SECRET: &str = "soak-client-secret-not-a-secret";

fn end(dice: &mut Dice) -> End {
    [End::Near, End::Far][dice.roll(2) as usize]
}

fn up_to(dice: &mut Dice, longest: Duration) -> Duration {
    Duration::from_millis(dice.roll(longest.as_millis() as u64))
}

/// The emulator's process, which is given orders through its standard input:
/// the line may be cut.
struct Layer {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Layer {
    fn start(line: &Line, port: u16, authority_key: Option<&str>) -> Self {
        let mut process = line
            .command(End::Far, env!("CARGO_BIN_EXE_layer_process"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut layer = Self {
            process,
            orders,
            answers,
            port,
        };
        let started = layer.say(&json!({
            "address": line.address(),
            "port": port,
            "life_seconds": LIFE.as_secs(),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "authority_key": authority_key,
        }));
        layer.port = started.as_u64().unwrap() as u16;
        layer
    }

    fn say(&mut self, what: &Value) -> Value {
        writeln!(self.orders, "{what}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("the emulator's process has ended")
    }

    fn order(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.say(&json!({"method": method, "path": path, "body": body}))
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: it is this process's own child, not waited for yet.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Trouble {
    pub kills: u64,
    pub freezes: u64,
    pub revocations: u64,
    pub bad_handshakes: u64,
    pub faults: u64,
    /// Requests for tokens that the emulator has met.
    pub token_requests: u64,
    /// Whether the line could be cut and lose packets.
    pub has_line: bool,
    pub cuts: u64,
    pub lossy_times: u64,
    pub packets_lost: u64,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} token requests, {} kills, {} freezes, {} revocations, {} faults, {} times of bad \
             handshakes",
            self.token_requests,
            self.kills,
            self.freezes,
            self.revocations,
            self.faults,
            self.bad_handshakes
        )?;
        if self.has_line {
            write!(
                out,
                ", {} cuts, {} lossy times ({} packets lost)",
                self.cuts, self.lossy_times, self.packets_lost
            )?;
        }
        Ok(())
    }
}

/// A time in which the line loses packets, while other things happen.
struct Loss {
    end: End,
    until: Instant,
}

pub struct World {
    layer: Layer,
    line: Line,
    authority_key: Option<String>,
    files: TempDir,
    loss: Option<Loss>,
    trouble: Trouble,
}

impl World {
    pub fn new(line: Line) -> Self {
        let authority_key = line
            .is_tls()
            .then(|| rcgen::KeyPair::generate().unwrap().serialize_pem());
        let mut layer = Layer::start(&line, 0, authority_key.as_deref());
        // There rather than in /tmp: who ends the run with a signal leaves it.
        let files = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let about = layer.order("GET", "/", &Value::Null);
        if let Some(pem) = about["ca_pem"].as_str() {
            std::fs::write(files.path().join("ca.pem"), pem).unwrap();
        }
        Self {
            layer,
            authority_key,
            files,
            loss: None,
            trouble: Trouble {
                has_line: line.is_real(),
                ..Trouble::default()
            },
            line,
        }
    }

    /// Where everything that is built here goes.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    pub fn describe(&self) -> String {
        format!(
            "the emulator is at {}, {}",
            self.url(),
            if self.line.is_real() {
                "in a network namespace of its own"
            } else {
                "on loopback"
            }
        )
    }

    fn url(&self) -> String {
        let scheme = if self.line.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.line.address(), self.layer.port)
    }

    /// Tells a client's program where Layer is, how patient to be, and how many
    /// businesses there are.
    pub fn direct(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("LAYER_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(&*name);
            }
        }
        let url = self.url();
        command
            .env("LAYER_ENVIRONMENT", "custom")
            .env("LAYER_API_URL", &url)
            .env("LAYER_AUTH_URL", format!("{url}/oauth2/token"))
            .env("LAYER_SCOPE", "https://sandbox.layerfi.com/sandbox")
            .env("LAYER_CLIENT_ID", CLIENT_ID)
            .env("LAYER_CLIENT_SECRET", CLIENT_SECRET);
        if self.line.is_tls() {
            command.env("LAYER_CA_FILE", self.files.path().join("ca.pem"));
        } else {
            command.env("LAYER_ALLOW_HTTP_LOOPBACK", "1");
        }
        for timeout in [TIMEOUT, ATTEMPT_TIMEOUT, CONNECT_TIMEOUT] {
            command.arg(timeout.as_millis().to_string());
        }
        command.arg(BUSINESSES.to_string());
    }

    /// Lets things happen for so long, then stops all of it. `look` is called
    /// each quarter of a second.
    pub fn trouble(&mut self, for_so_long: Duration, look: &mut dyn FnMut()) {
        let mut dice = Dice(20_261_124);
        let started = Instant::now();
        // In no order, but each kind has its turn in a quarter of a minute.
        let mut deck = Vec::new();
        while started.elapsed() < for_so_long {
            pause(TURN, look);
            if deck.is_empty() {
                deck = dice.shuffle(28);
            }
            self.happen(deck.pop(), &mut dice, look);
            if self
                .loss
                .as_ref()
                .is_some_and(|loss| loss.until < Instant::now())
            {
                self.lose_no_more();
            }
        }
        self.lose_no_more();
        self.layer.order("DELETE", "/faults", &Value::Null);
    }

    /// What happened. To be asked when the clients have ended.
    pub fn account(mut self) -> Trouble {
        self.count();
        std::mem::take(&mut self.trouble)
    }

    /// Before the emulator forgets: its counters die with it.
    fn count(&mut self) {
        let counters = self.layer.order("GET", "/counters", &Value::Null);
        let total = &counters["endpoints"]["token"]["total"];
        self.trouble.token_requests += total.as_u64().unwrap();
    }

    /// One thing, or nothing.
    fn happen(&mut self, what: Option<u64>, dice: &mut Dice, look: &mut dyn FnMut()) {
        match what {
            Some(0) => {
                self.trouble.kills += 1;
                self.count();
                self.layer.kill();
                pause(up_to(dice, Duration::from_secs(2)), look);
                let key = self.authority_key.as_deref();
                self.layer = Layer::start(&self.line, self.layer.port, key);
            }
            Some(1) => {
                self.trouble.freezes += 1;
                self.layer.signal(libc::SIGSTOP);
                pause(up_to(dice, Duration::from_secs(2)), look);
                self.layer.signal(libc::SIGCONT);
            }
            Some(2) => {
                self.trouble.revocations += 1;
                let all = json!({"all": "access"});
                self.layer.order("POST", "/revoke", &all);
            }
            Some(3 | 4) if self.line.is_real() => {
                self.trouble.cuts += 1;
                let end = end(dice);
                self.line.cut(end);
                pause(up_to(dice, Duration::from_secs(3)), look);
                self.line.mend(end);
            }
            Some(5 | 6) if self.line.is_real() && self.loss.is_none() => {
                self.trouble.lossy_times += 1;
                let end = end(dice);
                self.line.lose(end, 20 << dice.roll(5));
                self.loss = Some(Loss {
                    end,
                    until: Instant::now() + Duration::from_secs(2 + dice.roll(4)),
                });
            }
            Some(7) if self.line.is_tls() => {
                self.trouble.bad_handshakes += 1;
                let trouble = ["handshake_stall", "expired", "self_signed"][dice.roll(3) as usize];
                let trouble = json!({"tls_trouble": trouble});
                self.layer.order("POST", "/settings", &trouble);
                pause(up_to(dice, Duration::from_secs(2)), look);
                let none = json!({"tls_trouble": null});
                self.layer.order("POST", "/settings", &none);
            }
            Some(8..=17) => {
                self.trouble.faults += 1;
                self.layer.order("POST", "/faults", &fault(dice));
            }
            _ => {}
        }
    }

    fn lose_no_more(&mut self) {
        if let Some(loss) = self.loss.take() {
            self.trouble.packets_lost += self.line.lose_no_more(loss.end);
        }
    }
}

fn pause(so_long: Duration, look: &mut dyn FnMut()) {
    let until = Instant::now() + so_long;
    while Instant::now() < until {
        look();
        std::thread::sleep(TURN.min(until.saturating_duration_since(Instant::now())));
    }
}

/// One fault at random, as the control API takes it.
fn fault(dice: &mut Dice) -> Value {
    let endpoint = ["token", "auth_token", "whoami"][dice.roll(3) as usize];
    let mut fault = match dice.roll(9) {
        0 => json!({"status": 503}),
        1 => json!({"status": 429, "headers": {"retry-after": "0"}}),
        2 => json!({"status": 401, "body": {"errors": []}}),
        3 => json!({"body": "<html>"}),
        4 => json!({"wire": {"reset": "before"}}),
        5 => json!({"wire": {"close": "mid_body"}}),
        6 => json!({"wire": {"stall": "mid_head"}}),
        7 => json!({"wire": {"endless": "body"}}),
        _ => json!({"delay_ms": dice.roll(900)}),
    };
    fault["endpoint"] = json!(endpoint);
    fault["times"] = json!(1 + dice.roll(4));
    fault
}
