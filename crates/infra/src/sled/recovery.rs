//! Opening: reads the log from where the index ends, sets a torn tail aside, and builds the index anew when it cannot be trusted.
//!
//! **Invariant**: what is given as a session's state after opening follows from the log alone; the index only saves reading it all.
//!
//! Must not know: how a running store works.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt, fs,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{PoisonError, atomic::Ordering},
};

use sessions_domain::{SessionId, chain};
use sessions_ports::StoreError;

use super::{
    core::Core,
    folder::{self, Folder, failed},
    frame::{self, Found, MARK, Scan},
    graves::Grave,
    index::{Contents, CoreRow, Index, IndexFailure, Loaded},
    ledger::Ledger,
    locator::Locator,
    log_state::{LogState, Place},
    remembered,
    replay::Replay,
    rewriting::Moved,
    roots::{self, Trail},
    segment::{self, Head, SEGMENT_HEADER, Segment},
    stand_ins::{StandIn, stand_ins},
};
use crate::counted::counted;

/// What was found and done when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// True when the store was made now.
    pub created: bool,
    /// An unfinished write at the end of the log, which was set aside.
    pub torn_tail: Option<TornTail>,
    /// What became of the index.
    pub index: IndexReport,
    /// Records that were read from the log because the index did not hold them.
    pub replayed: u64,
    /// Places of the log that are damaged; `verify` tells more.
    pub damaged: u64,
    /// True when a part of the log is missing that was on the disk: its end, as far as the index remembers it, or whole segments. What the
    /// index remembers is kept until a repair marks it as lost.
    pub shortened: bool,
}

/// Bytes of a write that was never finished, and never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's number.
    pub segment: u32,
    /// Where in it the write began.
    pub offset: u64,
    /// How many bytes were set aside.
    pub bytes: u64,
    /// Where they are kept; `None` when the disk had no room for a copy of what nobody was promised.
    pub kept_at: Option<PathBuf>,
}

/// What became of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IndexReport {
    /// It was there, whole, and used.
    #[default]
    Opened,
    /// It was missing, damaged or behind, and built anew from the log.
    Rebuilt {
        /// Why.
        why: String,
    },
    /// It cannot be kept now (the disk is full, say); the store works without it, from memory.
    Absent {
        /// Why.
        why: String,
    },
}

impl OpenReport {
    /// True when nothing happened that a person should hear of.
    pub fn is_quiet(&self) -> bool {
        self.torn_tail.is_none() && self.damaged == 0 && !self.shortened && self.index == IndexReport::Opened
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(torn) = &self.torn_tail {
            // Without the index's word the log alone cannot tell an unfinished write from the damaged end of a finished one.
            let is_sure = !self.shortened && self.index == IndexReport::Opened;
            let what = if is_sure { "; nothing acknowledged was in it" } else { "" };
            lines.push(format!(
                "set aside an unfinished write of {} at the end of segment {}{what}",
                counted(torn.bytes, "byte"),
                torn.segment
            ));
        }
        if self.shortened {
            lines.push(
                "a part of the log is missing that was on the disk, by damage or because an older copy was put back; `verify` \
                 names the records, a backup may have them, and `repair` marks them as lost"
                    .to_owned(),
            );
        }
        match &self.index {
            IndexReport::Opened => {}
            IndexReport::Rebuilt { why } => {
                let records = counted(self.replayed, "record");
                lines.push(format!("built the index anew from {records} of the log ({why})"));
            }
            IndexReport::Absent { why } => lines.push(format!("works without an index for now ({why})")),
        }
        if self.damaged > 0 {
            lines.push(format!("{} in the log; run `verify`", counted(self.damaged, "damaged place")));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// A store's parts, ready to run.
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    pub(crate) index: Option<Index>,
    pub(crate) segment: Segment,
    pub(crate) at: u32,
    pub(crate) ready: u32,
    pub(crate) marked: u64,
    pub(crate) report: OpenReport,
}

/// Zeros of a segment that is made at opening.
const FIRST_ZEROS: u32 = 64 << 10;

/// Opens what stands in a folder.
pub(crate) fn recover(folder: &Folder, cache_bytes: u64) -> Result<Recovered, StoreError> {
    let mut report = OpenReport { created: folder.created, ..OpenReport::default() };
    let log = folder.log();
    let mut numbers = segment::numbers(&log)?;
    // What a newer version wrote is refused before anything is moved.
    Replay::new(folder, numbers.clone())?;
    let fresh = folder.created || numbers.is_empty();
    let (existed, held_one) = (folder.index().exists(), folder.index().join("db").exists());
    let opened = open_index(folder, cache_bytes, &stand_ins(folder, &numbers, None, |_| {})?);
    let (mut index, mut ledger, mut why) = match opened {
        Ok((index, contents)) => {
            let why = (!fresh && index.position() == 0)
                .then(|| if existed { "it held nothing" } else { "there was none" }.to_owned());
            (Some(index), loaded(contents), why)
        }
        Err(failure) if is_left(&failure, held_one)? => {
            let mut ledger = Ledger::default();
            ledger.left_index = true;
            (None, ledger, Some(failure.to_string()))
        }
        Err(failure) => {
            let moved = move_index(folder);
            let anew = moved.and_then(|()| Index::open(&folder.index(), cache_bytes).ok().map(|(index, _)| index));
            (anew, Ledger::default(), Some(failure.to_string()))
        }
    };
    if let Some(last) = numbers.last().copied()
        && is_unborn(folder, last)?
    {
        set_segment_aside(folder, last)?;
        numbers.pop();
    }
    if let Some(refused) = Replay::new(folder, numbers.clone())?.refused()? {
        set_segment_aside(folder, refused)?;
        numbers.pop();
    }
    let from = index.as_ref().map_or(0, Index::position);
    if numbers.is_empty() && from == 0 {
        // A store that has large bodies had a log that named them.
        report.shortened = !folder.created && has_entries(&folder.blobs());
        Segment::create(&log, 1, 0, folder.id, FIRST_ZEROS)?;
        numbers.push(1);
    }
    remove_unfinished(&log);
    let mut replay = Replay::new(folder, numbers.clone())?;
    if replay.ends_before(from)? {
        let last = numbers.last().copied().unwrap_or(0);
        let beyond = index.as_ref().map_or(Ok(0), Index::highest_segment);
        match beyond.ok().and_then(|highest| highest.max(last).checked_add(1)) {
            // What the index remembers is kept, and no place of it is used again: then what is gone answers that it is damaged.
            Some(number) => {
                Segment::create(&log, number, from, folder.id, FIRST_ZEROS)?;
                numbers.push(number);
            }
            None => {
                why = Some("it knew more than the log holds".to_owned());
                // The engine may be beyond closing; what it holds is thrown away all the same.
                let _ = index.take().map(Index::close);
                ledger = Ledger::default();
                if move_index(folder).is_some() {
                    index = Index::open(&folder.index(), cache_bytes).ok().map(|(index, _)| index);
                }
                if numbers.is_empty() {
                    Segment::create(&log, 1, 0, folder.id, FIRST_ZEROS)?;
                    numbers.push(1);
                }
            }
        }
        replay = Replay::new(folder, numbers)?;
        report.shortened = true;
    }
    let from = index.as_ref().map_or(0, Index::position);
    replay.trail = Trail::behind(from, index.as_ref().and_then(Index::root));
    replay.run(from, &mut ledger)?;
    ledger.settle_graves();
    ledger.roots.synced = replay.trail.current.or(index.as_ref().and_then(Index::root));
    ledger.roots.trail = Some(std::mem::take(&mut replay.trail));
    report.replayed = replay.records;
    report.damaged = replay.damaged;
    report.shortened |= replay.is_shortened;
    report.torn_tail = replay.torn.take();
    report.index = match (why, &index) {
        (Some(why), Some(_)) => IndexReport::Rebuilt { why },
        (Some(why), None) => IndexReport::Absent { why },
        (None, _) => IndexReport::Opened,
    };
    let ids: Vec<SessionId> = ledger.sessions.keys().copied().filter(|id| !ledger.is_gone(*id)).collect();
    ids.into_iter().for_each(|id| ledger.announce(id));
    let (segment, at, marked) = replay.end()?;
    report.shortened |= is_blank_before(&segment, from);
    rewrite_tail(&segment, replay.synced.max(from), at)
        .map_err(|error| failed("writing the end of the log anew", error))?;
    segment.file.sync_all().map_err(|error| failed("syncing the log", error))?;
    let size = segment.file.metadata().map_err(|error| failed("reading the log", error))?.len();
    ledger.applied = segment.base + u64::from(at);
    if replay.damaged == 0 && !report.shortened && !ledger.left_index {
        sweep_blobs(folder, &ledger, index.as_ref());
    }
    // A log that was closed and not written to since ends with its mark, which the replay begins behind.
    let marked = if ends_with_mark(&segment, at) { ledger.applied } else { marked };
    let ready = u32::try_from(size).unwrap_or(at).max(at);
    Ok(Recovered { ledger, index, segment, at, ready, marked, report })
}

/// Whether an index stays where it is that could not be looked at for want of space; without it the log can be read. What else the system
/// refuses concerns the store as well, which does not open then.
fn is_left(failure: &IndexFailure, held_one: bool) -> Result<bool, StoreError> {
    match failure.refused() {
        Some(StoreError::NoSpace { .. }) => Ok(held_one),
        Some(error) => Err(error),
        None => Ok(false),
    }
}

fn has_entries(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Opens the index, unless it was left by a repair that wrote everything and was broken off before it set the index aside. One that was broken
/// off earlier has not written down yet all that the index remembers; nor has one whose log lost more since.
fn open_index(
    folder: &Folder,
    cache_bytes: u64,
    stand_ins: &HashMap<(SessionId, u64), StandIn>,
) -> Result<(Index, Contents), IndexFailure> {
    let (index, contents) = Index::open(&folder.index(), cache_bytes)?;
    let finished: Vec<_> = stand_ins.iter().filter(|(_, stand_in)| stand_in.is_finished).collect();
    let concerned: HashSet<SessionId> = finished.iter().map(|((session, _), _)| *session).collect();
    let finished: Vec<_> = finished.into_iter().filter(|((session, _), _)| !contents.is_gone(session)).collect();
    let rows: HashMap<SessionId, CoreRow> = contents
        .sessions
        .iter()
        .map(|loaded| (loaded.session, loaded.row))
        .filter(|(id, _)| concerned.contains(id))
        .collect();
    let is_behind = remembered::is_behind(&index, |session| rows.get(&session).copied(), finished.into_iter());
    if is_behind && holds_all(folder, &contents) {
        // The engine may be beyond closing; what it holds is thrown away all the same.
        let _ = index.close();
        return Err(IndexFailure::Behind);
    }
    Ok((index, contents))
}

/// Whether the log has every record that an index knows of. What it lost since a repair wrote its word nobody else remembers.
fn holds_all(folder: &Folder, contents: &Contents) -> bool {
    learn(folder, 0).is_ok_and(|whole| {
        let version = |session| whole.sessions.get(session).map_or(0, |log| log.row.version);
        let mut there = contents.sessions.iter().filter(|loaded| !contents.is_gone(&loaded.session));
        there.all(|loaded| loaded.row.version <= version(&loaded.session))
    })
}

fn ends_with_mark(segment: &Segment, at: u32) -> bool {
    let is_mark = |length: usize| {
        let mut mark = vec![0; length];
        let from = u64::from(at).saturating_sub(length as u64);
        let is_read = from >= u64::from(SEGMENT_HEADER) && segment.file.read_exact_at(&mut mark, from).is_ok();
        is_read && frame::read(&mark).is_ok_and(|frame| frame.header.kind == MARK && frame.length == length)
    };
    // A mark may carry a root.
    let plain = frame::mark(0).len();
    is_mark(plain) || is_mark(plain + roots::ROOM_IN_MARK)
}

/// Whether zeros stand where the last frame that the index knows would end.
fn is_blank_before(segment: &Segment, position: u64) -> bool {
    // No frame is so short, and none has so many zeros in it.
    let mut before = [0; frame::HEADER + 4];
    let within = position.checked_sub(segment.base + before.len() as u64);
    let read =
        within.filter(|at| *at >= u64::from(SEGMENT_HEADER)).map(|at| segment.file.read_exact_at(&mut before, at));
    matches!(read, Some(Ok(()))) && before.iter().all(|byte| *byte == 0)
}

/// Writes what no sync is known to have reached once more. After a sync that failed the system may hold it in memory and take it for
/// written, and another sync alone would then promise what is not there.
pub(super) fn rewrite_tail(segment: &Segment, synced: u64, at: u32) -> std::io::Result<()> {
    let from = synced.saturating_sub(segment.base).max(u64::from(SEGMENT_HEADER));
    let length = usize::try_from(u64::from(at).saturating_sub(from)).unwrap_or(0);
    let mut bytes = vec![0; length];
    segment.file.read_exact_at(&mut bytes, from)?;
    segment.file.write_all_at(&bytes, from)
}

fn loaded(contents: Contents) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.keys.extend(contents.keys);
    ledger.sessions.reserve(contents.sessions.len());
    for Loaded { session, row, words, links } in contents.sessions {
        ledger.sessions.insert(session, LogState { links, ..LogState::indexed(row, words) });
    }
    for (key, session) in &ledger.keys {
        if let Some(log) = ledger.sessions.get_mut(session) {
            log.key = Some(Box::new(*key));
        }
    }
    for (session, version, key) in contents.graves {
        ledger.graves.insert(session, Grave::indexed(version, key));
    }
    ledger
}

/// Whether the making of a segment was cut short: it holds nothing of the log.
pub(super) fn is_unborn(folder: &Folder, number: u32) -> Result<bool, StoreError> {
    let path = segment::path_of(&folder.log(), number);
    let bytes = fs::read(&path).map_err(|error| failed("reading the log", error))?;
    if let Head::Newer(format) = segment::head_of(&bytes, number) {
        return Err(segment::newer(format));
    }
    Ok(segment::base_of(&bytes, number, folder.id).is_none()
        && Scan::new(&bytes, 0).all(|found| matches!(found, Found::Damage(..)))
        && bytes.get(SEGMENT_HEADER as usize..).unwrap_or_default().iter().all(|byte| *byte == 0))
}

/// Sets a segment aside that holds nothing of the log; where it is kept.
pub(super) fn set_segment_aside(folder: &Folder, number: u32) -> Result<PathBuf, StoreError> {
    let aside = folder.aside(&format!("unborn-{number:08}"));
    fs::rename(segment::path_of(&folder.log(), number), &aside)
        .map_err(|error| failed("setting an unfinished segment aside", error))?;
    folder::sync_dir(&folder.quarantine())?;
    folder::sync_dir(&folder.log())?;
    Ok(aside)
}

/// Removes what is left of a segment that was being written anew: the old one is in its place.
fn remove_unfinished(log: &std::path::Path) {
    for entry in fs::read_dir(log).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "new") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves the index out of the way. It holds nothing that is not in the log.
pub(crate) fn move_index(folder: &Folder) -> Option<()> {
    let index = folder.index();
    if !index.exists() {
        return Some(());
    }
    // Only the last one is kept: it is of use to nobody but a curious person.
    let aside = folder.quarantine().join("index");
    let _ = fs::remove_dir_all(&aside);
    // A folder that is a file system of its own can be neither moved nor removed; emptied, it serves as well.
    let is_empty = || fs::read_dir(&index).is_ok_and(|mut left| left.next().is_none());
    let moved = fs::rename(&index, &aside).or_else(|_| fs::remove_dir_all(&index)).is_ok();
    (moved || is_empty()).then_some(())
}

/// While the store runs: learns from the log what only the index knows, and throws that away. Only the thread that keeps the index does
/// this: nothing goes into it meanwhile. The locks are held only to exchange the one for the other.
pub(crate) fn set_index_aside(core: &Core) {
    let position = core.index.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Index::position);
    let Some(position) = position else { return };
    let mut learnt = match learn(&core.folder, position) {
        Ok(learnt) => learnt,
        Err(error) => {
            // A bad index tells more than none that nothing could replace.
            tracing::warn!(%error, "the log could not be read, so the index stays for now");
            return;
        }
    };
    let mut slot = core.index.write().unwrap_or_else(PoisonError::into_inner);
    let mut ledger = core.lock();
    core.generation.fetch_add(1, Ordering::AcqRel);
    let Ledger { sessions, graves, .. } = &mut *ledger;
    for (session, log) in sessions.iter_mut() {
        let whole = learnt.sessions.remove(session);
        let moved = learnt.rewrites.of(*session);
        // Where the record with the key is damaged, only the index knew it on the disk.
        let key = log.key.as_deref().copied().filter(|_| log.flushed >= log.row.first);
        without_index(log, whole.unwrap_or_else(|| LogState::new(log.row.first)), moved);
        log.new_key = log.new_key.or(key);
    }
    for (session, grave) in graves.iter_mut().filter(|(session, _)| !sessions.contains_key(session)) {
        grave.new_blobs = learnt.sessions.remove(session).map(|whole| whole.new_blobs).unwrap_or_default();
    }
    for stale in std::mem::take(&mut learnt.rewrites.stale) {
        let is_there = ledger.sessions.contains_key(&stale.0) && !ledger.rewrites.stale.contains(&stale);
        ledger.rewrites.stale.extend(is_there.then_some(stale));
    }
    ledger.recent_records = ledger.sessions.values().map(|log| log.recent.len()).sum();
    ledger.mark_all();
    let failed = slot.take();
    drop((ledger, slot));
    // The engine may be beyond closing; what it holds is thrown away all the same.
    let _ = failed.map(Index::close);
    let _ = move_index(&core.folder);
}

/// What the whole log of a store that runs tells of roots.
pub(super) fn trail(folder: &Folder) -> Result<Trail, StoreError> {
    let mut replay = Replay::new(folder, segment::numbers(&folder.log())?)?;
    replay.is_live = true;
    replay.run(0, &mut Ledger::default())?;
    Ok(replay.trail)
}

/// Reads the log of a store that runs. `position`: how far the index knows it, at least.
fn learn(folder: &Folder, position: u64) -> Result<Ledger, StoreError> {
    let mut replay = Replay::new(folder, segment::numbers(&folder.log())?)?;
    if replay.ends_before(position)? {
        let gone = std::io::Error::new(std::io::ErrorKind::NotFound, "a part of the log is gone");
        return Err(failed("reading the log", gone));
    }
    replay.is_live = true;
    let mut ledger = Ledger::default();
    replay.run(0, &mut ledger)?;
    Ok(ledger)
}

/// A session takes from the whole log what it had left to the index. What is damaged there keeps its place, so that no record takes
/// another's.
fn without_index(log: &mut LogState, mut whole: LogState, moved: Option<&BTreeMap<u64, Moved>>) {
    let first = log.row.first;
    let flushed = log.flushed;
    let at = |seq: u64| {
        let adopted = moved.and_then(|moved| moved.get(&seq)).map(|moved| moved.locator);
        let known = seq.checked_sub(whole.flushed + 1).and_then(|at| whole.recent.get(usize::try_from(at).ok()?));
        Place::Disk(adopted.or(known.map(Place::locator)).unwrap_or(Locator::LOST))
    };
    let mut recent: VecDeque<Place> = (first..=flushed).map(at).collect();
    recent.append(&mut log.recent);
    log.recent = recent;
    let adopted = moved.into_iter().flatten().filter_map(|(seq, moved)| Some((*seq, **moved.body.as_ref()?)));
    whole.new_blobs.extend(adopted);
    whole.claims.retain(|(_, claim)| claim.version <= flushed);
    log.claims.append(&mut whole.claims);
    whole.new_blobs.retain(|(seq, _)| *seq <= flushed);
    log.new_blobs.append(&mut whole.new_blobs);
    log.new_key = whole.new_key.or(log.new_key);
    log.flushed = first - 1;
    log.runs = None;
    log.indexed = None;
    log.indexed_words = None;
}

/// Sets large bodies aside that no record names: their append was never finished, as far as this log tells. They are not deleted, because
/// a segment that is missing now may come back. Files that were never renamed into place are.
fn sweep_blobs(folder: &Folder, ledger: &Ledger, index: Option<&Index>) {
    let recent = ledger.sessions.values().flat_map(|log| &log.new_blobs);
    let dead = ledger.graves.values().flat_map(|grave| &grave.new_blobs);
    let mut known: HashSet<[u8; 32]> = recent.chain(dead).map(|(_, hash)| *hash).collect();
    known.extend(ledger.rewrites.bodies().chain(ledger.rewrites.stale.iter().copied()).map(|(.., hash)| hash));
    match index.map(Index::blobs).transpose() {
        Ok(indexed) => known.extend(indexed.into_iter().flatten().map(|(_, _, hash)| hash)),
        Err(_) => return,
    }
    let Ok(folders) = fs::read_dir(folder.blobs()) else { return };
    let files = folders.flatten().filter_map(|entry| fs::read_dir(entry.path()).ok()).flatten().flatten();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let hash: Option<[u8; 32]> = chain::from_hex(&name).and_then(|bytes| bytes.try_into().ok());
        let is_named = hash.map_or_else(|| !name.ends_with(".new"), |hash| known.contains(&hash));
        if hash.is_none() && !is_named {
            let _ = fs::remove_file(file.path());
        } else if !is_named {
            let _ = fs::rename(file.path(), folder.quarantine().join(&name));
        }
    }
}
