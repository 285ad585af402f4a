//! `ffi/abi.txt`: every prototype, layout and number that built programs rely on. It may change
//! only together with the ABI's version or revision.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{STRICT, root, run, scratch};

const WHAT_TO_DO: &str = "See \"The ABI\" in docs/c.md: raise LAYERFI_ABI_REVISION in \
    ffi/src/version.rs for an addition, LAYERFI_ABI_VERSION (there and in ffi/build.rs) for a \
    break, then run `make header`.";

/// The header in one line, without comments and preprocessor lines.
fn declarations() -> String {
    let header = std::fs::read_to_string(root().join("include/layerfi_auth.h")).unwrap();
    let mut text = String::new();
    let mut rest = header.as_str();
    while let Some(at) = rest.find("/*") {
        text.push_str(&rest[..at]);
        let end = rest[at..].find("*/").map_or(rest.len(), |end| at + end + 2);
        rest = &rest[end..];
    }
    text.push_str(rest);
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
        .replace("extern \"C\" {", "")
}

/// The declaration of every function.
fn prototypes() -> Vec<String> {
    declarations()
        .split(';')
        .map(str::trim)
        .filter(|part| part.contains('(') && !part.contains("typedef") && !part.contains('{'))
        .map(|part| part.trim_start_matches("} ").to_owned())
        .collect()
}

fn name_of(prototype: &str) -> &str {
    let before = prototype.split('(').next().unwrap();
    before.rsplit([' ', '*']).next().unwrap()
}

/// The name of every function.
pub fn functions() -> Vec<String> {
    let prototypes = prototypes();
    prototypes
        .iter()
        .map(|prototype| name_of(prototype).to_owned())
        .collect()
}

/// The names of structs with their fields, or of enums with their values.
fn bodies(keyword: &str) -> Vec<(String, Vec<String>)> {
    let text = declarations();
    let separator = if keyword == "struct" { ';' } else { ',' };
    text.match_indices(&format!("{keyword} layerfi_"))
        .filter_map(|(at, _)| {
            let rest = &text[at + keyword.len() + 1..];
            let (head, rest) = rest.split_once('{')?;
            // Only a definition has its brace first.
            if head.contains([';', '(', ')', ',']) {
                return None;
            }
            let name = head.split_whitespace().next()?;
            let body = rest.split_once('}')?.0;
            let parts = body.split(separator).map(str::trim);
            let parts = parts.filter(|part| !part.is_empty()).map(str::to_owned);
            Some((name.to_owned(), parts.collect()))
        })
        .collect()
}

/// Compiles a program to get sizes, offsets and numbers.
fn measured() -> Vec<String> {
    let mut program = String::from(
        "#include <layerfi_auth.h>\n#include <stdio.h>\nint main(void) {\n\
         printf(\"version %d.%d\\n\", LAYERFI_ABI_VERSION, LAYERFI_ABI_REVISION);\n\
         printf(\"const LAYERFI_DEFAULT %llu\\n\", (unsigned long long)LAYERFI_DEFAULT);\n",
    );
    for (name, fields) in bodies("struct") {
        program += &format!("printf(\"struct {name} size %zu\\n\", sizeof({name}));\n");
        for field in fields {
            let field_name = field.rsplit([' ', '*']).next().unwrap();
            let field_name = field_name.split('[').next().unwrap();
            program += &format!(
                "printf(\"struct {name} at %zu: {field}\\n\", offsetof({name}, {field_name}));\n"
            );
        }
    }
    for (_, values) in bodies("enum") {
        for value in values {
            let name = value.split(' ').next().unwrap();
            program += &format!("printf(\"enum {name} %u\\n\", (unsigned){name});\n");
        }
    }
    program += "return 0;\n}\n";
    let source = scratch().join("layout.c");
    std::fs::write(&source, program).unwrap();
    let binary = scratch().join("layout");
    run(Command::new("gcc")
        .arg("-std=c11")
        .args(STRICT)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-o")
        .arg(&binary)
        .arg(&source));
    run(&mut Command::new(binary))
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Returns one line for each prototype, layout and number, on 64-bit Linux.
fn current() -> String {
    let mut lines = measured();
    let typedefs = declarations();
    let callbacks = typedefs
        .split(';')
        .map(str::trim)
        .filter(|part| part.starts_with("typedef") && part.contains("(*"))
        .map(str::to_owned);
    lines.extend(callbacks);
    let mut prototypes = prototypes();
    prototypes.sort_by_key(|prototype| name_of(prototype).to_owned());
    lines.extend(prototypes);
    lines.join("\n") + "\n"
}

/// The version and the revision, such as `1.0`.
pub fn version() -> String {
    let recorded = std::fs::read_to_string(root().join("ffi/abi.txt")).unwrap();
    let line = recorded.lines().next().unwrap();
    line.strip_prefix("version ").unwrap().to_owned()
}

fn parts(text: &str) -> ((u32, u32), BTreeSet<&str>) {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("version "));
    let (abi, revision) = version.and_then(|version| version.split_once('.')).unwrap();
    let version = (abi.parse().unwrap(), revision.parse().unwrap());
    (version, lines.collect())
}

/// The line with the size of the only struct that may grow, because callers pass its size.
const MAY_GROW: &str = "struct layerfi_stats size ";

fn may_grow(line: &str) -> Option<u32> {
    line.strip_prefix(MAY_GROW)?.parse().ok()
}

/// Returns the reason why `after` must not replace `before`.
fn incompatibility(before: &str, after: &str) -> Result<(), String> {
    let ((old_abi, old_revision), old) = parts(before);
    let ((abi, revision), new) = parts(after);
    let grown = new.iter().find_map(|line| may_grow(line));
    let has_grown = |line: &str| may_grow(line).is_some_and(|size| Some(size) <= grown);
    let removed: Vec<_> = old
        .difference(&new)
        .filter(|line| !has_grown(line))
        .collect();
    let added: Vec<_> = new.difference(&old).collect();
    if !removed.is_empty() && abi <= old_abi {
        return Err(format!(
            "removed or changed with the same ABI version: {removed:#?}"
        ));
    }
    if !added.is_empty() && (abi, revision) <= (old_abi, old_revision) {
        return Err(format!("added with the same ABI revision: {added:#?}"));
    }
    if (abi, revision) < (old_abi, old_revision) {
        return Err("the ABI version is lower than before".to_owned());
    }
    Ok(())
}

#[test]
fn abi_changes_only_with_its_version() {
    crate::header::update();
    let path = root().join("ffi/abi.txt");
    let current = current();
    assert!(
        current.lines().count() > 100,
        "the header was not parsed:\n{current}"
    );
    let recorded = std::fs::read_to_string(&path).unwrap_or_else(|_| current.clone());
    if let Err(why) = incompatibility(&recorded, &current) {
        panic!("{why}\n{WHAT_TO_DO}");
    }
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert!(
        recorded == current,
        "ffi/abi.txt is not up to date. {WHAT_TO_DO}"
    );
}

#[test]
fn a_break_needs_a_version_and_an_addition_a_revision() {
    let before = "version 1.0\na\nb\n";
    assert!(incompatibility(before, before).is_ok());
    let stats = "version 1.0\nstruct layerfi_stats size 8\nstruct b size 8\n";
    for (after, fine) in [
        (
            "version 1.1\nstruct layerfi_stats size 16\nstruct b size 8\n",
            true,
        ),
        (
            "version 1.0\nstruct layerfi_stats size 16\nstruct b size 8\n",
            false,
        ),
        (
            "version 1.1\nstruct layerfi_stats size 4\nstruct b size 8\n",
            false,
        ),
        (
            "version 1.1\nstruct layerfi_stats size 8\nstruct b size 16\n",
            false,
        ),
        ("version 1.1\nstruct b size 8\n", false),
    ] {
        assert_eq!(incompatibility(stats, after).is_ok(), fine, "{after}");
    }
    for (after, fine) in [
        ("version 1.0\na\n", false),
        ("version 1.1\na\n", false),
        ("version 2.0\na\n", true),
        ("version 1.0\na\nb\nc\n", false),
        ("version 1.1\na\nb\nc\n", true),
        ("version 1.1\na\nB\n", false),
        ("version 2.0\na\nB\n", true),
        ("version 0.9\na\nb\n", false),
    ] {
        assert_eq!(incompatibility(before, after).is_ok(), fine, "{after}");
    }
}

#[test]
fn soname_is_the_abi_version() {
    let build = std::fs::read_to_string(root().join("ffi/build.rs")).unwrap();
    let version = std::fs::read_to_string(root().join("ffi/src/version.rs")).unwrap();
    let (_, rest) = version.split_once("LAYERFI_ABI_VERSION: u32 = ").unwrap();
    let number = rest.split(';').next().unwrap();
    assert!(build.contains(&format!("-soname,liblayerfi_auth.so.{number}\"")));
}
