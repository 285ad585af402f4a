//! Many business tokens: an iterator, and an async iterator, over a batch that
//! the engine drives in the background.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use layerfi_auth::{BatchProgress, BusinessId, BusinessToken, Result, blocking};
use pyo3::prelude::*;
use tokio::sync::mpsc;

use crate::calls::{Answer, PendingCall, Receiver, Shared};
use crate::gil;

/// Results that may wait for their reader before no more are asked for.
const AHEAD: usize = 256;

/// The results of a batch, one per input and in its order: a token, or the
/// error that this business met.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct Batch {
    shared: Arc<Shared>,
    results: Arc<tokio::sync::Mutex<mpsc::Receiver<Item>>>,
    progress: Arc<Mutex<BatchProgress>>,
    driver: Mutex<Option<blocking::Pending<()>>>,
}

/// What one business came to. Its own failure is no failure of the batch.
struct Item(Result<BusinessToken>);

/// The next item, or the end.
struct Next(Option<Item>);

impl Answer for Next {
    type Object = Option<Py<PyAny>>;

    fn into_object(self, py: Python<'_>, shared: &Shared) -> PyResult<Self::Object> {
        match self.0 {
            None => Ok(None),
            Some(Item(Ok(token))) => Ok(Some(token.into_object(py, shared)?.into_any())),
            Some(Item(Err(error))) => Ok(Some(shared.exception(py, &error)?.unbind())),
        }
    }
}

impl Batch {
    pub(crate) fn start(
        py: Python<'_>,
        shared: &Arc<Shared>,
        businesses: Vec<BusinessId>,
        options: layerfi_auth::BatchOptions,
    ) -> PyResult<Self> {
        let (sender, results) = mpsc::channel(AHEAD);
        let mut stream = shared
            .client
            .as_async()
            .business_tokens_with(businesses, options);
        let progress = Arc::new(Mutex::new(stream.progress()));
        let told = Arc::clone(&progress);
        let drive = || {
            shared.client.start(|_| async move {
                while let Some(result) = stream.next().await {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = stream.progress();
                    if sender.send(Item(result)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            })
        };
        let driver = gil::released(py, drive).map_err(|error| shared.raise(py, &error))?;
        Ok(Self {
            shared: Arc::clone(shared),
            results: Arc::new(tokio::sync::Mutex::new(results)),
            progress,
            driver: Mutex::new(Some(driver)),
        })
    }

    fn receive(&self) -> impl Future<Output = Result<Next>> + Send + use<> {
        let results = Arc::clone(&self.results);
        async move { Ok(Next(results.lock().await.recv().await)) }
    }
}

#[pymethods]
impl Batch {
    /// `(total, distinct, done, failed)`.
    fn progress(&self) -> (usize, usize, usize, usize) {
        let BatchProgress {
            total,
            distinct,
            done,
            failed,
        } = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (total, distinct, done, failed)
    }

    /// The next result, or `None` at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        // A business's own timeout is the engine's affair; this wait has none.
        self.shared
            .block(py, Some(f64::from(u32::MAX)), |_| self.receive())
    }

    fn start_next(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
    ) -> PyResult<PendingCall> {
        let to = Receiver { post, settle };
        self.shared.start(py, to, None, |_| self.receive())
    }

    /// Ends the batch: nothing more is asked for. What is missing never comes.
    fn close(&self) {
        drop(
            self.driver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
