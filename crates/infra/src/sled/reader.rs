//! Reading records: finds where they lie, reads what lies together in one piece, and gives only what is as it was written.
//!
//! Must not know: the writer.

use std::{collections::HashMap, os::unix::fs::FileExt as _, sync::PoisonError};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{BackendError, BackendErrorKind, KindFilter, Order, Page, ReadRange, Record, StoreError};

use super::{
    bodies,
    core::Core,
    folder::failed,
    frame::{self, BLOB},
    index::{Index, IndexFailure},
    ledger::Place,
    locator::Locator,
    recovery,
};

/// Records lying together are read in pieces of at most so many bytes.
const PIECE: u32 = 1 << 20;
/// Places are looked up so many at a time.
const STRIDE: u64 = 1024;
/// A read of at most so many bytes is done where it is asked; a larger one leaves the async runtime.
pub(crate) const INLINE_BYTES: u64 = 128 << 10;

/// Records to read, and whether the range goes on behind them.
pub(crate) struct Selection {
    session: SessionId,
    places: Vec<(u64, Place)>,
    next: Option<u64>,
    max_bytes: u64,
    /// Bytes of their frames.
    pub(crate) bytes: u64,
}

/// Chooses the records of a range, within its bounds.
pub(crate) fn select(core: &Core, session: SessionId, range: &ReadRange) -> Result<Selection, StoreError> {
    let (first, last) = {
        let ledger = core.lock();
        if ledger.closed {
            return Err(StoreError::Closed);
        }
        let log = ledger.sessions.get(&session).filter(|log| log.exists());
        let log = log.ok_or(StoreError::NotFound { session })?;
        (range.from.max(log.row.first), range.to.min(log.row.version))
    };
    let max_bytes = range.max_bytes as u64;
    let mut selection = Selection { session, places: Vec::new(), next: None, max_bytes, bytes: 0 };
    let (mut low, mut high) = (first, last);
    let stride = STRIDE.min((range.max_records as u64).saturating_add(16));
    while low <= high && selection.next.is_none() {
        let (from, to) = match range.order {
            Order::OldestFirst => (low, high.min(low.saturating_add(stride - 1))),
            Order::NewestFirst => (low.max(high.saturating_sub(stride - 1)), high),
        };
        let mut places = places(core, session, from, to)?;
        if range.order == Order::NewestFirst {
            places.reverse();
        }
        for (seq, place) in places {
            let locator = place.locator();
            if range.kinds == KindFilter::Elements && !locator.kind.is_element() && locator != Locator::LOST {
                continue;
            }
            let bytes = selection.bytes + u64::from(locator.length);
            let is_full = selection.places.len() >= range.max_records.max(1)
                || (bytes > range.max_bytes as u64 && !selection.places.is_empty());
            if is_full {
                selection.next = Some(seq);
                break;
            }
            selection.bytes = bytes;
            selection.places.push((seq, place));
        }
        match range.order {
            Order::OldestFirst => low = to + 1,
            Order::NewestFirst if from == 0 => break,
            Order::NewestFirst => high = from - 1,
        }
    }
    Ok(selection)
}

/// The places of records, ascending.
fn places(core: &Core, session: SessionId, from: u64, to: u64) -> Result<Vec<(u64, Place)>, StoreError> {
    for _ in 0..3 {
        let (flushed, mut recent) = {
            let ledger = core.lock();
            let log = ledger.sessions.get(&session).ok_or(StoreError::NotFound { session })?;
            let skip = usize::try_from(from.saturating_sub(log.flushed + 1)).unwrap_or(usize::MAX);
            // Skipping goes by position: stepping over what came before would cost as much as it is long.
            let skip = skip.min(log.recent.len());
            let recent = (log.flushed + 1 + skip as u64..).zip(log.recent.range(skip..));
            let recent: Vec<(u64, Place)> =
                recent.take_while(|(seq, _)| *seq <= to).map(|(seq, place)| (seq, place.clone())).collect();
            (log.flushed, recent)
        };
        if from > flushed {
            return Ok(recent);
        }
        match indexed(core, session, from, to.min(flushed)) {
            Ok(mut places) => {
                places.append(&mut recent);
                return Ok(places);
            }
            Err(failure) => give_up_index(core, &failure),
        }
    }
    let reason = "the index failed again and again while reading";
    Err(BackendError::new(BackendErrorKind::Internal, reason, "see the log of the program").into())
}

fn indexed(core: &Core, session: SessionId, from: u64, to: u64) -> Result<Vec<(u64, Place)>, IndexFailure> {
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    let index = slot.as_ref().ok_or(IndexFailure::Damaged("it is gone"))?;
    let mut places = Vec::new();
    let mut seq = from;
    while seq <= to {
        let missing = IndexFailure::Damaged("a run is missing");
        let (first, run) = index.run_with(session, seq)?.ok_or(missing.clone())?;
        let before = places.len();
        let skip = usize::try_from(seq - first).unwrap_or(usize::MAX);
        let here = (seq..=to).zip(run.iter().skip(skip)).map(|(seq, locator)| (seq, Place::Disk(*locator)));
        places.extend(here);
        if places.len() == before {
            return Err(missing);
        }
        seq += (places.len() - before) as u64;
    }
    Ok(places)
}

/// An index that fails is thrown away; what it knew is read from the log.
pub(crate) fn give_up_index(core: &Core, failure: &IndexFailure) {
    tracing::warn!(%failure, "the index is set aside while reading; the log goes on without it");
    recovery::set_index_aside(core);
}

/// Asks the index, and throws it away when it fails.
pub(crate) fn ask<T>(core: &Core, question: impl Fn(&Index) -> Result<Option<T>, IndexFailure>) -> Option<T> {
    let answer = {
        let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map_or(Ok(None), question)
    };
    match answer {
        Ok(found) => found,
        Err(failure) => {
            give_up_index(core, &failure);
            None
        }
    }
}

/// What to do with bodies that stand in files of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Large {
    /// Read them.
    Read,
    /// Give up, so that they are read elsewhere.
    Leave,
}

/// Reads what was selected; `None` when that holds large bodies and they are to be left.
pub(crate) fn read(core: &Core, selection: &Selection, large: Large) -> Result<Option<Page>, StoreError> {
    let Selection { session, places, max_bytes, .. } = selection;
    let session = *session;
    let pieces = pieces(core, places)?;
    let mut page = Page { records: Vec::with_capacity(places.len()), next: selection.next };
    let mut bytes = 0;
    for (seq, place) in places {
        let frame = match place {
            Place::Memory(_, frame) => Bytes::clone(frame),
            Place::Disk(locator) => piece_of(&pieces, *locator).ok_or(StoreError::Corrupt {
                session,
                seq: *seq,
                what: "its place in the log cannot be read",
            })?,
        };
        let Some(record) = record(core, session, *seq, &frame, large)? else { return Ok(None) };
        // A large body is seen only when it is read: the page ends before the one that is too much.
        bytes += record.payload.len() as u64;
        if bytes > *max_bytes && !page.records.is_empty() {
            page.next = Some(*seq);
            break;
        }
        page.records.push(record);
    }
    Ok(Some(page))
}

type Pieces = HashMap<u32, Vec<(u32, Bytes)>>;

/// Reads stretches of segments, each in one piece.
fn pieces(core: &Core, places: &[(u64, Place)]) -> Result<Pieces, StoreError> {
    let mut wanted: Vec<Locator> = Vec::with_capacity(places.len());
    for (_, place) in places {
        if let Place::Disk(locator) = place
            && *locator != Locator::LOST
        {
            wanted.push(*locator);
        }
    }
    wanted.sort_unstable_by_key(|locator| (locator.segment, locator.offset));
    let mut pieces = Pieces::new();
    let mut rest = wanted.as_slice();
    while let Some(first) = rest.first() {
        let mut end = first.offset.saturating_add(first.length);
        let mut count = 1;
        for locator in rest.iter().skip(1) {
            let joins = locator.segment == first.segment && locator.offset == end;
            if !joins || end - first.offset >= PIECE {
                break;
            }
            end = end.saturating_add(locator.length);
            count += 1;
        }
        let mut bytes = vec![0; (end - first.offset) as usize];
        let file = core.segment_file(first.segment);
        let read = file.and_then(|file| file.read_exact_at(&mut bytes, u64::from(first.offset)));
        match read {
            Ok(()) => pieces.entry(first.segment).or_default().push((first.offset, Bytes::from(bytes))),
            // A segment that is gone or too short: its records are damaged, which is said where they are given.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(failed("reading the log", error)),
        }
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(pieces)
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof)
}

fn piece_of(pieces: &Pieces, locator: Locator) -> Option<Bytes> {
    let of_segment = pieces.get(&locator.segment)?;
    let at = of_segment.partition_point(|(offset, _)| *offset <= locator.offset).checked_sub(1)?;
    let (offset, bytes) = of_segment.get(at)?;
    let start = (locator.offset - offset) as usize;
    let end = start.checked_add(locator.length as usize)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// The record of a frame, checked.
fn record(
    core: &Core,
    session: SessionId,
    seq: u64,
    bytes: &Bytes,
    large: Large,
) -> Result<Option<Record>, StoreError> {
    let corrupt = |what| StoreError::Corrupt { session, seq, what };
    let frame = frame::read(bytes).map_err(|_| corrupt("its bytes are not as they were written"))?;
    let header = frame.header;
    if header.session != session || header.seq != seq {
        return Err(corrupt("another record stands in its place"));
    }
    let payload = if header.flags & BLOB == 0 {
        bytes.slice(frame::HEADER..frame::HEADER + frame.body.len())
    } else if large == Large::Leave {
        return Ok(None);
    } else {
        read_blob(core, frame.body).ok_or(corrupt("its large body is missing or not as it was written"))?
    };
    Ok(Some(Record { seq, kind: header.kind, commit: header.commit, label: header.label, payload }))
}

/// A large body, checked against the hash that names it.
fn read_blob(core: &Core, body: &[u8]) -> Option<Bytes> {
    let hash = body.first_chunk::<32>()?;
    let payload = std::fs::read(bodies::path_of(&core.folder.blobs(), hash)).ok()?;
    (super::blob_name(core.folder.id, &payload) == *hash).then(|| Bytes::from(payload))
}
