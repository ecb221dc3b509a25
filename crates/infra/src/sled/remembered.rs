//! What the index remembers of the log, for a check that changes nothing: a copy of it is opened, because opening rewrites its files.
//!
//! Must not know: segments, or what a difference means.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sessions_domain::{Kind, SessionId};
use sessions_ports::{Digest, Link, StoreError};

use super::{
    folder::{Folder, failed},
    index::{CoreRow, Index, IndexFailure, Loaded},
    locator::Locator,
    stand_ins::StandIn,
};

const CACHE_BYTES: u64 = 16 << 20;

/// What the index remembers.
pub(super) struct Remembered {
    /// Everything of the log before this position was in it, and synced.
    pub(super) position: u64,
    pub(super) sessions: BTreeMap<SessionId, (CoreRow, Option<Bytes>)>,
    pub(super) keys: HashMap<SessionId, Digest>,
    /// What sessions inherit.
    pub(super) links: HashMap<SessionId, Vec<Link>>,
    /// Sessions that were removed: the version, and the key that stays taken.
    pub(super) graves: BTreeMap<SessionId, (u64, Option<Digest>)>,
    index: Option<Index>,
    copy: PathBuf,
}

/// Why an index tells nothing.
pub(super) enum Silent {
    /// No copy of it could be made, or opened for a reason that is none of its own, which says nothing about the index.
    NotCopied(StoreError),
    /// It was copied and did not open: why, for people.
    Unreadable(String),
}

impl Remembered {
    /// Looks into a copy of the index; `None` where there is no index.
    pub(super) fn of(folder: &Folder) -> Result<Option<Self>, Silent> {
        let not_copied = |error| Silent::NotCopied(failed("copying the index to look into it", error));
        if !folder.index().join("db").try_exists().map_err(not_copied)? {
            return Ok(None);
        }
        let copy = folder.index_copy();
        // Left by a look that was broken off.
        let _ = fs::remove_dir_all(&copy);
        let copied = copy_files(&folder.index(), &copy).map_err(not_copied);
        let unreadable = |failure: IndexFailure| match failure.refused() {
            Some(error) => Silent::NotCopied(error),
            None => Silent::Unreadable(failure.to_string()),
        };
        let opened = copied.and_then(|()| Index::open(&copy, CACHE_BYTES).map_err(unreadable));
        let (index, contents) = opened.inspect_err(|_| drop(fs::remove_dir_all(&copy)))?;
        let links = contents.sessions.iter().filter(|loaded| !loaded.links.is_empty());
        let links = links.map(|loaded| (loaded.session, loaded.links.clone())).collect();
        let row = |Loaded { session, row, words, .. }| (session, (row, words));
        Ok(Some(Self {
            position: index.position(),
            links,
            sessions: contents.sessions.into_iter().map(row).collect(),
            keys: contents.keys.into_iter().map(|(digest, session)| (session, digest)).collect(),
            graves: contents.graves.into_iter().map(|(id, version, key)| (id, (version, key))).collect(),
            index: Some(index),
            copy,
        }))
    }

    /// The kind of a record, where the index knows it.
    pub(super) fn kind(&self, session: SessionId, seq: u64) -> Option<Kind> {
        let locator = place(self.index.as_ref()?, session, seq)?;
        (locator != Locator::LOST).then_some(locator.kind)
    }

    /// The snapshot of a session's view, as it was given; `None`: there is none, or it cannot be read.
    pub(super) fn snapshot(&self, session: SessionId) -> Option<Bytes> {
        self.index.as_ref()?.view(session).ok()?
    }

    /// Whether the index knows nothing of a record that a repair wrote, though that may have been broken off.
    pub(super) fn is_behind(&self, stand_ins: &HashMap<(SessionId, u64), StandIn>) -> bool {
        let row = |session| self.sessions.get(&session).map(|(row, _)| *row);
        let there = stand_ins.iter().filter(|((session, _), _)| !self.graves.contains_key(session));
        self.index.as_ref().is_some_and(|index| is_behind(index, row, there))
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        // The engine may be beyond closing; the copy is thrown away all the same.
        let _ = self.index.take().map(Index::close);
        let _ = fs::remove_dir_all(&self.copy);
    }
}

fn place(index: &Index, session: SessionId, seq: u64) -> Option<Locator> {
    let (first, run) = index.run_with(session, seq).ok()??;
    run.get(usize::try_from(seq.checked_sub(first)?).ok()?).copied()
}

/// Whether an index finds a record elsewhere than where a repair wrote what stands for it, or not at all though it should.
pub(super) fn is_behind<'a>(
    index: &Index,
    row: impl Fn(SessionId) -> Option<CoreRow>,
    mut stand_ins: impl Iterator<Item = (&'a (SessionId, u64), &'a StandIn)>,
) -> bool {
    let end = index.position();
    stand_ins.any(|((session, seq), stand_in)| match row(*session) {
        Some(row) if *seq < row.first => false,
        Some(row) if *seq <= row.version => place(index, *session, *seq)
            // What it finds behind that was written over it since.
            .is_some_and(|place| (place.segment, place.offset) < (stand_in.segment, stand_in.offset)),
        _ => stand_in.position.is_some_and(|position| position < end),
    })
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
