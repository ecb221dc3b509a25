//! Reads our own formats.
//!
//! Must not know: stores.

use std::{
    borrow::Cow,
    io::{BufRead, Read},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Kind, MAX_JSON_DEPTH, chain::from_hex, json_depth};

use super::{
    log::{Archive, Assembly, Given},
    wire::{Document, Extent, HeaderLine, Probe, RecordLine, VERSION},
};
use crate::transfer::{
    Format, ImportError, MAX_LINE_BYTES,
    lines::{Content, Line, Lines},
};

/// The longest line of our own JSON lines: a body of [`MAX_LINE_BYTES`] as hexadecimal, and what stands around it.
pub(in crate::transfer) const MAX_RECORD_LINE_BYTES: usize = 2 * MAX_LINE_BYTES + 4096;

/// The largest document that is read, which is held in memory whole.
pub(in crate::transfer) const MAX_DOCUMENT_BYTES: u64 = 2 << 30;

/// Reads JSON lines.
pub(in crate::transfer) fn read_lines(reader: impl BufRead) -> Result<Archive, ImportError> {
    read_lines_within(reader, MAX_RECORD_LINE_BYTES)
}

fn read_lines_within(reader: impl BufRead, limit: usize) -> Result<Archive, ImportError> {
    let mut lines = Lines::new(reader, limit);
    let mut assembly: Option<Assembly> = None;
    while let Some(line) = lines.next()? {
        let Line { number, content, ended } = line;
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::TooLong { .. } => return Err(ImportError::TooLong { line: number, max: limit as u64 }),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let text = text_of(&bytes, number)?;
        match &mut assembly {
            None => assembly = Some(header(text, number, ended)?),
            Some(assembly) => {
                let line: RecordLine<'_> = parsed(text, number, ended)?;
                assembly.take(given(line, number)?)?;
            }
        }
    }
    assembly.ok_or(ImportError::Empty)?.finish()
}

fn header(text: &str, line: u64, ended: bool) -> Result<Assembly, ImportError> {
    check_version(text, Format::SessionsJsonl, line, ended)?;
    let header: HeaderLine<'_> = parsed(text, line, ended)?;
    let own = header.logs.last().map(|log| (log.session, log.lineage));
    if own != Some((header.session, header.lineage)) {
        return Err(ImportError::Inconsistent { what: "the session's own is not the last of them" });
    }
    Assembly::of(header.logs)
}

/// Reads one document.
pub(in crate::transfer) fn read_document(reader: impl BufRead) -> Result<Archive, ImportError> {
    read_document_within(reader, MAX_DOCUMENT_BYTES)
}

fn read_document_within(reader: impl BufRead, limit: u64) -> Result<Archive, ImportError> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ImportError::TooLarge { max: limit });
    }
    let text = text_of(&bytes, 1)?;
    check_version(text, Format::SessionsJson, 1, false)?;
    let document: Document<'_> = parsed(text, 1, false)?;
    for shown in [document.session, document.messages] {
        // A message stands two levels deep in its list, and its own JSON a few levels deep in it.
        if json_depth(shown.get()) > MAX_JSON_DEPTH + 16 {
            return Err(ImportError::TooDeep { line: Position::default().of(text, shown.get()) });
        }
    }
    let extent = |log: &super::wire::LogEntry<'_>| Extent {
        session: log.session,
        lineage: log.lineage,
        first: log.first,
        last: log.last,
        commit: log.commit,
    };
    let mut assembly = Assembly::of(document.logs.iter().map(extent).collect())?;
    let mut position = Position::default();
    for log in document.logs {
        let (session, lineage) = (log.session, log.lineage);
        for record in log.records {
            let line = record.body.map_or(position.line + 1, |body| position.of(text, body.get()));
            let super::wire::RecordEntry { seq, kind, commit, blind, body, body_hex } = record;
            let record = RecordLine { session, lineage, seq, kind, commit, blind, body, body_hex };
            assembly.take(given(record, line)?)?;
        }
    }
    assembly.finish()
}

/// The text of a line, without a byte order mark before it.
fn text_of(bytes: &[u8], line: u64) -> Result<&str, ImportError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        // A file that was cut may end within a character.
        if error.error_len().is_none() { ImportError::Cut { line } } else { ImportError::Binary }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn check_version(text: &str, format: Format, line: u64, ended: bool) -> Result<(), ImportError> {
    let probe: Probe = parsed(text, line, ended)?;
    if probe.format != format.name() {
        return Err(ImportError::UnknownFormat);
    }
    match probe.version {
        0 => Err(ImportError::Malformed { line, what: "it names no version" }),
        VERSION => Ok(()),
        version => Err(ImportError::NewerVersion { format: format.name(), version, ours: VERSION }),
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str, line: u64, ended: bool) -> Result<T, ImportError> {
    serde_json::from_str(text).map_err(|error| {
        let line = line + (error.line() as u64).saturating_sub(1);
        let what = match error.classify() {
            serde_json::error::Category::Eof if !ended => return ImportError::Cut { line },
            serde_json::error::Category::Data => "a field is missing, not known, or of another type",
            _ => "it is not JSON",
        };
        ImportError::Malformed { line, what }
    })
}

fn given(record: RecordLine<'_>, line: u64) -> Result<Given<'_>, ImportError> {
    let malformed = |what| ImportError::Malformed { line, what };
    let body = match (record.body, record.body_hex) {
        (Some(raw), None) => Cow::Borrowed(RawValue::get(raw).as_bytes()),
        (None, Some(hex)) => Cow::Owned(from_hex(&hex).ok_or_else(|| malformed("`body_hex` is not hexadecimal"))?),
        _ => return Err(malformed("it has not one of `body` and `body_hex`")),
    };
    Ok(Given {
        session: record.session,
        lineage: record.lineage,
        seq: record.seq,
        kind: Kind(record.kind),
        commit: record.commit,
        blind: from_hex(&record.blind).ok_or_else(|| malformed("`blind` is not hexadecimal"))?,
        body,
        line,
    })
}

/// Counts the lines of a document up to pieces of it, which come in their order.
#[derive(Default)]
struct Position {
    offset: usize,
    /// Line breaks before `offset`.
    line: u64,
}

impl Position {
    /// The line, from 1, at which a piece begins.
    fn of(&mut self, text: &str, piece: &str) -> u64 {
        let offset = (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let between = text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset = offset;
        self.line + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_or_a_document_above_the_limit_is_refused() {
        let long = format!("{{\"format\":\"sessions-jsonl\"{}}}", " ".repeat(1000));
        let refused = read_lines_within(long.as_bytes(), 500).err();
        assert!(matches!(refused, Some(ImportError::TooLong { line: 1, max: 500 })), "{refused:?}");
        let refused = read_document_within(long.as_bytes(), 500).err();
        assert!(matches!(refused, Some(ImportError::TooLarge { max: 500 })), "{refused:?}");
    }
}
