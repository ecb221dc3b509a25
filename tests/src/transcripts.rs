//! Real transcripts, and one that is made up.
//!
//! Must not know: what becomes of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A file of a conversation.
pub struct Transcript {
    /// The file's name.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Every `.jsonl` below a folder, by name.
///
/// # Errors
/// What reading them gives.
pub fn below(folder: &Path) -> io::Result<Vec<Transcript>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Transcript { name, bytes: fs::read(path)? })
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    Ok(())
}

/// A list of messages as OpenAI has them: so many questions and answers.
pub fn made_up(turns: usize) -> Transcript {
    let turn = |number: usize| {
        let question =
            format!("Question {number}: why is the build of part {number} red? {}", "It was green. ".repeat(20));
        let answer = format!("Answer {number}: an import was missing. {}", "I looked at each file of it. ".repeat(10));
        format!(r#"{{"role":"user","content":"{question}"}},{{"role":"assistant","content":"{answer}"}}"#)
    };
    let messages = (0..turns).map(turn).collect::<Vec<_>>().join(",");
    Transcript { name: format!("{turns} turns"), bytes: format!(r#"{{"messages":[{messages}]}}"#).into_bytes() }
}
