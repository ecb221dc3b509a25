//! One session's log as memory knows it, and an append on its way to it.
//!
//! Must not know: other sessions, who waits.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{Committed, Digest, Durability, Head, Link, StoreError, StoredClaim};
use tokio::sync::oneshot;

use super::{
    bodies::BodyName,
    graves::Removing,
    index::CoreRow,
    locator::{Locator, RunHead},
    rewriting::Rewriting,
};

/// Where a recent record is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a segment.
    Disk(Locator),
    /// Still in memory: its frame, and what a locator would say of it. Few places are of this kind, so the frame is not inline.
    Memory(Locator, Box<Bytes>),
}

impl Place {
    pub(crate) fn locator(&self) -> Locator {
        match self {
            Self::Disk(locator) | Self::Memory(locator, _) => *locator,
        }
    }
}

/// One session's log.
///
/// What each append touches comes first and lies together: with many sessions every line of it is fetched from far.
#[repr(C)]
pub(crate) struct LogState {
    /// The version behind all queued commits.
    pub(crate) queued: u64,
    /// The commit of that version, while it is not the visible one (see [`LogState::tail`]).
    pub(super) queued_commit: sessions_domain::CommitHash,
    /// The last version that survives the process, and the power cut.
    pub(crate) written: u64,
    pub(crate) synced: u64,
    pub(super) tick: u64,
    /// Queued commits that are not visible yet.
    pub(crate) unsettled: u32,
    /// Removals of it that are queued and not visible yet.
    pub(super) leaving: u32,
    /// True while it is among [`Ledger::dirty`].
    pub(super) is_dirty: bool,
    /// As readers see it.
    pub(crate) row: CoreRow,
    /// The last record that the index holds.
    pub(crate) flushed: u64,
    /// The records behind it.
    pub(crate) recent: VecDeque<Place>,
    pub(crate) words: Option<Bytes>,
    /// The row of the last synced record, while that is not the last one.
    pub(super) synced_before: CoreRow,
    /// As the synced log holds them.
    pub(crate) synced_words: Option<Bytes>,
    pub(crate) snapshot: Option<Bytes>,
    /// Claims that the index does not hold yet, queued ones included.
    pub(crate) claims: Vec<(Digest, StoredClaim)>,
    /// What the index holds, and what changes go there with the next checkpoint.
    pub(crate) indexed: Option<CoreRow>,
    pub(crate) indexed_words: Option<Bytes>,
    pub(crate) new_key: Option<Digest>,
    /// The host's key, and what the log inherits.
    pub(crate) key: Option<Box<Digest>>,
    pub(crate) links: Vec<Link>,
    pub(crate) new_blobs: Vec<(u64, [u8; 32])>,
    pub(crate) runs: Option<Arc<Vec<(u64, RunHead)>>>,
}

impl LogState {
    /// A log whose first visible record will be `first`.
    pub(crate) fn new(first: u64) -> Self {
        let none = sessions_domain::CommitHash::ZERO;
        let row = CoreRow::none(first);
        let before = row.version;
        Self {
            queued: before,
            queued_commit: none,
            written: before,
            synced: before,
            tick: 0,
            unsettled: 0,
            leaving: 0,
            is_dirty: false,
            row,
            flushed: before,
            recent: VecDeque::new(),
            words: None,
            synced_before: row,
            synced_words: None,
            snapshot: None,
            claims: Vec::new(),
            indexed: None,
            indexed_words: None,
            new_key: None,
            key: None,
            links: Vec::new(),
            new_blobs: Vec::new(),
            runs: None,
        }
    }

    /// A log as the index knows it.
    pub(crate) fn indexed(row: CoreRow, words: Option<Bytes>) -> Self {
        let version = row.version;
        Self {
            row,
            queued: version,
            written: version,
            synced: version,
            flushed: version,
            indexed: Some(row),
            indexed_words: words.clone(),
            synced_words: words.clone(),
            words,
            ..Self::new(row.first)
        }
    }

    /// The commit of the version behind all queued commits.
    pub(super) fn tail(&self) -> sessions_domain::CommitHash {
        if self.queued == self.row.version { self.row.commit } else { self.queued_commit }
    }

    /// True once anything of it is visible.
    pub(crate) fn exists(&self) -> bool {
        self.row.version >= self.row.first
    }

    /// As the synced log holds it: behind [`Self::row`] while the newest records may still be lost.
    pub(crate) fn synced_row(&self) -> CoreRow {
        if self.synced == self.row.version { self.row } else { self.synced_before }
    }

    /// Takes in a job's last state. `spot`: where it was written, if it was.
    pub(super) fn advance(&mut self, job: &Job, spot: Option<Spot>) {
        let is_synced = spot.is_some_and(|spot| spot.is_synced);
        if self.synced == self.row.version && !is_synced {
            self.synced_before = self.row;
        }
        let created = if job.begins { job.row.created } else { self.row.created };
        let bytes = self.row.bytes + job.row.bytes;
        self.row = CoreRow { first: self.row.first, created, bytes, ..job.row };
        if job.words.is_some() {
            self.words.clone_from(&job.words);
        }
    }

    /// All up to a version is synced, with this row and, if they changed, these words.
    pub(super) fn synced(&mut self, row: CoreRow, words: Option<Bytes>) {
        self.synced = row.version;
        if self.synced < self.row.version {
            // Its records may have come to reach further down since it was written.
            self.synced_before = CoreRow { first: self.row.first, ..row };
        }
        if words.is_some() {
            self.synced_words = words;
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head { version: self.row.version, commit: self.row.commit, first: self.row.first }
    }

    pub(super) fn level_of(&self, version: u64) -> Option<Durability> {
        if version <= self.synced {
            Some(Durability::Disk)
        } else if version <= self.written {
            Some(Durability::Process)
        } else {
            (version <= self.row.version).then_some(Durability::Volatile)
        }
    }

    pub(super) fn mark(&mut self, session: SessionId, dirty: &mut Vec<SessionId>) {
        if !std::mem::replace(&mut self.is_dirty, true) {
            dirty.push(session);
        }
    }

    /// Forgets everything but the records, which others inherit.
    pub(super) fn strip(&mut self) {
        (self.words, self.synced_words, self.snapshot) = (None, None, None);
        (self.new_key, self.key) = (None, None);
        self.claims.clear();
        self.links.clear();
    }

    /// Its first record has this number from here on, below the one that was.
    pub(crate) fn begin_at(&mut self, first: u64) {
        (self.row.first, self.synced_before.first) = (first, first);
    }

    /// The place of a recent record.
    pub(crate) fn recent_mut(&mut self, seq: u64) -> Option<&mut Place> {
        let at = usize::try_from(seq.checked_sub(self.flushed + 1)?).ok()?;
        self.recent.get_mut(at)
    }
}

/// Where a job was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// So is everything before it.
    pub(crate) is_synced: bool,
}

impl Spot {
    pub(super) fn place(self, within: Locator) -> Place {
        Place::Disk(self.locator(within))
    }

    pub(super) fn locator(self, within: Locator) -> Locator {
        Locator { segment: self.segment, offset: self.offset + within.offset, ..within }
    }
}

/// One append on its way to the log.
pub(crate) struct Job {
    pub(crate) session: SessionId,
    /// The frames, encoded.
    pub(crate) frames: Bytes,
    /// For each frame: number, and its place within `frames`.
    pub(crate) records: Vec<(u64, Locator)>,
    /// The records whose bodies stand in files, and the names of these.
    pub(crate) blobs: Vec<(u64, BodyName)>,
    /// The bodies, until they are written.
    pub(crate) bodies: Vec<Bytes>,
    /// Files that came into being with this append.
    pub(crate) files: Vec<BodyName>,
    /// The commit of the record before its first one, once it is queued.
    pub(crate) behind: sessions_domain::CommitHash,
    pub(crate) row: CoreRow,
    pub(crate) words: Option<Bytes>,
    pub(crate) snapshot: Option<Bytes>,
    pub(crate) key: Option<Digest>,
    pub(crate) durability: Durability,
    pub(crate) begins: bool,
    /// What it inherits, when it begins a log.
    pub(crate) links: Vec<Link>,
    /// It removes the session, and has no records.
    pub(crate) removes: Option<Removing>,
    /// Its records take the places of others.
    pub(crate) rewrites: Option<Box<Rewriting>>,
    /// Nobody waits any more when the commit was answered before it was written.
    pub(crate) done: Option<oneshot::Sender<Result<Committed, StoreError>>>,
    pub(crate) visible: bool,
    /// True once its records lie in a segment.
    pub(crate) placed: bool,
    /// Bytes that its last frame has more in the log than in `frames`: a root.
    pub(crate) added: u32,
}

impl Job {
    /// Frames of a session, and nothing else.
    pub(crate) fn bare(session: SessionId, frames: Bytes, row: CoreRow) -> Self {
        Self {
            session,
            frames,
            records: Vec::new(),
            blobs: Vec::new(),
            bodies: Vec::new(),
            files: Vec::new(),
            behind: sessions_domain::CommitHash::ZERO,
            row,
            words: None,
            snapshot: None,
            key: None,
            durability: Durability::Volatile,
            begins: false,
            links: Vec::new(),
            removes: None,
            rewrites: None,
            done: None,
            visible: false,
            placed: false,
            added: 0,
        }
    }

    /// Bytes that it takes in the log, once it is written.
    pub(crate) fn length(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap_or(u32::MAX).saturating_add(self.added)
    }

    /// Where in `frames` the last one begins.
    pub(crate) fn last_frame(&self) -> usize {
        self.records.last().map_or(0, |(_, last)| last.offset as usize)
    }

    /// Its last frame was written with so many bytes more.
    pub(crate) fn grow(&mut self, added: u32) {
        self.added = added;
        if let Some((_, last)) = self.records.last_mut() {
            last.length = last.length.saturating_add(added);
        }
    }

    /// Bytes of its large bodies that are still in memory.
    pub(crate) fn weight(&self) -> usize {
        self.bodies.iter().map(Bytes::len).sum()
    }

    /// Tells whoever waits for it that it will not happen.
    pub(crate) fn refuse(&mut self, error: StoreError) {
        if let Some(done) = self.done.take() {
            let _ = done.send(Err(error));
        } else if let Some(removing) = &mut self.removes {
            removing.answer(Err(error));
        } else if let Some(rewriting) = &mut self.rewrites {
            rewriting.answer(Err(error));
        }
    }

    /// Tells whoever waits for a removal or a rewrite that it is through.
    pub(crate) fn answer_through(&mut self) {
        if let Some(removing) = &mut self.removes {
            removing.answer(Ok(()));
        } else if let Some(rewriting) = &mut self.rewrites {
            rewriting.answer(Ok(()));
        }
    }
}
