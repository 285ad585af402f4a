//! The URLs to which the classes in `layerfi_auth.auth` may send a token.

use layerfi_auth::Error;
use pyo3::prelude::*;

use crate::args::Arg;
use crate::errors::raise;

/// A client's API and the origins that its user added.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct AllowedOrigins(layerfi_auth::AllowedOrigins);

#[pymethods]
impl AllowedOrigins {
    #[new]
    fn new(api_url: &str, origins: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = origins.py();
        let mut allowed = layerfi_auth::AllowedOrigins::new(api_url);
        let origins = Arg::setting("origins", origins).items("URLs")?;
        for (at, url) in origins.iter().enumerate() {
            let url = Arg::setting(&format!("origins[{at}]"), url).text()?;
            allowed
                .allow(&url)
                .map_err(|error: Error| raise(py, &error))?;
        }
        Ok(Self(allowed))
    }

    /// Return whether the token may be sent to this URL.
    fn allows(&self, url: &str) -> bool {
        self.0.allows(url)
    }

    /// Raise `InvalidArgumentError` for a URL that is not allowed.
    fn check(&self, py: Python<'_>, url: &str) -> PyResult<()> {
        self.0.check(url).map_err(|error| raise(py, &error))
    }
}
