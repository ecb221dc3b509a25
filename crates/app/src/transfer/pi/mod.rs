//! pi's sessions: JSON lines, one file a session. The first line names the session; from version 2 on the others form a tree by `id` and
//! `parentId`, before that each follows the one before it.
//!
//! **What becomes of a file**
//! - A `message` is a message: of the person, the model, or a tool. What a person ran in the terminal is the person's, the command and
//!   what it gave. What an extension puts in (`custom_message`) is the person's too.
//! - An answer that failed has the error as a part. One that nothing came of is residue.
//! - `compaction` is a clear and a message with the summary. What pi keeps beside the summary stands before the clear, where undo finds it;
//!   it is not there twice. `branch_summary` is a message with the summary of what was left.
//! - Tokens and cost stand with each answer, and are counted once.
//! - The main path ends where the file's last line stands, which is where pi goes on.
//! - `model_change`, `thinking_level_change`, `label`, `session_info` and an extension's own (`custom`) have no message and are residue; a
//!   name in `session_info` is the title.
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

pub(super) use self::write::PiWriter;

/// How these files are read and written.
pub(super) const DIALECT: Dialect = Dialect { format: Format::Pi, values: block::values, main_end: MainEnd::LastLine };

/// Reads one file.
///
/// ```
/// let file = br#"{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":"Hello"}}"#;
/// let transcript = sessions_app::transfer::pi::read(&file[..]).unwrap();
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
