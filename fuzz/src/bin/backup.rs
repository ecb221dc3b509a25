//! See `sessions_fuzz::backup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::backup::run(data));
