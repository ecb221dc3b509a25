//! The index: sled, holding only what can be rebuilt from the log, and trusted only as far as that can be checked.
//!
//! Every value carries a checksum, and the *mark*, which is written in the same batch as what it covers, holds the position up to which the
//! log is applied and a digest over all entries. So an index that lost something, whatever the way, is noticed when it is opened, and is
//! then thrown away. A panic of the engine is contained and counts as damage.
//!
//! Must not know: segments, or what a damaged index means for its owner.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use sessions_domain::{CommitHash, SessionId};
use sessions_ports::{Digest, Link, StoreError, StoredClaim};

use super::{
    changes::{Changes, part_key},
    folder::{self, TOO_MANY_FILES, failed},
    frame,
    locator::{self, Locator, RunHead},
    roots::Root,
};

/// Why the index cannot be used. Damage is only ever a reason to rebuild it; that it could not even be looked at is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IndexFailure {
    #[error("the index does not open: {0}")]
    Open(String),
    #[error("the index is damaged: {0}")]
    Damaged(&'static str),
    #[error("the index failed: {0}")]
    Engine(String),
    #[error("there is no space left for the index")]
    NoSpace,
    #[error("it did not know what a repair wrote")]
    Behind,
    #[error("the index could not be opened: {what}")]
    Refused { kind: ErrorKind, what: String },
}

impl IndexFailure {
    /// Tells what the system refused from what an index is like.
    fn of(error: &io::Error) -> Self {
        let has_files = error.raw_os_error().is_none_or(|code| !TOO_MANY_FILES.contains(&code));
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace,
            kind @ (ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::OutOfMemory
            | ErrorKind::ResourceBusy
            | ErrorKind::WouldBlock) => Self::Refused { kind, what: kind.to_string() },
            kind if has_files => Self::Engine(kind.to_string()),
            kind => Self::Refused { kind, what: "too many open files".to_owned() },
        }
    }

    /// The error of an index that could not be looked at, so that nothing is known of what it holds.
    pub(crate) fn refused(&self) -> Option<StoreError> {
        match self {
            Self::NoSpace => Some(StoreError::NoSpace { operation: "opening the index" }),
            Self::Refused { kind, what } => Some(failed("opening the index", io::Error::new(*kind, what.clone()))),
            Self::Open(_) | Self::Damaged(_) | Self::Engine(_) | Self::Behind => None,
        }
    }
}

/// The row of a session, as far as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreRow {
    pub(crate) first: u64,
    pub(crate) version: u64,
    pub(crate) commit: CommitHash,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) messages: u64,
    /// Bytes of all payloads.
    pub(crate) bytes: u64,
}

/// How far the log is applied to the index, and what the index holds then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: u64,
    entries: u64,
    digest: u64,
    /// The last root of the log before the position.
    root: Option<Root>,
}

/// A session as it is loaded at open.
pub(crate) struct Loaded {
    pub(crate) session: SessionId,
    pub(crate) row: CoreRow,
    pub(crate) words: Option<Bytes>,
    pub(crate) links: Vec<Link>,
}

/// What the index knew when it was opened.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) sessions: Vec<Loaded>,
    pub(crate) keys: Vec<(Digest, SessionId)>,
    /// Sessions that were removed: the version, and the key that stays taken.
    pub(crate) graves: Vec<(SessionId, u64, Option<Digest>)>,
}

impl Contents {
    /// Whether a session was removed.
    pub(crate) fn is_gone(&self, session: &SessionId) -> bool {
        self.graves.binary_search_by_key(session, |(session, ..)| *session).is_ok()
    }
}

pub(super) const ROW: u8 = b'S';
pub(super) const WORDS: u8 = b'W';
pub(super) const VIEW: u8 = b'V';
pub(super) const RUN: u8 = b'L';
pub(super) const HOST_KEY: u8 = b'K';
pub(super) const CLAIM: u8 = b'C';
pub(super) const BLOB: u8 = b'N';
pub(super) const LINKS: u8 = b'F';
pub(super) const GRAVE: u8 = b'D';
/// The value of a large body that its record names no more.
pub(super) const STALE: &[u8] = &[1];
/// What earlier versions had under this letter had another order.
const OLD_BLOB: u8 = b'B';
const MARK: &[u8] = b"M";

/// The name of a large body, and what the index holds about it.
pub(super) type NamedBody = ([u8; 32], Vec<u8>);

/// An open index.
pub(crate) struct Index {
    db: ::sled::Db,
    /// A descriptor of our own on the engine's file, for the sync that the engine leaves out.
    file: File,
    mark: Mutex<Mark>,
    /// Runs that were read lately, the last one first. **Invariant**: one that is read while runs change is not kept.
    read_runs: Mutex<VecDeque<ReadRun>>,
    /// Counts the times that runs changed.
    changed_runs: AtomicU64,
}

/// A run that holds a record: its first number, its locators.
type FoundRun = (u64, Arc<Vec<Locator>>);

/// A run that was read: its session, its first number, its locators.
type ReadRun = (SessionId, u64, Arc<Vec<Locator>>);

/// A large body: the session and the record that name it, and its name.
pub(crate) type NamedBlob = (SessionId, u64, [u8; 32]);

/// A key, and a value without its checksum.
type Entry = (Vec<u8>, Vec<u8>);

/// So many runs stay in memory; each has at most a few hundred locators.
const READ_RUNS: usize = 32;

/// Two checksums of an entry under different beginnings make one number of 64 bits.
pub(super) fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let low = crc32c::crc32c_append(crc32c::crc32c(key), value);
    let high = crc32c::crc32c_append(crc32c::crc32c_append(0x9E37_79B9, value), key);
    u64::from(high) << 32 | u64::from(low)
}

pub(super) fn sealed(value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(value.len() + 4);
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&crc32c::crc32c(value).to_le_bytes());
    sealed
}

fn unsealed(value: &[u8]) -> Result<&[u8], IndexFailure> {
    let (value, crc) = value.split_last_chunk::<4>().ok_or(IndexFailure::Damaged("a value is too short"))?;
    if crc32c::crc32c(value) == u32::from_le_bytes(*crc) {
        Ok(value)
    } else {
        Err(IndexFailure::Damaged("a value fails its checksum"))
    }
}

pub(super) fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(super) fn run_key(session: SessionId, first: u64) -> Vec<u8> {
    key(RUN, &[&session.to_bytes(), &first.to_be_bytes()])
}

impl CoreRow {
    /// The row of a log whose first record will be `first`.
    pub(crate) const fn none(first: u64) -> Self {
        let (version, commit) = (first.saturating_sub(1), CommitHash::ZERO);
        Self { first, version, commit, created: 0, updated: 0, messages: 0, bytes: 0 }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(self.commit.as_bytes());
        bytes.extend_from_slice(&self.created.to_le_bytes());
        bytes.extend_from_slice(&self.updated.to_le_bytes());
        bytes.extend_from_slice(&self.messages.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Some(Self {
            first: number(0)?,
            version: number(8)?,
            commit: CommitHash::from_bytes(bytes.get(16..48)?.try_into().ok()?),
            created: number(48)?.cast_signed(),
            updated: number(56)?.cast_signed(),
            messages: number(64)?,
            bytes: number(72)?,
        })
    }
}

/// Runs something of the engine's and takes a panic of it for damage.
fn contained<T>(work: impl FnOnce() -> ::sled::Result<T>) -> Result<T, IndexFailure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(engine(&error)),
        Err(_) => Err(IndexFailure::Engine("the engine panicked".to_owned())),
    }
}

fn engine(error: &::sled::Error) -> IndexFailure {
    match error {
        ::sled::Error::Io(error) => IndexFailure::of(error),
        ::sled::Error::Corruption { .. } => IndexFailure::Damaged("the engine found corruption"),
        _ => IndexFailure::Engine("the engine refused".to_owned()),
    }
}

impl Index {
    /// Opens the index on a thread of its own, checks every entry against the mark, and gives the sessions it knows.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<(Self, Contents), IndexFailure> {
        let path = path.to_owned();
        let work = move || {
            folder::close_to_others(&path);
            let db = Self::open_engine(&path, cache_bytes)?;
            let file = File::open(path.join("db")).map_err(|error| IndexFailure::of(&error))?;
            let mut index =
                Self { db, file, mark: Mutex::default(), read_runs: Mutex::default(), changed_runs: AtomicU64::new(0) };
            let contents = index.check()?;
            Ok((index, contents))
        };
        let thread = std::thread::Builder::new().name("sessions-index-open".to_owned()).spawn(work);
        let refused = |error: io::Error| IndexFailure::Refused { kind: error.kind(), what: error.kind().to_string() };
        let thread = thread.map_err(refused)?;
        thread.join().unwrap_or_else(|_| Err(IndexFailure::Open("the engine panicked".to_owned())))
    }

    /// The engine lets go of its lock a moment after it is dropped, so a lock that is held is waited for. Nobody else takes it meanwhile, for the
    /// folder is ours: what the engine says once the lock is free is not about the lock.
    fn open_engine(path: &Path, cache_bytes: u64) -> Result<::sled::Db, IndexFailure> {
        let begun = Instant::now();
        while is_locked(path) {
            if begun.elapsed() > Duration::from_secs(1) {
                return Err(IndexFailure::of(&ErrorKind::ResourceBusy.into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(2_000))
            .print_profile_on_drop(false);
        contained(|| config.open()).map_err(|failure| match failure {
            IndexFailure::NoSpace | IndexFailure::Refused { .. } => failure,
            failure => IndexFailure::Open(failure.to_string()),
        })
    }

    /// Reads every entry once: the digest must be the mark's, and what belongs to sessions is collected.
    fn check(&mut self) -> Result<Contents, IndexFailure> {
        let mark = contained(|| self.db.get(MARK))?;
        let Some(mark) = mark else {
            let is_empty = contained(|| self.db.iter().next().transpose())?.is_none();
            return if is_empty { Ok(Contents::default()) } else { Err(IndexFailure::Damaged("the mark is missing")) };
        };
        let mark = Mark::from_bytes(unsealed(&mark)?).ok_or(IndexFailure::Damaged("the mark is not one"))?;
        let (mut entries, mut digest) = (0_u64, 0_u64);
        let (mut contents, mut links) = (Contents::default(), Vec::new());
        let mut entries_of = self.db.iter();
        while let Some((key, value)) = contained(|| entries_of.next().transpose())? {
            let value = unsealed(&value)?;
            let (Some(prefix), false) = (key.first(), key.as_ref() == MARK || key.first() == Some(&VIEW)) else {
                continue;
            };
            entries += 1;
            digest ^= fingerprint(&key, value);
            match *prefix {
                ROW => {
                    let session = session_in(&key)?;
                    let row = CoreRow::from_bytes(value).ok_or(IndexFailure::Damaged("a row is not one"))?;
                    contents.sessions.push(Loaded { session, row, words: None, links: Vec::new() });
                }
                // Rows, and what belongs to them, come behind these in the order of the keys.
                GRAVE => {
                    let grave = grave_in(&key, value);
                    contents.graves.push(grave.ok_or(IndexFailure::Damaged("a removal is not one"))?);
                }
                LINKS => {
                    let read = value.chunks(24).map(frame::link).collect::<Option<Vec<Link>>>();
                    links.push((session_in(&key)?, read.ok_or(IndexFailure::Damaged("a link is not one"))?));
                }
                OLD_BLOB => return Err(IndexFailure::Damaged("an earlier version wrote it")),
                WORDS => add_words(&mut contents.sessions, session_in(&key)?, value),
                HOST_KEY => {
                    let digest: Option<Digest> = key.get(1..33).and_then(|bytes| bytes.try_into().ok());
                    let session: Option<[u8; 16]> = value.try_into().ok();
                    let pair = digest.zip(session.map(SessionId::from_bytes));
                    contents.keys.push(pair.ok_or(IndexFailure::Damaged("a key is not one"))?);
                }
                _ => {}
            }
        }
        if (entries, digest) != (mark.entries, mark.digest) {
            return Err(IndexFailure::Damaged("entries are missing or not as they were written"));
        }
        for (session, links) in links {
            let at = contents.sessions.binary_search_by_key(&session, |loaded| loaded.session);
            if let Some(loaded) = at.ok().and_then(|at| contents.sessions.get_mut(at)) {
                loaded.links = links;
            }
        }
        *self.mark.get_mut().unwrap_or_else(PoisonError::into_inner) = mark;
        Ok(contents)
    }

    pub(crate) fn position(&self) -> u64 {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).position
    }

    /// The last root of the log before the position, where that is known.
    pub(crate) fn root(&self) -> Option<Root> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).root
    }

    /// Applies changes and the mark that covers them, all or nothing. Readers go on meanwhile.
    pub(crate) fn apply(&self, changes: Changes, position: u64) -> Result<(), IndexFailure> {
        self.apply_up_to(changes, position, self.root())
    }

    /// The same, with the last root before the position.
    pub(crate) fn apply_up_to(
        &self,
        mut changes: Changes,
        position: u64,
        root: Option<Root>,
    ) -> Result<(), IndexFailure> {
        let mut before = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = Mark {
            position,
            root,
            entries: before.entries.checked_add_signed(changes.entries).unwrap_or(0),
            digest: before.digest ^ changes.digest,
        };
        changes.batch.insert(MARK, sealed(&mark.to_bytes()));
        contained(|| self.db.apply_batch(changes.batch))?;
        *before = mark;
        Ok(())
    }

    /// Writes out and syncs. Only bounds how much of the log is read again after a power cut.
    pub(crate) fn sync(&self) -> Result<(), IndexFailure> {
        contained(|| self.db.flush())?;
        self.file.sync_data().map_err(|error| IndexFailure::Engine(error.kind().to_string()))
    }

    /// Lets go of the engine.
    pub(crate) fn close(self) -> Result<(), IndexFailure> {
        self.sync()?;
        contained(|| {
            drop(self.db);
            Ok(())
        })
    }

    /// The run that holds a record, or the last one before it: its first number and its locators.
    pub(crate) fn run_with(&self, session: SessionId, seq: u64) -> Result<Option<FoundRun>, IndexFailure> {
        if let Some(run) = self.read_run(session, seq) {
            return Ok(Some(run));
        }
        let changed = self.changed_runs.load(Ordering::Acquire);
        let Some((first, value)) = self.run_at(session, seq)? else { return Ok(None) };
        let locators = Arc::new(locator::run(&value).ok_or(IndexFailure::Damaged("a run is not one"))?);
        let mut runs = self.read_runs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.changed_runs.load(Ordering::Acquire) != changed {
            return Ok(Some((first, locators)));
        }
        runs.truncate(READ_RUNS - 1);
        runs.push_front((session, first, Arc::clone(&locators)));
        Ok(Some((first, locators)))
    }

    /// The run that holds a record, or the last one before it, as it stands: its first number and its value.
    pub(super) fn run_at(&self, session: SessionId, seq: u64) -> Result<Option<(u64, Vec<u8>)>, IndexFailure> {
        let range = run_key(session, 0)..=run_key(session, seq);
        let found = contained(|| self.db.range(range).next_back().transpose())?;
        let Some((key, value)) = found else { return Ok(None) };
        let first = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        Ok(Some((first.ok_or(IndexFailure::Damaged("a run is not one"))?, unsealed(&value)?.to_vec())))
    }

    /// The first record that runs of a session hold.
    pub(super) fn lowest_run(&self, session: SessionId) -> Result<Option<u64>, IndexFailure> {
        let range = run_key(session, 0)..=run_key(session, u64::MAX);
        let found = contained(|| self.db.range(range).next().transpose())?;
        Ok(found.and_then(|(key, _)| key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))))
    }

    /// The large bodies that a record names or named: their names, and the values.
    pub(super) fn bodies_of(&self, session: SessionId, seq: u64) -> Result<Vec<NamedBody>, IndexFailure> {
        let mut found = Vec::new();
        let mut entries = self.db.scan_prefix(key(BLOB, &[&session.to_bytes(), &seq.to_be_bytes()]));
        while let Some((key, value)) = contained(|| entries.next().transpose())? {
            let (_, _, name) = blob_in(&key).ok_or(IndexFailure::Damaged("a large body's name is not one"))?;
            found.push((name, unsealed(&value)?.to_vec()));
        }
        Ok(found)
    }

    /// The run that holds a record, if it was read lately.
    fn read_run(&self, session: SessionId, seq: u64) -> Option<FoundRun> {
        let mut runs = self.read_runs.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(of, first, run): &ReadRun| *of == session && *first <= seq && seq - first < run.len() as u64;
        let at = runs.iter().position(holds)?;
        let (session, first, run) = runs.remove(at)?;
        runs.push_front((session, first, Arc::clone(&run)));
        Some((first, run))
    }

    /// First number and head of every run of a session, ascending.
    pub(crate) fn runs(&self, session: SessionId) -> Result<Vec<(u64, RunHead)>, IndexFailure> {
        let mut runs = Vec::new();
        let mut entries = self.db.scan_prefix(key(RUN, &[&session.to_bytes()]));
        while let Some((key, value)) = contained(|| entries.next().transpose())? {
            let first = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            let head = locator::run_head(unsealed(&value)?);
            runs.push(first.zip(head).ok_or(IndexFailure::Damaged("a run is not one"))?);
        }
        Ok(runs)
    }

    /// The highest segment that any locator names (0: none).
    pub(crate) fn highest_segment(&self) -> Result<u32, IndexFailure> {
        let mut highest = 0;
        let mut entries = self.db.scan_prefix([RUN]);
        while let Some((_, value)) = contained(|| entries.next().transpose())? {
            let run = locator::run(unsealed(&value)?).ok_or(IndexFailure::Damaged("a run is not one"))?;
            highest = run.iter().map(|locator| locator.segment).fold(highest, u32::max);
        }
        Ok(highest)
    }

    pub(crate) fn claim(&self, session: SessionId, digest: Digest) -> Result<Option<StoredClaim>, IndexFailure> {
        let found = contained(|| self.db.get(key(CLAIM, &[&session.to_bytes(), &digest])))?;
        let Some(value) = found else { return Ok(None) };
        parse_claim(unsealed(&value)?).map(Some).ok_or(IndexFailure::Damaged("a claim is not one"))
    }

    pub(crate) fn view(&self, session: SessionId) -> Result<Option<Bytes>, IndexFailure> {
        let mut view = Vec::new();
        for part in 0.. {
            match contained(|| self.db.get(part_key(VIEW, session, part)))? {
                Some(value) => view.extend_from_slice(unsealed(&value)?),
                None => break,
            }
        }
        Ok((!view.is_empty()).then(|| Bytes::from(view)))
    }

    /// Damages all that is read while a store runs.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        for prefix in [RUN, CLAIM, VIEW] {
            for key in self.db.scan_prefix([prefix]).keys() {
                self.db.insert(key.unwrap(), b"spoilt").unwrap();
            }
        }
        self.read_runs.lock().unwrap().clear();
    }

    /// Makes a claim that nobody made look damaged.
    #[cfg(test)]
    pub(crate) fn spoil_claim(&self, session: SessionId, digest: Digest) {
        self.db.insert(key(CLAIM, &[&session.to_bytes(), &digest]), b"spoilt").unwrap();
    }

    /// The large bodies that records name, and those that they named before they were rewritten: session, seq, name.
    pub(crate) fn blobs(&self) -> Result<Vec<NamedBlob>, IndexFailure> {
        Ok(self.blobs_by_state()?.into_iter().map(|(blob, _)| blob).collect())
    }

    /// The same, each with whether its record names another one, or none, since it was rewritten.
    pub(crate) fn blobs_by_state(&self) -> Result<Vec<(NamedBlob, bool)>, IndexFailure> {
        let mut blobs = Vec::new();
        let mut entries = self.db.scan_prefix([BLOB]);
        while let Some((key, value)) = contained(|| entries.next().transpose())? {
            let blob = blob_in(&key).ok_or(IndexFailure::Damaged("a large body's name is not one"))?;
            blobs.push((blob, unsealed(&value)? == STALE));
        }
        Ok(blobs)
    }

    /// Everything of one kind about a session: keys, and values without their checksums.
    pub(super) fn about(&self, prefix: u8, session: SessionId) -> Result<Vec<Entry>, IndexFailure> {
        let mut found = Vec::new();
        let mut entries = self.db.scan_prefix(key(prefix, &[&session.to_bytes()]));
        while let Some((key, value)) = contained(|| entries.next().transpose())? {
            found.push((key.to_vec(), unsealed(&value)?.to_vec()));
        }
        Ok(found)
    }

    /// The session that has a host's key here.
    pub(crate) fn holder(&self, digest: &Digest) -> Result<Option<SessionId>, IndexFailure> {
        let Some(value) = contained(|| self.db.get(key(HOST_KEY, &[digest])))? else { return Ok(None) };
        let session: Option<[u8; 16]> = unsealed(&value)?.try_into().ok();
        session.map(SessionId::from_bytes).map(Some).ok_or(IndexFailure::Damaged("a key is not one"))
    }

    /// Whether the index says that a session was removed.
    pub(crate) fn has_grave(&self, session: SessionId) -> Result<bool, IndexFailure> {
        contained(|| self.db.contains_key(key(GRAVE, &[&session.to_bytes()])))
    }

    /// Forgets runs that were read lately of a session whose runs go.
    pub(super) fn forget_runs(&self, session: SessionId) {
        let mut runs = self.read_runs.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed_runs.fetch_add(1, Ordering::AcqRel);
        runs.retain(|(of, ..)| *of != session);
    }
}

/// Reads a claim: payload, seq, version.
pub(crate) fn parse_claim(value: &[u8]) -> Option<StoredClaim> {
    let number = |at: usize| value.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    Some(StoredClaim { payload: value.get(..32)?.try_into().ok()?, seq: number(32)?, version: number(40)? })
}

/// The removed session, its version, and the key that stays taken.
fn grave_in(key: &[u8], value: &[u8]) -> Option<(SessionId, u64, Option<Digest>)> {
    let (version, kept) = value.split_first_chunk::<8>()?;
    let kept = if kept.is_empty() { None } else { Some(kept.try_into().ok()?) };
    Some((session_in(key).ok()?, u64::from_le_bytes(*version), kept))
}

/// Session, seq and name of a large body.
pub(super) fn blob_in(key: &[u8]) -> Option<NamedBlob> {
    let (session, seq) = (session_in(key).ok()?, u64::from_be_bytes(key.get(17..25)?.try_into().ok()?));
    Some((session, seq, key.get(25..57)?.try_into().ok()?))
}

fn session_in(key: &[u8]) -> Result<SessionId, IndexFailure> {
    let bytes: Option<[u8; 16]> = key.get(1..17).and_then(|bytes| bytes.try_into().ok());
    bytes.map(SessionId::from_bytes).ok_or(IndexFailure::Damaged("a key is too short"))
}

/// Rows come before words, and both by session, so a search from the place of the last one is short.
fn add_words(sessions: &mut [Loaded], session: SessionId, part: &[u8]) {
    let at = sessions.partition_point(|loaded| loaded.session < session);
    if let Some(loaded) = sessions.get_mut(at).filter(|loaded| loaded.session == session) {
        loaded.words = Some(match loaded.words.take() {
            Some(before) => [&before, part].concat().into(),
            None => Bytes::copy_from_slice(part),
        });
    }
}

impl Mark {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.position, self.entries, self.digest];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        if let Some(Root { position, length, root, .. }) = self.root {
            bytes.extend_from_slice(&position.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&root);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let root = || {
            let length = bytes.get(32..36)?.try_into().ok().map(u32::from_le_bytes)?;
            Some(Root::closed(number(24)?, length, bytes.get(36..52)?.try_into().ok()?))
        };
        Some(Self { position: number(0)?, entries: number(8)?, digest: number(16)?, root: root() })
    }
}

/// True while another handle, which may be on its way out, holds the engine's lock.
///
/// What was locked to look is unlocked by name and not by closing the file: a program that is being started elsewhere in the process has the file
/// open as well until it runs, and would keep the lock so long.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path.join("db")) else { return false };
    match file.try_lock_shared() {
        Ok(()) => {
            // When it cannot be let go of, it goes with the file.
            let _ = file.unlock();
            false
        }
        Err(refused) => matches!(refused, std::fs::TryLockError::WouldBlock),
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::atomic::AtomicBool};

    use super::*;

    #[test]
    fn a_look_at_the_lock_leaves_none_to_programs_that_are_being_started() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("db"), "x").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(Command::new("true").status().unwrap().success());
                    }
                });
            }
            let file = File::open(folder.path().join("db")).unwrap();
            let held = (0..20_000).filter(|_| {
                let was_locked = is_locked(folder.path());
                let is_free = file.try_lock().is_ok();
                let _ = file.unlock();
                was_locked || !is_free
            });
            let held = held.count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(held, 0);
        });
    }
}
