//! Reading records: finds where they lie, reads what lies together in one piece, and gives only what is as it was written.
//!
//! Must not know: the writer.

use std::{
    collections::{BTreeMap, HashMap},
    os::unix::fs::FileExt as _,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    BackendError, BackendErrorKind, Digest, KindFilter, Order, Page, ReadRange, Record, StoreError, StoredClaim,
};

use super::{
    bodies,
    core::Core,
    folder::failed,
    frame::{self, BLOB, STRIPPED},
    index::{Index, IndexFailure},
    locator::Locator,
    log_state::Place,
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
pub(crate) fn select(core: &Core, session: SessionId, range: &ReadRange) -> Result<Selection, Unread> {
    let (first, last) = {
        let ledger = core.lock();
        ledger.check_not_closed()?;
        let log = ledger.sessions.get(&session).filter(|log| log.exists());
        let log = log.ok_or_else(|| ledger.absent(session))?;
        let last = ledger.readable(session, log);
        if last < log.row.first {
            return Err(ledger.absent(session).into());
        }
        (range.from.max(log.row.first), range.to.min(last))
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
pub(super) fn places(core: &Core, session: SessionId, from: u64, to: u64) -> Result<Vec<(u64, Place)>, Unread> {
    let (flushed, mut recent, moved) = {
        let ledger = core.lock();
        let log = ledger.sessions.get(&session).ok_or_else(|| ledger.absent(session))?;
        let skip = usize::try_from(from.saturating_sub(log.flushed + 1)).unwrap_or(usize::MAX);
        // Skipping goes by position: stepping over what came before would cost as much as it is long.
        let skip = skip.min(log.recent.len());
        let recent = (log.flushed + 1 + skip as u64..).zip(log.recent.range(skip..));
        let recent: Vec<(u64, Place)> =
            recent.take_while(|(seq, _)| *seq <= to).map(|(seq, place)| (seq, place.clone())).collect();
        let moved: BTreeMap<u64, Locator> =
            ledger.rewrites.of(session).filter(|_| from <= to).map_or_else(BTreeMap::new, |moved| {
                moved.range(from..=to).map(|(seq, moved)| (*seq, moved.locator)).collect()
            });
        (log.flushed, recent, moved)
    };
    for (seq, place) in recent.iter_mut().filter(|_| !moved.is_empty()) {
        if let Some(locator) = moved.get(seq) {
            *place = Place::Disk(*locator);
        }
    }
    let mut places = Vec::new();
    let (mut seq, last) = (from, to.min(flushed));
    while seq <= last {
        // What was rewritten lies elsewhere than the index knows, and what was adopted it may not know at all.
        match moved.range(seq..=last).next() {
            Some((next, locator)) if *next == seq => {
                places.push((seq, Place::Disk(*locator)));
                seq += 1;
            }
            next => {
                let to = next.map_or(last, |(next, _)| next - 1);
                places.append(&mut indexed(core, session, seq, to)?);
                seq = to + 1;
            }
        }
    }
    places.append(&mut recent);
    Ok(places)
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

/// Why something was not looked up.
pub(crate) enum Unread {
    /// The index failed. It will be thrown away, and what it knew is then in memory.
    Index(IndexFailure),
    /// For any other reason.
    Store(StoreError),
}

impl From<IndexFailure> for Unread {
    fn from(failure: IndexFailure) -> Self {
        Self::Index(failure)
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Asks the index; while there is none, everything is known elsewhere.
pub(crate) fn ask<T>(
    core: &Core,
    question: impl Fn(&Index) -> Result<Option<T>, IndexFailure>,
) -> Result<Option<T>, Unread> {
    #[cfg(test)]
    core.pass("asking the index");
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    Ok(slot.as_ref().map_or(Ok(None), question)?)
}

/// Looks something up in the ledger and in the index, in this order. When the index fails, or is thrown away between the two, it is looked
/// up again, so what is there is never taken for absent. Nobody is kept waiting but who asked.
pub(crate) async fn look_up<T>(core: &Core, attempt: impl Fn(&Core) -> Result<T, Unread>) -> Result<T, StoreError> {
    let mut tries = 0;
    while tries < 3 {
        let generation = core.generation.load(Ordering::Acquire);
        let rearranged = core.rearranged.load(Ordering::Acquire);
        let outcome = attempt(core);
        let is_this = core.generation.load(Ordering::Acquire) == generation;
        let is_still = core.rearranged.load(Ordering::Acquire) == rearranged;
        tries += u32::from(is_still);
        match outcome {
            Ok(found) if is_this && is_still => return Ok(found),
            Err(Unread::Store(error)) => return Err(error),
            _ if !is_still => {}
            Err(Unread::Index(failure)) if is_this => {
                tracing::warn!(%failure, "the index is set aside while reading; the log goes on without it");
                core.mend_index(generation).await;
            }
            Ok(_) | Err(Unread::Index(_)) => {}
        }
    }
    let reason = "the index failed again and again while reading";
    Err(BackendError::new(BackendErrorKind::Internal, reason, "see the log of the program").into())
}

/// The numbers of the records with a label.
pub(crate) fn find(core: &Core, session: SessionId, label: u64) -> Result<Vec<u64>, Unread> {
    let generation = core.generation.load(Ordering::Acquire);
    let rearranged = core.rearranged.load(Ordering::Acquire);
    let (recent, runs, flushed, last) = {
        let ledger = core.lock();
        ledger.check_not_closed()?;
        let Some(log) = ledger.sessions.get(&session).filter(|log| log.exists() && label != 0) else {
            return Ok(Vec::new());
        };
        let hits = (log.flushed + 1..).zip(&log.recent).filter(|(_, place)| place.locator().label == label);
        let mut hits: Vec<u64> = hits.map(|(seq, _)| seq).collect();
        let moved = ledger.rewrites.of(session).into_iter().flatten();
        hits.extend(moved.filter(|(_, moved)| moved.locator.label == label).map(|(seq, _)| *seq));
        (hits, log.runs.clone(), log.flushed, ledger.readable(session, log))
    };
    let runs = match runs {
        Some(runs) => runs,
        None => {
            let known = Arc::new(ask(core, |index| index.runs(session).map(Some))?.unwrap_or_default());
            #[cfg(test)]
            core.pass("having asked for the runs");
            let mut ledger = core.lock();
            // Another index may have taken as many records since, in other runs.
            let is_this = core.generation.load(Ordering::Acquire) == generation
                && core.rearranged.load(Ordering::Acquire) == rearranged;
            if let Some(log) = ledger.sessions.get_mut(&session).filter(|log| is_this && log.flushed == flushed) {
                log.runs = Some(Arc::clone(&known));
            }
            known
        }
    };
    let mut found = Vec::new();
    for (first, head) in runs.iter().filter(|(_, head)| head.min_label <= label && label <= head.max_label) {
        let run = ask(core, |index| index.run_with(session, *first))?;
        let locators = run.map(|(_, locators)| locators).unwrap_or_default();
        let hits = (*first..).zip(locators.iter()).take(usize::try_from(head.count).unwrap_or(usize::MAX));
        found.extend(hits.filter(|(_, locator)| locator.label == label).map(|(seq, _)| seq));
    }
    found.extend(recent);
    found.retain(|seq| *seq <= last);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What an idempotency key was claimed for.
pub(crate) fn claim(core: &Core, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, Unread> {
    let recent = {
        let ledger = core.lock();
        ledger.check_not_closed()?;
        if ledger.is_gone(session) {
            return Ok(None);
        }
        let claims = ledger.sessions.get(&session).map(|log| log.claims.as_slice()).unwrap_or_default();
        claims.iter().find(|(claimed, _)| *claimed == key).map(|(_, claim)| *claim)
    };
    if recent.is_some() { Ok(recent) } else { ask(core, |index| index.claim(session, key)) }
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
        let read = file.and_then(|file| read_up_to(&file, &mut bytes, u64::from(first.offset)));
        match read {
            // Of a segment that is too short, what stands before its end is as good as ever.
            Ok(read) => {
                bytes.truncate(read);
                pieces.entry(first.segment).or_default().push((first.offset, Bytes::from(bytes)));
            }
            // A segment that is gone: its records are damaged, which is said where they are given.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(failed("reading the log", error)),
        }
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(pieces)
}

/// Reads to the end of the buffer or of the file; how much there was.
pub(super) fn read_up_to(file: &std::fs::File, bytes: &mut [u8], from: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
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
    if header.flags & STRIPPED != 0 {
        return Err(corrupt("it was rewritten, and what stands for it now is damaged"));
    }
    let payload = if header.flags & BLOB == 0 {
        bytes.slice(frame::HEADER..frame::HEADER + frame.body.len())
    } else if large == Large::Leave {
        return Ok(None);
    } else {
        read_blob(core, frame.body)?.ok_or(corrupt("its large body is missing or not as it was written"))?
    };
    Ok(Some(Record { seq, kind: header.kind, commit: header.commit, label: header.label, payload }))
}

/// A large body, checked against the hash that names it.
fn read_blob(core: &Core, body: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let Some(hash) = body.first_chunk::<32>() else { return Ok(None) };
    Ok(bodies::read(&core.folder.blobs(), core.folder.id, hash)?.map(Bytes::from))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use bytes::Bytes;
    use sessions_domain::Kind;
    use sessions_ports::{Claim, Commit, Durability, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;
    use tokio::task::yield_now;

    use super::*;
    use crate::sled::{SledOptions, SledStore, checkpoint, recovery};

    const LABEL: u64 = 7;

    /// A store whose index knows one session.
    async fn store() -> (TempDir, SledStore, Script) {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let mut script = Script::new(1);
        let mut commit = script.commit(&[(Kind::CREATED, 0, b"one"), (Kind::APPENDED, LABEL, b"two")]);
        commit.claims.push(Claim { key: [1; 32], payload: [2; 32], offset: 1 });
        commit.snapshot = Some(Bytes::from_static(b"a view"));
        store.commit(commit).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        (ground, store, script)
    }

    fn spoil(store: &SledStore) {
        store.core().index.read().unwrap().as_ref().unwrap().spoil();
    }

    fn all() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 1, to: 9, order, kinds, max_records: 9, max_bytes: 1 << 20 }
    }

    #[tokio::test]
    async fn what_a_failing_index_knew_is_not_taken_for_absent() {
        // Each question meets the failure first, on a store of its own.
        for first in 0..5 {
            let (_ground, store, mut script) = store().await;
            let session = script.session();
            spoil(&store);
            for question in (first..5).chain(0..first) {
                match question {
                    0 => assert_eq!(store.read(session, all()).await.unwrap().records, script.written()),
                    1 => assert_eq!(store.find(session, LABEL).await.unwrap(), [2]),
                    2 => assert_eq!(store.claim(session, [1; 32]).await.unwrap().unwrap().seq, 2),
                    3 => {
                        let mut again = script.clone().say("the same key again");
                        again.claims.push(Claim { key: [1; 32], payload: [2; 32], offset: 0 });
                        let refused = store.commit(again).await;
                        assert!(matches!(refused, Err(StoreError::Malformed { .. })), "{refused:?}");
                    }
                    // A snapshot lives in the index alone, and goes with it.
                    _ => assert_eq!(store.snapshot(session).await.unwrap(), None),
                }
            }
            store.commit(script.say("it goes on")).await.unwrap();
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_runs_of_an_index_are_not_taken_for_those_of_the_next() {
        const LATER: u64 = 8;
        let (ground, store, mut script) = store().await;
        store.commit(script.commit(&[(Kind::APPENDED, LATER, b"three")])).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        // The next index has as many records of it, in one run where this one has two.
        store.core().hook("having asked for the runs", |core| {
            recovery::set_index_aside(core);
            checkpoint::reopen(core);
            checkpoint::flush(core).unwrap();
        });
        for _ in 0..2 {
            assert_eq!(store.find(script.session(), LATER).await.unwrap(), [3]);
        }
        let runs = store.core().index.read().unwrap().as_ref().unwrap().runs(script.session()).unwrap();
        assert_eq!((runs.len(), store.core().generation.load(Ordering::Acquire)), (1, 1));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn while_a_failed_index_is_thrown_away_others_go_on() {
        let (_ground, store, script) = store().await;
        spoil(&store);
        // Whoever uses the index keeps it from being thrown away.
        let (held, is_held) = mpsc::channel();
        let (release, is_released) = mpsc::channel::<()>();
        let core = Arc::clone(store.core());
        let user = thread::spawn(move || {
            let slot = core.index.read().unwrap();
            held.send(()).unwrap();
            let _ = is_released.recv();
            drop(slot);
        });
        is_held.recv().unwrap();
        let reading = store.clone();
        let session = script.session();
        let reading = tokio::spawn(async move { reading.read(session, all()).await });
        while store.core().lock().failed_index.is_none() && store.core().mended.receiver_count() == 0 {
            yield_now().await;
        }
        // On the same thread as the one that waits.
        let other = Commit { durability: Durability::Disk, ..Script::new(2).say("another session") };
        store.commit(other).await.unwrap();
        assert!(store.head(session).await.unwrap().is_some());
        assert!(!reading.is_finished());
        release.send(()).unwrap();
        user.join().unwrap();
        assert_eq!(reading.await.unwrap().unwrap().records, script.written());
        store.close().await.unwrap();
    }
}
