//! Checking a store that nobody has open.
//!
//! [`verify`] reads the segments, the large bodies, and a copy of the index for what that remembers of a log that lost a part. It changes
//! nothing, and reports everything it finds.
//!
//! Must not know: a running store, or what is done about what is found.

use std::{collections::HashMap, fmt, fs, path::Path, sync::Arc};

use sessions_domain::{Event, SessionId, SessionKey, SummaryWords, codec};
use sessions_ports::{Digest, HeadWitness, KeyError, StoreError};

use super::{
    attested::{Attested, RootsLook},
    checked::Recalled,
    checking::{Check, Missing, Repaired},
    folder::{Folder, Sealing, failed, sealing_of},
    frame::{FILLER, Found, Frame, HEADER, MARK, REPAIR, Scan},
    newest::Newest,
    recovery::is_unborn,
    remembered::{Remembered, Silent},
    replay::Replay,
    segment::{self, Head, SEGMENT_HEADER},
    stand_ins::{StandIn, stand_ins},
    unsealing::{EpochChain, RecordOpener, SealingLook},
};
use crate::{counted::counted, sealing::ClosedEpoch};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing acknowledged is missing because of it.
    Warning,
    /// Something that was acknowledged is damaged.
    Error,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The session it concerns, where that is known.
    pub session: Option<SessionId>,
    /// The record it concerns, where that is known.
    pub seq: Option<u64>,
    /// When it concerns several: the last of them.
    pub last: Option<u64>,
    /// The file, within the store's folder.
    pub file: Option<String>,
    /// Where in the file.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// A session of the log, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The session.
    pub session: SessionId,
    /// The host's own key.
    pub key: Option<SessionKey>,
    /// Whose it is.
    pub tenant: String,
    /// Its records: whole ones, and those that stand for lost ones.
    pub records: u64,
    /// Of these, the ones that stand for lost ones.
    pub lost: u64,
    /// Of a sealed session: the ciphertext chain of each of its data keys.
    pub epochs: Vec<EpochChain>,
    /// Of one that got another data key: how the one before ended.
    pub closed: Option<ClosedEpoch>,
}

/// Whether the index could tell of parts that the log lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexLook {
    /// There is none: an end of the log that was cut off does not show.
    #[default]
    Absent,
    /// It is damaged, or could not be read: an end of the log that was cut off does not show.
    Unreadable,
    /// What it remembers was compared with the log.
    Compared,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments that were read.
    pub segments: u64,
    /// Whole records.
    pub records: u64,
    /// Sessions they belong to.
    pub sessions: u64,
    /// Sessions that were removed. What others inherit of them counts among the records, and so does what still lies there of the rest.
    pub removed: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Records that are lost and marked as such, which is healthy.
    pub lost: u64,
    /// The sessions, in the order of their ids.
    pub names: Vec<Named>,
    /// Whether the index could tell of parts that the log lost.
    pub index: IndexLook,
    /// The keyed roots over all sessions.
    pub roots: RootsLook,
    /// Whether the store is sealed, and what was looked at then.
    pub sealing: SealingLook,
    /// Of a sealed store: what still lies there of removed sessions.
    pub removed_chains: Vec<(SessionId, Vec<EpochChain>)>,
    /// Of a sealed store: sessions whose keys were destroyed, as their tombstones say, and the slots of these.
    pub destroyed: Vec<(SessionId, u32)>,
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// True when nothing acknowledged is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }
}

impl Finding {
    pub(super) fn about_file(file: &str, offset: usize, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            session: None,
            seq: None,
            last: None,
            file: Some(file.to_owned()),
            offset: Some(offset as u64),
            what: what.into(),
        }
    }

    /// About a session, or some of its records.
    pub(super) fn about_records(
        severity: Severity,
        session: SessionId,
        records: Option<(u64, u64)>,
        what: String,
    ) -> Self {
        let seq = records.map(|(first, _)| first);
        let last = records.filter(|(first, last)| first != last).map(|(_, last)| last);
        Self { severity, session: Some(session), seq, last, file: None, offset: None, what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(file), Some(offset)) = (&self.file, self.offset) {
            write!(f, "{file} at byte {offset}: ")?;
        }
        if let Some(session) = self.session {
            write!(f, "session {session}")?;
            match self.seq {
                Some(seq) => write!(f, ", record {seq}: ")?,
                None => f.write_str(": ")?,
            }
        }
        f.write_str(&self.what)
    }
}

/// Checks every byte of a store's log: frames, numbers, the chain of commits, and what the records say.
///
/// Of a sealed store it needs no key, and then says nothing about contents: it checks frames, numbers, large bodies and where wrapped keys lie, and
/// gives the ciphertext chain of each session, which whoever keeps it can compare later.
///
/// # Errors
/// Only when the store cannot be read at all, or a newer version wrote a part of it: damage is what it reports.
pub fn verify(path: &Path) -> Result<VerifyReport, StoreError> {
    let folder = Folder::existing(path)?;
    Ok(inspect(&folder, Keyed::default())?.report)
}

/// The same, with the key that attests the heads of all sessions: makes each root of the log anew, and names the first batch, and its sessions,
/// from which on they are others. A root before space came back, or beside lost records, cannot be checked any more; the last one always can.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(path: &Path, witness: &dyn HeadWitness) -> Result<VerifyReport, StoreError> {
    let folder = Folder::existing(path)?;
    Ok(inspect(&folder, Keyed { witness: Some(witness), opener: None })?.report)
}

/// [`verify`] of a sealed store, with what opens its records: then what they say is checked too, and their words and snapshots. With `witness`
/// also what [`verify_with`] checks.
///
/// # Errors
/// As [`verify`], and [`KeyError::NotSealed`].
pub fn verify_sealed(
    path: &Path,
    witness: Option<&dyn HeadWitness>,
    opener: Arc<dyn RecordOpener>,
) -> Result<VerifyReport, StoreError> {
    let folder = Folder::existing(path)?;
    if sealing_of(&folder.root) == Sealing::Plain {
        return Err(KeyError::NotSealed.into());
    }
    Ok(inspect(&folder, Keyed { witness, opener: Some(opener) })?.report)
}

/// Bytes of a segment that are no frames.
pub(super) struct Damage {
    pub(super) segment: u32,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Nothing behind it was ever synced: opening the store sets it aside.
    pub(super) torn: bool,
}

pub(super) struct Inspection {
    pub(super) report: VerifyReport,
    pub(super) damage: Vec<Damage>,
    /// Segments whose headers are damaged or name a place inside the segment before, with the positions they begin at.
    pub(super) headers: Vec<(u32, u64)>,
    /// Segments at the end that were never used: one whose making was cut short, and one that begins inside the one before it.
    pub(super) unused: Vec<u32>,
    /// Segments that are missing before others, with the positions they would begin at.
    pub(super) absent: Vec<(u32, u64)>,
    pub(super) missing: Vec<Missing>,
    /// Removals that only the index remembers: the version, and the key that stays taken.
    pub(super) removals: Vec<(SessionId, u64, Option<Digest>)>,
    /// Files of large bodies that are not as they were written.
    pub(super) spoilt_bodies: Vec<std::path::PathBuf>,
    /// The last segment, and the position behind its frames.
    pub(super) last_segment: (u32, u64),
    /// Where the last segment begins, and up to where the log is known to have been synced.
    pub(super) base: u64,
    pub(super) synced: u64,
    /// So many bytes of the log's end are gone, as far as the index remembers.
    pub(super) cut: u64,
    /// A repair was broken off before it set the index aside, which does not know what that wrote.
    pub(super) is_behind: bool,
    /// The sessions stand as the last root says, or nobody looked.
    pub(super) is_attested: bool,
    /// Why nobody could look into the index, which may remember what nothing else does, or at a large body, which may be whole.
    pub(super) not_seen: Option<StoreError>,
}

/// What a check is given by who has the store's key.
#[derive(Default)]
pub(super) struct Keyed<'a> {
    /// Attests the heads of all sessions.
    pub(super) witness: Option<&'a dyn HeadWitness>,
    /// Opens records.
    pub(super) opener: Option<Arc<dyn RecordOpener>>,
}

pub(super) fn inspect(folder: &Folder, keyed: Keyed<'_>) -> Result<Inspection, StoreError> {
    let again = Keyed { opener: keyed.opener.clone(), ..keyed };
    let (found, stand_ins) = inspect_up_to(folder, keyed, None)?;
    let unfinished = found.damage.iter().find(|damage| damage.torn).map(|damage| (damage.segment, damage.from));
    let is_in_it =
        |stand_in: &StandIn| unfinished.is_some_and(|from| (stand_in.segment, stand_in.offset as usize) >= from);
    if stand_ins.values().any(is_in_it) {
        // What was taken to stand for lost records is to be set aside itself. Where an unfinished write begins shows only when all is read.
        return Ok(inspect_up_to(folder, again, unfinished)?.0);
    }
    Ok(found)
}

type StandIns = HashMap<(SessionId, u64), StandIn>;

/// `unfinished`: where an unfinished write begins, if it is known; it stands for nothing.
fn inspect_up_to(
    folder: &Folder,
    Keyed { witness, opener }: Keyed<'_>,
    unfinished: Option<(u32, usize)>,
) -> Result<(Inspection, StandIns), StoreError> {
    let mut numbers = segment::numbers(&folder.log())?;
    // What a newer version wrote is refused before anything is judged.
    Replay::new(folder, numbers.clone())?;
    let unborn = numbers.last().copied().map(|last| is_unborn(folder, last).map(|is| is.then_some(last)));
    let unborn = unborn.transpose()?.flatten();
    numbers.retain(|number| unborn != Some(*number));
    let refused = Replay::new(folder, numbers.clone())?.refused()?;
    numbers.retain(|number| refused != Some(*number));
    let (repairs, stand_ins) = repairs(folder, &numbers, unfinished)?;
    let (remembered, silent) = match Remembered::of(folder) {
        Ok(remembered) => (remembered, None),
        Err(silent) => (None, Some(silent)),
    };
    let synced = remembered.as_ref().map_or(0, |remembered| remembered.position);
    let newest = Newest::new(folder, numbers.clone(), synced);
    let check = Check::new(folder.blobs(), folder.id, repairs, newest);
    let mut walk = Walk::new(folder, (check, Attested::new(witness)), numbers.last().copied().unwrap_or(0));
    if let Some(what) = folder.lost_format {
        let what = format!("the file is {what}; the log's segments say the store's id, and `repair` writes it anew");
        walk.check.report.findings.push(Finding::about_file("FORMAT", 0, what));
    }
    for number in unborn.into_iter().chain(refused) {
        let why = if unborn == Some(number) { "its making was cut short" } else { "the one before it went on" };
        let what = format!("the segment was never used, and {why}; opening the store sets it aside");
        let finding = Finding::about_file(&name_of(number), 0, what);
        walk.check.report.findings.push(Finding { severity: Severity::Warning, ..finding });
    }
    if let Some(silent) = &silent {
        walk.check.report.index = IndexLook::Unreadable;
        let what = match silent {
            Silent::NotCopied(why) => format!("nothing was compared with what the index remembers: {why}"),
            Silent::Unreadable(why) => {
                format!("the index tells nothing ({why}); opening the store builds it anew from the log")
            }
        };
        let finding = Finding::about_file("index", 0, what);
        walk.check.report.findings.push(Finding { severity: Severity::Warning, offset: None, ..finding });
    }
    if sealing_of(&folder.root) == Sealing::Sealed {
        walk.check.begin_sealed(opener, remembered.as_ref(), &folder.keys());
    }
    for (session, (row, words)) in remembered.iter().flat_map(|remembered| &remembered.sessions) {
        let words = walk.check.readable_words(*session, words.as_deref().filter(|_| row.first > 1));
        let words = words.as_deref().and_then(SummaryWords::from_json);
        let is_there =
            |parent: &SessionId| remembered.as_ref().is_some_and(|known| known.sessions.contains_key(parent));
        if let Some(parent) = words.and_then(|words| words.parent).filter(is_there) {
            walk.check.is_fork(*session, row.first, parent);
        }
    }
    walk.check.hear_of_forks();
    let not_copied = silent.and_then(|silent| match silent {
        Silent::NotCopied(error) => Some(error),
        Silent::Unreadable(_) => None,
    });
    walk.synced = synced;
    let is_behind = remembered.as_ref().is_some_and(|remembered| remembered.is_behind(&stand_ins));
    if is_behind {
        let what = "the index does not know what a repair wrote; opening the store builds it anew from the log";
        let finding = Finding::about_file("index", 0, what);
        walk.check.report.findings.push(Finding { severity: Severity::Warning, offset: None, ..finding });
    }
    for number in numbers {
        walk.segment(number)?;
    }
    let found = walk.finish(remembered)?;
    let unused = unborn.into_iter().chain(refused).collect();
    Ok((Inspection { is_behind, not_seen: not_copied.or(found.not_seen), unused, ..found }, stand_ins))
}

/// Goes through the segments in their order.
struct Walk<'a> {
    folder: &'a Folder,
    check: Check,
    attested: Attested<'a>,
    last: u32,
    damage: Vec<Damage>,
    headers: Vec<(u32, u64)>,
    absent: Vec<(u32, u64)>,
    synced: u64,
    /// The number that comes next.
    expected: u32,
    base: u64,
    end: u64,
    end_of_file: u64,
    /// Behind the last frame that is no filler.
    reached: u64,
    /// The segment before ends with a repair's word that what followed is lost.
    is_marked: bool,
}

impl<'a> Walk<'a> {
    fn new(folder: &'a Folder, (check, attested): (Check, Attested<'a>), last: u32) -> Self {
        let (damage, headers, absent) = (Vec::new(), Vec::new(), Vec::new());
        let (synced, expected, base, end, end_of_file, reached, is_marked) = (0, 1, 0, 0, 0, 0, false);
        Self {
            folder,
            check,
            attested,
            last,
            damage,
            headers,
            absent,
            synced,
            expected,
            base,
            end,
            end_of_file,
            reached,
            is_marked,
        }
    }

    fn segment(&mut self, number: u32) -> Result<(), StoreError> {
        let name = name_of(number);
        let path = segment::path_of(&self.folder.log(), number);
        let bytes = fs::read(path).map_err(|error| failed("reading the log", error))?;
        let header = match segment::head_of(&bytes, number) {
            Head::Newer(format) => return Err(segment::newer(format)),
            Head::Whole(store, base) if store == self.folder.id => Some(base),
            Head::Whole(..) | Head::Damaged => None,
        };
        if number > self.expected {
            self.absent.extend((self.expected..number).map(|number| (number, self.end)));
            let before = (self.expected, number - 1);
            let what = match before {
                (first, last) if first == last => format!("segment {first}, which comes before this one, is missing"),
                (first, last) => format!("segments {first} to {last}, which come before this one, are missing"),
            };
            self.check.report.findings.push(Finding::about_file(&name, 0, what));
        }
        if header.is_none() {
            self.check.report.findings.push(Finding::about_file(&name, 0, "the segment's header is damaged"));
            self.headers.push((number, self.end));
        }
        // A segment says where the one before it ended.
        let cut = header.filter(|header| *header > self.end && self.expected == number && number > 1);
        // Zeros before it are none of its frames where they are too few.
        let is_gap =
            |cut: &u64| *cut - self.end < HEADER as u64 && *cut <= self.end_of_file && !self.ends_damaged(number);
        if let Some(cut) = cut.filter(|cut| !self.is_marked && !is_gap(cut)) {
            self.cut_before(number, cut);
        }
        self.expected = number + 1;
        let lies_over = header.filter(|header| *header < self.reached);
        if let Some(header) = lies_over {
            let what =
                format!("the segment begins {} bytes before the end of the one before it", self.reached - header);
            self.check.report.findings.push(Finding::about_file(&name, 0, what));
            self.headers.push((number, self.end));
        }
        self.base = header.filter(|_| lies_over.is_none()).unwrap_or(self.end);
        self.frames(&name, &bytes, number)?;
        self.end_of_file = self.base + bytes.len() as u64;
        self.check.report.segments += 1;
        self.check.report.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether the frames before a segment end in damage.
    fn ends_damaged(&self, number: u32) -> bool {
        let end = usize::try_from(self.end - self.base).unwrap_or(usize::MAX);
        self.damage.last().is_some_and(|damage| damage.segment + 1 == number && damage.to == end)
    }

    /// The segment before this one ended further on than it does now.
    fn cut_before(&mut self, number: u32, cut: u64) {
        let (from, to) = ((self.end - self.base) as usize, (cut - self.base) as usize);
        let what = format!("{} missing at the end", counted((to - from) as u64, "byte"));
        self.check.report.findings.push(Finding::about_file(&name_of(number - 1), from, what));
        match self.damage.last_mut().filter(|damage| damage.segment + 1 == number && damage.to == from) {
            Some(damage) => damage.to = to,
            None => self.damage.push(Damage { segment: number - 1, from, to, torn: false }),
        }
    }

    fn frames(&mut self, name: &str, bytes: &[u8], number: u32) -> Result<(), StoreError> {
        let mut scan = Scan::new(bytes, SEGMENT_HEADER as usize);
        let found: Vec<Found<'_>> = scan.by_ref().collect();
        if let Some(format) = Found::newer(&found) {
            return Err(segment::newer(u32::from(format)));
        }
        self.end = self.base + scan.position() as u64;
        self.is_marked = false;
        self.synced = Found::synced(&found, self.base).max(self.synced);
        let claims = |found: &&Found<'_>| match found {
            Found::Frame(at, frame) => frame.trailer.is_some_and(|trailer| trailer.synced > self.base + *at as u64),
            Found::Damage(..) | Found::Newer(_) => false,
        };
        if let Some(at) = found.iter().find(claims).and_then(Found::at) {
            let what = "a frame claims that what comes behind it was synced; it is not believed in that";
            let finding = Finding::about_file(name, at, what);
            self.check.report.findings.push(Finding { severity: Severity::Warning, ..finding });
        }
        let is_last = number == self.last;
        let mut append: Vec<(usize, Frame<'_>)> = Vec::new();
        for found in found {
            match found {
                Found::Newer(_) => {}
                Found::Damage(from, _) if is_last && self.base + from as u64 >= self.synced => {
                    self.torn(name, bytes, number, append.first().map_or(from, |(at, _)| *at));
                    return Ok(());
                }
                Found::Damage(from, to) => {
                    // Whole frames of a broken append were acknowledged: they count.
                    self.attested.append((name, self.base), &append);
                    append.drain(..).for_each(|(at, frame)| self.check.frame(name, at, &frame));
                    self.check.damaged(name, bytes, from, to, false);
                    self.damage.push(Damage { segment: number, from, to, torn: false });
                    if is_last && to == scan.position() && to - from < HEADER {
                        // No filler is so short: zeros take its place, and the log ends before it.
                        self.end = self.base + from as u64;
                    }
                }
                Found::Frame(at, frame) if frame.header.kind == MARK || frame.header.kind == FILLER => {
                    if frame.header.kind == MARK {
                        // Behind the filler of a repair, which lies over the end of an append, that ends here.
                        self.attested.append((name, self.base), &append);
                        append.drain(..).for_each(|(at, frame)| self.check.frame(name, at, &frame));
                    }
                    if frame.header.kind == FILLER {
                        self.attested.filler(self.base + (at + frame.length) as u64);
                    } else {
                        self.attested.mark((name, self.base), at, &frame);
                    }
                    if frame.header.kind == MARK {
                        self.reached = self.base + (at + frame.length) as u64;
                    }
                    self.is_marked = frame.header.kind == FILLER && frame.header.flags & REPAIR != 0;
                    if self.is_marked {
                        let finding =
                            Finding::about_file(name, at, "a part of the log is lost here, marked by a repair");
                        self.check.report.findings.push(Finding { severity: Severity::Warning, ..finding });
                    }
                }
                Found::Frame(at, frame) => {
                    self.reached = self.base + (at + frame.length) as u64;
                    self.check.reached = self.reached;
                    append.push((at, frame));
                    if frame.is_last() {
                        self.attested.append((name, self.base), &append);
                        append.drain(..).for_each(|(at, frame)| self.check.frame(name, at, &frame));
                    }
                }
            }
        }
        match append.first().map(|(at, _)| *at) {
            Some(from) if is_last && self.base + from as u64 >= self.synced => self.torn(name, bytes, number, from),
            _ => {
                self.attested.append((name, self.base), &append);
                append.drain(..).for_each(|(at, frame)| self.check.frame(name, at, &frame));
            }
        }
        Ok(())
    }

    /// An append at the end that was never finished. Nobody was promised any of it.
    fn torn(&mut self, name: &str, bytes: &[u8], number: u32, from: usize) {
        let to = bytes.iter().rposition(|byte| *byte != 0).map_or(from, |at| at + 1).max(from);
        self.check.damaged(name, bytes, from, to, true);
        self.damage.push(Damage { segment: number, from, to, torn: true });
        self.end = self.base + from as u64;
    }

    /// Holds what the index remembers against what was found.
    fn finish(mut self, remembered: Option<Remembered>) -> Result<Inspection, StoreError> {
        let (mut cut, mut removals) = (0, Vec::new());
        if let Some(remembered) = &remembered {
            self.check.report.index = IndexLook::Compared;
            cut = remembered.position.saturating_sub(self.end);
            if cut > 0 {
                let what = format!("the log ends {} before what the index remembers of it", counted(cut, "byte"));
                let at = usize::try_from(self.end - self.base).unwrap_or(0);
                let name = if self.last == 0 { "log".to_owned() } else { name_of(self.last) };
                self.check.report.findings.push(Finding::about_file(&name, at, what));
            }
            for (session, (row, words)) in &remembered.sessions {
                let key = remembered.keys.get(session).copied();
                let links = remembered.links.get(session).cloned().unwrap_or_default();
                self.check.remember(*session, Recalled { row: *row, words: words.clone(), key, links });
            }
            for (session, (version, key)) in &remembered.graves {
                if !self.check.remember_removal(*session) {
                    removals.push((*session, *version, *key));
                }
            }
        }
        self.check.look_at_snapshots(remembered.as_ref());
        let kind = |session, seq| remembered.as_ref().and_then(|remembered| remembered.kind(session, seq));
        let missing = self.check.finish(kind);
        let (roots, is_attested, about_roots) = self.attested.finish();
        self.check.report.roots = roots;
        self.check.report.findings.extend(about_roots);
        Ok(Inspection {
            report: self.check.report,
            damage: self.damage,
            headers: self.headers,
            unused: Vec::new(),
            absent: self.absent,
            missing,
            removals,
            spoilt_bodies: self.check.spoilt_bodies,
            last_segment: (self.last, self.end),
            base: self.base,
            synced: self.synced,
            cut,
            is_behind: false,
            is_attested,
            not_seen: self.check.not_read,
        })
    }
}

/// A segment's file, within the store's folder.
pub(super) fn name_of(number: u32) -> String {
    format!("log/{number:08}.seg")
}

type Repairs = (HashMap<(SessionId, u64), Repaired>, StandIns);

/// What earlier repairs wrote in the place of lost records, and where it stands.
fn repairs(folder: &Folder, numbers: &[u32], unfinished: Option<(u32, usize)>) -> Result<Repairs, StoreError> {
    let mut repairs = HashMap::new();
    let stand_ins = stand_ins(folder, numbers, unfinished, |frame| {
        let event = frame.body.get(32..).and_then(|body| codec::decode(frame.header.kind, body).ok());
        let created = match event {
            Some((Event::Created(created), stamp)) => Some((created, stamp)),
            _ => None,
        };
        let at = frame.trailer.filter(|_| created.is_none()).map_or(0, |trailer| trailer.updated);
        let repaired = Repaired { commit: frame.header.commit, created, at };
        repairs.insert((frame.header.session, frame.header.seq), repaired);
    })?;
    Ok((repairs, stand_ins))
}
