//! The emulator, for `layerfi_auth.testing`.

use std::time::{Duration, Instant};

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder,
    EmulatorError, Environment, Fault, TokenKind,
};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::gil::{self, SIGNAL_CHECK_INTERVAL};

/// Native base class of `layerfi_auth.testing.Emulator`. Faults, counters and
/// the log are passed as JSON, as in the control API.
#[pyclass(frozen, subclass, weakref, module = "layerfi_auth._native")]
pub(crate) struct EmulatorBase {
    emulator: Emulator,
    /// Id and secret of the first client at the start.
    first: (String, String),
}

fn failed(error: EmulatorError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

fn json<T: serde::Serialize>(value: &T) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err("seconds must be finite and not negative"))
}

/// A value by its name in the control API.
fn named<T: serde::de::DeserializeOwned>(what: &str, name: &str) -> PyResult<T> {
    serde_json::from_value(Value::from(name))
        .map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

fn kind(name: &str) -> PyResult<TokenKind> {
    match name {
        "access" => Ok(TokenKind::Access),
        "business" => Ok(TokenKind::Business),
        _ => Err(PyValueError::new_err("kind must be access or business")),
    }
}

fn builder(options: &Bound<'_, PyDict>) -> PyResult<EmulatorBuilder> {
    let mut builder = Emulator::builder();
    for (name, value) in options {
        let name: String = name.extract()?;
        builder = match name.as_str() {
            // The only option for which `None` is a value: no limit.
            "rate_limit" => builder.rate_limit(value.extract()?),
            _ if value.is_none() => builder,
            "environment" => {
                let name: String = value.extract()?;
                let environment = name
                    .parse::<Environment>()
                    .map_err(|error| PyValueError::new_err(error.to_string()))?;
                builder.environment(environment)
            }
            "clients" => value
                .extract::<Vec<(String, String)>>()?
                .into_iter()
                .fold(builder, |builder, (id, secret)| builder.client(id, secret)),
            "unauthorized_clients" => value
                .extract::<Vec<(String, String)>>()?
                .into_iter()
                .fold(builder, |builder, (id, secret)| {
                    builder.unauthorized_client(id, secret)
                }),
            "businesses" => value
                .extract::<Vec<String>>()?
                .into_iter()
                .fold(builder, EmulatorBuilder::business),
            "basic_decoding" => match value.extract::<&str>()? {
                "raw" => builder.basic_decoding(BasicDecoding::Raw),
                "form" => builder.basic_decoding(BasicDecoding::Form),
                _ => return Err(PyValueError::new_err("basic_decoding must be raw or form")),
            },
            "invalid_client_status" => builder.invalid_client_status(value.extract()?),
            "access_token_lifetime" => builder.access_token_lifetime(seconds(value.extract()?)?),
            "business_token_lifetime" => {
                builder.business_token_lifetime(seconds(value.extract()?)?)
            }
            "tls" => builder.tls(value.extract()?),
            "port" => builder.port(value.extract()?),
            "control_port" => builder.control_port(value.extract()?),
            "proxy" => match value.extract()? {
                true => builder.proxy(),
                false => builder,
            },
            "proxy_port" => builder.proxy_port(value.extract()?),
            "proxy_credentials" => {
                let (user, password): (String, String) = value.extract()?;
                builder.proxy_credentials(user, password)
            }
            "idle_timeout" => builder.idle_timeout(seconds(value.extract()?)?),
            "requests_per_connection" => builder.requests_per_connection(value.extract()?),
            "tls_trouble" => builder.tls_trouble(named("tls_trouble", value.extract()?)?),
            "tls_versions" => builder.tls_versions(named("tls_versions", value.extract()?)?),
            "http_versions" => builder.http_versions(named("http_versions", value.extract()?)?),
            "names" => value
                .extract::<Vec<String>>()?
                .into_iter()
                .fold(builder, EmulatorBuilder::name),
            other => {
                return Err(PyTypeError::new_err(format!(
                    "Emulator() got an unexpected keyword argument {other:?}"
                )));
            }
        };
    }
    Ok(builder)
}

/// Id and secret of the first client in the options, or the defaults.
fn first_client(options: Option<&Bound<'_, PyDict>>) -> PyResult<(String, String)> {
    let given = options.map(|options| options.get_item("clients"));
    let clients: Vec<(String, String)> = match given.transpose()?.flatten() {
        Some(clients) if !clients.is_none() => clients.extract()?,
        _ => Vec::new(),
    };
    let default = || (DEFAULT_CLIENT_ID.into(), DEFAULT_CLIENT_SECRET.into());
    Ok(clients.into_iter().next().unwrap_or_else(default))
}

#[pymethods]
impl EmulatorBase {
    #[new]
    #[pyo3(
        signature = (**options),
        text_signature = "(*, environment=None, clients=None, unauthorized_clients=None, \
            businesses=None, basic_decoding=None, invalid_client_status=None, \
            access_token_lifetime=None, business_token_lifetime=None, rate_limit=100, tls=None, \
            port=None, control_port=None, proxy=None, proxy_port=None, proxy_credentials=None, \
            names=None, idle_timeout=None, requests_per_connection=None, tls_trouble=None, \
            tls_versions=None, http_versions=None)"
    )]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let builder = match options {
            Some(options) => builder(options)?,
            None => Emulator::builder(),
        };
        let emulator = gil::released(py, || builder.start_blocking()).map_err(failed)?;
        Ok(Self {
            emulator,
            first: first_client(options)?,
        })
    }

    /// The current `(client_id, client_secret)` of the first client.
    fn _credentials(&self) -> (String, String) {
        let (id, secret) = self.first.clone();
        let current = self.emulator.client_secret(&id);
        (id, current.unwrap_or(secret))
    }

    /// The API's base URL, without a trailing slash.
    #[getter]
    fn url(&self) -> String {
        self.emulator.url()
    }

    /// The URL of the token endpoint.
    #[getter]
    fn token_url(&self) -> String {
        self.emulator.token_url()
    }

    /// The URL of the control API.
    #[getter]
    fn control_url(&self) -> String {
        self.emulator.control_url()
    }

    /// The URL of the proxy, without credentials; ``None`` without a proxy.
    #[getter]
    fn proxy_url(&self) -> Option<String> {
        self.emulator.proxy_url()
    }

    /// The OAuth scope that the emulator grants.
    #[getter]
    fn scope(&self) -> &str {
        self.emulator.scope()
    }

    /// The certificate authority to trust, in PEM; ``None`` without TLS.
    #[getter]
    fn ca_pem(&self) -> Option<String> {
        self.emulator.ca_pem()
    }

    /// Set a defect of TLS for the next handshakes: ``expired``, ``not_yet_valid``,
    /// ``wrong_host``, ``self_signed``, ``ca_as_leaf``, ``tls_1_1``, ``plain_http`` or
    /// ``handshake_stall``; ``None`` for no defect.
    fn set_tls_trouble(&self, trouble: Option<&str>) -> PyResult<()> {
        let trouble = trouble.map(|name| named("trouble", name)).transpose()?;
        self.emulator.set_tls_trouble(trouble).map_err(failed)
    }

    fn _rotate_authority(&self) -> PyResult<String> {
        self.emulator.rotate_authority().map_err(failed)
    }

    /// Set the user and the password that the proxy requires; ``None`` to accept every
    /// client.
    fn set_proxy_credentials(&self, credentials: Option<(String, String)>) {
        let credentials = credentials.as_ref();
        self.emulator
            .set_proxy_credentials(credentials.map(|(user, password)| (&**user, &**password)));
    }

    /// Close idle connections after this many seconds; ``None`` to keep them. Applies to
    /// connections made later.
    fn set_idle_timeout(&self, seconds: Option<f64>) -> PyResult<()> {
        self.emulator
            .set_idle_timeout(seconds.map(self::seconds).transpose()?);
        Ok(())
    }

    /// ``close``, ``reset``, ``finish`` or ``freeze`` the open connections, or one by its
    /// number in the log; with ``only_idle``, those without a request in flight. Return
    /// how many.
    #[pyo3(signature = (action, *, connection=None, only_idle=false))]
    fn connections(
        &self,
        action: &str,
        connection: Option<u64>,
        only_idle: bool,
    ) -> PyResult<usize> {
        let action = named("action", action)?;
        Ok(self.emulator.connections(action, connection, only_idle))
    }

    fn _add_fault(&self, fault: &str) -> PyResult<u64> {
        let fault: Fault = parsed(fault)?;
        self.emulator.add_fault(fault).map_err(failed)
    }

    fn _faults(&self) -> PyResult<String> {
        json(&self.emulator.faults())
    }

    /// Remove one fault; ``False`` if there is no fault with this number.
    fn remove_fault(&self, number: u64) -> bool {
        self.emulator.remove_fault(number)
    }

    /// Remove all faults.
    fn clear_faults(&self) {
        self.emulator.clear_faults();
    }

    /// Answer all requests that a fault with ``hold`` is holding, and thaw all connections.
    fn release(&self) {
        self.emulator.release();
    }

    /// The emulator's current time, in seconds since the epoch.
    fn now(&self) -> f64 {
        self.emulator.now().as_secs_f64()
    }

    /// Move the emulator's clock forward, or back if ``seconds`` is negative.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        let by = self::seconds(seconds.abs())?;
        if seconds < 0.0 {
            self.emulator.set_back(by);
        } else {
            self.emulator.advance(by);
        }
        Ok(())
    }

    /// Stop the emulator's clock.
    fn stop_clock(&self) {
        self.emulator.stop_clock();
    }

    /// Start the emulator's clock again.
    fn run_clock(&self) {
        self.emulator.run_clock();
    }

    /// Set the lifetime of access tokens issued from now on, in seconds.
    fn set_access_token_lifetime(&self, seconds: f64) -> PyResult<()> {
        self.emulator
            .set_access_token_lifetime(self::seconds(seconds)?);
        Ok(())
    }

    /// Set the lifetime of business tokens issued from now on, in seconds; ``None`` for
    /// their session duration.
    fn set_business_token_lifetime(&self, seconds: Option<f64>) -> PyResult<()> {
        self.emulator
            .set_business_token_lifetime(seconds.map(self::seconds).transpose()?);
        Ok(())
    }

    /// Set the rate limit in requests per second; ``None`` for no limit.
    fn set_rate_limit(&self, per_second: Option<u32>) {
        self.emulator.set_rate_limit(per_second);
    }

    /// Revoke a token, given as text or as a token object; ``False`` if this emulator
    /// did not issue it.
    fn revoke(&self, token: &Bound<'_, PyAny>) -> PyResult<bool> {
        let text: String = match token.extract() {
            Ok(text) => text,
            Err(_) => token.getattr("secret")?.extract()?,
        };
        Ok(self.emulator.revoke(&text))
    }

    /// Revoke all tokens of a kind, ``access`` or ``business``.
    fn revoke_all(&self, kind: &str) -> PyResult<()> {
        self.emulator.revoke_all(self::kind(kind)?);
        Ok(())
    }

    /// Give a client a new secret. The old one is refused from now on, unless
    /// ``keep_old`` is true.
    #[pyo3(signature = (client_id, client_secret, *, keep_old=false))]
    fn rotate(&self, client_id: &str, client_secret: &str, keep_old: bool) -> PyResult<()> {
        if keep_old {
            self.emulator.rotate_keeping_old(client_id, client_secret)
        } else {
            self.emulator.rotate(client_id, client_secret)
        }
        .map_err(failed)
    }

    fn _counters(&self) -> PyResult<String> {
        json(&self.emulator.counters())
    }

    /// Number of requests to an endpoint: ``token``, ``whoami``, ``auth_token``,
    /// ``business``, ``business_data``, ``preflight``, ``unknown`` or ``proxy``.
    fn count(&self, endpoint: &str) -> PyResult<u64> {
        let endpoint = serde_json::from_value(Value::from(endpoint))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(self.emulator.count(endpoint))
    }

    /// Wait until an endpoint has received this number of requests; ``False`` if that
    /// takes longer than ``timeout`` seconds.
    #[pyo3(signature = (endpoint, requests, *, timeout=10.0))]
    fn wait_for(
        &self,
        py: Python<'_>,
        endpoint: &str,
        requests: u64,
        timeout: f64,
    ) -> PyResult<bool> {
        let endpoint = serde_json::from_value(Value::from(endpoint))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let until = Instant::now() + seconds(timeout)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let enough = gil::released(py, || {
                let enough = |counters: &layerfi_auth_emulator::Counters| {
                    counters.endpoint(endpoint).total >= requests
                };
                self.emulator
                    .wait_until(enough, SIGNAL_CHECK_INTERVAL.min(left))
            });
            if enough || left.is_zero() {
                return Ok(enough);
            }
            py.check_signals()?;
        }
    }

    fn _log(&self, after: u64) -> PyResult<String> {
        json(&self.emulator.log_after(after))
    }

    /// The name of a token in the log.
    fn fingerprint(&self, token: &str) -> String {
        self.emulator.fingerprint(token)
    }

    /// Restore the state at the start, except for the ports.
    fn reset(&self) {
        self.emulator.reset();
    }

    /// Stop the emulator. It cannot be started again.
    fn stop(&self) {
        self.emulator.stop();
    }
}
