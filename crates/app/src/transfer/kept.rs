//! What a session that was imported has of its file: the lines, and which record holds which of them.
//!
//! Must not know: how lines are spelled.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::BufRead,
};

use sessions_domain::{Event, Message, TokenUsage, View, branches::Stretch, chain};
use sessions_ports::{KindFilter, Order};

use super::{
    Format, ImportError, LostRecord, anthropic, claude_code, codex,
    foreign::envelope::envelope_of,
    openai, pi,
    records::Stand,
    restore::{RestoreError, Restored},
    transcript::{EntryKind, Transcript},
};
use crate::{error::SessionError, reading::Bounds, session::Session};

/// Records of so many bytes are read at once.
const PAGE: usize = 512;

/// The file, as the log has it.
pub(super) struct Kept {
    pub(super) format: Format,
    restored: Restored,
    /// Clears, by the element whose path they hide; the first of each.
    clears: HashMap<u64, u64>,
    /// Messages that came with the file.
    members: HashSet<u64>,
    /// Visible messages up to each element.
    depths: HashMap<u64, u64>,
    pub(super) lost: Vec<LostRecord>,
    /// Tokens of the file's messages, as the log counts them.
    pub(super) usage: TokenUsage,
}

impl Kept {
    /// Reads a session's own log. `None` when it was made of no file of another program, or goes on from another session.
    pub(super) async fn read(session: &Session, view: &View) -> Result<Option<Self>, SessionError> {
        let format = view.source().and_then(|source| Format::foreign(&source.format));
        let Some(format) = format.filter(|_| view.fork().is_none()) else { return Ok(None) };
        let (clears, depths, members, lost) = (HashMap::new(), HashMap::new(), HashSet::new(), Vec::new());
        let mut kept = Self {
            format,
            restored: Restored::of(format),
            clears,
            members,
            depths,
            lost,
            usage: TokenUsage::default(),
        };
        let mut rest = Some(Stretch { first: view.first_own(), last: view.version() });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let (reads, more) =
                session.manager().read_stretch(view, stretch, order, kinds, Bounds::records(PAGE)).await?;
            for read in reads {
                kept.take(view, read.record.seq, &read.event);
            }
            rest = more;
        }
        Ok(Some(kept))
    }

    fn take(&mut self, view: &View, seq: u64, event: &Event) {
        match event {
            Event::Lost => self.lost.push(LostRecord { session: view.session(), seq }),
            Event::Cleared(cleared) => {
                self.clears.entry(cleared.from).or_insert(seq);
                self.depths.insert(seq, 0);
            }
            // What cannot be put together is told when the lines are.
            other => {
                if let Event::Appended(appended) = other {
                    self.depths.insert(seq, appended.depth);
                }
                if self.restored.take(seq, other) == Ok(true)
                    && let Event::Appended(appended) = other
                {
                    self.members.insert(seq);
                    self.usage = self.usage.plus(appended.message.metadata.usage.unwrap_or_default());
                }
            }
        }
    }

    /// True for a message that came with the file.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.members.contains(&seq)
    }

    /// The numbers of the lines that a message was made of.
    pub(super) fn lines_of(&self, message: &Message) -> Vec<u64> {
        let lines = envelope_of(message, self.format).map(|envelope| envelope.lines).unwrap_or_default();
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Where an element stands.
    pub(super) fn stand(&self, seq: u64) -> Option<Stand> {
        self.depths.get(&seq).map(|depth| Stand { seq, depth: *depth })
    }

    /// True for a line that became no message.
    pub(super) fn is_residue(&self, line: u64) -> bool {
        self.restored.is_residue(line)
    }

    /// The lines in order. Those that cannot be put together are not there.
    pub(super) fn lines(&self) -> Lines {
        Lines(self.restored.lines().0)
    }

    /// The record of an entry of the file, as the file was read anew.
    pub(super) fn record_of(&self, transcript: &Transcript, at: usize) -> Option<u64> {
        let entry = transcript.entries.get(at)?;
        match &entry.kind {
            EntryKind::Message(message) => {
                let line = envelope_of(message, self.format)?.lines.pop()?;
                self.restored.holder(line.line, *line.blocks.last()?)
            }
            EntryKind::Cleared => {
                let hidden = entry.parent.map_or(Some(0), |parent| self.record_of(transcript, parent))?;
                self.clears.get(&hidden).copied()
            }
        }
    }
}

/// The lines of a file.
pub(super) struct Lines(BTreeMap<u64, Vec<u8>>);

impl Lines {
    /// Those of a file that was read.
    pub(super) fn of(transcript: &Transcript) -> Result<Self, RestoreError> {
        let mut restored = Restored::of(transcript.format);
        restored.take_residue(&transcript.residue)?;
        for (at, message) in
            transcript.entries.iter().enumerate().filter_map(|(at, entry)| Some((at, entry.message()?)))
        {
            restored.take_message(at as u64, message)?;
        }
        let (lines, lost) = restored.lines();
        lost.first().map_or(Ok(Self(lines)), |line| Err(RestoreError { line: *line }))
    }

    /// The number of the last one, or 0.
    pub(super) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// A line, without its line break.
    pub(super) fn get(&self, number: u64) -> Option<&[u8]> {
        self.0.get(&number).map(Vec::as_slice)
    }

    /// The file. Whether a line break ended it, its digest tells.
    pub(super) fn file(&self, digest: &str) -> Vec<u8> {
        let mut file: Vec<u8> = self.0.values().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
        let without = file.strip_suffix(b"\n").unwrap_or_default();
        // A line with nothing in it is a line because it was ended.
        let may_be_open = !without.ends_with(b"\n");
        if may_be_open && chain::to_hex(&chain::sha256(without)) == digest {
            file.pop();
        }
        file
    }
}

/// Reads a file of another program, whose lines up to `sealed` are in a log.
pub(super) fn read_foreign(format: Format, reader: impl BufRead, sealed: u64) -> Result<Transcript, ImportError> {
    match format {
        Format::ClaudeCode => claude_code::read_behind(reader, sealed),
        Format::Codex => codex::read_behind(reader, sealed),
        Format::Pi => pi::read_behind(reader, sealed),
        Format::OpenAi => openai::read_behind(reader, sealed),
        Format::Anthropic => anthropic::read_behind(reader, sealed),
        _ => Err(ImportError::UnknownFormat),
    }
}
