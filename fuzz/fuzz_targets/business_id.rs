//! A business id, and the path that is made of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::business_id(data));
