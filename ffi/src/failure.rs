//! Why a call failed: for the engine's reasons, or for those that only C has.

use layerfi_auth::Error;

use crate::error::layerfi_result;

/// Why a call failed. `&'static str` is the name of an argument.
pub(crate) enum Failure {
    Engine(Error),
    /// An argument that makes no sense, and what is wrong with it.
    Argument(&'static str, &'static str),
    /// A pointer that must not be null.
    Null(&'static str),
    /// A string that is not UTF-8.
    Utf8(&'static str),
    /// A number that is no value of its enum.
    Enum(&'static str, u32),
    /// A buffer that the answer does not fit in; so many bytes it takes.
    Buffer(usize),
    /// Nothing at hand, in a call that does not wait.
    NotAvailable,
    /// A call that waits, made where it would wait for itself.
    WouldDeadlock,
    /// Somebody else has the log of this process.
    LogTaken,
    Panic,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    pub(crate) const fn panic() -> Self {
        Self::Panic
    }

    /// The code that C gets.
    pub(crate) fn result(&self) -> layerfi_result {
        match self {
            Self::Engine(error) => layerfi_result::of(error.kind()),
            Self::Argument(..) => layerfi_result::InvalidArgument,
            Self::Null(_) => layerfi_result::NullPointer,
            Self::Utf8(_) => layerfi_result::InvalidUtf8,
            Self::Enum(..) => layerfi_result::InvalidEnum,
            Self::Buffer(_) => layerfi_result::BufferTooSmall,
            Self::NotAvailable => layerfi_result::NotAvailable,
            Self::WouldDeadlock => layerfi_result::WouldDeadlock,
            Self::LogTaken => layerfi_result::Internal,
            Self::Panic => layerfi_result::Panic,
        }
    }

    /// What failed, and what to do.
    pub(crate) fn texts(&self) -> (String, String) {
        let (message, remedy) = match self {
            Self::Engine(error) => return (error.message().into(), error.remedy().into()),
            Self::Argument(argument, why) => (
                format!("{argument} {why}"),
                "see the comment in layerfi_auth.h",
            ),
            Self::Null(argument) => (format!("{argument} is NULL"), "give a pointer to something"),
            Self::Utf8(argument) => (
                format!("{argument} is not UTF-8"),
                "convert it to UTF-8 first",
            ),
            Self::Enum(argument, value) => (
                format!("{argument} is {value}, which is no value of its enum"),
                "use one of the constants in layerfi_auth.h",
            ),
            Self::Buffer(needed) => (
                format!("the buffer is too small: it takes {needed} bytes"),
                "call again with a buffer of that size",
            ),
            Self::NotAvailable => (
                "nothing is at hand".to_owned(),
                "try again later, or use the call that waits",
            ),
            Self::WouldDeadlock => (
                "this call waits, and was made from a callback that the answer may depend on"
                    .to_owned(),
                "leave the callback first, or call from a thread of your own",
            ),
            Self::LogTaken => (
                "another subscriber has the log of this library".to_owned(),
                "set the callback before anything else does",
            ),
            Self::Panic => (
                "the library panicked".to_owned(),
                "report this, with the panic's text from standard error; the client stays usable",
            ),
        };
        (message, remedy.to_owned())
    }

    /// The whole story in one line.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Engine(error) => error.to_string(),
            other => {
                let (message, remedy) = other.texts();
                format!("{message}: {remedy}")
            }
        }
    }

    /// The setting or argument that is wrong.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.field(),
            Self::Argument(argument, _)
            | Self::Null(argument)
            | Self::Utf8(argument)
            | Self::Enum(argument, _) => Some(argument),
            Self::Buffer(_) => Some("capacity"),
            Self::NotAvailable | Self::WouldDeadlock | Self::LogTaken | Self::Panic => None,
        }
    }

    pub(crate) fn engine(&self) -> Option<&Error> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_retryable(),
            Self::NotAvailable => true,
            _ => false,
        }
    }
}
