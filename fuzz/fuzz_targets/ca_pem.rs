//! PEM text of certificate authorities.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth::fuzzing::ca_pem(data));
