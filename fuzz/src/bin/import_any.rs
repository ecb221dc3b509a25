//! Reads the bytes as a file of the format that the first of them says, or that their beginning tells.
#![no_main]

use sessions_fuzz::import::import_any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| import_any(data));
