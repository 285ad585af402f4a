//! Many business tokens: an iterator, and an async iterator, over a batch that
//! the engine drives in the background.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use layerfi_auth::{BatchProgress, BusinessToken, Result, blocking};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use tokio::sync::mpsc;

use crate::calls::{Answer, PendingCall, Receiver, Shared};
use crate::gil;

/// Results that may wait for their reader before no more are asked for.
const AHEAD: usize = 256;

/// A business's own timeout is the engine's affair; the wait for it has none to speak of.
const ANY_TIME: Option<f64> = Some(24.0 * 3_600.0);

/// The results of a batch, one per input and in its order: a token, or the
/// error that this business met.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct Batch {
    shared: Arc<Shared>,
    results: Arc<Results>,
    progress: Arc<Mutex<BatchProgress>>,
    driver: Mutex<Option<blocking::Pending<()>>>,
}

/// What one business came to. Its own failure is no failure of the batch.
struct Item {
    business: String,
    result: Result<BusinessToken>,
}

/// A result goes to whoever takes it, not to whoever waited until it came: who
/// waits may be cancelled while word is on its way, and the result stays here.
struct Results {
    here: Mutex<VecDeque<Item>>,
    coming: tokio::sync::Mutex<mpsc::Receiver<Item>>,
}

impl Results {
    fn here(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one can be taken; `false` is the end.
    async fn wait(&self) -> bool {
        let mut coming = self.coming.lock().await;
        if !self.here().is_empty() {
            return true;
        }
        let item = coming.recv().await;
        let is_one = item.is_some();
        self.here().extend(item);
        is_one
    }
}

impl Answer for bool {
    type Object = Self;

    fn into_object(self, _: Python<'_>, _: &Shared) -> PyResult<Self> {
        Ok(self)
    }
}

impl Batch {
    pub(crate) fn start(
        py: Python<'_>,
        shared: &Arc<Shared>,
        business_ids: Vec<String>,
        options: layerfi_auth::BatchOptions,
    ) -> PyResult<Self> {
        let (sender, coming) = mpsc::channel(AHEAD);
        let client = &shared.client;
        let checked: Vec<_> = business_ids
            .iter()
            .map(|id| client.business_id(id))
            .collect();
        let refused = checked.iter().filter(|id| id.is_err()).count();
        let businesses: Vec<_> = checked.iter().flatten().cloned().collect();
        let mut stream = client.as_async().business_tokens_with(businesses, options);
        // The refused ones take no part in it, and are done with at once.
        let with_refused = move |so_far: BatchProgress| BatchProgress {
            total: so_far.total + refused,
            distinct: so_far.distinct + refused,
            done: so_far.done + refused,
            failed: so_far.failed + refused,
        };
        let progress = Arc::new(Mutex::new(with_refused(stream.progress())));
        let told = Arc::clone(&progress);
        let drive = || {
            client.start(|_| async move {
                for (business, id) in business_ids.into_iter().zip(checked) {
                    let result = match id {
                        Err(refusal) => Err(refusal),
                        Ok(_) => match stream.next().await {
                            Some(result) => result,
                            None => break,
                        },
                    };
                    *told.lock().unwrap_or_else(PoisonError::into_inner) =
                        with_refused(stream.progress());
                    let item = Item { business, result };
                    if sender.send(item).await.is_err() {
                        return Ok(());
                    }
                }
                // To its end, so that what is due for refresh is sent for.
                while stream.next().await.is_some() {}
                Ok(())
            })
        };
        let driver = gil::released(py, drive).map_err(|error| shared.raise(py, &error))?;
        Ok(Self {
            shared: Arc::clone(shared),
            results: Arc::new(Results {
                here: Mutex::default(),
                coming: tokio::sync::Mutex::new(coming),
            }),
            progress,
            driver: Mutex::new(Some(driver)),
        })
    }

    fn arrival(&self) -> impl Future<Output = Result<bool>> + Send + use<> {
        let results = Arc::clone(&self.results);
        async move { Ok(results.wait().await) }
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

    /// The next result, if it is here.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(Item { business, result }) = self.results.here().pop_front() else {
            return Ok(None);
        };
        match result {
            Ok(token) => token.into_object(py, &self.shared)?.into_py_any(py),
            Err(error) => {
                let exception = self.shared.exception(py, &error)?;
                exception.setattr("business_id", business)?;
                Ok(exception.unbind())
            }
        }
        .map(Some)
    }

    /// Waits until there is one to take; `False` is the end.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        self.shared.block(py, ANY_TIME, |_| self.arrival())
    }

    fn start_wait(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
    ) -> PyResult<PendingCall> {
        let to = Receiver { post, settle };
        self.shared.start(py, to, ANY_TIME, |_| self.arrival())
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
