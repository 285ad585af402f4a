//! `layerfi_business_tokens`: the results of a batch.

use std::ffi::{c_char, c_void};

use layerfi_auth::{BatchOptions, BatchProgress, BusinessToken, Error};

use crate::business_token::{layerfi_business_token, session_duration};
use crate::client::{Timeout, layerfi_client};
use crate::default::given;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get, read_strs, write_out};
use crate::result::layerfi_result;

/// The progress of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_batch_progress {
    /// Number of ids, duplicates included.
    pub total: usize,
    /// Number of different ids, invalid ids included.
    pub distinct: usize,
    /// How many of the different ids have a result.
    pub done: usize,
    /// How many of those results are failures.
    pub failed: usize,
}

/// Receives the progress of a batch after each result, and at least four times a
/// second. If it returns false, the batch ends, and missing results are
/// LAYERFI_RESULT_TIMEOUT. `progress` is valid during the call only. It must not
/// throw or longjmp.
pub type layerfi_progress_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, progress: *const layerfi_batch_progress) -> bool,
>;

/// The results of a batch, one per id, in the order of the ids. A const pointer
/// to it may be used from several threads at the same time. Free it with
/// layerfi_business_tokens_free().
pub struct layerfi_business_tokens {
    results: Vec<Result<BusinessToken, Error>>,
}

fn options(session_duration_s: u64, max_in_flight: u64) -> Result<BatchOptions, Failure> {
    let options = BatchOptions::default().session_duration(session_duration(session_duration_s)?);
    Ok(match given(max_in_flight) {
        None => options,
        Some(0) => {
            return Err(Failure::Argument(
                "max_in_flight",
                "must be at least 1, got 0",
                "use LAYERFI_DEFAULT for the default",
            ));
        }
        Some(most) => options.max_in_flight(usize::try_from(most).unwrap_or(usize::MAX)),
    })
}

/// Requests tokens for many businesses and waits for all results. Duplicate ids
/// share one request. Requests are sent within Layer's rate limit. Free the
/// results with layerfi_business_tokens_free().
///
/// `business_ids` is an array of `count` strings; it may be NULL if `count` is 0.
/// An id that is not valid fails in its own result, not in this call.
/// `session_duration_s` is as in layerfi_client_business_token(). `max_in_flight`
/// is the maximum number of concurrent requests, at least 1; LAYERFI_DEFAULT is
/// 32. `timeout_ms` limits each business in milliseconds, from the moment when the
/// rate limiter permits its request; it does not limit the batch. LAYERFI_DEFAULT
/// is the client's timeout. `progress` may be NULL; otherwise it is called with
/// `userdata`, from this thread.
///
/// Errors: LAYERFI_RESULT_INVALID_ARGUMENT for a number that is not valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_business_tokens(
    client: *const layerfi_client,
    business_ids: *const *const c_char,
    count: usize,
    session_duration_s: u64,
    max_in_flight: u64,
    timeout_ms: u64,
    progress: layerfi_progress_callback,
    userdata: *mut c_void,
    out: *mut *mut layerfi_business_tokens,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        let ids = read_strs!(business_ids, count);
        check_out!(out);
        let options = options(session_duration_s, max_in_flight)?;
        let timeout = Timeout::read(timeout_ms)?;
        let report = |so_far: BatchProgress| {
            let so_far = layerfi_batch_progress {
                total: so_far.total,
                distinct: so_far.distinct,
                done: so_far.done,
                failed: so_far.failed,
            };
            // SAFETY: the caller passed the two together, for this thread.
            progress.is_none_or(|progress| unsafe { progress(userdata, &so_far) })
        };
        let results = client
            .waiting(timeout)?
            .business_tokens_for_ids(ids, options, report);
        write_out!(out, layerfi_business_tokens { results });
        Ok(())
    })
}

/// The number of results, equal to the number of ids; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_len(
    tokens: *const layerfi_business_tokens,
) -> usize {
    get!(tokens, 0, |tokens| tokens.results.len())
}

/// The result at `index`, which starts at 0: a token, or the error of its
/// business. Free the token with layerfi_business_token_free(); it stays valid
/// after the results are freed.
///
/// Errors: the failure of this business. LAYERFI_RESULT_INVALID_ARGUMENT if
/// `index` is not less than layerfi_business_tokens_len().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_get(
    tokens: *const layerfi_business_tokens,
    index: usize,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let tokens = borrow!(tokens);
        check_out!(out);
        let token = tokens
            .results
            .get(index)
            .ok_or(Failure::Argument(
                "index",
                "is past the last result",
                "use an index below layerfi_business_tokens_len()",
            ))?
            .clone()?;
        write_out!(out, layerfi_business_token::new(token));
        Ok(())
    })
}

/// Frees the results of a batch. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_free(tokens: *mut layerfi_business_tokens) {
    free!(tokens);
}
