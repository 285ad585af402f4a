//! Settings from environment variables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::environment(data));
