//! What may be typed about a session's history: moves, branches, forks, edits, pins and checkpoints.
//!
//! Must not know: what it does.

use clap::Args;
use sessions_api::MessageId;

use super::{Once, at_least_one, message_id};

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// The session
    pub(crate) session: String,
    /// So many steps (1 if nothing else is said)
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub(crate) steps: Option<u64>,
    /// To before the user's message, so many times
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, conflicts_with = "steps")]
    pub(crate) turns: Option<u64>,
    /// To this message, which becomes the last
    #[arg(long, value_name = "MESSAGE", value_parser = message_id, conflicts_with_all = ["steps", "turns"])]
    pub(crate) to: Option<MessageId>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Redo {
    /// The session
    pub(crate) session: String,
    /// So many steps (1 if nothing else is said)
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub(crate) steps: Option<u64>,
    /// To before the next user's message, so many times
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>, conflicts_with = "steps")]
    pub(crate) turns: Option<u64>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    /// The session
    pub(crate) session: String,
    /// The branch's number, or main
    #[arg(required_unless_present = "at")]
    pub(crate) branch: Option<String>,
    /// Go to where the conversation stood at this place: a version, a message, the token of a place, or checkpoint:NAME
    #[arg(long, value_name = "PLACE", conflicts_with = "branch")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The session
    pub(crate) session: String,
    /// At this place: a version, a message, the token of a place, or checkpoint:NAME (default: now)
    #[arg(long, value_name = "PLACE")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The session
    pub(crate) session: String,
    /// The message
    #[arg(value_parser = message_id)]
    pub(crate) message: MessageId,
    /// Its new text; without it, or with `-`, standard input (`-- -` is a text of one dash)
    pub(crate) text: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The session
    pub(crate) session: String,
    /// The message
    #[arg(value_parser = message_id)]
    pub(crate) message: MessageId,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    /// The session
    pub(crate) session: String,
    /// The name; one that is in use moves; without it the checkpoints are listed
    pub(crate) name: Option<String>,
    /// For this place: a version, a message, the token of a place, or checkpoint:NAME (default: now)
    #[arg(long, value_name = "PLACE", requires = "name")]
    pub(crate) at: Option<String>,
    /// Take the name away; the place stays
    #[arg(long, requires = "name", conflicts_with = "at")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) once: Once,
}
