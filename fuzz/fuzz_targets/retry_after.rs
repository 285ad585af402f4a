//! The `Retry-After` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::retry_after(data));
