//! See `sessions_fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::snapshot::run(data));
