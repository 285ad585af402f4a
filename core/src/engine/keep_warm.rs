//! `keep_warm`: refreshes the access token even without calls.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Engine;
use super::runtime::{self, Task};
use crate::sys::events::debug;
use crate::sys::fork;

/// Longest sleep. Timers follow the monotonic clock; after a suspended machine
/// resumes, the wall clock is read within this time.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// Shortest sleep: the interval between checks of a refresh in progress. (The
/// slot's back-off still applies.)
const MIN_SLEEP: Duration = Duration::from_millis(250);

/// Sleep after a failure without a token. A shorter one would read the source
/// of the credentials too often.
const SLEEP_WITHOUT_TOKEN: Duration = Duration::from_secs(1);

/// Starts the background task once per process, if it is enabled. The first call
/// starts it, not `build`. Hits check this as well, because a forked worker may
/// start with a token that is valid for an hour.
#[inline]
pub(crate) fn ensure(engine: &Arc<Engine>) {
    if engine.config.keep_warm && engine.warm_in.load(Ordering::Relaxed) != fork::generation() {
        start(engine);
    }
}

#[cold]
fn start(engine: &Arc<Engine>) {
    let this = fork::generation();
    if engine.warm_in.swap(this, Ordering::Relaxed) == this {
        return;
    }
    match runtime::spawn(run(Arc::downgrade(engine))) {
        Ok(task) => Task::detach(task),
        Err(error) => {
            // The next call retries.
            engine.warm_in.store(0, Ordering::Relaxed);
            let error = error.as_dyn();
            tracing::warn!(target: "layerfi_auth", error, "cannot start keep_warm");
        }
    }
}

/// Ends with the client.
async fn run(engine: Weak<Engine>) {
    loop {
        let sleep = {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // Quiet times apply here as for any caller.
            if let Err(error) = engine.keep_access_token_fresh().await {
                let error = error.as_dyn();
                debug!([error = error], "keep_warm got no token");
            }
            match engine.access.until_refresh(&engine.cx.clock) {
                Some((sleep, false)) => sleep.clamp(MIN_SLEEP, MAX_SLEEP),
                // A refresh is in progress or has failed.
                Some((_, true)) => MIN_SLEEP,
                None => SLEEP_WITHOUT_TOKEN,
            }
        };
        tokio::time::sleep(sleep).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b04_b13_forked_worker_is_kept_warm_from_its_first_hit_on() {
        let engine = crate::client::tests::engine(|builder| builder.keep_warm(true));
        let warm_in = || engine.warm_in.load(Ordering::Relaxed);
        assert_eq!(warm_in(), 0, "building a client starts a task");
        for _ in 0..2 {
            ensure(&engine);
            assert_eq!(warm_in(), fork::generation(), "the task does not run");
            fork::pretend::fork();
        }
    }
}
