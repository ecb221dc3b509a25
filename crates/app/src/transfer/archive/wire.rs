//! The written form of logs, as JSON lines and as one document. Field names and their order are the format.
//!
//! Must not know: what a record means, or where files lie.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessions_domain::{
    CommitHash, LineageId, Moment, SessionId, SessionKey, SessionStatus, SummaryWords, View, chain::to_hex,
};
use sessions_ports::Record;

/// The version that is written, and the newest that is read.
pub(in crate::transfer) const VERSION: u64 = 1;

/// How far a log goes in a file. With it a file that was cut is told from a shorter log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct Extent {
    pub(in crate::transfer) session: SessionId,
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) first: u64,
    pub(in crate::transfer) last: u64,
    /// The commit of the last record.
    pub(in crate::transfer) commit: CommitHash,
}

/// What is read before anything else.
#[derive(Deserialize)]
pub(in crate::transfer) struct Probe {
    #[serde(default)]
    pub(in crate::transfer) format: String,
    #[serde(default)]
    pub(in crate::transfer) version: u64,
}

/// The first of the JSON lines. The session's own log is the last of `logs`, behind those it inherits from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct HeaderLine<'a> {
    #[serde(borrow)]
    pub(in crate::transfer) format: Cow<'a, str>,
    pub(in crate::transfer) version: u64,
    pub(in crate::transfer) session: SessionId,
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) logs: Vec<Extent>,
}

/// Every other of the JSON lines.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct RecordLine<'a> {
    pub(in crate::transfer) session: SessionId,
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) seq: u64,
    pub(in crate::transfer) kind: u8,
    pub(in crate::transfer) commit: CommitHash,
    #[serde(borrow)]
    pub(in crate::transfer) blind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::transfer) body: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::transfer) body_hex: Option<Cow<'a, str>>,
}

/// A record of the document, whose log says session and lineage.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct RecordEntry<'a> {
    pub(in crate::transfer) seq: u64,
    pub(in crate::transfer) kind: u8,
    pub(in crate::transfer) commit: CommitHash,
    #[serde(borrow)]
    pub(in crate::transfer) blind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::transfer) body: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::transfer) body_hex: Option<Cow<'a, str>>,
}

/// The document. `session` and `messages` are there to be read by others; a restore goes by the logs alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct Document<'a> {
    #[serde(rename = "format")]
    pub(in crate::transfer) _format: serde::de::IgnoredAny,
    #[serde(rename = "version")]
    pub(in crate::transfer) _version: serde::de::IgnoredAny,
    #[serde(borrow)]
    pub(in crate::transfer) session: &'a RawValue,
    #[serde(borrow)]
    pub(in crate::transfer) messages: &'a RawValue,
    #[serde(borrow)]
    pub(in crate::transfer) logs: Vec<LogEntry<'a>>,
}

/// A log of the document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::transfer) struct LogEntry<'a> {
    pub(in crate::transfer) session: SessionId,
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) first: u64,
    pub(in crate::transfer) last: u64,
    pub(in crate::transfer) commit: CommitHash,
    #[serde(borrow)]
    pub(in crate::transfer) records: Vec<RecordEntry<'a>>,
}

/// What follows from the log alone about a session, for the document.
#[derive(Serialize)]
pub(in crate::transfer) struct Facts {
    id: SessionId,
    lineage: LineageId,
    version: u64,
    head: CommitHash,
    key: Option<SessionKey>,
    title: Option<String>,
    description: Option<String>,
    status: SessionStatus,
    created: Moment,
    updated: Moment,
    messages: u64,
    cwd: Option<String>,
    creator: Option<String>,
    parent: Option<SessionId>,
    tags: Vec<String>,
}

impl Facts {
    /// `lineage`: of the session's own log as the file has it.
    pub(in crate::transfer) fn of(view: &View, lineage: LineageId) -> Self {
        let words = SummaryWords::of(view);
        Self {
            id: view.session(),
            lineage,
            version: view.version(),
            head: view.commit(),
            key: words.key,
            title: words.title,
            description: words.description,
            status: words.status,
            created: view.created(),
            updated: view.updated(),
            messages: view.depth(),
            cwd: words.cwd,
            creator: words.creator,
            parent: words.parent,
            tags: words.tags,
        }
    }
}

/// Blind and body of a record, as they are written.
pub(in crate::transfer) struct Spelled<'a> {
    blind: String,
    raw: Option<&'a RawValue>,
    hex: Option<String>,
}

impl<'a> Spelled<'a> {
    pub(in crate::transfer) fn of(record: &'a Record) -> Self {
        let (blind, body) = record.payload.split_at_checked(32).unwrap_or((&record.payload, &[]));
        let raw = raw_of(body);
        Self { blind: to_hex(blind), raw, hex: raw.is_none().then(|| to_hex(body)) }
    }

    pub(in crate::transfer) fn line(&'a self, record: &Record, log: &Extent) -> RecordLine<'a> {
        RecordLine {
            session: log.session,
            lineage: log.lineage,
            seq: record.seq,
            kind: record.kind.0,
            commit: record.commit,
            blind: Cow::Borrowed(&self.blind),
            body: self.raw,
            body_hex: self.hex.as_deref().map(Cow::Borrowed),
        }
    }

    pub(in crate::transfer) fn entry(&'a self, record: &Record) -> RecordEntry<'a> {
        RecordEntry {
            seq: record.seq,
            kind: record.kind.0,
            commit: record.commit,
            blind: Cow::Borrowed(&self.blind),
            body: self.raw,
            body_hex: self.hex.as_deref().map(Cow::Borrowed),
        }
    }
}

/// The body as JSON that stands on one line and comes back to the letter; `None` for anything else.
fn raw_of(body: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let is_whole = raw.get().len() == body.len();
    (is_whole && !body.iter().any(|byte| matches!(byte, b'\n' | b'\r'))).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_comes_back_to_the_letter_stands_as_json() {
        for body in [r#"{"a":1.0}"#, r#"{"a" : "\ud800"}"#, "[]", "1"] {
            assert_eq!(raw_of(body.as_bytes()).map(RawValue::get), Some(body));
        }
        for body in [&b" {}"[..], b"{} ", b"{\n}", b"{\r}", b"{", b"", b"\xff", b"\"\xff\"", b"{}{}"] {
            assert!(raw_of(body).is_none(), "{body:?}");
        }
    }
}
