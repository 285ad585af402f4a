//! `layerfi_client`: the calls.

use std::ffi::{CString, c_char};
use std::time::Duration;

use layerfi_auth::{
    AccessToken, BatchOptions, BusinessTokenOptions, Environment, SessionDuration, blocking,
};

use crate::batch::{self, layerfi_business_tokens, layerfi_progress_callback};
use crate::builder::layerfi_environment;
use crate::business_token::layerfi_business_token;
use crate::callback;
use crate::error::{layerfi_error, layerfi_result};
use crate::failure::Failure;
use crate::handle;
use crate::panic::{self, guard};
use crate::stats::layerfi_stats;
use crate::string::{self, layerfi_str, owned};
use crate::token::layerfi_token;
use crate::whoami::layerfi_whoami;

/// The session duration that Layer gives by default, in seconds.
pub const LAYERFI_SESSION_DURATION_DEFAULT: u64 = 3600;

/// For `min_remaining_s`: half of the life that the server gave the token.
pub const LAYERFI_MIN_REMAINING_DEFAULT: u64 = u64::MAX;

/// A longer timeout than this is this one.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client of Layer's authentication: one per set of credentials, for the
/// whole program. A const pointer to it may be used from many threads at once,
/// and in the child after a fork().
///
/// `timeout_ms` of a call is what it may take in all, waiting, retries and
/// back-off included, in milliseconds; 0 is the client's own timeout, and more
/// than a day is a day. A call that times out does not cancel a request that
/// others wait for.
pub struct layerfi_client {
    client: blocking::Client,
    api_url: CString,
    auth_url: CString,
    scope: CString,
}

impl layerfi_client {
    pub(crate) fn new(client: blocking::Client) -> Self {
        let settings = client.as_async();
        Self {
            api_url: owned(settings.api_url()),
            auth_url: owned(settings.auth_url()),
            scope: owned(settings.scope()),
            client,
        }
    }

    /// The client for a call that may wait for so long.
    pub(crate) fn waiting(&self, timeout_ms: u64) -> Result<blocking::Client, Failure> {
        callback::may_wait()?;
        Ok(match timeout_ms {
            0 => self.client.clone(),
            ms => {
                let timeout = Duration::from_millis(ms).min(LONGEST_TIMEOUT);
                self.client.with_timeout(timeout)
            }
        })
    }

    /// Panics while a token is borrowed.
    #[cfg(feature = "test-hooks")]
    pub(crate) fn panic(&self) -> Result<(), Failure> {
        let _borrowed = self.client.borrow_token();
        panic!("asked for by a test")
    }

    #[inline]
    fn token(&self, timeout_ms: u64) -> Result<AccessToken, Failure> {
        match self.client.borrow_token() {
            Some(token) => Ok(token.clone()),
            None => Ok(self.waiting(timeout_ms)?.token()?),
        }
    }

    fn token_at_hand(&self) -> Result<AccessToken, Failure> {
        let token = self.client.as_async().token_at_hand()?;
        token.ok_or(Failure::NotAvailable)
    }
}

/// Makes a client from the environment's variables; see
/// layerfi_client_builder_from_env() for which, and
/// layerfi_client_builder_build() for the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_from_env(
    out: *mut *mut layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        handle::check_out(out, "out")?;
        let client = layerfi_client::new(blocking::Client::from_env()?);
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, client) };
        Ok(())
    })
}

/// A valid access token: at once where there is one, else from a request that
/// all callers share. A token about to expire is returned at once and replaced
/// in the background. Free it with layerfi_token_free().
///
/// While nothing can be expected to have changed since the last failure (2 to
/// 60 seconds after a refusal of the credentials) that one is returned again
/// with no request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_token(
    client: *const layerfi_client,
    timeout_ms: u64,
    out: *mut *mut layerfi_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        handle::check_out(out, "out")?;
        let token = client.token(timeout_ms)?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_token { token }) };
        Ok(())
    })
}

/// The access token if it is at hand; never waits. Where there is none,
/// LAYERFI_RESULT_NOT_AVAILABLE, and a request for one is on its way; or, while
/// it is too early to ask again, what the last request failed with, as from
/// layerfi_client_token(). After either, later calls ask again by themselves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_token(
    client: *const layerfi_client,
    out: *mut *mut layerfi_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        handle::check_out(out, "out")?;
        let token = client.token_at_hand()?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_token { token }) };
        Ok(())
    })
}

/// Copies the value of the `Authorization` header, `Bearer` and the token,
/// with a NUL behind it, into a buffer of yours. As layerfi_client_token(),
/// with no handle to free; while a token is at hand threads do not slow one
/// another.
///
/// `length`, which may be NULL, gets the value's length without the NUL. With
/// LAYERFI_RESULT_BUFFER_TOO_SMALL it gets it too, as the one out that is
/// written on failure: `length + 1` bytes are enough for this token. Layer's
/// tokens have some 1,000 bytes; 16,392 bytes are enough for any.
///
/// The copy is yours to wipe. Where a server refuses it with 401, see
/// layerfi_client_invalidate_authorization().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_copy_authorization(
    client: *const layerfi_client,
    timeout_ms: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        if let Some(token) = client.client.borrow_token() {
            // SAFETY: the caller's buffer has `capacity` bytes.
            return unsafe { copy(&token, buffer, capacity, length) };
        }
        let token = client.waiting(timeout_ms)?.token()?;
        // SAFETY: the caller's buffer has `capacity` bytes.
        unsafe { copy(&token, buffer, capacity, length) }
    })
}

/// layerfi_client_copy_authorization() that never waits, as
/// layerfi_client_try_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_copy_authorization(
    client: *const layerfi_client,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        if let Some(token) = client.client.borrow_token() {
            // SAFETY: the caller's buffer has `capacity` bytes.
            return unsafe { copy(&token, buffer, capacity, length) };
        }
        let token = client.token_at_hand()?;
        // SAFETY: the caller's buffer has `capacity` bytes.
        unsafe { copy(&token, buffer, capacity, length) }
    })
}

/// Copies a header value and its NUL.
///
/// # Safety
/// `buffer` is null, or `capacity` bytes from it on may be written; `length`
/// is null or may be written.
#[inline]
unsafe fn copy(
    token: &AccessToken,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    let value = token.authorization_with_nul();
    if buffer.is_null() && capacity > 0 {
        return Err(Failure::Null("buffer"));
    }
    if !length.is_null() {
        // SAFETY: as the caller promises.
        unsafe { length.write(value.len() - 1) };
    }
    if value.len() > capacity {
        return Err(Failure::Buffer(value.len()));
    }
    // SAFETY: as the caller promises; the cache's text and the caller's buffer
    // are not one.
    unsafe {
        buffer
            .cast::<u8>()
            .copy_from_nonoverlapping(value.as_ptr(), value.len());
    }
    Ok(())
}

/// Asks Layer whose credentials these are: `GET /whoami`. Free the answer with
/// layerfi_whoami_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_whoami(
    client: *const layerfi_client,
    timeout_ms: u64,
    out: *mut *mut layerfi_whoami,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        handle::check_out(out, "out")?;
        let whoami = client.waiting(timeout_ms)?.whoami()?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_whoami::new(&whoami)) };
        Ok(())
    })
}

/// A token for one business, to be handed to a browser: from the cache, with
/// enough of its life left, or newly minted. Free it with
/// layerfi_business_token_free().
///
/// `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds, or
/// LAYERFI_SESSION_DURATION_DEFAULT. `min_remaining_s` is how much life it must
/// have left, never more than nine tenths of what the server gave it, or
/// LAYERFI_MIN_REMAINING_DEFAULT for half. If minting fails in a way that a
/// retry may mend, and one with less is at hand, that one is returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    min_remaining_s: u64,
    timeout_ms: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (client, id) = unsafe {
            (
                handle::borrow(client, "client")?,
                string::read(business_id, "business_id")?,
            )
        };
        handle::check_out(out, "out")?;
        let business = client.client.business_id(id)?;
        let options = BusinessTokenOptions {
            session_duration: SessionDuration::from_secs(session_duration_s)?,
            min_remaining: (min_remaining_s != LAYERFI_MIN_REMAINING_DEFAULT)
                .then(|| Duration::from_secs(min_remaining_s)),
        };
        let at_hand = match options.min_remaining {
            None => client
                .client
                .as_async()
                .try_business_token(&business, options.session_duration),
            Some(_) => None,
        };
        let token = match at_hand {
            Some(token) => token,
            None => client
                .waiting(timeout_ms)?
                .business_token_with(&business, options)?,
        };
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_business_token::new(token)) };
        Ok(())
    })
}

/// A business token if one with at least half of its life is at hand; never
/// waits. Where there is none, LAYERFI_RESULT_NOT_AVAILABLE, and no request is
/// made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_try_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (client, id) = unsafe {
            (
                handle::borrow(client, "client")?,
                string::read(business_id, "business_id")?,
            )
        };
        handle::check_out(out, "out")?;
        let token = client
            .client
            .as_async()
            .try_business_token(
                &client.client.business_id(id)?,
                SessionDuration::from_secs(session_duration_s)?,
            )
            .ok_or(Failure::NotAvailable)?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_business_token::new(token)) };
        Ok(())
    })
}

/// A new token for one business, always from Layer and cached nowhere. Free it
/// with layerfi_business_token_free().
///
/// `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds, or
/// LAYERFI_SESSION_DURATION_DEFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_mint_business_token(
    client: *const layerfi_client,
    business_id: *const c_char,
    session_duration_s: u64,
    timeout_ms: u64,
    out: *mut *mut layerfi_business_token,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (client, id) = unsafe {
            (
                handle::borrow(client, "client")?,
                string::read(business_id, "business_id")?,
            )
        };
        handle::check_out(out, "out")?;
        let business = client.client.business_id(id)?;
        let session_duration = SessionDuration::from_secs(session_duration_s)?;
        let token = client
            .waiting(timeout_ms)?
            .mint_business_token(&business, session_duration)?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_business_token::new(token)) };
        Ok(())
    })
}

/// Tokens for many businesses: one result per id, in order. Duplicates are
/// minted once; at most `max_in_flight` requests (0 for the default, 32) are
/// under way, in step with Layer's rate limit.
///
/// `business_ids` are `count` strings; NULL is fine for none. An id that is
/// refused is a failure in its place, not of this call. `timeout_ms` bounds
/// each business from its turn at the rate limit on, not the batch. `progress`,
/// which may be NULL, is called with `userdata` from this thread. Free the
/// results with layerfi_business_tokens_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_business_tokens(
    client: *const layerfi_client,
    business_ids: *const *const c_char,
    count: usize,
    session_duration_s: u64,
    max_in_flight: usize,
    timeout_ms: u64,
    progress: layerfi_progress_callback,
    userdata: *mut std::ffi::c_void,
    out: *mut *mut layerfi_business_tokens,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or
        // valid, and the array has `count` of them.
        let (client, ids) = unsafe {
            (
                handle::borrow(client, "client")?,
                batch::read_ids(business_ids, count)?,
            )
        };
        handle::check_out(out, "out")?;
        let mut options = BatchOptions {
            session_duration: SessionDuration::from_secs(session_duration_s)?,
            ..BatchOptions::default()
        };
        if max_in_flight > 0 {
            options.max_in_flight = max_in_flight;
        }
        let client = client.waiting(timeout_ms)?;
        let tokens = batch::run(&client, &ids, options, |so_far| {
            // SAFETY: the caller gave the two together, for this thread.
            progress.is_none_or(|progress| unsafe { progress(userdata, so_far) })
        });
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, tokens) };
        Ok(())
    })
}

/// Throws the access token away because a server refused it with 401, if it is
/// still the current one; the next call gets a new one. The handle stays yours.
///
/// `invalidated`, which may be NULL, tells whether it was. It is not, either,
/// where this happens so often that new tokens are clearly no help (five times
/// at once, then once in ten seconds).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate(
    client: *const layerfi_client,
    token: *const layerfi_token,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let (client, token) = unsafe {
            (
                handle::borrow(client, "client")?,
                handle::borrow(token, "token")?,
            )
        };
        let done = client.client.invalidate(&token.token);
        // SAFETY: by the laws of the header an out is null or may be written.
        unsafe { tell(invalidated, done) };
        Ok(())
    })
}

/// layerfi_client_invalidate() for a header value that
/// layerfi_client_copy_authorization() gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate_authorization(
    client: *const layerfi_client,
    authorization: *const c_char,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (client, value) = unsafe {
            (
                handle::borrow(client, "client")?,
                string::read(authorization, "authorization")?,
            )
        };
        // What is not at hand is not current.
        let done = client.client.borrow_token().is_some_and(|token| {
            is_same(token.authorization().as_bytes(), value.as_bytes())
                && client.client.invalidate(&token)
        });
        // SAFETY: by the laws of the header an out is null or may be written.
        unsafe { tell(invalidated, done) };
        Ok(())
    })
}

/// Compares in a time that tells only the length.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Throws a cached business token away, if it is still the current one. The
/// handle stays yours; `invalidated` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_invalidate_business_token(
    client: *const layerfi_client,
    token: *const layerfi_business_token,
    invalidated: *mut bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let (client, token) = unsafe {
            (
                handle::borrow(client, "client")?,
                handle::borrow(token, "token")?,
            )
        };
        let done = client.client.invalidate_business_token(&token.token);
        // SAFETY: by the laws of the header an out is null or may be written.
        unsafe { tell(invalidated, done) };
        Ok(())
    })
}

/// # Safety
/// `out` is null or may be written.
unsafe fn tell(out: *mut bool, value: bool) {
    if !out.is_null() {
        // SAFETY: as the caller promises.
        unsafe { out.write(value) };
    }
}

/// What has happened so far. `size` is `sizeof(layerfi_stats)`, by which the
/// library knows which fields the caller has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_stats(
    client: *const layerfi_client,
    out: *mut layerfi_stats,
    size: usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        handle::check_out(out, "out")?;
        let stats = layerfi_stats::new(&client.client.stats());
        // SAFETY: not null, and by the laws of the header it has `size` bytes.
        unsafe { stats.write(out, size) }
    })
}

/// The environment it was built for, a layerfi_environment; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_environment(client: *const layerfi_client) -> u32 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { client.as_ref() }.map_or(0, |client| {
        let environment: Environment = client.client.as_async().environment();
        layerfi_environment::of(environment) as u32
    })
}

/// The API's base URL, without a slash at its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_api_url(client: *const layerfi_client) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { client.as_ref() }.map_or(layerfi_str::EMPTY, |client| {
        layerfi_str::of(&client.api_url)
    })
}

/// The URL of the token endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_auth_url(client: *const layerfi_client) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { client.as_ref() }.map_or(layerfi_str::EMPTY, |client| {
        layerfi_str::of(&client.auth_url)
    })
}

/// The OAuth scope that is asked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_scope(client: *const layerfi_client) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { client.as_ref() }.map_or(layerfi_str::EMPTY, |client| layerfi_str::of(&client.scope))
}

/// Frees a client. NULL is fine. Tokens that it gave stay valid, and requests
/// that are under way in the background go on to their end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_free(client: *mut layerfi_client) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(client) };
    });
}
