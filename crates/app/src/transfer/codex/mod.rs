//! Codex's transcripts ("rollouts"): JSON lines, one file a session, each line `{"timestamp","type","payload"}`.
//!
//! **What becomes of a file**
//! - `response_item` lines are the conversation. What the model gives in one answer (reasoning, text, calls) becomes one message; what a
//!   person, a developer or the program says, and each result of a tool, is a message of its own. `developer` is the role system. The
//!   arguments of a call are JSON in a string and become JSON; where they are none they stay a string. What only the provider can read
//!   of the reasoning is its signature.
//! - `event_msg` lines tell a terminal what happened, and repeat what the items say. They are residue, so nothing is there twice.
//! - Tokens stand in `token_count` events, as totals that grow and are told again and again. Counted is by how much a total grew; when it
//!   went down, which is another count, `last_token_usage`. They belong to the answer before. What a fork copies of its parent's counts
//!   (all that is written within a second of its beginning) is not counted again. Cached tokens are read from the cache and no input;
//!   reasoning tokens are among the output.
//! - `compacted` is a clear and a message with the summary. `thread_rolled_back` goes back to before so many of a person's turns; what was
//!   left is a branch.
//! - The first `session_meta` speaks for the file: id, folder, version, provider, repository, and what it was forked from.
//! - Files of the first versions, whose items have nothing around them, are read too.
//!
//! **Fidelity**: bytes. [`super::restore_lines`] gives every line back as it was.
//!
//! **Tolerance**: as for Claude Code's files: no line fails the file, and all that is mended is reported.
//!
//! Must not know: where the files lie, or who reads them.

mod block;
mod line;
mod write;

use std::io::BufRead;

use super::{
    ImportError,
    foreign::{self, Dialect, MainEnd},
    format::Format,
    transcript::Transcript,
};

pub(super) use line::knows_type;

pub(super) use self::write::CodexWriter;

/// How these files are read and written.
pub(super) const DIALECT: Dialect =
    Dialect { format: Format::Codex, values: block::values, main_end: MainEnd::LastLine };

/// Reads one file.
///
/// ```
/// let file = br#"{"timestamp":"2026-01-05T09:00:00.000Z","type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hello"}]}}"#;
/// let transcript = sessions_app::transfer::codex::read(&file[..]).unwrap();
/// assert_eq!(transcript.report.messages, 1);
/// ```
///
/// # Errors
/// [`ImportError`] when the file cannot be read, is no such file, or has no message.
pub fn read(reader: impl BufRead) -> Result<Transcript, ImportError> {
    read_behind(reader, 0)
}

/// The same, of a file whose lines up to `sealed` are in a log.
pub(super) fn read_behind(reader: impl BufRead, sealed: u64) -> Result<Transcript, ImportError> {
    let mut lines = line::Reader::default();
    foreign::read(DIALECT, |number, text, whole| lines.parse(number, text, whole), reader, sealed)
}
