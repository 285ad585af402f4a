//! Exit codes, decided here and nowhere else; documented in `docs/cli.md`.

use layerfi_auth::ErrorKind;

use crate::failure::{Failure, OwnKind};

/// All went well.
pub(crate) const OK: u8 = 0;
const INTERNAL: u8 = 1;
/// As of clap and most shells' own commands.
const USAGE: u8 = 2;
const LOCAL: u8 = 12;
const CHECKS: u8 = 20;
/// What a shell reports of a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// The exit code of a failure.
pub(crate) fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Layer(error) => code_of_kind(error.kind()),
        Failure::Own(own) => match own.kind {
            OwnKind::Usage => USAGE,
            OwnKind::Credentials => code_of_kind(ErrorKind::Credentials),
            OwnKind::Local => LOCAL,
            OwnKind::Internal => INTERNAL,
        },
        Failure::Checks => CHECKS,
        Failure::BrokenPipe => BROKEN_PIPE,
        Failure::Help(_) => OK,
    }
}

const fn code_of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal => INTERNAL,
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
    }
}

/// Prints help or version. Asked for, it succeeds; shown because nothing was
/// said, it is an error of usage.
pub(crate) fn after_help(help: &clap::Error) -> u8 {
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
    fn every_kind_has_its_own_code() {
        let mut codes = ErrorKind::ALL.map(code_of_kind).to_vec();
        codes.extend([OK, LOCAL, CHECKS, BROKEN_PIPE]);
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../docs/cli.md");
        for kind in ErrorKind::ALL {
            let row = format!("| {} | `{kind}` |", code_of_kind(kind));
            assert!(page.contains(&row), "{row}");
        }
        for (code, name) in [(LOCAL, "local"), (CHECKS, "doctor"), (BROKEN_PIPE, "pipe")] {
            assert!(
                page.lines()
                    .any(|line| line.starts_with(&format!("| {code} |")) && line.contains(name)),
                "{code}"
            );
        }
    }
}
