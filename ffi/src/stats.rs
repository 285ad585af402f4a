//! `layerfi_stats`: a client's counters.

use layerfi_auth::{SharedCacheState, Stats};

use crate::client::layerfi_client;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out};
use crate::result::layerfi_result;
use crate::time::unix_ms;

/// Whether a client's shared cache is used.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum layerfi_shared_cache_state {
    /// The client has no shared cache.
    Off = 0,
    /// The store answered last, or was not asked yet.
    Up = 1,
    /// The store failed last. It is asked again after a pause.
    Down = 2,
}

impl layerfi_shared_cache_state {
    fn of(state: SharedCacheState) -> Self {
        match state {
            SharedCacheState::Up => Self::Up,
            SharedCacheState::Down => Self::Down,
            _ => Self::Off,
        }
    }
}

/// A client's counters since it was made; in a forked child, since the parent
/// made it. Later revisions may add fields at the end: the caller passes the size
/// of its struct.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct layerfi_stats {
    /// Calls that returned a cached token without waiting.
    pub hits: u64,
    /// How many of those calls came while a refresh was due, running or failing.
    pub stale_serves: u64,
    /// Token fetches that started because no valid token was cached.
    pub misses: u64,
    /// Calls that waited for a fetch.
    pub waits: u64,
    /// Token fetches that started before the cached token expired.
    pub refreshes: u64,
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Requests for business tokens.
    pub mints: u64,
    /// Requests that were sent again after a failure.
    pub retries: u64,
    /// Tokens that were removed because a server refused them.
    pub invalidations: u64,
    /// Number of business tokens in the cache.
    pub business_tokens: u64,
    /// When the cached access token expires, in milliseconds since 1970-01-01
    /// 00:00 UTC; -1 if there is none.
    pub expires_at_ms: i64,
    /// Fetches that failed after their retries: `failures[r]` of them with the
    /// layerfi_result `r`.
    pub failures: [u64; 16],
    /// Tokens that came from the shared cache.
    pub shared_adopted: u64,
    /// Tokens that this client stored in the shared cache.
    pub shared_published: u64,
    /// Fetches that waited for another process.
    pub shared_waits: u64,
    /// Fetches that sent their own request although the client has a shared cache,
    /// because the store failed or no other process came to a result.
    pub shared_alone: u64,
    /// Entries of the shared cache that were not accepted.
    pub shared_rejected: u64,
    /// Failed operations of the shared cache.
    pub shared_faults: u64,
    /// Whether the shared cache is used, a layerfi_shared_cache_state.
    pub shared_cache: u64,
}

impl layerfi_stats {
    fn new(stats: &Stats) -> Self {
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
            shared_adopted: stats.shared_adopted,
            shared_published: stats.shared_published,
            shared_waits: stats.shared_waits,
            shared_alone: stats.shared_alone,
            shared_rejected: stats.shared_rejected,
            shared_faults: stats.shared_faults,
            shared_cache: layerfi_shared_cache_state::of(stats.shared_cache) as u64,
        }
    }

    /// Writes the fields that the caller's struct has, and zeros after them.
    ///
    /// # Safety
    /// `out` is not null, and `size` bytes from it on may be written.
    unsafe fn write(self, out: *mut Self, size: usize) -> Result<(), Failure> {
        if size < size_of::<u64>() {
            return Err(Failure::Buffer("size", size_of::<Self>()));
        }
        let known = size.min(size_of::<Self>());
        let out = out.cast::<u8>();
        // SAFETY: `known` is within both structs, which do not overlap, and the rest is within
        // the caller's.
        unsafe {
            std::ptr::from_ref(&self)
                .cast::<u8>()
                .copy_to_nonoverlapping(out, known);
            out.add(known).write_bytes(0, size - known);
        }
        Ok(())
    }
}

/// Copies the client's counters to a struct of the caller. `size` is
/// `sizeof(layerfi_stats)` in bytes: fields that the caller's struct does not have
/// are left out, and bytes that the library does not know are set to 0.
///
/// Errors: LAYERFI_RESULT_BUFFER_TOO_SMALL if `size` is less than 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_stats(
    client: *const layerfi_client,
    out: *mut layerfi_stats,
    size: usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        check_out!(out);
        let stats = layerfi_stats::new(&client.client.stats());
        // SAFETY: it is not null, and by the header's conventions it has `size` bytes.
        unsafe { stats.write(out, size) }
    })
}
