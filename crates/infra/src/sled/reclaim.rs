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
    stand_ins::is_repairs,
    superseded::{Behind, Fate},
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
pub(super) type Dead = HashMap<SessionId, u64>;

fn is_dead(dead: &Dead, session: SessionId, seq: u64) -> bool {
    dead.get(&session).is_some_and(|kept| seq > *kept)
}

/// How much is to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What lies together in such amounts that it is looked after without anybody asking.
    Much,
    /// What is worth it.
    Worthwhile,
    /// All that nobody needs, also what was written last.
    All,
}

impl Extent {
    /// A segment is written anew for so many bytes.
    const fn least(self) -> u64 {
        match self {
            Self::Much => MUCH / 2,
            Self::Worthwhile => WORTH,
            Self::All => 0,
        }
    }
}

/// Gives back what it can.
pub(crate) fn reclaim(core: &Arc<Core>, extent: Extent) -> Result<Reclaimed, StoreError> {
    let much = extent == Extent::Much;
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
    if !much {
        // What rewritten records named before is known when the index holds them.
        until_indexed(core);
    }
    if extent == Extent::All {
        leave_segment(core)?;
    }
    let dead = dead(core);
    let mut reclaimed = Reclaimed::default();
    if !much || bodies_are_due(core) {
        (reclaimed.bodies, reclaimed.bytes) = sweep(core, &dead)?;
    }
    segments(core, extent, &dead, &mut reclaimed)?;
    Ok(reclaimed)
}

/// Removed sessions whose removal is synced.
pub(super) fn dead(core: &Core) -> Dead {
    let ledger = core.lock();
    let graves = ledger.graves.iter().filter(|(_, grave)| grave.is_synced);
    graves.map(|(session, _)| (*session, ledger.kept_on_disk(*session))).collect()
}

/// Goes through the segments from the last one to the first, so that it is known of each what stands behind it.
fn segments(core: &Core, extent: Extent, dead: &Dead, reclaimed: &mut Reclaimed) -> Result<(), StoreError> {
    let current = core.current_segment.load(Ordering::Acquire);
    let synced = core.synced_position.load(Ordering::Acquire);
    let mut behind = Behind::default();
    // Without rewrites there is no need to read what is not looked after.
    let reads_all = extent != Extent::Much || core.lock().rewrites.happened;
    for number in segment::numbers(&core.folder.log())?.into_iter().rev() {
        let is_looked_after = extent != Extent::Much || is_mostly_dead(core, number);
        if !is_looked_after && !reads_all {
            continue;
        }
        let bytes = fs::read(segment::path_of(&core.folder.log(), number)).map_err(reading)?;
        let Some(base) = segment::base_of(&bytes, number, core.folder.id) else { continue };
        let frames = frames(&bytes, synced.saturating_sub(base));
        let mut fates: Vec<Fate> = frames.iter().rev().map(|(_, frame)| behind.meet(frame)).collect();
        fates.reverse();
        // The next opening holds the last root against what stands there, so that stays until the log has gone on.
        let last = core.lock().roots.synced;
        let is_last = last.is_some_and(|root| (base..base + bytes.len() as u64).contains(&root.position));
        if is_last || number >= current || !is_looked_after {
            continue;
        }
        if let Some(bytes) = rewrite(core, number, &bytes, &fates, dead, extent.least())? {
            reclaimed.segments += 1;
            reclaimed.bytes += bytes;
        }
        let mut ledger = core.lock();
        ledger.dead.remove(&number);
        ledger.check_open()?;
    }
    Ok(())
}

/// The frames of a segment that are synced.
fn frames(bytes: &[u8], synced: u64) -> Vec<(usize, Frame<'_>)> {
    let found = Scan::new(bytes, SEGMENT_HEADER as usize);
    let frames = found.map_while(|found| match found {
        Found::Frame(at, frame) => Some((at, frame)),
        Found::Damage(..) | Found::Newer(_) => None,
    });
    frames.take_while(|(at, frame)| (at + frame.length) as u64 <= synced).collect()
}

fn reading(error: std::io::Error) -> StoreError {
    failed("reading the log", error)
}

/// Waits until the index holds what the ledger has, if there is one.
fn until_indexed(core: &Core) {
    let (told, taken) = mpsc::channel();
    {
        let mut ledger = core.lock();
        if ledger.closed || *core.mended.borrow() == u64::MAX {
            return;
        }
        ledger.wanted_checkpoints.push(told);
    }
    core.checkpoint.notify_all();
    // Who cannot do it lets go of the other end.
    let _ = taken.recv();
}

/// Has the writer go on in another segment.
fn leave_segment(core: &Core) -> Result<(), StoreError> {
    let (told, left) = mpsc::channel();
    {
        let mut ledger = core.lock();
        ledger.check_open()?;
        ledger.leaves_segment = Some(told);
    }
    core.wake_writer();
    left.recv().unwrap_or(Err(StoreError::Closed))
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

/// The large bodies that the index knows of, each with whether its record names it no more.
fn indexed(core: &Core) -> Result<Vec<(NamedBlob, bool)>, StoreError> {
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    let blobs = slot.as_ref().map(Index::blobs_by_state).transpose();
    let unread = |failure| StoreError::from(BackendError::new(BackendErrorKind::Internal, RECLAIMING, failure));
    blobs.map(Option::unwrap_or_default).map_err(unread)
}

/// Removes the large bodies that only dead records name: how many, and their bytes.
fn sweep(core: &Core, dead: &Dead) -> Result<(u64, u64), StoreError> {
    // The ledger is asked before the index: a name only ever moves from the first to the second.
    let mut names: Vec<(NamedBlob, bool)> = known(core);
    names.extend(indexed(core)?);
    let goes = |((session, seq, _), is_stale): &(NamedBlob, bool)| *is_stale || is_dead(dead, *session, *seq);
    names.retain(goes);
    if names.is_empty() {
        core.lock().dead_bodies = 0;
        return Ok((0, 0));
    }
    // What is queued from here on and names one of them takes it off the list.
    core.lock().bodies.suspect(names.iter().map(|((.., name), _)| *name));
    let mut named = known(core);
    named.extend(indexed(core)?);
    let alive: HashSet<BodyName> = named.into_iter().filter(|name| !goes(name)).map(|((.., name), _)| name).collect();
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
    core.reclaimed.fetch_add(1, Ordering::AcqRel);
    let mut ledger = core.lock();
    ledger.dead_bodies = 0;
    let stale: Vec<NamedBlob> = names.iter().filter(|(_, is_stale)| *is_stale).map(|(blob, _)| *blob).collect();
    ledger.rewrites.stale.retain(|blob| !stale.contains(blob));
    stale.iter().for_each(|(session, ..)| ledger.mark(*session));
    ledger.rewrites.swept.extend(stale);
    let sessions: HashSet<SessionId> = names
        .iter()
        .filter(|((session, seq, _), _)| is_dead(dead, *session, *seq))
        .map(|((session, ..), _)| *session)
        .collect();
    for session in sessions {
        ledger.swept(session);
    }
    Ok(removed)
}

/// The large bodies that the ledger knows of, each with whether its record names it no more.
fn known(core: &Core) -> Vec<(NamedBlob, bool)> {
    let ledger = core.lock();
    let logs = ledger.sessions.iter().flat_map(|(session, log)| log.new_blobs.iter().map(|blob| (*session, *blob)));
    let graves = ledger.graves.iter().flat_map(|(session, grave)| grave.new_blobs.iter().map(|blob| (*session, *blob)));
    let known = logs.chain(graves).map(|(session, (seq, name))| ((session, seq, name), false));
    let rewritten = ledger.rewrites.bodies().map(|blob| (blob, false));
    let stale = ledger.rewrites.stale.iter().map(|blob| (*blob, true));
    known.chain(rewritten).chain(stale).collect()
}

/// Writes a segment anew, when at least so many bytes come back: how many did; `None`: it stays as it is.
fn rewrite(
    core: &Core,
    number: u32,
    bytes: &[u8],
    fates: &[Fate],
    dead: &Dead,
    least: u64,
) -> Result<Option<u64>, StoreError> {
    let log = core.folder.log();
    let path = segment::path_of(&log, number);
    let before = fs::metadata(&path).map_err(reading)?.blocks() * 512;
    let Some(stretches) = stretches(bytes, fates, dead) else { return Ok(None) };
    if stretches.is_empty() || before.saturating_sub(blocks(bytes, &stretches) * BLOCK) < least {
        return Ok(None);
    }
    let new = log.join(format!("{number:08}.new"));
    let written = write(&new, bytes, &stretches).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(failed(RECLAIMING, error));
    }
    core.forget_segment_file(number);
    core.reclaimed.fetch_add(1, Ordering::AcqRel);
    folder::sync_dir(&log)?;
    let after = fs::metadata(&path).map_err(reading)?.blocks() * 512;
    Ok(Some(before.saturating_sub(after)))
}

/// Bytes of a segment that nobody needs.
#[derive(Debug)]
struct Stretch {
    from: usize,
    to: usize,
    /// What is left of the frames that stand there.
    left: Vec<u8>,
    /// False as long as it is a filler already.
    is_new: bool,
}

/// The stretches of a segment that nobody needs; `None`: it stays as it is.
fn stretches(bytes: &[u8], fates: &[Fate], dead: &Dead) -> Option<Vec<Stretch>> {
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
    if frames.is_empty() || is_repairs(frames.iter().map(|(_, frame)| frame)) || fates.len() != frames.len() {
        return None;
    }
    let mut stretches: Vec<Stretch> = Vec::new();
    let (mut rest, mut fates) = (frames.as_slice(), fates);
    while let Some((_, first)) = rest.first() {
        // An append stays whole.
        let is_single = first.header.kind == FILLER;
        let ends = rest.iter().position(|(_, frame)| frame.is_last());
        let count = if is_single { 1 } else { ends.map_or(rest.len(), |last| last + 1) };
        let (append, behind) = rest.split_at_checked(count)?;
        let (here, next) = fates.split_at_checked(count)?;
        let is_needed = |(frame, fate): (&Frame<'_>, &Fate)| *fate != Fate::Goes && is_needed(frame, dead);
        let goes = (ends.is_some() || is_single) && !append.iter().map(|(_, frame)| frame).zip(here).any(is_needed);
        let end = behind.first().map_or(scan.position(), |(at, _)| *at);
        let ends = append.iter().skip(1).map(|(at, _)| *at).chain([end]);
        for (((at, frame), fate), to) in append.iter().zip(here).zip(ends) {
            let left = match fate {
                _ if goes => Vec::new(),
                Fate::Stays => continue,
                // The mark of an append's end stays with it.
                Fate::Goes if !frame.is_last() => Vec::new(),
                Fate::Goes => frame::stripped(frame, false),
                Fate::Stripped(keeps_words) => frame::stripped(frame, *keeps_words),
            };
            if left.len() >= frame.length {
                continue;
            }
            let is_new = frame.header.kind != FILLER;
            match stretches.last_mut().filter(|stretch| stretch.to == *at) {
                Some(stretch) => {
                    stretch.to = to;
                    stretch.left.extend(left);
                    stretch.is_new |= is_new;
                }
                None => stretches.push(Stretch { from: *at, to, left, is_new }),
            }
        }
        (rest, fates) = (behind, next);
    }
    Some(if stretches.iter().any(|stretch| stretch.is_new) { stretches } else { Vec::new() })
}

fn is_needed(frame: &Frame<'_>, dead: &Dead) -> bool {
    let header = frame.header;
    match header.kind {
        MARK | REMOVED => true,
        FILLER => header.flags & REPAIR != 0,
        _ => !is_dead(dead, header.session, header.seq),
    }
}

/// Blocks that a file takes whose stretches are holes behind what is left of them.
fn blocks(bytes: &[u8], stretches: &[Stretch]) -> u64 {
    let (mut taken, mut next, mut from) = (0, 0, 0);
    let holes = stretches
        .iter()
        .map(|stretch| ((stretch.from + stretch.left.len() + frame::HEADER).min(stretch.to), stretch.to));
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

/// Writes the bytes of a segment, with what is left in each stretch and a filler over the rest of it.
fn write(path: &Path, bytes: &[u8], stretches: &[Stretch]) -> std::io::Result<()> {
    let file = folder::private().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(bytes.len() as u64)?;
    let mut from = 0;
    for stretch in stretches {
        let filled = stretch.from + stretch.left.len();
        file.write_all_at(bytes.get(from..stretch.from).unwrap_or_default(), from as u64)?;
        file.write_all_at(&stretch.left, stretch.from as u64)?;
        // Fewer zeros than a frame has are passed over.
        if stretch.to - filled >= frame::HEADER {
            file.write_all_at(&frame::filler(stretch.to - filled), filled as u64)?;
        }
        from = stretch.to;
    }
    file.write_all_at(bytes.get(from..).unwrap_or_default(), from as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use sessions_domain::Kind;
    use sessions_ports::{Commit, Durability, KindFilter, Order, ReadRange, Record, Removal, Rewrite, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{
        AnchorCheck, AnchorUnknown, SledOptions, SledStore, WitnessReport,
        witnessing::tests::{at_disk, attested, keyed},
    };

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

    #[tokio::test]
    async fn what_was_rewritten_keeps_its_roots_when_its_bytes_go() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        let mut scripts = [1, 2, 3, 4].map(Script::new);
        let mut anchors = Vec::new();
        for round in 0..6_usize {
            // Batches of several appends, with bodies that leave more or less room.
            let commits = scripts.each_mut().map(|script| at_disk(script.say(&"s".repeat(round * 13 + 1))));
            let [one, two, three, four] = commits.map(|commit| store.commit(commit));
            let done = tokio::join!(one, two, three, four);
            assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok() && done.3.is_ok());
            anchors.extend(store.anchor());
        }
        for (at, rounds) in [(0, 1), (1, 2), (3, 1)] {
            for _ in 0..rounds {
                let script = &scripts[at];
                let new = |record: &Record| Record { payload: vec![9; 33].into(), ..record.clone() };
                let records: Vec<Record> = script.written().iter().map(new).collect();
                let (session, durability, unlink) = (script.session(), Durability::Disk, Vec::new());
                let rewrite = Rewrite { session, expected: None, records, words: None, unlink, durability };
                store.rewrite(rewrite).await.unwrap();
                anchors.extend(store.anchor());
            }
        }
        assert!(store.reclaim_all().await.unwrap().segments > 0);
        let check = |store: &SledStore| {
            for anchor in &anchors {
                let found = store.check_anchor(anchor).unwrap();
                let is_known = matches!(found, AnchorCheck::Fresh | AnchorCheck::Unknown(AnchorUnknown::Rewritten));
                assert!(is_known, "{found:?}");
            }
        };
        check(&store);
        store.commit(at_disk(scripts[0].say("it goes on"))).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        for _ in 0..2 {
            let report = crate::sled::verify_with(&path, keyed(7).as_ref()).unwrap();
            let about_roots =
                report.findings.iter().filter(|found| found.what.contains("attested") || found.what.contains("root"));
            assert_eq!(about_roots.collect::<Vec<_>>(), Vec::<&crate::sled::Finding>::new());
            let (store, found) = attested(&path).await;
            assert_eq!(found, WitnessReport::Confirmed);
            check(&store);
            store.close().await.unwrap();
            drop(store);
            fs::remove_dir_all(path.join("index")).unwrap();
        }
    }

    #[test]
    fn a_segment_of_a_repair_stays_as_it_is_also_where_a_part_of_it_was_set_aside() {
        let gone = sessions_domain::SessionId::from_bytes([3; 16]);
        let written = |flags| {
            let commit = sessions_domain::CommitHash::ZERO;
            let header = frame::FrameHeader { kind: Kind::LOST, flags, session: gone, seq: 2, label: 0, commit };
            let mut bytes = [[0; SEGMENT_HEADER as usize].as_slice(), &frame::filler(frame::HEADER)].concat();
            frame::write(&mut bytes, &header, &[0; 200], Some(frame::Trailer::default()), &[]);
            bytes
        };
        let dead = Dead::from([(gone, 0)]);
        let fates = [Fate::Stays, Fate::Goes];
        assert!(stretches(&written(REPAIR), &fates, &dead).is_none());
        assert_eq!(stretches(&written(0), &fates, &dead).map(|stretches| stretches.len()), Some(1));
    }
}
