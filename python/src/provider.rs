//! Credentials from a Python callable.

use layerfi_auth::{Credentials, CredentialsProvider};
use pyo3::prelude::*;

use crate::gil;

/// Asks a callable that gives `(client_id, client_secret)`.
pub(crate) struct PythonProvider(std::sync::Arc<Py<PyAny>>);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl PythonProvider {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self(std::sync::Arc::new(callable))
    }
}

impl CredentialsProvider for PythonProvider {
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let callable = std::sync::Arc::clone(&self.0);
        // It may wait for a network, and it waits for the GIL: not on the
        // engine's own thread.
        let call = tokio::task::spawn_blocking(move || {
            if !gil::is_open() {
                return None;
            }
            Python::try_attach(|py| {
                let pair = callable.call0(py).map_err(|error| error.to_string())?;
                let (client_id, client_secret): (String, String) = pair
                    .extract(py)
                    .map_err(|_| "it did not return (client_id, client_secret)".to_owned())?;
                Ok::<_, String>(Credentials::new(client_id, client_secret))
            })
        });
        match call.await {
            Ok(Some(Ok(credentials))) => Ok(credentials),
            Ok(Some(Err(why))) => Err(why.into()),
            Ok(None) | Err(_) => Err("the interpreter is shutting down".into()),
        }
    }
}
