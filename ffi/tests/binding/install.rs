//! The files of `make install`, and projects that use only them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use layerfi_auth_emulator::Emulator;

use crate::support::{
    STRICT, library_with_shared_cache, library_without_hooks, root, run, scratch, set_environment,
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
    run(Command::new(root().join("ffi/install.sh"))
        .env("BUILT", built)
        .env("PREFIX", &prefix)
        .env("SHARED_CACHE", shared_cache)
        .env_remove("DESTDIR"));
    prefix
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
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(&directory)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())));
    run(Command::new("cmake").arg("--build").arg(&directory));
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
    run(Command::new(root().join("ffi/install.sh"))
        .env("BUILT", library_without_hooks())
        .env("DESTDIR", &stage)
        .env("PREFIX", "/usr")
        .env("LIBDIR", "/usr/lib/x86_64-linux-gnu"));
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
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(&directory)
        .arg(format!(
            "-Dlayerfi_auth_DIR={}",
            lib.join("cmake/layerfi_auth").display()
        )));
    run(Command::new("cmake").arg("--build").arg(&directory));
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
    run(Command::new(root().join("ffi/install.sh"))
        .env("BUILT", library_without_hooks())
        .env("PREFIX", directory.join("prefix"))
        .env("LIBDIR", &lib)
        .env("INCLUDEDIR", &include)
        .env_remove("DESTDIR"));
    assert!(include.join("layerfi_auth.hpp").exists());
    assert!(lib.join("liblayerfi_auth.so.1").exists());
    let pc = std::fs::read_to_string(lib.join("pkgconfig/layerfi_auth.pc")).unwrap();
    assert!(pc.contains(&format!("libdir={}\n", lib.display())), "{pc}");
    assert!(pc.contains("includedir=${prefix}/include/layer\n"), "{pc}");
    let build = directory.join("cmake");
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(&build)
        .arg(format!(
            "-Dlayerfi_auth_DIR={}",
            lib.join("cmake/layerfi_auth").display()
        )));
    run(Command::new("cmake").arg("--build").arg(&build));
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
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
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
    for part in ["no support for Redis", "make install SHARED_CACHE=1"] {
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
fn b30_make_install_builds_the_shared_cache_only_on_request() {
    let build = |argument: &str| {
        let mut make = Command::new("make");
        make.current_dir(root())
            .args(["--dry-run", "--no-print-directory", "install", argument])
            .env_remove("MAKEFLAGS")
            .env_remove("SHARED_CACHE");
        run(&mut make)
    };
    for (argument, is_built) in [
        ("PREFIX=/usr", false),
        ("SHARED_CACHE=0", false),
        ("SHARED_CACHE=1", true),
        ("SHARED_CACHE=yes", true),
    ] {
        let commands = build(argument);
        assert!(
            commands.contains("--package layerfi-auth-ffi"),
            "{commands}"
        );
        assert_eq!(
            commands.contains("--features redis"),
            is_built,
            "{commands}"
        );
    }
}
