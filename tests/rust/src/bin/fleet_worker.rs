//! One process of a fleet: gets tokens in a loop and calls the API with them. The
//! settings are in `LAYER_*` variables. `tests/fleet/worker.c` and
//! `tests/fleet/worker.py` are the same in other languages, and `tests/python/fleet.py`
//! starts them.
//!
//! Protocol: three inherited file descriptors. All processes of a fleet start when
//! `FLEET_START_FD` reaches its end, and stop when `FLEET_STOP_FD` does. To
//! `FLEET_OUTPUT_FD` each writes lines of JSON, which are short enough to arrive whole:
//!
//! - `ready`: the client is made, and nothing was requested;
//! - `token` or `business`: a hash of a new token, how long the call took, and when;
//! - `slow`: a call took this many milliseconds, and more than a tenth of a second;
//! - `failed`: a call failed, with the kind of its error;
//! - `dead`: a token was served after its true expiry, or is believed to live longer;
//! - `end`: the process's counters.
//!
//! `FLEET_INTERVAL_MS` is the pause between rounds, `FLEET_WHOAMI_EVERY` how many rounds
//! there are for each call to the API, and `FLEET_BUSINESS` a business whose token is
//! requested in each round. `FLEET_TIMEOUT_MS` and `FLEET_ATTEMPT_MS` are timeouts.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, RawFd};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use layerfi_auth::{BusinessId, ClientBuilder, Error, blocking};
use serde_json::{Value, json};

/// The client reads the kernel's coarse clock, which lags by up to one tick:
/// 10 ms with the slowest tick, 100 Hz.
const CLOCK_TICK_MS: i64 = 10;

const SLOW_MS: u64 = 100;

fn number(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}

fn descriptor(name: &str) -> RawFd {
    RawFd::try_from(number(name)).unwrap()
}

/// Takes an inherited file descriptor.
fn file(name: &str) -> File {
    // SAFETY: the descriptor was inherited for this purpose, and nothing else uses it.
    #[allow(unsafe_code)]
    unsafe {
        File::from_raw_fd(descriptor(name))
    }
}

fn wall_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// FNV-1a: the same in each language, and does not show the token.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// When the emulator's token expires, by the emulator's own record.
fn true_expiry_ms(token: &str) -> i64 {
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["layerfi_emulator"]["exp_ms"].as_i64().unwrap()
}

struct Worker {
    output: File,
    calls: u64,
    failed: u64,
    dead: u64,
    slowest_ms: u64,
}

/// The last token of its kind.
struct Last {
    what: &'static str,
    hash: String,
}

/// The start of a call on both clocks.
struct Asked {
    wall_ms: i64,
    at: Instant,
}

impl Asked {
    fn now() -> Self {
        Self {
            wall_ms: wall_ms(SystemTime::now()),
            at: Instant::now(),
        }
    }
}

impl Worker {
    fn say(&mut self, mut line: Value) {
        line["pid"] = json!(std::process::id());
        let line = format!("{line}\n");
        assert_eq!(self.output.write(line.as_bytes()).unwrap(), line.len());
    }

    fn took(&mut self, asked: &Asked) -> u64 {
        let took = u64::try_from(asked.at.elapsed().as_millis()).unwrap();
        self.calls += 1;
        self.slowest_ms = self.slowest_ms.max(took);
        if took >= SLOW_MS {
            self.say(json!({"slow": took}));
        }
        took
    }

    fn failed(&mut self, what: &str, error: &Error) {
        self.failed += 1;
        eprintln!("{what}: {error}");
        self.say(json!({"failed": error.kind().as_str(), "what": what}));
    }

    /// Judges a token that was served.
    fn served(&mut self, last: &mut Last, asked: &Asked, token: &str, believed: SystemTime) {
        let took = self.took(asked);
        let expiry = true_expiry_ms(token);
        let late = (asked.wall_ms - expiry).max(wall_ms(believed) - expiry);
        if late >= CLOCK_TICK_MS {
            self.dead += 1;
            self.say(json!({"dead": late, "what": last.what}));
        }
        let hash = hash(token);
        if last.hash != hash {
            self.say(json!({last.what: hash, "took_ms": took, "at_ms": asked.wall_ms}));
            last.hash = hash;
        }
    }
}

/// Waits until the fleet stops, at most this long.
fn stops_within(stop: RawFd, ms: u64) -> bool {
    let mut poll = libc::pollfd {
        fd: stop,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor, which lives during the call.
    #[allow(unsafe_code)]
    let ready = unsafe { libc::poll(&raw mut poll, 1, i32::try_from(ms).unwrap()) };
    ready > 0
}

fn main() {
    let client = ClientBuilder::from_env()
        .unwrap()
        .no_proxy()
        .timeout(Duration::from_millis(number("FLEET_TIMEOUT_MS")))
        .attempt_timeout(Duration::from_millis(number("FLEET_ATTEMPT_MS")))
        .build()
        .unwrap();
    let client = blocking::Client::from(client);
    let (interval, whoami_every) = (number("FLEET_INTERVAL_MS"), number("FLEET_WHOAMI_EVERY"));
    let stop = descriptor("FLEET_STOP_FD");
    let business: Option<BusinessId> = std::env::var("FLEET_BUSINESS")
        .ok()
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().unwrap());
    let mut worker = Worker {
        output: file("FLEET_OUTPUT_FD"),
        calls: 0,
        failed: 0,
        dead: 0,
        slowest_ms: 0,
    };
    let [mut last, mut last_business] = ["token", "business"].map(|what| Last {
        what,
        hash: String::new(),
    });
    worker.say(json!({"ready": "rust"}));
    // The end of the file.
    let _ = file("FLEET_START_FD").read(&mut [0]).unwrap();

    for round in 0.. {
        let asked = Asked::now();
        match client.token() {
            Ok(token) => worker.served(&mut last, &asked, token.secret(), token.expires_at()),
            Err(error) => {
                worker.took(&asked);
                worker.failed("token", &error);
            }
        }
        if let Some(business) = &business {
            let asked = Asked::now();
            match client.business_token(business) {
                Ok(token) => {
                    let believed = token.expires_at();
                    worker.served(&mut last_business, &asked, token.secret(), believed);
                }
                Err(error) => {
                    worker.took(&asked);
                    worker.failed("business", &error);
                }
            }
        }
        if round % whoami_every == 0 {
            let asked = Asked::now();
            let answer = client.whoami();
            worker.took(&asked);
            if let Err(error) = answer {
                worker.failed("whoami", &error);
            }
        }
        if stops_within(stop, interval) {
            break;
        }
    }
    let stats = client.stats();
    let end = json!({
        "end": "rust",
        "calls": worker.calls,
        "failed_calls": worker.failed,
        "dead_tokens": worker.dead,
        "slowest_ms": worker.slowest_ms,
        "token_requests": stats.token_requests,
        "mints": stats.mints,
        "adopted": stats.shared_adopted,
        "published": stats.shared_published,
        "waits": stats.shared_waits,
        "alone": stats.shared_alone,
        "rejected": stats.shared_rejected,
        "faults": stats.shared_faults,
    });
    worker.say(end);
}
