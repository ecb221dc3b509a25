//! A session as a file of another program.
//!
//! A session that was made of a file of that format gives the file back, byte by byte, and what was said since on the current path as new lines
//! behind it. Where the conversation went another way than a format without a tree can say, and for every other session, a new file holds
//! what is visible; calls that were never answered have an `interrupted` result in it.
//!
//! Must not know: how lines are spelled.

use std::{collections::HashMap, sync::Arc};

use sessions_domain::{MessageId, Moment, StoredMessage, View, pairing};

use super::{
    Format, LostRecord,
    claude_code::ClaudeCodeWriter,
    codex::CodexWriter,
    foreign::writer::{About, Said, Writer, uuid},
    kept::{Kept, read_foreign},
    pi::PiWriter,
};
use crate::{blocking::off_the_runtime, error::SessionError, history::Messages, session::Session};

/// A file in the making.
pub(super) struct Outgoing {
    /// Pieces of it, in order.
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) lost: Vec<LostRecord>,
}

impl Outgoing {
    /// The session as it is in a view.
    pub(super) async fn of(session: &Session, view: &Arc<View>, format: Format) -> Result<Self, SessionError> {
        let mut visible: Vec<StoredMessage> = Vec::new();
        let mut messages = Messages::of(session, Arc::clone(view));
        while let Some(page) = messages.next_page().await? {
            visible.extend(page);
        }
        let kept = match Kept::read(session, view).await? {
            Some(kept) if kept.format == format => Some(kept),
            _ => None,
        };
        let view = Arc::clone(view);
        off_the_runtime(move || {
            let gone_on = kept.and_then(|kept| gone_on(kept, &view, &visible));
            gone_on.unwrap_or_else(|| anew(&view, format, visible))
        })
        .await
    }
}

fn writer(format: Format) -> Box<dyn Writer> {
    match format {
        Format::Codex => Box::new(CodexWriter::default()),
        Format::Pi => Box::new(PiWriter::default()),
        _ => Box::new(ClaudeCodeWriter),
    }
}

/// The file the session was made of, with what came since; `None` when the format cannot say where the conversation stands.
fn gone_on(kept: Kept, view: &View, visible: &[StoredMessage]) -> Option<Outgoing> {
    let lines = kept.lines();
    let file = lines.file(view.source().map_or("", |source| &source.digest));
    let read = read_foreign(kept.format, &file[..], 0).ok();
    let end = read.as_ref().and_then(|read| kept.record_of(read, read.head?));
    let first_new = visible.iter().position(|message| !kept.has(message.seq)).unwrap_or(visible.len());
    let (known, new) = visible.split_at_checked(first_new)?;
    let about = About::of(view, true);
    let mut writer = match (kept.format, &read) {
        (Format::Codex, Some(read)) => Box::new(CodexWriter::behind(read.report.usage)),
        (format, _) => writer(format),
    };
    known.iter().for_each(|message| writer.learn(message));
    let last_id = |message: &StoredMessage| {
        let numbers = kept.lines_of(message).into_iter().rev();
        numbers.filter_map(|number| lines.get(number)).find_map(|line| writer.id_of(line))
    };
    let mut parent = known.last().and_then(last_id);
    let stands_at_end = new.is_empty() && view.head() == end.unwrap_or(0);
    // In pi's first version one line follows the other.
    let is_flat = read.as_ref().is_none_or(|read| read.facts.version.as_deref() == Some("1"));
    let is_tree = match kept.format {
        Format::Codex => false,
        Format::Pi if is_flat => false,
        _ => known.is_empty() || parent.is_some(),
    };
    // Without a tree one line follows the other, and nothing can stand anywhere but at the end.
    let follows_end = known.last().map(|message| message.seq) == end && !new.is_empty();
    (is_tree || stands_at_end || follows_end).then_some(())?;
    let mut out = Vec::new();
    for message in new {
        let said = Said { message, at: message.said_at() };
        let (lines, last) = writer.message(&about, &said, &uuid(message.id.to_bytes()), parent.as_deref());
        out.extend(lines);
        parent = Some(last);
    }
    if new.is_empty() && !stands_at_end {
        out.extend(writer.pointer(&about, &uuid(view.session().to_bytes()), parent.as_deref()));
    }
    let is_ended = file.last().is_none_or(|last| *last == b'\n');
    let mut pieces = vec![file];
    if !out.is_empty() && !is_ended {
        pieces.push(b"\n".to_vec());
    }
    pieces.extend(out.into_iter().map(into_line));
    Some(Outgoing { pieces, lost: kept.lost })
}

/// A new file with what is visible.
fn anew(view: &View, format: Format, visible: Vec<StoredMessage>) -> Outgoing {
    let about = About::of(view, false);
    let mut writer = writer(format);
    let mut pieces: Vec<Vec<u8>> = writer.beginning(&about).into_iter().map(into_line).collect();
    let known: HashMap<u64, (Moment, MessageId)> =
        visible.iter().map(|message| (message.seq, (message.said_at(), message.id))).collect();
    let messages = visible.into_iter().map(|message| (Some(message.seq), message.late, message.message));
    let (mut at, mut id, mut parent) =
        (about.created, MessageId::from_bytes(view.session().to_bytes()), None::<String>);
    for (seq, message) in pairing::pair(messages).0 {
        (at, id) = match seq.and_then(|seq| known.get(&seq)) {
            Some(known) => *known,
            // What is supplied has a name that follows from what it stands behind.
            None => (at, MessageId::from_bytes(id.to_bytes().map(|byte| !byte))),
        };
        let said = Said { message: &message, at };
        let (lines, last) = writer.message(&about, &said, &uuid(id.to_bytes()), parent.as_deref());
        pieces.extend(lines.into_iter().map(into_line));
        parent = Some(last);
    }
    Outgoing { pieces, lost: Vec::new() }
}

fn into_line(text: String) -> Vec<u8> {
    (text + "\n").into_bytes()
}
