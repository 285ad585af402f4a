//! Panics on demand, for tests. Only with the feature `test-hooks`, and in no
//! header.

use crate::client::layerfi_client;
use crate::error::{layerfi_error, layerfi_result};
use crate::handle;
use crate::panic::guard;

/// Panics, in the midst of using a client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_test_panic(
    client: *const layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let client = unsafe { handle::borrow(client, "client")? };
        client.panic()
    })
}
