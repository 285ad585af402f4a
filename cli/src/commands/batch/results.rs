//! Where the lines of a batch go: standard output, or the file of `--output`.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::Failure;

/// The longest line of a file that is continued.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// How each line begins: that of a token, and that of a failure.
const STARTS: [&[u8]; 2] = [b"{\"access_token\":", b"{\"business_id\":"];

pub(super) struct Results {
    to: Box<dyn Write>,
    /// For messages; `None` for standard output.
    path: Option<String>,
    /// Businesses that have a valid token in the file.
    done: HashSet<String>,
}

impl Results {
    pub(super) fn stdout() -> Self {
        Self {
            to: Box::new(io::stdout().lock()),
            path: None,
            done: HashSet::new(),
        }
    }

    /// Opens the file of `--output`, which only its owner can read if it is new.
    pub(super) fn open(path: &Path, resume: bool) -> Result<Self, Failure> {
        let name = format!("{path:?}");
        let failed = |error: io::Error| cannot_write(&name, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let mut done = HashSet::new();
        // Not for /dev/null or a pipe.
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() {
            // Held until the process ends. A file system may not support it.
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err(Failure::local(
                    format!("another process writes to --output {name}"),
                    "wait until it has ended, or give another file",
                ));
            }
            if resume {
                done = read(&mut file, &name)?;
                file.seek(SeekFrom::End(0)).map_err(failed)?;
            } else if metadata.len() > 0 {
                return Err(Failure::usage(
                    format!("--output {name} exists and is not empty"),
                    "add --resume to continue it, or give another file",
                    Some("output"),
                ));
            }
        }
        Ok(Self {
            to: Box::new(file),
            path: Some(name),
            done,
        })
    }

    /// Whether the business has a valid token in the file.
    pub(super) fn has(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    /// Writes one line at once.
    pub(super) fn write(&mut self, line: &Value) -> Result<(), Failure> {
        let text = format!("{line}\n");
        let written = self.to.write_all(text.as_bytes());
        written
            .and_then(|()| self.to.flush())
            .map_err(|error| match &self.path {
                Some(name) => cannot_write(name, &error),
                None => error.into(),
            })
    }
}

fn cannot_write(name: &str, error: &io::Error) -> Failure {
    Failure::local(
        format!("cannot write to --output {name}: {error}"),
        "check the path, its permissions and the space on the disk",
    )
}

/// The part of a line that is needed here.
#[derive(Deserialize)]
struct Line {
    business_id: String,
    access_token: Option<IgnoredAny>,
    expires_at: Option<String>,
    error: Option<IgnoredAny>,
}

impl Line {
    /// Parses a line of this command.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(bytes).ok()?;
        (line.error.is_some() || line.access_token.is_some()).then_some(line)
    }

    fn is_valid_at(&self, now: SystemTime) -> bool {
        let expires_at = self.expires_at.as_deref().map(|text| {
            OffsetDateTime::parse(text, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH)
        });
        self.access_token.is_some() && expires_at.is_some_and(|time| SystemTime::from(time) > now)
    }
}

/// Reads the businesses that have a valid token in a file. If the last line is
/// incomplete, because the process was killed, it is removed. A file with other
/// content is not changed.
fn read(file: &mut File, name: &str) -> Result<HashSet<String>, Failure> {
    let failed = |error: io::Error| {
        Failure::local(
            format!("cannot read --output {name}: {error}"),
            "check the path and its permissions",
        )
    };
    let now = SystemTime::now();
    let mut done = HashSet::new();
    let mut end = 0;
    let mut bytes = Vec::new();
    let mut reader = BufReader::new(&*file);
    for number in 1_u64.. {
        bytes.clear();
        let mut limited = (&mut reader).take(MAX_LINE_BYTES);
        let length = limited.read_until(b'\n', &mut bytes).map_err(failed)?;
        if length == 0 {
            return Ok(done);
        }
        let is_complete = bytes.ends_with(b"\n");
        match Line::parse(&bytes) {
            Some(line) if is_complete => {
                if line.is_valid_at(now) {
                    done.insert(line.business_id);
                }
                end += length as u64;
            }
            None if is_complete || !is_start_of_line(&bytes) => {
                return Err(Failure::local(
                    format!("line {number} of --output {name} is not a line of this command"),
                    "give another file, or remove that line",
                ));
            }
            _ => {
                file.set_len(end).map_err(failed)?;
                return Ok(done);
            }
        }
    }
    Ok(done)
}

/// Whether these bytes may be the first part of a line of this command.
fn is_start_of_line(bytes: &[u8]) -> bool {
    STARTS
        .iter()
        .any(|start| bytes.starts_with(start) || start.starts_with(bytes))
}
