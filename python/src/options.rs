//! Applies the client's keyword options to the engine's builder.

use layerfi_auth::{BasicEncoding, ClientBuilder};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::args::{self, Arg, Seconds};
use crate::errors::raise;
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
        let arg = Arg::setting(&name, &value);
        builder = match name.as_str() {
            "environment" => {
                let environment = arg.text()?.parse();
                builder.environment(environment.map_err(|error| raise(py, &error))?)
            }
            "client_id" => builder.client_id(arg.text()?),
            "client_secret" => builder.client_secret(arg.text()?),
            "client_secret_file" => builder.client_secret_file(arg.path()?),
            "credentials" if value.is_callable() => {
                let given = provider.insert(PythonProvider::new(value.unbind()));
                builder.credentials_provider(given.clone())
            }
            "credentials" => return Err(arg.expected("a callable")),
            "api_url" => builder.api_url(arg.text()?),
            "auth_url" => builder.auth_url(arg.text()?),
            "scope" => builder.scope(arg.text()?),
            "basic_encoding" => builder.basic_encoding(match arg.choice(&["raw", "form"])? {
                "form" => BasicEncoding::Form,
                _ => BasicEncoding::Raw,
            }),
            "ca_file" => builder.ca_file(arg.path()?),
            "ca_pem" => builder.ca_pem(arg.text_or_bytes()?),
            "trust" => {
                let trust = arg.text()?.parse();
                builder.trust(trust.map_err(|error| raise(py, &error))?)
            }
            "proxy" => match value.cast::<PyBool>() {
                Ok(flag) if !flag.is_true() => builder.no_proxy(),
                Ok(_) => return Err(arg.expected("a str or False")),
                Err(_) => builder.proxy(arg.text()?),
            },
            "allow_http_loopback" => builder.allow_http_loopback(arg.flag()?),
            "allow_opaque_business_ids" => builder.allow_opaque_business_ids(arg.flag()?),
            "timeout" => builder.timeout(arg.seconds(Seconds::Setting)?),
            "connect_timeout" => builder.connect_timeout(arg.seconds(Seconds::Setting)?),
            "attempt_timeout" => builder.attempt_timeout(arg.seconds(Seconds::Setting)?),
            // The ranges are the engine's; its type of a number cannot hold all of Python's.
            "max_attempts" => builder.max_attempts(arg.int_for_engine(1..=100, "")?),
            "business_token_capacity" => {
                builder.business_token_capacity(arg.int_for_engine(1..=u64::MAX, "")?)
            }
            "keep_warm" => builder.keep_warm(arg.flag()?),
            "shared_cache" => builder.shared_cache(arg.text()?),
            "shared_cache_key" => builder.shared_cache_key(arg.text()?),
            "shared_cache_prefix" => builder.shared_cache_prefix(arg.text()?),
            "shared_business_tokens" => builder.shared_business_tokens(arg.flag()?),
            "user_agent" => builder.user_agent(arg.text()?),
            other => return Err(args::unexpected("Client", other)),
        };
    }
    Ok((builder, provider))
}
