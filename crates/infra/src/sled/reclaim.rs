//! Space that comes back: what only removed sessions had is taken off the disk, while the store runs and without a place that moves.
//!
//! A segment is written anew beside itself: each frame that somebody needs stays where it is, and each stretch of others is one filler whose
//! body is a hole in the file. So no position, no locator and no order changes, readers of the old file go on, and whatever breaks it off
//! leaves the old file or the new one. Large bodies go first: the frames that are left name them, so none is forgotten.
//!
//! **Invariant**: only what no session and no commit on its way can need is taken away, and only once the removal is synced.
//!
//! Must not know: who asks for it, or what records say.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
};

use sessions_domain::SessionId;
use sessions_ports::{BackendError, BackendErrorKind, StoreError};

use super::{
    bodies::BodyName,
    core::{Core, Presence},
    folder::{self, failed},
    frame::{self, FILLER, Found, Frame, MARK, REMOVED, REPAIR, Scan},
    index::{Index, NamedBlob},
    segment::{self, SEGMENT_BYTES, SEGMENT_HEADER},
};

/// Bytes of the blocks that files are made of.
const BLOCK: u64 = 4096;
/// A segment is written anew for so many bytes, when somebody asks for it.
const WORTH: u64 = 64 << 10;
/// So much is looked after without anybody asking: half a segment.
pub(crate) const MUCH: u64 = SEGMENT_BYTES as u64 / 2;
const RECLAIMING: &str = "giving space back";

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reclaimed {
    /// Segments that were written anew without what nobody needs.
    pub segments: u64,
    /// Large bodies that were removed.
    pub bodies: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// Removed sessions whose removal cannot be lost, each with the last record that others inherit.
type Dead = HashMap<SessionId, u64>;

fn is_dead(dead: &Dead, session: SessionId, seq: u64) -> bool {
    dead.get(&session).is_some_and(|kept| seq > *kept)
}

/// Gives back what it can. With `much` only where much comes back.
pub(crate) fn reclaim(core: &Arc<Core>, much: bool) -> Result<Reclaimed, StoreError> {
    // No file goes while a backup copies them. Who was not asked for anything comes back later.
    let (_alone, _may_go) = if much {
        let Ok(alone) = core.reclaiming.try_lock() else { return Ok(Reclaimed::default()) };
        let Some(may_go) = core.kept.may_go() else { return Ok(Reclaimed::default()) };
        (alone, may_go)
    } else {
        (core.reclaiming.lock().unwrap_or_else(PoisonError::into_inner), core.kept.until_they_may_go())
    };
    // While this is at work, nobody else gets the folder.
    let _present = {
        let ledger = core.lock();
        ledger.check_open()?;
        Presence::of(core)
    };
    if !core.is_whole.load(Ordering::Acquire) {
        // A session that is damaged may inherit what seems to be nobody's.
        let why = "the log is damaged, so it is not known what is needed; run `repair` first";
        return Err(BackendError::new(BackendErrorKind::Unavailable, RECLAIMING, why).into());
    }
    let dead: Dead = {
        let ledger = core.lock();
        let graves = ledger.graves.iter().filter(|(_, grave)| grave.is_synced);
        graves.map(|(session, _)| (*session, ledger.kept_on_disk(*session))).collect()
    };
    let mut reclaimed = Reclaimed::default();
    if dead.is_empty() {
        return Ok(reclaimed);
    }
    if !much || bodies_are_due(core) {
        (reclaimed.bodies, reclaimed.bytes) = sweep(core, &dead)?;
    }
    let current = core.current_segment.load(Ordering::Acquire);
    for number in segment::numbers(&core.folder.log())?.into_iter().filter(|number| *number < current) {
        if much && !is_mostly_dead(core, number) {
            continue;
        }
        let least = if much { MUCH / 2 } else { WORTH };
        let bytes = rewrite(core, number, &dead, least)?;
        reclaimed.segments += u64::from(bytes > 0);
        reclaimed.bytes += bytes;
        let mut ledger = core.lock();
        ledger.dead.remove(&number);
        ledger.check_open()?;
    }
    Ok(reclaimed)
}

fn is_mostly_dead(core: &Core, number: u32) -> bool {
    core.lock().dead.get(&number).is_some_and(|bytes| *bytes >= MUCH)
}

fn bodies_are_due(core: &Core) -> bool {
    core.lock().dead_bodies as u64 * super::INLINE_BODY as u64 >= MUCH
}

/// Whether so much is nobody's any more that it is given back without anybody asking.
pub(crate) fn is_due(core: &Core) -> bool {
    let current = core.current_segment.load(Ordering::Acquire);
    let is_whole = core.is_whole.load(Ordering::Acquire);
    let ledger = core.lock();
    let mut dead = ledger.dead.iter();
    let has_segment = dead.any(|(number, bytes)| *number < current && *bytes >= MUCH);
    drop(ledger);
    is_whole && (has_segment || bodies_are_due(core))
}

/// The large bodies that the index knows of.
fn indexed(core: &Core) -> Result<Vec<NamedBlob>, StoreError> {
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    let blobs = slot.as_ref().map(Index::blobs).transpose();
    let unread = |failure| StoreError::from(BackendError::new(BackendErrorKind::Internal, RECLAIMING, failure));
    blobs.map(Option::unwrap_or_default).map_err(unread)
}

/// Removes the large bodies that only dead records name: how many, and their bytes.
fn sweep(core: &Core, dead: &Dead) -> Result<(u64, u64), StoreError> {
    // The ledger is asked before the index: a name only ever moves from the first to the second.
    let mut names: Vec<NamedBlob> = known(core);
    names.extend(indexed(core)?);
    names.retain(|(session, seq, _)| is_dead(dead, *session, *seq));
    let sessions: HashSet<SessionId> = names.iter().map(|(session, ..)| *session).collect();
    if names.is_empty() {
        core.lock().dead_bodies = 0;
        return Ok((0, 0));
    }
    // What is queued from here on and names one of them takes it off the list.
    core.lock().bodies.suspect(names.iter().map(|(.., name)| *name));
    let mut named = known(core);
    named.extend(indexed(core)?);
    let alive: HashSet<BodyName> =
        named.into_iter().filter(|(session, seq, _)| !is_dead(dead, *session, *seq)).map(|(.., name)| name).collect();
    #[cfg(test)]
    core.pass("condemning bodies");
    let (told, removed) = mpsc::channel();
    {
        let mut ledger = core.lock();
        ledger.check_open()?;
        ledger.bodies.condemn(&alive, told);
    }
    core.bodies.notify_one();
    // The thread that writes bodies removes them, because it alone can bring one back. It ends with the store.
    let removed = removed.recv().unwrap_or_default();
    let mut ledger = core.lock();
    ledger.dead_bodies = 0;
    for session in sessions {
        ledger.swept(session);
    }
    Ok(removed)
}

/// The large bodies that the ledger knows of.
fn known(core: &Core) -> Vec<NamedBlob> {
    let ledger = core.lock();
    let logs = ledger.sessions.iter().flat_map(|(session, log)| log.new_blobs.iter().map(|blob| (*session, *blob)));
    let graves = ledger.graves.iter().flat_map(|(session, grave)| grave.new_blobs.iter().map(|blob| (*session, *blob)));
    logs.chain(graves).map(|(session, (seq, name))| (session, seq, name)).collect()
}

/// Writes a segment anew, when at least so many bytes come back: how many did.
fn rewrite(core: &Core, number: u32, dead: &Dead, least: u64) -> Result<u64, StoreError> {
    let reading = |error| failed("reading the log", error);
    let log = core.folder.log();
    let path = segment::path_of(&log, number);
    let before = fs::metadata(&path).map_err(reading)?.blocks() * 512;
    let bytes = fs::read(&path).map_err(reading)?;
    let Some(base) = segment::base_of(&bytes, number, core.folder.id) else { return Ok(0) };
    // The next opening holds the last root against what stands there, so that stays until the log has gone on.
    let last = core.lock().roots.synced;
    if last.is_some_and(|root| (base..base + bytes.len() as u64).contains(&root.position)) {
        return Ok(0);
    }
    let Some(stretches) = stretches(&bytes, dead) else { return Ok(0) };
    if stretches.is_empty() || before.saturating_sub(blocks(&bytes, &stretches) * BLOCK) < least {
        return Ok(0);
    }
    let new = log.join(format!("{number:08}.new"));
    let written = write(&new, &bytes, &stretches).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(failed(RECLAIMING, error));
    }
    core.forget_segment_file(number);
    folder::sync_dir(&log)?;
    let after = fs::metadata(&path).map_err(reading)?.blocks() * 512;
    Ok(before.saturating_sub(after))
}

/// The stretches of a segment that nobody needs; `None`: it stays as it is.
fn stretches(bytes: &[u8], dead: &Dead) -> Option<Vec<(usize, usize)>> {
    let mut scan = Scan::new(bytes, SEGMENT_HEADER as usize);
    let mut frames = Vec::new();
    for found in scan.by_ref() {
        match found {
            Found::Frame(at, frame) => frames.push((at, frame)),
            // It is not known what damaged bytes are.
            Found::Damage(..) | Found::Newer(_) => return None,
        }
    }
    // What a repair wrote is found by the first frame of its segment.
    if frames.first().is_none_or(|(_, frame)| frame.header.flags & REPAIR != 0) {
        return None;
    }
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut rest = frames.as_slice();
    while let Some((at, first)) = rest.first() {
        // An append stays whole.
        let is_single = first.header.kind == FILLER;
        let ends = rest.iter().position(|(_, frame)| frame.is_last());
        let count = if is_single { 1 } else { ends.map_or(rest.len(), |last| last + 1) };
        let (append, behind) = rest.split_at_checked(count)?;
        let is_needed = (ends.is_none() && !is_single) || append.iter().any(|(_, frame)| is_needed(frame, dead));
        let end = behind.first().map_or(scan.position(), |(at, _)| *at);
        if !is_needed {
            match stretches.last_mut().filter(|(_, to)| to == at) {
                Some((_, to)) => *to = end,
                None => stretches.push((*at, end)),
            }
        }
        rest = behind;
    }
    Some(stretches)
}

fn is_needed(frame: &Frame<'_>, dead: &Dead) -> bool {
    let header = frame.header;
    match header.kind {
        MARK | REMOVED => true,
        FILLER => header.flags & REPAIR != 0,
        _ => !is_dead(dead, header.session, header.seq),
    }
}

/// Blocks that a file takes whose stretches are holes behind their headers.
fn blocks(bytes: &[u8], stretches: &[(usize, usize)]) -> u64 {
    let (mut taken, mut next, mut from) = (0, 0, 0);
    let holes = stretches.iter().map(|(from, to)| (from + frame::HEADER, *to));
    for (hole, end) in holes.chain([(bytes.len(), bytes.len())]) {
        if from < hole {
            let (first, last) = ((from as u64 / BLOCK).max(next), (hole as u64).div_ceil(BLOCK));
            taken += last.saturating_sub(first);
            next = last.max(next);
        }
        from = end;
    }
    taken
}

/// Writes the bytes of a segment, with a filler over each stretch.
fn write(path: &Path, bytes: &[u8], stretches: &[(usize, usize)]) -> std::io::Result<()> {
    let file = folder::private().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(bytes.len() as u64)?;
    let mut from = 0;
    for (start, end) in stretches {
        let filler = frame::filler(end - start);
        file.write_all_at(bytes.get(from..*start).unwrap_or_default(), from as u64)?;
        file.write_all_at(&filler, *start as u64)?;
        from = *end;
    }
    file.write_all_at(bytes.get(from..).unwrap_or_default(), from as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use sessions_domain::Kind;
    use sessions_ports::{Commit, Durability, KindFilter, Order, ReadRange, Removal, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{SledOptions, SledStore};

    /// Keeps a session of one large body.
    async fn keep(store: &SledStore, script: &mut Script, text: &str) -> Vec<sessions_ports::Record> {
        let commit = Commit { durability: Durability::Disk, ..script.say(text) };
        let records = commit.records.clone();
        store.commit(commit).await.unwrap();
        records
    }

    async fn remove(store: &SledStore, script: &Script) {
        let (session, durability) = (script.session(), Durability::Disk);
        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
    }

    fn all() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 1, to: 9, order, kinds, max_records: 9, max_bytes: 1 << 20 }
    }

    #[tokio::test]
    async fn a_large_body_that_comes_again_while_it_is_looked_after_stays() {
        let ground = TempDir::new().unwrap();
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        let text = "large ".repeat(20_000);
        let mut gone = Script::new(1);
        let records = keep(&store, &mut gone, &text).await;
        remove(&store, &gone).await;
        let again = Commit { session: Script::new(2).session(), records, ..Script::new(2).say("again") };
        let again = Commit { durability: Durability::Disk, ..again };
        let (session, records) = (again.session, again.records.clone());
        let other = store.clone();
        // It is looked for who names the body; then another session does, and is through before the body is to go.
        store.core().hook("condemning bodies", move |_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || runtime.block_on(other.commit(again))).join().unwrap().unwrap();
        });
        assert_eq!(store.reclaim().await.unwrap().bodies, 0);
        assert_eq!(store.read(session, all()).await.unwrap().records, records);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn who_reads_what_is_given_back_meanwhile_hears_that_it_is_gone() {
        let ground = TempDir::new().unwrap();
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        let mut gone = Script::new(1);
        store.commit(gone.commit(&[(Kind::APPENDED, 0, &vec![b'x'; 60_000])])).await.unwrap();
        // So much that the log goes on to the next segment.
        let mut filling = Script::new(2);
        for _ in 0..300 {
            store.commit(filling.commit(&[(Kind::APPENDED, 0, &vec![b'y'; 60_000])])).await.unwrap();
        }
        store.wait(filling.session(), filling.version(), Durability::Disk).await.unwrap();
        let selection = crate::sled::reader::select(store.core(), gone.session(), &all()).ok().unwrap();
        remove(&store, &gone).await;
        remove(&store, &filling).await;
        assert_eq!(store.reclaim().await.unwrap().segments, 1);
        let read = crate::sled::reader::read(store.core(), &selection, crate::sled::reader::Large::Read);
        let error = store.lost_or_gone(gone.session(), read.unwrap_err());
        assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
        store.close().await.unwrap();
    }
}
