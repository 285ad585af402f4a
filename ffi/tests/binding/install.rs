//! What `make install` puts down, and projects that know nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use layerfi_auth_emulator::Emulator;

use crate::support::{STRICT, library_without_hooks, root, run, scratch, speak_to};

/// An installed prefix. Made once; its path has a blank, as paths may.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch().join("prefix");
        let _ = std::fs::remove_dir_all(&prefix);
        run(Command::new(root().join("ffi/install.sh"))
            .env("BUILT", library_without_hooks())
            .env("PREFIX", &prefix)
            .env_remove("DESTDIR"));
        prefix
    })
}

pub fn pkg_config(args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
        .args(args)
        .arg("layerfi_auth");
    run(&mut command)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Compiles the consumer with some flags behind it, and runs it.
fn consume(compiler: &str, flags: &[String], name: &str) {
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
    try_out(&program);
}

fn try_out(program: &Path) {
    let layer = Emulator::builder().start_blocking().unwrap();
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    assert_eq!(run(speak_to(&mut command, &layer)), "ok\n");
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

#[test]
fn only_the_functions_of_the_header_are_exported() {
    let mut declared = crate::abi::functions();
    declared.sort();
    let lib = prefix().join("lib");
    assert_eq!(symbols(&["-D"], &lib.join("liblayerfi_auth.so")), declared);
    // The static library is one object, in which all else is local.
    assert_eq!(symbols(&["-g"], &lib.join("liblayerfi_auth.a")), declared);
}

#[test]
fn the_shared_library_has_its_name_and_links() {
    let lib = prefix().join("lib");
    let dynamic = run(Command::new("readelf")
        .arg("-d")
        .arg(lib.join("liblayerfi_auth.so")));
    assert!(dynamic.contains("SONAME") && dynamic.contains("[liblayerfi_auth.so.1]"));
    // Nothing but what every system with glibc has.
    for line in dynamic.lines().filter(|line| line.contains("NEEDED")) {
        let known = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
    let link = |name: &str| std::fs::read_link(lib.join(name)).unwrap();
    assert_eq!(
        link("liblayerfi_auth.so").as_os_str(),
        "liblayerfi_auth.so.1"
    );
    assert_eq!(
        link("liblayerfi_auth.so.1").as_os_str(),
        "liblayerfi_auth.so.1.0"
    );
}

#[test]
fn pkg_config_links_shared() {
    for compiler in ["gcc", "clang", "g++", "clang++"] {
        consume(compiler, &pkg_config(&["--cflags", "--libs"]), "shared");
    }
}

#[test]
fn pkg_config_links_static() {
    let flags = pkg_config(&["--static", "--cflags", "--libs"]);
    for compiler in ["gcc", "clang", "g++", "clang++"] {
        // All of the program, the C library included.
        let mut all = flags.clone();
        all.push("-static".to_owned());
        consume(compiler, &all, "static");
        // This library alone.
        let mut own = vec!["-Wl,-Bstatic".to_owned()];
        own.extend(flags.iter().map(|flag| match flag.as_str() {
            "-llayerfi_auth" => "-l:liblayerfi_auth.a".to_owned(),
            other => other.to_owned(),
        }));
        own.remove(0);
        consume(compiler, &own, "static-alone");
    }
}

#[test]
fn cmake_links_both() {
    let place = scratch().join("cmake");
    let _ = std::fs::remove_dir_all(&place);
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(&place)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())));
    run(Command::new("cmake").arg("--build").arg(&place));
    for program in ["c", "cpp", "c_static", "cpp_static"] {
        try_out(&place.join(program));
    }
    // The static ones do not want the shared library at all.
    let needed = run(Command::new("readelf")
        .arg("-d")
        .arg(place.join("c_static")));
    assert!(!needed.contains("layerfi"));
}

#[test]
fn a_packager_sets_destdir_and_places() {
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
    // What lies beneath the prefix moves with it.
    assert!(
        pc.contains("libdir=${prefix}/lib/x86_64-linux-gnu\n"),
        "{pc}"
    );
    for file in ["liblayerfi_auth.so.1", "liblayerfi_auth.a"] {
        assert!(lib.join(file).exists(), "{file}");
    }
    assert!(stage.join("usr/include/layerfi_auth.hpp").exists());
    let place = scratch().join("cmake-staged");
    let _ = std::fs::remove_dir_all(&place);
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("ffi/tests/consumer"))
        .arg("-B")
        .arg(&place)
        .arg(format!(
            "-Dlayerfi_auth_DIR={}",
            lib.join("cmake/layerfi_auth").display()
        )));
    run(Command::new("cmake").arg("--build").arg(&place));
    try_out(&place.join("c_static"));
}

#[test]
fn absolute_places_are_as_they_are() {
    let place = scratch().join("absolute");
    let _ = std::fs::remove_dir_all(&place);
    let (lib, include) = (
        place.join("elsewhere/lib"),
        place.join("prefix/include/layer"),
    );
    run(Command::new(root().join("ffi/install.sh"))
        .env("BUILT", library_without_hooks())
        .env("PREFIX", place.join("prefix"))
        .env("LIBDIR", &lib)
        .env("INCLUDEDIR", &include)
        .env_remove("DESTDIR"));
    assert!(include.join("layerfi_auth.hpp").exists());
    assert!(lib.join("liblayerfi_auth.so.1").exists());
    let pc = std::fs::read_to_string(lib.join("pkgconfig/layerfi_auth.pc")).unwrap();
    assert!(pc.contains(&format!("libdir={}\n", lib.display())), "{pc}");
    assert!(pc.contains("includedir=${prefix}/include/layer\n"), "{pc}");
    let build = place.join("cmake");
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
    try_out(&build.join("cpp_static"));
}
