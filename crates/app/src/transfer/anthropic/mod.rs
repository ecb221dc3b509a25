//! Conversations in the form of Anthropic's messages: a list of messages, `{"system":…,"messages":[…]}`, or one message a line.
//!
//! **What becomes of a file**
//! - `system` is a message of instructions before all others. Results in a user's message are messages of the tools, behind their calls.
//! - Texts, reasoning, calls and results are parts of ours; pictures, documents and whatever else stay in Anthropic's own words.
//! - Answers as the API gives them say their model, their tokens and why they ended.
//! - What a request says beside its messages is kept as it was.
//!
//! **Fidelity**: values. What is one message a line comes back byte by byte; of a list, or a request, [`super::restore_lines`] gives each
//! message as an equal value.
//!
//! **Tolerance**: as for Claude Code's files: no message fails the file, and all that is mended is reported. A list that is cut off is no
//! list.
//!
//! Must not know: where the files lie, or who reads them.

use std::io::BufRead;

use sessions_domain::MessageRole;

use super::{
    ImportError, claude_code,
    foreign::{
        Dialect, MainEnd,
        line::{Block, Said, named, string},
    },
    format::Format,
    messages::{self, Shape, Tongue},
    transcript::Transcript,
};

/// How these files are read. Claude Code's have the same blocks.
pub(super) const DIALECT: Dialect =
    Dialect { format: Format::Anthropic, values: claude_code::DIALECT.values, main_end: MainEnd::LastLine };

const TONGUE: Tongue = Tongue {
    dialect: DIALECT,
    speaks: spoken,
    tells,
    instructs: |text, system| claude_code::blocks(text, system, MessageRole::System),
};

/// Reads one file.
///
/// ```
/// let file = br#"{"system":"Be brief.","messages":[{"role":"user","content":"Hello"}]}"#;
/// let transcript = sessions_app::transfer::anthropic::read(&file[..]).unwrap();
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

/// A message's blocks.
fn spoken(text: &str, shape: &Shape<'_>) -> Option<(MessageRole, Vec<Block>)> {
    let role = match string(shape.role)?.as_str() {
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        "system" => MessageRole::System,
        _ => return None,
    };
    Some((role, shape.content.map(|content| claude_code::blocks(text, content, role)).unwrap_or_default()))
}

fn tells(shape: &Shape<'_>, said: &mut Said) {
    said.model = named(shape.model);
    said.stop_reason = named(shape.stop_reason);
    said.usage = shape.usage.and_then(claude_code::usage);
}
