//! A session as bytes to write somewhere, piece by piece: in our own formats (see [`super::archive`]), in other programs' (see
//! [`super::outgoing`]), or to be read by people (see [`super::page`]).
//!
//! An export is of the version that was visible when it began, whatever is appended meanwhile.
//!
//! Must not know: where the bytes go.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use sessions_domain::{CommitHash, Event, Kind, SessionId, View, form::Form};
use sessions_ports::{KindFilter, Order, ReadRange, Record};

use super::{
    Format, LostRecord,
    archive::{Facts, HeaderLine, Spelled, VERSION},
    extents::Extents,
    outgoing::Outgoing,
    page::Page,
};
use crate::{
    error::SessionError,
    history::{EntryKind, Messages},
    reading::{decoded, unreadable},
    session::Session,
};

/// A chunk holds about so many bytes of records.
const CHUNK_BYTES: usize = 1 << 20;

/// A format that a session can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportFormat {
    /// Our own document: all of the log.
    SessionsJson,
    /// Our own lines: all of the log, the canonical form.
    SessionsJsonl,
    /// What is visible, to be read as text.
    Markdown,
    /// What is visible, as one page.
    Html,
    /// A transcript for Claude Code.
    ClaudeCode,
    /// A rollout for Codex.
    Codex,
    /// A session for pi.
    Pi,
    /// The messages of a request to OpenAI.
    OpenAi,
    /// The messages of a request to Anthropic.
    Anthropic,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SessionsJson,
        Self::SessionsJsonl,
        Self::Markdown,
        Self::Html,
        Self::ClaudeCode,
        Self::Codex,
        Self::Pi,
        Self::OpenAi,
        Self::Anthropic,
    ];

    /// The format's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionsJson => Format::SessionsJson.name(),
            Self::SessionsJsonl => Format::SessionsJsonl.name(),
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::ClaudeCode => Format::ClaudeCode.name(),
            Self::Codex => Format::Codex.name(),
            Self::Pi => Format::Pi.name(),
            Self::OpenAi => Format::OpenAi.name(),
            Self::Anthropic => Format::Anthropic.name(),
        }
    }
}

/// A session on its way out.
pub struct Export {
    session: Session,
    view: Arc<View>,
    is_document: bool,
    extents: Extents,
    stage: Stage,
    lost: Vec<LostRecord>,
    /// The commit of the last record that was given.
    commit: CommitHash,
}

enum Stage {
    Header,
    /// Pieces that are there already.
    Pieces(std::vec::IntoIter<Vec<u8>>),
    Messages {
        messages: Box<Messages>,
        is_first: bool,
    },
    /// What is visible, to be looked at.
    Page {
        messages: Box<Messages>,
        page: Page,
        is_begun: bool,
    },
    /// The log at `at`, from `next` on.
    Records {
        at: usize,
        next: u64,
    },
    End,
}

impl Session {
    /// The session in a format. What each format keeps stands in the documentation of [`crate::transfer`].
    ///
    /// # Errors
    /// The store's.
    pub async fn export(&self, format: ExportFormat) -> Result<Export, SessionError> {
        let foreign = match format {
            ExportFormat::SessionsJson => return Export::begin(self, true).await,
            ExportFormat::SessionsJsonl => return Export::begin(self, false).await,
            ExportFormat::Markdown => return Export::page(self, Page::Markdown).await,
            ExportFormat::Html => return Export::page(self, Page::Html).await,
            ExportFormat::ClaudeCode => Format::ClaudeCode,
            ExportFormat::Codex => Format::Codex,
            ExportFormat::Pi => Format::Pi,
            ExportFormat::OpenAi => return Export::form(self, Form::OpenAi).await,
            ExportFormat::Anthropic => return Export::form(self, Form::Anthropic).await,
        };
        let view = self.fresh_view().await?;
        let Outgoing { pieces, lost } = Outgoing::of(self, &view, foreign).await?;
        let (session, extents, commit) = (self.clone(), Extents::none(), CommitHash::ZERO);
        let stage = Stage::Pieces(pieces.into_iter());
        Ok(Export { session, view, is_document: false, extents, stage, lost, commit })
    }

    /// The session as JSON lines, the canonical form.
    ///
    /// # Errors
    /// The store's.
    pub async fn export_jsonl(&self) -> Result<Export, SessionError> {
        Export::begin(self, false).await
    }

    /// The session as one JSON document, with its visible messages beside its log.
    ///
    /// # Errors
    /// The store's.
    pub async fn export_json(&self) -> Result<Export, SessionError> {
        Export::begin(self, true).await
    }
}

impl Export {
    async fn begin(session: &Session, is_document: bool) -> Result<Self, SessionError> {
        let view = session.fresh_view().await?;
        let extents = Extents::of(session, &view).await?;
        let (stage, lost, commit) = (Stage::Header, Vec::new(), CommitHash::ZERO);
        Ok(Self { session: session.clone(), view, is_document, extents, stage, lost, commit })
    }

    async fn form(session: &Session, form: Form) -> Result<Self, SessionError> {
        let view = session.fresh_view().await?;
        let stage = Stage::Pieces(vec![super::form::of(session, &view, form).await?].into_iter());
        let (session, extents, lost, commit) = (session.clone(), Extents::none(), Vec::new(), CommitHash::ZERO);
        Ok(Self { session, view, is_document: false, extents, stage, lost, commit })
    }

    async fn page(session: &Session, page: Page) -> Result<Self, SessionError> {
        let view = session.fresh_view().await?;
        let messages = Box::new(Messages::of(session, Arc::clone(&view)));
        let (session, extents, lost, commit) = (session.clone(), Extents::none(), Vec::new(), CommitHash::ZERO);
        let stage = Stage::Page { messages, page, is_begun: false };
        Ok(Self { session, view, is_document: false, extents, stage, lost, commit })
    }

    async fn painted(
        &mut self,
        chunk: &mut Vec<u8>,
        mut messages: Box<Messages>,
        page: Page,
        is_begun: bool,
    ) -> Result<Stage, SessionError> {
        if !is_begun {
            chunk.extend_from_slice(page.begin(&self.view).as_bytes());
            return Ok(Stage::Page { messages, page, is_begun: true });
        }
        let Some(entries) = messages.next_entries().await? else {
            chunk.extend_from_slice(page.end().as_bytes());
            return Ok(Stage::End);
        };
        for entry in entries {
            let seq = entry.seq;
            match entry.what {
                EntryKind::Message(message) => chunk.extend_from_slice(page.message(&message).as_bytes()),
                EntryKind::Lost | EntryKind::Damaged => {
                    self.lost.push(LostRecord { session: self.view.session(), seq });
                    chunk.extend_from_slice(page.lost(seq).as_bytes());
                }
                EntryKind::Event(_) => {}
            }
        }
        Ok(Stage::Page { messages, page, is_begun: true })
    }

    /// Records that are lost, or cannot be read, among those that were given so far. The file says so in their places, and an import of
    /// it has the rest.
    pub fn lost(&self) -> &[LostRecord] {
        &self.lost
    }

    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// The store's. What was given before is then not a whole export, and an import refuses it.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        loop {
            let mut chunk = Vec::new();
            let is_end = matches!(self.stage, Stage::End);
            self.stage = match std::mem::replace(&mut self.stage, Stage::End) {
                Stage::Header => self.header(&mut chunk)?,
                Stage::Pieces(mut pieces) => {
                    while let Some(piece) = Some(()).filter(|()| chunk.len() < CHUNK_BYTES).and_then(|()| pieces.next())
                    {
                        chunk.extend_from_slice(&piece);
                    }
                    if chunk.is_empty() { Stage::End } else { Stage::Pieces(pieces) }
                }
                Stage::Page { messages, page, is_begun } => self.painted(&mut chunk, messages, page, is_begun).await?,
                Stage::Messages { messages, is_first } => self.messages(&mut chunk, messages, is_first).await?,
                Stage::Records { at, next } => self.records(&mut chunk, at, next).await?,
                Stage::End => Stage::End,
            };
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            if is_end {
                return Ok(None);
            }
        }
    }

    fn header(&self, chunk: &mut Vec<u8>) -> Result<Stage, SessionError> {
        let first = self.extents.logs.first().map_or(1, |log| log.first);
        let lineage = self.extents.logs.last().map_or(self.view.lineage(), |log| log.lineage);
        if !self.is_document {
            let header = HeaderLine {
                format: Cow::Borrowed(Format::SessionsJsonl.name()),
                version: VERSION,
                session: self.view.session(),
                lineage,
                logs: self.extents.logs.clone(),
            };
            put(chunk, &header)?;
            chunk.push(b'\n');
            return Ok(Stage::Records { at: 0, next: first });
        }
        chunk.extend_from_slice(br#"{"format":"#);
        put(chunk, &Format::SessionsJson.name())?;
        chunk.extend_from_slice(br#","version":"#);
        put(chunk, &VERSION)?;
        chunk.extend_from_slice(b",\"session\":");
        put(chunk, &Facts::of(&self.view, lineage))?;
        chunk.extend_from_slice(b",\"messages\":[");
        let messages = Messages::of(&self.session, Arc::clone(&self.view));
        Ok(Stage::Messages { messages: Box::new(messages), is_first: true })
    }

    async fn messages(
        &self,
        chunk: &mut Vec<u8>,
        mut messages: Box<Messages>,
        mut is_first: bool,
    ) -> Result<Stage, SessionError> {
        let Some(page) = messages.next_page().await? else {
            chunk.extend_from_slice(b"\n],\"logs\":[");
            return Ok(Stage::Records { at: 0, next: self.extents.logs.first().map_or(1, |log| log.first) });
        };
        for message in &page {
            chunk.extend_from_slice(if is_first { b"\n" } else { b",\n" });
            put(chunk, message)?;
            is_first = false;
        }
        Ok(Stage::Messages { messages, is_first })
    }

    async fn records(&mut self, chunk: &mut Vec<u8>, at: usize, next: u64) -> Result<Stage, SessionError> {
        let Some(log) = self.extents.logs.get(at).cloned() else {
            if self.is_document {
                chunk.extend_from_slice(b"\n]}\n");
            }
            return Ok(Stage::End);
        };
        if self.is_document && next == log.first {
            chunk.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
            let mut opening = Vec::new();
            put(&mut opening, &log)?;
            // The extent's own object goes on with its records.
            opening.pop();
            chunk.extend_from_slice(&opening);
            chunk.extend_from_slice(b",\"records\":[");
        }
        let range = ReadRange {
            from: next,
            to: log.last,
            order: Order::OldestFirst,
            kinds: KindFilter::All,
            max_records: 4096,
            max_bytes: CHUNK_BYTES,
        };
        let page = self.session.manager().read_owned(self.view.session(), self.extents.owner(&log), range).await?;
        // Where nobody has a record any more, something stands for it all the same.
        let behind = page.next.unwrap_or(log.last.saturating_add(1));
        let mut records = page.records.into_iter().peekable();
        for seq in next..behind {
            let record = records.next_if(|record| record.seq == seq).unwrap_or_else(|| unreadable(seq));
            let record = self.extents.record(&log, record, self.commit);
            self.commit = record.commit;
            if is_lost(log.session, &record) {
                self.lost.push(LostRecord { session: log.session, seq: record.seq });
            }
            let spelled = Spelled::of(&record);
            if self.is_document {
                chunk.extend_from_slice(if record.seq == log.first { b"\n" } else { b",\n" });
                put(chunk, &spelled.entry(&record))?;
            } else {
                put(chunk, &spelled.line(&record, &log))?;
                chunk.push(b'\n');
            }
        }
        if let Some(next) = page.next {
            return Ok(Stage::Records { at, next });
        }
        if self.is_document {
            chunk.extend_from_slice(b"\n]}");
        }
        let next = self.extents.logs.get(at + 1).map_or(0, |log| log.first);
        Ok(Stage::Records { at: at + 1, next })
    }
}

/// Whether a record stands for a lost one.
fn is_lost(session: SessionId, record: &Record) -> bool {
    match record.kind {
        Kind::LOST => true,
        Kind::CREATED => decoded(session, record).is_ok_and(
            |(event, _)| matches!(event, Event::Created(created) if created.stands_for_a_lost_one(&record.payload)),
        ),
        _ => false,
    }
}

/// Everything that is written here has a JSON form, since it was read from one.
fn put(chunk: &mut Vec<u8>, value: &impl Serialize) -> Result<(), SessionError> {
    serde_json::to_writer(chunk, value).map_err(SessionError::Unexportable)
}
