//! Every test that `docs/security.md` names exists.

use std::path::{Path, PathBuf};

/// Collects source files, without build output.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if [".rs", ".py", ".json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut files = Vec::new();
    for part in ["core", "cli", "ffi", "python", "tests", "emulator", "fuzz"] {
        sources(&root.join(part), &mut files);
    }
    let sources: String = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let mut named = 0;
    // The code spans in the last column of each table.
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let column = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let words = column.split('`').skip(1).step_by(2);
        for word in words.filter(|word| word.contains('_')) {
            named += 1;
            let known = [
                format!("fn {word}("),
                format!("def {word}("),
                format!("\"name\": \"{word}\""),
                format!("pub fn {word}(data"),
            ];
            assert!(
                known.iter().any(|text| sources.contains(text)),
                "docs/security.md names {word}, which does not exist"
            );
        }
    }
    assert!(named > 30, "only {named} names were found in the tables");
}
