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

    /// Resolves when the count is above `seen`, or when the emulator ends.
    pub(crate) fn more_than(&self, seen: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut count = self.count.subscribe();
        async move {
            let _ = count.wait_for(|&count| count > seen).await;
        }
    }
}
