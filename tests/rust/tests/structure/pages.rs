//! Finds the links, files and `make` targets that the documentation names.

use std::path::{Path, PathBuf};

/// Returns a sentence for each name on a page that does not exist.
pub fn missing(repository: &Path) -> Vec<String> {
    let makefiles = makefiles(repository);
    let mut missing = Vec::new();
    for page in pages(repository) {
        let text = std::fs::read_to_string(repository.join(&page)).unwrap();
        let folder = repository.join(page.parent().unwrap());
        let page = page.display();
        for path in links(&text) {
            if !folder.join(path).exists() {
                missing.push(format!("{page} links to {path}, which does not exist"));
            }
        }
        for code in code(&text) {
            if is_path(code, repository) && !repository.join(code).exists() {
                missing.push(format!(
                    "{page} names the file {code}, which does not exist"
                ));
            }
            if let Some(arguments) = code.strip_prefix("make ") {
                let targets = arguments
                    .split(' ')
                    .take_while(|word| !word.contains(['=', '[']));
                for target in targets {
                    if !makefiles.contains(&format!("\n{target}:")) {
                        missing.push(format!("{page} names make {target}, which does not exist"));
                    }
                }
            }
        }
    }
    missing
}

/// The Markdown files of the root, and of `docs` and its folders.
fn pages(repository: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![PathBuf::new(), PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(repository.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            } else if path.starts_with("docs") && entry.file_type().unwrap().is_dir() {
                folders.push(path);
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 5, "the pages were not found");
    pages
}

/// The text of the Makefile and of all files that it includes.
fn makefiles(repository: &Path) -> String {
    let mut text = std::fs::read_to_string(repository.join("Makefile")).unwrap();
    for folder in [
        "benches",
        "docs",
        "ffi",
        "python",
        "tests",
        "tests/browser",
        "tests/examples",
        "tests/fleet",
        "tests/stranger",
        "js",
        "examples",
        "scripts",
    ] {
        let rules = repository.join(folder).join("rules.mk");
        text += &std::fs::read_to_string(rules).unwrap_or_default();
    }
    text
}

/// The paths of the links that lead to a file of the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .filter_map(|link| link.split('#').next())
        .filter(|path| !path.is_empty())
}

/// Texts between backticks, outside of code blocks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let mut is_block = false;
    text.lines()
        .filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_block ^= is_fence;
            !is_block && !is_fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether this is a path whose first folder exists in the repository.
fn is_path(code: &str, repository: &Path) -> bool {
    code.split_once('/').is_some_and(|(folder, _)| {
        !folder.is_empty()
            && repository.join(folder).is_dir()
            && code
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-".contains(c))
    })
}
