//! Credentials from a Python callable.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use layerfi_auth::blocking::{process_generation, start_thread};
use layerfi_auth::{Credentials, CredentialsProvider, Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use tokio::sync::oneshot;

use crate::fork::Inside;
use crate::gil;
use crate::worker::in_thread;

/// Most calls of one callable at the same time. The engine waits for one call at
/// a time, so all others have timed out; a callable that hangs forever must
/// not take a thread each time.
const MAX_RUNNING: usize = 16;

/// Time between two checks of whether a running call can never return.
const DEADLOCK_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Credentials provider that calls a Python callable, which returns
/// `(client_id, client_secret)`.
#[derive(Clone)]
pub(crate) struct PythonProvider(Arc<Inner>);

struct Inner {
    /// `None` after the client was deleted. The lock is only held with the GIL.
    callable: Mutex<Option<Py<PyAny>>>,
    /// The last call's failure, if it failed. Only used with the GIL.
    failure: ArcSwapOption<FailedCall>,
    running: Arc<RunningCalls>,
    /// Threads that wait for a call of the client, once per call, with the
    /// process generation: those of a parent do not wait in its child.
    waiting: ArcSwap<Vec<(u32, u64)>>,
}

/// A thread that waits for a call of the client, until it is dropped.
pub(crate) struct WaitingThread {
    provider: PythonProvider,
    thread: (u32, u64),
}

impl Drop for WaitingThread {
    fn drop(&mut self) {
        self.provider.0.waiting.rcu(|threads| {
            let mut threads = Vec::clone(threads);
            if let Some(at) = threads.iter().position(|thread| *thread == self.thread) {
                threads.swap_remove(at);
            }
            threads
        });
    }
}

/// Why a call failed. `reason` names only the exception's class: its text may
/// hold a secret, and `reason` is logged.
struct FailedCall {
    reason: String,
    exception: Option<Py<PyAny>>,
}

/// Number of running calls in this process. A fork's child has none of its
/// parent's.
#[derive(Default)]
struct RunningCalls {
    generation: AtomicU32,
    count: AtomicUsize,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl RunningCalls {
    /// Counts one more call; `None` if there are too many.
    fn enter(self: &Arc<Self>) -> Option<RunningCall> {
        let generation = process_generation();
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.count.store(0, Ordering::Relaxed);
        }
        let call = RunningCall(Arc::clone(self));
        // If there are too many, dropping `call` reverts the addition.
        (self.count.fetch_add(1, Ordering::Relaxed) < MAX_RUNNING).then_some(call)
    }
}

/// A running call, counted until it is dropped.
struct RunningCall(Arc<RunningCalls>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PythonProvider {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self(Arc::new(Inner {
            callable: Mutex::new(Some(callable)),
            failure: ArcSwapOption::empty(),
            running: Arc::default(),
            waiting: ArcSwap::default(),
        }))
    }

    /// Notes that the current thread waits for a call of the client.
    pub(crate) fn thread_waits(&self, py: Python<'_>) -> PyResult<WaitingThread> {
        // The number that Python's import locks have, also where threads are patched.
        let thread = py.import("_thread")?.call_method0("get_ident")?.extract()?;
        let thread = (process_generation(), thread);
        self.0.waiting.rcu(|threads| {
            let mut threads = Vec::clone(threads);
            threads.push(thread);
            threads
        });
        Ok(WaitingThread {
            provider: self.clone(),
            thread,
        })
    }

    /// The failure of a call on `thread` that can never return: it waits for its own
    /// client, or to import a module whose import waits for the client.
    fn deadlock(&self, py: Python<'_>, thread: u64) -> Option<Failure> {
        let waiting = self.0.waiting.load_full();
        let here = process_generation();
        let waiting = waiting.iter().filter(|(process, _)| *process == here);
        let waiting: Vec<u64> = waiting.map(|(_, thread)| *thread).collect();
        if waiting.contains(&thread) {
            let reason = "it calls its own client, whose call waits for it; get the credentials \
                          without this client"
                .to_owned();
            return Some(self.record_failure(reason, None));
        }
        let worker = py.import("layerfi_auth._worker").ok()?;
        let module = worker.call_method1("blocking_import", (thread, waiting));
        let module: Option<String> = module.ok()?.extract().ok()?;
        let module = module?;
        let reason = format!(
            "it waits for the import of module {module}, and the thread that imports {module} \
             waits for the token; call the client after the import, or import before the call \
             what the provider needs"
        );
        Some(self.record_failure(reason, None))
    }

    fn callable(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        let callable = &self.0.callable;
        callable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the garbage collector the callable, and the exception that it raised:
    /// its traceback has the callable's variables.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(callable) = self.0.callable.try_lock() {
            visit.call(&*callable)?;
        }
        let failure = self.0.failure.load_full();
        visit.call(failure.as_ref().and_then(|one| one.exception.as_ref()))
    }

    /// Lets go of them. A call of the callable that is running continues.
    pub(crate) fn clear(&self) {
        let callable = self.callable().take();
        // Dropping an object may run any code, which must not wait for the lock.
        drop(callable);
        self.0.failure.store(None);
    }

    /// The exception that caused an error, if the callable raised one.
    pub(crate) fn cause(&self, py: Python<'_>, error: &Error) -> Option<Py<PyAny>> {
        if error.kind() != ErrorKind::Credentials {
            return None;
        }
        let failed = self.0.failure.load_full()?;
        let exception = failed.exception.as_ref()?;
        error
            .message()
            .contains(&failed.reason)
            .then(|| exception.clone_ref(py))
    }

    fn record_failure(&self, reason: String, exception: Option<Py<PyAny>>) -> Failure {
        let failure = reason.clone().into();
        self.0
            .failure
            .store(Some(Arc::new(FailedCall { reason, exception })));
        failure
    }
}

impl CredentialsProvider for PythonProvider {
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let Some(running) = self.0.running.enter() else {
            return Err(format!("{MAX_RUNNING} earlier calls have not returned").into());
        };
        let (sender, mut answer) = oneshot::channel();
        let thread = Arc::<AtomicU64>::default();
        let given = ProviderAnswer {
            sender: Mutex::new(Some(sender)),
            provider: self.clone(),
            thread: Arc::clone(&thread),
            _running: running,
            _inside: Inside::now(),
        };
        let provider = self.clone();
        // Starting a Python thread waits for the GIL, which the engine's own
        // thread must not do.
        start_thread("layerfi-creds", move || {
            let _inside = Inside::enter();
            if gil::is_open() {
                Python::try_attach(|py| {
                    let callable = provider.callable().as_ref().map(|one| one.clone_ref(py));
                    let Some(callable) = callable else {
                        return given.send(Err("the client was deleted".into()));
                    };
                    let args = (callable, given);
                    // If it fails, `given` is dropped, which ends the wait below.
                    let _ = in_thread(py, "ask_provider", args);
                });
            }
        })
        .map_err(|why| format!("no thread could be started for it: {why}"))?;
        loop {
            match tokio::time::timeout(DEADLOCK_CHECK_INTERVAL, &mut answer).await {
                Ok(Ok(credentials)) => return credentials,
                Ok(Err(_)) => return Err("its thread ended, or could not be started".into()),
                Err(_) => {}
            }
            // Nothing is checked unless a thread waits; background refreshes have none.
            let thread = thread.load(Ordering::Relaxed);
            if thread == 0 || self.0.waiting.load().is_empty() || !gil::is_open() {
                continue;
            }
            let provider = self.clone();
            let (reply, check) = oneshot::channel();
            // Without a thread, the next check follows.
            let _ = start_thread("layerfi-provider", move || {
                let _inside = Inside::enter();
                let failure = Python::try_attach(|py| provider.deadlock(py, thread));
                let _ = reply.send(failure.flatten());
            });
            if let Ok(Some(failure)) = check.await {
                return Err(failure);
            }
        }
    }
}

/// Takes the outcome of one call of the callable, on the thread that made it.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct ProviderAnswer {
    sender: Mutex<Option<oneshot::Sender<Result<Credentials, Failure>>>>,
    provider: PythonProvider,
    /// The thread of the callable; 0 before it has started.
    thread: Arc<AtomicU64>,
    _running: RunningCall,
    _inside: Inside,
}

impl ProviderAnswer {
    fn send(&self, answer: Result<Credentials, Failure>) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.take() {
            // Fails if the engine's call has timed out.
            let _ = sender.send(answer);
        }
    }
}

#[pymethods]
impl ProviderAnswer {
    /// Takes the number of the thread, before it calls the callable.
    fn begin(&self, thread: u64) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// Takes the value that the callable returned.
    fn take(&self, value: &Bound<'_, PyAny>) {
        let pair: PyResult<(String, String)> = value.extract();
        self.send(match pair {
            Ok((client_id, client_secret)) => {
                self.provider.0.failure.store(None);
                Ok(Credentials::new(client_id, client_secret))
            }
            Err(_) => {
                let found = kind(value);
                let reason = format!("it returned {found}, not (client_id, client_secret)");
                Err(self.provider.record_failure(reason, None))
            }
        });
    }

    /// Takes the exception that the callable raised.
    fn fail(&self, error: &Bound<'_, PyAny>) {
        let class = error.get_type().qualname();
        let class = class.map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        let exception = Some(error.clone().unbind());
        let failure = self
            .provider
            .record_failure(format!("it raised {class}"), exception);
        self.send(Err(failure));
    }
}

/// What a value is, without the value itself, which may be the secret.
fn kind(value: &Bound<'_, PyAny>) -> String {
    let name = |value: &Bound<'_, PyAny>| {
        let name = value.get_type().qualname();
        name.map_or_else(|_| "an object".to_owned(), |name| name.to_string())
    };
    if value.is_none() {
        return "None".to_owned();
    }
    match value.cast::<PyTuple>() {
        Ok(items) => {
            let names: Vec<String> = items.iter().take(3).map(|item| name(&item)).collect();
            match names.as_slice() {
                [id, secret] if id == "str" && secret == "str" => {
                    "texts that are not valid Unicode".to_owned()
                }
                names => format!("a tuple of {} ({})", items.len(), names.join(", ")),
            }
        }
        Err(_) if value.hasattr("__await__").unwrap_or(false) => {
            format!("a {} (it must not be async)", name(value))
        }
        Err(_) => format!("a value of the type {}", name(value)),
    }
}
