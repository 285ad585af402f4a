//! Middleware of reqwest-middleware.

use http::header::AUTHORIZATION;
use http::{Extensions, StatusCode};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::error::AuthError;
use crate::layer::LayerAuthLayer;

/// Errors other than those of reqwest are `reqwest_middleware::Error::Middleware` with an
/// [`AuthError`].
#[async_trait::async_trait]
impl Middleware for LayerAuthLayer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if !self.origins.allows(request.url().as_str()) {
            let api_url = self.source.api_url().to_owned();
            return Err(failure(AuthError::Origin { api_url }));
        }
        let token = self.source.token().await.map_err(no_token)?;
        // `None` for a stream.
        let copy = request.try_clone();
        let origin = request.url().origin();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.authorization());
        let response = next.clone().run(request, extensions).await?;
        // reqwest removes the header when it follows a redirect to another origin, so a
        // 401 from there says nothing about the token.
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != origin {
            return Ok(response);
        }
        let Some(mut copy) = copy else {
            self.source.invalidate(&token);
            return Ok(response);
        };
        let Some(fresh) = self.source.renew(&token).await.map_err(no_token)? else {
            return Ok(response);
        };
        drop(response);
        let headers = copy.headers_mut();
        headers.insert(AUTHORIZATION, fresh.authorization());
        next.run(copy, extensions).await
    }
}

/// Error that has nothing to do with the inner service.
fn failure(error: AuthError<std::convert::Infallible>) -> Error {
    Error::middleware(error)
}

fn no_token(error: layerfi_auth::Error) -> Error {
    failure(AuthError::Token(error))
}
