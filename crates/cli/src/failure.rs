//! Why a command failed, as people and programs are told: a kind, a message, a hint, an exit code.
//!
//! Must not know: how it is printed.

use std::io;

use serde::Serialize;
use sessions_api::{BackendErrorKind, ErrorKind, RuleViolation, SessionError, SessionStatus, StoreError};

use crate::key_advice;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What it is like, for programs.
    kind: &'static str,
    message: String,
    hint: Option<String>,
    code: u8,
    /// True when everything was said before; only the code is left.
    silent: bool,
    /// True when the store failed, so that what comes next would fail too, or leave a hole.
    ends_the_input: bool,
}

/// The JSON of an error.
#[derive(Serialize)]
pub(crate) struct ErrorShape<'a> {
    kind: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

impl Failure {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NOT_FOUND: u8 = 3;
    pub(crate) const CONFLICT: u8 = 4;
    pub(crate) const DAMAGED: u8 = 5;
    pub(crate) const NOT_ALLOWED: u8 = 6;
    /// As shells say it of a program that Ctrl-C ended: 128 and the signal's number.
    pub(crate) const STOPPED: u8 = 130;

    /// The kind of [`StoreError::NoStore`].
    const NO_STORE: &str = "store_not_found";

    /// The kind of what could not be told.
    const OUTPUT: &str = "output";

    /// A wish that cannot be.
    pub(crate) fn usage(message: &str, hint: &str) -> Self {
        Self::new("usage", message, Some(hint), Self::USAGE)
    }

    /// The error's name, as it is told with `--json`.
    pub(crate) fn kind(&self) -> &str {
        self.kind
    }

    /// Something that was named is not there.
    pub(crate) fn not_found(message: &str, hint: &str) -> Self {
        Self::new("not_found", message, Some(hint), Self::NOT_FOUND)
    }

    /// Something went wrong beside the sessions.
    pub(crate) fn failed(message: &str, hint: &str) -> Self {
        Self::new("failed", message, Some(hint), Self::FAILED)
    }

    /// A sealed store wants a key that nobody gave.
    pub(crate) fn key_needed(message: &str, hint: &str) -> Self {
        Self::new("wrong_key", message, Some(hint), Self::NOT_ALLOWED)
    }

    /// More than there may be.
    pub(crate) fn limit(message: &str, hint: &str) -> Self {
        Self::new("limit", message, Some(hint), Self::FAILED)
    }

    /// Ctrl-C.
    pub(crate) fn stopped() -> Self {
        Self::new("stopped", "stopped", Some("what was acknowledged is kept"), Self::STOPPED)
    }

    /// All was said already; this is only the exit code.
    pub(crate) fn told(code: u8) -> Self {
        Self { silent: true, ..Self::new("failed", "", None, code) }
    }

    /// Results could not be written. When whoever read them went away, that is no failure of ours.
    pub(crate) fn output(error: &io::Error) -> Self {
        let message = format!("the result could not be written: {error}");
        let failure =
            Self::new(Self::OUTPUT, &message, Some("what the command did is done: look before you repeat it"), 1);
        let gone = error.kind() == io::ErrorKind::BrokenPipe;
        if gone { Self { code: 0, silent: true, ..failure } } else { failure }
    }

    /// The same, when something was done that nobody heard of.
    pub(crate) fn though(self, done: &str) -> Self {
        if self.kind != Self::OUTPUT {
            return self;
        }
        let message = format!("{done}, but {}", self.message);
        Self { message, code: Self::FAILED, silent: false, ..self }
    }

    /// True when nothing more should be appended.
    pub(crate) fn ends_the_input(&self) -> bool {
        self.ends_the_input
    }

    /// The same, of a line that was not appended because one before it was not.
    pub(crate) fn behind_line(&self, line: u64) -> Self {
        let message = format!("not appended, since line {line} was not");
        Self { message, hint: self.hint.clone(), ..*self }
    }

    /// The same, saying where to go on.
    pub(crate) fn going_on_with(self, line: u64) -> Self {
        let message = format!("line {line} and those behind it were not appended: {}", self.message);
        let before = self.hint.as_deref().map(|hint| format!("{hint}; then ")).unwrap_or_default();
        Self { message, hint: Some(format!("{before}go on with line {line}")), ..self }
    }

    /// What clap says about a command line.
    pub(crate) fn from_clap(text: &str) -> Self {
        let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        let mut paragraphs = text.split("\n\n").map(str::trim);
        let message = paragraphs.next().unwrap_or(text);
        // Where it knows what was meant it says so first, and then how the command is used.
        let hint = paragraphs.next().unwrap_or("see --help");
        Self::new("usage", message, Some(hint.strip_prefix("tip: ").unwrap_or(hint)), Self::USAGE)
    }

    fn new(kind: &'static str, message: &str, hint: Option<&str>, code: u8) -> Self {
        Self {
            kind,
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
            code,
            silent: false,
            ends_the_input: false,
        }
    }

    /// From a message that says what to do behind its last semicolon, as all of the library's do. One in brackets is that of a reason.
    fn told_by(kind: &'static str, error: &dyn std::error::Error, code: u8) -> Self {
        let text = error.to_string();
        let is_told = |(_, hint): &(&str, &str)| hint.matches(')').count() <= hint.matches('(').count();
        match text.rsplit_once("; ").filter(is_told) {
            Some((message, hint)) => Self::new(kind, message, Some(hint), code),
            None => Self::new(kind, &text, hint_of(kind), code),
        }
    }

    /// The same, saying of which file.
    pub(crate) fn about(mut self, path: &std::path::Path) -> Self {
        self.message = format!("{}: {}", path.display(), self.message);
        self
    }

    /// The same of one of several, where the others went on.
    pub(crate) fn among_others(self, message: String) -> Self {
        Self { message, ..self }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The same, with another hint when the store is locked.
    pub(crate) fn when_locked(self, hint: &str) -> Self {
        if self.kind == ErrorKind::Locked.as_str() { self.with_hint(hint) } else { self }
    }

    /// The same, with another hint.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// The same, naming the store that is not there.
    pub(crate) fn where_no_store(self, url: &str) -> Self {
        if self.is_no_store() { Self { message: format!("there is no store at {url}"), ..self } } else { self }
    }

    /// True when there is no store.
    pub(crate) fn is_no_store(&self) -> bool {
        self.kind == Self::NO_STORE
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn shape(&self) -> ErrorShape<'_> {
        ErrorShape { kind: self.kind, message: &self.message, hint: self.hint() }
    }
}

/// What to do about a path that is not what it should be.
const PATH_HINT: &str = "name the folder of a store, or one that does not exist yet, in a folder that does";

/// The exit code of a kind of error.
pub(crate) fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid => Failure::USAGE,
        ErrorKind::NotFound => Failure::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::Locked => Failure::CONFLICT,
        ErrorKind::Damaged => Failure::DAMAGED,
        ErrorKind::NotAllowed | ErrorKind::WrongKey | ErrorKind::KeyDestroyed | ErrorKind::KeyRetired => {
            Failure::NOT_ALLOWED
        }
        _ => Failure::FAILED,
    }
}

/// The name of a kind of error, as the JSON of an error has it.
pub(crate) fn kind_name(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::Invalid { "usage" } else { kind.as_str() }
}

/// What to do about what the system says, which gives no hints.
fn hint_of(kind: &str) -> Option<&'static str> {
    match kind {
        "usage" => Some("see --help"),
        "not_allowed" => Some("use an account that may read and write there, or another path"),
        "no_space" => Some("free some space and retry; nothing acknowledged was lost"),
        "damaged" => Some("run `verify` to see all damage"),
        "wrong_key" => Some("name the right key: --key-file, --passphrase-file or --vault"),
        "locked" => Some("close it there first"),
        "not_found" => Some("check how it is spelled"),
        "foreign_format" => Some("name the folder of a store, or one that does not exist yet"),
        "newer_format" => Some("open it with the version that wrote it"),
        _ => None,
    }
}

/// The kind and the exit code of an error of the library.
fn kind_and_code(error: &SessionError) -> (&'static str, u8) {
    match error {
        SessionError::Rule(RuleViolation::NoSuchBranch { .. }) => ("not_found", Failure::NOT_FOUND),
        SessionError::Rule(RuleViolation::InvalidName) => ("usage", Failure::USAGE),
        SessionError::InTrash { .. } => ("in_trash", Failure::NOT_FOUND),
        SessionError::Gone { .. } => ("gone", Failure::NOT_FOUND),
        SessionError::Store(StoreError::NoStore) => (Failure::NO_STORE, Failure::NOT_FOUND),
        SessionError::Import(import) => (import.kind(), code_of(error.kind())),
        SessionError::Rule(_) if error.kind() != ErrorKind::Invalid => (kind_name(error.kind()), code_of(error.kind())),
        SessionError::Rule(_) | SessionError::OverBudget(_) | SessionError::Unwritable(_) => {
            ("refused", Failure::FAILED)
        }
        error => (kind_name(error.kind()), code_of(error.kind())),
    }
}

/// What to do at a shell about an error whose message does not say it, or says it for a host.
fn shell_hint(error: &SessionError) -> Option<&'static str> {
    match error {
        SessionError::Store(StoreError::Key(error)) => key_advice::advice(error),
        SessionError::Store(StoreError::Backend(error)) if error.kind == BackendErrorKind::Path => Some(PATH_HINT),
        SessionError::InTrash { .. } => Some("`restore` takes it out of the trash"),
        SessionError::UnknownMessage { .. } => Some("`show --all` tells the ids of all its messages"),
        SessionError::ForeignPlace => Some("give a token of this session, or name the session that it is of"),
        SessionError::Rule(RuleViolation::NotActive { status: SessionStatus::Active | SessionStatus::Paused }) => {
            Some("make it active with `status SESSION active`")
        }
        SessionError::Rule(RuleViolation::NotActive { status: SessionStatus::Archived }) => {
            Some("bring it back with `status SESSION`, into the state it was in before, or `fork` it")
        }
        SessionError::Rule(RuleViolation::NotActive { .. }) => Some("it has ended: `fork` it to go on"),
        SessionError::Rule(RuleViolation::InvalidTransition { from: SessionStatus::Archived, .. }) => {
            Some("it can only go back to the state it was in before")
        }
        SessionError::Rule(RuleViolation::InvalidTransition { .. }) => {
            Some("what has ended can only be archived: `fork` it to go on")
        }
        SessionError::Rule(RuleViolation::InvalidName) => Some("give a name that fits on a line"),
        SessionError::LimitReached { limit, .. } if limit.starts_with("characters") => Some("shorten it"),
        SessionError::LimitReached { limit, .. } if limit.ends_with("of a message") => {
            Some("split it into several messages, or keep its file elsewhere")
        }
        SessionError::LimitReached { .. } => Some("take something away first"),
        SessionError::Import(import) if TO_COPY.contains(&import.kind()) => {
            Some("`import --new-id` makes a session of its own of the file")
        }
        _ => None,
    }
}

/// Files that can come in under another id, by the kind of what keeps them out.
const TO_COPY: [&str; 3] = ["another_tenant", "another_head", "source_changed"];

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let (kind, code) = kind_and_code(&error);
        let ends_the_input = match &error {
            SessionError::Store(StoreError::TooLarge { .. } | StoreError::Malformed { .. }) => false,
            SessionError::Store(_) | SessionError::Conflict { .. } | SessionError::Entropy(_) => true,
            _ => false,
        };
        let failure = Self::told_by(kind, &error, code);
        let message = match &error {
            // What stands behind its semicolon is a figure, and no hint.
            SessionError::LimitReached { .. } => error.to_string(),
            _ => failure.message.clone(),
        };
        let hint = shell_hint(&error).map(str::to_owned).or(failure.hint.clone());
        Self { ends_the_input, hint, message, ..failure }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        SessionError::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::told_by("not_allowed", &error, Self::NOT_ALLOWED)
            }
            io::ErrorKind::NotFound => Self::told_by("not_found", &error, Self::NOT_FOUND),
            io::ErrorKind::StorageFull => Self::told_by("no_space", &error, Self::FAILED),
            _ => Self::told_by("failed", &error, Self::FAILED),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::told_by("failed", &error, Self::FAILED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_hint_begins() {
        let failure = Failure::from(SessionError::Rule(RuleViolation::NothingToRedo));
        assert_eq!(failure.message(), "nothing is left to redo");
        assert_eq!(failure.hint(), Some("a new message ends redo, see the branches"));
        assert_eq!(failure.code(), Failure::FAILED);
    }

    #[test]
    fn the_hint_of_a_reason_is_not_cut_out_of_its_message() {
        use sessions_api::CompactionRefused;
        let what = || "the provider cannot be reached; check its address and the network".to_owned();
        let failure = Failure::from(SessionError::from(CompactionRefused::Failed { what: what(), is_transient: true }));
        assert_eq!(failure.message(), "no summary was made, and nothing was changed: the provider cannot be reached");
        assert_eq!(failure.hint(), Some("check its address and the network"));
        let (text, whole) = (format!("it failed ({}), so nothing was changed", what()), Failure::failed("", "").code());
        let within = Failure::told_by("failed", &io::Error::other(text.clone()), whole);
        assert_eq!((within.message(), within.hint()), (text.as_str(), None));
        let behind = Failure::told_by("failed", &io::Error::other("it failed (x; y); try again (soon)"), whole);
        assert_eq!((behind.message(), behind.hint()), ("it failed (x; y)", Some("try again (soon)")));
    }

    #[test]
    fn each_error_about_keys_says_what_to_do_at_a_shell() {
        use sessions_api::{KeyError as E, ProviderKind, SessionId};
        let (session, key, kind) = (SessionId::from_bytes([7; 16]), || "k".to_owned(), ProviderKind::KeyFile);
        let (given, what, source) = (ProviderKind::Passphrase, "x", || io::Error::other("y"));
        let (parameters, after) = (|| E::Parameters { what: "64 GiB".to_owned() }, std::time::Duration::from_secs(1));
        let cases: [(E, &str, u8, &str); 25] = [
            (E::ManyKept { most: 3 }, "limit", 1, "--shred --detach"),
            (E::WrongKey { kind }, "wrong_key", 6, "--key-file, --passphrase-file or --vault"),
            (E::OtherKind { needed: kind, given }, "wrong_key", 6, "give the key file"),
            (E::Sealed, "wrong_key", 6, "give its key"),
            (E::NotSealed, "usage", 2, "`keys init`"),
            (E::Plain, "usage", 2, "--forever"),
            (E::InTheClear { files: 2 }, "usage", 2, "move it elsewhere"),
            (E::SessionDestroyed { session }, "key_destroyed", 6, "delete it with --forever"),
            (E::SessionRetired { session }, "key_retired", 6, "the newest copy of the folder `keys` back, or delete"),
            (E::EpochRetired { session, seq: 3, epoch: 1 }, "damaged", 5, "run `repair`"),
            (E::WornOut { session }, "limit", 1, "`keys rotate-data SESSION`"),
            (E::Retired { key: key() }, "key_retired", 6, "the newest copy of the folder `keys` back"),
            (E::Destroyed { key: key() }, "key_destroyed", 6, "`restore-backup`"),
            (E::Denied { key: key() }, "not_allowed", 6, "the token's policy"),
            (E::Unavailable { what: key(), retry_after: None }, "failed", 1, "try again later"),
            (E::TimedOut { after }, "failed", 1, "try again later"),
            (E::Nonsense { what }, "failed", 1, "check its address"),
            (E::Weak { what }, "usage", 2, "take a longer one"),
            (parameters(), "damaged", 5, "restore the store's keys from a backup"),
            (E::KeyFile { what: "it is open to others; run chmod 600".to_owned() }, "usage", 2, "chmod 600"),
            (E::Damaged { what }, "damaged", 5, "put the folder `keys` back from a backup"),
            (E::Newer { found: key() }, "newer_format", 1, "use that version"),
            (E::Unfinished, "conflict", 4, "give the command again"),
            (E::NoEntropy, "failed", 1, "try again later"),
            (E::Io { operation: "reading", source: source() }, "failed", 1, "what the system says"),
        ];
        for (error, kind, code, hint) in cases {
            let failure = Failure::from(StoreError::from(error));
            assert_eq!((failure.kind, failure.code()), (kind, code), "{}", failure.message());
            assert!(
                failure.hint().is_some_and(|said| said.contains(hint)),
                "{}: {:?}",
                failure.message(),
                failure.hint()
            );
            assert!(!failure.message().ends_with(';') && failure.message() != hint, "{}", failure.message());
        }
    }

    #[test]
    fn what_is_typed_wrong_has_a_hint_of_one_paragraph() {
        let failure = Failure::from_clap(
            "error: no 'x'\n\n  tip: there is 'y'\n\nUsage: z\n\nFor more information, try '--help'.\n",
        );
        assert_eq!((failure.message(), failure.hint()), ("no 'x'", Some("there is 'y'")));
        assert_eq!(Failure::from_clap("error: no").hint(), Some("see --help"));
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        let locked = StoreError::Locked { pid: 7, since: "now".to_owned() };
        let foreign = StoreError::ForeignFormat { found: "a".to_owned(), expected: "b" };
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let backend = |kind| StoreError::from(sessions_api::BackendError::new(kind, "opening", denied()));
        let cases: [(Failure, &str, u8); 8] = [
            (locked.into(), "locked", 4),
            (foreign.into(), "foreign_format", 1),
            (backend(sessions_api::BackendErrorKind::Permission).into(), "not_allowed", 6),
            (backend(sessions_api::BackendErrorKind::Path).into(), "usage", 2),
            (backend(sessions_api::BackendErrorKind::Io).into(), "failed", 1),
            (SessionError::NoSuchName.into(), "not_found", 3),
            (SessionError::NameTooShort.into(), "usage", 2),
            (SessionError::Conflict { expected: 1, actual: 2 }.into(), "conflict", 4),
        ];
        for (failure, kind, code) in cases {
            assert_eq!((failure.kind, failure.code()), (kind, code), "{}", failure.message());
        }
    }
}
