//! Why a file cannot be imported at all. What is wrong with single lines stands in the report.
//!
//! Must not know: a line's content.

/// A file that cannot be imported.
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
    #[error("the file is in no known format; importable are claude-code, sessions-json and sessions-jsonl")]
    UnknownFormat,
    /// It is a transcript, and nobody says anything in it.
    #[error(
        "the file has {lines} lines and not one message, and {set_aside} of them do not parse; name a transcript with at least one message"
    )]
    NoMessages {
        /// Lines that are not blank.
        lines: u64,
        /// Lines that do not parse.
        set_aside: u64,
    },
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
        }
    }
}
