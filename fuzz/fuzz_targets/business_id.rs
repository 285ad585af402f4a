//! Business ids, and the URL path built from one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::business_id(data));
