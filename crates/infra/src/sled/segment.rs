//! Segment files: the truth of the store. Append-only, filled with zeros and synced ahead of use.
//!
//! ```text
//! 0  8  "SESSSEG\x01"     12  4  number      32  8  position of the segment's first byte in the log
//! 8  4  format (1)        16 16  store id    60  4  CRC-32C of bytes 0 to 60
//! ```
//!
//! A *position* counts the bytes of the log over all segments, so it orders places and fits one number.
//!
//! Must not know: what frames mean.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use sessions_ports::{StoreError, StoreId};

use super::folder::{self, failed};

/// Bytes before the first frame.
pub(crate) const SEGMENT_HEADER: u32 = 64;
/// A segment takes appends up to this size; a larger append has a segment of its own.
pub(crate) const SEGMENT_BYTES: u32 = 16 << 20;
const MAGIC: [u8; 8] = *b"SESSSEG\x01";
/// The version of the segment format.
const FORMAT: u32 = 1;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// An open segment.
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// Position of its first byte in the log.
    pub(crate) base: u64,
    pub(crate) file: File,
}

/// Why a segment was not made. Nothing of it is left.
pub(crate) enum NotMade {
    /// There is no room, or the system does not allow it.
    Refused(StoreError),
    /// It, or its name, could not be synced.
    Unsynced(StoreError),
}

const MAKING: &str = "the next segment of the log";

/// The name of a segment's file.
pub(crate) fn path_of(log: &Path, number: u32) -> PathBuf {
    log.join(format!("{number:08}.seg"))
}

/// The numbers of the segments in a folder, ascending.
pub(crate) fn numbers(log: &Path) -> Result<Vec<u32>, StoreError> {
    let failed = |error| failed("reading the log's folder", error);
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(log) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(numbers),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|stem| stem.parse::<u32>().ok());
        // Another way to write a number is the name of a copy that somebody made.
        let is_its_name = |number: &u32| *number > 0 && path_of(log, *number).file_name() == Some(&name);
        numbers.extend(number.filter(is_its_name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// As it was written: the store, and the base.
    Whole(StoreId, u64),
    /// A format of later versions.
    Newer(u32),
    /// Not as it was written.
    Damaged,
}

/// The refusal of a log that a newer version wrote.
pub(crate) fn newer(format: u32) -> StoreError {
    StoreError::NewerFormat { found: format!("a part of the log (format {format})") }
}

/// Reads the header of a segment, whichever store it is of.
pub(crate) fn head_of(bytes: &[u8], number: u32) -> Head {
    let read = || {
        let head = bytes.get(..SEGMENT_HEADER as usize)?;
        let u32_at = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let format = u32_at(8)?;
        if head.get(..8)? != MAGIC || crc32c::crc32c(head.get(..60)?) != u32_at(60)? {
            return None;
        }
        if format != FORMAT {
            return Some(Head::Newer(format));
        }
        let store = StoreId(head.get(16..32)?.try_into().ok()?);
        let base = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
        (head == header(number, base, store)).then_some(Head::Whole(store, base))
    };
    read().unwrap_or(Head::Damaged)
}

fn header(number: u32, base: u64, store: StoreId) -> [u8; SEGMENT_HEADER as usize] {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER as usize);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&store.0);
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.resize(60, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let mut header = [0; SEGMENT_HEADER as usize];
    header.copy_from_slice(&bytes);
    header
}

/// The base of a segment whose header is as it was written.
pub(crate) fn base_of(bytes: &[u8], number: u32, store: StoreId) -> Option<u64> {
    match head_of(bytes, number) {
        Head::Whole(of, base) if of == store => Some(base),
        _ => None,
    }
}

impl Segment {
    /// Makes a segment of `bytes` zeros, durable with its name.
    pub(crate) fn create(log: &Path, number: u32, base: u64, store: StoreId, bytes: u32) -> Result<Self, StoreError> {
        Self::make(log, number, base, store, bytes).map_err(|why| match why {
            NotMade::Refused(error) | NotMade::Unsynced(error) => error,
        })
    }

    /// The same, and tells a sync that failed from what says nothing about the log.
    pub(crate) fn make(log: &Path, number: u32, base: u64, store: StoreId, bytes: u32) -> Result<Self, NotMade> {
        let path = path_of(log, number);
        let write = || {
            let file = folder::private().read(true).write(true).create(true).truncate(true).open(&path)?;
            fill(&file, SEGMENT_HEADER, bytes.max(SEGMENT_HEADER))?;
            file.write_all_at(&header(number, base, store), 0)?;
            Ok(file)
        };
        let sync = |file: File| match file.sync_all() {
            Ok(()) => folder::sync_dir(log).map(|()| file).map_err(NotMade::Unsynced),
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(NotMade::Refused(failed(MAKING, error)))
            }
            Err(error) => Err(NotMade::Unsynced(failed(MAKING, error))),
        };
        let made = write().map_err(|error| NotMade::Refused(failed(MAKING, error))).and_then(sync);
        made.map(|file| Self { number, base, file }).map_err(|why| {
            // Nothing of the log stands in it yet. One whose name may be lost must not be found and written to by the next who opens the
            // store, so that it is gone has to be on the disk too.
            match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return why,
                _ => {}
            }
            match (why, folder::sync_dir(log)) {
                (NotMade::Refused(_), Err(error)) => NotMade::Unsynced(error),
                (why, _) => why,
            }
        })
    }

    /// Writes the header anew where it was damaged.
    pub(crate) fn write_header(&self, store: StoreId) -> io::Result<()> {
        self.file.write_all_at(&header(self.number, self.base, store), 0)?;
        self.file.sync_all()
    }

    /// Opens a segment to write on.
    pub(crate) fn open(log: &Path, number: u32, base: u64) -> Result<Self, StoreError> {
        let file = folder::private()
            .read(true)
            .write(true)
            .open(path_of(log, number))
            .map_err(|error| failed("opening a segment of the log", error))?;
        Ok(Self { number, base, file })
    }
}

/// Writes zeros over a range, so that its blocks exist. Synced by the caller.
pub(crate) fn fill(file: &File, from: u32, to: u32) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(ZEROS.len() as u32);
        let zeros = ZEROS.get(..bytes as usize).ok_or(ErrorKind::InvalidInput)?;
        file.write_all_at(zeros, u64::from(at))?;
        at += bytes;
    }
    Ok(())
}
