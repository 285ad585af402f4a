//! The error type of the commands, and its form in text and JSON.

use std::borrow::Cow;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use layerfi_auth::Error;
use layerfi_auth_emulator::EmulatorError;
use serde::Serialize;

use crate::flag_names;

/// The reason that a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the engine.
    Engine(EngineFailure),
    /// An error of the command itself.
    Command(CommandError),
    /// At least one check of `doctor` failed; its report is already printed.
    ChecksFailed,
    /// At least one business of a batch failed; its line is already printed.
    SomeFailed,
    /// The API answered `api` with an error status; its body is already printed.
    Status(StatusFailure),
    /// A signal, given by its number, stopped the command.
    Stopped(i32),
    /// The reader of standard output closed the pipe.
    BrokenPipe,
    /// Help or version text to print. Not an error.
    Help(clap::Error),
}

/// An error of the engine, with texts that name the command's flags.
#[derive(Debug)]
pub(crate) struct EngineFailure {
    pub(crate) error: Error,
    message: String,
    remedy: String,
}

/// A response whose status is 400 or above.
#[derive(Debug)]
pub(crate) struct StatusFailure {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: CommandErrorKind,
    message: String,
    remedy: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandErrorKind {
    /// The arguments are not valid.
    Usage,
    /// The client secret cannot be read.
    Credentials,
    /// A file, port or stream of this machine cannot be used.
    Local,
    /// A bug in this program.
    Internal,
}

impl CommandErrorKind {
    /// The `kind` in JSON. Kinds that the engine has too have the same name.
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
    fn command(
        kind: CommandErrorKind,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
        field: Option<Cow<'static, str>>,
    ) -> Self {
        Self::Command(CommandError {
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
        let field = field.map(Cow::Borrowed);
        Self::command(CommandErrorKind::Usage, message, remedy, field)
    }

    pub(crate) fn local(message: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self::command(CommandErrorKind::Local, message, remedy, None)
    }

    pub(crate) fn credentials(
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::command(
            CommandErrorKind::Credentials,
            message,
            remedy,
            Some(Cow::Borrowed("client_secret_file")),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::command(
            CommandErrorKind::Internal,
            message,
            "report this as a bug",
            None,
        )
    }

    /// An engine error about a setting. `origin` is the flag or variable that
    /// holds the value.
    pub(crate) fn setting(error: Error, origin: Option<&str>) -> Self {
        let message = flag_names::in_message(error.message(), error.field(), origin);
        let remedy = flag_names::remedy(&error);
        Self::Engine(EngineFailure {
            error,
            message,
            remedy,
        })
    }

    /// Converts clap's error: its text on one line, without the usage, which
    /// becomes the remedy.
    pub(crate) fn from_clap(error: clap::Error) -> Self {
        if matches!(
            error.kind(),
            ClapKind::DisplayHelp
                | ClapKind::DisplayVersion
                | ClapKind::DisplayHelpOnMissingArgumentOrSubcommand
        ) {
            return Self::Help(error);
        }
        let text = error.render().to_string();
        let mut message = String::new();
        let mut usage = None;
        for line in text.lines().map(str::trim) {
            if let Some(line) = line.strip_prefix("Usage: ") {
                usage = Some(line);
            } else if usage.is_none() && !line.is_empty() && !line.starts_with("For more info") {
                let separator = match message.chars().last() {
                    None => "",
                    Some(':') => " ",
                    Some(_) if line.starts_with('[') => " ",
                    Some(_) => "; ",
                };
                message.push_str(separator);
                message.push_str(line.strip_prefix("error: ").unwrap_or(line));
            }
        }
        let remedy = usage.map_or(Cow::Borrowed("see layerfi-auth --help"), |usage| {
            Cow::Owned(format!("run {usage}, or see layerfi-auth --help"))
        });
        let field = field_of(&error).map(Cow::Owned);
        Self::command(CommandErrorKind::Usage, message, remedy, field)
    }

    /// The form that is printed; `None` if nothing is printed.
    pub(crate) fn report(&self) -> Option<ErrorReport<'_>> {
        match self {
            Self::Engine(failure) => Some(ErrorReport::of_engine(failure)),
            Self::Command(error) => Some(ErrorReport {
                kind: error.kind.as_str(),
                message: &error.message,
                remedy: &error.remedy,
                field: error.field.as_deref(),
                ..ErrorReport::default()
            }),
            Self::Status(response) => Some(ErrorReport {
                kind: if response.status == 429 {
                    "rate_limited"
                } else {
                    "api"
                },
                message: &response.message,
                remedy: response.remedy,
                retryable: response.status == 429 || response.status >= 500,
                http_status: Some(response.status),
                retry_after: response.retry_after,
                request_id: response.request_id.as_deref(),
                ..ErrorReport::default()
            }),
            Self::ChecksFailed
            | Self::SomeFailed
            | Self::Stopped(_)
            | Self::BrokenPipe
            | Self::Help(_) => None,
        }
    }
}

/// The name of the argument whose value is missing or not valid, such as
/// `session_duration` for `--session-duration <SECONDS>`.
fn field_of(error: &clap::Error) -> Option<String> {
    // For other kinds, clap gives text that the user typed.
    if !matches!(
        error.kind(),
        ClapKind::InvalidValue | ClapKind::ValueValidation | ClapKind::MissingRequiredArgument
    ) {
        return None;
    }
    let argument = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(argument) => argument,
        ContextValue::Strings(arguments) => arguments.first()?,
        _ => return None,
    };
    let name = argument.split([' ', '=']).next()?;
    let name = name.trim_matches(['-', '<', '>', '[', ']']);
    Some(name.to_ascii_lowercase().replace('-', "_"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The engine reads only the variable's file; the command reads the flag's.
        let origin =
            (error.field() == Some("client_secret_file")).then_some("LAYER_CLIENT_SECRET_FILE");
        Self::setting(error, origin)
    }
}

impl From<EmulatorError> for Failure {
    fn from(error: EmulatorError) -> Self {
        let message = format!("cannot start the emulator: {error}");
        match error {
            EmulatorError::Bind { .. } => Self::local(
                message,
                "give another --port, --control-port or --proxy-port; 0 takes any free port",
            ),
            EmulatorError::Write(_) | EmulatorError::AuthorityFile { .. } => {
                Self::local(message, "check the path and its permissions")
            }
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
    /// Converts an error of writing to standard output.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::local(
            format!("cannot write to standard output: {error}"),
            "check the file or disk that standard output is redirected to",
        )
    }
}

/// An error as it is printed; in JSON, all fields are present.
#[derive(Default, Serialize)]
pub(crate) struct ErrorReport<'a> {
    kind: &'static str,
    message: &'a str,
    remedy: &'a str,
    retryable: bool,
    http_status: Option<u16>,
    oauth_error: Option<&'a str>,
    error_enum: Option<&'a str>,
    /// Whole seconds, rounded up.
    retry_after: Option<u64>,
    request_id: Option<&'a str>,
    field: Option<&'a str>,
}

impl<'a> ErrorReport<'a> {
    fn of_engine(failure: &'a EngineFailure) -> Self {
        let error = &failure.error;
        Self {
            kind: error.kind().as_str(),
            message: &failure.message,
            remedy: &failure.remedy,
            retryable: error.is_retryable(),
            http_status: error.http_status(),
            oauth_error: error.oauth_error(),
            error_enum: error.error_enum(),
            retry_after: error.retry_after().map(whole_seconds),
            request_id: error.request_id(),
            field: error.field(),
        }
    }

    pub(crate) fn message(&self) -> &str {
        self.message
    }

    pub(crate) fn remedy(&self) -> &str {
        self.remedy
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
