//! Uses one client, step by step. `tests/roots.rs` runs it with the variables and the
//! limits under test, which apply to a whole process.
//!
//! Reads commands from standard input, one a line, and prints one line for each:
//! `call` calls `whoami`; `log` prints what was logged; `start` starts the engine's
//! thread; `descriptors N` leaves N free file descriptors, and `descriptors all` removes
//! the limit.

use std::fs::File;
use std::io::{BufRead as _, Write};
use std::sync::Mutex;

use layerfi_auth::ClientBuilder;

static LOG: Mutex<String> = Mutex::new(String::new());

/// Writes to [`LOG`], with ` | ` for a line end.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).replace('\n', " | ");
        LOG.lock().unwrap().push_str(&text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(|| Log)
        .with_ansi(false)
        .init();
    let client = ClientBuilder::from_env()
        .unwrap()
        .max_attempts(2)
        .build_blocking()
        .unwrap();
    let mut unlimited = None;
    // Fills the gaps below the limit.
    let mut files = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            None if line == "call" => match client.whoami() {
                Ok(me) => println!("ok {}", me.client_name),
                Err(error) => println!("{} {error}", error.kind()),
            },
            None if line == "log" => println!("logged: {}", LOG.lock().unwrap()),
            None if line == "start" => {
                start_background_thread();
                println!("done");
            }
            Some(("descriptors", "all")) => {
                files.clear();
                limit_descriptors(unlimited.take().unwrap());
                println!("done");
            }
            Some(("descriptors", free)) => {
                let highest = std::fs::read_dir("/proc/self/fd")
                    .unwrap()
                    .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
                    .max()
                    .unwrap_or(2_u64);
                let free = free.parse::<u64>().unwrap();
                unlimited = Some(limit_descriptors(highest + 1 + free));
                files = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                // There is one at least for each free descriptor.
                files.truncate(files.len() - free as usize);
                println!("done");
            }
            _ => panic!("unknown command: {line}"),
        }
    }
}

/// Makes a call that fails: the thread needs descriptors of its own.
fn start_background_thread() {
    let nobody = "http://127.0.0.1:9";
    let client = ClientBuilder::from_env()
        .unwrap()
        .api_url(nobody)
        .auth_url(nobody)
        .max_attempts(1)
        .build_blocking()
        .unwrap();
    client.token().unwrap_err();
}

/// Sets the soft limit of descriptors and returns the one before.
fn limit_descriptors(limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is valid for both calls.
    #[allow(unsafe_code)]
    unsafe {
        assert_eq!(
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits),
            0,
            "the limit could not be read or set"
        );
        let before = std::mem::replace(&mut limits.rlim_cur, limit);
        assert_eq!(
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits),
            0,
            "the limit could not be read or set"
        );
        before
    }
}
