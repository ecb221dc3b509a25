//! Opening: reads the log from where the index ends, sets a torn tail aside, and builds the index anew when it cannot be trusted.
//!
//! **Invariant**: what is given as a session's state after opening follows from the log alone; the index only saves reading it all.
//!
//! Must not know: how a running store works.

use std::{
    collections::HashSet,
    fmt, fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use sessions_domain::{Kind, SessionId, chain};
use sessions_ports::{Digest, StoreError};

use super::{
    core::Core,
    folder::{self, Folder, failed},
    frame::{self, BLOB, CLAIM, FILLER, FIRST, Found, Frame, KEY, MARK, REPAIR, Scan, WORDS},
    index::{Contents, Index, Loaded, parse_claim},
    ledger::{Ledger, LogState, Place},
    locator::Locator,
    segment::{self, Head, SEGMENT_HEADER, Segment},
};

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
            let what = if self.shortened { "" } else { "; nothing acknowledged was in it" };
            lines.push(format!(
                "set aside an unfinished write of {} bytes at the end of segment {}{what}",
                torn.bytes, torn.segment
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
                lines.push(format!("built the index anew from {} records of the log ({why})", self.replayed));
            }
            IndexReport::Absent { why } => lines.push(format!("works without an index for now ({why})")),
        }
        if self.damaged > 0 {
            lines.push(format!("{} places of the log are damaged; run `verify`", self.damaged));
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
    let existed = folder.index().exists();
    let opened = Index::open(&folder.index(), cache_bytes);
    let (mut index, mut ledger, mut why) = match opened {
        Ok((index, contents)) => {
            let why = (!fresh && index.position() == 0)
                .then(|| if existed { "it held nothing" } else { "there was none" }.to_owned());
            (Some(index), loaded(contents), why)
        }
        Err(failure) => {
            let moved = move_index(folder);
            let anew = moved.and_then(|()| Index::open(&folder.index(), cache_bytes).ok().map(|(index, _)| index));
            (anew, Ledger::default(), Some(failure.to_string()))
        }
    };
    if let Some(last) = numbers.last().copied()
        && drop_unborn(folder, last)?
    {
        numbers.pop();
    }
    let from = index.as_ref().map_or(0, Index::position);
    if numbers.is_empty() && from == 0 {
        Segment::create(&log, 1, 0, folder.id, FIRST_ZEROS)?;
        numbers.push(1);
    }
    let mut replay = Replay::new(folder, numbers.clone())?;
    if from > replay.end_of_files() {
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
    replay.run(from, &mut ledger)?;
    report.replayed = replay.records;
    report.damaged = replay.damaged;
    report.shortened |= replay.is_shortened;
    report.torn_tail = replay.torn.take();
    report.index = match (why, &index) {
        (Some(why), Some(_)) => IndexReport::Rebuilt { why },
        (Some(why), None) => IndexReport::Absent { why },
        (None, _) => IndexReport::Opened,
    };
    let ids: Vec<SessionId> = ledger.sessions.keys().copied().collect();
    ids.into_iter().for_each(|id| ledger.announce(id));
    let (segment, at, marked) = replay.end()?;
    report.shortened |= is_blank_before(&segment, from);
    rewrite_tail(&segment, replay.synced.max(from), at)
        .map_err(|error| failed("writing the end of the log anew", error))?;
    segment.file.sync_all().map_err(|error| failed("syncing the log", error))?;
    let size = segment.file.metadata().map_err(|error| failed("reading the log", error))?.len();
    ledger.applied = segment.base + u64::from(at);
    if replay.damaged == 0 {
        sweep_blobs(folder, &ledger, index.as_ref());
    }
    // A log that was closed and not written to since ends with its mark, which the replay begins behind.
    let marked = if ends_with_mark(&segment, at) { ledger.applied } else { marked };
    let ready = u32::try_from(size).unwrap_or(at).max(at);
    Ok(Recovered { ledger, index, segment, at, ready, marked, report })
}

fn ends_with_mark(segment: &Segment, at: u32) -> bool {
    let mut mark = super::writer::mark_frame(0);
    let from = u64::from(at).saturating_sub(mark.len() as u64);
    let is_read = from >= u64::from(SEGMENT_HEADER) && segment.file.read_exact_at(&mut mark, from).is_ok();
    is_read && frame::read(&mark).is_ok_and(|frame| frame.header.kind == MARK)
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
fn rewrite_tail(segment: &Segment, synced: u64, at: u32) -> std::io::Result<()> {
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
    for Loaded { session, row, words } in contents.sessions {
        ledger.sessions.insert(session, LogState::indexed(row, words));
    }
    ledger
}

/// A segment whose making was cut short holds nothing of the log.
fn drop_unborn(folder: &Folder, number: u32) -> Result<bool, StoreError> {
    let path = segment::path_of(&folder.log(), number);
    let bytes = fs::read(&path).map_err(|error| failed("reading the log", error))?;
    if let Head::Newer(format) = segment::head_of(&bytes, number) {
        return Err(segment::newer(format));
    }
    let unborn = segment::base_of(&bytes, number, folder.id).is_none()
        && Scan::new(&bytes, 0).all(|found| matches!(found, Found::Damage(..)))
        && bytes.get(SEGMENT_HEADER as usize..).unwrap_or_default().iter().all(|byte| *byte == 0);
    if unborn {
        fs::rename(&path, folder.aside(&format!("unborn-{number:08}")))
            .map_err(|error| failed("setting an unfinished segment aside", error))?;
        folder::sync_dir(&folder.log())?;
    }
    Ok(unborn)
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
    if core.index.read().unwrap_or_else(PoisonError::into_inner).is_none() {
        return;
    }
    let learnt = segment::numbers(&core.folder.log()).and_then(|numbers| {
        let mut replay = Replay::new(&core.folder, numbers)?;
        replay.is_live = true;
        let mut ledger = Ledger::default();
        replay.run(0, &mut ledger)?;
        Ok(ledger)
    });
    let mut learnt = match learnt {
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
    for (session, log) in &mut ledger.sessions {
        let Some(mut whole) = learnt.sessions.remove(session) else { continue };
        let known = usize::try_from(log.flushed + 1 - log.row.first).unwrap_or(0);
        whole.recent.truncate(known);
        whole.recent.append(&mut log.recent);
        log.recent = whole.recent;
        let flushed = log.flushed;
        whole.claims.retain(|(_, claim)| claim.version <= flushed);
        log.claims.append(&mut whole.claims);
        whole.new_blobs.retain(|(seq, _)| *seq <= flushed);
        log.new_blobs.append(&mut whole.new_blobs);
        log.new_key = whole.new_key.or(log.new_key);
        log.flushed = log.row.first - 1;
        log.runs = None;
        log.indexed = None;
        log.indexed_words = None;
    }
    ledger.recent_records = ledger.sessions.values().map(|log| log.recent.len()).sum();
    ledger.mark_all();
    let failed = slot.take();
    drop((ledger, slot));
    // The engine may be beyond closing; what it holds is thrown away all the same.
    let _ = failed.map(Index::close);
    let _ = move_index(&core.folder);
}

struct File {
    number: u32,
    base: u64,
    length: u64,
    /// A repair says in it that what followed is lost.
    is_marked: bool,
}

/// Whether a segment is one that a repair put in the place of a missing one: it holds one frame that says so, and nothing else.
fn ends_with_loss(file: &fs::File, length: u64) -> bool {
    let mut frame = [0; frame::HEADER];
    length == u64::from(SEGMENT_HEADER) + frame.len() as u64
        && file.read_exact_at(&mut frame, u64::from(SEGMENT_HEADER)).is_ok()
        && frame::read(&frame).is_ok_and(|frame| frame.header.kind == FILLER && frame.header.flags & REPAIR != 0)
}

/// Reads the log into a ledger.
struct Replay<'a> {
    folder: &'a Folder,
    files: Vec<File>,
    records: u64,
    damaged: u64,
    /// Segments or ends of segments are missing.
    is_shortened: bool,
    synced: u64,
    marked: u64,
    torn: Option<TornTail>,
    /// Records that damaged headers speak of.
    hints: Vec<(SessionId, u64)>,
    /// End of the frames of the last segment.
    end: u32,
    /// A running store reads its own log: nothing is set aside, and the end may be half written.
    is_live: bool,
}

impl<'a> Replay<'a> {
    fn new(folder: &'a Folder, numbers: Vec<u32>) -> Result<Self, StoreError> {
        let mut files: Vec<File> = Vec::new();
        let mut damaged = 0;
        for number in numbers {
            let path = segment::path_of(&folder.log(), number);
            let file = fs::File::open(path).map_err(|error| failed("opening a segment of the log", error))?;
            let length = file.metadata().map_err(|error| failed("reading the log", error))?.len();
            let mut head = [0; SEGMENT_HEADER as usize];
            let read = file.read_exact_at(&mut head, 0).is_ok();
            if let (true, Head::Newer(format)) = (read, segment::head_of(&head, number)) {
                return Err(segment::newer(format));
            }
            // A damaged header costs nothing: the segment begins where the one before it ends.
            let (last, before) = files.last().map_or((0, 0), |file: &File| (file.number, file.base + file.length));
            let base = segment::base_of(&head, number, folder.id).filter(|_| read).unwrap_or(before);
            // A repair puts segments in the place of missing ones, which say that what followed them is lost.
            let is_marked = files.last().is_some_and(|file| file.is_marked);
            damaged += u64::from(number > last + 1 || (base > before && !is_marked));
            let is_marked = ends_with_loss(&file, length);
            files.push(File { number, base, length, is_marked });
        }
        let (records, synced, marked, end, is_shortened) = (0, 0, 0, SEGMENT_HEADER, damaged > 0);
        let (torn, hints) = (None, Vec::new());
        Ok(Self { folder, files, records, damaged, is_shortened, synced, marked, torn, hints, end, is_live: false })
    }

    fn end_of_files(&self) -> u64 {
        self.files.last().map_or(0, |file| file.base + file.length)
    }

    fn end(&self) -> Result<(Segment, u32, u64), StoreError> {
        let last = self.files.last().ok_or(StoreError::Closed)?;
        Ok((Segment::open(&self.folder.log(), last.number, last.base)?, self.end, self.marked))
    }

    fn run(&mut self, from: u64, ledger: &mut Ledger) -> Result<(), StoreError> {
        let count = self.files.len();
        for at in 0..count {
            let Some(file) = self.files.get(at) else { break };
            let is_last = at + 1 == count;
            let next_base = self.files.get(at + 1).map_or(u64::MAX, |next| next.base);
            if next_base <= from && !is_last {
                continue;
            }
            let (number, base) = (file.number, file.base);
            let path = segment::path_of(&self.folder.log(), number);
            let bytes = fs::read(path).map_err(|error| failed("reading the log", error))?;
            let start = from.saturating_sub(base).max(u64::from(SEGMENT_HEADER));
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
            self.segment(&bytes, start, number, base, is_last, ledger)?;
        }
        self.hint(ledger);
        Ok(())
    }

    fn segment(
        &mut self,
        bytes: &[u8],
        start: usize,
        number: u32,
        base: u64,
        is_last: bool,
        ledger: &mut Ledger,
    ) -> Result<(), StoreError> {
        let mut scan = Scan::new(bytes, start);
        let found: Vec<Found<'_>> = scan.by_ref().collect();
        if let Some(format) = Found::newer(&found) {
            return Err(segment::newer(u32::from(format)));
        }
        let synced = found.iter().filter_map(|found| match found {
            Found::Frame(_, frame) => frame.trailer.map(|trailer| trailer.synced),
            Found::Damage(..) | Found::Newer(_) => None,
        });
        self.synced = synced.max().unwrap_or(0).max(self.synced);
        self.end = u32::try_from(scan.position()).unwrap_or(u32::MAX);
        let mut append: Vec<(usize, Frame<'_>)> = Vec::new();
        for found in found {
            match found {
                Found::Newer(_) => {}
                Found::Damage(from, _) if is_last && base + from as u64 >= self.synced => {
                    let from = append.first().map_or(from, |(at, _)| *at);
                    return self.tear(bytes, from, number);
                }
                Found::Damage(from, _) => {
                    self.damaged += 1;
                    // Whole frames of a broken append were acknowledged: they stay.
                    append.drain(..).for_each(|(at, frame)| self.record(ledger, number, at, &frame));
                    let header = bytes.get(from..).and_then(frame::header);
                    self.hints.extend(header.map(|header| (header.session, header.seq)));
                }
                Found::Frame(at, frame) if frame.header.kind == MARK || frame.header.kind == FILLER => {
                    if frame.header.kind == MARK {
                        self.marked = base + (at + frame.length) as u64;
                    }
                }
                Found::Frame(at, frame) => {
                    let ends = frame.is_last();
                    append.push((at, frame));
                    if ends {
                        append.drain(..).for_each(|(at, frame)| self.record(ledger, number, at, &frame));
                    }
                }
            }
        }
        match append.first().map(|(at, _)| *at) {
            Some(from) if is_last && base + from as u64 >= self.synced => self.tear(bytes, from, number),
            _ => {
                append.drain(..).for_each(|(at, frame)| self.record(ledger, number, at, &frame));
                Ok(())
            }
        }
    }

    /// Sets an unfinished write at the end aside: copies it away and lays zeros over it.
    fn tear(&mut self, bytes: &[u8], from: usize, number: u32) -> Result<(), StoreError> {
        self.end = u32::try_from(from).unwrap_or(u32::MAX);
        if self.is_live {
            return Ok(());
        }
        let rest = bytes.get(from..).unwrap_or_default();
        let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let torn = rest.get(..written).unwrap_or_default();
        let aside = self.folder.aside(&format!("torn-{number:08}-{from}"));
        // The copy is on the disk, with its name, before anything is laid over what it is a copy of.
        let keep = || {
            let mut file = folder::private().write(true).create_new(true).open(&aside)?;
            file.write_all(torn)?;
            file.sync_all()
        };
        let kept = keep().is_ok() && folder::sync_dir(&self.folder.quarantine()).is_ok();
        let kept_at = kept.then_some(aside);
        let segment = Segment::open(&self.folder.log(), number, 0)?;
        let (from32, to) = (self.end, u32::try_from(from + written).unwrap_or(u32::MAX));
        segment::fill(&segment.file, from32, to)
            .and_then(|()| segment.file.sync_all())
            .map_err(|error| failed("setting an unfinished write aside", error))?;
        self.torn = Some(TornTail { segment: number, offset: from as u64, bytes: written as u64, kept_at });
        Ok(())
    }

    /// The header of a damaged frame may still tell which record it was. That only ever marks the end of a log as damaged, and only
    /// once the whole log is read: a header may be damaged too, and must not stand in for a whole record.
    fn hint(&mut self, ledger: &mut Ledger) {
        for (session, seq) in std::mem::take(&mut self.hints) {
            let Some(log) = ledger.sessions.get_mut(&session).filter(|log| log.row.version + 1 == seq) else {
                continue;
            };
            log.recent.push_back(Place::Disk(Locator::LOST));
            ledger.recent_records += 1;
            advance(log, seq);
            ledger.mark(session);
        }
    }

    /// A record takes the place of one before it in the log that was lost.
    fn stand_in(ledger: &mut Ledger, frame: &Frame<'_>, locator: Locator) {
        let header = frame.header;
        ledger.mark(header.session);
        let Some(log) = ledger.sessions.get_mut(&header.session) else { return };
        if let Some(place) = log.recent_mut(header.seq) {
            *place = Place::Disk(locator);
        }
        if header.seq == log.row.version {
            log.row.commit = header.commit;
        }
        for (tag, field) in frame.fields() {
            match tag {
                // What stands for an older record does not know of newer words.
                WORDS if log.words.is_none() || header.seq == log.row.version => {
                    log.words = Some(Bytes::copy_from_slice(field));
                    log.synced_words.clone_from(&log.words);
                }
                KEY => {
                    let digest: Option<Digest> = field.try_into().ok();
                    log.new_key = digest.or(log.new_key);
                    ledger.keys.extend(digest.map(|digest| (digest, header.session)));
                }
                _ => {}
            }
        }
    }

    fn record(&mut self, ledger: &mut Ledger, segment: u32, at: usize, frame: &Frame<'_>) {
        let header = frame.header;
        let locator = Locator {
            segment,
            offset: u32::try_from(at).unwrap_or(u32::MAX),
            length: u32::try_from(frame.length).unwrap_or(u32::MAX),
            kind: header.kind,
            label: header.label,
        };
        // A log whose beginning is damaged is taken to begin at 1, so that reading it says what is missing.
        let first = if header.flags & FIRST != 0 { header.seq } else { 1 };
        let log = ledger.sessions.entry(header.session).or_insert_with(|| LogState::new(first));
        if header.seq <= log.row.version {
            // The index holds it already, or it stands for one that was lost.
            if header.flags & REPAIR != 0 {
                Self::stand_in(ledger, frame, locator);
            }
            return;
        }
        self.records += 1;
        ledger.mark(header.session);
        let Some(log) = ledger.sessions.get_mut(&header.session) else { return };
        while log.row.version + 1 < header.seq {
            let lost = log.row.version + 1;
            log.recent.push_back(Place::Disk(Locator::LOST));
            ledger.recent_records += 1;
            advance(log, lost);
        }
        log.recent.push_back(Place::Disk(locator));
        ledger.recent_records += 1;
        log.row.commit = header.commit;
        advance(log, header.seq);
        if header.flags & BLOB != 0
            && let Some(hash) = frame.body.first_chunk::<32>()
        {
            log.new_blobs.push((header.seq, *hash));
        }
        // What a repair wrote does not know how the session stood, but where nothing of it was left.
        let knows = header.flags & REPAIR == 0 || header.kind == Kind::CREATED;
        if let Some(trailer) =
            frame.trailer.filter(|trailer| knows && (trailer.updated != 0 || header.flags & REPAIR == 0))
        {
            log.row.updated = trailer.updated;
            log.row.messages = u64::from(trailer.messages);
            if log.row.created == 0 {
                log.row.created = trailer.updated;
            }
        }
        for (tag, field) in frame.fields() {
            match tag {
                WORDS => {
                    log.words = Some(Bytes::copy_from_slice(field));
                    log.synced_words.clone_from(&log.words);
                }
                KEY => {
                    let digest: Option<Digest> = field.try_into().ok();
                    log.new_key = digest;
                    ledger.keys.extend(digest.map(|digest| (digest, header.session)));
                }
                CLAIM => {
                    let claim =
                        field.split_first_chunk::<32>().and_then(|(key, rest)| Some((*key, parse_claim(rest)?)));
                    log.claims.extend(claim);
                }
                _ => {}
            }
        }
    }
}

fn advance(log: &mut LogState, version: u64) {
    log.row.version = version;
    log.queued = version;
    log.written = version;
    log.synced = version;
}

/// Sets large bodies aside that no record names: their append was never finished, as far as this log tells. They are not deleted, because
/// a segment that is missing now may come back. Files that were never renamed into place are.
fn sweep_blobs(folder: &Folder, ledger: &Ledger, index: Option<&Index>) {
    let recent: HashSet<String> =
        ledger.sessions.values().flat_map(|log| &log.new_blobs).map(|(_, hash)| chain::to_hex(hash)).collect();
    let Ok(folders) = fs::read_dir(folder.blobs()) else { return };
    let files = folders.flatten().filter_map(|entry| fs::read_dir(entry.path()).ok()).flatten().flatten();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let hash: Option<[u8; 32]> = chain::from_hex(&name).and_then(|bytes| bytes.try_into().ok());
        let is_named = match (hash, index) {
            (Some(_), _) if recent.contains(&name) => true,
            (Some(hash), Some(index)) => index.knows_blob(hash).unwrap_or(true),
            (Some(_), None) => false,
            (None, _) => !name.ends_with(".new"),
        };
        if hash.is_none() && !is_named {
            let _ = fs::remove_file(file.path());
        } else if !is_named {
            let _ = fs::rename(file.path(), folder.quarantine().join(&name));
        }
    }
}
