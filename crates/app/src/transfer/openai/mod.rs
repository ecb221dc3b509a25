//! Conversations in the form of OpenAI's chat completions: a list of messages, `{"messages":[…]}`, or one message a line.
//!
//! **What becomes of a file**
//! - `system` and `developer` are instructions, `tool` is the result of a call. The arguments of a call are JSON in a string and become
//!   JSON; where they are none they stay a string, and empty ones are an empty object.
//! - Texts are texts; pictures, audio, files and refusals stay parts in OpenAI's own words.
//! - What a request says beside its messages is kept as it was.
//!
//! **Fidelity**: values. What is one message a line comes back byte by byte; of a list, or a request, [`super::restore_lines`] gives each
//! message as an equal value.
//!
//! **Tolerance**: as for Claude Code's files: no message fails the file, and all that is mended is reported. A list that is cut off is no
//! list.
//!
//! Must not know: where the files lie, or who reads them.

mod block;

use std::io::BufRead;

use super::{
    ImportError,
    foreign::{Dialect, MainEnd},
    format::Format,
    messages::{self, Tongue},
    transcript::Transcript,
};

/// How these files are read.
pub(super) const DIALECT: Dialect =
    Dialect { format: Format::OpenAi, values: block::values, main_end: MainEnd::LastLine };

const TONGUE: Tongue =
    Tongue { dialect: DIALECT, speaks: block::spoken, tells: |_, _| {}, instructs: messages::pieces };

/// Reads one file.
///
/// ```
/// let file = br#"[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hello."}]"#;
/// let transcript = sessions_app::transfer::openai::read(&file[..]).unwrap();
/// assert_eq!(transcript.report.messages, 2);
/// ```
///
/// # Errors
/// [`ImportError`] when the file cannot be read, is no such file, or has no message.
pub fn read(reader: impl BufRead) -> Result<Transcript, ImportError> {
    read_behind(reader, 0)
}

/// The same, of a file whose lines up to `sealed` are in a log.
pub(super) fn read_behind(reader: impl BufRead, sealed: u64) -> Result<Transcript, ImportError> {
    messages::read(TONGUE, reader, sealed)
}
