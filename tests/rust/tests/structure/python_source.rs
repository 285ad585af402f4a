//! Reads the modules of a Python package and lists which file imports which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::graph::{Arrow, Graph};

/// One name of an `import` or `from … import …`.
struct Import {
    line: usize,
    /// The dotted name, such as `layerfi_auth._client.Client`.
    what: String,
    /// The name that the file uses for it.
    name: String,
}

/// The graph of a package's files. Paths are relative to `repository`;
/// `package` is the folder of the package's own `__init__.py`. That file only
/// lists the package's contents, and is left out.
pub fn read(repository: &Path, package: &Path) -> Graph {
    let mut modules = BTreeMap::new();
    let name = package.file_name().unwrap().to_str().unwrap();
    find_modules(repository, package, name, &mut modules);
    let mut imports = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for (module, file) in &modules {
        let text = std::fs::read_to_string(repository.join(file)).unwrap();
        let text = without_strings_and_comments(&text);
        let is_package = file.ends_with("__init__.py");
        imports.insert(module.clone(), read_imports(&text, module, is_package));
        texts.insert(module.clone(), text);
    }
    // A name that the package's root exports is resolved to its definition.
    let exports: BTreeMap<_, _> = imports[name]
        .iter()
        .map(|import| (format!("{name}.{}", import.name), import.what.clone()))
        .collect();
    let mut graph = Graph::default();
    for (module, file) in modules.iter().filter(|(module, _)| *module != name) {
        graph.add_file(file);
        for import in &imports[module] {
            let what = exports.get(&import.what).unwrap_or(&import.what);
            let Some(to) = longest_module(what, &modules) else {
                continue;
            };
            let is_handed_on = file.ends_with("__init__.py")
                && what.starts_with(&format!("{module}."))
                && !is_used(&texts[module], &import.name);
            if to == name || to == *module || is_handed_on {
                continue;
            }
            graph.add_arrow(Arrow {
                from: file.clone(),
                to: modules[&to].clone(),
                line: import.line,
                what: import.what.clone(),
            });
        }
    }
    graph
}

fn find_modules(
    repository: &Path,
    folder: &Path,
    module: &str,
    modules: &mut BTreeMap<String, PathBuf>,
) {
    if !repository.join(folder).join("__init__.py").exists() {
        return;
    }
    modules.insert(module.to_owned(), folder.join("__init__.py"));
    for entry in std::fs::read_dir(repository.join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = folder.join(&name);
        if repository.join(&path).is_dir() {
            find_modules(repository, &path, &format!("{module}.{name}"), modules);
        } else if let Some(stem) = name.strip_suffix(".py")
            && stem != "__init__"
        {
            modules.insert(format!("{module}.{stem}"), path);
        }
    }
}

fn longest_module(name: &str, modules: &BTreeMap<String, PathBuf>) -> Option<String> {
    let mut name = name;
    loop {
        if modules.contains_key(name) {
            return Some(name.to_owned());
        }
        name = name.rsplit_once('.')?.0;
    }
}

fn read_imports(text: &str, module: &str, is_package: bool) -> Vec<Import> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut statement = line.trim().to_owned();
        if !statement.starts_with("import ") && !statement.starts_with("from ") {
            continue;
        }
        while statement.contains('(') && !statement.contains(')') {
            let Some((_, more)) = lines.next() else { break };
            statement += more;
        }
        let statement = statement.replace(['(', ')'], " ");
        let (base, names) = if let Some(rest) = statement.strip_prefix("from ") {
            let Some((base, names)) = rest.split_once(" import ") else {
                continue;
            };
            (Some(absolute(base.trim(), module, is_package)), names)
        } else {
            (None, &statement["import ".len()..])
        };
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let (name, alias) = name.split_once(" as ").unwrap_or((name, name));
            let what = match &base {
                Some(base) => format!("{base}.{}", name.trim()),
                None => name.trim().to_owned(),
            };
            found.push(Import {
                line: number + 1,
                what,
                name: alias.trim().to_owned(),
            });
        }
    }
    found
}

/// The full name of a module that is named relative to `module`.
fn absolute(base: &str, module: &str, is_package: bool) -> String {
    let dots = base.len() - base.trim_start_matches('.').len();
    if dots == 0 {
        return base.to_owned();
    }
    let up = dots - usize::from(is_package);
    let mut parts: Vec<&str> = module.split('.').collect();
    parts.truncate(parts.len() - up);
    let rest = base.trim_start_matches('.');
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts.join(".")
}

/// Whether code outside of `import` statements names this.
fn is_used(text: &str, name: &str) -> bool {
    let mut is_import = false;
    text.lines().any(|line| {
        let line = line.trim();
        let begins = line.starts_with("import ") || line.starts_with("from ");
        if is_import || begins {
            is_import = (begins && line.contains('(') || is_import) && !line.contains(')');
            return false;
        }
        line.split(|c: char| c != '_' && !c.is_alphanumeric())
            .any(|word| word == name)
    })
}

/// The text with strings and comments blanked and its lines kept.
fn without_strings_and_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(quote) = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote))
        {
            end_of_string(rest, quote)
        } else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        kept.extend(rest[..length].matches('\n'));
        rest = &rest[length..];
    }
    kept
}

fn end_of_string(text: &str, quote: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(quote.len()) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if text[at..].starts_with(quote) {
            return at + quote.len();
        }
    }
    text.len()
}
