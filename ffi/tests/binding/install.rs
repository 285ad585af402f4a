//! The files of `make install`, and projects that use only them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use layerfi_auth_emulator::Emulator;
use layerfi_auth_test_support::ReservedPort;

use crate::support::{
    STRICT, library_with_shared_cache, library_without_hooks, output, root, run, scratch,
    set_environment,
};

/// An installed prefix, created once.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| install("prefix", library_without_hooks(), "0"))
}

/// The same, with the shared cache.
fn prefix_with_shared_cache() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| install("prefix-shared-cache", library_with_shared_cache(), "1"))
}

fn install(name: &str, built: &Path, shared_cache: &str) -> PathBuf {
    let prefix = scratch().join(name);
    let _ = std::fs::remove_dir_all(&prefix);
    let built = make_lib(built, shared_cache);
    run(make("install", &built).arg(argument("PREFIX", &prefix)));
    prefix
}

/// The part of `make lib` after Cargo's, with a library that is built already. Returns what is
/// `C_LIBRARY` for `make install`.
fn make_lib(built: &Path, shared_cache: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let out = built.with_extension("made");
    let mut done = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if done.insert(out.clone()) {
        run(Command::new(root().join("ffi/build.sh"))
            .env("FROM", built)
            .env("OUT", &out)
            .env("SHARED_CACHE", shared_cache));
    }
    out
}

/// `make` with a target, as a user's shell runs it.
fn make(target: &str, built: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(root())
        .args(["--no-print-directory", target])
        .arg(argument("C_LIBRARY", built));
    for name in ["MAKEFLAGS", "DESTDIR", "PREFIX", "SHARED_CACHE"] {
        make.env_remove(name);
    }
    make
}

fn argument(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

pub fn pkg_config(args: &[&str]) -> Vec<String> {
    pkg_config_of(prefix(), args)
}

fn pkg_config_of(prefix: &Path, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(args)
        .arg("layerfi_auth");
    run(&mut command)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Compiles the consumer with these flags at the end, and runs it. Returns the program.
fn consume(compiler: &str, flags: &[String], name: &str) -> PathBuf {
    let language = if compiler.contains("++") { "cpp" } else { "c" };
    let program = scratch().join(format!("consumer-{compiler}-{name}"));
    let source = format!("main.{language}");
    let mut compile = Command::new(compiler);
    compile
        .current_dir(root().join("ffi/tests/consumer"))
        .args(STRICT)
        .args((language == "cpp").then_some("-std=c++17"))
        .arg("-o")
        .arg(&program)
        .arg(source)
        .args(flags);
    run(&mut compile);
    run_consumer(&program);
    program
}

/// Builds the consumer's programs in `directory`, with a variable that says where the library is.
fn build_with_cmake(directory: &Path, variable: &str, library: &Path) {
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(directory)
        .arg(format!("-D{variable}={}", library.display())));
    run(Command::new("cmake").arg("--build").arg(directory));
}

fn run_consumer(program: &Path) {
    let layer = Emulator::builder().start_blocking().unwrap();
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    assert_eq!(run(set_environment(&mut command, &layer)), "ok\n");
}

fn symbols(args: &[&str], library: &Path) -> Vec<String> {
    let listed = run(Command::new("nm")
        .args(args)
        .arg("--defined-only")
        .arg(library));
    let mut names: Vec<_> = listed
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(_), Some(_), Some(name)) => Some(name.to_owned()),
                _ => None,
            }
        })
        .collect();
    names.sort();
    names
}

/// Checks that a program or a library binds its functions when it is loaded. Lazy binding would
/// save vector registers, which may contain bytes of secrets, on the stack.
fn check_binds_at_load(file: &Path) {
    let dynamic = run(Command::new("readelf").arg("-d").arg(file));
    assert!(
        dynamic.contains("BIND_NOW"),
        "{} is not linked with -z now: {dynamic}",
        file.display()
    );
}

#[test]
fn only_functions_in_the_header_are_exported() {
    let mut declared = crate::abi::functions();
    declared.sort();
    let lib = prefix().join("lib");
    assert_eq!(symbols(&["-D"], &lib.join("liblayerfi_auth.so")), declared);
    // The static library is one object, with local symbols for everything else.
    assert_eq!(symbols(&["-g"], &lib.join("liblayerfi_auth.a")), declared);
}

#[test]
fn shared_library_has_its_soname_binds_at_load_and_needs_only_glibc() {
    let lib = prefix().join("lib");
    let dynamic = run(Command::new("readelf")
        .arg("-d")
        .arg(lib.join("liblayerfi_auth.so")));
    assert!(dynamic.contains("SONAME") && dynamic.contains("[liblayerfi_auth.so.1]"));
    // Only libraries that every system with glibc has.
    for line in dynamic.lines().filter(|line| line.contains("NEEDED")) {
        let known = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
    check_binds_at_load(&lib.join("liblayerfi_auth.so"));
    let link = |name: &str| std::fs::read_link(lib.join(name)).unwrap();
    assert_eq!(
        link("liblayerfi_auth.so").as_os_str(),
        "liblayerfi_auth.so.1"
    );
    assert_eq!(
        link("liblayerfi_auth.so.1").as_os_str(),
        format!("liblayerfi_auth.so.{}", crate::abi::version()).as_str()
    );
}

#[test]
fn pkg_config_links_the_shared_library() {
    for compiler in ["gcc", "clang", "g++", "clang++"] {
        consume(compiler, &pkg_config(&["--cflags", "--libs"]), "shared");
    }
}

#[test]
fn pkg_config_links_the_static_library() {
    let flags = pkg_config(&["--static", "--cflags", "--libs"]);
    for compiler in ["gcc", "clang", "g++", "clang++"] {
        // The whole program, the C library included.
        let mut all = flags.clone();
        all.push("-static".to_owned());
        consume(compiler, &all, "static");
        // Only this library.
        let mut own = vec!["-Wl,-Bstatic".to_owned()];
        own.extend(flags.iter().map(|flag| match flag.as_str() {
            "-llayerfi_auth" => "-l:liblayerfi_auth.a".to_owned(),
            other => other.to_owned(),
        }));
        own.remove(0);
        check_binds_at_load(&consume(compiler, &own, "static-alone"));
    }
}

#[test]
fn cmake_links_both_libraries() {
    let directory = scratch().join("cmake");
    let _ = std::fs::remove_dir_all(&directory);
    build_with_cmake(&directory, "CMAKE_PREFIX_PATH", prefix());
    for program in ["c", "cpp", "c_static", "cpp_static"] {
        run_consumer(&directory.join(program));
    }
    for program in ["c_static", "cpp_static"] {
        check_binds_at_load(&directory.join(program));
    }
    // The static programs do not need the shared library.
    let needed = run(Command::new("readelf")
        .arg("-d")
        .arg(directory.join("c_static")));
    assert!(!needed.contains("layerfi"));
}

#[test]
fn destdir_and_absolute_libdir_are_used() {
    let stage = scratch().join("stage");
    let _ = std::fs::remove_dir_all(&stage);
    run(make("install", &make_lib(library_without_hooks(), "0"))
        .arg(argument("DESTDIR", &stage))
        .args(["PREFIX=/usr", "LIBDIR=/usr/lib/x86_64-linux-gnu"]));
    let lib = stage.join("usr/lib/x86_64-linux-gnu");
    let pc = std::fs::read_to_string(lib.join("pkgconfig/layerfi_auth.pc")).unwrap();
    assert!(pc.contains("prefix=/usr\n") && !pc.contains("stage"));
    // Paths below the prefix are relative to it.
    assert!(
        pc.contains("libdir=${prefix}/lib/x86_64-linux-gnu\n"),
        "{pc}"
    );
    for file in ["liblayerfi_auth.so.1", "liblayerfi_auth.a"] {
        assert!(lib.join(file).exists(), "{file}");
    }
    assert!(stage.join("usr/include/layerfi_auth.hpp").exists());
    let directory = scratch().join("cmake-staged");
    let _ = std::fs::remove_dir_all(&directory);
    build_with_cmake(
        &directory,
        "layerfi_auth_DIR",
        &lib.join("cmake/layerfi_auth"),
    );
    run_consumer(&directory.join("c_static"));
}

#[test]
fn absolute_directories_are_kept() {
    let directory = scratch().join("absolute");
    let _ = std::fs::remove_dir_all(&directory);
    let (lib, include) = (
        directory.join("elsewhere/lib"),
        directory.join("prefix/include/layer"),
    );
    run(make("install", &make_lib(library_without_hooks(), "0"))
        .arg(argument("PREFIX", &directory.join("prefix")))
        .arg(argument("LIBDIR", &lib))
        .arg(argument("INCLUDEDIR", &include)));
    assert!(include.join("layerfi_auth.hpp").exists());
    assert!(lib.join("liblayerfi_auth.so.1").exists());
    let pc = std::fs::read_to_string(lib.join("pkgconfig/layerfi_auth.pc")).unwrap();
    assert!(pc.contains(&format!("libdir={}\n", lib.display())), "{pc}");
    assert!(pc.contains("includedir=${prefix}/include/layer\n"), "{pc}");
    let build = directory.join("cmake");
    build_with_cmake(&build, "layerfi_auth_DIR", &lib.join("cmake/layerfi_auth"));
    run_consumer(&build.join("cpp_static"));
}

/// Runs a program with a shared cache to which nobody listens, and returns what it prints.
fn use_shared_cache(prefix: &Path, name: &str) -> String {
    let program = scratch().join(format!("consumer-shared-cache-{name}"));
    let mut compile = Command::new("gcc");
    compile
        .current_dir(root().join("ffi/tests/consumer"))
        .args(STRICT)
        .arg("-o")
        .arg(&program)
        .arg("shared_cache.c")
        .args(pkg_config_of(prefix, &["--cflags", "--libs"]));
    run(&mut compile);
    let layer = Emulator::builder().start_blocking().unwrap();
    let closed = ReservedPort::new();
    let address = closed.address();
    let mut command = Command::new(program);
    command
        .arg(format!("redis://user:canary@{address}/1"))
        .env("LD_LIBRARY_PATH", prefix.join("lib"));
    run(set_environment(&mut command, &layer))
}

#[test]
fn b30_library_without_shared_cache_says_how_to_build_it() {
    assert_eq!(pkg_config(&["--variable=shared_cache"]), ["0"]);
    let printed = use_shared_cache(prefix(), "without");
    assert!(printed.starts_with("shared_cache: "), "{printed}");
    for part in ["no support for Redis", "make lib SHARED_CACHE=1"] {
        assert!(
            printed.contains(part),
            "not in the error: {part}: {printed}"
        );
    }
    assert!(!printed.contains("canary"), "the password is in the error");
}

#[test]
fn b30_installed_library_with_shared_cache_gets_tokens_while_the_store_is_down() {
    let prefix = prefix_with_shared_cache();
    assert_eq!(pkg_config_of(prefix, &["--variable=shared_cache"]), ["1"]);
    // LAYERFI_SHARED_CACHE_STATE_DOWN is 2.
    assert_eq!(use_shared_cache(prefix, "with"), "ok, cache 2, alone 1\n");
}

#[test]
fn b30_make_lib_builds_the_shared_cache_only_on_request() {
    for (argument, builds_it) in [
        ("PREFIX=/usr", "0"),
        ("SHARED_CACHE=0", "0"),
        ("SHARED_CACHE=1", "1"),
        ("SHARED_CACHE=yes", "1"),
    ] {
        let commands = run(make("lib", Path::new("out")).args(["--dry-run", argument]));
        assert!(
            commands.contains(&format!("SHARED_CACHE=\"{builds_it}\" ffi/build.sh")),
            "{argument}: {commands}"
        );
    }
}

/// Directories with all that a script may use, except Rust and the tools of a build.
fn path_without_rust(directory: &Path) -> String {
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory).unwrap();
    for tool in [
        "sh",
        "make",
        "sed",
        "install",
        "ln",
        "mkdir",
        "chmod",
        "id",
        "dirname",
        "grep",
        "expand",
        "pkg-config",
    ] {
        let path = run(Command::new("sh").args(["-c", &format!("command -v {tool}")]));
        std::os::unix::fs::symlink(path.trim(), directory.join(tool)).unwrap();
    }
    directory.display().to_string()
}

#[test]
fn make_install_only_copies_and_needs_no_rust() {
    let directory = scratch().join("without-rust");
    let path = path_without_rust(&directory.join("bin"));
    let built = make_lib(library_without_hooks(), "0");
    let before = modification_times(&built);
    let prefix = directory.join("a prefix");
    let mut install = make("install", &built);
    install
        .env_clear()
        .env("PATH", &path)
        .arg(argument("PREFIX", &prefix));
    let printed = run(&mut install);
    assert!(
        prefix.join("lib/liblayerfi_auth.so.1").exists(),
        "{printed}"
    );
    assert_eq!(
        modification_times(&built),
        before,
        "make install changed a file of the build"
    );
    // The prefix is not one of the loader's directories, so the user must do something.
    for part in [
        format!("-Wl,-rpath,{}/lib", prefix.display()),
        format!("PKG_CONFIG_PATH={}/lib/pkgconfig", prefix.display()),
    ] {
        assert!(printed.contains(&part), "not printed: {part}: {printed}");
    }
}

fn modification_times(directory: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut times: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
        .collect();
    times.sort();
    times
}

/// What a command prints that must fail.
fn failure(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{command:?} did not fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn make_install_says_what_to_do_if_the_library_is_not_built() {
    let prefix = scratch().join("never-installed");
    let prefix = argument("PREFIX", &prefix);
    let missing = failure(make("install", Path::new("/nonexistent")).arg(&prefix));
    assert!(missing.contains("Run make lib, without sudo"), "{missing}");
    let built = make_lib(library_without_hooks(), "0");
    let other = failure(make("install", &built).args([&prefix, "SHARED_CACHE=1"]));
    assert!(other.contains("Run make lib SHARED_CACHE=1"), "{other}");
    let no_access = failure(make("install", &built).arg("PREFIX=/proc/nobody-may-write-here"));
    assert!(no_access.contains("sudo make install"), "{no_access}");
}

#[test]
fn make_lib_names_the_missing_tools() {
    let directory = scratch().join("without-binutils");
    let path = path_without_rust(&directory);
    let mut lib = make("lib", &directory.join("out"));
    lib.env_clear()
        .env("PATH", path)
        .arg("CARGO=/nonexistent/cargo");
    let printed = failure(&mut lib);
    assert!(
        printed.contains("is missing. The build needs Rust 1.89"),
        "{printed}"
    );
}

#[test]
fn relocated_library_works_in_another_folder() {
    let here = scratch().join("packed");
    let there = scratch().join("unpacked elsewhere");
    for directory in [&here, &there] {
        let _ = std::fs::remove_dir_all(directory);
    }
    run(make("install", &make_lib(library_without_hooks(), "0"))
        .args(["PREFIX=/layerfi", "LIBDIR=lib/deep", "RELOCATABLE=1"])
        .arg(argument("DESTDIR", &here)));
    std::fs::rename(here.join("layerfi"), &there).unwrap();
    let lib = there.join("lib/deep");
    // A folder without a space, because shells and make split the output of pkg-config.
    let link = scratch().join("unpacked");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&there, &link).unwrap();
    let mut flags = Command::new("pkg-config");
    flags
        .env("PKG_CONFIG_PATH", link.join("lib/deep/pkgconfig"))
        .args(["--cflags", "--libs", "layerfi_auth"]);
    let flags: Vec<_> = run(&mut flags)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert!(
        !flags.concat().contains("/layerfi/"),
        "layerfi_auth.pc has the path of the installation: {flags:?}"
    );
    let program = consume("gcc", &flags, "relocated");
    assert!(program.exists());
    let directory = scratch().join("cmake-relocated");
    let _ = std::fs::remove_dir_all(&directory);
    build_with_cmake(
        &directory,
        "layerfi_auth_DIR",
        &lib.join("cmake/layerfi_auth"),
    );
    // Built programs have an rpath to the folder, so LD_LIBRARY_PATH is not needed.
    let layer = Emulator::builder().start_blocking().unwrap();
    let mut command = Command::new(directory.join("cpp"));
    command.env_remove("LD_LIBRARY_PATH");
    assert_eq!(run(set_environment(&mut command, &layer)), "ok\n");
}
