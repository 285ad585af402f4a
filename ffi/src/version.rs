//! Which library this is. `docs/c.md` has the policy.

use crate::string::layerfi_str;

/// The version of the ABI, and the number in the shared library's SONAME. It
/// changes when a program built against an earlier header would break.
pub const LAYERFI_ABI_VERSION: u32 = 1;

/// The revision of the ABI: one more whenever something is added that a
/// program built against an earlier header does not notice.
pub const LAYERFI_ABI_REVISION: u32 = 0;

/// The ABI version of the library that is loaded. It must be the header's
/// LAYERFI_ABI_VERSION, which the loader sees to for the shared library.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_abi_version() -> u32 {
    LAYERFI_ABI_VERSION
}

/// The ABI revision of the library that is loaded. What the header of revision
/// LAYERFI_ABI_REVISION declares is there if this is not smaller.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_abi_revision() -> u32 {
    LAYERFI_ABI_REVISION
}

/// The version of the library, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn layerfi_version() -> layerfi_str {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    layerfi_str::before_nul(VERSION.as_bytes())
}
