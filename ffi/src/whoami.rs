//! `layerfi_whoami`: who the credentials belong to.

use std::ffi::CString;

use layerfi_auth::WhoAmI;

use crate::handle;
use crate::panic;
use crate::string::{layerfi_str, owned};

/// Who the credentials belong to, as `GET /whoami` tells. A const pointer to
/// it may be used from many threads at once.
pub struct layerfi_whoami {
    client_name: CString,
    client_id: CString,
}

impl layerfi_whoami {
    pub(crate) fn new(whoami: &WhoAmI) -> Self {
        Self {
            client_name: owned(&whoami.client_name),
            client_id: owned(&whoami.client_id),
        }
    }
}

/// The client's name, as Layer knows it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_client_name(whoami: *const layerfi_whoami) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { whoami.as_ref() }.map_or(layerfi_str::EMPTY, |whoami| {
        layerfi_str::of(&whoami.client_name)
    })
}

/// The client's id, a UUID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_client_id(whoami: *const layerfi_whoami) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { whoami.as_ref() }.map_or(layerfi_str::EMPTY, |whoami| {
        layerfi_str::of(&whoami.client_id)
    })
}

/// Frees what layerfi_client_whoami() gave, and the views on it with it. NULL
/// is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_whoami_free(whoami: *mut layerfi_whoami) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(whoami) };
    });
}
