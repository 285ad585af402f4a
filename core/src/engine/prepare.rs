//! `prepare`: fetches the access token before a call needs it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::access::AccessTokenSource;
use super::{Engine, keep_warm};
use crate::cache::{FetchParams, Outcome, Source};
use crate::error::Result;
use crate::token::AccessToken;

impl Engine {
    /// See [`crate::Client::prepare`].
    pub(crate) fn prepare(self: &Arc<Self>) -> Result<()> {
        let source = Prepare(self.access_source());
        self.access.prepare(&self.cx, &source)?;
        // Later, so that the failure of the first fetch is logged as below.
        keep_warm::ensure(self);
        Ok(())
    }
}

/// Source of access tokens that logs its failure, because no caller may wait for the
/// token.
struct Prepare(AccessTokenSource);

impl Source<AccessToken> for Prepare {
    fn fetch(&self, params: FetchParams<AccessToken>) -> BoxFuture<'static, Outcome<AccessToken>> {
        let fetch = self.0.fetch(params);
        Box::pin(async move {
            let outcome = fetch.await;
            if let Outcome::Failed(error) = &outcome {
                let error = error.as_dyn();
                tracing::warn!(target: "layerfi_auth", error, "prepare got no access token");
            }
            outcome
        })
    }

    fn can_change(&self) -> bool {
        self.0.can_change()
    }

    fn budget(&self) -> Duration {
        self.0.budget()
    }
}
