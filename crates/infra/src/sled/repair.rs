//! Making a damaged store usable again, without deleting anything.
//!
//! What cannot be read is copied into the quarantine, and a record takes its place that says so.
//!
//! Must not know: the index, a running store.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_domain::{Actor, CommitHash, Created, Event, Kind, LineageId, SessionId, Stamp, SummaryWords, codec};
use sessions_ports::{Clock as _, HeadWitness, StoreError};

use super::{
    SledStore,
    checking::Missing,
    folder::{self, Folder, Sealing, failed, sealing_of},
    frame::{self, FILLER, FIRST, FrameHeader, HEADER, REMOVED, REPAIR, Trailer},
    inspection::{Damage, Inspection, Keyed, inspect},
    recovery::{rewrite_tail, set_segment_aside},
    segment::{self, SEGMENT_HEADER, Segment},
    unsealing::RecordOpener,
};
use crate::{beginning, counted::counted, environment::SystemClock};

/// One thing that a repair did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairAction {
    /// What.
    pub what: String,
    /// The session it concerns.
    pub session: Option<SessionId>,
    /// The record it concerns.
    pub seq: Option<u64>,
    /// When it concerns several: the last of them.
    pub last: Option<u64>,
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
    /// Everything that stands in the quarantine afterwards, with its bytes: files, and folders as a whole.
    pub quarantine: Vec<(PathBuf, u64)>,
}

impl RepairReport {
    /// Adds what was done, or would be, with the verb for each.
    fn did(&mut self, verb: [&str; 2], what: impl fmt::Display, kept_at: Option<PathBuf>) {
        let what = self.said(verb, what);
        self.actions.push(RepairAction { what, session: None, seq: None, last: None, kept_at });
    }

    /// Adds what was done about records that follow each other.
    fn marked(&mut self, missing: &[Missing]) {
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return };
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for missing in missing {
            *kinds.entry(missing.kind.map_or("of a kind that is not known", name_of)).or_default() += 1;
        }
        let several = missing.len() > 1;
        let one =
            |(name, count): (&&str, &u64)| if several { format!("{count} × {name}") } else { (*name).to_owned() };
        let kinds = kinds.iter().map(one).collect::<Vec<_>>().join(", ");
        let records = if several { format!("{} records", missing.len()) } else { "the record".to_owned() };
        self.actions.push(RepairAction {
            what: self.said(["marked", "would mark"], format_args!("{records} as lost ({kinds})")),
            session: Some(first.session),
            seq: Some(first.seq),
            last: several.then_some(last.seq),
            kept_at: None,
        });
    }

    /// Adds that a removal was written again.
    fn removed(&mut self, session: SessionId) {
        let what = self.said(["wrote", "would write"], "again that the session was deleted");
        self.actions.push(RepairAction { what, session: Some(session), seq: None, last: None, kept_at: None });
    }

    fn said(&self, [done, would]: [&str; 2], what: impl fmt::Display) -> String {
        format!("{} {what}", if self.dry_run { would } else { done })
    }
}

/// Sets damage aside, so that every session can be read and written again. With `dry_run` it only says what it would do.
///
/// Damaged bytes are copied into the quarantine before a filler takes their place; a record that is missing is stood for by one that says
/// that it was lost. What the index remembers of a log that lost its end goes into these, and then the index is set aside, to be built
/// anew when the store is opened.
///
/// # Errors
/// When the store cannot be read or written; what was done until then stays. When there is an index and no copy of it can be made to look
/// into, or a large body that the system does not let be read, nothing was changed. [`StoreError::NewerFormat`]: nothing was changed.
pub fn repair(path: &Path, dry_run: bool) -> Result<RepairReport, StoreError> {
    Ok(repaired(path, dry_run, Keyed::default())?.0)
}

/// The same, with the key that attests the heads of all sessions. When anything was repaired, or the sessions did not stand as attested, the
/// store is opened once and writes a new root, which takes how they stand then for right: what was found before is settled by this, so a person
/// looks at what [`verify_with`](super::verify_with) says first.
///
/// # Errors
/// As [`repair`], and those of opening the store.
pub fn repair_with(path: &Path, dry_run: bool, witness: Arc<dyn HeadWitness>) -> Result<RepairReport, StoreError> {
    attested_anew(path, dry_run, witness, None)
}

/// The same of a sealed store, with what opens its records: those whose seals are broken, so that nobody will ever open them, are marked as lost too.
///
/// # Errors
/// As [`repair_with`].
pub fn repair_sealed(
    path: &Path,
    dry_run: bool,
    witness: Arc<dyn HeadWitness>,
    opener: Arc<dyn RecordOpener>,
) -> Result<RepairReport, StoreError> {
    attested_anew(path, dry_run, witness, Some(opener))
}

fn attested_anew(
    path: &Path,
    dry_run: bool,
    witness: Arc<dyn HeadWitness>,
    opener: Option<Arc<dyn RecordOpener>>,
) -> Result<RepairReport, StoreError> {
    let (mut report, is_attested) = repaired(path, dry_run, Keyed { witness: Some(witness.as_ref()), opener })?;
    if is_attested && report.actions.is_empty() {
        return Ok(report);
    }
    if !dry_run {
        SledStore::attest_anew(path, witness)?;
    }
    let what = "a keyed root, which attests the sessions as they stand after this repair";
    report.did(["wrote", "would write"], what, None);
    Ok(report)
}

/// What was done, and whether the sessions stood as attested before.
fn repaired(path: &Path, dry_run: bool, keyed: Keyed<'_>) -> Result<(RepairReport, bool), StoreError> {
    let folder = Folder::existing(path)?;
    let mut found = inspect(&folder, keyed)?;
    if let Some(error) = found.not_seen.take() {
        return Err(error);
    }
    let mut report = RepairReport { dry_run, ..RepairReport::default() };
    if !dry_run {
        ["log", "quarantine"].iter().try_for_each(|part| folder::make(&folder.root.join(part)))?;
    }
    if let Some(what) = folder.lost_format {
        let kept_at = if dry_run { None } else { folder.write_format_anew()? };
        report.did(["wrote", "would write"], format_args!("the FORMAT file anew, which was {what}"), kept_at);
    }
    for number in &found.unused {
        let kept_at = if dry_run { None } else { Some(set_segment_aside(&folder, *number)?) };
        report.did(["set", "would set"], format_args!("segment {number} aside, which was never used"), kept_at);
    }
    let before = report.actions.len();
    if !found.missing.is_empty() || !found.removals.is_empty() {
        // It goes behind the end of the log, so that end has to be clean. And it comes first: the damaged bytes may be all that tells of it.
        for damage in found.damage.iter().filter(|damage| damage.torn) {
            set_damage_aside(&folder, damage, &mut report)?;
        }
        if !dry_run {
            sync_end(&folder, &found)?;
            write_lost(&folder, &found)?;
        }
    }
    repair_segments(&folder, &found, &mut report)?;
    for body in &found.spoilt_bodies {
        let kept_at = if dry_run { None } else { Some(set_body_aside(&folder, body)?) };
        report.did(["set", "would set"], "a damaged large body aside", kept_at);
    }
    let follows = |one: &Missing, next: &Missing| one.session == next.session && one.seq + 1 == next.seq;
    found.missing.chunk_by(follows).for_each(|missing| report.marked(missing));
    found.removals.iter().for_each(|(session, ..)| report.removed(*session));
    if found.missing.is_empty() && found.removals.is_empty() && found.damage.iter().any(|damage| damage.torn) {
        report.did(["left", "would leave"], "an unfinished write at the end to the next opening", None);
    }
    if found.cut > 0 && report.actions.is_empty() {
        let cut = counted(found.cut, "byte");
        let what = format_args!("notice that the log lost {cut} of its end, and no record with them");
        report.did(["took", "would take"], what, None);
    }
    // A repair that was broken off before this step is finished by the next one.
    if (report.actions.len() > before || found.is_behind) && folder.index().exists() {
        let aside = folder.aside("index-before-repair");
        if !dry_run {
            fs::rename(folder.index(), &aside).map_err(|error| failed("setting the index aside", error))?;
            folder::sync_dir(&folder.quarantine())?;
            folder::sync_dir(&folder.root)?;
        }
        report.did(["set", "would set"], "the index aside; opening builds it anew", (!dry_run).then_some(aside));
    }
    report.quarantine = folder.in_quarantine();
    Ok((report, found.is_attested))
}

/// Headers, segments that are missing, and bytes that are no frames.
fn repair_segments(folder: &Folder, found: &Inspection, report: &mut RepairReport) -> Result<(), StoreError> {
    let dry_run = report.dry_run;
    for (number, base) in &found.headers {
        if !dry_run {
            let write = Segment::open(&folder.log(), *number, *base)?.write_header(folder.id);
            write.map_err(|error| failed("writing a segment's header", error))?;
        }
        report.did(["wrote", "would write"], format_args!("the header of segment {number} anew"), None);
    }
    for damage in found.damage.iter().filter(|damage| !damage.torn) {
        set_damage_aside(folder, damage, report)?;
    }
    for (number, base) in &found.absent {
        if !dry_run {
            stand_in(folder, *number, *base)?;
        }
        report.did(["marked", "would mark"], format_args!("segment {number} as lost"), None);
    }
    Ok(())
}

fn set_damage_aside(folder: &Folder, damage: &Damage, report: &mut RepairReport) -> Result<(), StoreError> {
    let kept_at = if report.dry_run { None } else { Some(set_aside(folder, damage)?) };
    let Damage { segment, from, to, .. } = damage;
    let bytes = counted((to - from) as u64, "damaged byte");
    report.did(["set", "would set"], format_args!("aside {bytes} of segment {segment} at {from}"), kept_at);
    Ok(())
}

/// Puts a segment in the place of one that is missing. All it says is that what it held is lost.
fn stand_in(folder: &Folder, number: u32, base: u64) -> Result<(), StoreError> {
    let mut filler = Vec::new();
    frame::write(&mut filler, &FrameHeader { flags: REPAIR, ..filler_header() }, &[], None, &[]);
    let length = u32::try_from(filler.len()).unwrap_or(u32::MAX);
    let segment = Segment::create(&folder.log(), number, base, folder.id, SEGMENT_HEADER + length)?;
    let write = segment.file.write_all_at(&filler, u64::from(SEGMENT_HEADER)).and_then(|()| segment.file.sync_all());
    write.map_err(|error| failed("writing what stands for a lost segment", error))
}

fn filler_header() -> FrameHeader {
    let session = SessionId::from_bytes([0; 16]);
    FrameHeader { kind: FILLER, flags: 0, session, seq: 0, label: 0, commit: CommitHash::ZERO }
}

fn set_body_aside(folder: &Folder, body: &Path) -> Result<PathBuf, StoreError> {
    let name = body.file_name().map_or_else(|| "body".to_owned(), |name| name.to_string_lossy().into_owned());
    let aside = folder.aside(&format!("body-{name}"));
    fs::rename(body, &aside).map_err(|error| failed("setting a damaged large body aside", error))?;
    folder::sync_dir(&folder.quarantine())?;
    Ok(aside)
}

/// What a record of a kind is, for people.
fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::CREATED => "the session's beginning",
        Kind::APPENDED => "a message",
        Kind::MOVED => "a move of the head",
        Kind::CLEARED => "a clear",
        Kind::DESCRIBED => "words about the session",
        Kind::RESIDUE => "lines of an imported file",
        Kind::LOST => "lost before",
        _ => "of a kind that this version does not know",
    }
}

fn set_aside(folder: &Folder, damage: &Damage) -> Result<PathBuf, StoreError> {
    let segment = Segment::open(&folder.log(), damage.segment, 0)?;
    let operation = "setting damaged bytes aside";
    let length = segment.file.metadata().map_err(|error| failed(operation, error))?.len();
    // Bytes that were cut off cannot be kept, only stood for.
    let there = usize::try_from(length).unwrap_or(usize::MAX).clamp(damage.from, damage.to) - damage.from;
    let mut bytes = vec![0; there];
    segment.file.read_exact_at(&mut bytes, damage.from as u64).map_err(|error| failed(operation, error))?;
    let aside = folder.aside(&format!("damaged-{:08}-{}", damage.segment, damage.from));
    let keep = || {
        let mut file = folder::private().write(true).create_new(true).open(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    keep().map_err(|error| failed(operation, error))?;
    folder::sync_dir(&folder.quarantine())?;
    if damage.torn {
        let (from, to) = (u32::try_from(damage.from).unwrap_or(u32::MAX), u32::try_from(damage.to).unwrap_or(u32::MAX));
        let zeros = segment::fill(&segment.file, from, to).and_then(|()| segment.file.sync_all());
        zeros.map_err(|error| failed(operation, error))?;
        return Ok(aside);
    }
    let write = match (damage.to - damage.from).checked_sub(HEADER) {
        Some(length) => {
            let mut filler = Vec::new();
            frame::write(&mut filler, &filler_header(), &vec![0; length], None, &[]);
            segment.file.write_all_at(&filler, damage.from as u64)
        }
        // Shorter than any frame: so few zeros are no damage.
        None => segment.file.write_all_at(&vec![0; damage.to - damage.from], damage.from as u64),
    };
    write.and_then(|()| segment.file.sync_all()).map_err(|error| failed(operation, error))?;
    Ok(aside)
}

/// What the last segment holds is on the disk before another stands behind it, whose mark says so.
fn sync_end(folder: &Folder, found: &Inspection) -> Result<(), StoreError> {
    let (last, end) = found.last_segment;
    if last == 0 {
        return Ok(());
    }
    let segment = Segment::open(&folder.log(), last, found.base)?;
    let at = u32::try_from(end - found.base).unwrap_or(u32::MAX);
    let write = rewrite_tail(&segment, found.synced, at).and_then(|()| segment.file.sync_all());
    write.map_err(|error| failed("writing the end of the log anew", error))
}

/// Writes, into a segment of their own, the records that stand for missing ones.
fn write_lost(folder: &Folder, found: &Inspection) -> Result<(), StoreError> {
    let (last, base) = found.last_segment;
    let sealing = sealing_of(&folder.root);
    let now = SystemClock.now().as_millis();
    let (mut frames, mut written) = (Vec::new(), None);
    for missing in &found.missing {
        let Missing { session, seq, beginning, words, .. } = missing;
        // What was written in the place of the one before decides, where that is lost too.
        let before = match written {
            Some((of, at, commit)) if (of, at) == (*session, *seq - 1) => commit,
            _ => missing.before,
        };
        let (kind, commit, payload, words, updated) = match beginning {
            Some(stamp) => begun_anew(missing, stamp, sealing)?,
            None => {
                let commit = missing.commit.unwrap_or(before.after_lost(*seq));
                (Kind::LOST, commit, vec![0; 32], words.as_deref().unwrap_or_default().to_vec(), now)
            }
        };
        let flags = if beginning.is_some() { REPAIR | FIRST } else { REPAIR };
        let header = FrameHeader { kind, flags, session: *session, seq: *seq, label: 0, commit };
        written = Some((*session, *seq, commit));
        let mut extra = Vec::new();
        if !words.is_empty() {
            frame::write_field(&mut extra, frame::WORDS, &[&words]);
        }
        if let Some(key) = &missing.key {
            frame::write_field(&mut extra, frame::KEY, &[key]);
        }
        if let Some(beside) = &missing.beside {
            frame::write_field(&mut extra, frame::BEGINNING, &[&beside.encoded()]);
        }
        for (owner, last) in missing.fork.iter().flat_map(|fork| &fork.owners) {
            frame::write_field(&mut extra, frame::LINK, &[&owner.to_bytes(), &last.to_le_bytes()]);
        }
        frame::write(&mut frames, &header, &payload, Some(Trailer { updated, ..Trailer::default() }), &extra);
    }
    for (session, seq, key) in &found.removals {
        let (flags, commit) = (REPAIR, CommitHash::ZERO);
        let header = FrameHeader { kind: REMOVED, flags, session: *session, seq: *seq, label: 0, commit };
        let mut extra = Vec::new();
        if let Some(key) = key {
            frame::write_field(&mut extra, frame::KEY, &[key]);
        }
        frame::write(&mut frames, &header, &[], Some(Trailer::default()), &extra);
    }
    let end = base + u64::from(SEGMENT_HEADER) + frames.len() as u64;
    frames.extend(frame::mark(end));
    let length =
        u32::try_from(frames.len()).map_err(|_| StoreError::TooLarge { bytes: end, max: u64::from(u32::MAX) })?;
    let segment = Segment::create(&folder.log(), last + 1, base, folder.id, SEGMENT_HEADER + length)?;
    let write = segment.file.write_all_at(&frames, u64::from(SEGMENT_HEADER)).and_then(|()| segment.file.sync_all());
    write.map_err(|error| failed("writing what stands for lost records", error))
}

type Begun = (Kind, CommitHash, Vec<u8>, Vec<u8>, i64);

/// What stands for a session's beginning, without which nothing of it could be read: kind, commit, payload, words, and when it was
/// changed. Its lineage is lost; its names are what the index remembers, its tenant the one of its other records. In a sealed store it says
/// nothing of that: the row's sealed words do, to whoever has the key.
fn begun_anew(missing: &Missing, stamp: &Stamp, sealing: Sealing) -> Result<Begun, StoreError> {
    let mut stamp = stamp.clone();
    if sealing == Sealing::Sealed {
        stamp.actor = Actor::default();
    }
    let nameless = || SummaryWords { tenant: stamp.actor.tenant.clone(), ..SummaryWords::default() };
    let known = missing.words.as_deref().filter(|_| sealing == Sealing::Plain).and_then(SummaryWords::from_json);
    let mut words = known.unwrap_or_else(nameless);
    let of_row = match sealing {
        Sealing::Plain => words.to_json(),
        Sealing::Sealed => missing.words.as_deref().unwrap_or_default().to_vec(),
    };
    // Without its digest the key would find nothing.
    words.key = words.key.filter(|_| missing.key.is_some());
    let session = missing.session;
    let lineage = LineageId::from_bytes(session.to_bytes());
    let created = Created { fork: missing.fork.clone(), ..Created::of(session, lineage) };
    let created = beginning::named(created, &mut stamp, &words);
    let body = codec::encode(&Event::Created(Box::new(created)), &stamp)
        .map_err(|_| StoreError::Malformed { what: "what stands for a session's beginning has no JSON form" })?;
    let start = missing.fork.as_ref().map_or(CommitHash::ZERO, |fork| fork.commit);
    let commit = start.next(lineage, missing.seq, Kind::CREATED, &[0; 32], &body);
    Ok((Kind::CREATED, commit, [&[0; 32], body.as_slice()].concat(), of_row, missing.updated))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use sessions_ports::{Commit, Durability, KindFilter, Order, ReadRange, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{IndexReport, Severity, SledOptions, SledStore, verify};

    async fn open(folder: &TempDir) -> SledStore {
        SledStore::open(folder.path().join("store"), SledOptions::default()).await.unwrap()
    }

    async fn say(store: &SledStore, script: &mut Script, text: &str) {
        store.commit(Commit { durability: Durability::Disk, ..script.say(text) }).await.unwrap();
    }

    /// A store with a session of three records, and what was done to the bytes of its log.
    async fn harmed(harm: impl FnOnce(&mut Vec<u8>, &[usize])) -> (TempDir, Script) {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let mut script = Script::new(1);
        for text in ["a", "b", "c"] {
            say(&store, &mut script, text).await;
        }
        store.close().await.unwrap();
        drop(store);
        let file = folder.path().join("store/log/00000001.seg");
        let mut log = fs::read(&file).unwrap();
        let frames: Vec<usize> = frames(&log);
        harm(&mut log, &frames);
        fs::write(&file, log).unwrap();
        (folder, script)
    }

    fn frames(log: &[u8]) -> Vec<usize> {
        log.windows(4).enumerate().filter(|(_, bytes)| *bytes == frame::MAGIC).map(|(at, _)| at).collect()
    }

    fn damage(log: &mut [u8], frame: usize) {
        log[frame..frame + HEADER].fill(0xee);
    }

    /// As when the last step of a repair never reached the disk.
    fn put_index_back(path: &Path) {
        fs::rename(path.join("quarantine/index-before-repair.0"), path.join("index")).unwrap();
    }

    async fn kinds(store: &SledStore, session: SessionId) -> Vec<Kind> {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: 1, to: u64::MAX, order, kinds, max_records: 99, max_bytes: 1 << 20 };
        let page = store.read(session, range).await.unwrap();
        page.records.iter().map(|record| record.kind).collect()
    }

    /// The store reads, its session goes on behind what was lost, and nothing is left to repair.
    async fn is_repaired(folder: &TempDir, session: SessionId, lost: &[u64]) {
        let store = open(folder).await;
        let read = kinds(&store, session).await;
        let found: Vec<u64> = (1..).zip(&read).filter(|(_, kind)| **kind == Kind::LOST).map(|(seq, _)| seq).collect();
        assert_eq!((read.len(), found.as_slice()), (3, lost));
        assert_eq!(store.head(session).await.unwrap().unwrap().version, 3);
        store.close().await.unwrap();
        drop(store);
        let path = folder.path().join("store");
        assert_eq!(repair(&path, false).unwrap().actions, []);
        assert_eq!(open(folder).await.report().index, IndexReport::Opened);
    }

    #[tokio::test]
    async fn a_repair_that_was_broken_off_before_its_last_step_is_finished_by_opening() {
        let (folder, script) = harmed(|log, frames| damage(log, frames[1])).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        put_index_back(&path);
        is_repaired(&folder, script.session(), &[2]).await;

        let (folder, script) = harmed(|log, frames| log.truncate(frames[1])).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        put_index_back(&path);
        is_repaired(&folder, script.session(), &[2, 3]).await;
    }

    #[tokio::test]
    async fn a_repair_that_was_broken_off_before_its_last_step_is_finished_by_the_next() {
        let (folder, script) = harmed(|log, frames| damage(log, frames[1])).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        put_index_back(&path);
        let told = verify(&path).unwrap().findings;
        assert!(told.iter().any(|told| told.what.starts_with("the index does not know")), "{told:?}");
        let again = repair(&path, false).unwrap().actions;
        assert!(matches!(again.as_slice(), [action] if action.what.starts_with("set the index aside")), "{again:?}");
        is_repaired(&folder, script.session(), &[2]).await;
    }

    #[tokio::test]
    async fn a_repair_that_cannot_look_into_the_index_changes_nothing() {
        let (folder, script) = harmed(|log, frames| {
            damage(log, frames[1]);
            log.truncate(frames[2]);
        })
        .await;
        let path = folder.path().join("store");
        fs::write(path.join("index.look"), b"in the way").unwrap();
        let refused = repair(&path, false);
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(fs::read_dir(path.join("quarantine")).map_or(0, Iterator::count), 0);
        let told = verify(&path).unwrap();
        assert_eq!(told.index, crate::sled::IndexLook::Unreadable);
        fs::remove_file(path.join("index.look")).unwrap();
        repair(&path, false).unwrap();
        is_repaired(&folder, script.session(), &[2, 3]).await;
    }

    #[tokio::test]
    async fn an_index_that_a_repair_left_still_tells_what_is_cut_off_afterwards() {
        let (folder, script) = harmed(|log, frames| damage(log, frames[0])).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        put_index_back(&path);
        let file = path.join("log/00000001.seg");
        let log = fs::read(&file).unwrap();
        fs::write(&file, &log[..frames(&log)[2]]).unwrap();
        for _ in 0..2 {
            let store = open(&folder).await;
            assert!(store.report().shortened);
            assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 3);
            store.close().await.unwrap();
        }
        let did = repair(&path, false).unwrap().actions;
        assert!(did.iter().any(|did| did.seq == Some(3)), "{did:?}");
        let store = open(&folder).await;
        let expected = [Kind::CREATED, Kind::APPENDED, Kind::LOST];
        assert_eq!(kinds(&store, script.session()).await, expected);
        store.close().await.unwrap();
        drop(store);
        assert_eq!(repair(&path, false).unwrap().actions, []);
    }

    #[tokio::test]
    async fn damage_that_is_shorter_than_any_frame_is_repaired_once() {
        for (damage, zeros, is_at_an_end) in
            [(40, 0, false), (79, 0, false), (40, 0, true), (30, 9, true), (60, 50, true)]
        {
            let (folder, script) = harmed(|log, frames| {
                let bytes = [vec![0xee; damage], vec![0; zeros]].concat();
                log.splice(frames[2]..frames[2], bytes);
            })
            .await;
            let path = folder.path().join("store");
            fs::remove_dir_all(path.join("index")).unwrap();
            if is_at_an_end {
                split(&path, 2);
            }
            let did = repair(&path, false).unwrap().actions;
            assert!(matches!(did.as_slice(), [one] if one.what.contains("damaged bytes of segment 1")), "{did:?}");
            let about_files = verify(&path).unwrap().findings.into_iter().filter(|found| found.session.is_none());
            assert_eq!(about_files.collect::<Vec<_>>(), []);
            assert!(path.join("quarantine").read_dir().unwrap().count() == 1);
            is_repaired(&folder, script.session(), &[]).await;
        }
    }

    /// The log goes on in another segment from a frame on.
    fn split(path: &Path, frame: usize) {
        let file = path.join("log/00000001.seg");
        let log = fs::read(&file).unwrap();
        let at = frames(&log)[frame];
        let folder = Folder::existing(path).unwrap();
        let second = Segment::create(&folder.log(), 2, at as u64, folder.id, SEGMENT_HEADER).unwrap();
        second.file.write_all_at(&log[at..], u64::from(SEGMENT_HEADER)).unwrap();
        fs::write(&file, &log[..at]).unwrap();
    }

    /// Where the test below finds the store when it is run by itself.
    const STORE: &str = "SESSIONS_TEST_REPAIRED_STORE";

    #[tokio::test]
    async fn what_a_repair_writes_behind_is_on_the_disk_first() {
        if let Some(store) = std::env::var_os(STORE) {
            repair(Path::new(&store), false).unwrap();
            return;
        }
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let mut script = Script::new(1);
        for text in ["a", &"x".repeat(100_000)] {
            say(&store, &mut script, text).await;
        }
        store.commit(Commit { durability: Durability::Process, ..script.say("not synced") }).await.unwrap();
        // As a kill leaves it, and a large body is gone.
        let (killed, trace) = (folder.path().join("killed"), folder.path().join("trace"));
        let copied = Command::new("cp").arg("-a").arg(folder.path().join("store")).arg(&killed).status();
        assert!(copied.unwrap().success());
        store.close().await.unwrap();
        fs::remove_dir_all(killed.join("blobs")).unwrap();
        let name = "sled::repair::tests::what_a_repair_writes_behind_is_on_the_disk_first";
        let traced = Command::new("strace")
            .args(["-f", "-y", "-e", "trace=pwrite64,fsync,openat", "-o"])
            .arg(&trace)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(STORE, &killed)
            .output();
        assert!(traced.expect("install strace to run this test").status.success());
        let trace = fs::read_to_string(&trace).unwrap();
        let (before, _) = trace.split_once("00000002.seg").unwrap();
        let of_first =
            |call: &str| before.lines().position(|line| line.contains(call) && line.contains("00000001.seg>"));
        let (written, synced) = (of_first("pwrite64("), of_first("fsync("));
        assert!(written.is_some() && written < synced, "{before}");
    }

    /// Runs a test of this module by itself, with system calls on a path refused.
    fn refused(name: &str, store: &Path, path: &Path, calls: &str) {
        let traced = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=openat", "-e", calls, "-P"])
            .arg(path)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("sled::repair::tests::{name}"), "--nocapture"])
            .env(STORE, store)
            .output();
        let traced = traced.expect("install strace to run this test");
        assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    }

    #[tokio::test]
    async fn a_large_body_that_the_system_does_not_let_be_read_is_not_taken_for_damaged() {
        let mut script = Script::new(1);
        if let Some(store) = std::env::var_os(STORE) {
            let path = Path::new(&store);
            assert!(matches!(repair(path, false), Err(StoreError::Backend(_))));
            let told = verify(path).unwrap().findings;
            assert!(told.iter().any(|told| told.seq == Some(2) && told.what.contains("not be looked at")), "{told:?}");
            let store = SledStore::open(path, SledOptions::default()).await.unwrap();
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let range = ReadRange { from: 2, to: 2, order, kinds, max_records: 1, max_bytes: 1 };
            let read = store.read(script.session(), range).await;
            assert!(matches!(read, Err(StoreError::Backend(_))), "{read:?}");
            return store.close().await.unwrap();
        }
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        for text in ["a", &"x".repeat(100_000)] {
            say(&store, &mut script, text).await;
        }
        store.close().await.unwrap();
        let path = folder.path().join("store");
        let of = |path: &Path| fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
        let body = of(&of(&path.join("blobs")));
        let name = "a_large_body_that_the_system_does_not_let_be_read_is_not_taken_for_damaged";
        refused(name, &path, &body, "inject=openat:error=EMFILE");
        assert!(body.exists());
        let store = open(&folder).await;
        assert!(store.report().is_quiet());
        assert_eq!(kinds(&store, script.session()).await, [Kind::CREATED, Kind::APPENDED]);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_repair_that_is_broken_off_forgets_no_record_that_only_its_damaged_bytes_tell_of() {
        if let Some(store) = std::env::var_os(STORE) {
            let refused = repair(Path::new(&store), false);
            assert!(matches!(refused, Err(StoreError::NoSpace { .. })), "{refused:?}");
            return;
        }
        let (folder, script) = harmed(|log, frames| log[frames[2] + HEADER..][..8].fill(0xee)).await;
        let path = folder.path().join("store");
        fs::remove_dir_all(path.join("index")).unwrap();
        let name = "a_repair_that_is_broken_off_forgets_no_record_that_only_its_damaged_bytes_tell_of";
        refused(name, &path, &path.join("log/00000002.seg"), "inject=openat:error=ENOSPC");
        let did = repair(&path, false).unwrap().actions;
        assert!(did.iter().any(|did| did.seq == Some(3)), "{did:?}");
        is_repaired(&folder, script.session(), &[3]).await;
    }

    #[tokio::test]
    async fn a_segment_whose_making_was_cut_short_is_no_damage() {
        for bytes in [0, 64, 9_000] {
            let (folder, script) = harmed(|_, _| {}).await;
            let path = folder.path().join("store");
            fs::write(path.join("log/00000002.seg"), vec![0; bytes]).unwrap();
            let told = verify(&path).unwrap().findings;
            let told: Vec<_> = told.iter().filter(|told| told.session.is_none()).collect();
            assert!(
                matches!(told.as_slice(), [told] if told.severity == Severity::Warning && told.what.contains("cut short")),
                "{told:?}"
            );
            let did = repair(&path, false).unwrap().actions;
            assert!(matches!(did.as_slice(), [one] if one.what.starts_with("set segment 2 aside")), "{did:?}");
            is_repaired(&folder, script.session(), &[]).await;
        }
    }

    #[tokio::test]
    async fn an_end_that_is_cut_off_behind_a_segment_with_zeros_is_noticed() {
        let (folder, script) = harmed(|log, frames| {
            damage(log, frames[1]);
            // As a kill leaves it.
            log.resize(60_000, 0);
        })
        .await;
        let (path, mut other) = (folder.path().join("store"), Script::new(2));
        repair(&path, false).unwrap();
        let store = open(&folder).await;
        for text in ["d", "e"] {
            say(&store, &mut other, text).await;
        }
        store.close().await.unwrap();
        drop(store);
        let file = path.join("log/00000002.seg");
        let log = fs::read(&file).unwrap();
        let second = frames(&log).into_iter().rev().nth(1).unwrap();
        fs::write(&file, &log[..second]).unwrap();
        for _ in 0..2 {
            let store = open(&folder).await;
            assert!(store.report().shortened);
            assert_eq!(store.head(other.session()).await.unwrap().unwrap().version, 2);
            assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 3);
            store.close().await.unwrap();
        }
        let did = repair(&path, false).unwrap().actions;
        assert!(did.iter().any(|did| (did.session, did.seq) == (Some(other.session()), Some(2))), "{did:?}");
    }

    #[tokio::test]
    async fn a_copy_of_a_segment_beside_it_is_none() {
        let (folder, script) = harmed(|_, _| {}).await;
        let log = folder.path().join("store/log");
        fs::copy(log.join("00000001.seg"), log.join("1.seg")).unwrap();
        is_repaired(&folder, script.session(), &[]).await;
    }

    #[tokio::test]
    async fn opening_keeps_an_index_that_remembers_what_a_broken_off_repair_did_not_write_yet() {
        let (folder, script) = harmed(|log, frames| log.truncate(frames[1])).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        put_index_back(&path);
        let file = path.join("log/00000002.seg");
        let mut written = fs::read(&file).unwrap();
        let second = frames(&written)[1];
        written[second..].fill(0);
        fs::write(&file, written).unwrap();
        let store = open(&folder).await;
        assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 3);
        store.close().await.unwrap();
        drop(store);
        repair(&path, false).unwrap();
        is_repaired(&folder, script.session(), &[2, 3]).await;
    }

    /// A store without an index that was repaired: what stands for the first two records of a session is in the second segment.
    async fn repaired_before() -> (TempDir, Script, PathBuf) {
        let (folder, script) = harmed(|log, frames| frames[..2].iter().for_each(|frame| damage(log, *frame))).await;
        let path = folder.path().join("store");
        repair(&path, false).unwrap();
        fs::remove_dir_all(path.join("quarantine/index-before-repair.0")).unwrap();
        let written = path.join("log/00000002.seg");
        (folder, script, written)
    }

    fn marked(did: &[RepairAction]) -> Vec<(Option<u64>, Option<u64>)> {
        did.iter().filter(|did| did.session.is_some()).map(|did| (did.seq, did.last)).collect()
    }

    #[tokio::test]
    async fn what_stands_for_lost_records_is_found_beside_one_that_is_damaged_itself_and_was_set_aside() {
        // Of the first frame: its header, the byte that says who wrote it, and its body.
        for (from, to) in [(0, HEADER), (6, 7), (HEADER + 5, HEADER + 6)] {
            let (folder, script, written) = repaired_before().await;
            let mut bytes = fs::read(&written).unwrap();
            let first = frames(&bytes)[0];
            bytes[first + from..first + to].iter_mut().for_each(|byte| *byte ^= 0xff);
            fs::write(&written, bytes).unwrap();
            let did = repair(&folder.path().join("store"), false).unwrap().actions;
            assert_eq!(marked(&did), [(Some(1), None)], "{did:?}");
            is_repaired(&folder, script.session(), &[2]).await;
        }
    }

    #[tokio::test]
    async fn what_stands_in_an_unfinished_write_stands_for_nothing() {
        let (folder, script, written) = repaired_before().await;
        let mut bytes = fs::read(&written).unwrap();
        let [first, _, mark] = frames(&bytes)[..] else { panic!("other frames") };
        // A power cut took the first part of it, and the end.
        damage(&mut bytes, first);
        fs::write(&written, &bytes[..mark]).unwrap();
        let did = repair(&folder.path().join("store"), false).unwrap().actions;
        assert_eq!(marked(&did), [(Some(1), Some(2))], "{did:?}");
        is_repaired(&folder, script.session(), &[2]).await;
    }
}
