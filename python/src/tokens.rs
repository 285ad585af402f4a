//! Access tokens, business tokens and `WhoAmI` as immutable Python objects.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use layerfi_auth::LayerProviderProps;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::args::Arg;

/// Hash of a token's text: equal for equal tokens, and different in every process.
fn hash(secret: &str) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(secret)
}

fn not_picklable(class: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{class} holds a secret and cannot be pickled; make a client in each process instead \
         (forked workers share their parent's), or pass token.secret"
    ))
}

/// The error for a token that is formatted into text, which would otherwise
/// become a header without the token, or show the token in a log.
fn not_text(class: &str, instead: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{class} is not text: use {instead}; repr() shows it without its secret"
    ))
}

const FOR_HEADER: &str = "token.authorization or client.authorization() for the header";
const FOR_BROWSER: &str = "token.to_dict() or token.secret for a browser";

/// A time in RFC 3339, in whole seconds.
pub(crate) fn rfc3339(py: Python<'_>, at: SystemTime) -> PyResult<String> {
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

impl AccessToken {
    /// As `authorization`, where PyO3 may not know that the thread is attached.
    #[inline]
    pub(crate) fn shared_authorization(&self, py: Python<'_>) -> Py<PyString> {
        match self.authorization.get(py) {
            Some(text) => text.clone_ref(py),
            None => Python::attach(|py| self.authorization(py).clone().unbind()),
        }
    }
}

/// `Bearer <token>`.
fn authorization<'py>(py: Python<'py>, secret: &str) -> Bound<'py, PyString> {
    PyString::new(py, &format!("Bearer {secret}"))
}

#[pymethods]
impl AccessToken {
    /// The token's text. Keep it out of logs and error reports.
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

    /// The lifetime that the server set, in seconds, counted from before the request.
    #[getter]
    fn expires_in(&self) -> u64 {
        self.token.expires_in().as_secs()
    }

    /// When the token expires, counted from before the request: an aware datetime in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        utc(py, self.token.expires_at())
    }

    /// Seconds until the token expires.
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

    /// Return a dict for JSON: ``token_type``, ``expires_in`` and ``expires_at``.
    ///
    /// ``expires_in`` is the remaining lifetime now, in whole seconds.
    ///
    /// :param include_secret: also include the token, as ``access_token``.
    #[pyo3(signature = (*, include_secret=None))]
    #[pyo3(text_signature = "($self, *, include_secret=False)")]
    fn to_dict<'py>(
        &self,
        py: Python<'py>,
        include_secret: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let include = include_secret.map(|value| Arg::of_call("include_secret", value).flag());
        let dict = PyDict::new(py);
        if include.transpose()?.unwrap_or(false) {
            dict.set_item("access_token", self.secret(py))?;
        }
        dict.set_item("token_type", "Bearer")?;
        dict.set_item("expires_in", self.token.remaining().as_secs())?;
        dict.set_item("expires_at", rfc3339(py, self.token.expires_at())?)?;
        Ok(dict)
    }

    fn __str__(&self) -> PyResult<String> {
        Err(not_text("AccessToken", FOR_HEADER))
    }

    fn __format__(&self, _spec: &Bound<'_, PyAny>) -> PyResult<String> {
        Err(not_text("AccessToken", FOR_HEADER))
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

/// A token for one business, for a browser or a mobile app.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct BusinessToken {
    pub(crate) token: layerfi_auth::BusinessToken,
}

#[pymethods]
impl BusinessToken {
    /// The token's text, for ``businessAccessToken`` of ``<LayerProvider>``.
    #[getter]
    fn secret(&self) -> &str {
        self.token.secret()
    }

    /// The value of the ``Authorization`` header: ``Bearer <token>``.
    #[getter]
    fn authorization<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        authorization(py, self.token.secret())
    }

    /// The business that the token is for.
    #[getter]
    fn business_id(&self) -> &str {
        self.token.business_id().as_str()
    }

    /// The requested session duration, in seconds.
    #[getter]
    fn session_duration(&self) -> u32 {
        self.token.session_duration().as_secs()
    }

    /// The lifetime that the server set, in seconds, counted from before the request.
    #[getter]
    fn expires_in(&self) -> u64 {
        self.token.expires_in().as_secs()
    }

    /// When the token expires, counted from before the request: an aware datetime in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        utc(py, self.token.expires_at())
    }

    /// Seconds until the token expires.
    #[getter]
    fn remaining(&self) -> f64 {
        self.token.remaining().as_secs_f64()
    }

    /// Return the token as a dict for a JSON response to a browser.
    ///
    /// ``expires_in`` is the remaining lifetime now, in whole seconds.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let answer = PyDict::new(py);
        answer.set_item("access_token", self.token.secret())?;
        answer.set_item("token_type", "Bearer")?;
        answer.set_item("expires_in", self.token.remaining().as_secs())?;
        answer.set_item("expires_at", rfc3339(py, self.token.expires_at())?)?;
        answer.set_item("business_id", self.token.business_id().as_str())?;
        Ok(answer)
    }

    /// Return the props of ``<LayerProvider>`` of ``@layerfi/components``.
    ///
    /// These are business, token, and ``environment``, or ``environmentConfigOverride`` if
    /// the client has its own URLs or scope.
    ///
    /// :param environment: the name in the components' table of environments. By default
    ///     that of the client; for a custom environment ``sandbox``, unless the scope says
    ///     ``production``.
    #[pyo3(signature = (*, environment=None))]
    fn layer_provider_props<'py>(
        &self,
        py: Python<'py>,
        environment: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environment = environment.map(|name| Arg::of_call("environment", name).text());
        let environment = environment.transpose()?;
        let mut props = self.token.layer_provider_props();
        if let Some(name) = &environment {
            props = props.with_environment(name);
        }
        props_dict(py, &props, self.token.secret())
    }

    /// Return what a page needs to show Layer's components, as a dict for a JSON response.
    ///
    /// These are the items of `to_dict`, ``session_duration``, ``layer_provider_props``, and
    /// ``renew_in``: the whole seconds after which `Client.business_token` returns another
    /// token. Pages use ``expires_in``, and not ``expires_at``, because their users' clocks
    /// may be wrong. Send it with ``Cache-Control: no-store``, and only to a user of this
    /// business.
    fn to_session<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let session = self.token.session();
        let answer = PyDict::new(py);
        answer.set_item("access_token", self.token.secret())?;
        answer.set_item("token_type", "Bearer")?;
        answer.set_item("expires_in", session.expires_in())?;
        answer.set_item("expires_at", session.expires_at())?;
        answer.set_item("business_id", self.token.business_id().as_str())?;
        answer.set_item("session_duration", session.session_duration())?;
        answer.set_item("renew_in", session.renew_in())?;
        let props = props_dict(py, session.layer_provider_props(), self.token.secret())?;
        answer.set_item("layer_provider_props", props)?;
        Ok(answer)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.token.secret() == other.token.secret()
    }

    fn __hash__(&self) -> u64 {
        hash(self.token.secret())
    }

    fn __str__(&self) -> PyResult<String> {
        Err(not_text("BusinessToken", FOR_BROWSER))
    }

    fn __format__(&self, _spec: &Bound<'_, PyAny>) -> PyResult<String> {
        Err(not_text("BusinessToken", FOR_BROWSER))
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

/// Props of ``<LayerProvider>``.
fn props_dict<'py>(
    py: Python<'py>,
    props: &LayerProviderProps<'_>,
    secret: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("businessId", props.business_id())?;
    dict.set_item("businessAccessToken", secret)?;
    let Some((api_url, auth_url, scope)) = props.urls() else {
        dict.set_item("environment", props.environment())?;
        return Ok(dict);
    };
    let config = PyDict::new(py);
    config.set_item("environment", props.environment())?;
    config.set_item("apiUrl", api_url)?;
    config.set_item("authUrl", auth_url)?;
    config.set_item("scope", scope)?;
    dict.set_item("environmentConfigOverride", config)?;
    Ok(dict)
}

/// The client that the credentials belong to.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct WhoAmI(pub(crate) layerfi_auth::WhoAmI);

#[pymethods]
impl WhoAmI {
    #[new]
    #[pyo3(signature = (client_name, client_id))]
    fn new(client_name: &Bound<'_, PyAny>, client_id: &Bound<'_, PyAny>) -> PyResult<Self> {
        let client_name = Arg::of_call("client_name", client_name).text()?;
        let client_id = Arg::of_call("client_id", client_id).text()?;
        Ok(Self(layerfi_auth::WhoAmI::new(client_name, client_id)))
    }

    /// The client's name at Layer.
    #[getter]
    fn client_name(&self) -> &str {
        &self.0.client_name
    }

    /// The client's id, a UUID.
    #[getter]
    fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Return the client as a dict for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("client_name", &self.0.client_name)?;
        dict.set_item("client_id", &self.0.client_id)?;
        Ok(dict)
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
