//! Bringing conversations in from files that other programs wrote.
//!
//! A file is read into a [`Transcript`]: the tree of its messages, the lines that have no place in it, and a [`Report`] of what had
//! to be mended. [`Transcript::into_events`] makes a log of it, and [`restore_lines`] gives the file's lines back from that log.
//!
//! Each format states its fidelity, which is one of: *bytes* (the file comes back as it was), *values* (each line comes back as an equal
//! JSON value), *meaning* (the conversation comes back). Claude Code's files have fidelity *values*, and *bytes* for each line that
//! became no message; see [`claude_code`].
//!
//! Must not know: stores, clocks, or where a file lies.

pub mod claude_code;
mod error;
mod format;
mod lines;
mod records;
mod report;
mod restore;
mod transcript;

pub use error::ImportError;
pub use format::{DETECT_BYTES, Format, detect};
pub use lines::MAX_LINE_BYTES;
pub use records::{Beginning, RESIDUE_BYTES};
pub use report::{Repaired, Report, SetAside};
pub use restore::{RestoreError, restore_lines};
pub use transcript::{Entry, EntryKind, Facts, SourceLine, Transcript};
