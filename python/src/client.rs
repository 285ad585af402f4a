//! The client: blocking calls, and the calls that the `_async` methods start.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use layerfi_auth::{BatchOptions, BusinessId, BusinessTokenOptions, Result, SessionDuration};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::args::{Arg, Seconds};
use crate::batch::Batch;
use crate::client_state::ClientState;
use crate::errors::raise;
use crate::event_loop::EventLoopTarget;
use crate::pending::{self, PendingCall, ToPython as _};
use crate::references::References;
use crate::tokens::{AccessToken, BusinessToken, WhoAmI};
use crate::{gil, logging, options};

/// Marks options that `from_env` passes to the constructor. Not a public option.
const FROM_ENV: &str = "_from_env";

/// Native base class of `layerfi_auth.Client`.
///
/// It has the same name, because errors about arguments show it.
#[pyclass(
    name = "Client",
    frozen,
    subclass,
    weakref,
    module = "layerfi_auth._native"
)]
pub(crate) struct ClientBase {
    state: Arc<ClientState>,
    references: Py<References>,
}

impl ClientBase {
    #[inline]
    pub(crate) fn state(&self) -> &ClientState {
        &self.state
    }

    fn business(&self, business_id: &Bound<'_, PyAny>) -> PyResult<BusinessId> {
        let text = Arg::of_call("business_id", business_id).id()?;
        self.state
            .client
            .business_id(&text)
            .map_err(|error| raise(business_id.py(), &error))
    }

    fn cached_business_token(
        &self,
        py: Python<'_>,
        business: &BusinessId,
        options: BusinessTokenOptions,
    ) -> PyResult<Option<Py<BusinessToken>>> {
        self.state
            .client
            .as_async()
            .cached_business_token(business, options)
            .map(|token| token.to_python(py, &self.state))
            .transpose()
    }
}

type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

fn session_duration(seconds: Given<'_, '_>) -> PyResult<SessionDuration> {
    let Some(seconds) = seconds else {
        return Ok(SessionDuration::default());
    };
    let number =
        Arg::of_call("session_duration", seconds).int_for_engine(1..=86_400, " seconds")?;
    SessionDuration::from_secs(number).map_err(|error| raise(seconds.py(), &error))
}

/// The timeout of one call. It is checked on a cache hit too, so that a wrong
/// value always fails.
pub(crate) fn call_timeout(timeout: Given<'_, '_>) -> PyResult<Option<Duration>> {
    timeout
        .map(|timeout| Arg::of_call("timeout", timeout).seconds(Seconds::Positive))
        .transpose()
}

pub(crate) fn business_token_options(
    session_duration: Given<'_, '_>,
    min_remaining: Given<'_, '_>,
) -> PyResult<BusinessTokenOptions> {
    let mut options = BusinessTokenOptions::from(self::session_duration(session_duration)?);
    options.min_remaining = min_remaining
        .map(|value| Arg::of_call("min_remaining", value).seconds(Seconds::NotNegative))
        .transpose()?;
    Ok(options)
}

async fn token(client: layerfi_auth::Client) -> Result<layerfi_auth::AccessToken> {
    client.token().await
}

async fn renew_token(
    client: layerfi_auth::Client,
    refused: layerfi_auth::AccessToken,
) -> Result<layerfi_auth::AccessToken> {
    client.renew_token(&refused).await
}

async fn renew_business_token(
    client: layerfi_auth::Client,
    business: BusinessId,
    options: BusinessTokenOptions,
    refused: layerfi_auth::Secret,
) -> Result<layerfi_auth::BusinessToken> {
    client
        .renew_business_token(&business, options, refused)
        .await
}

/// The business token that a page reports as refused, from an argument.
fn refused_business_token(refused: &Bound<'_, PyAny>) -> PyResult<layerfi_auth::Secret> {
    let argument = Arg::of_call("refused", refused);
    match refused.cast::<BusinessToken>() {
        Ok(refused) => Ok(refused.get().token.secret().into()),
        Err(_) if refused.is_instance_of::<PyString>() => Ok(argument.text()?.into()),
        Err(_) => Err(argument.expected("a BusinessToken or a token's text")),
    }
}

/// The token that a server refused, from an argument.
fn refused_token(refused: &Bound<'_, PyAny>) -> PyResult<layerfi_auth::AccessToken> {
    match refused.cast::<AccessToken>() {
        Ok(refused) => Ok(refused.get().token.clone()),
        Err(_) => Err(Arg::of_call("refused", refused).expected("an AccessToken")),
    }
}

async fn whoami(client: layerfi_auth::Client) -> Result<layerfi_auth::WhoAmI> {
    client.whoami().await
}

async fn business_token(
    client: layerfi_auth::Client,
    business: BusinessId,
    options: BusinessTokenOptions,
) -> Result<layerfi_auth::BusinessToken> {
    client.business_token_with(&business, options).await
}

async fn mint(
    client: layerfi_auth::Client,
    business: BusinessId,
    duration: SessionDuration,
) -> Result<layerfi_auth::BusinessToken> {
    client.mint_business_token(&business, duration).await
}

#[pymethods]
impl ClientBase {
    #[new]
    #[pyo3(
        signature = (**options),
        text_signature = "(*, environment=None, client_id=None, client_secret=None, \
            client_secret_file=None, credentials=None, api_url=None, auth_url=None, scope=None, \
            basic_encoding=None, ca_file=None, ca_pem=None, trust=None, proxy=None, \
            allow_http_loopback=None, allow_opaque_business_ids=None, timeout=None, \
            connect_timeout=None, attempt_timeout=None, max_attempts=None, \
            business_token_capacity=None, keep_warm=None, shared_cache=None, \
            shared_cache_key=None, shared_cache_prefix=None, shared_business_tokens=None, \
            user_agent=None)"
    )]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut builder = layerfi_auth::Client::builder();
        let mut provider = None;
        if let Some(options) = options {
            if options.contains(FROM_ENV)? {
                options.del_item(FROM_ENV)?;
                builder = layerfi_auth::ClientBuilder::from_env().map_err(|e| raise(py, &e))?;
            }
            (builder, provider) = options::apply(builder, options)?;
        }
        logging::start();
        let client =
            gil::released(py, || builder.build_blocking()).map_err(|error| raise(py, &error))?;
        let references = References::new(py, provider.clone())?;
        let state = ClientState::new(client, provider);
        Ok(Self { state, references })
    }

    /// Make a client from environment variables.
    ///
    /// These are LAYER_ENVIRONMENT, LAYER_CLIENT_ID, LAYER_CLIENT_SECRET or
    /// LAYER_CLIENT_SECRET_FILE, LAYER_API_URL, LAYER_AUTH_URL, LAYER_SCOPE, LAYER_CA_FILE,
    /// LAYER_TRUST, LAYER_SHARED_CACHE, LAYER_SHARED_CACHE_KEY and LAYER_ALLOW_HTTP_LOOPBACK.
    /// Arguments, which are those of ``Client``, replace them.
    ///
    /// For example:
    ///
    ///     client = Client.from_env()
    ///     client = Client.from_env(timeout=5)
    #[classmethod]
    #[pyo3(signature = (**options))]
    fn from_env<'py>(
        cls: &Bound<'py, PyType>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let all = match options {
            Some(options) => options.copy()?,
            None => PyDict::new(cls.py()),
        };
        all.set_item(FROM_ENV, true)?;
        cls.call((), Some(&all))
    }

    /// Start to get an access token in the background, so that the first call finds it.
    ///
    /// Call it where the program starts, in sync and async code: it never waits. It does
    /// nothing while there is a valid token or a request for one. In a forked worker it
    /// starts the worker's own request. The connection to the API is opened by the first
    /// request to it.
    ///
    /// A failed request is logged as a warning, and raised by the next call that needs a
    /// token. Raises `TransportError` only if the engine's threads cannot be started.
    ///
    /// For example:
    ///
    ///     client = Client.from_env()
    ///     client.prepare()
    fn prepare(&self, py: Python<'_>) -> PyResult<()> {
        gil::released(py, || self.state.client.prepare())
            .map_err(|error| self.state.raise(py, &error))
    }

    /// Return the value of the ``Authorization`` header, ``Bearer <token>``.
    ///
    /// A valid token in the cache is used at once; otherwise all callers wait for one
    /// request.
    ///
    /// For example:
    ///
    ///     headers = {"Authorization": client.authorization()}
    ///
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(signature = (*, timeout=None))]
    fn authorization(&self, py: Python<'_>, timeout: Given<'_, '_>) -> PyResult<Py<PyString>> {
        let timeout = call_timeout(timeout)?;
        if let Some(authorization) = self.state.cached_authorization(py)? {
            return Ok(authorization);
        }
        let token = pending::block(py, &self.state, timeout, token)?;
        Ok(token.get().authorization(py).clone().unbind())
    }

    /// Return a valid access token.
    ///
    /// A cached one is returned at once; otherwise all callers wait for one request. A
    /// token that is about to expire is returned at once and replaced in the background.
    ///
    /// For example:
    ///
    ///     token = client.token()
    ///     print(token.remaining, "seconds left")
    ///
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(signature = (*, timeout=None))]
    fn token(&self, py: Python<'_>, timeout: Given<'_, '_>) -> PyResult<Py<AccessToken>> {
        let timeout = call_timeout(timeout)?;
        match self.state.cached_token(py)? {
            Some(token) => Ok(token),
            None => pending::block(py, &self.state, timeout, token),
        }
    }

    /// Return the cached access token, or ``None`` if there is no valid one. Never waits.
    ///
    /// If there is none, a request for one starts in the background. After a failed
    /// request, its error is raised until the next request is allowed.
    ///
    /// For example:
    ///
    ///     token = client.try_token()
    ///     if token is None:
    ///         print("not ready yet")
    fn try_token(&self, py: Python<'_>) -> PyResult<Option<Py<AccessToken>>> {
        if let Some(token) = self.state.cached_token(py)? {
            return Ok(Some(token));
        }
        gil::released(py, || self.state.client.try_token())
            .map_err(|error| self.state.raise(py, &error))?;
        self.state.cached_token(py)
    }

    fn _cached_token(
        &self,
        py: Python<'_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Option<Py<AccessToken>>> {
        call_timeout(timeout)?;
        self.state.cached_token(py)
    }

    fn _cached_authorization(
        &self,
        py: Python<'_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Option<Py<PyString>>> {
        call_timeout(timeout)?;
        self.state.cached_authorization(py)
    }

    fn _start_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        pending::start(
            py,
            &self.state,
            EventLoopTarget { post, settle },
            call_timeout(timeout)?,
            token,
        )
    }

    /// Return a token other than one that a server refused with 401.
    ///
    /// That is the current one if it is another, otherwise a new one. Other callers get
    /// the current token until it arrives, because the server may refuse it for one
    /// resource only. Returns ``refused`` itself if new tokens do not help; the 401 is
    /// then final.
    ///
    /// For example:
    ///
    ///     token = client.token()
    ///     fresh = client.renew_token(token)  # after a 401
    ///     if fresh != token:
    ///         headers = {"Authorization": fresh.authorization}  # send it once more
    ///
    /// :param refused: the token that was sent.
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(signature = (refused, *, timeout=None))]
    fn renew_token(
        &self,
        py: Python<'_>,
        refused: &Bound<'_, PyAny>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Py<AccessToken>> {
        let timeout = call_timeout(timeout)?;
        let refused = refused_token(refused)?;
        pending::block(py, &self.state, timeout, |client| {
            renew_token(client, refused)
        })
    }

    fn _start_renew_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        refused: &Bound<'_, PyAny>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        let target = EventLoopTarget { post, settle };
        let timeout = call_timeout(timeout)?;
        let refused = refused_token(refused)?;
        pending::start(py, &self.state, target, timeout, |client| {
            renew_token(client, refused)
        })
    }

    /// Ask Layer which client the credentials belong to.
    ///
    /// For example:
    ///
    ///     print(client.whoami().client_name)
    ///
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(signature = (*, timeout=None))]
    fn whoami(&self, py: Python<'_>, timeout: Given<'_, '_>) -> PyResult<Py<WhoAmI>> {
        pending::block(py, &self.state, call_timeout(timeout)?, whoami)
    }

    fn _start_whoami(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        pending::start(
            py,
            &self.state,
            EventLoopTarget { post, settle },
            call_timeout(timeout)?,
            whoami,
        )
    }

    /// Return a token for one business, for a browser: a cached one, or a new one.
    ///
    /// For example:
    ///
    ///     token = client.business_token(business_id, session_duration=900)
    ///     answer = token.to_session()  # JSON for the page
    ///
    /// :param business_id: the UUID of the business.
    /// :param session_duration: 1 to 86400 seconds; 3600 by default.
    /// :param min_remaining: lifetime in seconds that the token must have left; half of its
    ///     lifetime by default.
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(
        name = "business_token",
        signature = (business_id, *, session_duration=None, min_remaining=None, timeout=None)
    )]
    fn business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        min_remaining: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Py<BusinessToken>> {
        let timeout = call_timeout(timeout)?;
        let business = self.business(business_id)?;
        let options = business_token_options(session_duration, min_remaining)?;
        match self.cached_business_token(py, &business, options)? {
            Some(token) => Ok(token),
            None => pending::block(py, &self.state, timeout, |client| {
                business_token(client, business, options)
            }),
        }
    }

    fn _cached_business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        min_remaining: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Option<Py<BusinessToken>>> {
        call_timeout(timeout)?;
        let business = self.business(business_id)?;
        let options = business_token_options(session_duration, min_remaining)?;
        self.cached_business_token(py, &business, options)
    }

    #[allow(clippy::too_many_arguments)] // Those of the Python call, and `post` and `settle`.
    fn _start_business_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        min_remaining: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        let business = self.business(business_id)?;
        let options = business_token_options(session_duration, min_remaining)?;
        let call = |client| business_token(client, business, options);
        pending::start(
            py,
            &self.state,
            EventLoopTarget { post, settle },
            call_timeout(timeout)?,
            call,
        )
    }

    /// Return a business token other than one that a page reports as refused.
    ///
    /// Others get the refused one until the new one arrives. Returns the current token if it
    /// is another one already, if it is less than 10 seconds old, or after too many refusals,
    /// so that a page to which everything answers 401 causes few requests.
    ///
    /// :param business_id: the UUID of the business.
    /// :param refused: the token, as an object or as text: the token itself, or its
    ///     ``Authorization`` header. It is compared in constant time.
    /// :param session_duration: 1 to 86400 seconds; 3600 by default.
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(signature = (business_id, refused, *, session_duration=None, timeout=None))]
    fn renew_business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        refused: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Py<BusinessToken>> {
        let timeout = call_timeout(timeout)?;
        let business = self.business(business_id)?;
        let options = business_token_options(session_duration, None)?;
        let refused = refused_business_token(refused)?;
        pending::block(py, &self.state, timeout, |client| {
            renew_business_token(client, business, options, refused)
        })
    }

    #[allow(clippy::too_many_arguments)] // Those of the Python call, and `post` and `settle`.
    fn _start_renew_business_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        business_id: &Bound<'_, PyAny>,
        refused: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        let target = EventLoopTarget { post, settle };
        let timeout = call_timeout(timeout)?;
        let business = self.business(business_id)?;
        let options = business_token_options(session_duration, None)?;
        let refused = refused_business_token(refused)?;
        pending::start(py, &self.state, target, timeout, |client| {
            renew_business_token(client, business, options, refused)
        })
    }

    /// Mint a new token for one business. It is not cached.
    ///
    /// For example:
    ///
    ///     token = client.mint_business_token(business_id)
    ///
    /// :param business_id: the UUID of the business.
    /// :param session_duration: 1 to 86400 seconds; 3600 by default.
    /// :param timeout: this call's timeout in seconds; by default the client's.
    #[pyo3(
        name = "mint_business_token",
        signature = (business_id, *, session_duration=None, timeout=None)
    )]
    fn mint_business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<Py<BusinessToken>> {
        let business = self.business(business_id)?;
        let duration = self::session_duration(session_duration)?;
        let timeout = call_timeout(timeout)?;
        pending::block(py, &self.state, timeout, |client| {
            mint(client, business, duration)
        })
    }

    fn _start_mint_business_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        timeout: Given<'_, '_>,
    ) -> PyResult<PendingCall> {
        let business = self.business(business_id)?;
        let duration = self::session_duration(session_duration)?;
        let call = |client| mint(client, business, duration);
        pending::start(
            py,
            &self.state,
            EventLoopTarget { post, settle },
            call_timeout(timeout)?,
            call,
        )
    }

    fn _business_tokens(
        &self,
        py: Python<'_>,
        business_ids: &Bound<'_, PyAny>,
        session_duration: Given<'_, '_>,
        max_in_flight: Given<'_, '_>,
    ) -> PyResult<Batch> {
        let text = |(at, id): (usize, Bound<'_, PyAny>)| {
            let name = format!("business_ids[{at}]");
            Arg::of_call(&name, &id).id().map(Cow::into_owned)
        };
        let businesses = Arg::of_call("business_ids", business_ids)
            .items("ids")?
            .into_iter()
            .enumerate()
            .map(text)
            .collect::<PyResult<Vec<_>>>()?;
        let duration = self::session_duration(session_duration)?;
        let mut options = BatchOptions::default().session_duration(duration);
        if let Some(max_in_flight) = max_in_flight {
            let number = Arg::of_call("max_in_flight", max_in_flight).int(1..=u64::MAX, "")?;
            options.max_in_flight = number;
        }
        Batch::start(py, &self.state, &self.references, businesses, options)
    }

    /// Invalidate a token that a server refused with 401, if it is the current one.
    ///
    /// The next call gets a new token. Returns ``False`` if it is not the current one, or
    /// if tokens are invalidated so often that new ones do not help.
    ///
    /// For example:
    ///
    ///     token = client.token()
    ///     client.invalidate(token)  # after a 401
    ///
    /// :param token: an access token or a business token, as an object or as text: the token
    ///     itself, or its ``Authorization`` header.
    fn invalidate(&self, py: Python<'_>, token: &Bound<'_, PyAny>) -> PyResult<bool> {
        let client = &self.state.client;
        if let Ok(token) = token.cast::<AccessToken>() {
            let token = &token.get().token;
            Ok(gil::released(py, || client.invalidate(token)))
        } else if let Ok(token) = token.cast::<BusinessToken>() {
            let token = &token.get().token;
            Ok(gil::released(py, || {
                client.invalidate_business_token(token)
            }))
        } else if let Ok(text) = token.cast::<PyString>() {
            // Text that cannot be encoded as UTF-8 is not a token of this client.
            let text = text.to_string_lossy();
            Ok(gil::released(py, || client.invalidate_text(&text)))
        } else {
            let what = "an AccessToken, a BusinessToken, or a token's text or header";
            Err(Arg::of_call("token", token).expected(what))
        }
    }

    /// Return the client's counters.
    fn stats(&self) -> crate::stats::Stats {
        crate::stats::Stats(self.state.client.stats())
    }

    /// The environment's name: sandbox, production, production-ca or custom.
    #[getter]
    fn environment(&self) -> &'static str {
        self.state.client.environment().as_str()
    }

    /// The API's base URL, without a trailing slash.
    #[getter]
    fn api_url(&self) -> &str {
        self.state.client.api_url()
    }

    /// The URL of the token endpoint.
    #[getter]
    fn auth_url(&self) -> &str {
        self.state.client.auth_url()
    }

    /// The OAuth scope that is requested.
    #[getter]
    fn scope(&self) -> &str {
        self.state.client.scope()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let client = &slf.get().state.client;
        Ok(format!(
            "<{} of {} at {}>",
            slf.get_type().name()?,
            client.environment(),
            client.api_url()
        ))
    }

    /// Keeps an object alive as long as the client, such as its emulator.
    fn _keep_alive(&self, owner: Py<PyAny>) {
        self.references.get().keep_alive(Some(owner));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.references)
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'_, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "{} holds a secret and cannot be pickled; make one in each process instead (forked \
             workers may use their parent's)",
            slf.get_type().name()?
        )))
    }
}
