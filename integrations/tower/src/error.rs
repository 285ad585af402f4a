//! Errors.

use std::error::Error as StdError;

/// Error of a call through [`LayerAuth`](crate::LayerAuth). It converts to a boxed error,
/// for services that need one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError<E> {
    /// No token could be had, so the request was not sent, or after a 401 not sent again.
    #[error("no token for the request: {0}")]
    Token(#[source] layerfi_auth::Error),
    /// The request's URL is not one that the token may be sent to. It was not sent.
    #[error(
        "the request's URL is not below {api_url}: send it without this layer, or allow its \
         origin with allow_origin"
    )]
    #[non_exhaustive]
    Origin {
        /// Base URL of the client's API.
        api_url: String,
    },
    /// The inner service failed.
    #[error(transparent)]
    Service(E),
}

impl<E> AuthError<E> {
    /// The error of `layerfi_auth`, if no token could be had.
    pub fn as_token_error(&self) -> Option<&layerfi_auth::Error> {
        match self {
            Self::Token(error) => Some(error),
            _ => None,
        }
    }
}

const _: fn() = || {
    fn is_boxable<T: Into<Box<dyn StdError + Send + Sync>>>() {}
    is_boxable::<AuthError<std::io::Error>>();
};
