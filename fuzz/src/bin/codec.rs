//! See `sessions_fuzz::codec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::codec::run(data));
