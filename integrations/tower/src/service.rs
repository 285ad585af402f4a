//! The service.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use layerfi_auth::AllowedOrigins;
use tower_service::Service;

use crate::error::AuthError;
use crate::replay::{CloneBody, Replay};
use crate::token::{Source, Token};

/// Service of [`LayerAuthLayer`](crate::LayerAuthLayer).
#[derive(Clone, Debug)]
pub struct LayerAuth<S, R = CloneBody> {
    inner: S,
    source: Source,
    origins: Arc<AllowedOrigins>,
    replay: R,
}

impl<S, R> LayerAuth<S, R> {
    pub(crate) fn new(inner: S, source: Source, origins: Arc<AllowedOrigins>, replay: R) -> Self {
        Self {
            inner,
            source,
            origins,
            replay,
        }
    }
}

impl<S, R, B, T> Service<Request<B>> for LayerAuth<S, R>
where
    S: Service<Request<B>, Response = Response<T>> + Clone + Send + 'static,
    S::Error: Send,
    S::Future: Send,
    R: Replay<B>,
    B: Send + 'static,
    T: Send + 'static,
{
    type Response = Response<T>;
    type Error = AuthError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<T>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(AuthError::Service)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that is ready is this one, and not its clone.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        if !self.origins.allows(&request.uri().to_string()) {
            let api_url = self.source.api_url().to_owned();
            return Box::pin(std::future::ready(Err(AuthError::Origin { api_url })));
        }
        let copy = self.replay.copy(request.body()).map(|body| {
            let mut copy = Request::new(body);
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.version_mut() = request.version();
            copy.headers_mut().clone_from(request.headers());
            copy.extensions_mut().clone_from(request.extensions());
            copy
        });
        Box::pin(send(inner, self.source.clone(), request, copy))
    }
}

/// Sends the request, and after a 401 its copy with another token.
async fn send<S, B, T>(
    mut inner: S,
    source: Source,
    mut request: Request<B>,
    copy: Option<Request<B>>,
) -> Result<Response<T>, AuthError<S::Error>>
where
    S: Service<Request<B>, Response = Response<T>>,
{
    let token = source.token().await.map_err(AuthError::Token)?;
    authorize(&mut request, &token);
    let response = inner.call(request).await.map_err(AuthError::Service)?;
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    let Some(mut copy) = copy else {
        source.invalidate(&token);
        return Ok(response);
    };
    let Some(fresh) = source.renew(&token).await.map_err(AuthError::Token)? else {
        return Ok(response);
    };
    // Its body may hold a connection that the second request needs.
    drop(response);
    authorize(&mut copy, &fresh);
    poll_fn(|cx| inner.poll_ready(cx))
        .await
        .map_err(AuthError::Service)?;
    inner.call(copy).await.map_err(AuthError::Service)
}

fn authorize<B>(request: &mut Request<B>, token: &Token) {
    request
        .headers_mut()
        .insert(AUTHORIZATION, token.authorization());
}
