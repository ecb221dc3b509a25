//! The lines of an imported file, from the log it became.
//!
//! Must not know: how the file was read.

use std::collections::{BTreeMap, HashMap};

use sessions_domain::{Event, Message, MessagePart, ResidueLine, chain::from_hex};

use super::{
    Format, anthropic, claude_code, codex,
    foreign::envelope::{self, Spelling},
    openai, pi,
};

/// A line cannot be put together again: its record was changed by hand, or a part of it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the imported file cannot be put together from its records; verify the store")]
pub struct RestoreError {
    /// The line, from 1.
    pub line: u64,
}

/// Every line of the imported file, with its number, from the events of its log. The first event is the log's beginning, which names the
/// file's format.
///
/// Fidelity: bytes. A line above [`super::MAX_LINE_BYTES`] was not kept. Messages that were added after the import are passed over.
///
/// # Errors
/// [`RestoreError`] names the first line that cannot be put together.
pub fn restore_lines<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<(u64, Vec<u8>)>, RestoreError> {
    let mut restored: Option<Restored> = None;
    for (at, event) in events.into_iter().enumerate() {
        if let Event::Created(created) = event {
            let format = created.source.as_ref().and_then(|source| Format::foreign(&source.format));
            restored = format.map(Restored::of);
        }
        if let Some(restored) = &mut restored {
            restored.take(at as u64 + 1, event)?;
        }
    }
    let Some(restored) = restored else { return Ok(Vec::new()) };
    let (lines, lost) = restored.lines();
    match lost.first() {
        Some(line) => Err(RestoreError { line: *line }),
        None => Ok(lines.into_iter().collect()),
    }
}

/// The values of a part, as a format spells them.
fn spelling(format: Format) -> Option<Spelling> {
    match format {
        Format::ClaudeCode => Some(claude_code::DIALECT.values),
        Format::Codex => Some(codex::DIALECT.values),
        Format::Pi => Some(pi::DIALECT.values),
        Format::OpenAi => Some(openai::DIALECT.values),
        Format::Anthropic => Some(anthropic::DIALECT.values),
        _ => None,
    }
}

/// What a log has of the file it was made of.
pub(super) struct Restored {
    format: Format,
    residue: BTreeMap<u64, Vec<u8>>,
    pieces: BTreeMap<u64, envelope::Pieces>,
    /// The record of the message that holds a block of a line.
    holders: HashMap<(u64, usize), u64>,
}

impl Restored {
    /// Of a file of this format.
    pub(super) fn of(format: Format) -> Self {
        Self { format, residue: BTreeMap::new(), pieces: BTreeMap::new(), holders: HashMap::new() }
    }

    /// Takes the next record in. True when it is of the file.
    pub(super) fn take(&mut self, seq: u64, event: &Event) -> Result<bool, RestoreError> {
        match event {
            Event::Residue(residue) => self.take_residue(&residue.lines),
            Event::Appended(appended) => self.take_message(seq, &appended.message),
            _ => Ok(false),
        }
    }

    pub(super) fn take_residue(&mut self, lines: &[ResidueLine]) -> Result<bool, RestoreError> {
        for line in lines {
            self.residue.insert(line.line, bytes_of(line)?);
        }
        Ok(true)
    }

    pub(super) fn take_message(&mut self, seq: u64, message: &Message) -> Result<bool, RestoreError> {
        let Some(envelope) = envelope::envelope_of(message, self.format) else { return Ok(false) };
        let taken = |line: &envelope::LineOf| self.pieces.get(&line.line).is_some_and(|pieces| pieces.has(line));
        // A copy of a message that came from the file is not the file's.
        if envelope.lines.is_empty() || envelope.lines.iter().any(taken) {
            return Ok(false);
        }
        let mut parts: &[MessagePart] = &message.parts;
        for line in envelope.lines {
            let failed = RestoreError { line: line.line };
            let (own, rest) = parts.split_at_checked(line.blocks.len()).ok_or(failed)?;
            parts = rest;
            self.holders.extend(line.blocks.iter().map(|block| ((line.line, *block), seq)));
            self.pieces.entry(line.line).or_default().add(line, own);
        }
        Ok(true)
    }

    /// The record of the message that holds a block of a line.
    pub(super) fn holder(&self, line: u64, block: usize) -> Option<u64> {
        self.holders.get(&(line, block)).copied()
    }

    /// True for a line that became no message.
    pub(super) fn is_residue(&self, line: u64) -> bool {
        self.residue.contains_key(&line) && !self.pieces.contains_key(&line)
    }

    /// The lines, by number, and the numbers of those that cannot be put together.
    pub(super) fn lines(&self) -> (BTreeMap<u64, Vec<u8>>, Vec<u64>) {
        let (mut lines, mut lost) = (self.residue.clone(), Vec::new());
        let Some(values) = spelling(self.format) else { return (lines, lost) };
        for (line, pieces) in &self.pieces {
            // What was kept of a line that was not whole yet gives way to the line.
            if pieces.is_whole() || !lines.contains_key(line) {
                match pieces.join(values) {
                    Some(bytes) => drop(lines.insert(*line, bytes)),
                    None => lost.push(*line),
                }
            }
        }
        (lines, lost)
    }
}

fn bytes_of(line: &ResidueLine) -> Result<Vec<u8>, RestoreError> {
    match (&line.text, &line.base16) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(hex)) => from_hex(hex).ok_or(RestoreError { line: line.line }),
        _ => Err(RestoreError { line: line.line }),
    }
}
