//! Our own formats: a session's log to the letter, with what it inherits, so that it can be restored anywhere.
//!
//! **`sessions-jsonl`** is the canonical form. Line 1 is the header,
//! `{"format":"sessions-jsonl","version":1,"session","lineage","logs":[{"session","lineage","first","last","commit"}]}`; each further line
//! is a record, `{"session","lineage","seq","kind","commit","blind","body"}`, with `blind` in hexadecimal and `body` to the letter, or
//! `body_hex` where the body is no JSON on one line. A fork's file holds first the logs it inherits from, each up to where it is
//! inherited, and its own log last. Of a log whose session had made its own what it inherited each record stands with the log that it was written
//! in, so the owners that a fork's first record names may be fewer than the logs before it.
//!
//! **`sessions-json`** is one document, `{"format":"sessions-json","version":1,"session","messages","logs":[{…,"records":[…]}]}`, with one
//! message or record a line. `session` and `messages` (those that are visible) follow from the logs, are there for other programs, and are
//! not read back.
//!
//! **Fidelity**: bytes. What is exported, imported into another store and exported again is equal byte by byte.
//!
//! A lost record stands in its place with kind 127, 32 zeros of blind and an empty body. Where its own commit is not known it has the one
//! that stands for a lost record, and the record behind it cannot be checked against the chain; both are told by the report.
//!
//! A restored log keeps its ids, commits, blinds and bodies. What does not follow from a log is not in a file: idempotency keys.
//!
//! Must not know: other programs' formats.

mod duplicate;
mod log;
mod reader;
mod restore;
mod wire;

pub(super) use log::Archive;
pub(super) use reader::{read_document, read_lines};
pub(super) use wire::{Extent, Facts, HeaderLine, Spelled, VERSION};
