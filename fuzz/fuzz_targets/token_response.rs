//! The body of a token response.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::token_response(data));
