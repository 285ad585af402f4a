//! The clients' programs, one in each language: started, looked at, told to
//! end, asked for their figures. `src/bin/soak_client.rs` says how they work.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::samples::{Sample, median, most, sample};
use crate::world::World;

/// How long a program may take to let go of all it had.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// What a program says when it has come to rest before the work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    /// How many may want a connection at once.
    callers: u64,
}

/// What it says at its end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub served: u64,
    pub deadest_us: u64,
    /// Calls, by the kind of their error.
    pub failed: BTreeMap<String, u64>,
    pub slowest_ms: u64,
    pub healed_ms: u64,
    /// Clients that came and went.
    pub passed: u64,
    /// Those of its clients that were there all the time.
    pub clients: Vec<Stats>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "those that no law is about are shown")]
pub struct Stats {
    pub hits: u64,
    pub stale_serves: u64,
    pub refreshes: u64,
    pub token_requests: u64,
    pub mints: u64,
    pub retries: u64,
    pub invalidations: u64,
    pub failures: u64,
}

pub struct Face {
    name: &'static str,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    callers: u64,
    at_rest: Sample,
    samples: Vec<Sample>,
}

/// What is left of a program: its figures and what it held.
pub struct Report {
    pub name: &'static str,
    pub callers: u64,
    pub figures: Figures,
    pub at_rest: Sample,
    pub early: Half,
    pub late: Half,
    pub left: Sample,
}

/// Half of the samples.
pub struct Half {
    pub median: Sample,
    pub most: Sample,
}

impl Half {
    fn of(samples: &[Sample]) -> Self {
        Self {
            median: median(samples),
            most: most(samples),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Face {
    pub fn rust(world: &mut World) -> Self {
        Self::start("Rust", world, env!("CARGO_BIN_EXE_soak_client"))
    }

    /// With the static library, so that nobody builds another under it.
    pub fn c(world: &mut World) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let library = target.join("debug/liblayerfi_auth.a");
        assert!(
            library.exists(),
            "there is no C library: run `make soak`, which builds it"
        );
        let program = world.files().join("soak");
        let status = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(["-g", "-O1", "-I"])
            .arg(root().join("include"))
            .arg("-o")
            .arg(&program)
            .arg(root().join("tests/hostile/soak.c"))
            .arg(library)
            .args(["-pthread", "-lm", "-ldl"])
            .status()
            .unwrap();
        assert!(status.success(), "tests/hostile/soak.c is not compiled");
        Self::start("C", world, program.to_str().unwrap())
    }

    pub fn python(world: &mut World) -> Self {
        let python = root().join(".venv/bin/python");
        assert!(
            python.exists(),
            "there is no .venv with the package: run `make soak`, which makes it"
        );
        let mut command = Command::new(python);
        command.arg(root().join("tests/hostile/soak.py"));
        Self::start_command("Python", world, command)
    }

    fn start(name: &'static str, world: &mut World, program: &str) -> Self {
        Self::start_command(name, world, Command::new(program))
    }

    fn start_command(name: &'static str, world: &mut World, mut command: Command) -> Self {
        world.direct(&mut command);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut face = Self {
            name,
            orders: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            callers: 0,
            at_rest: Sample::default(),
            samples: Vec::new(),
        };
        face.callers = face.answer::<Ready>().callers;
        face.at_rest = face.sample();
        // And now to work.
        face.say("begin");
        face
    }

    fn say(&mut self, order: &str) {
        if writeln!(self.orders, "{order}").is_err() {
            self.has_ended();
        }
    }

    /// The next line; the watch over the whole run bounds the wait for it.
    fn answer<T: for<'a> Deserialize<'a>>(&mut self) -> T {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        if line.is_empty() {
            self.has_ended();
        }
        serde_json::from_str(&line).unwrap()
    }

    fn sample(&mut self) -> Sample {
        sample(self.process.id()).unwrap_or_else(|_| self.has_ended())
    }

    /// A law was broken inside it; it has said which, unless a signal ended it.
    fn has_ended(&mut self) -> ! {
        let status = self.process.wait().unwrap();
        panic!("the {} program has ended: {status}", self.name)
    }

    /// Takes a sample.
    pub fn look(&mut self) {
        let sample = self.sample();
        self.samples.push(sample);
    }

    pub fn tell_to_end(&mut self) {
        self.say("end");
    }

    /// Waits for it to heal, finish and let go.
    pub fn end(mut self) -> Report {
        let figures = self.answer::<Figures>();
        let until = Instant::now() + CLOSED_WITHIN;
        let mut left = self.sample();
        while (left.files > self.at_rest.files || left.threads > self.at_rest.threads)
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(50));
            left = self.sample();
        }
        // The first part fills caches, pools and the allocator's arenas.
        let (early, late) = self.samples.split_at(self.samples.len() / 2);
        let report = Report {
            name: self.name,
            callers: self.callers,
            figures,
            at_rest: self.at_rest,
            early: Half::of(early),
            late: Half::of(late),
            left,
        };
        self.say("exit");
        let status = self.process.wait().unwrap();
        assert!(
            status.success(),
            "the {} program ended with {status}",
            self.name
        );
        report
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Report {
    /// One that breaks no law in ten minutes, for the test of the laws.
    pub fn example() -> Self {
        let held = Sample {
            kib: 10_000,
            files: 10,
            threads: 5,
        };
        let half = || Half {
            median: held,
            most: held,
        };
        Self {
            name: "example",
            callers: 20,
            figures: Figures {
                served: 100_000,
                deadest_us: 0,
                failed: BTreeMap::new(),
                slowest_ms: 3_000,
                healed_ms: 0,
                passed: 1,
                clients: vec![Stats {
                    hits: 0,
                    stale_serves: 0,
                    refreshes: 0,
                    token_requests: 100,
                    mints: 0,
                    retries: 0,
                    invalidations: 0,
                    failures: 0,
                }],
            },
            at_rest: held,
            early: half(),
            late: half(),
            left: held,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            served,
            deadest_us,
            failed,
            slowest_ms,
            healed_ms,
            passed,
            clients,
        } = &self.figures;
        writeln!(
            out,
            "{}: {served} tokens served, the deadest for {deadest_us} us, {} calls failed \
             {failed:?}, the slowest took {slowest_ms} ms, healed after {healed_ms} ms, \
             {passed} clients came and went",
            self.name,
            failed.values().sum::<u64>()
        )?;
        writeln!(out, "  at rest           {}", self.at_rest)?;
        for (half, held) in [("first", &self.early), ("second", &self.late)] {
            writeln!(out, "  {half:<6} half, mid  {}", held.median)?;
            writeln!(out, "  {half:<6} half, most {}", held.most)?;
        }
        write!(out, "  left              {}", self.left)?;
        for client in clients {
            write!(out, "\n  {client:?}")?;
        }
        Ok(())
    }
}
