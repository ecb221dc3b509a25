//! A plain store's log, written anew with everything sealed that a person wrote. Nothing else of it changes: sessions, numbers, commits, labels,
//! times, which records belong to one append, who inherits from whom, what was removed and what stands for lost records.
//!
//! What the log no longer needs is left behind, so places in it are others. They are known to nobody but the index, which is made anew.
//!
//! Must not know: how anything is sealed, or where keys lie.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use sessions_domain::{CommitHash, SessionId};
use sessions_ports::{
    BackendError, BackendErrorKind, Digest, HeadWitness, KeyError, Link, Record, StoreError, StoreId,
};

use super::{
    INLINE_BODY, SledOptions, SledStore,
    core::Core,
    enciphered::{Payload, Said, Telling, Written, payload, read, record_of},
    folder::{self, Folder, Sealing},
    frame::{
        self, BEGINNING, BLOB, CLAIM, FILLER, FIRST, Found, Frame, KEY, LINK, MARK, REMOVED, REPAIR, REWRITTEN, ROOT,
        STRIPPED, Scan, Trailer, WORDS,
    },
    index::CoreRow,
    reclaim::{self, Dead},
    replay,
    segment::{self, SEGMENT_HEADER},
    stand_ins::stand_ins,
    takeover::{self, Gone, Step, WORK},
};
use crate::sealing::is_stand_in;

const SEALING: &str = "sealing the store in its place";

/// What seals the parts of a log.
pub(crate) trait Enciphers {
    /// The sealed payload of a record. `begins`: it says where the session's keys lie.
    fn record(&mut self, session: SessionId, record: Record, begins: bool) -> Result<Bytes, StoreError>;
    /// The sealed words of a session's row.
    fn words(&mut self, session: SessionId, words: &[u8]) -> Result<Bytes, StoreError>;
    /// What a host's key is known by.
    fn name(&self, key: &Digest) -> Digest;
    /// What an idempotency key is known by, and the masked digest of its payload.
    fn claim(&mut self, session: SessionId, key: &Digest, payload: &Digest) -> Result<(Digest, Digest), StoreError>;
    /// The payload of a record that was sealed.
    fn opened(&mut self, session: SessionId, record: Record) -> Result<Bytes, StoreError>;
    /// The words of a row that were sealed.
    fn opened_words(&mut self, session: SessionId, sealed: &[u8]) -> Result<Bytes, StoreError>;
    /// Bytes that a sealed payload has more.
    fn added(&self, begins: bool) -> u64;
}

/// Where a frame stands: the segment's number, and the offset in it.
type Place = (u32, usize);

/// How a session stands.
#[derive(Debug, PartialEq, Eq)]
struct Seat {
    first: u64,
    version: u64,
    commit: CommitHash,
    messages: u64,
    updated: i64,
    links: Vec<Link>,
}

/// How sessions stand: what must be the same before and afterwards.
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    sessions: BTreeMap<SessionId, Seat>,
    removed: BTreeMap<SessionId, u64>,
}

impl Standing {
    fn of(core: &Core) -> Self {
        let ledger = core.lock();
        let there = ledger.sessions.iter().filter(|(session, log)| log.exists() && !ledger.is_gone(**session));
        let sessions = there.map(|(session, log)| {
            let CoreRow { first, version, commit, messages, updated, .. } = log.row;
            (*session, Seat { first, version, commit, messages, updated, links: log.links.clone() })
        });
        let kept = |session: &SessionId| (*session, ledger.kept(*session));
        Self { sessions: sessions.collect(), removed: ledger.graves.keys().map(kept).collect() }
    }
}

/// A plain store that nobody has open, and whose lock is held.
pub(crate) struct PlainStore {
    folder: Folder,
    dead: Dead,
    standing: Standing,
    /// Records that were lost, and have something in their place.
    lost: HashSet<(SessionId, u64)>,
    /// Where in the log records were written that count instead of earlier ones; it is looked up when it matters.
    rewritten: OnceCell<HashMap<(SessionId, u64), Place>>,
}

fn refused(why: &'static str) -> StoreError {
    BackendError::new(BackendErrorKind::Unavailable, SEALING, why).into()
}

fn damaged() -> StoreError {
    refused("the store is damaged; run `repair` first. Nothing was changed")
}

/// Whether it goes on.
pub(crate) fn go_on(flow: ControlFlow<()>) -> Result<(), StoreError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(refused("it was stopped before its end, and nothing was changed")),
    }
}

impl PlainStore {
    /// Takes hold of the plain store in a folder.
    pub(crate) fn take(root: &Path, erases_quarantine: bool) -> Result<Self, StoreError> {
        folder::must_exist(root)?;
        if folder::sealing_of(root) == Sealing::Sealed {
            return Err(KeyError::Sealed.into());
        }
        let store = SledStore::open_to(true, root, SledOptions::default())?;
        let taken = Self::of(&store, erases_quarantine);
        let closed = store.inner.shut();
        let taken = taken?;
        closed?;
        if !store.core().is_left() {
            return Err(refused(
                "the index does not come to its end, as on a disk that fails; look at the disk. Nothing was changed",
            ));
        }
        Ok(taken)
    }

    fn of(store: &SledStore, erases_quarantine: bool) -> Result<Self, StoreError> {
        let core = store.core();
        if !core.is_whole.load(Ordering::Acquire) {
            return Err(damaged());
        }
        let files = core.folder.in_quarantine().len();
        if files > 0 && !erases_quarantine {
            return Err(KeyError::InTheClear { files }.into());
        }
        let dead = reclaim::dead(core);
        let standing = Standing::of(core);
        let numbers = segment::numbers(&core.folder.log())?;
        let lost = stand_ins(&core.folder, &numbers, None, |_| {})?.into_keys().collect();
        let folder = core.folder.handed_over().ok_or(StoreError::Closed)?;
        Ok(Self { folder, dead, standing, lost, rewritten: OnceCell::new() })
    }

    pub(crate) fn id(&self) -> StoreId {
        self.folder.id
    }

    /// How many sessions there are, and how many records of their own.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let records = self.standing.sessions.values().map(|seat| (seat.version + 1).saturating_sub(seat.first));
        (self.standing.sessions.len() as u64, records.sum())
    }

    /// Where the sealed store is made.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.root.join(WORK)
    }

    /// Makes an empty sealed store to write to.
    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        let work = takeover::begin(&self.folder.root, self.id())?;
        for part in ["log", "blobs", "quarantine", "keys"] {
            folder::make(&work.join(part))?;
        }
        folder::write_format(&work, self.id().0, Sealing::Sealed).map(drop)
    }

    /// Takes away what was made.
    pub(crate) fn give_up(&self) -> Result<(), StoreError> {
        takeover::give_up(&self.folder.root)
    }

    /// Writes the log anew, sealed, and gives the digest of what it says. `told` hears how many bytes of how many are done.
    pub(crate) fn encipher(
        &self,
        with: &mut dyn Enciphers,
        told: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Said, StoreError> {
        let log = self.folder.log();
        let numbers = segment::numbers(&log)?;
        let length = |number: &u32| fs::metadata(segment::path_of(&log, *number)).map_or(0, |about| about.len());
        let (mut done, of) = (0, numbers.iter().map(length).sum());
        let mut out = Written::new(&self.work(), self.id());
        for number in numbers {
            go_on(told(done, of))?;
            let bytes = read(&log, number)?;
            let mut append = Vec::new();
            for found in Scan::new(&bytes, SEGMENT_HEADER as usize) {
                let Found::Frame(at, frame) = found else { return Err(damaged()) };
                let ends = frame.is_last();
                match frame.header.kind {
                    FILLER => {}
                    MARK => out.mark()?,
                    _ => append.push(((number, at), frame)),
                }
                if ends && !append.is_empty() {
                    self.append(with, &mut out, &append)?;
                    append.clear();
                }
            }
            if !append.is_empty() {
                self.append(with, &mut out, &append)?;
            }
            done += bytes.len() as u64;
        }
        out.finish()?;
        go_on(told(of, of))?;
        Ok(out.told.finish())
    }

    fn is_needed(&self, frame: &Frame<'_>) -> bool {
        let kept = self.dead.get(&frame.header.session);
        frame.header.kind == REMOVED || kept.is_none_or(|kept| frame.header.seq <= *kept)
    }

    /// Writes an append, unless nobody needs a record of it.
    fn append(
        &self,
        with: &mut dyn Enciphers,
        out: &mut Written,
        frames: &[(Place, Frame<'_>)],
    ) -> Result<(), StoreError> {
        if !frames.iter().any(|(_, frame)| self.is_needed(frame)) {
            return Ok(());
        }
        let is_repair = frames.first().is_some_and(|(_, frame)| frame.header.flags & REPAIR != 0);
        out.make_room(frames.iter().map(|(_, frame)| frame.length).sum(), is_repair)?;
        // Logs of early versions say in the body of their beginning only what they inherit, and nobody will read that any more.
        let tells_links = frames.iter().any(|(_, frame)| frame.fields().any(|(tag, _)| tag == LINK));
        let first =
            frames.first().map(|(_, frame)| frame).filter(|frame| frame.header.flags & (FIRST | REWRITTEN) == FIRST);
        let links = first.filter(|frame| !tells_links && frame.header.seq > 1).map(replay::inherited);
        for (place, frame) in frames {
            let mut fields = Vec::new();
            for link in links.iter().flatten().filter(|_| frame.is_last()) {
                frame::write_field(&mut fields, LINK, &[&link.owner.to_bytes(), &link.last.to_le_bytes()]);
            }
            self.fields(with, out, frame, &mut fields)?;
            self.frame(with, out, (*place, frame), &fields)?;
        }
        Ok(())
    }

    /// The fields of a frame, sealed.
    fn fields(
        &self,
        with: &mut dyn Enciphers,
        out: &mut Written,
        frame: &Frame<'_>,
        fields: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let session = frame.header.session;
        for (tag, field) in frame.fields() {
            match tag {
                // Every first frame is whole here, and is written anew.
                ROOT | BEGINNING => {}
                WORDS => {
                    out.told.field(tag, field);
                    frame::write_field(fields, tag, &[&with.words(session, field)?]);
                }
                KEY => {
                    let key = field.try_into().map_err(|_| damaged())?;
                    frame::write_field(fields, tag, &[&with.name(key)]);
                }
                CLAIM => {
                    let (key, rest) = field.split_first_chunk().ok_or_else(damaged)?;
                    let (payload, places) = rest.split_first_chunk().ok_or_else(damaged)?;
                    let (key, payload) = with.claim(session, key, payload)?;
                    frame::write_field(fields, tag, &[&key, &payload, places]);
                }
                _ => frame::write_field(fields, tag, &[field]),
            }
        }
        Ok(())
    }

    fn frame(
        &self,
        with: &mut dyn Enciphers,
        out: &mut Written,
        (place, frame): (Place, &Frame<'_>),
        fields: &[u8],
    ) -> Result<(), StoreError> {
        let mut header = frame.header;
        let trailer = frame.trailer.map(|trailer| Trailer { synced: out.position(), ..trailer });
        let (session, seq) = (header.session, header.seq);
        let payload = if header.kind == REMOVED { Some(Bytes::new()) } else { self.payload(place, frame)? };
        out.told.frame(frame, payload.as_deref());
        if header.kind == REMOVED {
            frame::write(&mut out.frames, &header, frame.body, trailer, fields);
            return Ok(());
        }
        // Of a record that stands here twice both say the same, also where they were to be sealed.
        if header.flags & FIRST != 0 {
            out.begun.insert((session, seq));
        }
        let begins = out.begun.contains(&(session, seq));
        let Some(payload) = payload else {
            header.flags = header.flags & !BLOB | STRIPPED;
            let length = replay::payload_bytes(frame) + with.added(begins);
            frame::write(&mut out.frames, &header, &length.to_le_bytes(), trailer, fields);
            return Ok(());
        };
        let record = record_of(frame, payload);
        let sealed = if is_stand_in(&record) { record.payload } else { with.record(session, record, begins)? };
        if sealed.len() <= INLINE_BODY {
            header.flags &= !BLOB;
            frame::write(&mut out.frames, &header, &sealed, trailer, fields);
            return Ok(());
        }
        header.flags |= BLOB;
        let name = out.body(&sealed)?;
        let named = [name.as_slice(), &(sealed.len() as u64).to_le_bytes()].concat();
        frame::write(&mut out.frames, &header, &named, trailer, fields);
        Ok(())
    }

    /// The payload of a record of the plain store; `None`: it is gone, and another one counts.
    fn payload(&self, place: Place, frame: &Frame<'_>) -> Result<Option<Bytes>, StoreError> {
        match payload(&self.folder.blobs(), self.id(), frame)? {
            Payload::Whole(payload) => Ok(Some(payload)),
            Payload::Stripped => Ok(None),
            Payload::Missing if self.is_idle(place, frame)? => Ok(None),
            Payload::Missing => Err(damaged()),
        }
    }

    /// Whether nobody reads a record where it stands, so that its large body may be gone: an append is there as a whole, large bodies one by one.
    fn is_idle(&self, place: Place, frame: &Frame<'_>) -> Result<bool, StoreError> {
        let of = (frame.header.session, frame.header.seq);
        if self.lost.contains(&of) || !self.is_needed(frame) {
            return Ok(true);
        }
        if self.rewritten.get().is_none() {
            // Nobody else sets it.
            let _ = self.rewritten.set(self.rewritten()?);
        }
        Ok(self.rewritten.get().and_then(|known| known.get(&of)).is_some_and(|newer| place < *newer))
    }

    fn rewritten(&self) -> Result<HashMap<(SessionId, u64), Place>, StoreError> {
        let log = self.folder.log();
        let mut rewritten = HashMap::new();
        for number in segment::numbers(&log)? {
            for found in Scan::new(&read(&log, number)?, SEGMENT_HEADER as usize) {
                if let Found::Frame(at, frame) = found
                    && frame.header.flags & (REWRITTEN | STRIPPED) == REWRITTEN
                {
                    rewritten.insert((frame.header.session, frame.header.seq), (number, at));
                }
            }
        }
        Ok(rewritten)
    }

    /// Opens what was written, so that its index is there and its heads are attested, and holds it against the plain store: sessions stand the same,
    /// and every record that is read back and opened says the same, in the same order.
    pub(crate) fn check(
        &self,
        said: &Said,
        with: &mut dyn Enciphers,
        witness: Arc<dyn HeadWitness>,
    ) -> Result<(), StoreError> {
        let work = self.work();
        let again = self.read_again(with)?;
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        let store = SledStore::open_to(false, &work, options)?;
        let standing = Standing::of(store.core());
        let attested = store.witness(witness).and_then(|_| store.settle_roots());
        let closed = store.inner.shut();
        attested.and(closed)?;
        if standing == self.standing && again == *said {
            return Ok(());
        }
        let what = "what was written is not what stands in the plain store; nothing was changed";
        Err(BackendError::new(BackendErrorKind::Internal, SEALING, what).into())
    }

    /// What the log says that was written.
    fn read_again(&self, with: &mut dyn Enciphers) -> Result<Said, StoreError> {
        let work = self.work();
        let (log, blobs) = (work.join("log"), work.join("blobs"));
        let mut told = Telling::default();
        for number in segment::numbers(&log)? {
            let bytes = read(&log, number)?;
            for found in Scan::new(&bytes, SEGMENT_HEADER as usize) {
                let Found::Frame(_, frame) = found else { return Err(damaged()) };
                let session = frame.header.session;
                if frame.header.kind == MARK {
                    continue;
                }
                for (tag, words) in frame.fields().filter(|(tag, _)| *tag == WORDS) {
                    told.field(tag, &with.opened_words(session, words)?);
                }
                if frame.header.kind == REMOVED {
                    told.frame(&frame, Some(&[]));
                    continue;
                }
                let opened = match payload(&blobs, self.id(), &frame)? {
                    Payload::Whole(payload) => {
                        let record = record_of(&frame, payload);
                        Some(if is_stand_in(&record) { record.payload } else { with.opened(session, record)? })
                    }
                    Payload::Stripped => None,
                    Payload::Missing => return Err(damaged()),
                };
                told.frame(&frame, opened.as_deref());
            }
        }
        Ok(told.finish())
    }

    /// Puts the sealed store in the plain one's place.
    pub(crate) fn replace(self, told: &mut dyn FnMut(Step)) -> Result<Gone, StoreError> {
        takeover::take_over(&self.folder.root, told)
    }
}
