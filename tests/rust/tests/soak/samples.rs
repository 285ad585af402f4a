//! Resources of a process, as the kernel reports them.

use std::fmt;
use std::path::PathBuf;

/// Resources at one moment, or the median or maximum over several moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub kib: u64,
    pub files: u64,
    pub threads: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kib,
            files,
            threads,
        } = self;
        write!(out, "{kib} KiB, {files} files, {threads} threads")
    }
}

/// Samples a process; fails if it has ended.
pub fn sample(process: u32) -> std::io::Result<Sample> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let status = std::fs::read_to_string(folder.join("status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        // A zombie process has no memory.
        .ok_or(std::io::ErrorKind::NotFound)?;
    let count = |name| Ok::<_, std::io::Error>(std::fs::read_dir(folder.join(name))?.count());
    Ok(Sample {
        kib,
        files: count("fd")? as u64,
        threads: count("task")? as u64,
    })
}

/// Applies `which` to the sorted values of each field.
fn pick(samples: &[Sample], which: impl Fn(&[u64]) -> u64) -> Sample {
    let figure = |of: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(of).collect();
        all.sort_unstable();
        which(&all)
    };
    Sample {
        kib: figure(|sample| sample.kib),
        files: figure(|sample| sample.files),
        threads: figure(|sample| sample.threads),
    }
}

pub fn max(samples: &[Sample]) -> Sample {
    pick(samples, |all| all.last().copied().unwrap_or_default())
}

pub fn median(samples: &[Sample]) -> Sample {
    pick(samples, |all| {
        all.get(all.len() / 2).copied().unwrap_or_default()
    })
}
