//! What may be typed.
//!
//! Must not know: what it does.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use sessions_api::{Durability, MessageRole, SessionStatus, SortBy};

use crate::{agents::Agent, failure::Failure, output::Output};

/// Keeps the conversations of LLM agents: nothing that was acknowledged is lost, and nothing destroys history.
///
/// SESSION is an id, a key, or at least 6 characters that an id begins with; `id:` and `key:` force one of them. Results go to standard
/// output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "sessions",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or locked, 5 damaged, 6 not allowed, 130 stopped with \
                  Ctrl-C (what was acknowledged is kept)."
)]
pub(crate) struct Arguments {
    /// Where the sessions are: sled:PATH or memory: (default: sled: under your data directory)
    #[arg(long, value_name = "URL", env = "SESSIONS_STORE", hide_env_values = true, global = true)]
    pub(crate) store: Option<String>,
    /// What an append survives before it is acknowledged (default: the most that the store gives)
    #[arg(long, value_name = "LEVEL", value_parser = durability, global = true)]
    pub(crate) durability: Option<Durability>,
    /// Each result as one JSON object on a line, errors as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a session; with --key, open or create it
    New(New),
    /// Append a message, or with --jsonl one for each line of standard input
    Append(Append),
    /// Show the visible conversation
    Show(Show),
    /// List sessions, the newest change first
    List(List),
    /// Say what is known about a session
    Info(One),
    /// Take back steps: a message, or a message with tool calls and all their results
    Undo(Undo),
    /// Take undone steps up again
    Redo(Redo),
    /// Hide the whole history; it can be undone
    Clear(One),
    /// List the ways that the conversation took
    Branches(One),
    /// Go to the end of a branch
    Checkout(Checkout),
    /// Make a new session that begins with this one's history
    Fork(Fork),
    /// Bring in sessions from files, or from all files of a folder; what was brought in before is not brought in twice
    Import(Import),
    /// Write a session out: whole, to be read, or for another program
    Export(Export),
    /// Check every record; changes nothing
    Verify(Verify),
    /// Set aside what cannot be read, so that the rest works; deletes nothing
    Repair(Repair),
    /// Copy the store into a new file, and read it back
    Backup(OneFile),
    /// Make a store from a backup, at the place that --store names, which must be empty or new
    RestoreBackup(OneFile),
    /// Look at the store, its disk and what it can promise
    Doctor,
    /// Measure the store on this disk, beside raw syncs in the same run
    Bench(Bench),
    /// Print what is committed, as it is, until Ctrl-C
    Follow(Follow),
    /// See the main job done, step by step, in a temporary folder
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The session
    pub(crate) session: String,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// A name of your own, 1 to 256 bytes, that begins with neither `id:` nor `key:`; a session that has it is opened as it is
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// A title
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The session
    pub(crate) session: String,
    /// Who speaks: system, user, assistant or tool
    #[arg(long, value_parser = role, required_unless_present = "jsonl", conflicts_with = "jsonl")]
    pub(crate) role: Option<MessageRole>,
    /// The text; without it, or with `-`, standard input (`-- -` is a text of one dash)
    #[arg(conflicts_with = "jsonl")]
    pub(crate) text: Option<String>,
    /// True when the text stands behind `--`, so that a dash is a dash
    #[arg(skip)]
    pub(crate) literal: bool,
    /// Read messages from standard input, one a line: {"role","content"} or {"role","parts","idempotency_key"}
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Make a retry harmless: the same key and message are appended once
    #[arg(long, value_name = "KEY", conflicts_with = "jsonl")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The session
    pub(crate) session: String,
    /// Only the newest N messages
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// As it was at this version or message
    #[arg(long, value_name = "VERSION|MESSAGE", conflicts_with = "all")]
    pub(crate) at: Option<String>,
    /// Every branch and what is hidden, marked
    #[arg(long, conflicts_with = "last")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The session
    pub(crate) session: String,
    /// Only what came behind this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    pub(crate) from: u64,
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
    /// Forked from this session
    #[arg(long, value_name = "SESSION")]
    pub(crate) parent: Option<String>,
    /// Changed at or after: 2026-01-31, 2026-01-31T12:00:00Z, or 30m, 24h, 7d ago
    #[arg(long, value_name = "D")]
    pub(crate) since: Option<String>,
    /// Changed before, as --since
    #[arg(long, value_name = "D")]
    pub(crate) until: Option<String>,
    /// With this text in title or description
    #[arg(long, value_name = "Q")]
    pub(crate) text: Option<String>,
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
    #[arg(long, value_name = "MESSAGE", conflicts_with_all = ["steps", "turns"])]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Redo {
    /// The session
    pub(crate) session: String,
    /// So many steps
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one::<u64>)]
    pub(crate) steps: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    /// The session
    pub(crate) session: String,
    /// The branch's number, or main
    pub(crate) branch: String,
}

#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The session
    pub(crate) session: String,
    /// At this version or message (default: now)
    #[arg(long, value_name = "VERSION|MESSAGE")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files, and folders whose files are searched
    #[arg(required_unless_present = "from", value_name = "FILE|FOLDER")]
    pub(crate) paths: Vec<PathBuf>,
    /// Bring in all that this program keeps on this machine; running it again brings what is new
    #[arg(long, value_enum, value_name = "PROGRAM", conflicts_with_all = ["paths", "format"])]
    pub(crate) from: Option<Agent>,
    /// auto, claude-code, codex, pi, json or jsonl
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) format: String,
    /// Make a new session also of what was brought in before
    #[arg(long)]
    pub(crate) new_id: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The session
    pub(crate) session: String,
    /// json, jsonl (both whole, and read back), markdown, html, claude-code, codex or pi
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) format: String,
    /// Into this file, whole or not at all (default, and with `-`: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The process that is killed in the demo: appends to the session `demo` of this store, and says what was acknowledged
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) write_until_killed: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only what concerns this session, and damage that nobody can tell whose it is; all of the log is read all the same
    pub(crate) session: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OneFile {
    /// The file of the backup
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Writers, each on a session of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one::<usize>)]
    pub(crate) writers: usize,
    /// Messages of all writers together
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = at_least_one::<usize>)]
    pub(crate) messages: usize,
    /// Bytes of a message's text
    #[arg(long, value_name = "B", default_value_t = 512, value_parser = at_least_one::<usize>)]
    pub(crate) size: usize,
}

fn durability(text: &str) -> Result<Durability, String> {
    named(text, [("disk", Durability::Disk), ("process", Durability::Process), ("volatile", Durability::Volatile)])
}

fn status(text: &str) -> Result<SessionStatus, String> {
    named(
        text,
        [
            ("active", SessionStatus::Active),
            ("paused", SessionStatus::Paused),
            ("completed", SessionStatus::Completed),
            ("failed", SessionStatus::Failed),
            ("archived", SessionStatus::Archived),
        ],
    )
}

/// Reads the name of a role.
pub(crate) fn role(text: &str) -> Result<MessageRole, String> {
    named(
        text,
        [
            ("system", MessageRole::System),
            ("user", MessageRole::User),
            ("assistant", MessageRole::Assistant),
            ("tool", MessageRole::Tool),
        ],
    )
}

fn named<T: Copy, const N: usize>(text: &str, names: [(&str, T); N]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("one of {}", names.map(|(name, _)| name).join(", ")))
}

fn at_least_one<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    text.parse().ok().filter(|number| *number > T::from(0)).ok_or_else(|| "a whole number above 0".to_owned())
}

/// Arguments that ask for no command: help, the version, or a mistake.
pub(crate) struct Refused {
    error: clap::Error,
    json: bool,
}

impl Arguments {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self, Refused> {
        let given: Vec<OsString> = std::env::args_os().collect();
        // A mistake must be told as JSON too when that was asked for, and then nothing has been parsed.
        let json = given.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
        let literal = ends_literally(&given);
        let mut arguments = Self::try_parse_from(given).map_err(|error| Refused { error, json })?;
        if let Command::Append(append) = &mut arguments.command {
            append.literal = literal;
        }
        Ok(arguments)
    }
}

/// True when the last argument stands behind `--`.
fn ends_literally(given: &[OsString]) -> bool {
    given.split_last().is_some_and(|(_, before)| before.iter().any(|argument| argument == "--"))
}

impl Refused {
    /// Prints the help, or what was wrong.
    pub(crate) fn answer(self) -> ExitCode {
        let output = Output::new(self.json);
        let text = self.error.render().to_string();
        let outcome = match self.error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output.text(&text),
            _ => Err(Failure::from_clap(&text)),
        };
        output.finish(outcome)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
