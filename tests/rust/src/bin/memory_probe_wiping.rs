//! See `layerfi_auth_tests::memory_probe`: with the allocator that wipes.

use layerfi_auth::ZeroOnFree;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() {
    layerfi_auth_tests::memory_probe::main();
}
