//! Release of held responses.

use tokio::sync::watch;

/// Counts releases. A held response waits for the first release after its
/// request arrived.
#[derive(Debug)]
pub(crate) struct Releases {
    count: watch::Sender<u64>,
}

impl Releases {
    pub(crate) fn new() -> Self {
        Self {
            count: watch::Sender::new(0),
        }
    }

    /// Releases all responses that are held now.
    pub(crate) fn release(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Resolves when the count is above `seen`.
    pub(crate) async fn wait_for_more_than(&self, seen: u64) {
        // An error would mean that the sender is gone, but `self` owns it.
        let _ = self.count.subscribe().wait_for(|&count| count > seen).await;
    }
}
