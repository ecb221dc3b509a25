//! What a store can answer instead of doing what it was asked.
//!
//! What a caller can act on is a variant; the rest is a [`BackendError`] with its source. No variant carries content.
//!
//! Must not know: how a caller reacts.

use std::error::Error;

use sessions_domain::SessionId;

use crate::{backup::BackupError, keys::KeyError, log::Durability};

/// A store's refusal or failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The log's tail is not where the commit expected it.
    #[error(
        "the session changed meanwhile: version {expected} was expected and {actual} is there; read again and retry"
    )]
    Conflict {
        /// The version that was expected.
        expected: u64,
        /// The version of the queued tail.
        actual: u64,
    },
    /// The session exists already.
    #[error("session {session} exists already; open it, or choose another id")]
    AlreadyExists {
        /// The session.
        session: SessionId,
    },
    /// The host's key belongs to another session.
    #[error("the key belongs to session {session}; open that one")]
    KeyTaken {
        /// The session that holds the key.
        session: SessionId,
    },
    /// The session does not exist.
    #[error("there is no session {session}")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// The session was removed.
    #[error("session {session} was deleted, and an id is never used again; make a new session")]
    Gone {
        /// The session.
        session: SessionId,
    },
    /// A record is damaged.
    #[error(
        "record {seq} of session {session} is damaged ({what}); run `verify` to see all damage and `repair` to set it aside"
    )]
    Corrupt {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The disk is full.
    #[error("there is no space left for {operation}; free some and retry, nothing acknowledged was lost")]
    NoSpace {
        /// What was being done.
        operation: &'static str,
    },
    /// A sync failed, so nothing can be promised until the store is opened again.
    #[error("writing to disk failed earlier, so the store takes no more writes; open it again")]
    Poisoned,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Another process owns the store.
    #[error("process {pid} has the store open since {since}; close it there first")]
    Locked {
        /// The process.
        pid: u32,
        /// Since when, as RFC 3339.
        since: String,
    },
    /// The store cannot give the durability that was asked.
    #[error("this store gives at best {best} durability and {asked} was asked; choose another store or a lower level")]
    TooWeak {
        /// The level that was asked.
        asked: Durability,
        /// The strongest it gives.
        best: Durability,
    },
    /// Only a store that is there was to be opened, and there is none.
    #[error("there is no store at this place; check how it is spelled, or create or import a session to make one")]
    NoStore,
    /// What lies there is not a store of this format.
    #[error("{found} is not a store ({expected} was expected); it was left untouched, so name another folder")]
    ForeignFormat {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A newer version of the program wrote it.
    #[error("{found} was written by a newer version and was left untouched; use that version of the program")]
    NewerFormat {
        /// What was found.
        found: String,
    },
    /// The file that says what the folder is does not say it any more, and the log is there.
    #[error("the store's FORMAT file is {what}, and its log is there; run `repair` to write the file anew")]
    FormatLost {
        /// What became of it.
        what: &'static str,
    },
    /// Nothing tells the store's id any more: the file that says it is lost, and so is every segment of the log.
    #[error(
        "the store's FORMAT file is lost, and no segment of its log is left that tells its id; put FORMAT and log back from a copy of the folder"
    )]
    IdLost,
    /// A commit exceeds what a store can hold in one piece.
    #[error("the append has {bytes} bytes and the limit is {max}; split it")]
    TooLarge {
        /// Bytes of the commit.
        bytes: u64,
        /// The most a store takes.
        max: u64,
    },
    /// The commit itself is malformed: a caller's bug.
    #[error("the commit is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A backup was not made, not believed or not restored.
    #[error(transparent)]
    Backup(BackupError),
    /// There is no key to read or write with, or not this one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Anything else.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// What stands for a beginning that was lost, where it is not believed.
const UNCONFIRMED: &str = "what stands for its beginning is not confirmed by anything that was sealed; restore a backup, or delete it for good";

impl StoreError {
    /// What stands for a session's lost beginning is confirmed by nothing that was sealed. Whoever has no key could have written it.
    #[must_use]
    pub const fn unconfirmed(session: SessionId, seq: u64) -> Self {
        Self::Corrupt { session, seq, what: UNCONFIRMED }
    }

    /// Whether it says so.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Corrupt { what, .. } if *what == UNCONFIRMED)
    }

    /// True when the same call may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::NoSpace { .. } | Self::Locked { .. } => true,
            Self::Key(error) => error.is_transient(),
            Self::Backend(error) => error.kind == BackendErrorKind::Unavailable,
            _ => false,
        }
    }
}

/// What a failure of a backend is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The system refused access.
    Permission,
    /// A path is not what it should be.
    Path,
    /// The backend cannot be reached or is busy.
    Unavailable,
    /// Reading or writing failed.
    Io,
    /// The backend broke a promise of its own.
    Internal,
}

/// A failure of the technology beneath a store.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {source}")]
pub struct BackendError {
    /// What it is like.
    pub kind: BackendErrorKind,
    /// What was being done, with a hint where there is one.
    pub operation: String,
    /// The cause.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl BackendError {
    /// A failure while doing `operation`.
    pub fn new(
        kind: BackendErrorKind,
        operation: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, operation: operation.into(), source: source.into() }
    }
}
