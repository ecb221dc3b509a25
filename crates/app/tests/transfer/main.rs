//! Imports of other programs' transcripts, and their way back.
//!
//! Must not know: stores.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect has failed"
)]

mod claude_code;
mod codex;
mod ground;
mod grown;
mod many;
mod outgoing;
mod pages;
mod pi;
mod provider;
