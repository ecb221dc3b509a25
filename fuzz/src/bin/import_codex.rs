//! Reads the bytes as a file of this format.
#![no_main]

use sessions_app::Format;
use sessions_fuzz::import::import;

libfuzzer_sys::fuzz_target!(|data: &[u8]| import(Some(Format::Codex), data));
