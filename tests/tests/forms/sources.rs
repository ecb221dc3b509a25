//! The files of the real transcripts, as they are.
//!
//! Must not know: what becomes of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sessions_app::transfer;

/// A file.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The transcripts in the folder that `SESSIONS_TEST_DATA` names; none where it names none, and then continuous integration fails.
pub(crate) fn transcripts() -> Vec<Source> {
    let Some(folder) = std::env::var_os("SESSIONS_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
        return Vec::new();
    };
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no transcript lies in the folder");
    let source = |path: PathBuf| Source {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: fs::read(path).unwrap(),
    };
    files.into_iter().map(source).collect()
}

/// A list of messages as OpenAI has them: so many questions and answers.
pub(crate) fn generated(turns: usize) -> Source {
    let turn = |number: usize| {
        let question =
            format!("Question {number}: why is the build of part {number} red? {}", "It was green. ".repeat(20));
        let answer = format!("Answer {number}: an import was missing. {}", "I looked at each file of it. ".repeat(10));
        format!(r#"{{"role":"user","content":"{question}"}},{{"role":"assistant","content":"{answer}"}}"#)
    };
    let messages = (0..turns).map(turn).collect::<Vec<_>>().join(",");
    Source { name: format!("{turns} turns"), bytes: format!(r#"{{"messages":[{messages}]}}"#).into_bytes() }
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

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
}
