//! `docs/guarantees.md` and the tests that prove its guarantees.
//!
//! The lists of tests on the page are generated: `make pages` writes them. Without its
//! variable, the test compares.
//!
//! Above each list is a marker, which is written by hand:
//!
//! ```text
//! <!-- tests of B6: rust, python; missing: c -->
//! ```
//!
//! It names the bindings that the guarantee concerns, and those that have no
//! test yet. `command` and `browser` count as bindings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The bindings and other tested parts: their names in markers and on the page.
const BINDINGS: [(&str, &str); 6] = [
    ("rust", "Rust"),
    ("c", "C"),
    ("cpp", "C++"),
    ("python", "Python"),
    ("command", "command"),
    ("browser", "browser"),
];

const BEGIN: &str = "<!-- tests of B";
const END: &str = "<!-- end of tests -->";

/// A test with the guarantees that its name contains.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    binding: &'static str,
    file: String,
    name: String,
}

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.ancestors().nth(2).unwrap().to_owned()
}

/// The numbers at the beginning of a name, such as 2 and 5 of `b02_b05_stress`.
fn guarantees(name: &str) -> Vec<u32> {
    let name = name.strip_prefix("test_").unwrap_or(name);
    name.split('_')
        .map_while(|part| {
            let digits = part.strip_prefix('b')?;
            (digits.len() == 2).then(|| digits.parse().ok())?
        })
        .collect()
}

/// The functions that a source file defines; in C and C++, the names before a
/// parenthesis; in JavaScript, the texts of tests that begin with a guarantee.
fn functions(file: &str, text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c == '_' || c.is_alphanumeric();
    if file.ends_with(".mjs") || file.ends_with(".ts") || file.ends_with(".tsx") {
        let quoted = text.split(['\'', '"', '`']).map(str::to_owned);
        return quoted
            .filter(|text| !guarantees(text).is_empty() && !text.contains('\n'))
            .collect();
    }
    let keyword = match file.rsplit('.').next() {
        Some("rs") => "fn ",
        Some("py") => "def ",
        _ => "",
    };
    let mut found = BTreeSet::new();
    for line in text.lines() {
        for (at, _) in line.match_indices('(') {
            let before = &line[..at];
            let begin = before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
            if before[..begin].ends_with(keyword) {
                found.insert(before[begin..].to_owned());
            }
        }
    }
    found
}

fn binding(file: &str, name: &str) -> &'static str {
    match file.split('/').collect::<Vec<_>>()[..] {
        ["ffi", ..] if name.contains("cpp") => "cpp",
        ["ffi", ..] | ["tests", "c", ..] => "c",
        ["tests", "cpp", ..] => "cpp",
        ["js", ..] | ["tests", "browser", ..] => "browser",
        ["python", ..] | ["tests", "python" | "examples", ..] => "python",
        ["cli", ..] => "command",
        _ => "rust",
    }
}

fn read_folder(folder: &Path, tests: &mut BTreeSet<Test>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !matches!(name, "target" | "node_modules" | "dist" | "build")
                && !name.starts_with('.')
            {
                read_folder(&path, tests);
            }
            continue;
        }
        if !matches!(
            path.extension().and_then(|end| end.to_str()),
            Some("rs" | "py" | "c" | "h" | "cpp" | "hpp" | "mjs" | "ts" | "tsx")
        ) {
            continue;
        }
        let file = path.strip_prefix(repository()).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for name in functions(file, &text) {
            if !guarantees(&name).is_empty() {
                tests.insert(Test {
                    binding: binding(file, &name),
                    file: file.to_owned(),
                    name,
                });
            }
        }
    }
}

/// Every test in the repository whose name begins with a guarantee.
fn all_tests() -> BTreeMap<u32, Vec<Test>> {
    let mut tests = BTreeSet::new();
    for entry in std::fs::read_dir(repository()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "docs" {
            read_folder(&path, &mut tests);
        }
    }
    let mut by_guarantee: BTreeMap<u32, Vec<Test>> = BTreeMap::new();
    for test in tests {
        // The examples in this file are not tests of a guarantee.
        if test.file.ends_with("tests/guarantees.rs") {
            continue;
        }
        for number in guarantees(&test.name) {
            by_guarantee.entry(number).or_default().push(Test {
                binding: test.binding,
                file: test.file.clone(),
                name: test.name.clone(),
            });
        }
    }
    by_guarantee
}

/// Content of a marker: one guarantee and its bindings.
#[derive(Debug, PartialEq)]
struct Marker {
    number: u32,
    concerns: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl Marker {
    fn read(line: &str) -> Option<Self> {
        let text = line.strip_prefix(BEGIN)?.strip_suffix(" -->")?;
        let (number, bindings) = text.split_once(": ")?;
        let (concerns, missing) = bindings.split_once("; missing: ").unwrap_or((bindings, ""));
        let names = |list: &str| -> BTreeSet<String> {
            list.split(", ")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Some(Self {
            number: number.parse().ok()?,
            concerns: names(concerns),
            missing: names(missing),
        })
    }

    /// Errors in the marker, compared with the existing tests.
    fn check(&self, tests: &[Test]) -> Vec<String> {
        let Self {
            number,
            concerns,
            missing,
        } = self;
        let mut wrong = Vec::new();
        for name in concerns.union(missing) {
            if BINDINGS.iter().all(|(known, _)| known != name) {
                wrong.push(format!("B{number}: {name} is not a binding"));
            }
        }
        for (name, _) in BINDINGS {
            let is_tested = tests.iter().any(|test| test.binding == name);
            if is_tested && missing.contains(name) {
                wrong.push(format!(
                    "B{number} has a test in {name} now: move it out of `missing`"
                ));
            }
            if !is_tested && concerns.contains(name) && !missing.contains(name) {
                wrong.push(format!(
                    "B{number} has no test in {name}: write one, named b{number:02}_…"
                ));
            }
            if is_tested && !concerns.contains(name) && !missing.contains(name) {
                wrong.push(format!(
                    "B{number} has a test in {name}: add {name} to its marker"
                ));
            }
        }
        wrong
    }

    /// The generated text below the marker.
    fn list(&self, tests: &[Test]) -> String {
        let of = |name: &'static str| tests.iter().filter(move |test| test.binding == name);
        let mut counts = Vec::new();
        let mut lists = String::new();
        for (name, title) in BINDINGS {
            let mut files: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for test in of(name) {
                files
                    .entry(&test.file)
                    .or_default()
                    .push(format!("`{}`", test.name));
            }
            let count = of(name).count();
            if count > 0 {
                counts.push(format!("{title} {count}"));
            } else if self.missing.contains(name) {
                counts.push(format!("{title} none yet"));
            }
            for (file, names) in files {
                writeln!(
                    lists,
                    "- {title}, [{file}](../{file}): {}",
                    names.join(", ")
                )
                .unwrap();
            }
        }
        let summary = format!("Tests: {}", counts.join(", "));
        if lists.is_empty() {
            return format!("\n{summary}\n\n");
        }
        format!("\n<details><summary>{summary}</summary>\n\n{lists}\n</details>\n\n")
    }
}

/// Returns the page with new lists, and the errors in its markers.
fn rewritten(page: &str, tests: &BTreeMap<u32, Vec<Test>>) -> (String, Vec<String>) {
    let mut written = String::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut is_generated = false;
    for line in page.lines() {
        if line == END {
            is_generated = false;
        }
        if !is_generated {
            writeln!(written, "{line}").unwrap();
        }
        if line.starts_with(BEGIN) {
            let marker = Marker::read(line).unwrap_or_else(|| panic!("cannot be read: {line}"));
            let own = tests.get(&marker.number).map_or(&[][..], Vec::as_slice);
            wrong.extend(marker.check(own));
            if !seen.insert(marker.number) {
                wrong.push(format!("B{} stands on the page twice", marker.number));
            }
            written += &marker.list(own);
            is_generated = true;
        }
    }
    assert!(!is_generated, "docs/guarantees.md: a marker without {END}");
    for (number, own) in tests.iter().filter(|(number, _)| !seen.contains(number)) {
        wrong.push(format!(
            "{} proves B{number}, which is not on the page",
            own[0].name
        ));
    }
    (written, wrong)
}

#[test]
fn the_page_lists_every_test_of_every_guarantee() {
    let path = repository().join("docs/guarantees.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (written, wrong) = rewritten(&page, &all_tests());
    let numbers: Vec<u32> = page
        .lines()
        .filter_map(Marker::read)
        .map(|marker| marker.number)
        .collect();
    let expected: Vec<u32> = (1..=u32::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(
        numbers, expected,
        "the guarantees are not numbered in order"
    );
    assert!(
        wrong.is_empty(),
        "docs/guarantees.md:\n{}",
        wrong.join("\n")
    );
    if std::env::var_os("UPDATE_GUARANTEES").is_some() {
        std::fs::write(path, written).unwrap();
        return;
    }
    assert!(
        page == written,
        "the lists of docs/guarantees.md are out of date: run make pages"
    );
}

#[test]
fn tests_are_found_by_their_names() {
    assert_eq!(guarantees("b02_b05_b13_stress"), [2, 5, 13]);
    assert_eq!(guarantees("test_b20_a_b"), [20]);
    assert!(guarantees("test_beta").is_empty() && guarantees("b2_x").is_empty());
    let rust = "async fn b01_a() {}\n// calls b02_b()\nfn helper() {}";
    assert!(functions("x.rs", rust).contains("b01_a"));
    assert!(!functions("x.rs", rust).contains("b02_b"));
    assert!(functions("x.py", "    async def test_b01_a(layer):").contains("test_b01_a"));
    assert!(functions("x.c", "static void b01_a(void) {").contains("b01_a"));
    assert_eq!(binding("ffi/tests/table.rs", "b08_x_in_cpp"), "cpp");
    assert_eq!(binding("tests/python/test_x.py", "test_b08_x"), "python");
}

#[test]
fn a_page_that_is_wrong_is_noticed() {
    let test = |binding, name: &str| Test {
        binding,
        file: "x.rs".to_owned(),
        name: name.to_owned(),
    };
    let tests = BTreeMap::from([
        (1, vec![test("rust", "b01_a"), test("c", "b01_b")]),
        (3, vec![test("rust", "b03_a")]),
    ]);
    let page = |marker: &str| format!("{marker}\nold\n{END}\n<!-- tests of B3: rust -->\n{END}\n");
    for (marker, expected) in [
        ("<!-- tests of B1: rust, c -->", None),
        ("<!-- tests of B1: rust -->", Some("add c to its marker")),
        (
            "<!-- tests of B1: rust, c, python -->",
            Some("no test in python"),
        ),
        (
            "<!-- tests of B1: rust, c, python; missing: python -->",
            None,
        ),
        (
            "<!-- tests of B1: rust, c; missing: c -->",
            Some("out of `missing`"),
        ),
        (
            "<!-- tests of B1: rust, c, perl -->",
            Some("perl is not a binding"),
        ),
        (
            "<!-- tests of B3: rust -->",
            Some("B3 stands on the page twice"),
        ),
        (
            "<!-- tests of B2: rust; missing: rust -->",
            Some("B1, which is not on the page"),
        ),
    ] {
        let (written, wrong) = rewritten(&page(marker), &tests);
        let wrong = wrong.join("\n");
        match expected {
            Some(text) => assert!(wrong.contains(text), "{marker}: {wrong}"),
            None => assert_eq!(wrong, "", "{marker}"),
        }
        assert!(
            !written.contains("old") && written.contains("`b03_a`"),
            "{written}"
        );
    }
}
