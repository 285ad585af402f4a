//! Applies the client's keyword options to the engine's builder.

use std::path::PathBuf;
use std::time::Duration;

use layerfi_auth::{BasicEncoding, ClientBuilder};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use crate::errors::{config, expected, raise};
use crate::provider::PythonProvider;

/// Applies options to a builder; an option that is `None` counts as missing.
/// Also returns the credentials provider, if there is one.
pub(crate) fn apply(
    mut builder: ClientBuilder,
    options: &Bound<'_, PyDict>,
) -> PyResult<(ClientBuilder, Option<PythonProvider>)> {
    let py = options.py();
    let mut provider = None;
    for (name, value) in options {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        builder = match name.as_str() {
            "environment" => {
                let environment = text(&name, &value)?.parse();
                builder.environment(environment.map_err(|error| raise(py, &error))?)
            }
            "client_id" => builder.client_id(text(&name, &value)?),
            "client_secret" => builder.client_secret(text(&name, &value)?),
            "client_secret_file" => builder.client_secret_file(path(&name, &value)?),
            "credentials" if value.is_callable() => {
                let given = provider.insert(PythonProvider::new(value.unbind()));
                builder.credentials_provider(given.clone())
            }
            "credentials" => return Err(expected(&name, "a callable", &value)),
            "api_url" => builder.api_url(text(&name, &value)?),
            "auth_url" => builder.auth_url(text(&name, &value)?),
            "scope" => builder.scope(text(&name, &value)?),
            "basic_encoding" => builder.basic_encoding(match text(&name, &value)?.as_str() {
                "raw" => BasicEncoding::Raw,
                "form" => BasicEncoding::Form,
                _ => {
                    return Err(config(
                        py,
                        "basic_encoding",
                        "basic_encoding is not valid",
                        "use raw or form",
                    ));
                }
            }),
            "ca_file" => builder.ca_file(path(&name, &value)?),
            "ca_pem" => builder.ca_pem(match value.extract::<Vec<u8>>() {
                Ok(pem) => pem,
                Err(_) => text(&name, &value)?.into_bytes(),
            }),
            "proxy" => match value.cast::<PyBool>() {
                Ok(flag) if !flag.is_true() => builder.no_proxy(),
                _ => builder.proxy(text(&name, &value)?),
            },
            "allow_http_loopback" => builder.allow_http_loopback(flag(&name, &value)?),
            "allow_opaque_business_ids" => builder.allow_opaque_business_ids(flag(&name, &value)?),
            "timeout" => builder.timeout(seconds("timeout", &value)?),
            "connect_timeout" => builder.connect_timeout(seconds("connect_timeout", &value)?),
            "attempt_timeout" => builder.attempt_timeout(seconds("attempt_timeout", &value)?),
            "max_attempts" => builder.max_attempts(count("max_attempts", &value)?),
            "business_token_capacity" => {
                builder.business_token_capacity(count("business_token_capacity", &value)?)
            }
            "keep_warm" => builder.keep_warm(flag(&name, &value)?),
            "user_agent" => builder.user_agent(text(&name, &value)?),
            other => {
                return Err(PyTypeError::new_err(format!(
                    "Client() got an unexpected keyword argument {other:?}"
                )));
            }
        };
    }
    Ok((builder, provider))
}

fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value
        .cast::<PyString>()
        .map_err(|_| expected(name, "a str", value))?;
    text.extract()
        .map_err(|_| expected(name, "text that can be encoded as UTF-8", value))
}

fn path(name: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    value.extract().map_err(|_| expected(name, "a path", value))
}

fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.extract().map_err(|_| expected(name, "a bool", value))
}

fn seconds(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds: f64 = value
        .extract()
        .map_err(|_| expected(name, "a number of seconds", value))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        config(
            value.py(),
            name,
            &format!("{name} is {seconds} seconds"),
            "use a positive number of seconds",
        )
    })
}

fn count<N>(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<N>
where
    N: TryFrom<i64>,
{
    let number: i64 = value
        .extract()
        .map_err(|_| expected(name, "an int", value))?;
    N::try_from(number).map_err(|_| {
        config(
            value.py(),
            name,
            &format!("{name} is {number}"),
            "use a positive whole number",
        )
    })
}
