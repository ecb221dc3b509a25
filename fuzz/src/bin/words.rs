//! See `sessions_fuzz::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::words::run(data));
