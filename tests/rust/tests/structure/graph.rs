//! Graph of source files: which file uses which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

/// One file uses another.
#[derive(Clone, Debug)]
pub struct Arrow {
    pub from: PathBuf,
    pub to: PathBuf,
    /// Line in `from`, and the path in that line.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            line,
            what,
        } = self;
        write!(
            f,
            "{}:{line} uses {what} of {}",
            from.display(),
            to.display()
        )
    }
}

#[derive(Debug, Default)]
pub struct Graph {
    files: BTreeMap<PathBuf, BTreeMap<PathBuf, Arrow>>,
}

impl Graph {
    pub fn add_file(&mut self, file: &Path) {
        self.files.entry(file.to_owned()).or_default();
    }

    /// The first arrow between two files is kept.
    pub fn add_arrow(&mut self, arrow: Arrow) {
        self.add_file(&arrow.to);
        let arrows = self.files.entry(arrow.from.clone()).or_default();
        arrows.entry(arrow.to.clone()).or_insert(arrow);
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    pub fn arrows(&self) -> impl Iterator<Item = &Arrow> {
        self.files.values().flat_map(BTreeMap::values)
    }

    /// Finds every cycle of files: all files of the group, and the arrows of
    /// one shortest cycle.
    pub fn circles(&self) -> Vec<(Vec<&Path>, Vec<&Arrow>)> {
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for file in self.files() {
            let reachable = self.reachable(file);
            if seen.contains(file) || !reachable.contains(file) {
                continue;
            }
            let group: Vec<&Path> = reachable
                .into_iter()
                .filter(|other| self.reachable(other).contains(file))
                .collect();
            seen.extend(group.iter().copied());
            circles.push((group, self.shortest_circle(file)));
        }
        circles
    }

    /// Files that `file` uses, directly or through other files. They include
    /// `file` itself only if it is in a cycle.
    fn reachable(&self, file: &Path) -> BTreeSet<&Path> {
        let mut found = BTreeSet::new();
        let mut queue = vec![file];
        while let Some(next) = queue.pop() {
            for to in self.files[next].keys() {
                if found.insert(to.as_path()) {
                    queue.push(to);
                }
            }
        }
        found
    }

    fn shortest_circle(&self, file: &Path) -> Vec<&Arrow> {
        let mut queue = VecDeque::from([(file, Vec::new())]);
        let mut seen = BTreeSet::new();
        while let Some((next, way)) = queue.pop_front() {
            for (to, arrow) in &self.files[next] {
                let mut way: Vec<&Arrow> = way.clone();
                way.push(arrow);
                if to == file {
                    return way;
                }
                if seen.insert(to) {
                    queue.push_back((to, way));
                }
            }
        }
        Vec::new()
    }
}
