//! Making a damaged store usable again, without deleting anything.
//!
//! What cannot be read is copied into the quarantine, and a record takes its place that says so.
//!
//! Must not know: the index, a running store.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use sessions_domain::{CommitHash, Event, Kind, LineageId, SessionId, Stamp, codec};
use sessions_ports::StoreError;

use super::{
    folder::{self, Folder, failed},
    frame::{self, FILLER, FrameHeader, HEADER, REPAIR, Trailer},
    inspection::{Damage, Inspection, Missing, inspect, lost_commit},
    segment::{self, SEGMENT_HEADER, Segment},
    writer::mark_frame,
};

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
    for (number, base) in &found.headers {
        if !dry_run {
            let write = Segment::open(&folder.log(), *number, *base)?.write_header(folder.id);
            write.map_err(|error| failed("writing a segment's header", error))?;
        }
        let what = format!("wrote the header of segment {number} anew");
        report.actions.push(RepairAction { what, session: None, seq: None, kept_at: None });
    }
    // What stands for lost records goes behind the end of the log, so that end has to be clean.
    let clears_end = !found.missing.is_empty();
    for damage in found.damage.iter().filter(|damage| clears_end || !damage.torn) {
        let kept_at = if dry_run { None } else { Some(set_aside(&folder, damage)?) };
        let what = format!(
            "set aside {} damaged bytes of segment {} at {}",
            damage.to - damage.from,
            damage.segment,
            damage.from
        );
        report.actions.push(RepairAction { what, session: None, seq: None, kept_at });
    }
    for Missing { session, seq, .. } in &found.missing {
        let what = "marked the record as lost".to_owned();
        report.actions.push(RepairAction { what, session: Some(*session), seq: Some(*seq), kept_at: None });
    }
    if !found.missing.is_empty() && !dry_run {
        write_lost(&folder, &found)?;
    }
    if !clears_end && found.damage.iter().any(|damage| damage.torn) {
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
    let mut filler = Vec::new();
    if let Some(length) = (damage.to - damage.from).checked_sub(HEADER) {
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
    if !filler.is_empty() {
        let write = segment.file.write_all_at(&filler, damage.from as u64).and_then(|()| segment.file.sync_all());
        write.map_err(|error| failed(operation, error))?;
    }
    Ok(aside)
}

/// Writes, into a segment of their own, the records that stand for missing ones.
fn write_lost(folder: &Folder, found: &Inspection) -> Result<(), StoreError> {
    let (last, base) = found.last_segment;
    let mut frames = Vec::new();
    for missing in &found.missing {
        let Missing { session, seq, before, beginning } = missing;
        let (kind, commit, payload, words) = match beginning {
            Some(stamp) => begun_anew(*session, *seq, stamp)?,
            None => (Kind::LOST, lost_commit(*before, *seq), vec![0; 32], Vec::new()),
        };
        let header = FrameHeader { kind, flags: REPAIR, session: *session, seq: *seq, label: 0, commit };
        let mut extra = Vec::new();
        if !words.is_empty() {
            frame::write_field(&mut extra, frame::WORDS, &[&words]);
        }
        frame::write(&mut frames, &header, &payload, Some(Trailer::default()), &extra);
    }
    let end = base + u64::from(SEGMENT_HEADER) + frames.len() as u64;
    frames.extend(mark_frame(end));
    let length =
        u32::try_from(frames.len()).map_err(|_| StoreError::TooLarge { bytes: end, max: u64::from(u32::MAX) })?;
    let segment = Segment::create(&folder.log(), last + 1, base, folder.id, SEGMENT_HEADER + length)?;
    let write = segment.file.write_all_at(&frames, u64::from(SEGMENT_HEADER)).and_then(|()| segment.file.sync_all());
    write.map_err(|error| failed("writing what stands for lost records", error))
}

type Begun = (Kind, CommitHash, Vec<u8>, Vec<u8>);

/// What stands for a session's beginning, without which nothing of it could be read: kind, commit, payload and words. Its names, its
/// lineage and what it was forked from are lost; the tenant is the one of its other records.
fn begun_anew(session: SessionId, seq: u64, stamp: &Stamp) -> Result<Begun, StoreError> {
    let created = sessions_domain::Created {
        session,
        lineage: LineageId::from_bytes(session.to_bytes()),
        key: None,
        described: sessions_domain::Described::default(),
        origin: sessions_domain::Origin::default(),
        fork: None,
        source: None,
    };
    let words = sessions_domain::SummaryWords { tenant: stamp.actor.tenant.clone(), ..Default::default() };
    let lineage = created.lineage;
    let body = codec::encode(&Event::Created(Box::new(created)), stamp)
        .map_err(|_| StoreError::Malformed { what: "what stands for a session's beginning has no JSON form" })?;
    let commit = CommitHash::ZERO.next(lineage, seq, Kind::CREATED, &[0; 32], &body);
    Ok((Kind::CREATED, commit, [&[0; 32], body.as_slice()].concat(), words.to_json()))
}
