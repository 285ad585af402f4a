//! The engine's counters as a Python object.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::tokens::utc;

/// What has happened since the client was made, counted. Never a secret.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct Stats(pub(crate) layerfi_auth::Stats);

#[pymethods]
impl Stats {
    /// Calls served from the cache at once.
    #[getter]
    fn hits(&self) -> u64 {
        self.0.hits
    }

    /// Those of them served while a refresh was due, under way or failing.
    #[getter]
    fn stale_serves(&self) -> u64 {
        self.0.stale_serves
    }

    /// Requests started because there was nothing to serve.
    #[getter]
    fn misses(&self) -> u64 {
        self.0.misses
    }

    /// Calls that waited for a request, their own or another's.
    #[getter]
    fn waits(&self) -> u64 {
        self.0.waits
    }

    /// Refreshes started ahead of expiry, with nobody waiting.
    #[getter]
    fn refreshes(&self) -> u64 {
        self.0.refreshes
    }

    /// Requests sent to the token endpoint.
    #[getter]
    fn token_requests(&self) -> u64 {
        self.0.token_requests
    }

    /// Requests sent to mint business tokens.
    #[getter]
    fn mints(&self) -> u64 {
        self.0.mints
    }

    /// Requests that were sent again after a failure.
    #[getter]
    fn retries(&self) -> u64 {
        self.0.retries
    }

    /// Tokens thrown away because a server refused them.
    #[getter]
    fn invalidations(&self) -> u64 {
        self.0.invalidations
    }

    /// Failures, after their retries, by the kind of error.
    #[getter]
    fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .failures
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect()
    }

    /// Business tokens in the cache.
    #[getter]
    fn business_tokens(&self) -> usize {
        self.0.business_tokens
    }

    /// When the current access token expires, if there is one; an aware datetime in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.expires_at.map(|at| utc(py, at)).transpose()
    }

    fn __repr__(&self) -> String {
        let layerfi_auth::Stats {
            hits,
            stale_serves,
            misses,
            waits,
            refreshes,
            token_requests,
            mints,
            retries,
            invalidations,
            business_tokens,
            ..
        } = &self.0;
        format!(
            "Stats(hits={hits}, stale_serves={stale_serves}, misses={misses}, waits={waits}, \
             refreshes={refreshes}, token_requests={token_requests}, mints={mints}, \
             retries={retries}, invalidations={invalidations}, \
             business_tokens={business_tokens}, failures={})",
            self.0.failures.iter().map(|(_, count)| count).sum::<u64>()
        )
    }
}
