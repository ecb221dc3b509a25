//! Bringing conversations in from files, and handing them out.
//!
//! [`SessionManager::import`](crate::SessionManager::import) takes a file in, [`Session::export_jsonl`](crate::Session::export_jsonl)
//! and [`Session::export_json`](crate::Session::export_json) hand a session out in our own formats.
//!
//! A file that another program wrote is read into a [`Transcript`]: the tree of its messages, the lines that have no place in it, and a [`Report`] of what had
//! to be mended. [`Transcript::into_events`] makes a log of it, and [`restore_lines`] gives the file's lines back from that log.
//!
//! Each format states its fidelity, which is one of: *bytes* (the file comes back as it was), *values* (each line comes back as an equal
//! JSON value), *meaning* (the conversation comes back). Files of Claude Code, Codex and pi have fidelity *bytes*; see [`claude_code`],
//! [`codex`] and [`pi`]. Lists of messages as providers take them have *values*; see [`openai`] and [`anthropic`].
//!
//! Must not know: which store it is, or where a file lies.

pub mod anthropic;
mod archive;
pub mod claude_code;
pub mod codex;
mod error;
mod export;
mod extents;
mod foreign;
mod form;
mod format;
mod grown;
mod import;
mod kept;
mod lines;
mod messages;
pub mod openai;
mod outgoing;
mod page;
pub mod pi;
mod records;
mod report;
mod restore;
mod transcript;

pub use error::ImportError;
pub use export::{Export, ExportFormat};
pub use format::{DETECT_BYTES, Format, detect};
pub use grown::Grown;
pub use import::{ImportOptions, ImportReport};
pub use lines::MAX_LINE_BYTES;
pub use records::{Beginning, RESIDUE_BYTES};
pub use report::{LostRecord, Repaired, Report, SetAside};
pub use restore::{RestoreError, restore_lines};
pub use transcript::{Entry, EntryKind, Facts, SourceLine, Transcript};
