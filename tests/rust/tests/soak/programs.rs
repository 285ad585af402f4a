//! Starts the client programs, samples their resources, ends them
//! and reads their results. `src/bin/soak_client.rs` documents the protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::samples::{Sample, max, median, sample};
use crate::scarcity::Scarcity;
use crate::test_bed::TestBed;

/// Time limit for a program to close its connections and end its threads.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// A program's first line: it is idle and ready to start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    /// Number of callers that may need a connection at the same time.
    callers: u64,
}

/// A program's second line: all its threads run, so that their number may be limited.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {}

/// A program's answer to `count`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    /// Number of calls that failed since the last `count`.
    failed: u64,
}

/// A program's last line: its results.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub served: u64,
    pub max_expired_us: u64,
    /// Failed calls by error kind.
    pub failed: BTreeMap<String, u64>,
    pub slowest_ms: u64,
    pub recovered_ms: u64,
    /// Number of clients that were created and dropped during the run.
    pub short_lived: u64,
    /// Statistics of the clients that lived for the whole run.
    pub clients: Vec<Stats>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without an invariant are printed")]
pub struct Stats {
    pub hits: u64,
    pub stale_serves: u64,
    pub refreshes: u64,
    pub token_requests: u64,
    pub mints: u64,
    pub retries: u64,
    pub invalidations: u64,
    pub failures: u64,
    pub shared_adopted: u64,
    pub shared_published: u64,
    pub shared_alone: u64,
    pub shared_rejected: u64,
    pub shared_faults: u64,
}

/// Whether a program's clients have the shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedCache {
    On,
    Off,
}

pub struct Program {
    name: &'static str,
    shared_cache: SharedCache,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    callers: u64,
    idle: Sample,
    samples: Vec<Sample>,
    /// The file that standard error is written to.
    errors: PathBuf,
    /// `None` until the program's own threads run.
    scarcity: Option<Scarcity>,
}

/// A program's results and the resources it held.
pub struct Report {
    pub name: &'static str,
    pub shared_cache: SharedCache,
    pub callers: u64,
    pub figures: Figures,
    pub idle: Sample,
    pub early: Half,
    pub late: Half,
    pub at_end: Sample,
    /// What it wrote to standard error.
    pub errors: String,
}

/// Half of the samples.
pub struct Half {
    pub median: Sample,
    pub max: Sample,
}

impl Half {
    fn of(samples: &[Sample]) -> Self {
        Self {
            median: median(samples),
            max: max(samples),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Program {
    pub fn rust(test_bed: &mut TestBed, shared_cache: SharedCache) -> Self {
        let name = match shared_cache {
            SharedCache::On => "Rust",
            SharedCache::Off => "Rust without a shared cache",
        };
        let command = Command::new(env!("CARGO_BIN_EXE_soak_client"));
        Self::start(name, test_bed, command, shared_cache)
    }

    /// Links the static library, which a concurrent build does not replace at run time.
    pub fn c(test_bed: &mut TestBed) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let library = target.join("debug/liblayerfi_auth.a");
        assert!(
            library.exists(),
            "the C library is missing; `make soak` builds it"
        );
        let program = test_bed.files().join("soak");
        let status = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(["-g", "-O1", "-I"])
            .arg(root().join("include"))
            .arg("-o")
            .arg(&program)
            .arg(root().join("tests/soak/soak.c"))
            .arg(library)
            .args(["-pthread", "-lm", "-ldl"])
            .status()
            .unwrap();
        assert!(status.success(), "tests/soak/soak.c does not compile");
        Self::start("C", test_bed, Command::new(program), SharedCache::On)
    }

    pub fn python(test_bed: &mut TestBed) -> Self {
        let python = root().join(".venv/bin/python");
        assert!(
            python.exists(),
            ".venv with the Python package is missing; `make soak` creates it"
        );
        let mut command = Command::new(python);
        command.arg(root().join("tests/soak/soak.py"));
        Self::start("Python", test_bed, command, SharedCache::On)
    }

    fn start(
        name: &'static str,
        test_bed: &mut TestBed,
        mut command: Command,
        shared_cache: SharedCache,
    ) -> Self {
        test_bed.configure(&mut command, shared_cache);
        let errors = test_bed.files().join(format!("{name}-errors"));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut program = Self {
            name,
            shared_cache,
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            callers: 0,
            idle: Sample::default(),
            samples: Vec::new(),
            errors,
            scarcity: None,
        };
        program.callers = program.read_line::<Ready>().callers;
        program.idle = program.sample();
        program.send("begin");
        let Running {} = program.read_line();
        let (scarcity, why_not) = Scarcity::new(program.process.id());
        if let Some(why) = why_not {
            println!("THE THREADS OF THE {name} PROGRAM ARE NOT LIMITED: {why}");
        }
        program.scarcity = Some(scarcity);
        program
    }

    fn send(&mut self, order: &str) {
        if writeln!(self.input, "{order}").is_err() {
            self.ended_early();
        }
    }

    /// Reads the next line. The time limit of the whole run bounds the wait.
    fn read_line<T: for<'a> Deserialize<'a>>(&mut self) -> T {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        if line.is_empty() {
            self.ended_early();
        }
        serde_json::from_str(&line).unwrap()
    }

    fn sample(&mut self) -> Sample {
        sample(self.process.id()).unwrap_or_else(|_| self.ended_early())
    }

    /// Panics because the program ended early. Its own message says which check
    /// failed, unless a signal ended it.
    fn ended_early(&mut self) -> ! {
        let status = self.process.wait().unwrap();
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        panic!("the {} program ended early: {status}; {errors}", self.name)
    }

    /// Its limits; `None` if it is not running.
    pub const fn scarcity(&mut self) -> Option<&mut Scarcity> {
        self.scarcity.as_mut()
    }

    /// Samples the program's resources.
    pub fn record_sample(&mut self) {
        let sample = self.sample();
        self.samples.push(sample);
    }

    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub const fn has_shared_cache(&self) -> bool {
        matches!(self.shared_cache, SharedCache::On)
    }

    /// Returns how many calls failed since the last time, or since the start.
    pub fn count_failed(&mut self) -> u64 {
        self.send("count");
        self.read_line::<Count>().failed
    }

    pub fn tell_to_end(&mut self) {
        self.send("end");
    }

    /// Waits until it has recovered, finished and released its resources. The
    /// emulator closes the connections that the engine keeps for later.
    pub fn end(mut self, test_bed: &mut TestBed) -> Report {
        let figures = self.read_line::<Figures>();
        let until = Instant::now() + CLOSE_LIMIT;
        let mut left = self.sample();
        while (left.files > self.idle.files || left.threads > self.idle.threads)
            && Instant::now() < until
        {
            test_bed.close_connections();
            std::thread::sleep(Duration::from_millis(50));
            left = self.sample();
        }
        // During the first half caches, pools and the allocator's arenas fill up.
        let (early, late) = self.samples.split_at(self.samples.len() / 2);
        let report = Report {
            name: self.name,
            shared_cache: self.shared_cache,
            callers: self.callers,
            figures,
            idle: self.idle,
            early: Half::of(early),
            late: Half::of(late),
            at_end: left,
            errors: String::new(),
        };
        self.send("exit");
        let status = self.process.wait().unwrap();
        let errors = std::fs::read_to_string(&self.errors).unwrap();
        assert!(
            status.success(),
            "the {} program ended with {status}; {errors}",
            self.name
        );
        Report { errors, ..report }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Report {
    /// A report that violates no invariant in ten minutes, for the test of the invariants.
    pub fn example() -> Self {
        let held = Sample {
            kib: 10_000,
            files: 10,
            threads: 5,
        };
        let half = || Half {
            median: held,
            max: held,
        };
        Self {
            name: "example",
            shared_cache: SharedCache::On,
            callers: 20,
            figures: Figures {
                served: 100_000,
                max_expired_us: 0,
                failed: BTreeMap::new(),
                slowest_ms: 3_000,
                recovered_ms: 0,
                short_lived: 1,
                clients: vec![Stats {
                    hits: 0,
                    stale_serves: 0,
                    refreshes: 0,
                    token_requests: 100,
                    mints: 0,
                    retries: 0,
                    invalidations: 0,
                    failures: 0,
                    shared_adopted: 10,
                    shared_published: 0,
                    shared_alone: 0,
                    shared_rejected: 0,
                    shared_faults: 1,
                }],
            },
            idle: held,
            early: half(),
            late: half(),
            at_end: held,
            errors: String::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            served,
            max_expired_us,
            failed,
            slowest_ms,
            recovered_ms,
            short_lived,
            clients,
        } = &self.figures;
        writeln!(
            out,
            "{}: {served} tokens served (expired by at most {max_expired_us} us), {} calls failed \
             {failed:?}, slowest call {slowest_ms} ms, recovered after {recovered_ms} ms, \
             {short_lived} short-lived clients",
            self.name,
            failed.values().sum::<u64>()
        )?;
        writeln!(out, "  idle              {}", self.idle)?;
        for (half, held) in [("first", &self.early), ("second", &self.late)] {
            writeln!(out, "  {half:<6} half median {}", held.median)?;
            writeln!(out, "  {half:<6} half max    {}", held.max)?;
        }
        write!(out, "  at the end        {}", self.at_end)?;
        for client in clients {
            write!(out, "\n  {client:?}")?;
        }
        Ok(())
    }
}
