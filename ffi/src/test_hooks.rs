//! Panics on demand, for tests. Only with the feature `test-hooks`, and not in the header.

use crate::client::layerfi_client;
use crate::error::layerfi_error;
use crate::guard::guard;
use crate::macros::borrow;
use crate::result::layerfi_result;

/// Panics while it uses a client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_test_panic(
    client: *const layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        let _borrowed = client.client.borrow_token();
        panic!("requested by a test")
    })
}
