//! Credentials from a Python callable.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use layerfi_auth::blocking::process_generation;
use layerfi_auth::{Credentials, CredentialsProvider, Error, ErrorKind};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::{courier, gil};

/// Calls that may be under way together. The engine makes one at a time and
/// less and less often, so the others are those whose time ran out; a callable
/// that hangs for ever must not cost a thread each time.
const MOST_CALLS: usize = 16;

/// Asks a callable that gives `(client_id, client_secret)`.
#[derive(Clone)]
pub(crate) struct PythonProvider(Arc<Inner>);

struct Inner {
    callable: Arc<Py<PyAny>>,
    /// Of the last call, where it failed.
    failure: ArcSwapOption<Failed>,
    calls: Arc<Calls>,
}

/// Why a call failed. Of the exception no more than its class is told: its
/// text may hold a secret, and ours goes into logs.
struct Failed {
    why: String,
    exception: Option<Py<PyAny>>,
}

/// The calls under way, in this process: a fork leaves its parent's behind.
#[derive(Default)]
struct Calls {
    generation: AtomicU32,
    number: AtomicUsize,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Calls {
    fn enter(self: &Arc<Self>) -> Option<UnderWay> {
        let generation = process_generation();
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.number.store(0, Ordering::Relaxed);
        }
        let under_way = UnderWay(Arc::clone(self));
        // Dropped, and so taken off again, where it is one too many.
        (self.number.fetch_add(1, Ordering::Relaxed) < MOST_CALLS).then_some(under_way)
    }
}

struct UnderWay(Arc<Calls>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.number.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PythonProvider {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self(Arc::new(Inner {
            callable: Arc::new(callable),
            failure: ArcSwapOption::empty(),
            calls: Arc::default(),
        }))
    }

    /// The exception behind an error, if a call of ours failed with one.
    pub(crate) fn cause(&self, py: Python<'_>, error: &Error) -> Option<Py<PyAny>> {
        if error.kind() != ErrorKind::Credentials {
            return None;
        }
        let failed = self.0.failure.load_full()?;
        let exception = failed.exception.as_ref()?;
        error
            .message()
            .contains(&failed.why)
            .then(|| exception.clone_ref(py))
    }

    fn failed(&self, why: String, exception: Option<Py<PyAny>>) -> Failure {
        let failure = why.clone().into();
        self.0
            .failure
            .store(Some(Arc::new(Failed { why, exception })));
        failure
    }
}

impl CredentialsProvider for PythonProvider {
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let Some(under_way) = self.0.calls.enter() else {
            return Err(format!("{MOST_CALLS} earlier calls of it have not returned").into());
        };
        let (sender, answer) = oneshot::channel();
        let given = ProviderAnswer {
            sender: Mutex::new(Some(sender)),
            provider: self.clone(),
            _under_way: under_way,
        };
        let callable = Arc::clone(&self.0.callable);
        // To start a thread there, this one waits for the GIL: not the engine's own.
        let start = tokio::task::spawn_blocking(move || {
            if gil::is_open() {
                Python::try_attach(|py| {
                    let args = (callable.clone_ref(py), given);
                    // Where it cannot be started, the answer never comes.
                    let _ = courier::in_thread(py, "provide", args);
                });
            }
        });
        drop(start);
        match answer.await {
            Ok(credentials) => credentials,
            Err(_) => Err("its thread ended, or could not be started".into()),
        }
    }
}

/// Where the thread that asks the callable puts what came of it.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct ProviderAnswer {
    sender: Mutex<Option<oneshot::Sender<Result<Credentials, Failure>>>>,
    provider: PythonProvider,
    _under_way: UnderWay,
}

impl ProviderAnswer {
    fn send(&self, answer: Result<Credentials, Failure>) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.take() {
            // Nobody waits any more where the call's time has run out.
            let _ = sender.send(answer);
        }
    }
}

#[pymethods]
impl ProviderAnswer {
    /// Takes what the callable returned.
    fn take(&self, pair: &Bound<'_, PyAny>) {
        let pair: PyResult<(String, String)> = pair.extract();
        self.send(match pair {
            Ok((client_id, client_secret)) => {
                self.provider.0.failure.store(None);
                Ok(Credentials::new(client_id, client_secret))
            }
            // Nor is told what it was: it may be the secret alone.
            Err(_) => {
                let why = "it did not return (client_id, client_secret)".to_owned();
                Err(self.provider.failed(why, None))
            }
        });
    }

    /// Takes what the callable raised.
    fn fail(&self, error: &Bound<'_, PyAny>) {
        let class = error.get_type().qualname();
        let class = class.map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        let exception = Some(error.clone().unbind());
        let failure = self
            .provider
            .failed(format!("it raised {class}"), exception);
        self.send(Err(failure));
    }
}
