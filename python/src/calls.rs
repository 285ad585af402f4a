//! One body for each call and its `_async` twin: a future of the engine's that
//! a thread waits for, or whose result a courier carries to an event loop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use layerfi_auth::{Error, Result, TokenReader, blocking};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::courier::{Call, Courier, same};
use crate::errors::{self, invalid_argument, lost, no_way_back};
use crate::provider::PythonProvider;
use crate::tokens::{AccessToken, BusinessToken, Place, WhoAmI};
use crate::{gil, wait};

/// What a client and its calls in the air share.
pub(crate) struct Shared {
    pub(crate) client: blocking::Client,
    pub(crate) place: Arc<Place>,
    provider: Option<PythonProvider>,
    current: ArcSwapOption<Current>,
    fast: Mutex<Fast>,
}

/// The way of a hit where no other thread is in it, which under a GIL is
/// always. Only ever tried and never waited for: beside it there is `current`.
struct Fast {
    reader: TokenReader,
    current: Option<Arc<Current>>,
}

/// The Python object of the token that was last handed out. (It keeps the
/// token alive, so that no other can come to lie at its address.)
struct Current {
    token: layerfi_auth::AccessToken,
    object: Py<AccessToken>,
}

impl Shared {
    pub(crate) fn new(client: blocking::Client, provider: Option<PythonProvider>) -> Arc<Self> {
        let engine = client.as_async();
        let place = Arc::new(Place {
            environment: engine.environment(),
            api_url: engine.api_url().to_owned(),
            auth_url: engine.auth_url().to_owned(),
            scope: engine.scope().to_owned(),
        });
        let fast = Fast {
            reader: client.reader(),
            current: None,
        };
        Arc::new(Self {
            client,
            place,
            provider,
            current: ArcSwapOption::empty(),
            fast: Mutex::new(fast),
        })
    }

    /// The exception object of an error.
    pub(crate) fn exception<'py>(
        &self,
        py: Python<'py>,
        error: &Error,
    ) -> PyResult<Bound<'py, PyAny>> {
        let exception = errors::exception(py, error)?;
        let cause = self.provider.as_ref().and_then(|one| one.cause(py, error));
        if let Some(cause) = cause {
            exception.setattr("__cause__", cause)?;
        }
        Ok(exception)
    }

    /// What is raised for an error.
    pub(crate) fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        self.exception(py, error)
            .map_or_else(|error| error, PyErr::from_value)
    }

    /// The access token's Python object, if there is a token at hand.
    #[inline]
    pub(crate) fn held_token(&self, py: Python<'_>) -> PyResult<Option<Py<AccessToken>>> {
        self.held(py, |current| current.object.clone_ref(py))
    }

    /// The Python string of its header, likewise.
    #[inline]
    pub(crate) fn held_authorization(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
        self.held(py, |current| {
            current.object.get().authorization(py).clone().unbind()
        })
    }

    #[inline]
    fn held<R>(&self, py: Python<'_>, get: impl Fn(&Current) -> R) -> PyResult<Option<R>> {
        let Ok(mut fast) = self.fast.try_lock() else {
            return match self.client.borrow_token() {
                Some(token) => self.with_current(py, &token, get).map(Some),
                None => Ok(None),
            };
        };
        let Fast { reader, current } = &mut *fast;
        let Some(token) = reader.borrow_token() else {
            return Ok(None);
        };
        match current {
            Some(current) if is_same(&current.token, token) => Ok(Some(get(current))),
            _ => {
                let fresh = self.make_current(py, token)?;
                let result = get(&fresh);
                *current = Some(fresh);
                Ok(Some(result))
            }
        }
    }

    #[inline]
    fn with_current<R>(
        &self,
        py: Python<'_>,
        token: &layerfi_auth::AccessToken,
        get: impl Fn(&Current) -> R,
    ) -> PyResult<R> {
        if let Some(current) = &*self.current.load()
            && is_same(&current.token, token)
        {
            return Ok(get(current));
        }
        self.make_current(py, token).map(|current| get(&current))
    }

    #[cold]
    fn make_current(
        &self,
        py: Python<'_>,
        token: &layerfi_auth::AccessToken,
    ) -> PyResult<Arc<Current>> {
        let fresh = Arc::new(Current::new(py, token)?);
        let mut before = self.current.load();
        loop {
            // Making one may let another thread in, which made one for the same token.
            if let Some(current) = &*before
                && is_same(&current.token, token)
            {
                return Ok(Arc::clone(current));
            }
            let found = self
                .current
                .compare_and_swap(&*before, Some(Arc::clone(&fresh)));
            if same(found.as_ref(), before.as_ref()) {
                return Ok(fresh);
            }
            before = found;
        }
    }

    /// The client, with a timeout of this call's own where one is given.
    fn client_for(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<blocking::Client> {
        match timeout {
            None => Ok(self.client.clone()),
            Some(seconds) => Ok(self.client.with_timeout(call_timeout(py, seconds)?)),
        }
    }

    /// Makes a call and waits for it.
    pub(crate) fn block<T, F>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        call: impl FnOnce(layerfi_auth::Client) -> F + Send,
    ) -> PyResult<T::Object>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let client = self.client_for(py, timeout)?;
        let raise = |error| self.raise(py, &error);
        wait::block(py, &client, call, raise)?.into_object(py, self)
    }

    /// Starts a call. `post(settle, value, error)` is called when it is over,
    /// from another thread.
    pub(crate) fn start<T, F>(
        self: &Arc<Self>,
        py: Python<'_>,
        to: Receiver,
        timeout: Option<f64>,
        call: impl FnOnce(layerfi_auth::Client) -> F + Send,
    ) -> PyResult<PendingCall>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let client = self.client_for(py, timeout)?;
        if !gil::is_open() {
            return Err(no_way_back(
                py,
                "the interpreter is shutting down",
                "await it earlier, or make the blocking call",
            ));
        }
        COURIER.ready(py).map_err(|error| {
            let told = no_way_back(
                py,
                "no thread could be started to bring the call's result",
                "look at the process's limits on threads and memory",
            );
            told.set_cause(py, Some(error));
            told
        })?;
        let patience = client.as_async().timeout() + GRACE;
        let mut reply = Reply {
            receiver: Some(to),
            shared: Arc::clone(self),
        };
        let start = || {
            client.start(|client| {
                let call = call(client);
                async move {
                    let result = call.await;
                    reply.send(result);
                    Ok(())
                }
            })
        };
        let pending = gil::released(py, start).map_err(|error| self.raise(py, &error))?;
        Ok(PendingCall {
            pending: Mutex::new(Some(pending)),
            patience: patience.as_secs_f64(),
        })
    }
}

/// Whether the two are one object. Their texts may be equal for all that.
#[inline]
fn is_same(one: &layerfi_auth::AccessToken, other: &layerfi_auth::AccessToken) -> bool {
    let address = |token: &layerfi_auth::AccessToken| token.authorization().as_bytes().as_ptr();
    address(one) == address(other)
}

impl Current {
    fn new(py: Python<'_>, token: &layerfi_auth::AccessToken) -> PyResult<Self> {
        Ok(Self {
            token: token.clone(),
            object: Py::new(py, AccessToken::new(token.clone()))?,
        })
    }
}

/// As good as for ever, and no sum of times overflows.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// How long after its own end a call's result may be on its way.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn call_timeout(py: Python<'_>, seconds: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout.min(LONGEST_TIMEOUT)),
        _ => Err(invalid_argument(
            py,
            "timeout",
            &format!("timeout is {seconds} seconds"),
            "use a positive number of seconds",
        )),
    }
}

/// What a call of the engine's gives, and the Python object that it becomes.
pub(crate) trait Answer: Send + 'static {
    /// The object.
    type Object: for<'py> IntoPyObject<'py> + 'static;

    fn into_object(self, py: Python<'_>, shared: &Shared) -> PyResult<Self::Object>;
}

impl Answer for layerfi_auth::AccessToken {
    type Object = Py<AccessToken>;

    fn into_object(self, py: Python<'_>, shared: &Shared) -> PyResult<Self::Object> {
        shared.with_current(py, &self, |current| current.object.clone_ref(py))
    }
}

impl Answer for layerfi_auth::WhoAmI {
    type Object = Py<WhoAmI>;

    fn into_object(self, py: Python<'_>, _: &Shared) -> PyResult<Self::Object> {
        Py::new(py, WhoAmI(self))
    }
}

impl Answer for layerfi_auth::BusinessToken {
    type Object = Py<BusinessToken>;

    fn into_object(self, py: Python<'_>, shared: &Shared) -> PyResult<Self::Object> {
        Py::new(py, BusinessToken::new(self, Arc::clone(&shared.place)))
    }
}

/// Who waits for a call on an event loop.
pub(crate) struct Receiver {
    /// Calls a function with its arguments on the loop's own thread.
    pub(crate) post: Py<PyAny>,
    /// Takes a value and an error, one of them `None`.
    pub(crate) settle: Py<PyAny>,
}

/// Answers exactly once: with nothing sent, it says that the task was lost.
struct Reply {
    receiver: Option<Receiver>,
    shared: Arc<Shared>,
}

type MakeObject = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A result on its way to an event loop.
pub(crate) struct Delivery {
    receiver: Receiver,
    object: MakeObject,
}

pub(crate) static COURIER: Courier<Delivery> = Courier::new("layerfi-answers", call);

impl Reply {
    fn send<T: Answer>(&mut self, result: Result<T>) {
        let Some(receiver) = self.receiver.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let object: MakeObject = Box::new(move |py| match result {
            Ok(answer) => answer.into_object(py, &shared)?.into_py_any(py),
            Err(error) => Err(shared.raise(py, &error)),
        });
        COURIER.send(Delivery { receiver, object });
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // The waiter is gone (nobody minds another answer), or the call panicked.
        if let Some(receiver) = self.receiver.take() {
            let object: MakeObject = Box::new(|py| Err(lost(py)));
            COURIER.send(Delivery { receiver, object });
        }
    }
}

fn call(py: Python<'_>, delivery: Delivery) -> Option<Call> {
    let Delivery { receiver, object } = delivery;
    let (value, error) = match object(py) {
        Ok(value) => (value, py.None()),
        Err(error) => (py.None(), error.into_value(py).into_any()),
    };
    let args = (receiver.settle, value, error).into_pyobject(py).ok()?;
    Some((receiver.post, args.unbind()))
}

/// A call in the air, started for an event loop.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct PendingCall {
    pending: Mutex<Option<blocking::Pending<()>>>,
    patience: f64,
}

#[pymethods]
impl PendingCall {
    /// In how many seconds its result has come, or never will.
    #[getter]
    fn patience(&self) -> f64 {
        self.patience
    }

    /// Ends this wait; a token request that others wait for goes on.
    fn cancel(&self) {
        let mut pending = self
            .pending
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(pending.take());
    }
}
