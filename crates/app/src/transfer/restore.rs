//! The lines of an imported file, from the log it became.
//!
//! Must not know: how the file was read.

use std::collections::BTreeMap;

use sessions_domain::{Event, MessagePart, ResidueLine, chain::from_hex};

use super::claude_code::envelope;

/// A line cannot be put together again: its record was changed by hand, or a part of it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the imported file cannot be put together from its records; verify the store")]
pub struct RestoreError {
    /// The line, from 1.
    pub line: u64,
}

/// Every line of the imported file that is not blank, with its number, from the events of its log.
///
/// Fidelity: a line that became no message comes back byte by byte, one that became a message as an equal JSON value. A line above
/// [`super::MAX_LINE_BYTES`] was not kept. Messages that were added after the import are passed over.
///
/// # Errors
/// [`RestoreError`] names the first line that cannot be put together.
pub fn restore_lines<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<(u64, Vec<u8>)>, RestoreError> {
    let mut lines = BTreeMap::new();
    let mut pieces: BTreeMap<u64, envelope::Pieces> = BTreeMap::new();
    for event in events {
        match event {
            Event::Residue(residue) => {
                for line in &residue.lines {
                    lines.insert(line.line, bytes_of(line)?);
                }
            }
            Event::Appended(appended) => {
                let mut parts: &[MessagePart] = &appended.message.parts;
                for line in envelope::lines_of(&appended.message) {
                    let failed = RestoreError { line: line.line };
                    let (own, rest) = parts.split_at_checked(line.blocks.len()).ok_or(failed)?;
                    parts = rest;
                    pieces.entry(line.line).or_default().add(line, own);
                }
            }
            _ => {}
        }
    }
    for (line, pieces) in pieces {
        if let std::collections::btree_map::Entry::Vacant(vacant) = lines.entry(line) {
            vacant.insert(pieces.join().ok_or(RestoreError { line })?);
        }
    }
    Ok(lines.into_iter().collect())
}

fn bytes_of(line: &ResidueLine) -> Result<Vec<u8>, RestoreError> {
    match (&line.text, &line.base16) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(hex)) => from_hex(hex).ok_or(RestoreError { line: line.line }),
        _ => Err(RestoreError { line: line.line }),
    }
}
