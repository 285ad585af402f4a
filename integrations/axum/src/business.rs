//! What the application's function says about the user.

use std::fmt;

use axum::response::{IntoResponse, Response};

/// Result of the function that finds the signed-in user's business: `Option<B>`, or
/// `Result<Option<B>, R>` if the application may refuse the user with the response `R`.
///
/// `None` means that nobody is signed in. `B` is a business id as text, such as a
/// `String`, a [`BusinessId`](layerfi_auth::BusinessId) or a UUID.
pub trait IntoBusiness {
    /// Returns the id as text.
    ///
    /// # Errors
    /// The application's own response.
    #[allow(clippy::result_large_err, reason = "axum's rejections are responses")]
    fn into_business(self) -> Result<Option<String>, Response>;
}

impl<B: fmt::Display> IntoBusiness for Option<B> {
    fn into_business(self) -> Result<Option<String>, Response> {
        Ok(self.map(|id| id.to_string()))
    }
}

impl<B: fmt::Display, R: IntoResponse> IntoBusiness for Result<Option<B>, R> {
    fn into_business(self) -> Result<Option<String>, Response> {
        self.map(|id| id.map(|id| id.to_string()))
            .map_err(IntoResponse::into_response)
    }
}
