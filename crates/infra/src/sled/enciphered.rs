//! The sealed log that is written in a plain one's place, and the digest of what a log says.
//!
//! Must not know: how anything is sealed, or what is written.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use sessions_domain::SessionId;
use sessions_ports::{Record, StoreError, StoreId};

use super::{
    blob_name,
    bodies::{self, BodyName},
    folder::{self, failed},
    frame::{self, BLOB, FIRST, Frame, FrameHeader, REPAIR, REWRITTEN, STRIPPED},
    segment::{self, SEGMENT_BYTES, SEGMENT_HEADER, Segment},
};

pub(super) fn read(log: &Path, number: u32) -> Result<Vec<u8>, StoreError> {
    fs::read(segment::path_of(log, number)).map_err(|error| failed("reading the log", error))
}

pub(super) fn record_of(frame: &Frame<'_>, payload: Bytes) -> Record {
    let FrameHeader { seq, kind, commit, label, .. } = frame.header;
    Record { seq, kind, commit, label, payload }
}

/// What became of a record's payload.
pub(super) enum Payload {
    Whole(Bytes),
    /// Another one counts.
    Stripped,
    /// It was a large body, and that is gone or damaged.
    Missing,
}

pub(super) fn payload(blobs: &Path, store: StoreId, frame: &Frame<'_>) -> Result<Payload, StoreError> {
    let flags = frame.header.flags;
    if flags & STRIPPED != 0 {
        return Ok(Payload::Stripped);
    }
    if flags & BLOB == 0 {
        return Ok(Payload::Whole(Bytes::copy_from_slice(frame.body)));
    }
    let Some(name) = frame.body.first_chunk() else { return Ok(Payload::Missing) };
    Ok(bodies::read(blobs, store, name)?.map_or(Payload::Missing, |body| Payload::Whole(body.into())))
}

/// The digest of what a log says, in the clear and in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said([u8; 32]);

pub(super) struct Telling(Context);

impl Default for Telling {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Telling {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(super) fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.part(&[tag]);
        self.part(bytes);
    }

    /// A frame whose payload is known; `None`: that is gone.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, payload: Option<&[u8]>) {
        let header = frame.header;
        // Whether a body is large or there still, and how it is written down when something was, may be otherwise.
        let flags = header.flags & (FIRST | REPAIR | REWRITTEN);
        let trailer = frame.trailer.unwrap_or_default();
        self.part(&[header.kind.0, flags, u8::from(frame.is_last()), u8::from(payload.is_some())]);
        self.part(&header.session.to_bytes());
        [header.seq, header.label, u64::from(trailer.messages), trailer.updated.cast_unsigned()]
            .iter()
            .for_each(|number| self.part(&number.to_le_bytes()));
        self.part(header.commit.as_bytes());
        self.part(payload.unwrap_or_default());
    }

    pub(super) fn finish(self) -> Said {
        let mut said = [0; 32];
        said.copy_from_slice(self.0.finish().as_ref());
        Said(said)
    }
}

/// The segments that are written.
pub(super) struct Written {
    log: PathBuf,
    blobs: PathBuf,
    store: StoreId,
    number: u32,
    base: u64,
    pub(super) frames: Vec<u8>,
    /// What was written last belongs to a repair, whose frames begin their segment.
    is_repair: bool,
    /// Records that say where their session's keys lie.
    pub(super) begun: HashSet<(SessionId, u64)>,
    pub(super) told: Telling,
}

impl Written {
    pub(super) fn new(root: &Path, store: StoreId) -> Self {
        let (log, blobs) = (root.join("log"), root.join("blobs"));
        Self {
            log,
            blobs,
            store,
            number: 1,
            base: 0,
            frames: Vec::new(),
            is_repair: false,
            begun: HashSet::new(),
            told: Telling::default(),
        }
    }

    /// Where in the log the next frame comes to stand.
    pub(super) fn position(&self) -> u64 {
        self.base + u64::from(SEGMENT_HEADER) + self.frames.len() as u64
    }

    /// Makes room for an append that had so many bytes. What a repair wrote is found by the first frame of its segment.
    pub(super) fn make_room(&mut self, bytes: usize, is_repair: bool) -> Result<(), StoreError> {
        let begins_repair = is_repair && !self.is_repair;
        self.is_repair = is_repair;
        let is_full = self.frames.len() + bytes + bytes / 4 > SEGMENT_BYTES as usize;
        if !self.frames.is_empty() && (is_full || begins_repair) { self.finish() } else { Ok(()) }
    }

    /// Writes a frame that says how far the log is synced, which all of it is.
    pub(super) fn mark(&mut self) -> Result<(), StoreError> {
        let mark = frame::mark(self.position());
        self.make_room(mark.len(), false)?;
        self.frames.extend(mark);
        Ok(())
    }

    /// Writes the segment, durably.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        let segment = Segment::create(&self.log, self.number, self.base, self.store, SEGMENT_HEADER)?;
        let write = segment.file.write_all_at(&self.frames, u64::from(SEGMENT_HEADER));
        write.and_then(|()| segment.file.sync_all()).map_err(|error| failed("writing the sealed log", error))?;
        self.base = self.position();
        self.number += 1;
        self.frames.clear();
        Ok(())
    }

    /// Writes a large body, durably, and gives its name.
    pub(super) fn body(&mut self, sealed: &[u8]) -> Result<BodyName, StoreError> {
        let name = blob_name(self.store, sealed);
        let path = bodies::path_of(&self.blobs, &name);
        let parent = path.parent().unwrap_or(&self.blobs);
        folder::make(parent)?;
        let write = || {
            let mut file = folder::private().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(sealed)?;
            file.sync_all()
        };
        write().map_err(|error| failed("writing a sealed large message", error))?;
        folder::sync_dir(parent)?;
        folder::sync_dir(&self.blobs)?;
        Ok(name)
    }
}
