//! The functions of the C binding that take text, arrays and buffers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| layerfi_auth_binding::fuzzing::c_strings(data));
