//! What every waiting call of a client's has around it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::warm;

/// Bounds a call by its caller's timeout.
pub(crate) async fn ends<T>(
    engine: &Arc<Engine>,
    timeout: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    if Handle::try_current().is_err() {
        return Err(Error::config(
            "runtime",
            "there is no Tokio runtime here",
            "call from within one, or use the blocking client",
        ));
    }
    warm::ensure(engine);
    match timeout_at(Instant::now() + timeout, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::timeout(format!("no result within {timeout:?}"))),
    }
}
