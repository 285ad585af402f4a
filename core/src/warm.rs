//! `keep_warm`: the access token refreshed with no caller present.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::Engine;
use crate::fork;
use crate::runtime;

/// The longest sleep. Timers count by the monotonic clock: after a suspended
/// machine wakes up, the wall clock is looked at within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The shortest: how often a refresh that is under way is looked after. (Its
/// back-off is the slot's, and not shortened by this.)
const SHORTEST_SLEEP: Duration = Duration::from_millis(250);

const WITHOUT_A_TOKEN: Duration = Duration::from_secs(1);

/// Sees to it that the task runs, once per process, if it is wanted. It is
/// started by the first call and not by `build`, which starts nothing. Hits
/// ask as well: a forked worker may begin with a token that is good for an hour.
#[inline]
pub(crate) fn ensure(engine: &Arc<Engine>) {
    if engine.config.keep_warm && engine.warm.load(Ordering::Relaxed) != fork::generation() {
        start(engine);
    }
}

#[cold]
fn start(engine: &Arc<Engine>) {
    let this = fork::generation();
    if engine.warm.swap(this, Ordering::Relaxed) == this {
        return;
    }
    match runtime::background() {
        Ok(background) => drop(background.spawn(keep(Arc::downgrade(engine)))),
        Err(error) => {
            // The next call tries again.
            engine.warm.store(0, Ordering::Relaxed);
            tracing::warn!(target: "layerfi_auth", %error, "keep_warm cannot start");
        }
    }
}

/// Ends with the client.
async fn keep(engine: Weak<Engine>) {
    loop {
        let sleep = {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // A hit starts the refresh that is due, a miss fetches; quiet
            // times hold here as for any caller.
            let hit = engine.borrow_access_token();
            if !hit && let Err(error) = engine.access_token().await {
                tracing::debug!(target: "layerfi_auth", %error, "keep_warm found no token");
            }
            match engine.access.until_refresh(&engine.cx.clock) {
                Some((sleep, false)) => sleep.clamp(SHORTEST_SLEEP, LONGEST_SLEEP),
                // A refresh is under way or has failed: how that ends is to be
                // seen soon.
                Some((_, true)) => SHORTEST_SLEEP,
                // Nothing to be had. Asking more often would only be a burden
                // on the vault that the credentials may come from.
                None => WITHOUT_A_TOKEN,
            }
        };
        tokio::time::sleep(sleep).await;
    }
}
