//! Compilers, the library, and programs: what the tests share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};
use tempfile::TempDir;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command to its end, and gives its standard output. What it says on
/// standard error is shown if it fails.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Longer than any program takes, under valgrind on a busy machine too.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs a command to its end, or to that of the patience with it.
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run `make setup-ffi`"));
    let _watch = Watch::on(child.id());
    child.wait_with_output().unwrap()
}

/// Ends a child that does not end by itself, unless this goes before.
pub struct Watch {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn on(child: u32) -> Self {
        let (done, waiting) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if waiting.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                eprintln!("process {child} is ended: it took more than {LONGEST:?}");
                // Our own child, by its id, and not yet waited for.
                let _ = Command::new("kill")
                    .args(["-9", &child.to_string()])
                    .status();
            }
        });
        Self {
            done: Some(done),
            thread: Some(thread),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where everything that is built here goes; gone with the process.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("face");
        std::fs::create_dir_all(&place).unwrap();
        place
    })
}

/// The directory of liblayerfi_auth.so and .a in a debug build with the hooks
/// for tests. Built by the first who asks.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build_library("lib", &["--features", "test-hooks"]))
}

/// The same as users have it.
pub fn library_without_hooks() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build_library("lib-as-installed", &[]))
}

/// Builds in the target directory of this very build, so that nothing is
/// compiled twice, and copies what comes out.
fn build_library(name: &str, features: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(root())
        .args(["build", "--quiet", "--package", "layerfi-auth-ffi"])
        .args(features)
        .env("CARGO_TARGET_DIR", target);
    // What cargo tells a test about itself makes build scripts run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    run(&mut build);
    let place = scratch().join(name);
    std::fs::create_dir_all(&place).unwrap();
    for (file, name) in [
        // As the loader looks for it.
        ("liblayerfi_auth.so", "liblayerfi_auth.so.1"),
        ("liblayerfi_auth.so", "liblayerfi_auth.so"),
        ("liblayerfi_auth.a", "liblayerfi_auth.a"),
    ] {
        std::fs::copy(target.join("debug").join(file), place.join(name)).unwrap();
    }
    place
}

/// Flags that every program here is clean under.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// Compiles a text and throws the result away.
pub fn compile_only(compiler: &str, standard: &str, text: &str) {
    let said = compile(compiler, standard, text);
    assert!(said.status.success(), "{compiler} {standard}: {said:?}");
}

/// What a compiler says to a text; what comes out is thrown away.
pub fn compile(compiler: &str, standard: &str, text: &str) -> Output {
    let place = TempDir::new_in(scratch()).unwrap();
    let name = if standard.starts_with("c++") {
        "text.cpp"
    } else {
        "text.c"
    };
    std::fs::write(place.path().join(name), text).unwrap();
    let mut command = Command::new(compiler);
    command
        .current_dir(place.path())
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
    /// ThreadSanitizer; what the library does inside is not looked at.
    Thread,
    Valgrind,
}

/// A program of `tests/c` or `tests/cpp`.
pub struct Program {
    source: PathBuf,
    compiler: &'static str,
    standard: &'static str,
    mode: Mode,
    misbehaves: bool,
}

impl Program {
    pub fn c(name: &str) -> Self {
        Self {
            source: root().join("tests/c").join(name).with_extension("c"),
            compiler: "gcc",
            standard: "-std=c11",
            mode: Mode::Plain,
            misbehaves: false,
        }
    }

    pub fn cpp(name: &str) -> Self {
        Self {
            source: root().join("tests/cpp").join(name).with_extension("cpp"),
            compiler: "g++",
            standard: "-std=c++17",
            mode: Mode::Plain,
            misbehaves: false,
        }
    }

    pub fn compiler(mut self, compiler: &'static str) -> Self {
        self.compiler = compiler;
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Does what it must not, to see that it is noticed.
    pub fn misbehaving(mut self) -> Self {
        self.misbehaves = true;
        self
    }

    /// Compiles it, once for all tests, and gives the path of what came out.
    pub fn build(&self) -> PathBuf {
        static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let stem = self.source.file_stem().unwrap().to_string_lossy();
        let place = scratch().join("programs");
        std::fs::create_dir_all(&place).unwrap();
        let program = place.join(format!("{stem}-{}-{:?}", self.compiler, self.mode));
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.contains(&program) {
            return program;
        }
        let mut command = Command::new(self.compiler);
        command
            .arg(self.standard)
            .args(STRICT)
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
            // As a program that is not hardened: each function is bound at its first call, by
            // a resolver that saves the vector registers on the stack.
            .arg("-Wl,-z,lazy")
            .arg(format!("-Wl,-rpath,{}", library().display()));
        run(&mut command);
        built.insert(program.clone());
        program
    }

    /// Whether its mode makes it slow.
    pub fn is_slow(&self) -> bool {
        self.mode != Mode::Plain
    }

    pub fn is_under_valgrind(&self) -> bool {
        self.mode == Mode::Valgrind
    }

    fn forks(&self) -> bool {
        self.source.ends_with("fork.c")
    }

    /// What runs what [`build`](Self::build) made, with all that its mode needs.
    pub fn command(&self, program: &Path) -> Command {
        let suppressions = root().join("ffi/tests/suppressions");
        let mut command = match self.mode {
            Mode::Valgrind => {
                let mut command = Command::new("valgrind");
                command
                    .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
                    // Not the possible ones: an Arc is held by its inside,
                    // which valgrind takes for an accident.
                    .args(["--show-leak-kinds=definite,indirect"])
                    .args(["--errors-for-leak-kinds=definite,indirect"])
                    // Threads take turns fairly, or a waiting one may starve.
                    .arg("--fair-sched=yes")
                    // What a child of a fork leaks is leaked on purpose.
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

    /// Runs it against an emulator of its own.
    pub fn run(&self) {
        self.run_against(&Emulator::builder().start_blocking().unwrap());
    }

    pub fn run_against(&self, layer: &Emulator) {
        let mut command = self.command(&self.build());
        speak_to(&mut command, layer);
        let folder = TempDir::new_in(scratch()).unwrap();
        if layer.ca_pem().is_some() {
            let ca = folder.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        let said = run(&mut command);
        assert!(said.ends_with("ok\n"), "{command:?} said {said}");
    }
}

/// Puts an emulator where a program looks for Layer.
pub fn speak_to<'a>(command: &'a mut Command, layer: &Emulator) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("LAYER_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&*name);
        }
    }
    command
        .env("LAYER_ENVIRONMENT", "custom")
        .env("LAYER_API_URL", layer.url())
        .env("LAYER_AUTH_URL", layer.token_url())
        .env("LAYER_SCOPE", layer.scope())
        .env("LAYER_ALLOW_HTTP_LOOPBACK", "1")
        .env("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID)
        .env("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)
        .env(
            "LAYER_EMULATOR_CONTROL_PORT",
            layer.control_address().port().to_string(),
        )
}
