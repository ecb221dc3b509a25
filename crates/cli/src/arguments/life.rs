//! What may be typed about a session's life: making it, finding it, its words, its state, the trash.
//!
//! Must not know: what it does.

use clap::{Args, Subcommand, ValueEnum};
use sessions_api::{SessionId, SessionStatus, SortBy};

use super::{Once, at_least_one, status};

#[derive(Debug, Args)]
pub(crate) struct New {
    /// A name of your own, 1 to 256 bytes, that begins with neither `id:` nor `key:`; a session that has it is opened as it is
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// A title
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// A description
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The id that it had elsewhere, which must be free here
    #[arg(long, value_name = "ID", value_parser = session_id)]
    pub(crate) id: Option<SessionId>,
    /// When it was made elsewhere: 2026-01-31, 2026-01-31T12:00:00Z, or 30m, 24h, 7d ago
    #[arg(long, value_name = "D")]
    pub(crate) created_at: Option<String>,
    #[command(flatten)]
    pub(crate) known: Known,
    /// As the work of a sub-agent for this session, whose history it does not inherit
    #[arg(long, value_name = "SESSION")]
    pub(crate) sub_agent_of: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Known {
    /// Who makes it
    #[arg(long)]
    pub(crate) creator: Option<String>,
    /// The folder that is worked in
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<String>,
    /// The model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The model's provider
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// A mode of the host's, as plan or edit
    #[arg(long)]
    pub(crate) mode: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// In this state: active, paused, completed, failed or archived
    #[arg(long, value_parser = status)]
    pub(crate) status: Option<SessionStatus>,
    /// With this tag; may be given several times, and all must be there
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Made by
    #[arg(long)]
    pub(crate) creator: Option<String>,
    /// That come from this session: forks, and the work of its sub-agents
    #[arg(long, value_name = "SESSION")]
    pub(crate) parent: Option<String>,
    /// Changed at or after: 2026-01-31, 2026-01-31T12:00:00Z, or 30m, 24h, 7d ago
    #[arg(long, value_name = "D")]
    pub(crate) since: Option<String>,
    /// Changed before, as --since
    #[arg(long, value_name = "D")]
    pub(crate) until: Option<String>,
    /// Made at or after, as --since
    #[arg(long, value_name = "D")]
    pub(crate) created_since: Option<String>,
    /// Made before, as --since
    #[arg(long, value_name = "D")]
    pub(crate) created_until: Option<String>,
    /// With this title, to the letter
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// With a title that begins so
    #[arg(long, value_name = "TEXT")]
    pub(crate) title_prefix: Option<String>,
    /// With a key that begins so
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_prefix: Option<String>,
    /// With this text in title or description, whatever the case
    #[arg(long, value_name = "Q")]
    pub(crate) text: Option<String>,
    /// Those in the trash
    #[arg(long)]
    pub(crate) trash: bool,
    /// Sorted by
    #[arg(long, value_enum, default_value_t = Sort::Updated)]
    pub(crate) sort: Sort,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one::<usize>)]
    pub(crate) limit: usize,
    /// Go on where the page before ended
    #[arg(long, value_name = "C")]
    pub(crate) cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sort {
    Updated,
    Created,
    Title,
    Messages,
}

impl From<Sort> for SortBy {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Updated => Self::Updated,
            Sort::Created => Self::Created,
            Sort::Title => Self::Title,
            Sort::Messages => Self::Messages,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The session
    pub(crate) session: String,
    /// Its new state: active, paused, completed, failed or archived; without it the state is told
    #[arg(value_parser = status)]
    pub(crate) status: Option<SessionStatus>,
    /// Why, which is kept
    #[arg(long, requires = "status")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// The session
    pub(crate) session: String,
    /// The title; an empty one takes it away
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// The session
    pub(crate) session: String,
    /// The description; an empty one takes it away; without it, or with `-`, standard input
    pub(crate) text: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The session
    pub(crate) session: String,
    /// Add this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub(crate) add: Vec<String>,
    /// Take this tag away; may be given several times
    #[arg(long, value_name = "TAG")]
    pub(crate) remove: Vec<String>,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(subcommand)]
    pub(crate) what: StateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Tell the value of a key
    #[command(after_help = "With --json: {\"key\",\"value\"}")]
    Get(StateKey),
    /// Give a key a value
    #[command(after_help = "With --json: {\"id\",\"key\",\"version\",\"changed\"}")]
    Set(SetState),
    /// Take a key away
    #[command(after_help = "With --json: {\"id\",\"key\",\"version\",\"changed\"}")]
    Unset(UnsetState),
    /// List keys and values
    #[command(after_help = "With --json: {\"key\",\"value\"} a line")]
    List(ListState),
}

#[derive(Debug, Args)]
pub(crate) struct StateKey {
    /// The session
    pub(crate) session: String,
    /// The key: of the session, or with `user:` or `app:` before it of all sessions
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetState {
    #[command(flatten)]
    pub(crate) which: StateKey,
    /// The value, as JSON; without it, or with `-`, standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,
    /// The value is a text, and not JSON
    #[arg(long)]
    pub(crate) text: bool,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct UnsetState {
    #[command(flatten)]
    pub(crate) which: StateKey,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct ListState {
    /// The session
    pub(crate) session: String,
    /// Only of this scope
    #[arg(long, value_enum)]
    pub(crate) scope: Option<Scope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    Session,
    User,
    App,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The session, also one in the trash
    pub(crate) session: String,
    /// For good, with a report of what went; its id is never used again
    #[arg(long)]
    pub(crate) forever: bool,
    /// With --forever or --shred: what was forked from it goes too
    #[arg(long)]
    pub(crate) cascade: bool,
    /// The file that it was imported from is forgotten, so that importing it again brings it back as a new session
    #[arg(long, requires = "forever")]
    pub(crate) forget_source: bool,
    /// For good, and its keys are destroyed, so that no copy of its bytes can be read: refused when it has forks, and in a plain store
    #[arg(long, conflicts_with = "forever")]
    pub(crate) shred: bool,
    /// With --shred: what was forked from it first gets what it inherits under a key of its own
    #[arg(long, requires = "shred", conflicts_with = "cascade")]
    pub(crate) detach: bool,
    /// With --detach: what nobody can read of it now, since it is damaged or its keys are, its forks have as lost for good
    #[arg(long, requires = "detach")]
    pub(crate) accept_loss: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// Tell what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Believe this machine's clock; otherwise it counts for an hour after the newest change at most, so that a wrong one deletes nothing
    #[arg(long)]
    pub(crate) trust_clock: bool,
}

/// Reads an id, saying what is wrong with it.
fn session_id(text: &str) -> Result<SessionId, String> {
    text.parse().map_err(|error: sessions_api::InvalidId| error.to_string())
}
