//! The use case of an import: reads a file off the runtime, and makes it a session in one commit.
//!
//! Importing a file again adds nothing: a file of another program leaves a mark in the store (a keyed digest of its id), and a file of
//! our own restores ids. A file that has grown since adds what is new (see [`super::grown`]).
//!
//! Must not know: where a file lies.

use std::io::{self, BufRead, Cursor, Read};

use serde::Serialize;
use sessions_domain::{ImportSource, SessionId, SessionKey, Stamp, View};
use sessions_ports::{Commit, Durability, StoreError};

use super::{
    DETECT_BYTES, Format, ImportError, Report, anthropic,
    archive::{self, Archive},
    claude_code, codex, detect,
    grown::{self, Followed, Grown},
    openai, pi,
    records::Beginning,
    report::Repaired,
    transcript::Transcript,
};
use crate::{
    append::AppendOutcome, blocking::off_the_runtime, error::SessionError, manager::SessionManager,
    transact::MAX_ATTEMPTS,
};

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The file's format; `None`: as its beginning tells.
    pub format: Option<Format>,
    /// Makes a new session also when the file was imported before, or when its session is here.
    pub new_id: bool,
    /// A host's key for the new session; only together with `new_id`.
    pub key: Option<SessionKey>,
    /// A level of its own; `None`: the manager's.
    pub durability: Option<Durability>,
}

/// What became of a file. It serialises as the import report of the program:
/// `{"id","outcome","format","version","durability","grown"?,"messages","tool_calls","repaired","set_aside","kept","usage"}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportReport {
    /// The session it is in.
    pub id: SessionId,
    /// Whether it was taken in now, or before.
    pub outcome: AppendOutcome,
    /// The format it was read as.
    #[serde(serialize_with = "name_of")]
    pub format: Format,
    /// The session's version; 0 when it was deleted or is in the trash, and the file added nothing to it.
    pub version: u64,
    /// The level that the import is known to have reached.
    pub durability: Durability,
    /// What was added to a session that was there, because the file had grown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grown: Option<Grown>,
    /// What the file holds, and what was mended. For our own formats: all logs of the file together.
    #[serde(flatten)]
    pub report: Report,
}

fn name_of<S: serde::Serializer>(format: &Format, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(format.name())
}

/// What is asked of a file that is known.
struct Known<'a> {
    digest: &'a str,
    format: Format,
    report: Report,
    durability: Durability,
}

/// A file that was read.
enum Parsed {
    Transcript(Box<Transcript>),
    Archive(Format, Box<Archive>),
}

impl SessionManager {
    /// Imports one file. All of it or nothing becomes visible.
    ///
    /// # Errors
    /// [`ImportError`] says what is wrong with the file, or with taking it in here; the store's.
    pub async fn import(
        &self,
        source: impl BufRead + Send + 'static,
        options: ImportOptions,
    ) -> Result<ImportReport, SessionError> {
        if options.key.is_some() && !options.new_id {
            return Err(ImportError::KeyNeedsNewId.into());
        }
        let format = options.format;
        match off_the_runtime(move || parse(source, format)).await?? {
            Parsed::Transcript(transcript) => self.import_transcript(*transcript, options).await,
            Parsed::Archive(format, archive) => self.import_archive(format, *archive, options).await,
        }
    }

    async fn import_transcript(
        &self,
        transcript: Transcript,
        options: ImportOptions,
    ) -> Result<ImportReport, SessionError> {
        let durability = options.durability.unwrap_or(self.durability());
        let (format, report, source) = (transcript.format, transcript.report.clone(), transcript.source());
        let known_as = |report| Known { digest: &source.digest, format, report, durability };
        let mark = (!options.new_id).then(|| self.import_mark(&source));
        let known = match mark {
            Some(mark) => self.ports().store.by_key(mark).await?,
            None => None,
        };
        if let Some(id) = known {
            return self.followed(id, Some(&transcript), known_as(report)).await;
        }
        let parent = self.began(&transcript).await?;
        let manager = self.clone();
        let key = options.key;
        let (mut commit, view) =
            off_the_runtime(move || manager.transcript_commit(transcript, key, parent, durability)).await??;
        commit.key = commit.key.or(mark);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.ports().store.commit(commit.clone()).await {
                Ok(done) => {
                    return Ok(ImportReport {
                        id: view.session(),
                        outcome: AppendOutcome::Inserted,
                        format,
                        version: done.version,
                        durability: done.durability,
                        grown: None,
                        report,
                    });
                }
                // The same file is imported by somebody else meanwhile, or was about to be: what fails leaves the mark free again.
                Err(StoreError::KeyTaken { session }) if mark.is_some() && attempt < MAX_ATTEMPTS => {
                    if self.ports().store.settled(session).await?.is_some() {
                        return self.followed(session, None, known_as(report)).await;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The session here that began a sub-agent's, when it was imported before.
    async fn began(&self, transcript: &Transcript) -> Result<Option<SessionId>, SessionError> {
        let facts = &transcript.facts;
        let (Some(_), Some(parent)) = (&facts.agent, &facts.parent) else { return Ok(None) };
        let format = transcript.format.name().to_owned();
        let mark = self.import_mark(&ImportSource { format, id: Some(parent.clone()), digest: String::new() });
        let known = self.ports().store.by_key(mark).await?;
        // A session that is gone is nobody's parent.
        Ok(match known {
            Some(id) if self.load(id).await.is_ok() => Some(id),
            _ => None,
        })
    }

    fn transcript_commit(
        &self,
        transcript: Transcript,
        key: Option<SessionKey>,
        parent: Option<SessionId>,
        durability: Durability,
    ) -> Result<(Commit, View), SessionError> {
        let now = self.ports().clock.now();
        let ids = &self.ports().ids;
        let session = ids.session(now);
        let beginning = Beginning { session, lineage: ids.lineage(now), key, parent };
        let events = transcript
            .into_events(beginning, || ids.message(now))
            .map_err(|source| ImportError::InvalidHistory { session, source })?;
        let stamp = Stamp { at: now, actor: self.actor().clone() };
        self.beginning(events, &stamp, None, durability)
    }

    /// The report of a file whose mark is there. What it has more than when it came is taken in.
    async fn followed(
        &self,
        id: SessionId,
        transcript: Option<&Transcript>,
        known: Known<'_>,
    ) -> Result<ImportReport, SessionError> {
        let Known { digest, format, report, durability } = known;
        let session = match self.load(id).await {
            Ok(session) => session,
            // What somebody threw away does not come back by itself, and takes nothing in.
            Err(SessionError::Gone { .. } | SessionError::InTrash { .. }) => {
                let (outcome, version) = (AppendOutcome::Replayed, 0);
                return Ok(ImportReport { id, outcome, format, version, durability, grown: None, report });
            }
            Err(error) => return Err(error),
        };
        let view = session.fresh_view().await?;
        if view.source().is_none_or(|source| source.digest != digest) {
            // Another state of the file came in just now: read again, it is seen what is new.
            let transcript = transcript.ok_or(ImportError::BrokenOff)?;
            let Followed { grown, version, durability: reached } =
                grown::follow(&session, transcript, durability).await?;
            if grown.is_some() {
                let durability = reached.unwrap_or(durability);
                return Ok(ImportReport {
                    id,
                    outcome: AppendOutcome::Inserted,
                    format,
                    version,
                    durability,
                    grown,
                    report,
                });
            }
        }
        self.ports().store.wait(id, view.first_own(), durability).await?;
        let (outcome, version) = (AppendOutcome::Replayed, view.version());
        Ok(ImportReport { id, outcome, format, version, durability, grown: None, report })
    }

    async fn import_archive(
        &self,
        format: Format,
        mut archive: Archive,
        options: ImportOptions,
    ) -> Result<ImportReport, SessionError> {
        let durability = options.durability.unwrap_or(self.durability());
        if options.new_id {
            let manager = self.clone();
            let key = options.key;
            archive = off_the_runtime(move || archive.duplicated(&manager, key)).await??;
        }
        let restored = self.restore(&archive, !options.new_id, durability).await?;
        let mut report = archive.report;
        if restored.without_key {
            let what = "its log came here before with a fork, so its key could not be claimed; it is found by its id";
            report.repaired.push(Repaired { line: 1, what: what.into() });
        }
        Ok(ImportReport {
            id: archive.own.session(),
            outcome: restored.outcome,
            format,
            version: restored.version,
            durability: restored.durability,
            grown: None,
            report,
        })
    }
}

fn parse(mut source: impl BufRead, format: Option<Format>) -> Result<Parsed, ImportError> {
    let mut head = Vec::with_capacity(DETECT_BYTES);
    source.by_ref().take(DETECT_BYTES as u64).read_to_end(&mut head)?;
    let format = match format.or_else(|| detect(&head)) {
        Some(format) => format,
        None => return Err(unknown(&head, &mut source)?),
    };
    let source = Cursor::new(head).chain(source);
    Ok(match format {
        Format::ClaudeCode => Parsed::Transcript(Box::new(claude_code::read(source)?)),
        Format::Codex => Parsed::Transcript(Box::new(codex::read(source)?)),
        Format::Pi => Parsed::Transcript(Box::new(pi::read(source)?)),
        Format::OpenAi => Parsed::Transcript(Box::new(openai::read(source)?)),
        Format::Anthropic => Parsed::Transcript(Box::new(anthropic::read(source)?)),
        Format::SessionsJson => Parsed::Archive(format, Box::new(archive::read_document(source)?)),
        Format::SessionsJsonl => Parsed::Archive(format, Box::new(archive::read_lines(source)?)),
    })
}

/// Why a file with this beginning is not known.
fn unknown(head: &[u8], rest: &mut impl BufRead) -> io::Result<ImportError> {
    let is_blank = head.iter().all(u8::is_ascii_whitespace);
    if is_blank && rest.fill_buf()?.is_empty() {
        return Ok(ImportError::Empty);
    }
    let is_text = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The beginning may end within a character.
        Err(error) => error.error_len().is_none() && head.len() == DETECT_BYTES,
    };
    Ok(if is_text && !head.contains(&0) { ImportError::UnknownFormat } else { ImportError::Binary })
}
