//! Why a file cannot be imported at all. What is wrong with single lines stands in the report.
//!
//! Must not know: a line's content.

use sessions_domain::{InvalidHistory, SessionId, codec::CodecError};

use crate::error::ErrorKind;

/// A file that cannot be imported. Nothing of it was taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Reading failed.
    #[error("the file cannot be read; check that it exists, that you may read it, and that its disk is well")]
    Read(#[from] std::io::Error),
    /// There is nothing in it.
    #[error("the file is empty; name a transcript with at least one message")]
    Empty,
    /// It is no text.
    #[error("the file is binary, or no text in UTF-8; name a transcript in JSON lines")]
    Binary,
    /// It is text that no known program wrote.
    #[error(
        "the file is in no known format; importable are transcripts of Claude Code, Codex and pi, messages as OpenAI or Anthropic have them, and json or jsonl that was exported here"
    )]
    UnknownFormat,
    /// It is a transcript, and nobody says anything in it.
    #[error(
        "the file has not one message (lines: {lines}, of them set aside: {set_aside}); name a transcript with at least one message"
    )]
    NoMessages {
        /// Lines that are not blank.
        lines: u64,
        /// Lines that do not parse.
        set_aside: u64,
    },
    /// A newer program wrote it.
    #[error("the file is {format} of version {version}, and this program reads version {ours}; use a newer program")]
    NewerVersion {
        /// The format.
        format: &'static str,
        /// The file's version.
        version: u64,
        /// The newest version that is read.
        ours: u64,
    },
    /// It ends before its end.
    #[error("the file ends within line {line}: it was cut; export again, or take a whole copy")]
    Cut {
        /// The line.
        line: u64,
    },
    /// A line is not what the format says.
    #[error("line {line} of the file is not valid: {what}; export again, or take an unchanged copy")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A line or a record is too long.
    #[error("line {line} of the file has more than {max} bytes; no program of ours writes such a line")]
    TooLong {
        /// The line, from 1.
        line: u64,
        /// The most that is read.
        max: u64,
    },
    /// The whole is too long to be taken in at once.
    #[error("the document has more than {max} bytes; export as JSON lines, which is read piece by piece")]
    TooLarge {
        /// The most that is read.
        max: u64,
    },
    /// JSON in it nests too deep.
    #[error("JSON at line {line} of the file nests deeper than a message may; it was not written by a program of ours")]
    TooDeep {
        /// The line, from 1.
        line: u64,
    },
    /// What the file says of its logs does not fit together.
    #[error("the logs of the file do not fit together: {what}; export again, or take an unchanged copy")]
    Inconsistent {
        /// What is wrong.
        what: &'static str,
    },
    /// A record is not the one whose commit stands with it.
    #[error("record {seq} of session {session} was changed, or one before it; take an unchanged copy of the file")]
    Altered {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
    },
    /// A record does not stand where it belongs.
    #[error(
        "record {found} of session {session} stands where record {expected} belongs; take an unchanged copy of the file"
    )]
    Misplaced {
        /// The session.
        session: SessionId,
        /// What belongs there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// A record is not there.
    #[error("record {seq} of session {session} is missing; take a whole copy of the file")]
    Missing {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
    },
    /// A record stands behind the end of its log.
    #[error("record {seq} stands behind the end of the log of session {session}; take an unchanged copy of the file")]
    Surplus {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
    },
    /// A record does not say what its kind says.
    #[error("record {seq} of session {session} is not valid: {source}")]
    InvalidRecord {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
        /// What is wrong.
        #[source]
        source: CodecError,
    },
    /// The records make no history.
    #[error("the log of session {session} is not valid: {source}")]
    InvalidHistory {
        /// The session.
        session: SessionId,
        /// What is wrong.
        #[source]
        source: InvalidHistory,
    },
    /// The session is another tenant's.
    #[error("the file holds a session of another tenant; import it with a new id to have a copy")]
    AnotherTenant,
    /// The session is here, and its history is not the file's.
    #[error(
        "session {session} is here with another history (version {here}; the file has {file}); import the file with a new id to have a copy"
    )]
    AnotherHead {
        /// The session.
        session: SessionId,
        /// The version here.
        here: u64,
        /// The file's version.
        file: u64,
    },
    /// The file was imported before, and has changed since.
    #[error("the file was imported as session {session} and has changed since; import it with a new id to have both")]
    SourceChanged {
        /// The session it became.
        session: SessionId,
    },
    /// A host's key was given for a session that keeps its own names.
    #[error("an import takes a key only together with a new id; leave the key out, or ask for a new id")]
    KeyNeedsNewId,
    /// Reading did not come to its end.
    #[error("the import was broken off before anything was written; run it again")]
    BrokenOff,
}

impl ImportError {
    /// A name of the error for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read(_) => "unreadable_file",
            Self::Empty => "empty_file",
            Self::Binary => "binary_file",
            Self::UnknownFormat => "unknown_format",
            Self::NoMessages { .. } => "no_messages",
            Self::NewerVersion { .. } => "newer_version",
            Self::Cut { .. } => "cut_file",
            Self::Malformed { .. } => "malformed_file",
            Self::TooLong { .. } | Self::TooLarge { .. } => "too_long",
            Self::TooDeep { .. } => "too_deep",
            Self::Inconsistent { .. } => "inconsistent_logs",
            Self::Altered { .. } => "altered_record",
            Self::Misplaced { .. } => "misplaced_record",
            Self::Missing { .. } => "missing_record",
            Self::Surplus { .. } => "surplus_record",
            Self::InvalidRecord { .. } => "invalid_record",
            Self::InvalidHistory { .. } => "invalid_history",
            Self::AnotherTenant => "another_tenant",
            Self::AnotherHead { .. } => "another_head",
            Self::SourceChanged { .. } => "source_changed",
            Self::KeyNeedsNewId => "key_needs_new_id",
            Self::BrokenOff => "broken_off",
        }
    }

    /// What the error asks of a caller.
    pub fn asks(&self) -> ErrorKind {
        match self {
            Self::Read(error) if error.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read(_) | Self::BrokenOff => ErrorKind::Failed,
            Self::Empty
            | Self::Binary
            | Self::UnknownFormat
            | Self::NoMessages { .. }
            | Self::NewerVersion { .. }
            | Self::AnotherTenant
            | Self::KeyNeedsNewId => ErrorKind::Invalid,
            Self::TooLong { .. } | Self::TooLarge { .. } | Self::TooDeep { .. } => ErrorKind::Limit,
            Self::AnotherHead { .. } | Self::SourceChanged { .. } => ErrorKind::Conflict,
            Self::Cut { .. }
            | Self::Malformed { .. }
            | Self::Inconsistent { .. }
            | Self::Altered { .. }
            | Self::Misplaced { .. }
            | Self::Missing { .. }
            | Self::Surplus { .. }
            | Self::InvalidRecord { .. }
            | Self::InvalidHistory { .. } => ErrorKind::Damaged,
        }
    }
}
