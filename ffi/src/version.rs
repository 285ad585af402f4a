//! The versions of the library and of its ABI. `docs/c.md` has the policy.

use crate::str_view::layerfi_str;

/// The version of the ABI, and the number in the shared library's SONAME. It
/// changes when programs that were built with an earlier header would break.
pub const LAYERFI_ABI_VERSION: u32 = 1;

/// The revision of the ABI. It grows by one with every addition that does not
/// break programs that were built with an earlier header.
pub const LAYERFI_ABI_REVISION: u32 = 5;

/// The ABI version of the loaded library. It must be equal to the header's
/// LAYERFI_ABI_VERSION; for the shared library the loader checks that.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_abi_version() -> u32 {
    LAYERFI_ABI_VERSION
}

/// The ABI revision of the loaded library. If it is not less than the header's
/// LAYERFI_ABI_REVISION, the library has everything that the header declares.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_abi_revision() -> u32 {
    LAYERFI_ABI_REVISION
}

/// The version of the library, such as `0.1.0`. The view is always valid.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_version() -> layerfi_str {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    layerfi_str::before_nul(VERSION.as_bytes())
}
