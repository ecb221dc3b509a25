//! The file of a backup: how it is written, and how it is read and checked. `docs/format.md` is the description; this is the code.
//!
//! Must not know: stores that run, and where a file comes from or goes to.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ring::digest::{self, SHA256};
use sessions_domain::{Moment, chain};
use sessions_ports::{BackupError, StoreError, StoreId};

use super::{
    bodies::BodyName,
    folder::{Sealing, failed},
};
use crate::keys::is_ring;

const MAGIC: [u8; 8] = *b"SESSBAK\x01";
/// The version of the file's format: of a plain store, and of a sealed one, whose keys are in it.
const FORMAT: u32 = 1;
const SEALED_FORMAT: u32 = 2;
/// The version of the store's format that the entries have.
const STORE_FORMAT: u32 = 1;
const HEADER: usize = 64;
/// What an entry begins with.
const FILE: u8 = 1;
const END: u8 = 2;
/// The bit of a run's length that says: zeros, which do not follow.
const ZEROS: u32 = 1 << 31;
/// Zeros are left out in blocks of this size.
const BLOCK: usize = 4 << 10;
/// The most bytes in one run.
const RUN: usize = 1 << 20;
/// The most bytes of a file `ring`, and of a file `slots`.
const LONGEST_RING: u64 = (1 << 20) + 128;
const LONGEST_SLOTS: u64 = 512 * (1 + (1 << 32));
/// The longest name of an entry.
const LONGEST_NAME: u16 = 128;
static EMPTY: [u8; BLOCK] = [0; BLOCK];

/// Of which store a backup is, and when it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHead {
    /// The store, which a restored one goes on as.
    pub store: StoreId,
    /// Up to which position the log stands in it.
    pub end: u64,
    /// When it was begun.
    pub at: Moment,
    /// Whether what is in it is sealed. Then the store's wrapped keys are in it too.
    pub sealing: Sealing,
}

/// A backup that is whole and as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// What it is of.
    pub head: BackupHead,
    /// Segments of the log in it.
    pub segments: u64,
    /// Large bodies in it.
    pub bodies: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The digest over all of it.
    pub digest: [u8; 32],
}

impl BackupInfo {
    fn count(&mut self, name: EntryName) {
        match name {
            EntryName::Ring | EntryName::Slots => {}
            EntryName::Segment(_) => self.segments += 1,
            EntryName::Body(_) => self.bodies += 1,
        }
    }
}

/// How far a backup or a restore is, and the wish that it should end. Clones are of the same one.
#[derive(Clone, Default)]
pub struct BackupProgress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    total: AtomicU64,
    is_stopped: AtomicBool,
}

impl BackupProgress {
    /// Bytes that are done.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes there are to do; 0 while that is not known.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Asks the work to end, with [`BackupError::Stopped`] and nothing left of it.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, bytes: usize) -> Result<(), StoreError> {
        self.0.done.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.0.is_stopped.load(Ordering::Relaxed) { Err(BackupError::Stopped.into()) } else { Ok(()) }
    }
}

impl fmt::Debug for BackupProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupProgress").field("done", &self.done()).field("total", &self.total()).finish()
    }
}

const RING: &str = "keys/ring";
const SLOTS: &str = "keys/slots";

/// A file of a store, by what it holds. In a backup they stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryName {
    /// The ring of a sealed store's keys.
    Ring,
    /// The wrapped keys of its sessions.
    Slots,
    /// A segment of the log.
    Segment(u32),
    /// A large body.
    Body(BodyName),
}

impl EntryName {
    /// The most bytes that such a file may have.
    fn limit(self) -> u64 {
        match self {
            Self::Ring => LONGEST_RING,
            Self::Slots => LONGEST_SLOTS,
            Self::Segment(_) => u64::from(u32::MAX),
            Self::Body(_) => super::MAX_COMMIT_BYTES,
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let name = match text.strip_prefix("log/") {
            None if text == RING => Self::Ring,
            None if text == SLOTS => Self::Slots,
            Some(file) => Self::Segment(file.strip_suffix(".seg")?.parse().ok().filter(|number| *number > 0)?),
            None => Self::Body(chain::from_hex(text.strip_prefix("blobs/")?.get(3..)?)?.try_into().ok()?),
        };
        // A number or a hash can be written in several ways, and a store knows one.
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring => f.write_str(RING),
            Self::Slots => f.write_str(SLOTS),
            Self::Segment(number) => write!(f, "log/{number:08}.seg"),
            Self::Body(name) => {
                let name = chain::to_hex(name);
                write!(f, "blobs/{}/{name}", name.get(..2).unwrap_or_default())
            }
        }
    }
}

fn header_of(head: &BackupHead) -> [u8; HEADER] {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&MAGIC);
    let format = if head.sealing == Sealing::Sealed { SEALED_FORMAT } else { FORMAT };
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&STORE_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&head.store.0);
    bytes.extend_from_slice(&head.end.to_le_bytes());
    bytes.extend_from_slice(&head.at.as_millis().to_le_bytes());
    bytes.resize(HEADER - 4, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let mut header = [0; HEADER];
    header.copy_from_slice(&bytes);
    header
}

fn writing(error: io::Error) -> StoreError {
    failed("the backup", error)
}

/// Writes a backup.
pub(crate) struct BackupWriter<'a, W> {
    out: W,
    /// Over the header and the digest of each entry.
    whole: digest::Context,
    entry: digest::Context,
    info: BackupInfo,
    files: u64,
    progress: &'a BackupProgress,
}

impl<'a, W: Write> BackupWriter<'a, W> {
    pub(crate) fn begin(mut out: W, head: BackupHead, progress: &'a BackupProgress) -> Result<Self, StoreError> {
        let header = header_of(&head);
        out.write_all(&header).map_err(writing)?;
        let mut whole = digest::Context::new(&SHA256);
        whole.update(&header);
        let info = BackupInfo { head, segments: 0, bodies: 0, bytes: HEADER as u64, digest: [0; 32] };
        Ok(Self { out, whole, entry: digest::Context::new(&SHA256), info, files: 0, progress })
    }

    /// Up to which position the log goes into it.
    pub(crate) fn end_of_log(&self) -> u64 {
        self.info.head.end
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.entry.update(bytes);
        self.put_beside(bytes)
    }

    /// Writes what the entry's digest does not cover.
    fn put_beside(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.info.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(writing)
    }

    /// Adds a file, without the zeros in it.
    pub(crate) fn file(&mut self, name: EntryName, content: &[u8]) -> Result<(), StoreError> {
        self.info.count(name);
        self.files += 1;
        self.entry = digest::Context::new(&SHA256);
        let text = name.to_string();
        self.put(&[FILE])?;
        self.put(&u16::try_from(text.len()).unwrap_or(LONGEST_NAME).to_le_bytes())?;
        self.put(&(content.len() as u64).to_le_bytes())?;
        self.put(text.as_bytes())?;
        let mut rest = content;
        while !rest.is_empty() {
            let blocks = || rest.chunks(BLOCK).take(RUN / BLOCK);
            let zeros: usize = blocks().take_while(|block| is_empty(block)).map(<[u8]>::len).sum();
            let bytes: usize = blocks().take_while(|block| !is_empty(block)).map(<[u8]>::len).sum();
            let (run, after) = rest.split_at_checked(zeros.max(bytes)).unwrap_or((rest, &[]));
            let length = u32::try_from(run.len()).unwrap_or(0);
            if zeros > 0 {
                self.put(&(length | ZEROS).to_le_bytes())?;
            } else {
                self.put(&length.to_le_bytes())?;
                self.put(run)?;
            }
            self.progress.advance(run.len())?;
            rest = after;
        }
        let entry = std::mem::replace(&mut self.entry, digest::Context::new(&SHA256)).finish();
        self.whole.update(entry.as_ref());
        self.put_beside(entry.as_ref())
    }

    /// Ends it, and gives back what it was written to.
    pub(crate) fn end(mut self) -> Result<(BackupInfo, W), StoreError> {
        let count = self.files;
        self.put_beside(&[END])?;
        self.put_beside(&count.to_le_bytes())?;
        self.whole.update(&count.to_le_bytes());
        let digest = self.whole.clone().finish();
        self.info.digest.copy_from_slice(digest.as_ref());
        self.put_beside(digest.as_ref())?;
        self.out.flush().map_err(writing)?;
        Ok((self.info, self.out))
    }
}

fn is_empty(block: &[u8]) -> bool {
    EMPTY.get(..block.len()) == Some(block)
}

/// Where the files of a backup that is read go.
pub(crate) trait BackupSink {
    /// The head of the backup.
    fn head(&mut self, head: &BackupHead) -> Result<(), StoreError>;
    /// A file begins, of so many bytes.
    fn begin(&mut self, name: EntryName, length: u64) -> Result<(), StoreError>;
    /// Bytes of it.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
    /// Zeros in it.
    fn zeros(&mut self, count: u32) -> Result<(), StoreError>;
    /// It ends, and is as it was written.
    fn end(&mut self) -> Result<(), StoreError>;
}

/// Nothing is kept.
impl BackupSink for () {
    fn head(&mut self, _: &BackupHead) -> Result<(), StoreError> {
        Ok(())
    }

    fn begin(&mut self, _: EntryName, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn bytes(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn zeros(&mut self, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Reads a backup and checks every digest. What goes to the sink is as it was written only when this succeeds.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Newer`], [`BackupError::Damaged`], [`BackupError::Stopped`], and the sink's and the system's.
pub(crate) fn read_backup(
    input: impl Read,
    sink: &mut dyn BackupSink,
    progress: &BackupProgress,
) -> Result<BackupInfo, StoreError> {
    BackupReader { input, entry: digest::Context::new(&SHA256), at: 0, progress }.run(sink)
}

/// Checks a backup without keeping anything of it, in little memory whatever it says.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Newer`], [`BackupError::Damaged`], and the system's.
pub fn check_backup(input: impl Read) -> Result<BackupInfo, StoreError> {
    read_backup(input, &mut (), &BackupProgress::default())
}

struct BackupReader<'a, R> {
    input: R,
    entry: digest::Context,
    at: u64,
    progress: &'a BackupProgress,
}

impl<R: Read> BackupReader<'_, R> {
    fn damaged(&self, what: &'static str) -> StoreError {
        BackupError::Damaged { at: self.at, what }.into()
    }

    /// Fills a buffer, of which the entry's digest knows.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.take_beside(bytes)?;
        self.entry.update(bytes);
        Ok(())
    }

    fn take_beside(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => failed("reading the backup", error),
        })?;
        self.at += bytes.len() as u64;
        self.progress.advance(bytes.len())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    fn run(mut self, sink: &mut dyn BackupSink) -> Result<BackupInfo, StoreError> {
        let (header, head) = self.head()?;
        let mut whole = digest::Context::new(&SHA256);
        whole.update(&header);
        sink.head(&head)?;
        let mut info = BackupInfo { head, segments: 0, bodies: 0, bytes: 0, digest: [0; 32] };
        let (mut before, mut files, mut keys) = (None, 0, 0);
        loop {
            self.entry = digest::Context::new(&SHA256);
            match self.array::<1>()? {
                [FILE] => {}
                [END] => break,
                _ => return Err(self.damaged("an entry of no known kind")),
            }
            let name = self.file(sink, before, &head)?;
            before = Some(name);
            info.count(name);
            files += 1;
            keys += u64::from(matches!(name, EntryName::Ring | EntryName::Slots));
            let entry = std::mem::replace(&mut self.entry, digest::Context::new(&SHA256)).finish();
            let mut said = [0; 32];
            self.take_beside(&mut said)?;
            if entry.as_ref() != said {
                return Err(self.damaged("the digest of an entry is another one"));
            }
            whole.update(entry.as_ref());
            sink.end()?;
        }
        let count = self.array::<8>()?;
        whole.update(&count);
        if u64::from_le_bytes(count) != files {
            return Err(self.damaged("there are fewer or more entries than it says"));
        }
        let has_keys = if head.sealing == Sealing::Sealed { keys == 2 } else { keys == 0 };
        if !has_keys {
            return Err(self.damaged("the keys of a sealed store are missing in it, or those of a plain one are not"));
        }
        let said = self.array::<32>()?;
        if whole.finish().as_ref() != said {
            return Err(self.damaged("the digest over all of it is another one"));
        }
        if self.input.read(&mut [0]).map_err(|error| failed("reading the backup", error))? > 0 {
            return Err(self.damaged("something stands behind its end"));
        }
        Ok(BackupInfo { bytes: self.at, digest: said, ..info })
    }

    fn head(&mut self) -> Result<([u8; HEADER], BackupHead), StoreError> {
        let mut header = [0; HEADER];
        let (magic, rest) = header.split_at_mut(MAGIC.len());
        let begins = self.take(magic);
        if begins.is_ok() && *magic != MAGIC || matches!(begins, Err(StoreError::Backup(BackupError::Damaged { .. }))) {
            return Err(BackupError::Foreign.into());
        }
        begins?;
        self.take(rest)?;
        let (covered, crc) = header.split_at(HEADER - 4);
        if crc32c::crc32c(covered).to_le_bytes() != *crc {
            return Err(self.damaged("its header is not as it was written"));
        }
        let u32_at = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (format, of_store) = (u32_at(8).unwrap_or(0), u32_at(12).unwrap_or(0));
        let sealing = match format {
            FORMAT => Sealing::Plain,
            SEALED_FORMAT => Sealing::Sealed,
            format => return Err(BackupError::Newer { format }.into()),
        };
        if of_store != STORE_FORMAT {
            return Err(BackupError::Newer { format: of_store }.into());
        }
        let store = header.get(16..32).and_then(|id| id.try_into().ok()).unwrap_or_default();
        let at = Moment::from_millis(u64_at(40).unwrap_or(0).cast_signed());
        Ok((header, BackupHead { store: StoreId(store), end: u64_at(32).unwrap_or(0), at, sealing }))
    }

    /// Reads a file behind the byte that says it is one, up to its digest.
    fn file(
        &mut self,
        sink: &mut dyn BackupSink,
        before: Option<EntryName>,
        head: &BackupHead,
    ) -> Result<EntryName, StoreError> {
        let named = u16::from_le_bytes(self.array()?);
        let length = u64::from_le_bytes(self.array()?);
        if named > LONGEST_NAME {
            return Err(self.damaged("an entry's name is too long"));
        }
        let mut name = vec![0; usize::from(named)];
        self.take(&mut name)?;
        let name = EntryName::parse(&name).ok_or_else(|| self.damaged("an entry is named as no file of a store is"))?;
        if before >= Some(name) {
            return Err(self.damaged("its entries are not in their order"));
        }
        if length > name.limit() {
            return Err(self.damaged("an entry is larger than a file of a store can be"));
        }
        sink.begin(name, length)?;
        let mut left = length;
        let (mut buffer, mut ring) = (Vec::new(), Vec::new());
        while left > 0 {
            let run = u32::from_le_bytes(self.array()?);
            let count = run & !ZEROS;
            left = match left.checked_sub(u64::from(count)) {
                Some(left) if count > 0 => left,
                _ => return Err(self.damaged("a run of an entry is longer than the entry, or empty")),
            };
            if run & ZEROS != 0 {
                sink.zeros(count)?;
                if name == EntryName::Ring {
                    ring.resize(ring.len() + count as usize, 0);
                }
                continue;
            }
            if count as usize > RUN {
                return Err(self.damaged("a run of an entry is too long"));
            }
            buffer.resize(count as usize, 0);
            self.take(&mut buffer)?;
            sink.bytes(&buffer)?;
            if name == EntryName::Ring {
                ring.extend_from_slice(&buffer);
            }
        }
        if name == EntryName::Ring && !is_ring(head.store, &ring) {
            return Err(self.damaged("the ring of keys is not as it was written"));
        }
        Ok(name)
    }
}
