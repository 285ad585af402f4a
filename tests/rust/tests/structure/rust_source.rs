//! Reads the files of a Rust crate and lists which file uses which.
//!
//! A small tokenizer is enough: module declarations, `use` items and paths are
//! recognized by their tokens. Code that exists only in tests is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::graph::{Arrow, Graph};

#[derive(Clone, Debug)]
struct Token {
    /// An identifier, `::`, one other character, or a string with a `"` before its text.
    text: String,
    line: usize,
}

/// A module's path within its crate, such as `["cache", "slot"]`.
type ModulePath = Vec<String>;

/// A path that the code names.
struct Reference {
    /// The module in which it is named.
    module: ModulePath,
    segments: Vec<String>,
    line: usize,
    kind: Kind,
}

enum Kind {
    /// Used in an expression, a type or a private `use`.
    Use,
    /// Exported by a `pub use`, with the exported name; `*` for all.
    Reexport(String),
}

struct Crate {
    root: PathBuf,
    /// The file of each module, inline modules included.
    files: BTreeMap<ModulePath, PathBuf>,
    references: Vec<Reference>,
    /// The identifiers of each file outside its `use` items.
    identifiers: BTreeMap<PathBuf, Vec<String>>,
}

/// The graph of a crate's files. `repository` is the folder that all paths are
/// relative to; `root` is the crate's `lib.rs` or `main.rs`.
pub fn read(repository: &Path, root: &Path) -> Graph {
    let folder = root.parent().unwrap().to_owned();
    let mut this = Crate {
        root: root.to_owned(),
        files: BTreeMap::new(),
        references: Vec::new(),
        identifiers: BTreeMap::new(),
    };
    this.read_file(repository, root, &folder, Vec::new());
    this.graph()
}

impl Crate {
    fn read_file(&mut self, repository: &Path, file: &Path, folder: &Path, module: ModulePath) {
        let text = std::fs::read_to_string(repository.join(file))
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
        let tokens = without_tests(&tokens(&text));
        self.files.insert(module.clone(), file.to_owned());
        self.read_tokens(repository, file, folder, module, &tokens);
    }

    /// Reads one file's tokens: `module` is the file's own module, `folder` is
    /// where the files of its child modules are.
    fn read_tokens(
        &mut self,
        repository: &Path,
        file: &Path,
        folder: &Path,
        module: ModulePath,
        tokens: &[Token],
    ) {
        let children = declared_modules(tokens);
        // The inline modules around the token, with the depth of their braces.
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        let mut path_attribute = None;
        let mut at = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            let next = tokens.get(at + 1).map_or("", |token| token.text.as_str());
            let after = tokens.get(at + 2).map_or("", |token| token.text.as_str());
            let current: ModulePath = module
                .iter()
                .cloned()
                .chain(inline.iter().map(|(name, _)| name.clone()))
                .collect();
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inline.pop_if(|(_, opened_at)| *opened_at == depth);
                }
                "#" if next == "[" => {
                    // The only attributes left are `#[path = "…"]`.
                    path_attribute = Some(tokens[at + 4].text[1..].to_owned());
                    at += 6;
                    continue;
                }
                "mod" if is_name(next) && after == ";" => {
                    let mut folder = folder.to_owned();
                    folder.extend(inline.iter().map(|(name, _)| name));
                    self.read_child(
                        repository,
                        file,
                        &folder,
                        current,
                        next,
                        path_attribute.take(),
                    );
                    at += 3;
                    continue;
                }
                "mod" if is_name(next) && after == "{" => {
                    inline.push((next.to_owned(), depth));
                    let path = current.into_iter().chain([next.to_owned()]).collect();
                    self.files.insert(path, file.to_owned());
                    depth += 1;
                    at += 3;
                    continue;
                }
                "use" if next != "<" => {
                    let is_public = at > 0 && matches!(tokens[at - 1].text.as_str(), "pub" | ")");
                    at += 1;
                    let mut names = Vec::new();
                    read_use_tree(tokens, &mut at, &[], &mut names);
                    for (segments, name) in names {
                        let kind = if is_public {
                            Kind::Reexport(name)
                        } else {
                            Kind::Use
                        };
                        self.refer(&current, segments, token.line, kind, &children);
                    }
                    continue;
                }
                _ if is_name(&token.text) => {
                    let names = self.identifiers.entry(file.to_owned()).or_default();
                    names.push(token.text.clone());
                    if next == "::" && begins_a_path(&tokens[..at]) {
                        let mut segments = vec![token.text.clone()];
                        while tokens.get(at + 1).is_some_and(|token| token.text == "::")
                            && tokens.get(at + 2).is_some_and(|token| is_name(&token.text))
                        {
                            segments.push(tokens[at + 2].text.clone());
                            at += 2;
                        }
                        self.refer(&current, segments, token.line, Kind::Use, &children);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn read_child(
        &mut self,
        repository: &Path,
        file: &Path,
        folder: &Path,
        parent: ModulePath,
        name: &str,
        path_attribute: Option<String>,
    ) {
        let candidates = match path_attribute {
            Some(path) => vec![file.parent().unwrap().join(path)],
            None => vec![
                folder.join(format!("{name}.rs")),
                folder.join(name).join("mod.rs"),
            ],
        };
        let child = candidates
            .iter()
            .find(|path| repository.join(path).exists())
            .unwrap_or_else(|| panic!("{}: no file for module {name}", file.display()));
        let module = parent.into_iter().chain([name.to_owned()]).collect();
        self.read_file(repository, child, &folder.join(name), module);
    }

    fn refer(
        &mut self,
        module: &ModulePath,
        segments: Vec<String>,
        line: usize,
        kind: Kind,
        children: &[String],
    ) {
        let first = segments[0].as_str();
        if matches!(first, "crate" | "self" | "super") || children.iter().any(|name| name == first)
        {
            self.references.push(Reference {
                module: module.clone(),
                segments,
                line,
                kind,
            });
        }
    }

    /// The module that a path names, and the rest of the path.
    fn resolve<'a>(
        &self,
        module: &ModulePath,
        segments: &'a [String],
    ) -> (ModulePath, &'a [String]) {
        let mut found = module.clone();
        let mut rest = segments;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => found.clear(),
                "self" => {}
                "super" => {
                    found.pop();
                }
                _ => break,
            }
            rest = others;
        }
        while let Some((first, others)) = rest.split_first() {
            let deeper: ModulePath = found.iter().chain([first]).cloned().collect();
            if !self.files.contains_key(&deeper) {
                break;
            }
            found = deeper;
            rest = others;
        }
        (found, rest)
    }

    fn graph(&self) -> Graph {
        // A name that the crate's root exports is resolved to its definition.
        let mut exports = BTreeMap::new();
        for reference in self.references.iter().filter(|one| one.module.is_empty()) {
            if let Kind::Reexport(name) = &reference.kind {
                let (module, _) = self.resolve(&reference.module, &reference.segments);
                exports.insert(name.clone(), module);
            }
        }
        let mut graph = Graph::default();
        for file in self.files.values().filter(|file| **file != self.root) {
            graph.add_file(file);
        }
        for reference in &self.references {
            let from = &self.files[&reference.module];
            let (mut module, rest) = self.resolve(&reference.module, &reference.segments);
            if module.is_empty()
                && let Some(exported) = rest.first().and_then(|name| exports.get(name))
            {
                module.clone_from(exported);
            }
            let to = &self.files[&module];
            if from == to || *from == self.root || *to == self.root {
                continue;
            }
            // A re-export of a child's items does not count as a use, unless
            // the file also uses them in its own code.
            if let Kind::Reexport(name) = &reference.kind
                && module.starts_with(&reference.module)
                && !self.identifiers[from].contains(name)
            {
                continue;
            }
            graph.add_arrow(Arrow {
                from: from.clone(),
                to: to.clone(),
                line: reference.line,
                what: reference.segments.join("::"),
            });
        }
        graph
    }
}

/// Whether a path can start after these tokens: not after `::` or `.`, and not
/// in `pub(in …)`.
fn begins_a_path(before: &[Token]) -> bool {
    let last = |back: usize| {
        let at = before.len().checked_sub(back);
        at.map_or("", |at| before[at].text.as_str())
    };
    let is_visibility = last(1) == "in" && last(2) == "(" && last(3) == "pub";
    !is_visibility && !matches!(last(1), "::" | ".")
}

/// The names of a file's own child modules, at its top level.
fn declared_modules(tokens: &[Token]) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    for window in tokens.windows(2) {
        match window[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "mod" if depth == 0 && is_name(&window[1].text) => names.push(window[1].text.clone()),
            _ => {}
        }
    }
    names
}

/// Reads the text after `use`, including its final `;`, `,` or `}`. Collects
/// each path with its local name.
fn read_use_tree(
    tokens: &[Token],
    at: &mut usize,
    before: &[String],
    found: &mut Vec<(Vec<String>, String)>,
) {
    let mut segments = before.to_vec();
    loop {
        let text = tokens[*at].text.as_str();
        *at += 1;
        match text {
            "::" => {}
            "{" => {
                while tokens[*at].text != "}" {
                    read_use_tree(tokens, at, &segments, found);
                }
                *at += 1;
                skip_separator(tokens, at);
                return;
            }
            "as" => {
                found.push((segments, tokens[*at].text.clone()));
                *at += 1;
                skip_separator(tokens, at);
                return;
            }
            "}" | "," | ";" => {
                if text == "}" {
                    *at -= 1;
                }
                if segments.last().is_some_and(|name| name == "self") && segments.len() > 1 {
                    segments.pop();
                }
                if let Some(name) = segments.last().cloned() {
                    found.push((segments, name));
                }
                return;
            }
            name => segments.push(name.to_owned()),
        }
    }
}

/// Skips a `,` or `;`, but not a `}`, which belongs to the outer group.
fn skip_separator(tokens: &[Token], at: &mut usize) {
    if matches!(tokens[*at].text.as_str(), "," | ";") {
        *at += 1;
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// Splits source text into tokens, without comments.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let first = rest.chars().next().unwrap();
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            let content = rest[..length].trim_matches(|c| c != '"').trim_matches('"');
            found.push(Token {
                text: format!("\"{content}"),
                line,
            });
            length
        } else if let Some(length) = character(rest) {
            length
        } else if is_name(rest) {
            let length = rest
                .find(|c: char| c != '_' && !c.is_alphanumeric())
                .unwrap_or(rest.len());
            found.push(Token {
                text: rest[..length].to_owned(),
                line,
            });
            length
        } else if first.is_whitespace() {
            first.len_utf8()
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push(Token {
                text: rest[..length].to_owned(),
                line,
            });
            length
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string literal at the start of `text`, with its prefix.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let is_raw = text[..prefix].contains('r');
    if prefix > 2 {
        return None;
    }
    let hashes = text[prefix..].find(|c| c != '#')?;
    if !text[prefix + hashes..].starts_with('"') || (hashes > 0 && !is_raw) {
        return None;
    }
    let begin = prefix + hashes + 1;
    if is_raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(begin + text[begin..].find(&end)? + end.len());
    }
    let mut is_escaped = false;
    for (at, c) in text[begin..].char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(begin + at + 1),
            _ => {}
        }
    }
    None
}

/// The length of the character literal or lifetime at the start of `text`.
fn character(text: &str) -> Option<usize> {
    let quote = usize::from(text.starts_with("b'"));
    let mut characters = text[quote..].char_indices();
    if characters.next()?.1 != '\'' {
        return None;
    }
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        let end = text[quote..]
            .char_indices()
            .skip(3)
            .find(|(_, c)| *c == '\'')?;
        return Some(quote + end.0 + 1);
    }
    match characters.next() {
        Some((end, '\'')) => Some(quote + end + 1),
        // A lifetime is one token, with its name.
        _ => text[1..]
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .map(|end| end + 1),
    }
}

/// Removes attributes (except `#[path]`) and code that is compiled only in
/// tests.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text != "#" {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let is_inner = tokens.get(at + 1).is_some_and(|token| token.text == "!");
        let begin = at + 1 + usize::from(is_inner);
        if tokens.get(begin).is_none_or(|token| token.text != "[") {
            at += 1;
            continue;
        }
        let end = closing(tokens, begin);
        let content = &tokens[begin + 1..end];
        match content.first().map(|token| token.text.as_str()) {
            Some("cfg") if condition(&content[2..content.len() - 1]) == Some(false) => {
                if is_inner {
                    return Vec::new();
                }
                at = end_of_item(tokens, end + 1);
                continue;
            }
            Some("path") => kept.extend_from_slice(&tokens[at..=end]),
            _ => {}
        }
        at = end + 1;
    }
    kept
}

/// Whether a `cfg` condition is true in a release build; `None` if it depends
/// on the platform or on features.
fn condition(tokens: &[Token]) -> Option<bool> {
    let arguments = || {
        let mut parts = Vec::new();
        let inner = &tokens[2..tokens.len() - 1];
        let (mut begin, mut depth) = (0, 0);
        for (at, token) in inner.iter().enumerate() {
            match token.text.as_str() {
                "(" => depth += 1,
                ")" => depth -= 1,
                "," if depth == 0 => {
                    parts.push(condition(&inner[begin..at]));
                    begin = at + 1;
                }
                _ => {}
            }
        }
        if begin < inner.len() {
            parts.push(condition(&inner[begin..]));
        }
        parts
    };
    match tokens[0].text.as_str() {
        "test" | "fuzzing" | "doctest" | "shuttle" | "loom" | "doc" => Some(false),
        "not" => arguments()[0].map(|holds| !holds),
        "any" => {
            let parts = arguments();
            if parts.contains(&Some(true)) {
                Some(true)
            } else if parts.iter().all(|part| *part == Some(false)) {
                Some(false)
            } else {
                None
            }
        }
        "all" => {
            let parts = arguments();
            if parts.contains(&Some(false)) {
                Some(false)
            } else if parts.iter().all(|part| *part == Some(true)) {
                Some(true)
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Position of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    panic!("line {}: a bracket is not closed", tokens[open].line)
}

/// End of the item, field, arm or statement that starts at `at`.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    // Its other attributes, and its visibility.
    while text(at) == "#" {
        at = closing(tokens, at + 1) + 1;
    }
    if text(at) == "pub" {
        at += 1;
        if text(at) == "(" {
            at = closing(tokens, at) + 1;
        }
    }
    let is_constant = text(at) == "const" && is_name(text(at + 1)) && text(at + 2) == ":";
    let ends_with_semicolon =
        is_constant || matches!(text(at), "use" | "let" | "static" | "type" | "extern");
    // Items that end with their braces, and may have commas before them.
    let ends_with_braces = matches!(
        text(at),
        "fn" | "mod"
            | "struct"
            | "enum"
            | "union"
            | "impl"
            | "trait"
            | "unsafe"
            | "async"
            | "const"
            | "macro_rules"
            | "if"
            | "for"
            | "while"
            | "loop"
            | "match"
            | "{"
    );
    while at < tokens.len() {
        match text(at) {
            ";" => return at + 1,
            "," if !ends_with_braces && !ends_with_semicolon => return at + 1,
            ")" | "]" | "}" => return at,
            // The body of an arm or an item.
            "{" if ends_with_braces || (!ends_with_semicolon && text(at - 1) == ">") => {
                return closing(tokens, at) + 1;
            }
            "(" | "[" | "{" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    at
}
