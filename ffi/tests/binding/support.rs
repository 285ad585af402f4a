//! Shared by the tests: compilers, the library, and programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::Emulator;
use layerfi_auth_test_support::{Watchdog, cargo_build, emulator_variables, remove_settings};
use tempfile::TempDir;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command that must succeed, and returns its standard output. A failure shows both
/// outputs.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Time limit of a program. It is long, because valgrind on a busy machine is
/// slow.
const MAX_RUN_TIME: Duration = Duration::from_secs(1_800);

/// Runs a command until it ends, or kills it after [`MAX_RUN_TIME`].
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} did not start: {error}; run `make setup`"));
    let _watchdog = watchdog(child.id());
    child.wait_with_output().unwrap()
}

/// Kills a child that still runs after [`MAX_RUN_TIME`].
pub fn watchdog(child: u32) -> Watchdog {
    Watchdog::new(child, MAX_RUN_TIME)
}

/// Extra time that a call may take on this machine: ten times the latest wake-up of a thread so
/// far. Time limits in tests are extended by it.
pub fn lateness() -> Duration {
    const INTERVAL: Duration = Duration::from_millis(20);
    static STARTED: Once = Once::new();
    static LATEST_WAKE_MS: AtomicU64 = AtomicU64::new(0);
    STARTED.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let started = Instant::now();
                std::thread::sleep(INTERVAL);
                let late = started.elapsed().saturating_sub(INTERVAL);
                let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                LATEST_WAKE_MS.fetch_max(late, Ordering::Relaxed);
            }
        });
    });
    10 * Duration::from_millis(LATEST_WAKE_MS.load(Ordering::Relaxed))
}

/// The directory for everything that the tests build.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binding");
        std::fs::create_dir_all(&directory).unwrap();
        directory
    })
}

/// The directory of liblayerfi_auth.so and .a, a debug build with `test-hooks` and the shared
/// cache. The first call builds it.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build_library("lib", &["--features", "test-hooks,redis"]))
}

/// The same without features, as `make install` installs it.
pub fn library_without_hooks() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build_library("lib-as-installed", &[]))
}

/// The same with the shared cache, as `make lib SHARED_CACHE=1` installs it.
pub fn library_with_shared_cache() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build_library("lib-with-shared-cache", &["--features", "redis"]))
}

/// Builds in the target directory of the running build, so that nothing is compiled twice, and
/// copies the result.
fn build_library(name: &str, features: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut build = cargo_build(env!("CARGO_TARGET_TMPDIR"));
    build
        .current_dir(root())
        .args(["--package", "layerfi-auth-ffi"])
        .args(features);
    run(&mut build);
    let directory = scratch().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for (file, name) in [
        // The name that the loader looks for.
        ("liblayerfi_auth.so", "liblayerfi_auth.so.1"),
        ("liblayerfi_auth.so", "liblayerfi_auth.so"),
        ("liblayerfi_auth.a", "liblayerfi_auth.a"),
    ] {
        std::fs::copy(target.join("debug").join(file), directory.join(name)).unwrap();
    }
    directory
}

/// Warnings that every program compiles without.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// Checks that a source compiles without warnings.
pub fn compile_only(compiler: &str, standard: &str, text: &str) {
    let output = compile(compiler, standard, text);
    assert!(
        output.status.success(),
        "{compiler} {standard} refused the source: {output:?}"
    );
}

/// Checks a source with a compiler, and returns the compiler's output.
pub fn compile(compiler: &str, standard: &str, text: &str) -> Output {
    let directory = TempDir::new_in(scratch()).unwrap();
    let name = if standard.starts_with("c++") {
        "text.cpp"
    } else {
        "text.c"
    };
    std::fs::write(directory.path().join(name), text).unwrap();
    let mut command = Command::new(compiler);
    command
        .current_dir(directory.path())
        .arg(format!("-std={standard}"))
        .args(STRICT)
        .arg("-I")
        .arg(root().join("include"))
        .args(["-fsyntax-only", name]);
    output(&mut command)
}

/// How a program is built and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    /// AddressSanitizer (with LeakSanitizer) and UndefinedBehaviorSanitizer.
    Address,
    /// ThreadSanitizer; the library itself is not instrumented.
    Thread,
    Valgrind,
}

/// A program of `tests/c` or `tests/cpp`.
pub struct Program {
    source: PathBuf,
    compiler: &'static str,
    standard: &'static str,
    flags: Vec<&'static str>,
    mode: Mode,
    misbehaves: bool,
}

impl Program {
    pub fn c(name: &str) -> Self {
        Self {
            source: root().join("tests/c").join(name).with_extension("c"),
            compiler: "gcc",
            standard: "c11",
            flags: Vec::new(),
            mode: Mode::Plain,
            misbehaves: false,
        }
    }

    pub fn cpp(name: &str) -> Self {
        Self {
            source: root().join("tests/cpp").join(name).with_extension("cpp"),
            compiler: "g++",
            standard: "c++17",
            flags: Vec::new(),
            mode: Mode::Plain,
            misbehaves: false,
        }
    }

    pub fn compiler(mut self, compiler: &'static str) -> Self {
        self.compiler = compiler;
        self
    }

    pub fn standard(mut self, standard: &'static str) -> Self {
        self.standard = standard;
        self
    }

    /// More flags of the compiler.
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags = flags.to_vec();
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Makes the program break the rules, to test that the checks detect it.
    pub fn misbehaving(mut self) -> Self {
        self.misbehaves = true;
        self
    }

    /// Compiles it, once for all tests, and returns the path of the program.
    pub fn build(&self) -> PathBuf {
        static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let stem = self.source.file_stem().unwrap().to_string_lossy();
        let directory = scratch().join("programs");
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join(format!(
            "{stem}-{}-{}-{:?}{}",
            self.compiler,
            self.standard,
            self.mode,
            self.flags.concat()
        ));
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.contains(&program) {
            return program;
        }
        let mut command = Command::new(self.compiler);
        command
            .arg(format!("-std={}", self.standard))
            .args(STRICT)
            .args(&self.flags)
            .args(["-g", "-O1", "-fno-omit-frame-pointer"])
            .args(match self.mode {
                Mode::Plain | Mode::Valgrind => &[][..],
                Mode::Address => &[
                    "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=undefined",
                ],
                Mode::Thread => &["-fsanitize=thread"],
            })
            .arg("-I")
            .arg(root().join("include"))
            .arg("-o")
            .arg(&program)
            .arg(&self.source)
            .arg("-L")
            .arg(library())
            .args(["-llayerfi_auth", "-pthread"])
            // Links without hardening: each function is bound at its first call, by a
            // resolver that saves the vector registers on the stack.
            .arg("-Wl,-z,lazy")
            .arg(format!("-Wl,-rpath,{}", library().display()));
        run(&mut command);
        built.insert(program.clone());
        program
    }

    /// Whether its mode makes it slow, so that time limits do not apply.
    pub fn is_slow(&self) -> bool {
        self.mode != Mode::Plain
    }

    pub fn is_under_valgrind(&self) -> bool {
        self.mode == Mode::Valgrind
    }

    fn forks(&self) -> bool {
        self.source.ends_with("fork.c")
    }

    /// The command that runs the built program, with everything that its mode needs.
    pub fn command(&self, program: &Path) -> Command {
        let suppressions = root().join("ffi/tests/suppressions");
        let mut command = match self.mode {
            Mode::Valgrind => {
                let mut command = Command::new("valgrind");
                command
                    .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
                    // No reports of "possible" leaks: the pointer of an Arc points into the
                    // middle of its block, which valgrind reports as one.
                    .args(["--show-leak-kinds=definite,indirect"])
                    .args(["--errors-for-leak-kinds=definite,indirect"])
                    // Otherwise a waiting thread may starve.
                    .arg("--fair-sched=yes")
                    // A forked child leaks on purpose.
                    .args(self.forks().then_some("--leak-check=no"))
                    .arg(program);
                command
            }
            _ => Command::new(program),
        };
        command
            .env("LAYERFI_TEST_MODE", format!("{:?}", self.mode))
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
            .env("UBSAN_OPTIONS", "print_stacktrace=1")
            .env(
                "TSAN_OPTIONS",
                format!(
                    "exitcode=66:suppressions={}",
                    suppressions.join("tsan.supp").display()
                ),
            );
        if self.is_slow() {
            command.env("LAYERFI_TEST_SLOW", "1");
        }
        if self.misbehaves {
            command.env("LAYERFI_TEST_MISBEHAVE", "1");
        }
        command
    }

    /// Runs it with its own emulator.
    pub fn run(&self) {
        self.run_against(&Emulator::builder().start_blocking().unwrap());
    }

    pub fn run_against(&self, layer: &Emulator) {
        let mut command = self.command(&self.build());
        set_environment(&mut command, layer);
        let directory = TempDir::new_in(scratch()).unwrap();
        if layer.ca_pem().is_some() {
            let ca = directory.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        let output = run(&mut command);
        assert!(
            output.ends_with("ok\n"),
            "{command:?} did not print ok but {output}"
        );
    }
}

/// Sets the environment variables that make a program use an emulator.
pub fn set_environment<'a>(command: &'a mut Command, layer: &Emulator) -> &'a mut Command {
    remove_settings(command);
    command.envs(emulator_variables(layer)).env(
        "LAYER_EMULATOR_CONTROL_PORT",
        layer.control_address().port().to_string(),
    )
}
