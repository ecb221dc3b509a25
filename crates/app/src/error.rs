//! The one error of the library, by what a caller can do about it.
//!
//! Must not know: exit codes, pages, or how an error is shown.

use std::time::Duration;

use sessions_domain::{
    InvalidHistory, InvalidId, InvalidKey, InvalidStateKey, LimitReached, MessageId, RuleViolation, SessionId,
    codec::CodecError, context::OverBudget, profile::UnknownModel,
};
use sessions_ports::{BackendErrorKind, BackupError, EntropyError, KeyError, StoreError};

use crate::{compact::CompactionRefused, reading, transfer::ImportError, turn::InvalidAgent};

/// Why something was not done. No variant shows content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No session has this id.
    #[error("there is no session {session}; list the sessions to see their ids")]
    NotFound {
        /// What was looked for.
        session: SessionId,
    },
    /// Other sessions were forked from it.
    #[error(
        "session {session} has {}",
        said_of_forks(.forks)
    )]
    HasForks {
        /// The session.
        session: SessionId,
        /// Those forked from it that the actor may see. Empty: all of them are of others.
        forks: Vec<SessionId>,
    },
    /// The session was deleted.
    #[error(
        "session {session} was deleted, and an id is never used again; list the sessions to see those that are there"
    )]
    Gone {
        /// What was looked for.
        session: SessionId,
    },
    /// No session answers to this name.
    #[error(
        "no session has this id or key, or an id that begins so (at least 6 characters); list the sessions to see them"
    )]
    NoSuchName,
    /// Several sessions answer to this beginning of an id.
    #[error("{matches} sessions have an id that begins so; give more characters")]
    AmbiguousName {
        /// How many.
        matches: usize,
    },
    /// What was said to be the beginning of an id is too short to stand for one.
    #[error("this is too short for the beginning of an id; give at least 6 of its 26 characters")]
    NameTooShort,
    /// Not an id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// Not a key.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A list's cursor is not one that a list gave.
    #[error("this is not a cursor of a list; give the one of the page before as it is, or none for the first page")]
    InvalidCursor,
    /// Not a key of state.
    #[error(transparent)]
    InvalidStateKey(#[from] InvalidStateKey),
    /// Not a place's token.
    #[error("this is not the token of a place; give one as a receipt has it")]
    InvalidPlace,
    /// A place of another session, or of another log under the same id.
    #[error("this place is one of another session")]
    ForeignPlace,
    /// A place that was never promised to stay, and did not: its record was acknowledged below `disk`, and went with its process.
    #[error(
        "what stood at this place went with the process that wrote it, as it was not yet on disk; go on from an earlier place"
    )]
    LostPlace,
    /// A place that was on disk and is not there: the store was put back to an older state.
    #[error(
        "what stood at this place was on disk and is gone, so the store was put back to an older state; look for the newer copy"
    )]
    RolledBack,
    /// The session has no such message.
    #[error("the session has no message {message}")]
    UnknownMessage {
        /// The message.
        message: MessageId,
    },
    /// The session has no such version.
    #[error("the session has no version {version}; its versions go from {first} to {last}")]
    UnknownVersion {
        /// What was asked.
        version: u64,
        /// The first there is.
        first: u64,
        /// The last there is.
        last: u64,
    },
    /// The session went another way meanwhile.
    #[error(
        "the session changed meanwhile: version {expected} was expected and {actual} is there; look at it and retry"
    )]
    Conflict {
        /// The version that was expected.
        expected: u64,
        /// The version that is there.
        actual: u64,
    },
    /// An idempotency key was used before for something else.
    #[error("this idempotency key was used before for something else; take a new key for each message and each change")]
    KeyReused,
    /// An idempotency key without a letter, which all that forgot theirs would share.
    #[error("the idempotency key is empty; give each message one of its own, or none")]
    EmptyIdempotencyKey,
    /// The session is in the trash.
    #[error("session {session} is in the trash; restore it first")]
    InTrash {
        /// The session.
        session: SessionId,
    },
    /// A rule of the conversation refuses it.
    #[error(transparent)]
    Rule(RuleViolation),
    /// A limit is reached.
    #[error("{limit} may be at most {max}; this has {actual}")]
    LimitReached {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What was given.
        actual: u64,
    },
    /// What must always be sent does not fit the budget.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// No profile says what the model takes.
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    /// Nothing here counts tokens in the model's encoding.
    #[error(
        "tokens cannot be counted in the encoding {encoding:?}; build with the feature that has it, or name another in the model's profile"
    )]
    UnknownEncoding {
        /// The encoding.
        encoding: String,
    },
    /// The conversation was not compacted.
    #[error(transparent)]
    Compaction(#[from] CompactionRefused),
    /// No turn can run with the agent.
    #[error(transparent)]
    Agent(#[from] InvalidAgent),
    /// A turn runs in the session already.
    #[error("a turn runs in this session; wait for its end, or cancel it")]
    TurnRunning,
    /// The turn was begun before, under the same idempotency key.
    #[error(
        "this was said before, under the same key; a turn is not run twice: read what was answered, or go on with it if it was cut off"
    )]
    TurnBegun,
    /// No turn was cut off.
    #[error("the conversation ends with a whole answer, or is empty, so there is no turn to go on with; say something")]
    NothingToResume,
    /// Work beside the runtime did not come to its end.
    #[error("the work was broken off, because its runtime ended or it panicked; what was acknowledged is kept")]
    BrokenOff,
    /// A record of the session cannot be understood.
    #[error("record {seq} of session {session} is not valid: {source}; run `verify`")]
    InvalidRecord {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
        /// What is wrong.
        #[source]
        source: CodecError,
    },
    /// A record of the session cannot follow the ones before it.
    #[error("the log of session {session} is not valid: {source}; run `verify`")]
    InvalidHistory {
        /// The session.
        session: SessionId,
        /// What is wrong.
        #[source]
        source: InvalidHistory,
    },
    /// A value of the host has no JSON form.
    #[error("the message has no JSON form: {0}")]
    Unwritable(#[source] CodecError),
    /// A record has no JSON form to export.
    #[error("a record of the session has no JSON form: {0}; run `verify`")]
    Unexportable(#[source] serde_json::Error),
    /// A file cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// What the host wired cannot be: a store's URL that names no store, say. The source says what is wrong.
    #[error(transparent)]
    Configuration(Box<dyn std::error::Error + Send + Sync>),
    /// The system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(StoreError),
}

fn said_of_forks(forks: &[SessionId]) -> String {
    let named = forks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let count = match forks.len() {
        0 => return "forks that belong to others, and nothing is taken from those; delete it so that forks keep what they inherit".into(),
        1 => "a fork".to_owned(),
        many => format!("{many} forks"),
    };
    format!(
        "{count} ({named}), and what is inherited would be lost; delete the forks too with a cascade, or detach them first"
    )
}

/// What an error asks of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Ask otherwise: the wish itself is not possible.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Something changed meanwhile, or exists already: look, and decide again.
    Conflict,
    /// Another process owns the store.
    Locked,
    /// Something stored is damaged.
    Damaged,
    /// What lies there is not ours to open.
    ForeignFormat,
    /// A newer version wrote it, and is needed to open it.
    NewerFormat,
    /// There is no space left.
    NoSpace,
    /// The system, or a rule about people, does not allow it.
    NotAllowed,
    /// The store is sealed, and this key does not open it, or none was given.
    WrongKey,
    /// The keys of what was asked for were destroyed: nobody can read it any more.
    KeyDestroyed,
    /// It is under a key that was retired: the key is known, and is not in use any more.
    KeyRetired,
    /// A limit is reached.
    Limit,
    /// It failed.
    Failed,
}

impl ErrorKind {
    /// The kind's name, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Locked => "locked",
            Self::Damaged => "damaged",
            Self::ForeignFormat => "foreign_format",
            Self::NewerFormat => "newer_format",
            Self::NoSpace => "no_space",
            Self::NotAllowed => "not_allowed",
            Self::WrongKey => "wrong_key",
            Self::KeyDestroyed => "key_destroyed",
            Self::KeyRetired => "key_retired",
            Self::Limit => "limit",
            Self::Failed => "failed",
        }
    }
}

/// What an error about keys asks of a caller.
fn kind_of_key(error: &KeyError) -> ErrorKind {
    match error {
        KeyError::WrongKey { .. } | KeyError::OtherKind { .. } | KeyError::Sealed => ErrorKind::WrongKey,
        KeyError::SessionDestroyed { .. } | KeyError::Destroyed { .. } => ErrorKind::KeyDestroyed,
        KeyError::NotSealed
        | KeyError::Plain
        | KeyError::InTheClear { .. }
        | KeyError::Weak { .. }
        | KeyError::KeyFile { .. } => ErrorKind::Invalid,
        KeyError::SessionRetired { .. } | KeyError::Retired { .. } => ErrorKind::KeyRetired,
        KeyError::Denied { .. } => ErrorKind::NotAllowed,
        KeyError::EpochRetired { .. } | KeyError::Parameters { .. } | KeyError::Damaged { .. } => ErrorKind::Damaged,
        KeyError::Newer { .. } => ErrorKind::NewerFormat,
        KeyError::WornOut { .. } | KeyError::ManyKept { .. } => ErrorKind::Limit,
        KeyError::Unfinished => ErrorKind::Conflict,
        _ => ErrorKind::Failed,
    }
}

impl SessionError {
    /// Whether nobody can read the session any more: its keys, or those of one that it inherits from, are no more or are not those that it was sealed
    /// with, or what stands for its lost beginning is not believed. It can be deleted for good.
    pub fn is_unreadable(&self) -> bool {
        use KeyError as K;
        let Self::Store(error) = self else { return false };
        let has_no_keys =
            matches!(error, StoreError::Key(K::Damaged { .. } | K::SessionRetired { .. } | K::SessionDestroyed { .. }));
        has_no_keys || error.is_unconfirmed()
    }

    /// Whether a session is deleted, or shredded where what said so is lost.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self, Self::Gone { .. }) || matches!(self, Self::Store(error) if reading::is_ended(error))
    }

    /// Whether a session cannot be read from its beginning on, so that its forks are read without it: it is ended, its keys are damaged or older than it is,
    /// or its beginning is damaged.
    pub(crate) fn is_shut(&self) -> bool {
        let Self::Store(error) = self else { return self.is_ended() };
        let is_damaged = matches!(error, StoreError::Corrupt { .. } | StoreError::Key(KeyError::EpochRetired { .. }));
        is_damaged || reading::is_shut(error)
    }

    /// What the error asks of a caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. }
            | Self::Gone { .. }
            | Self::NoSuchName
            | Self::InTrash { .. }
            | Self::UnknownMessage { .. }
            | Self::UnknownVersion { .. }
            | Self::UnknownModel(_)
            | Self::Rule(RuleViolation::NoSuchCheckpoint) => ErrorKind::NotFound,
            Self::Rule(
                RuleViolation::NotActive { .. }
                | RuleViolation::InvalidTransition { .. }
                | RuleViolation::TurnOpen
                | RuleViolation::TurnEnded,
            ) => ErrorKind::Conflict,
            Self::LostPlace | Self::RolledBack => ErrorKind::Damaged,
            Self::AmbiguousName { .. }
            | Self::NameTooShort
            | Self::InvalidCursor
            | Self::InvalidId(_)
            | Self::InvalidKey(_)
            | Self::InvalidStateKey(_)
            | Self::InvalidPlace
            | Self::ForeignPlace
            | Self::EmptyIdempotencyKey
            | Self::Rule(_)
            | Self::OverBudget(_)
            | Self::Agent(_)
            | Self::UnknownEncoding { .. }
            | Self::Unwritable(_)
            | Self::Configuration(_) => ErrorKind::Invalid,
            Self::Conflict { .. }
            | Self::KeyReused
            | Self::HasForks { .. }
            | Self::TurnRunning
            | Self::TurnBegun
            | Self::NothingToResume => ErrorKind::Conflict,
            Self::LimitReached { .. } => ErrorKind::Limit,
            Self::InvalidRecord { .. } | Self::InvalidHistory { .. } | Self::Unexportable(_) => ErrorKind::Damaged,
            Self::Import(error) => error.asks(),
            Self::Entropy(_) | Self::BrokenOff | Self::Compaction(_) => ErrorKind::Failed,
            Self::Store(error) => match error {
                StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::KeyTaken { .. } => {
                    ErrorKind::Conflict
                }
                StoreError::NotFound { .. } | StoreError::Gone { .. } | StoreError::NoStore => ErrorKind::NotFound,
                StoreError::Corrupt { .. } | StoreError::FormatLost { .. } | StoreError::IdLost => ErrorKind::Damaged,
                StoreError::ForeignFormat { .. } => ErrorKind::ForeignFormat,
                StoreError::NewerFormat { .. } => ErrorKind::NewerFormat,
                StoreError::NoSpace { .. } => ErrorKind::NoSpace,
                StoreError::Locked { .. } => ErrorKind::Locked,
                StoreError::TooLarge { .. } => ErrorKind::Limit,
                StoreError::TooWeak { .. } => ErrorKind::Invalid,
                StoreError::Backup(error) => match error {
                    BackupError::Exists | BackupError::Occupied => ErrorKind::Conflict,
                    BackupError::Running => ErrorKind::Locked,
                    BackupError::Missing => ErrorKind::NotFound,
                    BackupError::Foreign => ErrorKind::ForeignFormat,
                    BackupError::Newer { .. } => ErrorKind::NewerFormat,
                    BackupError::Damaged { .. } => ErrorKind::Damaged,
                    _ => ErrorKind::Failed,
                },
                StoreError::Key(error) => kind_of_key(error),
                StoreError::Backend(error) => match error.kind {
                    BackendErrorKind::Permission => ErrorKind::NotAllowed,
                    BackendErrorKind::Path => ErrorKind::Invalid,
                    _ => ErrorKind::Failed,
                },
                _ => ErrorKind::Failed,
            },
        }
    }

    /// How long to wait before the same call is worth another try; `None` when waiting alone changes nothing ([`Self::is_transient`]).
    ///
    /// The owner of a store lets go of it within moments when it closes; a backend that cannot be reached may be back in a second; space
    /// comes back when somebody frees it, which takes people or programs longer. Whoever tries several times doubles it each time.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Store(error) = self else { return None };
        match error {
            StoreError::Locked { .. } => Some(Duration::from_millis(500)),
            StoreError::NoSpace { .. } => Some(Duration::from_secs(5)),
            error if error.is_transient() => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// True when the same call may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

impl From<RuleViolation> for SessionError {
    fn from(rule: RuleViolation) -> Self {
        match rule {
            RuleViolation::LimitReached(LimitReached { limit, max, actual }) => {
                Self::LimitReached { limit, max, actual }
            }
            rule => Self::Rule(rule),
        }
    }
}

impl From<LimitReached> for SessionError {
    fn from(reached: LimitReached) -> Self {
        RuleViolation::from(reached).into()
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { session } => Self::NotFound { session },
            StoreError::Gone { session } => Self::Gone { session },
            StoreError::Conflict { expected, actual } => Self::Conflict { expected, actual },
            other => Self::Store(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use sessions_ports::BackendError;

    use super::*;

    #[test]
    fn a_wrong_a_destroyed_and_a_retired_key_and_damage_are_told_apart() {
        use sessions_ports::ProviderKind;
        let session = sessions_domain::SessionId::from_bytes([1; 16]);
        let name = || "k".to_owned();
        let cases = [
            (KeyError::WrongKey { kind: ProviderKind::KeyFile }, "wrong_key"),
            (KeyError::SessionDestroyed { session }, "key_destroyed"),
            (KeyError::Destroyed { key: name() }, "key_destroyed"),
            (KeyError::Retired { key: name() }, "key_retired"),
            (KeyError::Denied { key: name() }, "not_allowed"),
            (KeyError::Damaged { what: "x" }, "damaged"),
        ];
        for (error, kind) in cases {
            assert_eq!(SessionError::from(StoreError::from(error)).kind().as_str(), kind);
        }
    }

    #[test]
    fn what_may_pass_by_itself_says_how_long_to_wait_and_nothing_else_does() {
        let backend = |kind| SessionError::from(StoreError::from(BackendError::new(kind, "asking", "no")));
        let passes = [
            StoreError::Locked { pid: 1, since: "now".to_owned() }.into(),
            StoreError::NoSpace { operation: "the log" }.into(),
            backend(BackendErrorKind::Unavailable),
        ];
        for error in passes {
            assert!(error.is_transient() && error.retry_after().is_some_and(|wait| !wait.is_zero()), "{error}");
        }
        let stays = [
            SessionError::NoSuchName,
            StoreError::Poisoned.into(),
            StoreError::Closed.into(),
            backend(BackendErrorKind::Io),
            SessionError::Conflict { expected: 1, actual: 2 },
        ];
        for error in stays {
            assert!(!error.is_transient() && error.retry_after().is_none(), "{error}");
        }
    }
}
