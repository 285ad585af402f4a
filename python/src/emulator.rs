//! The emulator, for `layerfi_auth.testing`.

use std::error::Error as _;
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder,
    EmulatorError, Endpoint, Environment, Fault, TlsTrouble, TokenKind,
};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::args::{self, Arg, Seconds};
use crate::errors::{config, invalid_argument};
use crate::gil::{self, SIGNAL_CHECK_INTERVAL};
use crate::tokens::{AccessToken, BusinessToken};

/// Native base class of `layerfi_auth.testing.Emulator`.
///
/// Faults, counters and the log are passed as JSON, as in the control API. It has
/// the same name, because errors about arguments show it.
#[pyclass(
    name = "Emulator",
    frozen,
    subclass,
    weakref,
    module = "layerfi_auth._native"
)]
pub(crate) struct EmulatorBase {
    emulator: Emulator,
    /// Id of the first client.
    client_id: String,
}

/// Timeout of `wait_for` if none is given.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// Longest wait of `wait_for`. A longer one could overflow a time.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The exception for an emulator that cannot start, or a call that it refuses.
fn failed(
    py: Python<'_>,
    error: &EmulatorError,
    invalid: fn(Python<'_>, &str, &str, &str) -> PyErr,
) -> PyErr {
    match error {
        EmulatorError::Bind { address, source } => {
            let what = source.to_string();
            // Python shows the number itself.
            let what = what.split(" (os error").next().unwrap_or_default();
            PyOSError::new_err((
                source.raw_os_error(),
                format!(
                    "{what}: the emulator cannot listen on {address}; stop the other program, \
                     or omit the port for a free one"
                ),
            ))
        }
        EmulatorError::AuthorityFile { path, source } => {
            let what = source.to_string();
            let what = what.split(" (os error").next().unwrap_or_default();
            PyOSError::new_err((
                source.raw_os_error(),
                format!("authority_file cannot be read or created: {what}"),
                path.clone(),
            ))
        }
        EmulatorError::UnknownClient => invalid(
            py,
            "client_id",
            "client_id is not one of the emulator's clients",
            "use one of them",
        ),
        EmulatorError::Invalid(text) => {
            let field = match text.split_once(' ') {
                Some(("business", _)) => "businesses",
                Some(("client", _)) => "clients",
                Some((field, _)) if field.contains('_') => field,
                _ => "fault",
            };
            invalid(py, field, text, "see its documentation")
        }
        other => {
            let cause = other.source().map(|cause| format!(": {cause}"));
            PyRuntimeError::new_err(format!("{other}{}", cause.unwrap_or_default()))
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

impl Arg<'_, '_> {
    /// The name of an endpoint or of a kind of token.
    fn word<T: serde::de::DeserializeOwned>(self, words: &'static [&'static str]) -> PyResult<T> {
        let word = self.choice(words)?;
        serde_json::from_value(Value::from(word))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    fn endpoint(self) -> PyResult<Endpoint> {
        self.word(&[
            "token",
            "whoami",
            "auth_token",
            "business",
            "business_data",
            "preflight",
            "unknown",
            "proxy",
        ])
    }

    fn tls_trouble(self) -> PyResult<TlsTrouble> {
        self.word(&[
            "expired",
            "not_yet_valid",
            "wrong_host",
            "self_signed",
            "ca_as_leaf",
            "tls_1_1",
            "plain_http",
            "handshake_stall",
        ])
    }

    /// A pair of user name and password.
    fn user_and_password(self) -> PyResult<(String, String)> {
        let what = "a pair of user name and password as str";
        self.value.extract().map_err(|_| self.expected(what))
    }

    /// Pairs of a client's id and secret.
    fn clients(self) -> PyResult<Vec<(String, String)>> {
        let what = "pairs of client id and secret";
        let pair = |pair: Bound<'_, PyAny>| {
            pair.extract()
                .map_err(|_| self.expected(&format!("an iterable of {what} as str")))
        };
        self.items(what)?.into_iter().map(pair).collect()
    }

    /// Requests per second; `None` for no limit.
    fn rate_limit(self, value: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        if value.is_none() {
            return Ok(None);
        }
        self.int(0..=u64::from(u32::MAX), " requests per second, or None")
            .map(Some)
    }
}

/// Applies options, and returns the id of the first client.
fn builder(options: &Bound<'_, PyDict>) -> PyResult<(EmulatorBuilder, String)> {
    let py = options.py();
    let mut builder = Emulator::builder();
    let mut client_id = DEFAULT_CLIENT_ID.to_owned();
    for (name, value) in options {
        let name: String = name.extract()?;
        let arg = Arg::setting(&name, &value);
        builder = match name.as_str() {
            // The only option for which `None` is a value: no limit.
            "rate_limit" => builder.rate_limit(arg.rate_limit(&value)?),
            _ if value.is_none() => builder,
            "environment" => {
                let environment = arg.text()?.parse::<Environment>();
                builder.environment(environment.map_err(|error| {
                    config(
                        py,
                        "environment",
                        &error.to_string(),
                        "use one of these names",
                    )
                })?)
            }
            "clients" => {
                let clients = arg.clients()?;
                if let Some((id, _)) = clients.first() {
                    client_id.clone_from(id);
                }
                clients
                    .into_iter()
                    .fold(builder, |builder, (id, secret)| builder.client(id, secret))
            }
            "unauthorized_clients" => arg
                .clients()?
                .into_iter()
                .fold(builder, |builder, (id, secret)| {
                    builder.unauthorized_client(id, secret)
                }),
            "businesses" => {
                let ids = arg.items("business ids")?.into_iter().enumerate();
                let ids = ids.map(|(at, id)| {
                    let name = format!("businesses[{at}]");
                    Ok(Arg::setting(&name, &id).id()?.into_owned())
                });
                ids.collect::<PyResult<Vec<String>>>()?
                    .into_iter()
                    .fold(builder, EmulatorBuilder::business)
            }
            "basic_decoding" => builder.basic_decoding(match arg.choice(&["raw", "form"])? {
                "form" => BasicDecoding::Form,
                _ => BasicDecoding::Raw,
            }),
            "invalid_client_status" => builder.invalid_client_status(arg.int(400..=401, "")?),
            "access_token_lifetime" => {
                builder.access_token_lifetime(arg.seconds(Seconds::NotNegative)?)
            }
            "business_token_lifetime" => {
                builder.business_token_lifetime(arg.seconds(Seconds::NotNegative)?)
            }
            "tls" => builder.tls(arg.flag()?),
            "port" => builder.port(arg.int(0..=65_535, "")?),
            "control_port" => builder.control_port(arg.int(0..=65_535, "")?),
            "proxy" => match arg.flag()? {
                true => builder.proxy(),
                false => builder,
            },
            "proxy_port" => builder.proxy_port(arg.int(0..=65_535, "")?),
            "proxy_credentials" => {
                let (user, password) = arg.user_and_password()?;
                builder.proxy_credentials(user, password)
            }
            "idle_timeout" => builder.idle_timeout(arg.seconds(Seconds::NotNegative)?),
            "requests_per_connection" => {
                builder.requests_per_connection(arg.int(1..=u64::from(u32::MAX), "")?)
            }
            "authority_file" => builder.authority_file(arg.path()?),
            "demo_data" => builder.demo_data(arg.flag()?),
            "console" => builder.console(arg.flag()?),
            "tls_trouble" => builder.tls_trouble(arg.tls_trouble()?),
            "tls_versions" => builder.tls_versions(arg.word(&["1.2", "1.3", "1.2-1.3"])?),
            "http_versions" => builder.http_versions(arg.word(&["1.1", "2", "1.1-2"])?),
            "names" => {
                let names = arg.items("host names")?.into_iter().enumerate();
                let names = names.map(|(at, name)| {
                    let place = format!("names[{at}]");
                    Arg::setting(&place, &name).text()
                });
                names
                    .collect::<PyResult<Vec<String>>>()?
                    .into_iter()
                    .fold(builder, EmulatorBuilder::name)
            }
            other => return Err(args::unexpected("Emulator", other)),
        };
    }
    Ok((builder, client_id))
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
            tls_versions=None, http_versions=None, authority_file=None, demo_data=None, \
            console=None)"
    )]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let (builder, client_id) = match options {
            Some(options) => builder(options)?,
            None => (Emulator::builder(), DEFAULT_CLIENT_ID.to_owned()),
        };
        let emulator = gil::released(py, || builder.start_blocking())
            .map_err(|error| failed(py, &error, config))?;
        Ok(Self {
            emulator,
            client_id,
        })
    }

    /// The current `(client_id, client_secret)` of a client, by default of the first.
    /// An unknown client has the default secret.
    #[pyo3(signature = (client_id=None))]
    fn _credentials(&self, client_id: Option<&Bound<'_, PyAny>>) -> PyResult<(String, String)> {
        let client_id = match client_id {
            Some(client_id) => Arg::setting("client_id", client_id).text()?,
            None => self.client_id.clone(),
        };
        let secret = self.emulator.client_secret(&client_id);
        let secret = secret.unwrap_or_else(|| DEFAULT_CLIENT_SECRET.to_owned());
        Ok((client_id, secret))
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

    /// The URL of the console, a page for a browser; ``None`` without a console.
    #[getter]
    fn console_url(&self) -> Option<String> {
        self.emulator.console_url()
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

    /// Set a defect of TLS for the next handshakes; ``None`` for no defect.
    ///
    /// Defects are ``expired``, ``not_yet_valid``, ``wrong_host``, ``self_signed``,
    /// ``ca_as_leaf``, ``tls_1_1``, ``plain_http`` and ``handshake_stall``.
    fn set_tls_trouble(&self, py: Python<'_>, trouble: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let trouble = trouble.map(|value| Arg::of_call("trouble", value).tls_trouble());
        self.emulator
            .set_tls_trouble(trouble.transpose()?)
            .map_err(|error| failed(py, &error, invalid_argument))
    }

    fn _rotate_authority(&self, py: Python<'_>) -> PyResult<String> {
        self.emulator
            .rotate_authority()
            .map_err(|error| failed(py, &error, invalid_argument))
    }

    /// Set the user and the password that the proxy requires.
    ///
    /// With ``None`` it accepts every client.
    fn set_proxy_credentials(&self, credentials: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let credentials = credentials
            .map(|value| Arg::of_call("credentials", value).user_and_password())
            .transpose()?;
        let credentials = credentials.as_ref();
        self.emulator
            .set_proxy_credentials(credentials.map(|(user, password)| (&**user, &**password)));
        Ok(())
    }

    /// Close idle connections after this many seconds; ``None`` to keep them.
    ///
    /// Applies to connections made later.
    fn set_idle_timeout(&self, seconds: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let timeout =
            seconds.map(|value| Arg::of_call("seconds", value).seconds(Seconds::NotNegative));
        self.emulator.set_idle_timeout(timeout.transpose()?);
        Ok(())
    }

    /// ``close``, ``reset``, ``finish`` or ``freeze`` the open connections.
    ///
    /// With ``connection``, only the one with this number in the log; with
    /// ``only_idle``, those without a request in flight. Returns how many.
    #[pyo3(signature = (action, *, connection=None, only_idle=None))]
    #[pyo3(text_signature = "($self, action, *, connection=None, only_idle=False)")]
    fn connections(
        &self,
        action: &Bound<'_, PyAny>,
        connection: Option<&Bound<'_, PyAny>>,
        only_idle: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let action =
            Arg::of_call("action", action).word(&["close", "reset", "finish", "freeze"])?;
        let connection =
            connection.map(|value| Arg::of_call("connection", value).int(0..=u64::MAX, ""));
        let only_idle = only_idle.map(|value| Arg::of_call("only_idle", value).flag());
        Ok(self.emulator.connections(
            action,
            connection.transpose()?,
            only_idle.transpose()?.unwrap_or(false),
        ))
    }

    fn _add_fault(&self, py: Python<'_>, fault: &str) -> PyResult<u64> {
        let fault = serde_json::from_str::<Fault>(fault).map_err(|error| {
            // The place in the JSON means nothing to the caller.
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let message = format!("the fault is not valid: {text}");
            invalid_argument(py, "fault", &message, "see docs/emulator.md for its fields")
        })?;
        self.emulator
            .add_fault(fault)
            .map_err(|error| failed(py, &error, invalid_argument))
    }

    fn _faults(&self) -> PyResult<String> {
        json(&self.emulator.faults())
    }

    /// Remove one fault; ``False`` if there is no fault with this number.
    fn remove_fault(&self, number: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = Arg::of_call("number", number).int(0..=u64::MAX, "")?;
        Ok(self.emulator.remove_fault(number))
    }

    /// Remove all faults.
    fn clear_faults(&self) {
        self.emulator.clear_faults();
    }

    /// Answer all requests that a fault with ``hold`` holds, and thaw all connections.
    fn release(&self) {
        self.emulator.release();
    }

    /// Return the emulator's current time, in seconds since the epoch.
    fn now(&self) -> f64 {
        self.emulator.now().as_secs_f64()
    }

    /// Move the emulator's clock forward, or back if ``seconds`` is negative.
    fn advance(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let (back, by) = Arg::of_call("seconds", seconds).signed_seconds()?;
        if back {
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
    fn set_access_token_lifetime(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let lifetime = Arg::of_call("seconds", seconds).seconds(Seconds::NotNegative)?;
        self.emulator.set_access_token_lifetime(lifetime);
        Ok(())
    }

    /// Set the lifetime of business tokens issued from now on, in seconds.
    ///
    /// ``None`` stands for their session duration.
    fn set_business_token_lifetime(&self, seconds: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let lifetime =
            seconds.map(|value| Arg::of_call("seconds", value).seconds(Seconds::NotNegative));
        self.emulator
            .set_business_token_lifetime(lifetime.transpose()?);
        Ok(())
    }

    /// Set the rate limit in requests per second; ``None`` for no limit.
    fn set_rate_limit(&self, per_second: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = Arg::of_call("per_second", per_second).rate_limit(per_second)?;
        self.emulator.set_rate_limit(limit);
        Ok(())
    }

    /// Revoke a token, given as text or as a token object.
    ///
    /// Returns ``False`` if this emulator did not issue it.
    fn revoke(&self, token: &Bound<'_, PyAny>) -> PyResult<bool> {
        let is_token =
            token.is_instance_of::<AccessToken>() || token.is_instance_of::<BusinessToken>();
        let text: String = if is_token {
            token.getattr("secret")?.extract()?
        } else if token.is_instance_of::<PyString>() {
            Arg::of_call("token", token).text()?
        } else {
            let what = "an AccessToken, a BusinessToken, or a token's text";
            return Err(Arg::of_call("token", token).expected(what));
        };
        Ok(self.emulator.revoke(&text))
    }

    /// Revoke all tokens of a kind, ``access`` or ``business``.
    fn revoke_all(&self, kind: &Bound<'_, PyAny>) -> PyResult<()> {
        let kind: TokenKind = Arg::of_call("kind", kind).word(&["access", "business"])?;
        self.emulator.revoke_all(kind);
        Ok(())
    }

    /// Give a client a new secret.
    ///
    /// The old one is refused from now on, unless ``keep_old`` is true.
    #[pyo3(signature = (client_id, client_secret, *, keep_old=None))]
    #[pyo3(text_signature = "($self, client_id, client_secret, *, keep_old=False)")]
    fn rotate(
        &self,
        py: Python<'_>,
        client_id: &Bound<'_, PyAny>,
        client_secret: &Bound<'_, PyAny>,
        keep_old: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let client_id = Arg::of_call("client_id", client_id).text()?;
        let client_secret = Arg::of_call("client_secret", client_secret).text()?;
        let keep_old = keep_old.map(|value| Arg::of_call("keep_old", value).flag());
        if keep_old.transpose()?.unwrap_or(false) {
            self.emulator.rotate_keeping_old(&client_id, &client_secret)
        } else {
            self.emulator.rotate(&client_id, &client_secret)
        }
        .map_err(|error| failed(py, &error, invalid_argument))
    }

    fn _counters(&self) -> PyResult<String> {
        json(&self.emulator.counters())
    }

    /// Return the number of requests to an endpoint.
    ///
    /// Endpoints are ``token``, ``whoami``, ``auth_token``, ``business``,
    /// ``business_data``, ``preflight``, ``unknown`` and ``proxy``.
    fn count(&self, endpoint: &Bound<'_, PyAny>) -> PyResult<u64> {
        let endpoint = Arg::of_call("endpoint", endpoint).endpoint()?;
        Ok(self.emulator.count(endpoint))
    }

    /// Wait until an endpoint has received this number of requests.
    ///
    /// Returns ``False`` if that takes longer than ``timeout`` seconds.
    #[pyo3(signature = (endpoint, requests, *, timeout=None))]
    #[pyo3(text_signature = "($self, endpoint, requests, *, timeout=10.0)")]
    fn wait_for(
        &self,
        py: Python<'_>,
        endpoint: &Bound<'_, PyAny>,
        requests: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let endpoint = Arg::of_call("endpoint", endpoint).endpoint()?;
        let requests: u64 = Arg::of_call("requests", requests).int(0..=u64::MAX, "")?;
        let timeout = match timeout {
            Some(value) => Arg::of_call("timeout", value).seconds(Seconds::NotNegative)?,
            None => DEFAULT_WAIT,
        };
        let until = Instant::now() + timeout.min(MAX_WAIT);
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

    fn _log(&self, after: &Bound<'_, PyAny>) -> PyResult<String> {
        let after = Arg::of_call("after", after).int(0..=u64::MAX, "")?;
        json(&self.emulator.log_after(after))
    }

    /// Return the name of a token in the log.
    fn fingerprint(&self, token: &Bound<'_, PyAny>) -> PyResult<String> {
        let token = Arg::of_call("token", token).text()?;
        Ok(self.emulator.fingerprint(&token))
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
