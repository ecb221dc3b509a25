//! Claude Code's transcripts: JSON lines, one file a session, and one for each of its sub-agents.
//!
//! **What becomes of a file**
//! - A `user` or `assistant` line is a message. Lines that share `message.id` are one answer of the model and become one message, with
//!   their parts in order and their usage once (the last line's, which is the final count). Tool results are messages of their own and
//!   stand directly behind the message that made the calls, also where the file has further lines of that message between.
//! - The tree is the one of `parentUuid`, with the lines between messages (`progress`, `system` and so on) passed through. The main path
//!   ends at the last message that is on no side chain; what is on no main path stays as branches.
//! - A compaction (`compact_boundary`) becomes a clear behind the message that `logicalParentUuid` names; the summary follows it. So what
//!   is visible starts at the summary, and undo reaches all before.
//! - Blocks we have no part for are kept to the letter as custom parts.
//! - Every other line is kept to the letter as residue.
//!
//! **Fidelity**: bytes. Each message keeps the envelopes of its lines, with what became its parts cut out of them where it is spelled as we
//! would, so that [`super::restore_lines`] gives every line back as it was.
//!
//! **Tolerance**: no line fails the file. What does not parse is set aside and kept; what is no valid Unicode (half of a surrogate pair)
//! is kept and shown with U+FFFD; parents that are missing, doubled or in a circle are mended; all of it is reported.
//!
//! Must not know: where the files lie, or who reads them.

mod block;
mod line;
mod usage;
mod write;

use std::io::BufRead;

use super::{
    ImportError,
    foreign::{self, Dialect, MainEnd},
    format::Format,
    transcript::Transcript,
};

pub(super) use self::block::blocks;
pub(super) use self::write::ClaudeCodeWriter;
pub(super) use line::{knows_type, parse};
pub(super) use usage::usage;

/// How these files are read and written.
pub(super) const DIALECT: Dialect =
    Dialect { format: Format::ClaudeCode, values: block::values, main_end: MainEnd::LastMessage };

/// Reads one file.
///
/// ```
/// let file = br#"{"type":"user","uuid":"a","parentUuid":null,"sessionId":"s","message":{"role":"user","content":"Hello"}}"#;
/// let transcript = sessions_app::transfer::claude_code::read(&file[..]).unwrap();
/// assert_eq!(transcript.report.messages, 1);
/// assert_eq!(transcript.facts.title.as_deref(), Some("Hello"));
/// ```
///
/// # Errors
/// [`ImportError`] when the file cannot be read, is no such file, or has no message.
pub fn read(reader: impl BufRead) -> Result<Transcript, ImportError> {
    read_behind(reader, 0)
}

/// The same, of a file whose lines up to `sealed` are in a log.
pub(super) fn read_behind(reader: impl BufRead, sealed: u64) -> Result<Transcript, ImportError> {
    foreign::read(DIALECT, parse, reader, sealed)
}
