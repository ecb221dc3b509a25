//! See `sessions_fuzz::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::answers::run(data));
