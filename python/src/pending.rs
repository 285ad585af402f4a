//! Calls in progress: engine futures that a Python thread waits for,
//! or whose result a worker passes to an event loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use layerfi_auth::blocking::{self, Client};
use layerfi_auth::{Error, Result};
use pyo3::IntoPyObjectExt as _;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;

use crate::client_state::ClientState;
use crate::errors::{call_not_started, call_without_result, guarded, no_thread};
use crate::event_loop::EventLoopTarget;
use crate::gil::{self, SIGNAL_CHECK_INTERVAL};
use crate::greenlets::Waiter;
use crate::logging::Quiet;
use crate::provider::WaitingThread;
use crate::tokens::{AccessToken, BusinessToken, WhoAmI};
use crate::worker::{Call, Worker};

/// Time after a call's timeout within which its result reaches the event loop.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Passes results of async calls to their event loops.
pub(crate) static WORKER: Worker<Completion> = Worker::new("layerfi-results", to_call);

/// An engine result that becomes a Python object.
pub(crate) trait ToPython: Send + 'static {
    /// The Python object.
    type Object: for<'py> IntoPyObject<'py> + for<'py> FromPyObjectOwned<'py> + 'static;

    fn to_python(self, py: Python<'_>, state: &ClientState) -> PyResult<Self::Object>;
}

impl ToPython for layerfi_auth::AccessToken {
    type Object = Py<AccessToken>;

    fn to_python(self, py: Python<'_>, state: &ClientState) -> PyResult<Self::Object> {
        state.token_object(py, &self)
    }
}

impl ToPython for layerfi_auth::WhoAmI {
    type Object = Py<WhoAmI>;

    fn to_python(self, py: Python<'_>, _: &ClientState) -> PyResult<Self::Object> {
        Py::new(py, WhoAmI(self))
    }
}

impl ToPython for layerfi_auth::BusinessToken {
    type Object = Py<BusinessToken>;

    fn to_python(self, py: Python<'_>, _: &ClientState) -> PyResult<Self::Object> {
        Py::new(py, BusinessToken { token: self })
    }
}

/// The client, with this call's own timeout if one is given.
fn client_with(state: &ClientState, timeout: Option<Duration>) -> Client {
    match timeout {
        None => state.client.clone(),
        Some(timeout) => state.client.with_timeout(timeout),
    }
}

/// Starts a call and waits for its result. Other Python threads run meanwhile,
/// and other greenlets where the program has patched blocking functions. A
/// signal whose Python handler raises ends the wait and cancels the call.
pub(crate) fn block<T, F>(
    py: Python<'_>,
    state: &Arc<ClientState>,
    timeout: Option<Duration>,
    call: impl FnOnce(layerfi_auth::Client) -> F + Send,
) -> PyResult<T::Object>
where
    T: ToPython,
    F: Future<Output = Result<T>> + Send + 'static,
{
    if let Some(waiter) = Waiter::current(py)? {
        let pending = start(py, state, waiter.target()?, timeout, call)?;
        let pending = Py::new(py, pending)?.into_any();
        return waiter.wait(pending)?.extract().map_err(Into::into);
    }
    let client = client_with(state, timeout);
    let raise = |error: Error| state.raise(py, &error);
    let _waiting = state.thread_waits(py)?;
    let _quiet = Quiet::unless_debugging(py);
    guarded(py, || {
        let mut waiting = client.waiting(call).map_err(raise)?;
        loop {
            if let Some(result) = gil::released(py, || waiting.wait(SIGNAL_CHECK_INTERVAL)) {
                return result.map_err(raise)?.to_python(py, state);
            }
            py.check_signals()?;
        }
    })
}

/// Starts a call for an event loop or a greenlet. `target` gets the result from
/// another thread.
pub(crate) fn start<T, F>(
    py: Python<'_>,
    state: &Arc<ClientState>,
    target: EventLoopTarget,
    timeout: Option<Duration>,
    call: impl FnOnce(layerfi_auth::Client) -> F + Send,
) -> PyResult<PendingCall>
where
    T: ToPython,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let client = client_with(state, timeout);
    if !gil::is_open() {
        return Err(call_not_started(
            py,
            "the interpreter is shutting down",
            "await it earlier, or make the blocking call",
        ));
    }
    WORKER
        .ensure_started(py)
        .map_err(|cause| no_thread(py, cause))?;
    let waiting = state.thread_waits(py)?;
    let max_wait = client.as_async().timeout() + DELIVERY_TIMEOUT;
    let has_started = Arc::new(FirstOf::new());
    let mut sender = ResultSender {
        target: Some(target),
        state: Arc::clone(state),
        has_started: Arc::clone(&has_started),
        _quiet: Quiet::unless_debugging(py),
    };
    let start = || {
        client.start(|client| {
            let call = call(client);
            async move {
                let result = call.await;
                sender.send(result);
                Ok(())
            }
        })
    };
    let pending = guarded(py, || {
        gil::released(py, start).map_err(|error| state.raise(py, &error))
    })?;
    if !has_started.set() {
        return Err(call_without_result(py));
    }
    Ok(PendingCall {
        pending: Mutex::new(Some((pending, waiting))),
        max_wait: max_wait.as_secs_f64(),
    })
}

/// Sends one result to an event loop. If it is dropped before, it sends an
/// error instead.
struct ResultSender {
    target: Option<EventLoopTarget>,
    state: Arc<ClientState>,
    has_started: Arc<FirstOf>,
    _quiet: Quiet,
}

/// Flag that can be set once. It decides who reports that a call has no result: the
/// function that starts the call, or the call's [`ResultSender`]. If both did, the
/// event loop would print the second error.
struct FirstOf(AtomicBool);

impl FirstOf {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Returns `false` if it was set before.
    fn set(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

type MakeObject = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// The result of an async call, with its target.
pub(crate) struct Completion {
    target: EventLoopTarget,
    object: MakeObject,
}

impl ResultSender {
    fn send<T: ToPython>(&mut self, result: Result<T>) {
        let Some(target) = self.target.take() else {
            return;
        };
        let state = Arc::clone(&self.state);
        let object: MakeObject = Box::new(move |py| match result {
            Ok(value) => value.to_python(py, &state)?.into_py_any(py),
            Err(error) => Err(state.raise(py, &error)),
        });
        WORKER.submit(Completion { target, object });
    }
}

impl Drop for ResultSender {
    fn drop(&mut self) {
        // The call panicked, or it was cancelled and ignores this result.
        if let Some(target) = self.target.take()
            && !self.has_started.set()
        {
            let object: MakeObject = Box::new(|py| Err(call_without_result(py)));
            WORKER.submit(Completion { target, object });
        }
    }
}

fn to_call(py: Python<'_>, completion: Completion) -> Option<Call> {
    let Completion { target, object } = completion;
    let (value, error) = match object(py) {
        Ok(value) => (value, py.None()),
        Err(error) => (py.None(), error.into_value(py).into_any()),
    };
    let args = (target.settle, value, error).into_pyobject(py).ok()?;
    Some((target.post, args.unbind()))
}

/// A call in progress that was started for an event loop.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct PendingCall {
    pending: Mutex<Option<(blocking::Pending<()>, Option<WaitingThread>)>>,
    max_wait: f64,
}

#[pymethods]
impl PendingCall {
    /// Seconds after which the result has arrived or never will.
    #[getter]
    fn max_wait(&self) -> f64 {
        self.max_wait
    }

    /// Ends this wait. A token request that other callers wait for continues.
    fn cancel(&self) {
        drop(
            self.pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
