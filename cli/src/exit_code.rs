//! Exit codes. `docs/cli.md` lists them.

use layerfi_auth::ErrorKind;

use crate::failure::{CommandErrorKind, Failure};

pub(crate) const OK: u8 = 0;
const INTERNAL: u8 = 1;
/// The same as clap's.
const USAGE: u8 = 2;
const LOCAL: u8 = 12;
const CHECKS_FAILED: u8 = 20;
const SOME_FAILED: u8 = 21;
/// What a shell reports for a program that SIGPIPE terminated: 128 + 13.
const BROKEN_PIPE: u8 = 141;

/// Returns the exit code of a failure.
pub(crate) fn of(failure: &Failure) -> u8 {
    match failure {
        Failure::Engine(failure) => of_kind(failure.error.kind()),
        Failure::Command(error) => match error.kind {
            CommandErrorKind::Usage => USAGE,
            CommandErrorKind::Credentials => of_kind(ErrorKind::Credentials),
            CommandErrorKind::Local => LOCAL,
            CommandErrorKind::Internal => INTERNAL,
        },
        Failure::ChecksFailed => CHECKS_FAILED,
        Failure::SomeFailed => SOME_FAILED,
        Failure::Status(response) if response.status == 429 => of_kind(ErrorKind::RateLimited),
        Failure::Status(_) => of_kind(ErrorKind::Api),
        // What a shell reports for a program that the signal terminated.
        Failure::Stopped(signal) => u8::try_from(128 + signal).unwrap_or(INTERNAL),
        Failure::BrokenPipe => BROKEN_PIPE,
        Failure::Help(_) => OK,
    }
}

const fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidArgument => USAGE,
        ErrorKind::Config => 3,
        ErrorKind::Credentials => 4,
        ErrorKind::OAuth => 5,
        ErrorKind::Api => 6,
        ErrorKind::RateLimited => 7,
        ErrorKind::Transport => 8,
        ErrorKind::Timeout => 9,
        ErrorKind::Tls => 10,
        ErrorKind::Protocol => 11,
        // Also a kind that is newer than this table, which the test below finds.
        _ => INTERNAL,
    }
}

/// Prints help or the version and returns the exit code: 0 if the user asked
/// for it, 2 if it is printed because arguments are missing.
pub(crate) fn print_help(help: &clap::Error) -> u8 {
    match help.print() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => BROKEN_PIPE,
        Err(_) => LOCAL,
        Ok(()) if help.use_stderr() => USAGE,
        Ok(()) => OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_kind_has_its_own_exit_code() {
        let mut codes = ErrorKind::ALL.map(of_kind).to_vec();
        codes.extend([OK, LOCAL, CHECKS_FAILED, SOME_FAILED, BROKEN_PIPE]);
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all, "two kinds share an exit code: {codes:?}");
    }

    #[test]
    fn the_documentation_lists_every_exit_code() {
        let page = include_str!("../../docs/cli.md");
        for kind in ErrorKind::ALL {
            let row = format!("| {} | `{kind}` |", of_kind(kind));
            assert!(page.contains(&row), "docs/cli.md has no row {row}");
        }
        for (code, name) in [
            (LOCAL, "local"),
            (CHECKS_FAILED, "doctor"),
            (SOME_FAILED, "business-token"),
            (130, "Ctrl-C"),
            (143, "SIGTERM"),
            (BROKEN_PIPE, "pipe"),
        ] {
            assert!(
                page.lines()
                    .any(|line| line.starts_with(&format!("| {code} |")) && line.contains(name)),
                "docs/cli.md has no row for exit code {code} with the word {name}"
            );
        }
    }
}
