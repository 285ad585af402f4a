//! Compilers, the library, and programs: what the tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

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
const LONGEST: Duration = Duration::from_secs(300);

/// Runs a command to its end, or to that of the patience with it.
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run `make setup-ffi`"));
    let id = child.id();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let started = Instant::now();
        if waiting.recv_timeout(LONGEST).is_err() && started.elapsed() >= LONGEST {
            // Its own child, by its id.
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    output
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
/// for tests. Built by the first who asks, in the same target directory, so
/// that nothing is compiled twice, and copied out of it.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .current_dir(root())
            .args(["build", "--quiet", "--package", "layerfi-auth-ffi"])
            .args(["--features", "test-hooks"])
            .env("CARGO_TARGET_DIR", target);
        run(&mut build);
        let place = scratch().join("lib");
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
    })
}

/// Flags that every program here is clean under.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// Compiles a text and throws the result away.
pub fn compile_only(compiler: &str, standard: &str, text: &str) {
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
    run(&mut command);
}
