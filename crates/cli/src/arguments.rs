//! What may be typed.
//!
//! Must not know: what it does.

mod chat;
mod context;
mod conversation;
mod history;
mod keys;
mod life;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use sessions_api::{Durability, MessageId, MessageRole, SessionStatus};

pub(crate) use self::{
    chat::Chat,
    context::{Compact, Context as ContextArguments, Instruct, Tokens},
    conversation::{Append, Follow, Show},
    history::{Checkout, Checkpoint, Edit, Fork, Pin, Redo, Undo},
    keys::{InitKeys, KeySource, KeyStatus, Keys, NewKey, NewPassphrase, RotateData},
    life::{
        Cleanup, Delete, Describe, Known, List, ListState, New, Rename, Scope, SetState, State, StateCommand, StateKey,
        Status, Tag, UnsetState,
    },
};
use crate::{agents::Agent, failure::Failure, output::Output};

/// Keeps the conversations of LLM agents: nothing that was acknowledged is lost, and nothing destroys history.
///
/// SESSION is an id, a key, or at least 6 characters that an id begins with; `id:` and `key:` force one of them. Results go to standard
/// output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "sessions",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or locked, 5 damaged, 6 wrong key or not allowed, 130 stopped with \
                  Ctrl-C (what was acknowledged is kept)."
)]
pub(crate) struct Arguments {
    /// Where the sessions are: sled:PATH or memory: (default: sled: under your data directory)
    #[arg(long, value_name = "URL", env = "SESSIONS_STORE", hide_env_values = true, global = true)]
    pub(crate) store: Option<String>,
    /// The file of the configuration (default: SESSIONS_CONFIG, or config.yaml in your configuration folder, if it is there)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// What an append survives before it is acknowledged (default: the most that the store gives)
    #[arg(long, value_name = "LEVEL", value_parser = durability, global = true)]
    pub(crate) durability: Option<Durability>,
    /// Each result as one JSON object on a line, errors as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) key: KeySource,
    /// True when the last argument stands behind `--`, so that a dash is a dash.
    #[arg(skip)]
    pub(crate) literal: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a session; with --key, open or create it
    #[command(after_help = "With --json: {\"id\",\"key\",\"version\",\"durability\",\"created\"}")]
    New(New),
    /// Append a message, or with --jsonl one for each line of standard input
    #[command(
        after_help = "With --json: {\"id\" (the message),\"seq\",\"version\",\"head\",\"durability\",\"outcome\"}, and with \
                            --stream \"state\". --jsonl answers so for each line, or {\"error\",\"line\"} for a bad one."
    )]
    Append(Append),
    /// Show the visible conversation
    #[command(
        after_help = "With --json a line for each message: {\"seq\",\"id\",\"role\",\"parts\",\"at\",\"tokens\",\"visible\"} and, where \
                            it is so, \"estimate\" (of the tokens), \"state\" (partial, cancelled, failed, interrupted), \"replaces\", \"pinned\", \"late\", \
                            \"appended_at\", \"actor\", \"metadata\". Where a message is lost: {\"seq\",\"lost\",\"damaged\"}."
    )]
    Show(Show),
    /// List sessions, the newest change first
    #[command(
        after_help = "With --json a line for each: {\"id\",\"key\",\"title\",\"status\",\"created\",\"updated\",\"last_accessed\",\
                            \"messages\",\"tokens\",\"cwd\",\"parent\",\"tags\",\"version\"} and, where there is one, \"description\", \
                            \"creator\", \"kinship\", \"trashed\". Last {\"cursor\"} when there are more."
    )]
    List(List),
    /// Say what is known about a session, also one in the trash
    #[command(
        after_help = "With --json: what list tells, and {\"recorded\",\"tool_calls\",\"usage\",\"first_said\",\"last_said\",\"runtime\",\
                            \"lineage\",\"pins\",\"checkpoints\",\"branches\",\"state_keys\"} and, where there is any, \"metadata\", \
                            \"settings\", \"lost\"."
    )]
    Info(One),
    /// Tell or change a session's state of life
    #[command(
        after_help = "With --json: {\"id\",\"status\",\"version\",\"changed\"}. Active and paused follow each other, both may \
                            become completed or failed, all may become archived, and archived becomes again what it was. \
                            Messages and moves need an active session."
    )]
    Status(Status),
    /// Give a session another title
    #[command(after_help = "With --json: {\"id\",\"title\",\"version\",\"changed\"}")]
    Rename(Rename),
    /// Give a session another description
    #[command(after_help = "With --json: {\"id\",\"version\",\"changed\"}")]
    Describe(Describe),
    /// Add tags and take tags away, or tell them
    #[command(after_help = "With --json: {\"id\",\"tags\",\"version\",\"changed\"}")]
    Tag(Tag),
    /// Key-value state: a session's, or with user: and app: before the key that of all sessions
    State(State),
    /// Note that a session is used, though nothing is changed
    #[command(after_help = "With --json: {\"id\",\"version\",\"changed\"}")]
    Touch(Changed),
    /// Tell where a session came from, and what came from it
    #[command(after_help = "With --json: {\"id\",\"ancestors\":[{\"session\",\"kinship\",\"at\"}],\"children\":[…]}")]
    Lineage(One),
    /// Take back steps: a message, or a message with tool calls and all their results
    #[command(after_help = "With --json: {\"version\",\"moved_to\",\"steps\",\"messages\",\"head\",\"outcome\"}")]
    Undo(Undo),
    /// Take undone steps up again
    #[command(after_help = "With --json: as undo")]
    Redo(Redo),
    /// Hide the whole history; it can be undone
    #[command(after_help = "With --json: as undo")]
    Clear(Changed),
    /// List the ways that the conversation took
    #[command(after_help = "With --json a line for each: {\"branch\",\"left_at\",\"tip\",\"current\",\"name\"}")]
    Branches(One),
    /// Go to the end of a branch, or with --at to a place in history
    #[command(after_help = "With --json: as undo")]
    Checkout(Checkout),
    /// Make a new session that begins with this one's history
    #[command(after_help = "With --json: {\"id\",\"parent\",\"at\"}")]
    Fork(Fork),
    /// Put a new version of a message in its place, on a branch that ends there; the old one stays reachable
    #[command(after_help = "With --json: as append")]
    Edit(Edit),
    /// Keep a message in the context, whatever else is left out
    #[command(after_help = "With --json: {\"id\" (the message),\"pinned\",\"version\",\"changed\"}")]
    Pin(Pin),
    /// Let go of a pinned message
    #[command(after_help = "With --json: as pin")]
    Unpin(Pin),
    /// Give a place in history a name, or list the names
    #[command(
        after_help = "With --json: {\"name\",\"version\" (the place's),\"messages\"}, to which a change adds \"changed\" and --remove \
                            answers {\"name\",\"removed\"}"
    )]
    Checkpoint(Checkpoint),
    /// Put a session into the trash, or with --forever delete it for good
    #[command(
        after_help = "With --json: {\"id\",\"trashed\",\"changed\",\"was_gone\"}; with --forever or --shred {\"id\",\"was_gone\",\"records\",\
                            \"bytes\",\"kept\",\"heirs\",\"cascaded\",\"erased\"}, to which --detach adds \"detached\" and \"lost\" (by fork), and --shred \"grounds\" (what an import had brought along); \"erased\" is null or \
                            {\"how\",\"slot\",\"at\"}"
    )]
    Delete(Delete),
    /// Take a session out of the trash
    #[command(after_help = "With --json: {\"id\",\"version\",\"changed\"}")]
    Restore(One),
    /// Put sessions aside that were not used for long, and delete for good what was in the trash for long, as the configuration says
    #[command(after_help = "With --json a line for each session that is due: \
                            {\"id\",\"step\" (trash, delete),\"done\"} and, where it is left alone, \"why\" (changed, in_use, turn_open, pinned, has_forks, unreadable); \
                            and last {\"cleaned\":{\"done\",\"skipped\",\"more\",\"dry_run\",\"now\"}}. Nothing is done unless trash.after_days or cleanup.delete_after_days is set.")]
    Cleanup(Cleanup),
    /// Tell what would be sent to a model: instructions, pinned messages, the summary and the newest turns that fit
    #[command(
        after_help = "With --json: {\"messages\",\"tokens\",\"repairs\"}, the messages as the form has them (\"system\" apart where it does), and where it \
                            is so \"estimate\", \"summary\" (the compaction's record), \"cut\" (older turns do not fit)."
    )]
    Context(ContextArguments),
    /// Let a summary, or shortened results, stand for the older part of what a model is sent; the history stays, and it can be taken away
    #[command(
        after_help = "With --json: {\"before\",\"after\",\"target\" (tokens),\"covers\" (messages),\"plan\",\"version\"} and, where there is one, \"summary\", \"by\", \
                            \"calls\", \"compaction\" (its record). With --dry-run there is no \"version\", and \"after\" is the most it may be. Where \"after\" is above \"target\", it was not reached."
    )]
    Compact(Compact),
    /// Take the newest compaction away
    #[command(after_help = "With --json: {\"version\"}")]
    Uncompact(Changed),
    /// Tell or change what the model is told before all else
    #[command(after_help = "With --json: {\"instructions\",\"version\",\"changed\"}")]
    Instruct(Instruct),
    /// Tell what calls of models took and cost, and how full the window is
    #[command(
        after_help = "With --json: {\"models\":[{\"provider\",\"model\",\"calls\",\"estimated\",\"usage\",\"cost\",\"unpriced\"}],\"total\",\"context\"}; context is \
                            null or {\"model\",\"window\",\"usable\",\"tokens\",\"estimate\",\"state\"} (normal, warning at 75 %, critical at 90 %). With --calls a line for each \
                            call: {\"seq\",\"call\",\"purpose\",\"outcome\",\"usage\"} and what else is known; priced is {\"amount\",\"by\"} (written or table)."
    )]
    Tokens(Tokens),
    /// Talk to a model, in a session that is kept; without a terminal each line of standard input is one message
    #[command(
        after_help = "With --json a line for each event: {\"event\"}, which is session, answering, text, reasoning, answered, calling, called, retrying, compacting, compacted, and last \
                            of each turn {\"event\":\"end\",\"stop_reason\",\"text\",\"steps\",\"usage\",\"cost\",\"window\",…}. A line that begins with / is a command, as /undo; /help \
                            tells them; what begins with // is said with one of the two. Ctrl-C ends a turn and keeps what came of it; /exit or Ctrl-D leaves. What is \
                            typed is in the history of the run alone: no file of it is written, since conversations are secrets. The exit code without a terminal is that of \
                            the last turn's end: 0 when the model said what it had to say, 130 cancelled, 6 when the key was not accepted, else 1. A line that \
                            is no text in UTF-8 or too long is told with its number and passed over; the code is then 2 or 1 instead of 0. No tool is built in, since \
                            what runs on a machine is for its host to decide."
    )]
    Chat(Chat),
    /// Bring in sessions from files, or from all files of a folder; what was brought in before is not brought in twice
    #[command(
        after_help = "With --json a report for each session: {\"id\",\"messages\",\"tool_calls\",\"repaired\":[{\"line\",\"what\"}],\
                            \"set_aside\":[{\"line\",\"why\"}],\"usage\":{\"input\",\"output\",\"cache_read\",\"cache_write\",\"reasoning\"}}; usage has cache_write_long \
                            beside cache_write where something was written to a cache for an hour."
    )]
    Import(Import),
    /// Write a session out: whole, to be read, or for another program
    Export(Export),
    /// Check every record; changes nothing
    #[command(
        after_help = "With --json a line for each finding: {\"severity\",\"session\",\"seq\",\"file\",\"offset\",\"what\"}, \
                            and last {\"checked\":{\"segments\",\"records\",\"sessions\",\"bytes\",\"findings\",\"lost\",\"index\"}} with \"anchor\" (fresh, \
                            rolled_back, other_store or unknown) and \"anchored\" (the file) where anchors are named. With --without-key, before it, a line \
                            for each session: {\"session\",\"removed\",\"chains\":[{\"epoch\",\"records\",\"head\"}],\"closed\":{\"epoch\",\"version\",\"old\",\"new\"},\"destroyed\" \
                            (the slot)}. Damage, and a store that was put back, is exit code 5; an anchor that tells nothing is 1."
    )]
    Verify(Verify),
    /// Set aside what cannot be read, so that the rest works; deletes nothing
    #[command(
        after_help = "With --json a line for each thing done: {\"what\",\"session\",\"seq\",…}, and for each damage that is left, as of keys, one as `verify` \
                            has it. Then the exit code is 5."
    )]
    Repair(Repair),
    /// Take off the disk what only deleted sessions had
    #[command(after_help = "With --json: {\"segments\",\"bodies\",\"bytes\"}")]
    Reclaim,
    /// Look after the keys of a sealed store
    #[command(subcommand)]
    Keys(Keys),
    /// Copy the store into a new file, and read it back
    #[command(
        after_help = "With --json: {\"file\",\"sessions\",\"segments\",\"bodies\",\"bytes\",\"digest\",\"took_ms\"}"
    )]
    Backup(OneFile),
    /// Make a store from a backup, at the place that --store names, which must be empty or new
    #[command(
        after_help = "With --json: {\"store\",\"sessions\",\"records\",\"bytes\",\"digest\",\"findings\",\"took_ms\"}"
    )]
    RestoreBackup(OneFile),
    /// Look at the store, its disk and what it can promise
    #[command(
        after_help = "With --json a line for each thing looked at: {\"check\",\"what\",\"value\",\"advice\",\"trouble\"}"
    )]
    Doctor,
    /// Measure the store on this disk, beside raw syncs in the same run
    #[command(after_help = "With --json: {\"append_per_s\",\"p50_us\",\"p99_us\",\"syncs\",\"raw_fdatasync_us\",…}")]
    Bench(Bench),
    /// Print what is committed, as it is, until Ctrl-C
    #[command(
        after_help = "Ctrl-C is how it ends, with exit code 0. With --json a line for each message, as show. A message that arrives bit by bit is told when it has ended; \
                            with --chunks also each piece, as {\"chunk_of\",\"seq\",\"parts\"}."
    )]
    Follow(Follow),
    /// Tell what is in force of the configuration, and where each value came from
    #[command(after_help = "With --json a line for each option: {\"option\",\"value\",\"from\",\"default\",\"state\"}")]
    Config(Config),
    /// See the main job done, step by step, in a temporary folder
    Demo(Demo),
    /// Print a shell's completions
    Completions(Completions),
    /// Print the manual page of the program, or write those of all commands
    Man(Man),
    /// Print the reference of the program, as docs/cli.md has it
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The session
    pub(crate) session: String,
}

#[derive(Debug, Args)]
pub(crate) struct Changed {
    /// The session
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Once {
    /// Make a retry harmless: under the same key it is done once, also by another process
    #[arg(id = "once", long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell: bash, zsh or fish
    #[arg(value_parser = shell)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Print the reference of all options, as docs/configuration.md has it
    #[arg(long, hide = true)]
    pub(crate) reference: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Into this folder, a page for each command
    #[arg(long, value_name = "D")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files, and folders whose files are searched
    #[arg(required_unless_present = "from", value_name = "FILE|FOLDER")]
    pub(crate) paths: Vec<PathBuf>,
    /// Bring in all that this program keeps on this machine; running it again brings what is new
    #[arg(long, value_enum, value_name = "PROGRAM", conflicts_with_all = ["paths", "format"])]
    pub(crate) from: Option<Agent>,
    /// auto, claude-code, codex, pi, openai, anthropic, json or jsonl
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
    /// json, jsonl (both whole, and read back), markdown, html, claude-code, codex, pi, openai or anthropic (the messages of a request)
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
    /// Of a sealed store check what can be checked without its key, as an auditor does, and tell the head of each session's chain of ciphertext
    #[arg(long)]
    pub(crate) without_key: bool,
    /// Also find out whether the store was put back to a state from before this anchor was noted; needs no key
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    pub(crate) anchor: Option<PathBuf>,
    /// When nothing is damaged, note in this file how far the store has come, to be kept where who can write to the store cannot
    #[arg(long, value_name = "FILE", conflicts_with_all = ["session", "without_key"])]
    pub(crate) write_anchor: Option<PathBuf>,
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
    named(text, SessionStatus::ALL.map(|status| (status.as_str(), status)))
}

fn shell(text: &str) -> Result<clap_complete::Shell, String> {
    use clap_complete::Shell::{Bash, Fish, Zsh};
    named(text, [("bash", Bash), ("zsh", Zsh), ("fish", Fish)])
}

/// Reads the id of a message, saying what is wrong with it.
fn message_id(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|error: sessions_api::InvalidId| error.to_string())
}

/// All that forgot theirs would share an empty one.
fn idempotency_key(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it is empty; give each change one of its own, or none".to_owned())
    } else {
        Ok(text.to_owned())
    }
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
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte != b'0');
    let what = if is_number { "more than is possible; give a smaller number" } else { "a whole number above 0" };
    text.parse().ok().filter(|number| *number > T::from(0)).ok_or_else(|| what.to_owned())
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
        arguments.literal = literal;
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

    #[test]
    fn a_number_that_is_too_large_is_told_as_one() {
        let told = |text| at_least_one::<u64>(text).unwrap_err();
        assert_eq!(told("99999999999999999999"), "more than is possible; give a smaller number");
        assert!(["0", "00", "-1", "x", "", "1.5"].iter().all(|text| told(text) == "a whole number above 0"));
        assert_eq!(at_least_one::<u64>("7"), Ok(7));
    }
}
