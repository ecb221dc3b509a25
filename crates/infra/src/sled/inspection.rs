//! Checking a store that nobody has open.
//!
//! [`verify`] reads the segments and the large bodies and nothing else, changes nothing, and reports everything it finds.
//!
//! Must not know: the index, a running store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use sessions_domain::{Blind, CommitHash, Event, Kind, LineageId, SessionId, Stamp, View, codec};
use sessions_ports::StoreError;

use super::{
    bodies,
    folder::{Folder, failed},
    frame::{self, BLOB, FILLER, Found, Frame, FrameHeader, HEADER, MARK, REPAIR, Scan},
    segment::{self, SEGMENT_HEADER},
};

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
    /// The file, within the store's folder.
    pub file: Option<String>,
    /// Where in the file.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
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
    /// Bytes of the segments.
    pub bytes: u64,
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// True when nothing acknowledged is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
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
/// # Errors
/// Only when the store cannot be read at all: damage is what it reports.
pub fn verify(path: &Path) -> Result<VerifyReport, StoreError> {
    let folder = Folder::existing(path)?;
    Ok(inspect(&folder)?.report)
}

/// Bytes of a segment that are no frames.
pub(super) struct Damage {
    pub(super) segment: u32,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Nothing behind it was ever synced: opening the store sets it aside.
    pub(super) torn: bool,
}

/// A record without whole bytes, and none that stands for it.
pub(super) struct Missing {
    pub(super) session: SessionId,
    pub(super) seq: u64,
    /// The commit of the record before it.
    pub(super) before: CommitHash,
    /// For a session's beginning: what a later record tells of who made it and when.
    pub(super) beginning: Option<Stamp>,
}

pub(super) struct Inspection {
    pub(super) report: VerifyReport,
    pub(super) damage: Vec<Damage>,
    /// Segments whose headers are damaged, with the positions they begin at.
    pub(super) headers: Vec<(u32, u64)>,
    pub(super) missing: Vec<Missing>,
    /// The last segment, and the position behind its frames.
    pub(super) last_segment: (u32, u64),
}

pub(super) fn inspect(folder: &Folder) -> Result<Inspection, StoreError> {
    let numbers = segment::numbers(&folder.log())?;
    let mut check = Check { blobs: folder.blobs(), store: folder.id, ..Check::default() };
    check.repairs = repairs(folder, &numbers)?;
    let (mut damage, mut headers): (Vec<Damage>, Vec<(u32, u64)>) = (Vec::new(), Vec::new());
    let (mut synced, mut expected, mut base, mut end) = (0_u64, None, 0_u64, 0_u64);
    let last = numbers.last().copied().unwrap_or(0);
    for number in numbers {
        let name = format!("log/{number:08}.seg");
        if expected.is_some_and(|expected| expected != number) {
            check.report.findings.push(about_file(&name, 0, "the segments before this one are missing"));
        }
        let path = segment::path_of(&folder.log(), number);
        let bytes = fs::read(path).map_err(|error| failed("reading the log", error))?;
        let header = segment::base_of(&bytes, number, folder.id);
        if header.is_none() {
            check.report.findings.push(about_file(&name, 0, "the segment's header is damaged"));
            headers.push((number, end));
        }
        // A segment says where the one before it ended.
        if let Some(cut) = header.filter(|header| *header > end && expected == Some(number)) {
            let before = format!("log/{:08}.seg", number - 1);
            let (from, to) = ((end - base) as usize, (cut - base) as usize);
            let what = format!("{} bytes at the end are missing", to - from);
            check.report.findings.push(about_file(&before, from, what));
            match damage.last_mut().filter(|damage| damage.segment + 1 == number && damage.to == from) {
                Some(damage) => damage.to = to,
                None => damage.push(Damage { segment: number - 1, from, to, torn: false }),
            }
        }
        expected = Some(number + 1);
        base = header.unwrap_or(end);
        let mut scan = Scan::new(&bytes, SEGMENT_HEADER as usize);
        let found: Vec<Found<'_>> = scan.by_ref().collect();
        end = base + scan.position() as u64;
        let trailers = found.iter().filter_map(|found| match found {
            Found::Frame(_, frame) => frame.trailer.map(|trailer| trailer.synced),
            Found::Damage(..) => None,
        });
        synced = trailers.max().unwrap_or(0).max(synced);
        for found in found {
            match found {
                Found::Damage(from, to) => {
                    let torn = number == last && base + from as u64 >= synced;
                    check.damaged(&name, &bytes, from, to, torn);
                    damage.push(Damage { segment: number, from, to, torn });
                    if torn {
                        end = base + from as u64;
                        break;
                    }
                }
                Found::Frame(at, frame) => check.frame(&name, at, &frame),
            }
        }
        check.report.segments += 1;
        check.report.bytes += bytes.len() as u64;
    }
    let missing = check.finish();
    Ok(Inspection { report: check.report, damage, headers, missing, last_segment: (last, end) })
}

/// What earlier repairs wrote in the place of lost records. It stands in segments of its own.
fn repairs(folder: &Folder, numbers: &[u32]) -> Result<HashMap<(SessionId, u64), Repaired>, StoreError> {
    let mut repairs = HashMap::new();
    for number in numbers {
        let path = segment::path_of(&folder.log(), *number);
        let file = fs::File::open(&path).map_err(|error| failed("reading the log", error))?;
        let mut start = [0; HEADER];
        let is_one = file.read_exact_at(&mut start, u64::from(SEGMENT_HEADER)).is_ok()
            && frame::header(&start).is_some_and(|header| header.flags & REPAIR != 0);
        if !is_one {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| failed("reading the log", error))?;
        for found in Scan::new(&bytes, SEGMENT_HEADER as usize) {
            let Found::Frame(_, frame) = found else { continue };
            if frame.header.flags & REPAIR == 0 {
                continue;
            }
            let event = frame.body.get(32..).and_then(|body| codec::decode(frame.header.kind, body).ok());
            let created = match event {
                Some((Event::Created(created), stamp)) => Some((created, stamp)),
                _ => None,
            };
            let repaired = Repaired { commit: frame.header.commit, created };
            repairs.insert((frame.header.session, frame.header.seq), repaired);
        }
    }
    Ok(repairs)
}

/// What stands for a lost record.
struct Repaired {
    commit: CommitHash,
    created: Option<(Box<sessions_domain::Created>, Stamp)>,
}

fn about_file(file: &str, offset: usize, what: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        session: None,
        seq: None,
        file: Some(file.to_owned()),
        offset: Some(offset as u64),
        what: what.into(),
    }
}

/// One session as far as it has been checked.
struct Checked {
    lineage: Option<LineageId>,
    view: Option<View>,
    first: u64,
    commits: Vec<CommitHash>,
    /// Numbers without a whole record, until a repair's record stands for them.
    missing: BTreeMap<u64, CommitHash>,
    /// Numbers whose commits are not known, repaired or not.
    lost: BTreeSet<u64>,
    repaired: u64,
    /// The stamp of the first record that could be read.
    stamp: Option<Stamp>,
}

struct Check {
    report: VerifyReport,
    sessions: HashMap<SessionId, Checked>,
    repairs: HashMap<(SessionId, u64), Repaired>,
    /// Records that damaged headers speak of.
    hints: Vec<(SessionId, u64)>,
    blobs: PathBuf,
    store: sessions_ports::StoreId,
}

impl Default for Check {
    fn default() -> Self {
        let store = sessions_ports::StoreId([0; 16]);
        Self {
            report: VerifyReport::default(),
            sessions: HashMap::new(),
            repairs: HashMap::new(),
            hints: Vec::new(),
            blobs: PathBuf::new(),
            store,
        }
    }
}

impl Check {
    fn damaged(&mut self, file: &str, bytes: &[u8], from: usize, to: usize, torn: bool) {
        let header = bytes.get(from..).and_then(frame::header);
        let what = match (torn, bytes.get(from + 4)) {
            (true, _) => format!("{} bytes of an unfinished write; opening the store sets them aside", to - from),
            (false, Some(format)) if header.is_some() && *format > frame::FORMAT => {
                format!("{} bytes of a later format or damaged", to - from)
            }
            (false, _) => format!("{} bytes are damaged", to - from),
        };
        // The header of damaged bytes is a hint, not a fact; it is given where it fits what is known.
        let named = header.filter(|header| self.sessions.contains_key(&header.session));
        self.report.findings.push(Finding {
            severity: if torn { Severity::Warning } else { Severity::Error },
            session: named.map(|header| header.session),
            seq: named.map(|header| header.seq),
            file: Some(file.to_owned()),
            offset: Some(from as u64),
            what,
        });
        self.hints.extend(header.filter(|_| !torn).map(|header| (header.session, header.seq)));
    }

    fn frame(&mut self, file: &str, at: usize, frame: &Frame<'_>) {
        let header = frame.header;
        if header.kind == MARK || header.kind == FILLER {
            return;
        }
        self.report.records += 1;
        let checked = self.sessions.entry(header.session).or_insert_with(|| {
            let first = if header.flags & frame::FIRST != 0 { header.seq } else { 1 };
            Checked::from(first)
        });
        if header.flags & REPAIR != 0 {
            // It stood for its record when that was missed; behind a log's end it is the first to tell of it.
            while checked.next() <= header.seq {
                checked.skip(header.session, checked.next(), &self.repairs);
            }
            return;
        }
        if header.seq < checked.next() {
            let what = "the record stands a second time";
            let mut finding = about_file(file, at, what);
            (finding.session, finding.seq) = (Some(header.session), Some(header.seq));
            self.report.findings.push(finding);
            return;
        }
        while checked.next() < header.seq {
            checked.skip(header.session, checked.next(), &self.repairs);
        }
        if let Err(what) = self.record(frame) {
            let mut finding = about_file(file, at, what);
            (finding.session, finding.seq) = (Some(header.session), Some(header.seq));
            self.report.findings.push(finding);
        }
    }

    /// Checks a record against the chain and the history before it.
    fn record(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let header = frame.header;
        let payload = self.payload(frame);
        let beginning = self.beginning(frame, payload.as_deref());
        for (owner, last) in beginning.iter().flat_map(|created| &created.fork).flat_map(|fork| &fork.owners) {
            // What a fork inherits was there before it, also where nothing behind it tells.
            let checked = self.sessions.entry(*owner).or_insert_with(|| Checked::from(1));
            while checked.next() <= *last {
                checked.skip(*owner, checked.next(), &self.repairs);
            }
        }
        let inherited = match beginning {
            Some(created) => match &created.fork {
                Some(fork) => {
                    let parent = self.sessions.get(&fork.parent);
                    let commit = parent.and_then(|parent| parent.commit_at(fork.at, &self.sessions));
                    if commit.is_some_and(|commit| commit != fork.commit) {
                        return Err("the fork does not continue the log it was forked from".to_owned());
                    }
                    let tree = parent.and_then(|parent| parent.view.as_ref()).map(|view| view.tree().clone());
                    Some((created, tree))
                }
                None => Some((created, None)),
            },
            None => None,
        };
        let Some(checked) = self.sessions.get_mut(&header.session) else { return Ok(()) };
        let before = checked.commits.last().copied();
        // The commit of a lost record is not known, so what follows it cannot be checked against it.
        let was_lost = checked.lost.contains(&(header.seq.wrapping_sub(1)));
        checked.commits.push(header.commit);
        let Some(payload) = payload else { return Err("the large body is missing or damaged".to_owned()) };
        let (blind, body) = payload.split_first_chunk::<32>().ok_or("the record is too short")?;
        let (event, stamp) = codec::decode(header.kind, body).map_err(|error| error.to_string())?;
        checked.stamp.get_or_insert_with(|| stamp.clone());
        if let Some((created, tree)) = inherited {
            checked.lineage = Some(created.lineage);
            let start = created.fork.as_ref().map_or(CommitHash::ZERO, |fork| fork.commit);
            follows(start, created.lineage, header, blind, body)?;
            let view = View::begin(header.seq, &created, &stamp, header.commit, tree.as_ref());
            checked.view = Some(view.map_err(|error| error.to_string())?);
            return Ok(());
        }
        if let (Some(lineage), Some(before), false) = (checked.lineage, before, was_lost) {
            follows(before, lineage, header, blind, body)?;
        }
        match &mut checked.view {
            Some(view) => view
                .apply(header.seq, &event, &stamp, header.commit)
                .map_err(|error| format!("the record cannot follow the ones before it: {error}")),
            None => Ok(()),
        }
    }

    fn beginning(&self, frame: &Frame<'_>, payload: Option<&[u8]>) -> Option<Box<sessions_domain::Created>> {
        if frame.header.kind != Kind::CREATED {
            return None;
        }
        match codec::decode(Kind::CREATED, payload?.get(32..)?) {
            Ok((Event::Created(created), _)) => Some(created),
            _ => None,
        }
    }

    fn payload(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if frame.header.flags & BLOB == 0 {
            return Some(frame.body.to_vec());
        }
        let hash = frame.body.first_chunk::<32>()?;
        let payload = fs::read(bodies::path_of(&self.blobs, hash)).ok()?;
        (super::blob_name(self.store, &payload) == *hash).then_some(payload)
    }

    /// Reports what is still missing at the end.
    fn finish(&mut self) -> Vec<Missing> {
        for (session, seq) in std::mem::take(&mut self.hints) {
            // Behind the end of a log only a damaged header tells of a record; it is heard when everything whole is known.
            if let Some(checked) = self.sessions.get_mut(&session).filter(|checked| checked.next() == seq) {
                checked.skip(session, seq, &self.repairs);
            }
        }
        self.report.sessions = self.sessions.len() as u64;
        let mut all = Vec::new();
        for (session, checked) in &self.sessions {
            for (seq, before) in &checked.missing {
                let begins = *seq == checked.first && checked.view.is_none();
                let beginning = begins.then(|| checked.stamp.clone().unwrap_or_else(nobody));
                all.push(Missing { session: *session, seq: *seq, before: *before, beginning });
                let what = "the record is missing".to_owned();
                let (severity, session, seq) = (Severity::Error, Some(*session), Some(*seq));
                self.report.findings.push(Finding { severity, session, seq, file: None, offset: None, what });
            }
            if checked.repaired > 0 {
                let what = format!("{} damaged records were set aside by a repair", checked.repaired);
                let (severity, session, seq) = (Severity::Warning, Some(*session), None);
                self.report.findings.push(Finding { severity, session, seq, file: None, offset: None, what });
            }
        }
        all.sort_unstable_by_key(|missing| (missing.session, missing.seq));
        all
    }
}

/// The stamp of a record of which nothing is known.
fn nobody() -> Stamp {
    Stamp { at: sessions_domain::Moment::default(), actor: sessions_domain::Actor::default() }
}

fn follows(
    before: CommitHash,
    lineage: LineageId,
    header: FrameHeader,
    blind: &Blind,
    body: &[u8],
) -> Result<(), String> {
    let commit = before.next(lineage, header.seq, header.kind, blind, body);
    if commit == header.commit {
        Ok(())
    } else {
        Err("the record does not follow the one before it (its commit)".to_owned())
    }
}

impl Checked {
    /// A session whose first record has this number.
    fn from(first: u64) -> Self {
        let (commits, missing, lost) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { lineage: None, view: None, first, commits, missing, lost, repaired: 0, stamp: None }
    }

    fn next(&self) -> u64 {
        self.first + self.commits.len() as u64
    }

    /// Goes on behind a record that is missing, with what a repair put in its place if one did.
    fn skip(&mut self, session: SessionId, seq: u64, repairs: &HashMap<(SessionId, u64), Repaired>) {
        let before = self.commits.last().copied().unwrap_or(CommitHash::ZERO);
        let repaired = repairs.get(&(session, seq));
        let stands_for = repaired.map_or_else(|| lost_commit(before, seq), |repaired| repaired.commit);
        match repaired {
            Some(_) => self.repaired += 1,
            None => drop(self.missing.insert(seq, before)),
        }
        self.lost.insert(seq);
        self.commits.push(stands_for);
        if let Some((created, stamp)) = repaired.and_then(|repaired| repaired.created.as_ref()) {
            // The lineage stays unknown: whole records of the session are chained with the one that was lost.
            self.view = View::begin(seq, created, stamp, stands_for, None).ok();
        } else if let Some(view) = &mut self.view {
            // A lost record can follow anything.
            let stamp = Stamp { at: view.updated(), ..nobody() };
            let _ = view.apply(seq, &Event::Lost, &stamp, stands_for);
        }
    }

    /// The commit of a record, where it is known.
    fn commit_at(&self, seq: u64, sessions: &HashMap<SessionId, Checked>) -> Option<CommitHash> {
        if self.lost.contains(&seq) {
            return None;
        }
        if seq >= self.first {
            return self.commits.get(usize::try_from(seq - self.first).ok()?).copied();
        }
        let owner = self.view.as_ref()?.owner_of(seq);
        let owner = sessions.get(&owner).filter(|owner| owner.first < self.first && !owner.lost.contains(&seq))?;
        owner.commits.get(usize::try_from(seq.checked_sub(owner.first)?).ok()?).copied()
    }
}

/// The commit that stands for a record whose own is not known.
pub(super) fn lost_commit(before: CommitHash, seq: u64) -> CommitHash {
    before.next(LineageId::from_bytes([0; 16]), seq, Kind::LOST, &[0; 32], b"")
}
