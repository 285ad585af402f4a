//! Why a call failed: the engine's errors, and those that only C can cause.

use layerfi_auth::Error;

use crate::result::layerfi_result;

/// Why a call failed. Its text is what failed; [`remedy`](Self::remedy) is what to do about it.
/// `&'static str` is the name of an argument.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", .0.message())]
    Engine(#[from] Error),
    /// An argument that is not valid, what is wrong with it, and what to do.
    #[error("{0} {1}")]
    Argument(&'static str, &'static str, &'static str),
    /// A pointer that must not be null.
    #[error("{0} is NULL")]
    Null(&'static str),
    /// A string that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    /// A number that is not a value of its enum.
    #[error("{0} is {1}, which is not a value of its enum")]
    Enum(&'static str, u32),
    /// A buffer that is too small: the argument with its size, and the bytes that are needed.
    #[error("{0} is too small: {1} bytes are needed")]
    Buffer(&'static str, usize),
    /// No cached value, in a call that does not wait.
    #[error("no valid token is in the cache")]
    NotAvailable,
    /// A call that waits, made from a callback that its result may depend on.
    #[error("a function that waits was called in a callback, which could deadlock")]
    WouldDeadlock,
    /// Another subscriber receives the log of this process.
    #[error("another log subscriber is installed in this process")]
    LogTaken,
    #[error("the library panicked")]
    Panic,
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

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &str {
        match self {
            Self::Engine(error) => error.remedy(),
            Self::Argument(_, _, remedy) => remedy,
            Self::Null(_) => "pass a pointer that is not NULL",
            Self::Utf8(_) => "convert it to UTF-8 first",
            Self::Enum(..) => "use one of the constants in layerfi_auth.h",
            Self::Buffer(..) => "call again with a buffer of that size",
            Self::NotAvailable => "try again later, or use the function that waits",
            Self::WouldDeadlock => {
                "call it after the callback has returned, or from another thread"
            }
            Self::LogTaken => "set the log callback before any other log subscriber",
            Self::Panic => {
                "report this bug with the panic's text from standard error; the client stays \
                 usable"
            }
        }
    }

    /// What failed and what to do about it, in one line.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Engine(error) => error.to_string(),
            other => format!("{other}: {}", other.remedy()),
        }
    }

    /// The setting or argument that is not valid.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.field(),
            Self::Argument(argument, ..)
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
