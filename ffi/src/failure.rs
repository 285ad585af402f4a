//! Why a call failed: the engine's errors, and those that only C can cause.

use layerfi_auth::Error;

use crate::result::layerfi_result;

/// Why a call failed. `&'static str` is the name of an argument.
#[derive(Clone)]
pub(crate) enum Failure {
    Engine(Error),
    /// An argument that is not valid, and what is wrong with it.
    Argument(&'static str, &'static str),
    /// A pointer that must not be null.
    Null(&'static str),
    /// A string that is not UTF-8.
    Utf8(&'static str),
    /// A number that is not a value of its enum.
    Enum(&'static str, u32),
    /// A buffer that is too small: the argument with its size, and the bytes that are needed.
    Buffer(&'static str, usize),
    /// No cached value, in a call that does not wait.
    NotAvailable,
    /// A call that waits, made from a callback that its result may depend on.
    WouldDeadlock,
    /// Another subscriber receives the log of this process.
    LogTaken,
    Panic,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    /// The code that C gets.
    pub(crate) fn result(&self) -> layerfi_result {
        match self {
            Self::Engine(error) => layerfi_result::of(error.kind()),
            Self::Argument(..) => layerfi_result::InvalidArgument,
            Self::Null(_) => layerfi_result::NullPointer,
            Self::Utf8(_) => layerfi_result::InvalidUtf8,
            Self::Enum(..) => layerfi_result::InvalidEnum,
            Self::Buffer(..) => layerfi_result::BufferTooSmall,
            Self::NotAvailable => layerfi_result::NotAvailable,
            Self::WouldDeadlock => layerfi_result::WouldDeadlock,
            Self::LogTaken => layerfi_result::Internal,
            Self::Panic => layerfi_result::Panic,
        }
    }

    /// What failed, and what to do about it.
    pub(crate) fn texts(&self) -> (String, String) {
        let (message, remedy) = match self {
            Self::Engine(error) => return (error.message().into(), error.remedy().into()),
            Self::Argument(argument, why) => (
                format!("{argument} {why}"),
                "see the function's comment in layerfi_auth.h",
            ),
            Self::Null(argument) => (
                format!("{argument} is NULL"),
                "pass a pointer that is not NULL",
            ),
            Self::Utf8(argument) => (
                format!("{argument} is not valid UTF-8"),
                "convert it to UTF-8 first",
            ),
            Self::Enum(argument, value) => (
                format!("{argument} is {value}, which is not a value of its enum"),
                "use one of the constants in layerfi_auth.h",
            ),
            Self::Buffer(argument, needed) => (
                format!("{argument} is too small: {needed} bytes are needed"),
                "call again with a buffer of that size",
            ),
            Self::NotAvailable => (
                "no valid token is in the cache".to_owned(),
                "try again later, or use the function that waits",
            ),
            Self::WouldDeadlock => (
                "a function that waits was called in a callback, which could deadlock".to_owned(),
                "call it after the callback has returned, or from another thread",
            ),
            Self::LogTaken => (
                "another log subscriber is installed in this process".to_owned(),
                "set the log callback before any other log subscriber",
            ),
            Self::Panic => (
                "the library panicked".to_owned(),
                "report this bug with the panic's text from standard error; the client stays \
                 usable",
            ),
        };
        (message, remedy.to_owned())
    }

    /// Message and remedy in one line.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Engine(error) => error.to_string(),
            other => {
                let (message, remedy) = other.texts();
                format!("{message}: {remedy}")
            }
        }
    }

    /// The setting or argument that is not valid.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.field(),
            Self::Argument(argument, _)
            | Self::Null(argument)
            | Self::Utf8(argument)
            | Self::Enum(argument, _)
            | Self::Buffer(argument, _) => Some(argument),
            Self::NotAvailable | Self::WouldDeadlock | Self::LogTaken | Self::Panic => None,
        }
    }

    pub(crate) fn engine(&self) -> Option<&Error> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_retryable(),
            Self::NotAvailable => true,
            _ => false,
        }
    }
}
