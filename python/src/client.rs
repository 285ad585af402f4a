//! The client: the blocking calls, and what their `_async` twins start.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use layerfi_auth::{BatchOptions, BusinessId, BusinessTokenOptions, Result, SessionDuration};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};

use crate::batch::Batch;
use crate::calls::{self, Answer as _, PendingCall, Receiver, Shared};
use crate::errors::{expected, invalid_argument, raise};
use crate::tokens::{AccessToken, BusinessToken, WhoAmI};
use crate::{gil, logging, options};

/// Marks the options that `from_env` hands to the constructor; no option of users'.
const FROM_ENV: &str = "_from_env";

/// The native half of `layerfi_auth.Client`.
#[pyclass(frozen, subclass, weakref, module = "layerfi_auth._native")]
pub(crate) struct ClientBase {
    shared: Arc<Shared>,
}

impl ClientBase {
    fn business(&self, business_id: &Bound<'_, PyAny>) -> PyResult<BusinessId> {
        let text = id_text("business_id", business_id)?;
        self.shared
            .client
            .business_id(&text)
            .map_err(|error| raise(business_id.py(), &error))
    }

    fn try_business_token(
        &self,
        py: Python<'_>,
        business: &BusinessId,
        wish: BusinessTokenOptions,
    ) -> PyResult<Option<Py<BusinessToken>>> {
        if wish.min_remaining.is_some() {
            return Ok(None);
        }
        self.shared
            .client
            .as_async()
            .try_business_token(business, wish.session_duration)
            .map(|token| token.into_object(py, &self.shared))
            .transpose()
    }
}

/// The text of a business id, which is a `str` or a `uuid.UUID`.
fn id_text<'a>(name: &str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    if let Ok(text) = value.cast::<PyString>() {
        // What UTF-8 cannot hold is no id, and refused by what it becomes.
        return Ok(text.to_string_lossy());
    }
    let uuid = value.py().import("uuid")?.getattr("UUID")?;
    if value.is_instance(&uuid)? {
        return Ok(Cow::Owned(value.str()?.to_string_lossy().into_owned()));
    }
    Err(expected(name, "a str or a uuid.UUID", value))
}

/// Compares in a time that tells only the length.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn session_duration(py: Python<'_>, seconds: Option<i64>) -> PyResult<SessionDuration> {
    match seconds {
        None => Ok(SessionDuration::default()),
        // A negative one is as wrong as zero, and told in its own words.
        Some(seconds) => u64::try_from(seconds).map_or_else(
            |_| {
                Err(invalid_argument(
                    py,
                    "session_duration",
                    &format!("session_duration is {seconds} seconds"),
                    "use 1 to 86400 seconds",
                ))
            },
            |seconds| SessionDuration::from_secs(seconds).map_err(|error| raise(py, &error)),
        ),
    }
}

/// A wrong one is told with a token at hand, too, and not only on a bad day.
fn check_timeout(py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
    match timeout {
        None => Ok(()),
        Some(seconds) => calls::call_timeout(py, seconds).map(drop),
    }
}

fn wish(
    py: Python<'_>,
    seconds: Option<i64>,
    min_remaining: Option<f64>,
) -> PyResult<BusinessTokenOptions> {
    let min_remaining = match min_remaining {
        None => None,
        Some(seconds) => Some(Duration::try_from_secs_f64(seconds).map_err(|_| {
            invalid_argument(
                py,
                "min_remaining",
                &format!("min_remaining is {seconds} seconds"),
                "use 0 or a positive number of seconds",
            )
        })?),
    };
    Ok(BusinessTokenOptions {
        session_duration: session_duration(py, seconds)?,
        min_remaining,
    })
}

async fn token(client: layerfi_auth::Client) -> Result<layerfi_auth::AccessToken> {
    client.token().await
}

async fn whoami(client: layerfi_auth::Client) -> Result<layerfi_auth::WhoAmI> {
    client.whoami().await
}

async fn business_token(
    client: layerfi_auth::Client,
    business: BusinessId,
    wish: BusinessTokenOptions,
) -> Result<layerfi_auth::BusinessToken> {
    client.business_token_with(&business, wish).await
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
            basic_encoding=None, ca_file=None, ca_pem=None, proxy=None, \
            allow_http_loopback=None, allow_opaque_business_ids=None, timeout=None, \
            connect_timeout=None, attempt_timeout=None, max_attempts=None, \
            business_token_capacity=None, keep_warm=None, user_agent=None)"
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
        Ok(Self {
            shared: Shared::new(client, provider),
        })
    }

    /// A client from the environment's variables: LAYER_ENVIRONMENT, LAYER_CLIENT_ID,
    /// LAYER_CLIENT_SECRET or LAYER_CLIENT_SECRET_FILE, LAYER_API_URL, LAYER_AUTH_URL,
    /// LAYER_SCOPE, LAYER_CA_FILE, LAYER_ALLOW_HTTP_LOOPBACK. Options given here come first.
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

    /// The value of the ``Authorization`` header, ``Bearer <token>``, with a valid token:
    /// at once where there is one, else after a request that all callers share.
    ///
    /// ``timeout`` bounds this call, in seconds; the client's own otherwise.
    #[pyo3(signature = (*, timeout=None))]
    fn authorization(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyString>> {
        check_timeout(py, timeout)?;
        if let Some(authorization) = self.shared.held_authorization(py)? {
            return Ok(authorization);
        }
        let token = self.shared.block(py, timeout, token)?;
        Ok(token.get().authorization(py).clone().unbind())
    }

    /// A valid access token: at once where there is one, else after a request that all
    /// callers share. One that is about to expire is returned at once and replaced in the
    /// background.
    #[pyo3(signature = (*, timeout=None))]
    fn token(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<AccessToken>> {
        check_timeout(py, timeout)?;
        match self.shared.held_token(py)? {
            Some(token) => Ok(token),
            None => self.shared.block(py, timeout, token),
        }
    }

    /// The access token if it is at hand, else ``None``, and a request for one is on its
    /// way. Never waits. While it is too early for another request after one that failed,
    /// its error is raised.
    fn try_token(&self, py: Python<'_>) -> PyResult<Option<Py<AccessToken>>> {
        if let Some(held) = self.shared.held_token(py)? {
            return Ok(Some(held));
        }
        gil::released(py, || self.shared.client.token_at_hand())
            .map_err(|error| self.shared.raise(py, &error))?;
        self.shared.held_token(py)
    }

    #[pyo3(signature = (timeout=None))]
    fn _held_token(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Py<AccessToken>>> {
        check_timeout(py, timeout)?;
        self.shared.held_token(py)
    }

    fn _start_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<PendingCall> {
        self.shared
            .start(py, Receiver { post, settle }, timeout, token)
    }

    /// Asks Layer whose credentials these are.
    #[pyo3(signature = (*, timeout=None))]
    fn whoami(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<WhoAmI>> {
        self.shared.block(py, timeout, whoami)
    }

    fn _start_whoami(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<PendingCall> {
        self.shared
            .start(py, Receiver { post, settle }, timeout, whoami)
    }

    /// A token for one business, to be handed to a browser: from the cache, with at least
    /// half of its life left (or ``min_remaining`` seconds), or newly minted.
    ///
    /// ``session_duration`` is 1 to 86400 seconds, 3600 by default.
    #[pyo3(
        name = "business_token",
        signature = (business_id, *, session_duration=None, min_remaining=None, timeout=None)
    )]
    fn business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Option<i64>,
        min_remaining: Option<f64>,
        timeout: Option<f64>,
    ) -> PyResult<Py<BusinessToken>> {
        check_timeout(py, timeout)?;
        let business = self.business(business_id)?;
        let wish = wish(py, session_duration, min_remaining)?;
        match self.try_business_token(py, &business, wish)? {
            Some(token) => Ok(token),
            None => self
                .shared
                .block(py, timeout, |client| business_token(client, business, wish)),
        }
    }

    fn _held_business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Option<i64>,
        min_remaining: Option<f64>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Py<BusinessToken>>> {
        check_timeout(py, timeout)?;
        let business = self.business(business_id)?;
        let wish = wish(py, session_duration, min_remaining)?;
        self.try_business_token(py, &business, wish)
    }

    #[allow(clippy::too_many_arguments)] // Python's own, and the two ends of an async call.
    fn _start_business_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Option<i64>,
        min_remaining: Option<f64>,
        timeout: Option<f64>,
    ) -> PyResult<PendingCall> {
        let business = self.business(business_id)?;
        let wish = wish(py, session_duration, min_remaining)?;
        let call = |client| business_token(client, business, wish);
        self.shared
            .start(py, Receiver { post, settle }, timeout, call)
    }

    /// A new token for one business, always from Layer and cached nowhere.
    ///
    /// ``session_duration`` is 1 to 86400 seconds, 3600 by default.
    #[pyo3(
        name = "mint_business_token",
        signature = (business_id, *, session_duration=None, timeout=None)
    )]
    fn mint_business_token(
        &self,
        py: Python<'_>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Option<i64>,
        timeout: Option<f64>,
    ) -> PyResult<Py<BusinessToken>> {
        let business = self.business(business_id)?;
        let duration = self::session_duration(py, session_duration)?;
        self.shared
            .block(py, timeout, |client| mint(client, business, duration))
    }

    fn _start_mint_business_token(
        &self,
        py: Python<'_>,
        post: Py<PyAny>,
        settle: Py<PyAny>,
        business_id: &Bound<'_, PyAny>,
        session_duration: Option<i64>,
        timeout: Option<f64>,
    ) -> PyResult<PendingCall> {
        let business = self.business(business_id)?;
        let duration = self::session_duration(py, session_duration)?;
        let call = |client| mint(client, business, duration);
        self.shared
            .start(py, Receiver { post, settle }, timeout, call)
    }

    fn _business_tokens(
        &self,
        py: Python<'_>,
        business_ids: &Bound<'_, PyList>,
        session_duration: Option<i64>,
        max_in_flight: Option<usize>,
    ) -> PyResult<Batch> {
        let text = |(at, id): (usize, Bound<'_, PyAny>)| {
            id_text(&format!("business_ids[{at}]"), &id).map(Cow::into_owned)
        };
        let businesses = business_ids
            .iter()
            .enumerate()
            .map(text)
            .collect::<PyResult<Vec<_>>>()?;
        let options = BatchOptions {
            session_duration: self::session_duration(py, session_duration)?,
            max_in_flight: max_in_flight.unwrap_or(BatchOptions::default().max_in_flight),
        };
        Batch::start(py, &self.shared, businesses, options)
    }

    /// Throws a token away because a server refused it with 401, if it is still the current
    /// one; the next call gets a new one. ``False`` where it is not, or where this happens so
    /// often that new tokens are clearly no help.
    ///
    /// An access token may be given as text, too: as itself, or as the header that
    /// ``authorization`` returned.
    fn invalidate(&self, py: Python<'_>, token: &Bound<'_, PyAny>) -> PyResult<bool> {
        let client = &self.shared.client;
        if let Ok(token) = token.cast::<AccessToken>() {
            let token = &token.get().token;
            Ok(gil::released(py, || client.invalidate(token)))
        } else if let Ok(token) = token.cast::<BusinessToken>() {
            let token = &token.get().token;
            Ok(gil::released(py, || {
                client.invalidate_business_token(token)
            }))
        } else if let Ok(text) = token.cast::<PyString>() {
            // One that UTF-8 cannot hold is no token of ours.
            let text = text.to_string_lossy();
            Ok(gil::released(py, || {
                // What is not at hand is not current.
                client.borrow_token().is_some_and(|current| {
                    let header = is_same(current.authorization().as_bytes(), text.as_bytes());
                    let token = is_same(current.secret().as_bytes(), text.as_bytes());
                    (header || token) && client.invalidate(&current)
                })
            }))
        } else {
            let what = "an AccessToken, a BusinessToken, or an access token's text or header";
            Err(expected("token", what, token))
        }
    }

    /// What has happened so far, counted.
    fn stats(&self) -> crate::stats::Stats {
        crate::stats::Stats(self.shared.client.stats())
    }

    /// The environment's name: sandbox, production, production-ca or custom.
    #[getter]
    fn environment(&self) -> &'static str {
        self.shared.place.environment.as_str()
    }

    /// The API's base URL, without a slash at its end.
    #[getter]
    fn api_url(&self) -> &str {
        &self.shared.place.api_url
    }

    /// The URL of the token endpoint.
    #[getter]
    fn auth_url(&self) -> &str {
        &self.shared.place.auth_url
    }

    /// The OAuth scope that is asked for.
    #[getter]
    fn scope(&self) -> &str {
        &self.shared.place.scope
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let place = &slf.get().shared.place;
        Ok(format!(
            "<{} of {} at {}>",
            slf.get_type().name()?,
            place.environment,
            place.api_url
        ))
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'_, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "{} holds a secret and is never pickled; make one in each process instead (forked \
             workers may use their parent's)",
            slf.get_type().name()?
        )))
    }
}
