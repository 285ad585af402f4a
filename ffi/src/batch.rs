//! `layerfi_business_tokens`: the results of a batch.

use std::collections::HashSet;
use std::ffi::{c_char, c_void};

use layerfi_auth::{BatchOptions, BatchProgress, BusinessToken, Error, blocking};

use crate::business_token::layerfi_business_token;
use crate::error::{layerfi_error, layerfi_result};
use crate::failure::Failure;
use crate::handle;
use crate::panic::{self, guard};
use crate::string;

/// How far a batch has come.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_batch_progress {
    /// Ids, duplicates included.
    pub total: usize,
    /// Different businesses among them, refused ids included.
    pub distinct: usize,
    /// Those of them whose result is there.
    pub done: usize,
    /// Those of them that failed.
    pub failed: usize,
}

/// Told how far a batch has come, whenever a result is there. Returning false
/// ends the batch: what is missing then is LAYERFI_RESULT_TIMEOUT in its
/// place. It must not throw or longjmp.
pub type layerfi_progress_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, progress: *const layerfi_batch_progress) -> bool,
>;

/// One result per id of a batch, in order. A const pointer to it may be used
/// from many threads at once.
pub struct layerfi_business_tokens {
    results: Vec<Result<BusinessToken, Error>>,
}

/// The ids that C gave.
///
/// # Safety
/// `ids` is null, or points to `count` pointers that are each as
/// [`string::read`] wants them.
pub(crate) unsafe fn read_ids<'a>(
    ids: *const *const c_char,
    count: usize,
) -> Result<Vec<&'a str>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if ids.is_null() {
        return Err(Failure::Null("business_ids"));
    }
    // SAFETY: as the caller promises.
    let ids = unsafe { std::slice::from_raw_parts(ids, count) };
    ids.iter()
        // SAFETY: as the caller promises.
        .map(|id| unsafe { string::read(*id, "business_ids") })
        .collect()
}

/// Runs a batch. Ids that are refused take no part in it, and are put in their
/// places afterwards.
pub(crate) fn run(
    client: &blocking::Client,
    ids: &[&str],
    options: BatchOptions,
    mut progress: impl FnMut(&layerfi_batch_progress) -> bool,
) -> layerfi_business_tokens {
    let checked: Vec<_> = ids.iter().map(|id| client.business_id(id)).collect();
    let refused: Vec<&str> = std::iter::zip(ids, &checked)
        .filter_map(|(id, checked)| checked.is_err().then_some(*id))
        .collect();
    let different = refused.iter().collect::<HashSet<_>>().len();
    let mut tell = |so_far: BatchProgress| {
        progress(&layerfi_batch_progress {
            total: so_far.total + refused.len(),
            distinct: so_far.distinct + different,
            done: so_far.done + different,
            failed: so_far.failed + different,
        })
    };
    let businesses: Vec<_> = checked.iter().flatten().cloned().collect();
    if businesses.is_empty() && different > 0 {
        // All results are there, and no other comes that would tell so.
        tell(BatchProgress::default());
    }
    let minted = client.business_tokens(businesses, options, tell);
    let mut minted = minted.into_iter();
    let results = checked
        .into_iter()
        .filter_map(|id| match id {
            Ok(_) => minted.next(),
            Err(error) => Some(Err(error)),
        })
        .collect();
    layerfi_business_tokens { results }
}

/// How many results there are, which is how many ids were given; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_len(
    tokens: *const layerfi_business_tokens,
) -> usize {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { tokens.as_ref() }.map_or(0, |tokens| tokens.results.len())
}

/// The result at `index`, counted from 0: the token, or what its business
/// failed with. Free the token with layerfi_business_token_free(); it outlives
/// the batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_get(
    tokens: *const layerfi_business_tokens,
    index: usize,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let tokens = unsafe { handle::borrow(tokens, "tokens")? };
        handle::check_out(out, "out")?;
        let token = tokens
            .results
            .get(index)
            .ok_or(Failure::Argument("index", "is past the last result"))?
            .clone()?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_business_token::new(token)) };
        Ok(())
    })
}

/// Frees the results of a batch. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_tokens_free(tokens: *mut layerfi_business_tokens) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(tokens) };
    });
}
