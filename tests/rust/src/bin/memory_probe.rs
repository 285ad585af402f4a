//! The memory probe with the system's allocator; see `layerfi_auth_tests::memory_probe`.

fn main() {
    layerfi_auth_tests::memory_probe::main();
}
