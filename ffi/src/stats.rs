//! `layerfi_stats`: what happened, counted.

use layerfi_auth::Stats;

use crate::error::layerfi_result;
use crate::failure::Failure;
use crate::token::unix_ms;

/// A client's counters, all since it was made (in a forked child: since the
/// parent made it). Later revisions may add fields at its end: a caller says
/// by `sizeof` which ones it knows.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct layerfi_stats {
    /// Calls served from the cache at once.
    pub hits: u64,
    /// Those of them served while a refresh was due, under way or failing.
    pub stale_serves: u64,
    /// Flights started because there was nothing to serve.
    pub misses: u64,
    /// Calls that waited for a flight, their own or another's.
    pub waits: u64,
    /// Flights started ahead of expiry, with nobody waiting.
    pub refreshes: u64,
    /// Requests sent to the token endpoint.
    pub token_requests: u64,
    /// Requests sent to mint business tokens.
    pub mints: u64,
    /// Requests that were sent again after a failure.
    pub retries: u64,
    /// Tokens thrown away because a server refused them.
    pub invalidations: u64,
    /// Business tokens in the cache.
    pub business_tokens: u64,
    /// When the current access token expires, in milliseconds since 1970 began
    /// (UTC); -1 where there is none.
    pub expires_at_ms: i64,
    /// Flights that failed, after their retries: `failures[r]` of them with
    /// the layerfi_result `r`.
    pub failures: [u64; 16],
}

impl layerfi_stats {
    pub(crate) fn new(stats: &Stats) -> Self {
        let mut failures = [0; 16];
        for (kind, count) in &stats.failures {
            if let Some(failures) = failures.get_mut(layerfi_result::of(*kind) as usize) {
                *failures = *count;
            }
        }
        Self {
            hits: stats.hits,
            stale_serves: stats.stale_serves,
            misses: stats.misses,
            waits: stats.waits,
            refreshes: stats.refreshes,
            token_requests: stats.token_requests,
            mints: stats.mints,
            retries: stats.retries,
            invalidations: stats.invalidations,
            business_tokens: stats.business_tokens as u64,
            expires_at_ms: stats.expires_at.map_or(-1, unix_ms),
            failures,
        }
    }

    /// Writes as much of it as the caller has room for, and zeros behind.
    ///
    /// # Safety
    /// `out` is not null, and `size` bytes from it on may be written.
    pub(crate) unsafe fn write(self, out: *mut Self, size: usize) -> Result<(), Failure> {
        if size < size_of::<u64>() {
            return Err(Failure::Buffer(size_of::<Self>()));
        }
        let known = size.min(size_of::<Self>());
        let out = out.cast::<u8>();
        // SAFETY: `known` is within both structs, which do not overlap, and
        // the rest is within the caller's.
        unsafe {
            std::ptr::from_ref(&self)
                .cast::<u8>()
                .copy_to_nonoverlapping(out, known);
            out.add(known).write_bytes(0, size - known);
        }
        Ok(())
    }
}
