//! Reads the files of an npm package and lists which file imports which.

use std::path::Path;

use crate::graph::{Arrow, Graph};

/// The graph of the files in `package/src`. Paths are relative to `repository`. Imports of
/// types count too.
pub fn read(repository: &Path, package: &Path) -> Graph {
    let folder = package.join("src");
    let mut graph = Graph::default();
    for entry in std::fs::read_dir(repository.join(&folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let from = folder.join(&name);
        graph.add_file(&from);
        let text = std::fs::read_to_string(repository.join(&from)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let Some(what) = imported(line) else { continue };
            // `./clock.js` is compiled from `clock.ts` or `clock.tsx`.
            let stem = what.trim_start_matches("./").trim_end_matches(".js");
            let files = ["ts", "tsx"].map(|ending| folder.join(format!("{stem}.{ending}")));
            let to = files
                .into_iter()
                .find(|file| repository.join(file).exists())
                .unwrap_or_else(|| panic!("{} imports {what}: no such file", from.display()));
            graph.add_arrow(Arrow {
                from: from.clone(),
                to,
                line: number + 1,
                what: what.to_owned(),
            });
        }
    }
    graph
}

/// The file of the package that a line imports, such as `./clock.js`. Prettier puts the
/// end of an import on one line, with its file.
fn imported(line: &str) -> Option<&str> {
    let statement = ["import ", "export ", "} from "];
    if !statement.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let (_, file) = line.rsplit_once(" from ").or(line.split_once("import "))?;
    let file = file.trim_matches(['\'', '"', ';']);
    file.starts_with("./").then_some(file)
}
