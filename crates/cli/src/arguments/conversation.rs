//! What may be typed to write and read messages.
//!
//! Must not know: what it does.

use clap::Args;
use sessions_api::MessageRole;

use super::{idempotency_key, role};

#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The session
    pub(crate) session: String,
    /// Who speaks: system, user, assistant or tool
    #[arg(long, value_parser = role, required_unless_present = "jsonl", conflicts_with = "jsonl")]
    pub(crate) role: Option<MessageRole>,
    /// The text; without it, or with `-`, standard input (`-- -` is a text of one dash)
    #[arg(conflicts_with_all = ["jsonl", "stream"])]
    pub(crate) text: Option<String>,
    /// Read messages from standard input, one a line: {"role","content"} or {"role","parts","idempotency_key"}
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Write one message while its text arrives on standard input; what came is kept whatever happens, and Ctrl-C ends it as cancelled
    #[arg(long, conflicts_with = "jsonl")]
    pub(crate) stream: bool,
    /// Make a retry harmless: under the same key the message is appended once, also by another process
    #[arg(
        long = "once",
        visible_alias = "idempotency-key",
        value_name = "KEY",
        value_parser = idempotency_key,
        conflicts_with = "jsonl"
    )]
    pub(crate) once: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The session
    pub(crate) session: String,
    /// Only the newest N messages
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// As it was at this place: a version, a message, the token of a place, or checkpoint:NAME
    #[arg(long, value_name = "PLACE", conflicts_with = "all")]
    pub(crate) at: Option<String>,
    /// Every branch and what is hidden, marked
    #[arg(long, conflicts_with = "last")]
    pub(crate) all: bool,
    /// Tell the tokens of each message, counted in this model's encoding
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The session
    pub(crate) session: String,
    /// Only what came behind this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    pub(crate) from: u64,
    /// Also each piece of a message that arrives bit by bit, before the message, which is told when it has ended
    #[arg(long)]
    pub(crate) chunks: bool,
}
