//! Why a command failed: the engine's error, or one of the command line's own.

use std::borrow::Cow;
use std::time::Duration;

use layerfi_auth::Error;
use layerfi_auth_emulator::EmulatorError;
use serde::Serialize;

/// What ends a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine's error.
    Layer(Error),
    /// One of the command line's own.
    Own(Own),
    /// The doctor found something; its report is printed.
    Checks,
    /// Whoever read the output has gone.
    BrokenPipe,
    /// Help or version, which clap prints: no failure at all.
    Help(clap::Error),
}

#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) kind: OwnKind,
    message: String,
    remedy: Cow<'static, str>,
    field: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnKind {
    /// The command line makes no sense.
    Usage,
    /// The client secret cannot be taken from where it is.
    Credentials,
    /// A file, a port or a stream of this machine cannot be used.
    Local,
    /// A fault in this program.
    Internal,
}

impl OwnKind {
    /// The engine's names where they mean the same.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "invalid_argument",
            Self::Credentials => "credentials",
            Self::Local => "local",
            Self::Internal => "internal",
        }
    }
}

impl Failure {
    fn own(
        kind: OwnKind,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
        field: Option<&'static str>,
    ) -> Self {
        Self::Own(Own {
            kind,
            message: message.into(),
            remedy: remedy.into(),
            field,
        })
    }

    pub(crate) fn usage(
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
        field: Option<&'static str>,
    ) -> Self {
        Self::own(OwnKind::Usage, message, remedy, field)
    }

    pub(crate) fn local(message: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self::own(OwnKind::Local, message, remedy, None)
    }

    pub(crate) fn credentials(
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::own(
            OwnKind::Credentials,
            message,
            remedy,
            Some("client_secret_file"),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::own(OwnKind::Internal, message, "please report this", None)
    }

    pub(crate) fn from_clap(error: clap::Error) -> Self {
        use clap::error::ErrorKind as Clap;
        match error.kind() {
            Clap::DisplayHelp
            | Clap::DisplayVersion
            | Clap::DisplayHelpOnMissingArgumentOrSubcommand => Self::Help(error),
            _ => {
                let text = error.render().to_string();
                let message: Vec<&str> = text
                    .lines()
                    .take_while(|line| !line.starts_with("Usage:"))
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
                    .collect();
                let message = message.join("; ");
                let message = message.strip_prefix("error: ").unwrap_or(&message);
                Self::usage(message, "see layerfi-auth --help", None)
            }
        }
    }

    /// What is shown of it; `None` where nothing is.
    pub(crate) fn view(&self) -> Option<View<'_>> {
        match self {
            Self::Layer(error) => Some(View::of(error)),
            Self::Own(own) => Some(View {
                kind: own.kind.as_str(),
                message: Cow::Borrowed(&own.message),
                remedy: &own.remedy,
                field: own.field,
                ..View::default()
            }),
            Self::Checks | Self::BrokenPipe | Self::Help(_) => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Layer(error)
    }
}

impl From<EmulatorError> for Failure {
    fn from(error: EmulatorError) -> Self {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        let message = format!("the emulator: {error}{cause}");
        match error {
            EmulatorError::Bind { .. } => {
                Self::local(message, "choose another port, or 0 for any free one")
            }
            EmulatorError::Write(_) => Self::local(message, "check the path and who may write it"),
            EmulatorError::NotLoopback(_)
            | EmulatorError::Invalid(_)
            | EmulatorError::UnknownClient => {
                Self::usage(message, "see layerfi-auth emulator --help", None)
            }
            _ => Self::internal(message),
        }
    }
}

impl From<std::io::Error> for Failure {
    /// Of standard output; all else has its own text.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::local(
            format!("standard output cannot be written ({error})"),
            "check where the output goes",
        )
    }
}

/// An error as it is shown, in JSON field by field.
#[derive(Default, Serialize)]
pub(crate) struct View<'a> {
    kind: &'static str,
    message: Cow<'a, str>,
    remedy: &'a str,
    retryable: bool,
    http_status: Option<u16>,
    oauth_error: Option<&'a str>,
    error_enum: Option<&'a str>,
    /// In whole seconds, rounded up: to wait less would be too little.
    retry_after: Option<u64>,
    request_id: Option<&'a str>,
    field: Option<&'static str>,
}

impl<'a> View<'a> {
    pub(crate) fn of(error: &'a Error) -> Self {
        Self {
            kind: error.kind().as_str(),
            message: Cow::Borrowed(error.message()),
            remedy: error.remedy(),
            retryable: error.is_retryable(),
            http_status: error.http_status(),
            oauth_error: error.oauth_error(),
            error_enum: error.error_enum(),
            retry_after: error.retry_after().map(seconds_up),
            request_id: error.request_id(),
            field: error.field(),
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn remedy(&self) -> &str {
        self.remedy
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id
    }
}

fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
