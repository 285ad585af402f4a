//! The memory probe with the allocator that zeroes freed memory; see `layerfi_auth_tests::memory_probe`.

use layerfi_auth::ZeroOnFree;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() {
    layerfi_auth_tests::memory_probe::main();
}
