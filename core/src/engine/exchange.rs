//! Requests to the Layer API, and the routine that handles 401 for all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use http::{HeaderValue, StatusCode};

use super::Engine;
use crate::deadline::{Deadline, Progress};
use crate::error::{Error, Result};
use crate::protocol::layer_api;
use crate::protocol::message::{Request, Response};
use crate::retry::{self, RetryPolicy};
use crate::secret::Secret;
use crate::stats::Event;
use crate::sys::events::debug;
use crate::whoami::WhoAmI;

/// Where the token of a call comes from, and another one if the API refuses it.
pub(crate) trait TokenSource {
    type Token: Clone + PartialEq;

    fn token(&self, progress: &Progress) -> impl Future<Output = Result<Self::Token>> + Send;

    /// Another token than the refused one; `None` if there is no other.
    fn renewed(
        &self,
        refused: &Self::Token,
        progress: &Progress,
    ) -> impl Future<Output = Result<Option<Self::Token>>> + Send;

    /// Puts the token into a request.
    fn authorize(request: &mut Request, token: &Self::Token);
}

/// Runs an API call with a token. On 401 it gets a new token and repeats the call
/// once. If that gets 401 too, or there is no other token, the 401 is the result.
/// Other calls never wait for the new token: the API may refuse this call only.
pub(super) async fn authorized<S, T, F>(
    source: &S,
    deadline: &Deadline,
    is_unauthorized: impl Fn(&Result<T>) -> bool,
    mut call: impl FnMut(S::Token) -> F,
) -> Result<T>
where
    S: TokenSource,
    F: Future<Output = Result<T>>,
{
    let mut token = source.token(deadline.progress()).await?;
    let mut is_first = true;
    loop {
        let result = call(token.clone()).await;
        if !is_first || !is_unauthorized(&result) {
            return result;
        }
        is_first = false;
        match source.renewed(&token, deadline.progress()).await? {
            Some(fresh) if fresh != token => token = fresh,
            _ => return result,
        }
    }
}

/// Puts a token into a request.
pub(super) fn authorize(request: &mut Request, authorization: &HeaderValue, secret: Secret) {
    request.authorization = authorization.clone();
    request.secret = secret;
}

impl Engine {
    /// Runs `attempt` with retries.
    pub(super) async fn retrying<T, F>(
        &self,
        policy: RetryPolicy,
        deadline: &Deadline,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let variables = self.config.variables;
        // Not an async block, which would hold the future of the attempt twice.
        let attempt = || attempt().map_err(move |error| error.naming(variables));
        let on_retry = |error: &Error, attempts: u32, delay: Duration| {
            self.cx.stats.count(Event::Retry);
            let delay = tracing::field::debug(delay);
            debug!(
                [error = error.as_dyn(), attempts = attempts, delay = delay],
                "request failed, retrying"
            );
        };
        retry::run(policy, deadline, on_retry, attempt).await
    }

    /// Calls `GET /whoami`.
    #[tracing::instrument(level = "debug", target = "layerfi_auth", skip_all)]
    pub(crate) async fn whoami(self: &Arc<Self>, deadline: &Deadline) -> Result<WhoAmI> {
        authorized(self, deadline, is_401, |token| async move {
            let request = layer_api::whoami_request(
                &self.config.endpoints,
                &self.config.http.user_agent,
                &token,
            );
            let attempt = || async {
                let response = self.http.send(&request, deadline).await?;
                layer_api::read_whoami(&request.url, &response)
            };
            self.retrying(self.retry, deadline, attempt).await
        })
        .await
    }

    /// Sends a request of the user with a token. A response with any status is
    /// returned; after 401 there is one retry.
    #[tracing::instrument(level = "debug", target = "layerfi_auth", skip_all, fields(method = %request.method, path = request.url.path()))]
    pub(crate) async fn execute<S: TokenSource>(
        &self,
        source: &S,
        request: Request,
        deadline: &Deadline,
    ) -> Result<Response> {
        let is_unauthorized = |result: &Result<Response>| {
            result
                .as_ref()
                .is_ok_and(|response| response.status == StatusCode::UNAUTHORIZED)
        };
        let send = |token: S::Token| {
            let mut request = request.clone();
            S::authorize(&mut request, &token);
            async move {
                let sent = self.http.send(&request, deadline).await;
                sent.map_err(|error| error.naming(self.config.variables))
                    .inspect_err(|error| deadline.progress().failed(error))
            }
        };
        authorized(source, deadline, is_unauthorized, send).await
    }
}

/// Whether a call failed with HTTP 401.
pub(super) fn is_401<T>(result: &Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.http_status() == Some(401))
}
