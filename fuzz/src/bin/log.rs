//! See `sessions_fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions_fuzz::log::run(data));
