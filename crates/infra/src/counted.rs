//! Numbers with their nouns, for sentences that people read.
//!
//! Must not know: what is counted.

/// A number with its noun: `1 record`, `2 records`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
