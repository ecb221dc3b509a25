//! What the tests of the whole share. The tests stand in `tests/tests`, one file for each area.
//!
//! Must not know: any crate's inside; it sees what a host sees.

pub mod chance;
pub mod content;
pub mod line;
pub mod summarising;
pub mod transcripts;
pub mod turner;
