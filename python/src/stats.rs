//! The engine's counters as a Python object.

use std::collections::BTreeMap;

use layerfi_auth::SharedCacheState;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::tokens::{rfc3339, utc};

/// Counters of a client since it was made. They contain no secret.
#[pyclass(frozen, module = "layerfi_auth")]
pub(crate) struct Stats(pub(crate) layerfi_auth::Stats);

#[pymethods]
impl Stats {
    /// Calls that returned a cached token at once.
    #[getter]
    fn hits(&self) -> u64 {
        self.0.hits
    }

    /// Hits while a refresh was due, running or failing.
    #[getter]
    fn stale_serves(&self) -> u64 {
        self.0.stale_serves
    }

    /// Requests started because there was no valid token.
    #[getter]
    fn misses(&self) -> u64 {
        self.0.misses
    }

    /// Calls that waited for a request, their own or another call's.
    #[getter]
    fn waits(&self) -> u64 {
        self.0.waits
    }

    /// Background refreshes started before expiry.
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

    /// Retries of failed requests.
    #[getter]
    fn retries(&self) -> u64 {
        self.0.retries
    }

    /// Tokens that were invalidated because a server refused them.
    #[getter]
    fn invalidations(&self) -> u64 {
        self.0.invalidations
    }

    /// Failures after all retries, by kind of error.
    #[getter]
    fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .failures
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect()
    }

    /// Number of business tokens in the cache.
    #[getter]
    fn business_tokens(&self) -> usize {
        self.0.business_tokens
    }

    /// Tokens that came from the shared cache.
    #[getter]
    fn shared_adopted(&self) -> u64 {
        self.0.shared_adopted
    }

    /// Tokens that this client stored in the shared cache.
    #[getter]
    fn shared_published(&self) -> u64 {
        self.0.shared_published
    }

    /// Requests for which this client waited for another process.
    #[getter]
    fn shared_waits(&self) -> u64 {
        self.0.shared_waits
    }

    /// Requests sent alone, because the shared cache failed or no process had a result.
    #[getter]
    fn shared_alone(&self) -> u64 {
        self.0.shared_alone
    }

    /// Entries of the shared cache that were not accepted.
    #[getter]
    fn shared_rejected(&self) -> u64 {
        self.0.shared_rejected
    }

    /// Failed operations of the shared cache.
    #[getter]
    fn shared_faults(&self) -> u64 {
        self.0.shared_faults
    }

    /// ``"off"`` without a shared cache, ``"up"``, or ``"down"`` after a failure.
    #[getter]
    fn shared_cache(&self) -> &'static str {
        self.0.shared_cache.as_str()
    }

    /// When the current access token expires (an aware datetime in UTC), if there is one.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.expires_at.map(|at| utc(py, at)).transpose()
    }

    /// Return the counters as a dict for JSON, under the names of the attributes.
    ///
    /// ``expires_at`` is text, such as ``2030-01-31T12:00:00Z``.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("hits", self.hits())?;
        dict.set_item("stale_serves", self.stale_serves())?;
        dict.set_item("misses", self.misses())?;
        dict.set_item("waits", self.waits())?;
        dict.set_item("refreshes", self.refreshes())?;
        dict.set_item("token_requests", self.token_requests())?;
        dict.set_item("mints", self.mints())?;
        dict.set_item("retries", self.retries())?;
        dict.set_item("invalidations", self.invalidations())?;
        dict.set_item("failures", self.failures())?;
        dict.set_item("business_tokens", self.business_tokens())?;
        dict.set_item("shared_adopted", self.shared_adopted())?;
        dict.set_item("shared_published", self.shared_published())?;
        dict.set_item("shared_waits", self.shared_waits())?;
        dict.set_item("shared_alone", self.shared_alone())?;
        dict.set_item("shared_rejected", self.shared_rejected())?;
        dict.set_item("shared_faults", self.shared_faults())?;
        dict.set_item("shared_cache", self.shared_cache())?;
        let expires_at = self.0.expires_at.map(|at| rfc3339(py, at));
        dict.set_item("expires_at", expires_at.transpose()?)?;
        Ok(dict)
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
            shared_adopted,
            shared_published,
            shared_waits,
            shared_alone,
            shared_rejected,
            shared_faults,
            shared_cache,
            ..
        } = &self.0;
        let shared = match shared_cache {
            SharedCacheState::Off => String::new(),
            state => format!(
                ", shared_adopted={shared_adopted}, shared_published={shared_published}, \
                 shared_waits={shared_waits}, shared_alone={shared_alone}, \
                 shared_rejected={shared_rejected}, shared_faults={shared_faults}, \
                 shared_cache='{}'",
                state.as_str()
            ),
        };
        format!(
            "Stats(hits={hits}, stale_serves={stale_serves}, misses={misses}, waits={waits}, \
             refreshes={refreshes}, token_requests={token_requests}, mints={mints}, \
             retries={retries}, invalidations={invalidations}, \
             business_tokens={business_tokens}, failures={}{shared})",
            self.0.failures.iter().map(|(_, count)| count).sum::<u64>()
        )
    }
}
