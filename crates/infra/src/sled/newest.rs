//! Where the newest payload of each rewritten record stands, for a check that meets the records in the order of their numbers.
//!
//! The log is read for it once, when somebody asks: most logs have no rewritten record.
//!
//! Must not know: what records say, or what is found wrong with them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use sessions_domain::SessionId;
use sessions_ports::{Link, StoreError, StoreId};

use super::{
    bodies,
    folder::Folder,
    frame::{self, BLOB, Found, Frame, FrameHeader, REWRITTEN, STRIPPED, Scan, WORDS},
    segment::{self, SEGMENT_HEADER},
    stood_for::BesideFirst,
};
use crate::sealing::read_beside;

/// A segment and an offset in it.
type Place = (u32, usize);

/// Rewritten records of a log.
pub(super) struct Newest {
    log: PathBuf,
    blobs: PathBuf,
    store: StoreId,
    numbers: Vec<u32>,
    /// Up to where the log is known to have been synced.
    synced: u64,
    places: Option<HashMap<(SessionId, u64), Place>>,
    /// What logs inherit, as the last of their rewrites say.
    links: HashMap<SessionId, Vec<Link>>,
    /// In which slots the keys of sessions lie, as words say wherever they stand.
    slots: HashMap<SessionId, u32>,
    /// The segment that was read last.
    read: Option<(u32, Vec<u8>)>,
}

impl Newest {
    /// Of these segments, up to `synced` of which nothing can be an unfinished write.
    pub(super) fn new(folder: &Folder, numbers: Vec<u32>, synced: u64) -> Self {
        let (log, blobs, store) = (folder.log(), folder.blobs(), folder.id);
        Self {
            log,
            blobs,
            store,
            numbers,
            synced,
            places: None,
            links: HashMap::new(),
            slots: HashMap::new(),
            read: None,
        }
    }

    /// Goes through the segments, if that was not done.
    pub(super) fn look(&mut self) {
        if self.places.is_none() {
            self.places = Some(self.find());
        }
    }

    /// Where the newest payload of a record stands, if it was rewritten.
    pub(super) fn place(&mut self, session: SessionId, seq: u64) -> Option<Place> {
        self.look();
        self.places.as_ref()?.get(&(session, seq)).copied()
    }

    /// What logs inherit, as the last of their rewrites say that reach down to where they begin.
    pub(super) const fn links(&self) -> &HashMap<SessionId, Vec<Link>> {
        &self.links
    }

    /// In which slots the keys of sessions of a sealed store lie, as far as the log says anywhere.
    pub(super) const fn slots(&self) -> &HashMap<SessionId, u32> {
        &self.slots
    }

    /// The newest payload of a record that was rewritten, when it is whole.
    pub(super) fn record(&mut self, session: SessionId, seq: u64) -> Option<(FrameHeader, Vec<u8>)> {
        let (number, at) = self.place(session, seq)?;
        if self.read.as_ref().is_none_or(|(of, _)| *of != number) {
            self.read = Some((number, fs::read(segment::path_of(&self.log, number)).ok()?));
        }
        let (_, bytes) = self.read.as_ref()?;
        let frame = frame::read(bytes.get(at..)?).ok()?;
        match payload(&frame, &self.blobs, self.store) {
            Body::Whole(payload) => Some((frame.header, payload)),
            Body::Missing(_) | Body::Refused(_) => None,
        }
    }

    fn find(&mut self) -> HashMap<(SessionId, u64), Place> {
        let mut places = HashMap::new();
        let last = self.numbers.last().copied();
        let (mut end, mut synced) = (0, self.synced);
        for number in &self.numbers {
            let bytes = fs::read(segment::path_of(&self.log, *number)).unwrap_or_default();
            let base = segment::base_of(&bytes, *number, self.store).map_or(end, |base| base.max(end));
            let mut scan = Scan::new(&bytes, SEGMENT_HEADER as usize);
            let frames: Vec<Found<'_>> = scan.by_ref().collect();
            end = base + scan.position() as u64;
            synced = Found::synced(&frames, base).max(synced);
            let mut append = Vec::new();
            for found in frames {
                match found {
                    Found::Frame(at, frame) => {
                        let slot_of = |words: &[u8]| read_beside(words).map(|(slot, _)| slot);
                        let told = frame.fields().find(|(tag, _)| *tag == WORDS).and_then(|(_, words)| slot_of(words));
                        let beside = BesideFirst::of(&frame);
                        let carried = beside.as_ref().and_then(|beside| slot_of(beside.words.as_deref()?));
                        if let Some(slot) = told.or(carried) {
                            self.slots.entry(frame.header.session).or_insert(slot);
                        }
                        if let Some(beside) = beside.filter(|_| frame.header.flags & REWRITTEN != 0) {
                            self.links.insert(frame.header.session, beside.links);
                        }
                        if frame.header.flags & (REWRITTEN | STRIPPED) == REWRITTEN {
                            append.push(((frame.header.session, frame.header.seq), (*number, at)));
                        }
                        if frame.is_last() {
                            places.extend(append.drain(..));
                        }
                    }
                    // Nobody was promised any of a write that was never finished, and opening sets it aside.
                    Found::Damage(from, _) if Some(*number) == last && base + from as u64 >= synced => return places,
                    // Whole frames of a broken append count.
                    Found::Damage(..) => places.extend(append.drain(..)),
                    Found::Newer(_) => {}
                }
            }
            // So do those of one that was cut off where a frame ends, behind which the log went on once.
            let is_unfinished = |(_, (_, at)): &(_, Place)| Some(*number) == last && base + *at as u64 >= synced;
            if !append.first().is_some_and(is_unfinished) {
                places.extend(append);
            }
        }
        places
    }
}

/// The payload of a frame.
pub(super) enum Body {
    Whole(Vec<u8>),
    /// The file that should hold it does not.
    Missing(PathBuf),
    /// The system does not let it be read, so nothing is known of it.
    Refused(StoreError),
}

/// Reads the payload of a frame, wherever it stands.
pub(super) fn payload(frame: &Frame<'_>, blobs: &Path, store: StoreId) -> Body {
    if frame.header.flags & BLOB == 0 {
        return Body::Whole(frame.body.to_vec());
    }
    let Some(hash) = frame.body.first_chunk::<32>() else { return Body::Missing(blobs.to_owned()) };
    match bodies::read(blobs, store, hash) {
        Ok(Some(payload)) => Body::Whole(payload),
        Ok(None) => Body::Missing(bodies::path_of(blobs, hash)),
        Err(error) => Body::Refused(error),
    }
}
