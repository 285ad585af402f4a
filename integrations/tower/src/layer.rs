//! The layer.

use std::sync::Arc;

use layerfi_auth::{AllowedOrigins, BusinessId, BusinessTokenOptions, Client, Result};
use tower_layer::Layer;

use crate::replay::{CloneBody, NoReplay, ReplayWith};
use crate::service::LayerAuth;
use crate::token::Source;

/// Adds a token to requests, and sends a request once more if the API answers 401.
///
/// `R` says how the body is copied for that: by default it must be `Clone`. Clones share
/// the client and its cache.
#[derive(Clone, Debug)]
pub struct LayerAuthLayer<R = CloneBody> {
    pub(crate) source: Source,
    pub(crate) origins: Arc<AllowedOrigins>,
    replay: R,
}

impl LayerAuthLayer {
    /// Adds the client's access token.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with(Source::new(client, None))
    }

    /// Adds a business token of this business, which can read that business only. Minted
    /// when it is needed, and cached by the client.
    #[must_use]
    pub fn for_business(
        client: Client,
        business: BusinessId,
        options: impl Into<BusinessTokenOptions>,
    ) -> Self {
        Self::with(Source::new(client, Some((business, options.into()))))
    }

    fn with(source: Source) -> Self {
        let origins = AllowedOrigins::new(source.api_url());
        Self {
            source,
            origins: Arc::new(origins),
            replay: CloneBody,
        }
    }
}

impl<R> LayerAuthLayer<R> {
    /// Also sends the token to URLs below this one, such as `https://mcp.example.com`. Only
    /// the client's API gets it by default.
    ///
    /// # Errors
    /// As [`AllowedOrigins::allow`].
    pub fn allow_origin(mut self, url: &str) -> Result<Self> {
        Arc::make_mut(&mut self.origins).allow(url)?;
        Ok(self)
    }

    /// For bodies that are not `Clone`: sends no request a second time. A refused token is
    /// invalidated, so that the next request gets a new one, and the 401 is the response.
    #[must_use]
    pub fn without_replay(self) -> LayerAuthLayer<NoReplay> {
        self.set_replay(NoReplay)
    }

    /// For bodies of which only some can be sent again: `copy` returns a copy of those,
    /// such as `reqwest::Body::try_clone`.
    #[must_use]
    pub fn replay_with<F>(self, copy: F) -> LayerAuthLayer<ReplayWith<F>> {
        self.set_replay(ReplayWith(copy))
    }

    fn set_replay<T>(self, replay: T) -> LayerAuthLayer<T> {
        LayerAuthLayer {
            source: self.source,
            origins: self.origins,
            replay,
        }
    }
}

impl<S, R: Clone> Layer<S> for LayerAuthLayer<R> {
    type Service = LayerAuth<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let origins = Arc::clone(&self.origins);
        LayerAuth::new(inner, self.source.clone(), origins, self.replay.clone())
    }
}
