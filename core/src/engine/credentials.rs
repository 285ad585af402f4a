//! Reads credentials on a thread that may block.

use crate::credentials::{BasicEncoding, Credentials, CredentialsSource, Origin};
use crate::deadline::Progress;
use crate::engine::runtime::BackgroundThread;
use crate::error::{PROVIDER, Result, SECRET_FILE};
use crate::sys::fork::PerProcess;

/// Reader of one client's credentials. Files and providers may block, so each
/// client reads its own on a separate thread, without delay for other clients.
pub(crate) struct CredentialsReader {
    source: CredentialsSource,
    encoding: BasicEncoding,
    thread: PerProcess<BackgroundThread>,
}

impl CredentialsReader {
    pub(crate) fn new(source: CredentialsSource, encoding: BasicEncoding) -> Self {
        Self {
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
        let (source, encoding) = (self.source.clone(), self.encoding);
        thread
            .spawn(async move { source.read(encoding).await })
            .await
    }
}
