//! The files of the real transcripts, as they are.
//!
//! Must not know: what becomes of them.

use std::path::PathBuf;

use sessions_app::transfer;
use sessions_tests::transcripts;
pub(crate) use sessions_tests::transcripts::{Transcript as Source, made_up as generated};

/// The transcripts in the folder that `SESSIONS_TEST_DATA` names; none where it names none, and then continuous integration fails.
pub(crate) fn transcripts() -> Vec<Source> {
    let Some(folder) = std::env::var_os("SESSIONS_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
        return Vec::new();
    };
    let all = transcripts::below(&folder).unwrap();
    assert!(!all.is_empty(), "no transcript lies in the folder");
    all
}

/// The model that a transcript names.
pub(crate) fn model(transcript: &[u8]) -> String {
    let read = match transfer::detect(transcript) {
        Some(transfer::Format::ClaudeCode) => transfer::claude_code::read(transcript),
        Some(transfer::Format::Codex) => transfer::codex::read(transcript),
        _ => transfer::pi::read(transcript),
    };
    read.unwrap().facts.model.unwrap_or_else(|| "none".to_owned())
}
