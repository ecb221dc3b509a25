//! Reading the log into a ledger: which records there are and where, what is damaged, and where an unfinished write begins.
//!
//! Must not know: the index.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
};

use bytes::Bytes;
use sessions_domain::{Event, Kind, SessionId, codec};
use sessions_ports::{Digest, Link, StoreError};

use super::{
    MAX_COMMIT_BYTES,
    folder::{self, Folder, failed},
    frame::{
        self, BLOB, CLAIM, FILLER, FIRST, Found, Frame, FrameHeader, KEY, LINK, MARK, REMOVED, REPAIR, REWRITE,
        REWRITTEN, STRIPPED, Scan, WORDS,
    },
    graves::Grave,
    index::parse_claim,
    ledger::Ledger,
    locator::Locator,
    log_state::{LogState, Place},
    recovery::TornTail,
    roots::Trail,
    segment::{self, Head, SEGMENT_HEADER, Segment},
    stand_ins::stand_ins,
    stood_for::{self, BesideFirst},
};

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
pub(crate) struct Replay<'a> {
    folder: &'a Folder,
    files: Vec<File>,
    pub(crate) records: u64,
    pub(crate) damaged: u64,
    /// Segments or ends of segments are missing.
    pub(crate) is_shortened: bool,
    pub(crate) synced: u64,
    marked: u64,
    pub(crate) torn: Option<TornTail>,
    /// Records that damaged headers speak of.
    hints: Vec<(SessionId, u64)>,
    /// Where sessions begin whose beginnings a repair wrote anew, behind what follows them.
    firsts: HashMap<SessionId, u64>,
    /// Sessions whose beginnings were not met, and where rewritten records say that sessions begin.
    assumed: HashSet<SessionId>,
    begun: HashMap<SessionId, u64>,
    /// End of the frames of the last segment.
    end: u32,
    /// Position behind the last frame that is no filler.
    reached: u64,
    /// A running store reads its own log: nothing is set aside, and the end may be half written.
    pub(crate) is_live: bool,
    /// What the log tells of keyed roots.
    pub(crate) trail: Trail,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(folder: &'a Folder, numbers: Vec<u32>) -> Result<Self, StoreError> {
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
        let (torn, hints, firsts, reached, is_live) = (None, Vec::new(), HashMap::new(), 0, false);
        Ok(Self {
            folder,
            files,
            records,
            damaged,
            is_shortened,
            synced,
            marked,
            torn,
            hints,
            firsts,
            assumed: HashSet::new(),
            begun: HashMap::new(),
            end,
            reached,
            is_live,
            trail: Trail::default(),
        })
    }

    /// Whether the files of the log end before a position. Zeros behind the base of the next segment are none of it.
    pub(crate) fn ends_before(&self, position: u64) -> Result<bool, StoreError> {
        for (at, file) in self.files.iter().enumerate() {
            if position > file.base + file.length {
                continue;
            }
            match self.files.get(at + 1) {
                Some(next) if next.base < position && !self.holds(file, next.base.saturating_sub(file.base))? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether anything but zeros stands in a segment, from an offset on.
    fn holds(&self, file: &File, from: u64) -> Result<bool, StoreError> {
        let bytes = self.bytes(file.number)?;
        let rest = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(rest.iter().any(|byte| *byte != 0))
    }

    /// The last segment, if its making was refused and its file is there again, as a power cut can leave it: it holds nothing, and the log
    /// went on in the one before it.
    pub(super) fn refused(&self) -> Result<Option<u32>, StoreError> {
        let [.., before, last] = self.files.as_slice() else { return Ok(None) };
        let is_within = last.base < before.base + before.length;
        let behind = last.base.saturating_sub(before.base).max(u64::from(SEGMENT_HEADER));
        let is_refused = is_within && !self.holds(last, u64::from(SEGMENT_HEADER))? && self.holds(before, behind)?;
        Ok(is_refused.then_some(last.number))
    }

    fn bytes(&self, number: u32) -> Result<Vec<u8>, StoreError> {
        fs::read(segment::path_of(&self.folder.log(), number)).map_err(|error| failed("reading the log", error))
    }

    pub(crate) fn end(&self) -> Result<(Segment, u32, u64), StoreError> {
        let last = self.files.last().ok_or(StoreError::Closed)?;
        Ok((Segment::open(&self.folder.log(), last.number, last.base)?, self.end, self.marked))
    }

    pub(crate) fn run(&mut self, from: u64, ledger: &mut Ledger) -> Result<(), StoreError> {
        self.firsts = self.begun_anew(from)?;
        let count = self.files.len();
        for at in 0..count {
            let Some(file) = self.files.get(at) else { break };
            let is_last = at + 1 == count;
            let next_base = self.files.get(at + 1).map_or(u64::MAX, |next| next.base);
            // Where the next segment begins before the end of this one, a position may mean either.
            let known = from.min(next_base);
            let (number, base) = (file.number, file.base);
            if base + file.length <= known && !is_last {
                continue;
            }
            let bytes = self.bytes(number)?;
            let lies_over = base < self.reached;
            self.damaged += u64::from(lies_over);
            let known = if lies_over { base } else { known };
            let start = known.saturating_sub(base).max(u64::from(SEGMENT_HEADER));
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
            self.segment(&bytes, start, number, base, is_last, ledger)?;
        }
        self.hint(ledger);
        self.begin(ledger);
        Ok(())
    }

    /// Where sessions begin whose beginnings a repair wrote anew. What stands in an unfinished write is to be set aside, and stands for nothing.
    fn begun_anew(&self, synced: u64) -> Result<HashMap<SessionId, u64>, StoreError> {
        let numbers: Vec<u32> = self.files.iter().map(|file| file.number).collect();
        let look = |unfinished| {
            let mut firsts = HashMap::new();
            let found = stand_ins(self.folder, &numbers, unfinished, |frame| {
                if frame.header.flags & FIRST != 0 {
                    firsts.insert(frame.header.session, frame.header.seq);
                }
            })?;
            Ok::<_, StoreError>((firsts, found))
        };
        let (firsts, stand_ins) = look(None)?;
        let at_end = self.files.last().filter(|last| stand_ins.values().any(|one| one.segment == last.number));
        let Some(last) = at_end else { return Ok(firsts) };
        let bytes = self.bytes(last.number)?;
        let found: Vec<Found<'_>> = Scan::new(&bytes, SEGMENT_HEADER as usize).collect();
        let synced = Found::synced(&found, last.base).max(synced);
        match Found::unfinished(&found, last.base, synced) {
            Some(at) => Ok(look(Some((last.number, at)))?.0),
            None => Ok(firsts),
        }
    }

    /// A session whose own beginning is gone, because nobody needs it any more, begins with what it adopted.
    fn begin(&self, ledger: &mut Ledger) {
        for (session, first) in self.begun.iter().filter(|(session, _)| self.assumed.contains(*session)) {
            // A number beyond the session's end was not believed where it stands either.
            let begins_later = |log: &&mut LogState| (log.row.first + 1..=log.row.version).contains(first);
            let Some(log) = ledger.sessions.get_mut(session).filter(begins_later) else { continue };
            let before = usize::try_from(first - log.row.first).unwrap_or(0).min(log.recent.len());
            log.recent.drain(..before);
            ledger.recent_records = ledger.recent_records.saturating_sub(before);
            log.flushed = first - 1;
            log.begin_at(*first);
        }
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
        let mut found: Vec<Found<'_>> = scan.by_ref().collect();
        let is_between = matches!(found.first(), Some(Found::Damage(at, _)) if *at == start)
            && Scan::new(bytes, SEGMENT_HEADER as usize).all(|found| found.at() != Some(start));
        if is_between {
            // The position was another log's: in this one no frame begins there, and what is whole is not to be taken for damage.
            found = Scan::new(bytes, SEGMENT_HEADER as usize).collect();
            // Or it was this one's, and damage lies over it: then what that began with was synced, and is no unfinished write.
            let is_over = |found: &Found<'_>| matches!(found, Found::Damage(from, to) if *from < start && start < *to);
            if found.iter().any(is_over) {
                self.synced = self.synced.max(base + start as u64);
            }
        }
        if let Some(format) = Found::newer(&found) {
            return Err(segment::newer(u32::from(format)));
        }
        self.synced = Found::synced(&found, base).max(self.synced);
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
                    self.append(ledger, (number, base), &mut append);
                    let header = bytes.get(from..).and_then(frame::header);
                    self.hints.extend(header.map(|header| (header.session, header.seq)));
                }
                Found::Frame(_, frame) if frame.header.kind == FILLER => {}
                Found::Frame(at, frame) if frame.header.kind == MARK => {
                    // Behind the filler of a repair, which lies over the end of an append, that ends here.
                    self.append(ledger, (number, base), &mut append);
                    self.trail.mark(&frame, base + at as u64);
                    self.marked = base + (at + frame.length) as u64;
                    self.reached = self.marked;
                }
                Found::Frame(at, frame) => {
                    let ends = frame.is_last();
                    self.reached = base + (at + frame.length) as u64;
                    append.push((at, frame));
                    if ends {
                        self.append(ledger, (number, base), &mut append);
                    }
                }
            }
        }
        match append.first().map(|(at, _)| *at) {
            Some(from) if is_last && base + from as u64 >= self.synced => self.tear(bytes, from, number),
            _ => {
                self.append(ledger, (number, base), &mut append);
                Ok(())
            }
        }
    }

    /// The frames of an append in the segment with this number and base, as far as they are whole.
    fn append(&mut self, ledger: &mut Ledger, (number, base): (u32, u64), frames: &mut Vec<(usize, Frame<'_>)>) {
        if let Some((at, last)) = frames.last() {
            self.trail.append(last, base + *at as u64, ledger);
        }
        frames.drain(..).for_each(|(at, frame)| self.record(ledger, number, at, &frame));
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

    /// A session was removed. What that means for its records shows when the whole log is read.
    fn removal(&mut self, ledger: &mut Ledger, frame: &Frame<'_>) {
        let field = frame.fields().find(|(tag, _)| *tag == KEY).and_then(|(_, field)| field.try_into().ok());
        let grave = || Grave::known(frame.header.seq, field);
        ledger.graves.entry(frame.header.session).or_insert_with(grave);
    }

    /// Another payload for a record that was met before, or one that was inherited. False: nothing else is left of it.
    fn rewritten(&mut self, ledger: &mut Ledger, segment: u32, at: usize, frame: &Frame<'_>) -> bool {
        let FrameHeader { session, seq, flags, .. } = frame.header;
        if flags & FIRST != 0 {
            let first = self.begun.entry(session).or_insert(seq);
            *first = seq.min(*first);
        }
        // A repair wrote the beginning anew behind what the session had made its own.
        if let Some(first) = self.firsts.get(&session).filter(|first| seq < **first) {
            ledger.sessions.entry(session).or_insert_with(|| LogState::new(*first));
        }
        let Some(log) = ledger.sessions.get(&session).filter(|log| seq <= log.row.version) else { return false };
        if !frame::can_be_missing(log.row.first.saturating_sub(seq), self.reached) {
            self.damaged += 1;
            return true;
        }
        self.records += 1;
        // Of one that was rewritten again only what it changed of the session is left.
        if frame.header.flags & STRIPPED == 0 {
            let adopted = if seq < log.row.first { payload_bytes(frame) } else { 0 };
            let body = frame.body.first_chunk::<32>().filter(|_| frame.header.flags & BLOB != 0);
            ledger.replayed(session, seq, Locator::of(segment, at, frame), body);
            ledger.sessions.get_mut(&session).into_iter().for_each(|log| log.row.bytes += adopted);
        }
        match BesideFirst::of(frame) {
            Some(beside) if self.assumed.contains(&session) => beside.stand_in(ledger, session),
            Some(beside) => beside.let_go(ledger, session),
            None => {}
        }
        let Some(log) = ledger.sessions.get_mut(&session) else { return true };
        let said = frame.fields().find(|(tag, _)| *tag == REWRITE).and_then(|(_, field)| frame::rewrite(field));
        if let Some((version, owners)) = said {
            let words = frame.fields().find(|(tag, _)| *tag == WORDS).map(|(_, words)| Bytes::copy_from_slice(words));
            // Where the session is known to have gone on, its words are those of then.
            if words.is_some() && log.row.version <= version {
                log.words.clone_from(&words);
                log.synced_words = words;
            }
            log.links.retain(|link| !owners.contains(&link.owner));
            if !owners.is_empty() {
                ledger.rewrites.unlinked.insert(session);
            }
        }
        ledger.mark(session);
        true
    }

    fn record(&mut self, ledger: &mut Ledger, segment: u32, at: usize, frame: &Frame<'_>) {
        let header = frame.header;
        if header.kind == REMOVED {
            return self.removal(ledger, frame);
        }
        if header.flags & REWRITTEN != 0 && self.rewritten(ledger, segment, at, frame) {
            return;
        }
        let locator = Locator::of(segment, at, frame);
        // A log whose beginning is damaged is taken to begin at 1, so that reading it says what is missing.
        let begun = self.firsts.get(&header.session).copied().unwrap_or(1);
        let first = if header.flags & FIRST != 0 { header.seq } else { begun };
        if header.flags & FIRST == 0 && !ledger.sessions.contains_key(&header.session) {
            self.assumed.insert(header.session);
        }
        let known = ledger.sessions.get(&header.session).map_or(first.saturating_sub(1), |log| log.row.version);
        let missing = header.seq.saturating_sub(known).saturating_sub(1);
        if !frame::can_be_missing(missing, self.reached) {
            self.damaged += 1;
            return;
        }
        let log = ledger.sessions.entry(header.session).or_insert_with(|| LogState::new(first));
        if header.seq <= log.row.version {
            // The index holds it already, or it stands for one that was lost.
            if header.flags & REPAIR != 0 {
                stood_for::stand_in(ledger, frame, locator);
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
        log.row.bytes += payload_bytes(frame);
        advance(log, header.seq);
        if header.flags & (FIRST | REWRITTEN) == FIRST && header.seq > 1 {
            log.links = inherited(frame);
        }
        if header.flags & BLOB != 0
            && let Some(hash) = frame.body.first_chunk::<32>()
        {
            log.new_blobs.push((header.seq, *hash));
        }
        // What a repair wrote does not know how the session stood, but where nothing of it was left.
        let is_repaired = header.flags & REPAIR != 0 && header.kind != Kind::CREATED;
        let knows = header.flags & REWRITTEN == 0 && !is_repaired;
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
                    log.key = digest.map(Box::new);
                    ledger.keys.extend(digest.map(|digest| (digest, header.session)));
                }
                CLAIM => {
                    let claim =
                        field.split_first_chunk::<32>().and_then(|(key, rest)| Some((*key, parse_claim(rest)?)));
                    log.claims.extend(claim);
                }
                // Those of a first append of several records, which stand behind its last one.
                LINK => {
                    let is_new = |link: &Link| !log.links.contains(link);
                    log.links.extend(frame::link(field).filter(is_new));
                }
                _ => {}
            }
        }
        if header.flags & REPAIR != 0 {
            stood_for::recalled(ledger, frame);
        }
        // It is all that is left of the record.
        if header.flags & REWRITTEN != 0
            && let Some(beside) = BesideFirst::of(frame)
        {
            beside.stand_in(ledger, header.session);
        }
    }
}

/// Bytes of a record's payload, wherever that stands.
pub(super) fn payload_bytes(frame: &Frame<'_>) -> u64 {
    let named = (frame.header.flags & BLOB != 0).then(|| frame.body.get(32..40)).flatten();
    let stripped = (frame.header.flags & STRIPPED != 0).then_some(frame.body);
    let length = named.or(stripped).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    // A frame that says more than any append may have was never written, whatever its checksum says.
    length.filter(|length| *length <= MAX_COMMIT_BYTES).unwrap_or(frame.body.len() as u64)
}

/// What a log inherits, as its first frame says. Those of early versions say it in their body only.
pub(super) fn inherited(frame: &Frame<'_>) -> Vec<Link> {
    let fields: Vec<Link> =
        frame.fields().filter(|(tag, _)| *tag == LINK).filter_map(|(_, field)| frame::link(field)).collect();
    if !fields.is_empty() {
        return fields;
    }
    match frame.body.get(32..).and_then(|body| codec::decode(frame.header.kind, body).ok()) {
        Some((Event::Created(created), _)) => {
            let owners = created.fork.into_iter().flat_map(|fork| fork.owners);
            owners.map(|(owner, last)| Link { owner, last }).collect()
        }
        _ => Vec::new(),
    }
}

fn advance(log: &mut LogState, version: u64) {
    log.row.version = version;
    log.queued = version;
    log.written = version;
    log.synced = version;
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use sessions_ports::{Commit, Durability, KindFilter, Order, ReadRange, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{
        Severity, SledOptions, SledStore,
        frame::{FrameHeader, Trailer},
        repair, verify,
    };

    async fn open(path: &Path) -> SledStore {
        SledStore::open(path, SledOptions::default()).await.unwrap()
    }

    async fn written(path: &Path, script: &mut Script, texts: &[&str]) {
        let store = open(path).await;
        for text in texts {
            store.commit(Commit { durability: Durability::Disk, ..script.say(text) }).await.unwrap();
        }
        store.close().await.unwrap();
    }

    async fn holds(store: &SledStore, script: &Script) {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: 1, to: 99, order, kinds, max_records: 99, max_bytes: 1 << 20 };
        assert_eq!(store.read(script.session(), range).await.unwrap().records, script.written());
    }

    /// What is told of the log, and not of what its records say.
    fn about_log(path: &Path) -> Vec<(Severity, String)> {
        let found = verify(path).unwrap().findings.into_iter().filter(|found| found.session.is_none());
        found.map(|found| (found.severity, found.what)).collect()
    }

    #[tokio::test]
    async fn a_number_that_no_log_of_this_length_comes_to_is_not_believed_and_fills_no_memory() {
        for seq in [1 << 20, 1 << 40, frame::SEQ_BOUND - 1] {
            let ground = TempDir::new().unwrap();
            let path = ground.path().join("store");
            let mut script = Script::new(1);
            written(&path, &mut script, &["a", "b"]).await;
            fs::remove_dir_all(path.join("index")).unwrap();
            let segment = path.join("log/00000001.seg");
            let mut log = fs::read(&segment).unwrap();
            let (session, commit) = (script.session(), script.tip());
            let header = FrameHeader { kind: Kind::APPENDED, flags: 0, session, seq, label: 0, commit };
            let trailer = Trailer { updated: 0, messages: 1, synced: log.len() as u64 };
            frame::write(&mut log, &header, &[0; 40], Some(trailer), &[]);
            fs::write(&segment, log).unwrap();

            let found: Vec<_> = verify(&path).unwrap().findings.into_iter().filter_map(|found| found.seq).collect();
            assert!(found.contains(&seq), "{found:?}");
            repair(&path, false).unwrap();
            let store = open(&path).await;
            assert_eq!(store.report().damaged, 1);
            holds(&store, &script).await;
            store.commit(script.say("and on")).await.unwrap();
            store.close().await.unwrap();
        }
    }

    /// A store whose index knows half of its log, and a second segment that begins where the index ends. It was made and refused, the log
    /// went on in the first one, and then the power cut brought its file back.
    async fn with_ghost(ground: &TempDir, bytes: u32) -> (PathBuf, Script, Segment) {
        let path = ground.path().join("store");
        let mut script = Script::new(1);
        written(&path, &mut script, &["a", "b"]).await;
        let base = fs::metadata(path.join("log/00000001.seg")).unwrap().len();
        let (index, kept) = (path.join("index"), ground.path().join("kept"));
        fs::rename(&index, &kept).unwrap();
        let copied = std::process::Command::new("cp").arg("-a").args([&kept, &index]).status();
        assert!(copied.unwrap().success());
        written(&path, &mut script, &["c", "d"]).await;
        fs::remove_dir_all(&index).unwrap();
        fs::rename(&kept, &index).unwrap();
        let folder = Folder::existing(&path).unwrap();
        let ghost = Segment::create(&folder.log(), 2, base, folder.id, bytes).unwrap();
        (path, script, ghost)
    }

    #[tokio::test]
    async fn a_refused_segment_that_comes_back_hides_nothing_and_is_set_aside() {
        for bytes in [SEGMENT_HEADER, 9_000] {
            for is_repaired in [false, true] {
                let ground = TempDir::new().unwrap();
                let (path, mut script, _) = with_ghost(&ground, bytes).await;
                let told = about_log(&path);
                assert!(
                    matches!(told.as_slice(), [(Severity::Warning, what)] if what.starts_with("the segment was never used")),
                    "{told:?}"
                );
                if is_repaired {
                    repair(&path, false).unwrap();
                    assert_eq!(about_log(&path), []);
                }
                let store = open(&path).await;
                assert_eq!((store.report().damaged, store.report().shortened), (0, false));
                holds(&store, &script).await;
                store.commit(Commit { durability: Durability::Disk, ..script.say("e") }).await.unwrap();
                store.close().await.unwrap();
                drop(store);
                assert!(!path.join("log/00000002.seg").exists());
                let kept = fs::read(path.join("quarantine/unborn-00000002.0")).unwrap();
                assert_eq!(kept.len(), bytes as usize);
                assert_eq!(about_log(&path), []);
                let store = open(&path).await;
                assert!(store.report().is_quiet());
                holds(&store, &script).await;
            }
        }
    }

    #[tokio::test]
    async fn segments_that_lie_over_each_other_are_damage_and_are_read_nevertheless() {
        for is_broken_off in [false, true] {
            lie_over_each_other(is_broken_off).await;
        }
    }

    /// `is_broken_off`: the last step of the repair never reached the disk, so the index still names places of the log before it.
    async fn lie_over_each_other(is_broken_off: bool) {
        let ground = TempDir::new().unwrap();
        let (path, mut script, ghost) = with_ghost(&ground, SEGMENT_HEADER).await;
        let (elsewhere, mut other) = (ground.path().join("other"), Script::new(2));
        written(&elsewhere, &mut other, &["x", "y"]).await;
        let frames = fs::read(elsewhere.join("log/00000001.seg")).unwrap();
        ghost.file.write_all_at(&frames[SEGMENT_HEADER as usize..], u64::from(SEGMENT_HEADER)).unwrap();
        for _ in 0..2 {
            let told = about_log(&path);
            assert!(
                matches!(told.as_slice(), [(Severity::Error, what)] if what.starts_with("the segment begins")),
                "{told:?}"
            );
            let store = open(&path).await;
            assert!(store.report().damaged > 0);
            holds(&store, &script).await;
            holds(&store, &other).await;
            store.commit(Commit { durability: Durability::Disk, ..script.say("behind it") }).await.unwrap();
            store.close().await.unwrap();
        }
        repair(&path, false).unwrap();
        if is_broken_off {
            fs::rename(path.join("quarantine/index-before-repair.0"), path.join("index")).unwrap();
        }
        assert_eq!(about_log(&path), []);
        assert!(repair(&path, false).unwrap().actions.is_empty());
        for is_built in [!is_broken_off, false] {
            let store = open(&path).await;
            assert_eq!((store.report().damaged, store.report().is_quiet()), (0, !is_built));
            holds(&store, &script).await;
            holds(&store, &other).await;
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn damage_over_the_place_where_the_index_ends_is_no_unfinished_write() {
        let ground = TempDir::new().unwrap();
        let (path, mut script, mut other) = (ground.path().join("store"), Script::new(1), Script::new(2));
        written(&path, &mut script, &["a", "b", "c"]).await;
        // As after a kill: the index ends behind the third record, and no mark tells of it.
        let file = path.join("log/00000001.seg");
        let mut log = fs::read(&file).unwrap();
        let end = log.len();
        let third = log.windows(4).enumerate().filter(|(_, bytes)| *bytes == frame::MAGIC).nth(2).unwrap().0;
        log[third + 100..].fill(0xee);
        log.extend([0xee; 90]);
        fs::write(&file, &log).unwrap();
        let store = open(&path).await;
        assert_eq!((store.report().damaged, &store.report().torn_tail), (1, &None));
        store.commit(Commit { durability: Durability::Disk, ..other.say("behind it") }).await.unwrap();
        store.close().await.unwrap();
        // Where it stood nothing else stands.
        assert!(fs::read(&file).unwrap()[third..end] == log[third..end]);
    }

    #[tokio::test]
    async fn no_frame_is_believed_that_what_comes_behind_it_was_synced() {
        let ground = TempDir::new().unwrap();
        let (path, mut script) = (ground.path().join("store"), Script::new(1));
        written(&path, &mut script, &["a", "b"]).await;
        let file = path.join("log/00000001.seg");
        let mut log = fs::read(&file).unwrap();
        log.extend(frame::mark(1 << 40));
        let end = log.len();
        log.extend([0xee; 90]);
        fs::write(&file, &log).unwrap();
        let told = about_log(&path);
        let [(Severity::Warning, claim), (Severity::Warning, torn)] = told.as_slice() else { panic!("{told:?}") };
        assert!(claim.contains("claims") && torn.contains("unfinished"), "{told:?}");
        let store = open(&path).await;
        let torn = store.report().torn_tail.as_ref().map(|torn| torn.offset);
        assert_eq!((store.report().damaged, torn), (0, Some(end as u64)));
        holds(&store, &script).await;
        store.commit(Commit { durability: Durability::Disk, ..script.say("c") }).await.unwrap();
        store.close().await.unwrap();
    }

    #[test]
    fn a_payload_is_not_believed_to_be_longer_than_any_append() {
        let session = sessions_domain::SessionId::from_bytes([3; 16]);
        for (claimed, expected) in [(100_000, 100_000), (MAX_COMMIT_BYTES, MAX_COMMIT_BYTES), (u64::MAX, 40)] {
            for flags in [BLOB, STRIPPED | BLOB] {
                let commit = sessions_domain::CommitHash::ZERO;
                let header = FrameHeader { kind: Kind::APPENDED, flags, session, seq: 2, label: 0, commit };
                let (mut bytes, body) = (Vec::new(), [[9; 32].as_slice(), &claimed.to_le_bytes()].concat());
                frame::write(&mut bytes, &header, &body, Some(Trailer::default()), &[]);
                assert_eq!(payload_bytes(&frame::read(&bytes).unwrap()), expected);
            }
        }
    }

    #[tokio::test]
    async fn where_a_session_begins_is_not_taken_from_an_unfinished_write() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let mut script = Script::new(1);
        written(&path, &mut script, &["a"]).await;
        fs::remove_dir_all(path.join("index")).unwrap();
        let session = sessions_domain::SessionId::from_bytes([3; 16]);
        let frame = |kind, flags, seq| {
            let header = FrameHeader { kind, flags, session, seq, label: 0, commit: sessions_domain::CommitHash::ZERO };
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &header, &[0; 40], Some(Trailer::default()), &[]);
            bytes
        };
        // What it began with is gone, and what was to stand for that is behind bytes that never came to the disk.
        let segment = path.join("log/00000001.seg");
        let mut log = fs::read(&segment).unwrap();
        log.extend(frame(Kind::APPENDED, 0, 4));
        fs::write(&segment, &log).unwrap();
        let folder = Folder::existing(&path).unwrap();
        let second = Segment::create(&folder.log(), 2, log.len() as u64, folder.id, SEGMENT_HEADER).unwrap();
        let torn = [vec![0xee; 90], frame(Kind::CREATED, FIRST | REPAIR, 3)].concat();
        second.file.write_all_at(&torn, u64::from(SEGMENT_HEADER)).unwrap();
        drop(folder);
        let mut first_read = Vec::new();
        for is_torn in [true, false] {
            let store = open(&path).await;
            assert_eq!(store.report().torn_tail.is_some(), is_torn);
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let range = ReadRange { from: 1, to: 1, order, kinds, max_records: 1, max_bytes: 1 };
            first_read.push(format!("{:?}", store.read(session, range).await));
            store.close().await.unwrap();
            drop(store);
            fs::remove_dir_all(path.join("index")).unwrap();
        }
        assert_eq!(first_read[0], first_read[1]);
    }

    #[tokio::test]
    async fn a_rewritten_record_that_claims_to_be_a_first_one_beyond_all_others_hides_no_session() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        written(&path, &mut Script::new(1), &["a"]).await;
        fs::remove_dir_all(path.join("index")).unwrap();
        let session = sessions_domain::SessionId::from_bytes([3; 16]);
        let segment = path.join("log/00000001.seg");
        let mut log = fs::read(&segment).unwrap();
        for (flags, seq) in [(0, 3), (FIRST | REWRITTEN, 1 << 40)] {
            let commit = sessions_domain::CommitHash::ZERO;
            let header = FrameHeader { kind: Kind::APPENDED, flags, session, seq, label: 0, commit };
            frame::write(&mut log, &header, &[0; 40], Some(Trailer::default()), &[]);
        }
        fs::write(&segment, &log).unwrap();
        let store = open(&path).await;
        assert_eq!(store.head(session).await.unwrap().map(|head| head.version), Some(3));
        store.close().await.unwrap();
    }
}
