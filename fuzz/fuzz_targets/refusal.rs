//! Error responses (any status but 200).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::refusal(data));
