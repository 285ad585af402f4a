//! Reads credentials on a thread that may block.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::credentials::{BasicEncoding, Credentials, CredentialsSource, Origin};
use crate::deadline::Progress;
use crate::engine::runtime::BackgroundThread;
use crate::error::{Error, ErrorKind, PROVIDER, Result, SECRET_FILE};
use crate::sys::fork::{PerProcess, woken_by_others};

thread_local! {
    /// Number of the reader that this thread belongs to, or 0.
    static READER: Cell<usize> = const { Cell::new(0) };
}

/// Reader of one client's credentials. Files and providers may block, so each
/// client reads its own on a separate thread, without delay for other clients.
pub(crate) struct CredentialsReader {
    number: usize,
    source: CredentialsSource,
    encoding: BasicEncoding,
    thread: PerProcess<BackgroundThread>,
}

impl CredentialsReader {
    pub(crate) fn new(source: CredentialsSource, encoding: BasicEncoding) -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            source,
            encoding,
            thread: PerProcess::new(),
        }
    }

    /// Whether reading again may return other credentials.
    pub(crate) fn can_change(&self) -> bool {
        self.source.can_change()
    }

    /// Where the credentials come from.
    pub(crate) fn origin(&self) -> Origin {
        self.source.origin()
    }

    /// Fails on the thread that reads the credentials: a call of the credentials provider
    /// to its own client would wait for itself.
    pub(crate) fn check_may_wait(&self) -> Result<()> {
        if READER.get() == self.number {
            return Err(Error::new(
                ErrorKind::Internal,
                "the credentials provider called its own client, whose calls wait for it",
                "get the credentials without this client, or with another one",
            ));
        }
        Ok(())
    }

    /// Reads the current credentials.
    pub(crate) async fn read(&self, progress: &Progress) -> Result<Credentials> {
        let waits_for = match &self.source {
            CredentialsSource::Given(credentials) => return Ok(credentials.clone()),
            CredentialsSource::SecretFile { .. } => SECRET_FILE,
            CredentialsSource::Provider(_) => PROVIDER,
        };
        progress.waits_for(&waits_for.into());
        let thread = self
            .thread
            .get_or_try_init(|| BackgroundThread::start("layerfi-secrets", false))?;
        let (source, encoding, number) = (self.source.clone(), self.encoding, self.number);
        let read = async move {
            READER.set(number);
            woken_by_others(source.read(encoding)).await
        };
        woken_by_others(thread.spawn(read)).await
    }
}
