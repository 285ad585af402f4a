//! Batches of business tokens: the results of a batch that the engine runs in
//! the background.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use layerfi_auth::blocking::{self, Held, until_lost};
use layerfi_auth::{BatchProgress, BusinessToken, Result};
use pyo3::prelude::*;
use pyo3::{IntoPyObjectExt as _, PyTraverseError, PyVisit};
use tokio::sync::mpsc;

use crate::client_state::ClientState;
use crate::errors::guarded;
use crate::event_loop::EventLoopTarget;
use crate::gil;
use crate::pending::{self, PendingCall, ToPython};
use crate::references::References;

/// Most results that wait to be read. The batch pauses when there are more.
const MAX_BUFFERED: usize = 256;

/// Timeout of the wait for a result. The engine applies its own timeout to each
/// business, so this one never has to end the wait.
const WAIT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(24 * 3_600));

/// The results of a batch, one per input and in its order: a token, or the error
/// for that business.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct Batch {
    state: Arc<ClientState>,
    /// Of the client, which may be deleted before its batch.
    references: Py<References>,
    results: Arc<Results>,
    progress: Arc<Mutex<BatchProgress>>,
    driver: Mutex<Option<blocking::Pending<()>>>,
    stop: Box<dyn Fn() + Send + Sync>,
}

/// The result for one business. A failure does not end the batch.
struct Item {
    business: String,
    result: Result<BusinessToken>,
}

/// Results that arrive and wait to be taken. Waiting and taking are separate
/// steps, so that a wait that is cancelled loses no result.
struct Results {
    ready: Mutex<VecDeque<Item>>,
    incoming: Held<tokio::sync::Mutex<mpsc::Receiver<Item>>>,
}

impl Results {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a result can be taken; `false` at the end.
    async fn wait(&self) -> Result<bool> {
        let mut incoming = self.incoming.get()?.lock().await;
        if !self.ready().is_empty() {
            return Ok(true);
        }
        let item = incoming.recv().await;
        let arrived = item.is_some();
        self.ready().extend(item);
        Ok(arrived)
    }
}

impl ToPython for bool {
    type Object = Self;

    fn to_python(self, _: Python<'_>, _: &ClientState) -> PyResult<Self> {
        Ok(self)
    }
}

impl Batch {
    pub(crate) fn start(
        py: Python<'_>,
        state: &Arc<ClientState>,
        references: &Py<References>,
        business_ids: Vec<String>,
        options: layerfi_auth::BatchOptions,
    ) -> PyResult<Self> {
        let (sender, incoming) = mpsc::channel(MAX_BUFFERED);
        let client = &state.client;
        let mut stream = client
            .as_async()
            .business_tokens_for_ids(business_ids.iter().cloned(), options);
        let progress = Arc::new(Mutex::new(stream.progress()));
        let stop = Box::new(stream.stopper());
        let shown = Arc::clone(&progress);
        let drive = || {
            client.start(|_| async move {
                for business in business_ids {
                    let Some(result) = stream.next().await else {
                        break;
                    };
                    *shown.lock().unwrap_or_else(PoisonError::into_inner) = stream.progress();
                    let item = Item { business, result };
                    if sender.send(item).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(())
            })
        };
        let driver = guarded(py, || {
            gil::released(py, drive).map_err(|error| state.raise(py, &error))
        })?;
        Ok(Self {
            state: Arc::clone(state),
            references: references.clone_ref(py),
            results: Arc::new(Results {
                ready: Mutex::default(),
                incoming: Held::new(tokio::sync::Mutex::new(incoming)),
            }),
            progress,
            driver: Mutex::new(Some(driver)),
            stop,
        })
    }

    fn wait_for_result(&self) -> impl Future<Output = Result<bool>> + Send + use<> {
        let results = Arc::clone(&self.results);
        until_lost(async move { results.wait().await })
    }
}

#[pymethods]
impl Batch {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.references)
    }

    /// `(total, distinct, done, failed)`.
    fn progress(&self) -> (usize, usize, usize, usize) {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let BatchProgress {
            total, distinct, ..
        } = progress;
        (total, distinct, progress.done, progress.failed)
    }

    /// Take the next result, if it has arrived.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(Item { business, result }) = self.results.ready().pop_front() else {
            return Ok(None);
        };
        match result {
            Ok(token) => token.to_python(py, &self.state)?.into_py_any(py),
            Err(error) => {
                let exception = self.state.exception(py, &error)?;
                exception.setattr("business_id", business)?;
                Ok(exception.unbind())
            }
        }
        .map(Some)
    }

    /// Wait until a result can be taken; `False` at the end.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        pending::block(py, &self.state, WAIT_TIMEOUT, |_| self.wait_for_result())
    }

    fn start_wait(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
    ) -> PyResult<PendingCall> {
        let target = EventLoopTarget { post, settle };
        pending::start(py, &self.state, target, WAIT_TIMEOUT, |_| {
            self.wait_for_result()
        })
    }

    /// End the batch: it sends no more requests, and missing results never arrive.
    fn close(&self) {
        // The driver is only cancelled when its thread gets to it, and a response may
        // arrive before that.
        (self.stop)();
        drop(
            self.driver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
