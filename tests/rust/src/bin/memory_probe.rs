//! See `layerfi_auth_tests::memory_probe`: with the system's allocator.

fn main() {
    layerfi_auth_tests::memory_probe::main();
}
