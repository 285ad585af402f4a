//! State that a client shares with its pending calls: the engine's client, and
//! the Python object of the current access token.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use layerfi_auth::{BusinessToken, BusinessTokenOptions, Error, TokenReader, blocking};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors;
use crate::provider::{PythonProvider, WaitingThread};
use crate::tokens::AccessToken;
use crate::try_cell::TryCell;
use crate::worker::ptr_eq;

/// State that a client shares with its pending calls.
pub(crate) struct ClientState {
    pub(crate) client: blocking::Client,
    provider: Option<PythonProvider>,
    current: ArcSwapOption<Current>,
    fast: TryCell<FastPath>,
}

/// Fast path of a cache hit, for one thread at a time; with a GIL that is every
/// call. Others use `ClientState::current`.
struct FastPath {
    reader: TokenReader,
    current: Option<Arc<Current>>,
}

/// The Python object of the token that was returned last. It keeps the engine's
/// token alive, so that no other token can have the same address.
struct Current {
    token: layerfi_auth::AccessToken,
    object: Py<AccessToken>,
}

impl ClientState {
    pub(crate) fn new(client: blocking::Client, provider: Option<PythonProvider>) -> Arc<Self> {
        let fast = FastPath {
            reader: client.reader(),
            current: None,
        };
        Arc::new(Self {
            client,
            provider,
            current: ArcSwapOption::empty(),
            fast: TryCell::new(fast),
        })
    }

    /// Notes that the current thread waits for a call, where the credentials
    /// provider could wait for this thread.
    pub(crate) fn thread_waits(&self, py: Python<'_>) -> PyResult<Option<WaitingThread>> {
        let provider = self.provider.as_ref();
        provider
            .map(|provider| provider.thread_waits(py))
            .transpose()
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

    /// The error as a `PyErr`.
    pub(crate) fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        self.exception(py, error)
            .map_or_else(|error| error, PyErr::from_value)
    }

    /// The Python object of the cached access token, if there is a valid one.
    #[inline]
    pub(crate) fn cached_token(&self, py: Python<'_>) -> PyResult<Option<Py<AccessToken>>> {
        self.cached(py, |current| current.object.clone_ref(py))
    }

    /// The header with the cached access token, if there is a valid one.
    #[inline]
    pub(crate) fn cached_authorization(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
        self.cached(py, |current| current.object.get().shared_authorization(py))
    }

    /// A business token from the cache; `None` also for an id that is not valid.
    #[inline]
    pub(crate) fn cached_business_token(
        &self,
        id: &str,
        options: BusinessTokenOptions,
    ) -> Option<BusinessToken> {
        let client = self.client.as_async();
        let business = client.business_id(id).ok()?;
        client.cached_business_token(&business, options)
    }

    /// May be called where PyO3 does not know that the thread is attached: what is
    /// rare attaches it again.
    #[inline]
    fn cached<R>(&self, py: Python<'_>, get: impl Fn(&Current) -> R) -> PyResult<Option<R>> {
        let hit = |fast: &mut FastPath| {
            let FastPath { reader, current } = fast;
            let Some(token) = reader.borrow_token() else {
                return Ok(None);
            };
            match current {
                Some(current) if is_same_object(&current.token, token) => Ok(Some(get(current))),
                _ => self.replace_current(current, token, &get).map(Some),
            }
        };
        let hit = self.fast.with(py, hit);
        hit.unwrap_or_else(|| self.cached_for_others(&get))
    }

    /// A hit while another call uses the fast path.
    #[cold]
    fn cached_for_others<R>(&self, get: &impl Fn(&Current) -> R) -> PyResult<Option<R>> {
        Python::attach(|py| match self.client.borrow_token() {
            Some(token) => self.with_current(py, &token, get).map(Some),
            None => Ok(None),
        })
    }

    /// The first hit of a token.
    #[cold]
    fn replace_current<R>(
        &self,
        current: &mut Option<Arc<Current>>,
        token: &layerfi_auth::AccessToken,
        get: &impl Fn(&Current) -> R,
    ) -> PyResult<R> {
        Python::attach(|py| {
            let made = self.make_current(py, token)?;
            let result = get(&made);
            *current = Some(made);
            Ok(result)
        })
    }

    /// The Python object of a token of this client's.
    pub(crate) fn token_object(
        &self,
        py: Python<'_>,
        token: &layerfi_auth::AccessToken,
    ) -> PyResult<Py<AccessToken>> {
        self.with_current(py, token, |current| current.object.clone_ref(py))
    }

    #[inline]
    fn with_current<R>(
        &self,
        py: Python<'_>,
        token: &layerfi_auth::AccessToken,
        get: impl Fn(&Current) -> R,
    ) -> PyResult<R> {
        if let Some(current) = &*self.current.load()
            && is_same_object(&current.token, token)
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
        let made = Arc::new(Current {
            token: token.clone(),
            object: Py::new(py, AccessToken::new(token.clone()))?,
        });
        let mut before = self.current.load();
        loop {
            // Creating the object may let another thread run, which may have
            // created one for the same token.
            if let Some(current) = &*before
                && is_same_object(&current.token, token)
            {
                return Ok(Arc::clone(current));
            }
            let found = self
                .current
                .compare_and_swap(&*before, Some(Arc::clone(&made)));
            if ptr_eq(found.as_ref(), before.as_ref()) {
                return Ok(made);
            }
            before = found;
        }
    }
}

/// Whether both are one object. Different tokens may have equal texts.
#[inline]
fn is_same_object(one: &layerfi_auth::AccessToken, other: &layerfi_auth::AccessToken) -> bool {
    let address = |token: &layerfi_auth::AccessToken| token.authorization().as_bytes().as_ptr();
    address(one) == address(other)
}
