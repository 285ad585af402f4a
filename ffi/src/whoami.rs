//! `layerfi_whoami`: the client that the credentials belong to.

use std::ffi::CString;

use layerfi_auth::WhoAmI;

use crate::client::{Timeout, layerfi_client};
use crate::error::layerfi_error;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get_str, write_out};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};

/// The client that the credentials belong to: the response to `GET /whoami`. A
/// const pointer to it may be used from several threads at the same time. Free it
/// with layerfi_whoami_free().
pub struct layerfi_whoami {
    client_name: CString,
    client_id: CString,
}

impl layerfi_whoami {
    fn new(whoami: &WhoAmI) -> Self {
        Self {
            client_name: owned(&whoami.client_name),
            client_id: owned(&whoami.client_id),
        }
    }
}

/// Asks Layer which client the credentials belong to: `GET /whoami`. Free the
/// result with layerfi_whoami_free().
///
/// `timeout_ms` limits the call in milliseconds; LAYERFI_DEFAULT is the client's
/// timeout.
///
/// Errors: as layerfi_client_token(), and LAYERFI_RESULT_API if Layer refuses the
/// request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_whoami(
    client: *const layerfi_client,
    timeout_ms: u64,
    out: *mut *mut layerfi_whoami,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        check_out!(out);
        let timeout = Timeout::read(timeout_ms)?;
        let whoami = client.waiting(timeout)?.whoami()?;
        write_out!(out, layerfi_whoami::new(&whoami));
        Ok(())
    })
}

/// The client's name at Layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_client_name(whoami: *const layerfi_whoami) -> layerfi_str {
    get_str!(whoami.client_name)
}

/// The client's id, a UUID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_client_id(whoami: *const layerfi_whoami) -> layerfi_str {
    get_str!(whoami.client_id)
}

/// Frees a result of layerfi_client_whoami() and ends the views of it. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_free(whoami: *mut layerfi_whoami) {
    free!(whoami);
}
