//! What calls give: tokens and whoami, as immutable Python objects.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use layerfi_auth::Environment;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

/// Where a client's tokens are good: what a browser must be told.
pub(crate) struct Place {
    pub(crate) environment: Environment,
    pub(crate) api_url: String,
    pub(crate) auth_url: String,
    pub(crate) scope: String,
}

impl Place {
    /// Whether it is the environment as Layer runs it, with nothing replaced.
    fn is_layers_own(&self) -> bool {
        self.environment.api_url() == Some(&self.api_url)
            && self.environment.auth_url() == Some(&self.auth_url)
            && self.environment.scope() == Some(&self.scope)
    }
}

/// The same for equal tokens within one process, and telling nothing in another.
fn hash(secret: &str) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(secret)
}

fn not_picklable(class: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{class} holds a secret and is never pickled; make a client in each process instead \
         (forked workers share their parent's), or pass token.secret where it must go"
    ))
}

/// Whole seconds in RFC 3339, for people and JSON.
fn rfc3339(py: Python<'_>, at: SystemTime) -> PyResult<String> {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let text = utc(py, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?
        .call_method0("isoformat")?
        .extract::<String>()?;
    Ok(text.replace("+00:00", "Z"))
}

/// An aware `datetime` in UTC.
pub(crate) fn utc(py: Python<'_>, at: SystemTime) -> PyResult<Bound<'_, PyAny>> {
    at.into_pyobject(py).map(Bound::into_any)
}

/// An access token for the Layer API.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct AccessToken {
    pub(crate) token: layerfi_auth::AccessToken,
    secret: PyOnceLock<Py<PyString>>,
    authorization: PyOnceLock<Py<PyString>>,
}

impl AccessToken {
    pub(crate) fn new(token: layerfi_auth::AccessToken) -> Self {
        Self {
            token,
            secret: PyOnceLock::new(),
            authorization: PyOnceLock::new(),
        }
    }
}

/// `Bearer <token>`.
fn authorization<'py>(py: Python<'py>, secret: &str) -> Bound<'py, PyString> {
    PyString::new(py, &format!("Bearer {secret}"))
}

#[pymethods]
impl AccessToken {
    /// The token itself. Whoever reads it answers for where it goes.
    #[getter]
    pub(crate) fn secret<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyString> {
        self.secret
            .get_or_init(py, || PyString::new(py, self.token.secret()).unbind())
            .bind(py)
    }

    /// The value of the ``Authorization`` header: ``Bearer <token>``.
    #[getter]
    pub(crate) fn authorization<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyString> {
        self.authorization
            .get_or_init(py, || authorization(py, self.token.secret()).unbind())
            .bind(py)
    }

    /// The life that the server gave it, in seconds, counted from before it was requested.
    #[getter]
    fn expires_in(&self) -> u64 {
        self.token.expires_in().as_secs()
    }

    /// When it expires, counted from before it was requested; an aware datetime in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        utc(py, self.token.expires_at())
    }

    /// How many seconds of life are left.
    #[getter]
    fn remaining(&self) -> f64 {
        self.token.remaining().as_secs_f64()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.token.secret() == other.token.secret()
    }

    fn __hash__(&self) -> u64 {
        hash(self.token.secret())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<AccessToken [redacted], expires at {}>",
            rfc3339(py, self.token.expires_at())?
        ))
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("AccessToken"))
    }
}

/// A token for one business, to be handed to a browser or a mobile app.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct BusinessToken {
    pub(crate) token: layerfi_auth::BusinessToken,
    place: Arc<Place>,
}

impl BusinessToken {
    pub(crate) fn new(token: layerfi_auth::BusinessToken, place: Arc<Place>) -> Self {
        Self { token, place }
    }
}

#[pymethods]
impl BusinessToken {
    /// The token itself, for ``businessAccessToken`` of ``<LayerProvider>``.
    #[getter]
    fn secret(&self) -> &str {
        self.token.secret()
    }

    /// The value of the ``Authorization`` header: ``Bearer <token>``.
    #[getter]
    fn authorization<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        authorization(py, self.token.secret())
    }

    /// The business that it is good for.
    #[getter]
    fn business_id(&self) -> &str {
        self.token.business_id().as_str()
    }

    /// The session duration that was asked for, in seconds.
    #[getter]
    fn session_duration(&self) -> u32 {
        self.token.session_duration().as_secs()
    }

    /// The life that the server gave it, in seconds, counted from before it was requested.
    #[getter]
    fn expires_in(&self) -> u64 {
        self.token.expires_in().as_secs()
    }

    /// When it expires, counted from before it was requested; an aware datetime in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        utc(py, self.token.expires_at())
    }

    /// How many seconds of life are left.
    #[getter]
    fn remaining(&self) -> f64 {
        self.token.remaining().as_secs_f64()
    }

    /// The token as a JSON answer to a browser. ``expires_in`` is what is left
    /// of its life now, in whole seconds.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let answer = PyDict::new(py);
        answer.set_item("access_token", self.token.secret())?;
        answer.set_item("token_type", "Bearer")?;
        answer.set_item("expires_in", self.token.remaining().as_secs())?;
        answer.set_item("expires_at", rfc3339(py, self.token.expires_at())?)?;
        answer.set_item("business_id", self.token.business_id().as_str())?;
        Ok(answer)
    }

    /// The props that ``<LayerProvider>`` of ``@layerfi/components`` wants:
    /// business, token, and ``environment``, or ``environmentConfigOverride``
    /// where the client was given addresses of its own.
    fn layer_provider_props<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let props = PyDict::new(py);
        props.set_item("businessId", self.token.business_id().as_str())?;
        props.set_item("businessAccessToken", self.token.secret())?;
        let environment = self.place.environment.as_str();
        if self.place.is_layers_own() {
            props.set_item("environment", environment)?;
        } else {
            let place = PyDict::new(py);
            place.set_item("environment", environment)?;
            place.set_item("apiUrl", &self.place.api_url)?;
            place.set_item("authUrl", &self.place.auth_url)?;
            place.set_item("scope", &self.place.scope)?;
            props.set_item("environmentConfigOverride", place)?;
        }
        Ok(props)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.token.secret() == other.token.secret()
    }

    fn __hash__(&self) -> u64 {
        hash(self.token.secret())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<BusinessToken [redacted] for {}, expires at {}>",
            self.token.business_id(),
            rfc3339(py, self.token.expires_at())?
        ))
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("BusinessToken"))
    }
}

/// Who the credentials belong to.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct WhoAmI(pub(crate) layerfi_auth::WhoAmI);

#[pymethods]
impl WhoAmI {
    #[new]
    #[pyo3(signature = (client_name, client_id))]
    fn new(client_name: String, client_id: String) -> Self {
        Self(layerfi_auth::WhoAmI {
            client_name,
            client_id,
        })
    }

    /// The client's name, as Layer knows it.
    #[getter]
    fn client_name(&self) -> &str {
        &self.0.client_name
    }

    /// The client's id, a UUID.
    #[getter]
    fn client_id(&self) -> &str {
        &self.0.client_id
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (&self.0.client_name, &self.0.client_id).hash(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    }

    fn __repr__(&self) -> String {
        format!(
            "WhoAmI(client_name={:?}, client_id={:?})",
            self.0.client_name, self.0.client_id
        )
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let me = &slf.get().0;
        let parts = (&me.client_name, &me.client_id).into_pyobject(py)?;
        (slf.get_type(), parts).into_pyobject(py)
    }
}
