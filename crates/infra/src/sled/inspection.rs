//! Checking a store that nobody has open, and setting damage aside.
//!
//! [`verify`] reads the segments and nothing else, changes nothing, and reports everything it finds. [`repair`] makes a damaged store usable
//! again without deleting anything: what cannot be read is copied into the quarantine, and a record takes its place that says so.
//!
//! Must not know: the index, a running store.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use sessions_domain::{Blind, CommitHash, Event, Kind, LineageId, SessionId, View, codec};
use sessions_ports::StoreError;

use super::{
    folder::{self, Folder, failed},
    frame::{self, BLOB, FILLER, Found, Frame, FrameHeader, HEADER, MARK, REPAIR, Scan, Trailer},
    segment::{self, SEGMENT_HEADER, Segment},
    writer::{blob_path, mark_frame},
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

/// One thing that a repair did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairAction {
    /// What.
    pub what: String,
    /// The session it concerns.
    pub session: Option<SessionId>,
    /// The record it concerns.
    pub seq: Option<u64>,
    /// Where the bytes are kept.
    pub kept_at: Option<PathBuf>,
}

/// What a repair did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// In order.
    pub actions: Vec<RepairAction>,
    /// True when nothing was changed.
    pub dry_run: bool,
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
struct Damage {
    segment: u32,
    from: usize,
    to: usize,
    /// Nothing behind it was ever synced: opening the store sets it aside.
    torn: bool,
}

struct Inspection {
    report: VerifyReport,
    damage: Vec<Damage>,
    /// Records that are missing, with the commit before the first of them.
    missing: Vec<(SessionId, u64, CommitHash)>,
    last_segment: (u32, u64),
}

fn inspect(folder: &Folder) -> Result<Inspection, StoreError> {
    let numbers = segment::numbers(&folder.log())?;
    let mut check = Check { blobs: folder.blobs(), store: folder.id, ..Check::default() };
    let (mut damage, mut synced, mut expected, mut base) = (Vec::new(), 0_u64, None, 0_u64);
    let last = numbers.last().copied().unwrap_or(0);
    for number in numbers {
        let name = format!("log/{number:08}.seg");
        if expected.is_some_and(|expected| expected != number) {
            check.report.findings.push(about_file(&name, 0, "the segments before this one are missing"));
        }
        expected = Some(number + 1);
        let path = segment::path_of(&folder.log(), number);
        let bytes = fs::read(path).map_err(|error| failed("reading the log", error))?;
        base = segment::base_of(&bytes, number, folder.id).unwrap_or_else(|| {
            check.report.findings.push(about_file(&name, 0, "the segment's header is damaged"));
            base
        });
        let found: Vec<Found<'_>> = Scan::new(&bytes, SEGMENT_HEADER as usize).collect();
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
                        break;
                    }
                }
                Found::Frame(at, frame) => check.frame(&name, at, &frame),
            }
        }
        check.report.segments += 1;
        check.report.bytes += bytes.len() as u64;
        base += bytes.len() as u64;
    }
    let missing = check.finish();
    Ok(Inspection { report: check.report, damage, missing, last_segment: (last, base) })
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
    repaired: u64,
}

struct Check {
    report: VerifyReport,
    sessions: HashMap<SessionId, Checked>,
    blobs: PathBuf,
    store: sessions_ports::StoreId,
}

impl Default for Check {
    fn default() -> Self {
        let store = sessions_ports::StoreId([0; 16]);
        Self { report: VerifyReport::default(), sessions: HashMap::new(), blobs: PathBuf::new(), store }
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
        if let Some(header) = named.filter(|_| !torn)
            && let Some(checked) = self.sessions.get_mut(&header.session)
            && header.seq == checked.next()
        {
            checked.skip(header.seq);
        }
    }

    fn frame(&mut self, file: &str, at: usize, frame: &Frame<'_>) {
        let header = frame.header;
        if header.kind == MARK || header.kind == FILLER {
            return;
        }
        self.report.records += 1;
        let checked = self.sessions.entry(header.session).or_insert_with(|| {
            let first = if header.flags & frame::FIRST != 0 { header.seq } else { 1 };
            let (commits, missing) = (Vec::new(), BTreeMap::new());
            Checked { lineage: None, view: None, first, commits, missing, repaired: 0 }
        });
        if header.flags & REPAIR != 0 {
            checked.missing.remove(&header.seq);
            checked.repaired += 1;
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
            checked.skip(checked.next());
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
        let inherited = match self.beginning(frame, payload.as_deref()) {
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
        let was_missing = checked.missing.contains_key(&(header.seq.wrapping_sub(1)));
        checked.commits.push(header.commit);
        let Some(payload) = payload else { return Err("the large body is missing or damaged".to_owned()) };
        let (blind, body) = payload.split_first_chunk::<32>().ok_or("the record is too short")?;
        let (event, stamp) = codec::decode(header.kind, body).map_err(|error| error.to_string())?;
        if let Some((created, tree)) = inherited {
            checked.lineage = Some(created.lineage);
            let start = created.fork.as_ref().map_or(CommitHash::ZERO, |fork| fork.commit);
            follows(start, created.lineage, header, blind, body)?;
            let view = View::begin(header.seq, &created, &stamp, header.commit, tree.as_ref());
            checked.view = Some(view.map_err(|error| error.to_string())?);
            return Ok(());
        }
        if let (Some(lineage), Some(before), false) = (checked.lineage, before, was_missing) {
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
        let payload = fs::read(blob_path(&self.blobs, hash)).ok()?;
        (super::blob_name(self.store, &payload) == *hash).then_some(payload)
    }

    /// Reports what is still missing at the end.
    fn finish(&mut self) -> Vec<(SessionId, u64, CommitHash)> {
        self.report.sessions = self.sessions.len() as u64;
        let mut all = Vec::new();
        for (session, checked) in &self.sessions {
            for (seq, before) in &checked.missing {
                all.push((*session, *seq, *before));
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
        all.sort_unstable_by_key(|(session, seq, _)| (*session, *seq));
        all
    }
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
    fn next(&self) -> u64 {
        self.first + self.commits.len() as u64
    }

    /// Goes on behind a record that is missing.
    fn skip(&mut self, seq: u64) {
        let before = self.commits.last().copied().unwrap_or(CommitHash::ZERO);
        let stands_for = lost_commit(before, seq);
        self.missing.insert(seq, before);
        self.commits.push(stands_for);
        if let Some(view) = &mut self.view {
            let stamp = sessions_domain::Stamp { at: view.updated(), actor: sessions_domain::Actor::default() };
            // A lost record can follow anything.
            let _ = view.apply(seq, &Event::Lost, &stamp, stands_for);
        }
    }

    fn commit_at(&self, seq: u64, sessions: &HashMap<SessionId, Checked>) -> Option<CommitHash> {
        if seq >= self.first {
            return self.commits.get(usize::try_from(seq - self.first).ok()?).copied();
        }
        let owner = self.view.as_ref()?.owner_of(seq);
        let owner = sessions.get(&owner).filter(|owner| owner.first < self.first)?;
        owner.commits.get(usize::try_from(seq.checked_sub(owner.first)?).ok()?).copied()
    }
}

/// The commit that stands for a record whose own is not known.
fn lost_commit(before: CommitHash, seq: u64) -> CommitHash {
    before.next(LineageId::from_bytes([0; 16]), seq, Kind::LOST, &[0; 32], b"")
}

/// Sets damage aside, so that every session can be read and written again. With `dry_run` it only says what it would do.
///
/// Damaged bytes are copied into the quarantine before a filler takes their place; a record that is missing is stood for by one that says
/// that it was lost. The index is thrown away, and built anew when the store is opened.
///
/// # Errors
/// When the store cannot be read or written; what was done until then stays.
pub fn repair(path: &Path, dry_run: bool) -> Result<RepairReport, StoreError> {
    let folder = Folder::existing(path)?;
    let found = inspect(&folder)?;
    let mut report = RepairReport { actions: Vec::new(), dry_run };
    for damage in found.damage.iter().filter(|damage| !damage.torn) {
        let kept_at = if dry_run { None } else { Some(set_aside(&folder, damage)?) };
        let what = format!(
            "set aside {} damaged bytes of segment {} at {}",
            damage.to - damage.from,
            damage.segment,
            damage.from
        );
        report.actions.push(RepairAction { what, session: None, seq: None, kept_at });
    }
    for (session, seq, _) in &found.missing {
        let what = "marked the record as lost".to_owned();
        report.actions.push(RepairAction { what, session: Some(*session), seq: Some(*seq), kept_at: None });
    }
    if !found.missing.is_empty() && !dry_run {
        write_lost(&folder, &found)?;
    }
    let torn = found.damage.iter().any(|damage| damage.torn);
    if torn {
        let what = "left an unfinished write at the end to the next opening".to_owned();
        report.actions.push(RepairAction { what, session: None, seq: None, kept_at: None });
    }
    if !report.actions.is_empty() && folder.index().exists() {
        let aside = folder.aside("index-before-repair");
        if !dry_run {
            fs::rename(folder.index(), &aside).map_err(|error| failed("setting the index aside", error))?;
        }
        let (what, kept_at) = ("set the index aside; opening builds it anew".to_owned(), (!dry_run).then_some(aside));
        report.actions.push(RepairAction { what, session: None, seq: None, kept_at });
    }
    Ok(report)
}

fn set_aside(folder: &Folder, damage: &Damage) -> Result<PathBuf, StoreError> {
    let segment = Segment::open(&folder.log(), damage.segment, 0)?;
    let mut bytes = vec![0; damage.to - damage.from];
    let operation = "setting damaged bytes aside";
    segment.file.read_exact_at(&mut bytes, damage.from as u64).map_err(|error| failed(operation, error))?;
    let aside = folder.aside(&format!("damaged-{:08}-{}", damage.segment, damage.from));
    let keep = || {
        let mut file = folder::private().write(true).create_new(true).open(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    keep().map_err(|error| failed(operation, error))?;
    folder::sync_dir(&folder.quarantine())?;
    let mut filler = Vec::new();
    if let Some(length) = bytes.len().checked_sub(HEADER) {
        let header = FrameHeader {
            kind: FILLER,
            flags: 0,
            session: SessionId::from_bytes([0; 16]),
            seq: 0,
            label: 0,
            commit: CommitHash::ZERO,
        };
        frame::write(&mut filler, &header, &vec![0; length], None, &[]);
    }
    if filler.len() == bytes.len() {
        let write = segment.file.write_all_at(&filler, damage.from as u64).and_then(|()| segment.file.sync_all());
        write.map_err(|error| failed(operation, error))?;
    }
    Ok(aside)
}

/// Writes, into a segment of their own, the records that stand for missing ones.
fn write_lost(folder: &Folder, found: &Inspection) -> Result<(), StoreError> {
    let (last, base) = found.last_segment;
    let mut frames = Vec::new();
    for (session, seq, before) in &found.missing {
        let header = FrameHeader {
            kind: Kind::LOST,
            flags: REPAIR,
            session: *session,
            seq: *seq,
            label: 0,
            commit: lost_commit(*before, *seq),
        };
        frame::write(&mut frames, &header, &[0; 32], Some(Trailer::default()), &[]);
    }
    let end = base + u64::from(SEGMENT_HEADER) + frames.len() as u64;
    frames.extend(mark_frame(end));
    let length =
        u32::try_from(frames.len()).map_err(|_| StoreError::TooLarge { bytes: end, max: u64::from(u32::MAX) })?;
    let segment = Segment::create(&folder.log(), last + 1, base, folder.id, SEGMENT_HEADER + length)?;
    let write = segment.file.write_all_at(&frames, u64::from(SEGMENT_HEADER)).and_then(|()| segment.file.sync_all());
    write.map_err(|error| failed("writing what stands for lost records", error))
}
