//! Tests of the structure of the source code: no crate has a cycle of files,
//! and no file in `core` uses a higher layer. `docs/architecture.svg` is drawn
//! from the same graph, and must be up to date. Files and commands that the
//! documentation names must exist.

mod graph;
mod pages;
mod python_source;
mod rust_source;
mod typescript_source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use graph::Graph;
use serde_json::json;

/// The layers of `core/src`, from the lowest to the highest. A file may use
/// files of its own layer and of lower layers.
const LAYERS: [&[&str]; 7] = [
    &["sys", "secret", "setting_names", "error"],
    &[
        "environment",
        "url",
        "allowed_origins",
        "business_id",
        "session_duration",
        "whoami",
        "credentials",
        "token",
        "trust",
        "shared_cache",
        "config",
        "stats",
        "deadline",
        "layer_provider_props",
        "layer_session",
    ],
    &["retry", "protocol"],
    &["http"],
    &["cache", "rate_limit", "store"],
    &["engine"],
    &["client", "simulation"],
];

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.ancestors().nth(2).unwrap().to_owned()
}

/// The folders of the workspace's crates.
fn crates() -> Vec<PathBuf> {
    let text = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let members = text.split_once("members = [").unwrap().1;
    let members = members.split_once(']').unwrap().0;
    let mut found = Vec::new();
    for member in members.split('"').skip(1).step_by(2) {
        match member.strip_suffix("/*") {
            Some(folder) => {
                for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
                    found.push(Path::new(folder).join(entry.unwrap().file_name()));
                }
            }
            None => found.push(PathBuf::from(member)),
        }
    }
    found.retain(|folder| repository().join(folder).join("Cargo.toml").exists());
    found.sort();
    found
}

/// The graphs of all crates, of the Python package and of the npm packages, by folder.
fn graphs() -> BTreeMap<PathBuf, Graph> {
    let repository = repository();
    let mut graphs = BTreeMap::new();
    for folder in crates() {
        let roots = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
        if let Some(root) = roots.iter().find(|file| repository.join(file).exists()) {
            graphs.insert(folder, rust_source::read(&repository, root));
        }
    }
    let package = PathBuf::from("python/layerfi_auth");
    graphs.insert(package.clone(), python_source::read(&repository, &package));
    for package in ["js/layerfi-auth-browser", "js/layerfi-auth-react"].map(PathBuf::from) {
        let graph = typescript_source::read(&repository, &package);
        graphs.insert(package, graph);
    }
    graphs
}

/// The module group of a file of core: the first part of its path.
fn group(file: &Path) -> String {
    let inside = file.strip_prefix("core/src").unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn layer(group: &str) -> Option<usize> {
    LAYERS.iter().position(|groups| groups.contains(&group))
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut report = String::new();
    let graphs = graphs();
    let arrows = graphs[Path::new("core")].arrows().count();
    assert!(arrows > 50, "only {arrows} arrows were found in core");
    for (folder, graph) in &graphs {
        for (files, circle) in graph.circles() {
            let names: Vec<_> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            write!(
                report,
                "\n{} files of {} use each other in a circle: {}. The shortest circle of the first:",
                files.len(),
                folder.display(),
                names.join(", ")
            )
            .unwrap();
            for arrow in circle {
                write!(report, "\n    {arrow}").unwrap();
            }
        }
    }
    assert!(
        report.is_empty(),
        "{report}\nMove the code that the files of a cycle share into a separate file."
    );
}

#[test]
fn core_depends_only_on_lower_layers() {
    let graph = &graphs()[Path::new("core")];
    let mut report = String::new();
    let groups: BTreeSet<_> = graph.files().map(group).collect();
    for name in groups.iter().filter(|name| layer(name).is_none()) {
        write!(
            report,
            "\ncore/src/{name} is in no layer: add it to LAYERS in this test."
        )
        .unwrap();
    }
    for arrow in graph.arrows() {
        let (from, to) = (group(&arrow.from), group(&arrow.to));
        if let (Some(low), Some(high)) = (layer(&from), layer(&to))
            && low < high
        {
            write!(
                report,
                "\n{arrow}, but `{to}` is in a layer above `{from}`."
            )
            .unwrap();
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// The crates of this repository that a crate depends on, without those for
/// tests.
fn dependencies(folder: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
    let mut is_dependency = false;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            is_dependency = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
        } else if is_dependency && line.starts_with("layerfi-auth") {
            let end = line.find([' ', '.', '=']).unwrap();
            found.insert(line[..end].to_owned());
        }
    }
    found
}

#[test]
fn crates_depend_only_on_lower_crates() {
    let may_use: [(&str, &[&str]); 6] = [
        ("core", &[]),
        ("emulator", &[]),
        ("ffi", &["layerfi-auth", "layerfi-auth-hits"]),
        ("ffi/hits", &["layerfi-auth"]),
        ("cli", &["layerfi-auth", "layerfi-auth-emulator"]),
        (
            "python",
            &["layerfi-auth", "layerfi-auth-emulator", "layerfi-auth-cli"],
        ),
    ];
    for (folder, allowed) in may_use {
        for used in dependencies(Path::new(folder)) {
            assert!(
                allowed.contains(&used.as_str()),
                "{folder} must not depend on {used}"
            );
        }
    }
    for folder in crates()
        .iter()
        .filter(|folder| folder.starts_with("integrations"))
    {
        for used in dependencies(folder) {
            assert_eq!(
                used,
                "layerfi-auth",
                "{} must depend on the engine alone",
                folder.display()
            );
        }
    }
    // An example is a program of a user, who has what is published.
    for folder in crates()
        .iter()
        .filter(|folder| folder.starts_with("examples"))
    {
        for used in dependencies(folder) {
            assert!(
                ["layerfi-auth", "layerfi-auth-axum", "layerfi-auth-tower"].contains(&&*used),
                "{} must not depend on {used}",
                folder.display()
            );
        }
    }
}

/// The graph that `scripts/architecture-picture` draws, as JSON.
fn picture_data() -> String {
    let graphs = graphs();
    let core = &graphs[Path::new("core")];
    let groups: BTreeSet<_> = core.files().map(group).collect();
    let arrows: BTreeSet<_> = core
        .arrows()
        .map(|arrow| [group(&arrow.from), group(&arrow.to)])
        .filter(|[from, to]| from != to && layer(from).is_some() && layer(to).is_some())
        .collect();
    let layers: Vec<Vec<&str>> = LAYERS
        .iter()
        .map(|names| {
            names
                .iter()
                .copied()
                .filter(|name| groups.contains(*name))
                .collect()
        })
        .collect();
    let names: BTreeMap<String, String> = crates()
        .iter()
        .map(|folder| {
            let text =
                std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
            let name = text
                .split_once("name = \"")
                .unwrap()
                .1
                .split_once('"')
                .unwrap()
                .0;
            (name.to_owned(), folder.display().to_string())
        })
        .collect();
    let crates: BTreeMap<String, Vec<&String>> = names
        .values()
        .filter(|folder| {
            let is_shown = |part| !folder.starts_with(part);
            ["tests", "bench", "examples"].into_iter().all(is_shown)
        })
        .map(|folder| {
            let used = dependencies(Path::new(folder));
            (
                folder.clone(),
                used.iter().filter_map(|name| names.get(name)).collect(),
            )
        })
        .collect();
    json!({ "layers": layers, "arrows": arrows, "crates": crates }).to_string()
}

/// `LAYERFI_GRAPH=<file>` writes the graph there, for the script.
#[test]
fn the_architecture_picture_is_up_to_date() {
    let data = picture_data();
    if let Some(file) = std::env::var_os("LAYERFI_GRAPH") {
        std::fs::write(file, data).unwrap();
        return;
    }
    let mut script = Command::new("python3")
        .arg(repository().join("scripts/architecture-picture"))
        .args(["--graph", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed to draw the picture");
    script
        .stdin
        .take()
        .unwrap()
        .write_all(data.as_bytes())
        .unwrap();
    let drawn = script.wait_with_output().unwrap();
    assert!(
        drawn.status.success(),
        "scripts/architecture-picture failed"
    );
    let committed = std::fs::read(repository().join("docs/architecture.svg")).unwrap_or_default();
    assert!(
        drawn.stdout == committed,
        "docs/architecture.svg is not what the code's structure gives: run scripts/architecture-picture"
    );
}

#[test]
fn files_and_commands_that_the_documentation_names_exist() {
    let missing = pages::missing(&repository());
    assert!(
        missing.is_empty(),
        "the documentation is wrong:\n{}",
        missing.join("\n")
    );
}

/// The arrows of a crate or package with these files, as `from -> to`.
fn arrows_of(files: &[(&str, &str)], read: impl Fn(&Path) -> Graph) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let graph = read(folder.path());
    let show = |arrow: &graph::Arrow| {
        let [from, to] = [&arrow.from, &arrow.to].map(|path| path.display().to_string());
        format!("{}:{} -> {}", &from[4..], arrow.line, &to[4..])
    };
    graph.arrows().map(show).collect()
}

#[test]
fn the_reader_of_rust_finds_every_kind_of_use() {
    let files = [
        (
            "src/lib.rs",
            "mod a; mod b; mod c; mod d;\npub use b::Exported;\n#[cfg(test)] mod missing;",
        ),
        (
            "src/a.rs",
            "use std::fmt;\nuse crate::{b::{self, child::Deep as Other}, c};\n\
             // use crate::d;\nconst TEXT: &str = \"use crate::d;\";\n\
             #[cfg(any(test, fuzzing))]\nuse crate::d::Thing;\n\
             fn f<'a>(x: &'a str) -> char { '\\'' }\n\
             #[cfg(test)]\nmod tests { use super::*; use crate::d; }\n",
        ),
        (
            "src/b/mod.rs",
            "mod child;\npub use child::Deep;\npub(crate) use child::Used;\n\
             pub struct Exported;\nfn f(_: Used) {}\n",
        ),
        ("src/b/child.rs", "pub struct Deep;\npub struct Used;\n"),
        (
            "src/c.rs",
            "fn f() {\n    for _ in crate::d::all() {}\n}\nmod inline {\n    use super::super::a::f;\n}\n",
        ),
        (
            "src/d.rs",
            "pub(in crate::d) struct Thing;\ntype T = crate::Exported;\n",
        ),
    ];
    let read = |folder: &Path| rust_source::read(folder, Path::new("src/lib.rs"));
    assert_eq!(
        arrows_of(&files, read),
        [
            "a.rs:2 -> b/child.rs",
            "a.rs:2 -> b/mod.rs",
            "a.rs:2 -> c.rs",
            "b/mod.rs:3 -> b/child.rs",
            "c.rs:5 -> a.rs",
            "c.rs:2 -> d.rs",
            "d.rs:2 -> b/mod.rs",
        ]
    );
}

#[test]
fn the_reader_of_python_finds_every_kind_of_import() {
    let files = [
        ("lib/__init__.py", "from lib._a import Exported\n"),
        (
            "lib/_a.py",
            "from . import _b\nfrom .sub import (\n    Name,\n)\n",
        ),
        (
            "lib/_b.py",
            "\"\"\"\nfrom lib._a import x\n\"\"\"\nimport lib.sub._deep as deep  # import lib._a\n",
        ),
        (
            "lib/sub/__init__.py",
            "from lib.sub._deep import Name\n__all__ = [\"Name\"]\n",
        ),
        (
            "lib/sub/_deep.py",
            "def f():\n    from lib import Exported\n",
        ),
    ];
    let read = |folder: &Path| python_source::read(folder, Path::new("lib"));
    assert_eq!(
        arrows_of(&files, read),
        [
            "_a.py:1 -> _b.py",
            "_a.py:2 -> sub/__init__.py",
            "_b.py:4 -> sub/_deep.py",
            "sub/_deep.py:2 -> _a.py",
        ]
    );
}

#[test]
fn the_reader_of_typescript_finds_every_kind_of_import() {
    let files = [
        ("lib/src/index.ts", "export type { A } from './a.js'\n"),
        (
            "lib/src/a.ts",
            "import { b } from 'b'\nimport {\n  c,\n} from './c.js'\nimport './d.js'\n\
             // import { e } from './index.js'\nconst text = \" from './index.js'\"\n",
        ),
        ("lib/src/c.tsx", "import type { D } from './d.js'\n"),
        ("lib/src/d.ts", "export type D = string\n"),
    ];
    let read = |folder: &Path| typescript_source::read(folder, Path::new("lib"));
    assert_eq!(
        arrows_of(&files, read),
        [
            "src/a.ts:4 -> src/c.tsx",
            "src/a.ts:5 -> src/d.ts",
            "src/c.tsx:1 -> src/d.ts",
            "src/index.ts:1 -> src/a.ts",
        ]
    );
}

#[test]
fn a_circle_is_found_with_its_files() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "e")] {
        graph.add_arrow(graph::Arrow {
            from: PathBuf::from(from),
            to: PathBuf::from(to),
            line: 1,
            what: String::new(),
        });
    }
    let circles = graph.circles();
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].0, [Path::new("b"), Path::new("c")]);
    assert_eq!(circles[0].1.len(), 2);
}
