//! A backup of a store while it runs: one file with everything that was acknowledged when it was begun.
//!
//! Segments are only ever appended to, so their bytes up to a position that is synced are a store that is whole. What records name is kept
//! from going meanwhile ([`KeptFiles`]); writers wait for nothing.
//!
//! Must not know: how the file is laid out, and when backups are made.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, BufReader, BufWriter, ErrorKind, Read as _, Seek as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError as TryRwLockError, atomic::Ordering},
    time::{Duration, Instant},
};

use sessions_domain::Moment;
use sessions_ports::{
    BackendError, BackendErrorKind, BackupError, Clock as _, Durability, Removal, SessionLog as _, StoreError,
};
use tokio::sync::watch;

use super::{
    SledStore,
    backup_file::{BackupHead, BackupInfo, BackupProgress, BackupWriter, EntryName, read_backup},
    bodies::{self, BodyName},
    core::{Core, Presence},
    folder::{self, Sealing, failed, sealing_of},
    frame::{self, Found, Scan},
    last_backup::LastBackup,
    segment::{self, Head, SEGMENT_HEADER},
};
use crate::{
    environment::SystemClock,
    keys::KeysCopy,
    sealing::{SlotState, slot_state},
};

/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 20;
/// How often keys are looked at again that are just being changed, and how long is waited between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Keeps files of the store from going, or being written anew, while a backup copies them.
///
/// Whoever removes a file that a record names, or rewrites a segment, does it with [`Self::may_go`] in hand.
pub(crate) struct KeptFiles {
    kept: RwLock<()>,
    closing: watch::Sender<bool>,
}

impl Default for KeptFiles {
    fn default() -> Self {
        Self { kept: RwLock::new(()), closing: watch::Sender::new(false) }
    }
}

impl KeptFiles {
    /// As long as this is held no file goes.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as this is held files may go; `None` while somebody copies them: try again later.
    pub(crate) fn may_go(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        match self.kept.try_write() {
            Ok(guard) => Some(guard),
            Err(TryRwLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryRwLockError::WouldBlock) => None,
        }
    }

    /// The same, and waits until nobody copies them.
    pub(crate) fn until_they_may_go(&self) -> RwLockWriteGuard<'_, ()> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store closes: backups end.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until no backup is at work.
    pub(crate) fn wait(&self) {
        drop(self.kept.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn check(&self) -> Result<(), StoreError> {
        if *self.closing.borrow() { Err(StoreError::Closed) } else { Ok(()) }
    }
}

/// A backup that was made, read back and found as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub info: BackupInfo,
    /// Sessions there were when it was begun.
    pub sessions: u64,
    /// How long it took.
    pub took: Duration,
}

/// Ends the work of a backup that nobody waits for any more.
struct StopUnheard<'a>(Option<&'a BackupProgress>);

impl Drop for StopUnheard<'_> {
    fn drop(&mut self) {
        if let Some(progress) = self.0 {
            progress.stop();
        }
    }
}

impl SledStore {
    /// Writes a backup of the store, while it runs, into a new file: everything that was acknowledged when this was called, at whatever
    /// level. The file is read back and checked before it gets its name. Writers go on meanwhile. Dropping the future ends the work and
    /// leaves nothing of it. How it went is kept in the store's folder ([`last_backup`](super::last_backup)).
    ///
    /// # Errors
    /// [`BackupError::Exists`], [`BackupError::Running`], [`BackupError::Stopped`], [`StoreError::NoSpace`], [`StoreError::Closed`], and the
    /// system's.
    pub async fn backup(&self, path: &Path, progress: &BackupProgress) -> Result<BackupReport, StoreError> {
        self.backup_at(SystemClock.now(), path, progress).await
    }

    /// The same, begun at this moment.
    pub(crate) async fn backup_at(
        &self,
        at: Moment,
        path: &Path,
        progress: &BackupProgress,
    ) -> Result<BackupReport, StoreError> {
        let begun = Instant::now();
        let is_synced = self.sync_acknowledged().await;
        let (work, path) = (Work { core: Presence::of(self.core()), at, begun }, path.to_owned());
        let mut unheard = StopUnheard(Some(progress));
        let progress = progress.clone();
        let outcome = tokio::task::spawn_blocking(move || work.run(is_synced, &path, &progress)).await;
        unheard.0 = None;
        outcome.unwrap_or_else(|error| Err(BackendError::new(BackendErrorKind::Internal, "the backup", error).into()))
    }

    /// Hears when the store begins to close.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.core().kept.closing.subscribe();
        async move {
            // The sender goes with the store.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// Waits until all that is visible now is synced.
    async fn sync_acknowledged(&self) -> Result<(), StoreError> {
        let (mut waiting, mut removed) = (Vec::new(), Vec::new());
        {
            let mut ledger = self.core().lock();
            ledger.check_open()?;
            let is_behind = |log: &super::log_state::LogState| log.synced < log.row.version;
            let behind = ledger.sessions.iter().filter(|(_, log)| log.exists() && is_behind(log));
            let behind = behind.filter(|(session, _)| !ledger.is_gone(**session));
            let behind: Vec<_> = behind.map(|(session, log)| (*session, log.row.version)).collect();
            for (session, grave) in ledger.graves.iter().filter(|(_, grave)| !grave.is_synced) {
                let (expected, keep_key, durability) = (None, grave.key.is_some(), Durability::Disk);
                removed.push(Removal { session: *session, expected, keep_key, durability });
            }
            for (session, version) in behind {
                waiting.extend(ledger.wait(session, version, Durability::Disk)?.err());
            }
        }
        self.core().wake_writer();
        for heard in waiting {
            match heard.await.unwrap_or(Err(StoreError::Closed)) {
                // It was removed since, and a backup owes nothing of it.
                Ok(_) | Err(StoreError::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // Nobody can wait for a removal that was answered; said again at this level it is synced, and the first with it.
        for removal in removed {
            self.remove(removal).await?;
        }
        Ok(())
    }
}

/// The part of a backup that waits for disks.
struct Work {
    core: Presence,
    at: Moment,
    begun: Instant,
}

impl Work {
    fn run(
        &self,
        is_synced: Result<(), StoreError>,
        path: &Path,
        progress: &BackupProgress,
    ) -> Result<BackupReport, StoreError> {
        // Held until the outcome is kept, so that it is written into a folder that is still ours.
        let _kept = self.core.kept.hold();
        let outcome = is_synced.and_then(|()| self.make(path, progress));
        if LastBackup::is_worth(&outcome) {
            // A backup is as good without it.
            let _ = LastBackup::of(self.at, path, &outcome).write(&self.core.folder.root);
        }
        outcome
    }

    fn make(&self, path: &Path, progress: &BackupProgress) -> Result<BackupReport, StoreError> {
        self.core.kept.check()?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(BackupError::Exists.into());
        }
        let partial = Partial::make(path)?;
        let (end, keys) = self.end_and_keys()?;
        let sealing = if keys.is_some() { Sealing::Sealed } else { Sealing::Plain };
        let head = BackupHead { store: self.core.folder.id, end, at: self.at, sealing };
        let sessions = {
            let ledger = self.core.lock();
            ledger.sessions.iter().filter(|(session, log)| log.exists() && !ledger.is_gone(**session)).count() as u64
        };
        let out = BufWriter::with_capacity(BUFFER, &partial.file);
        let mut writer = BackupWriter::begin(out, head, progress)?;
        if let Some(keys) = keys {
            progress.expect((keys.ring.len() + keys.slots.len()) as u64);
            writer.file(EntryName::Ring, &keys.ring)?;
            writer.file(EntryName::Slots, &keys.slots)?;
        }
        let (info, _) = copy(&self.core, writer, progress)?;
        partial.file.sync_all().map_err(|error| failed("the backup", error))?;
        progress.expect(info.bytes);
        partial.check(&info, progress)?;
        partial.keep()?;
        Ok(BackupReport { path: path.to_owned(), info, sessions, took: self.begun.elapsed() })
    }
}

impl Work {
    /// Where the log ends in this backup, and the wrapped keys that open it.
    ///
    /// Slots are made before the sessions that use them, so those that are copied behind the end have all. They would lack a data key that was
    /// retired just then, whose records are behind the end only; so between two looks at them none may have gone but with its session.
    fn end_and_keys(&self) -> Result<(u64, Option<KeysCopy>), StoreError> {
        let end = || self.core.synced_position.load(Ordering::Acquire);
        let folder = &self.core.folder;
        if sealing_of(&folder.root) == Sealing::Plain {
            return Ok((end(), None));
        }
        for _ in 0..TRIES {
            self.core.kept.check()?;
            let before = KeysCopy::of(&folder.keys(), folder.id)?;
            let end = end();
            #[cfg(test)]
            self.core.pass("the end of a backup is known");
            let now = KeysCopy::of(&folder.keys(), folder.id)?;
            if let (Some(before), Some(now)) = (before, now)
                && now.keeps(&before, |slot| matches!(slot_state(slot), Ok(SlotState::Destroyed(_))))
            {
                return Ok((end, Some(now)));
            }
            std::thread::sleep(PAUSE);
        }
        let why = "the store's keys are being changed; try again when that is done";
        Err(BackendError::new(BackendErrorKind::Unavailable, "the backup", why).into())
    }
}

/// Copies the log up to the end that the head names, and the bodies that it names.
fn copy<W: io::Write>(
    core: &Core,
    mut writer: BackupWriter<'_, W>,
    progress: &BackupProgress,
) -> Result<(BackupInfo, W), StoreError> {
    let parts = parts(core, writer.end_of_log())?;
    progress.expect(parts.iter().map(|(_, bytes)| bytes).sum());
    let mut names = BTreeMap::new();
    for (number, bytes) in parts {
        core.kept.check()?;
        let reading = |error| failed("reading the log", error);
        let file = File::open(segment::path_of(&core.folder.log(), number)).map_err(reading)?;
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(bytes).read_to_end(&mut content).map_err(reading)?;
        named(&content, &mut names);
        writer.file(EntryName::Segment(number), &content)?;
        #[cfg(test)]
        core.pass("a segment was copied");
    }
    progress.expect(names.values().sum());
    for name in names.into_keys() {
        core.kept.check()?;
        match fs::read(bodies::path_of(&core.folder.blobs(), &name)) {
            Ok(body) => writer.file(EntryName::Body(name), &body)?,
            // What the store lost, or gave up with a repair, is not there in its copy either.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("reading a large message", error)),
        }
    }
    writer.end()
}

/// The segments of the log up to where it is synced, each with the bytes that are to be copied.
fn parts(core: &Core, end: u64) -> Result<Vec<(u32, u64)>, StoreError> {
    let mut found = Vec::new();
    for number in segment::numbers(&core.folder.log())? {
        let reading = |error| failed("reading the log", error);
        let file = File::open(segment::path_of(&core.folder.log(), number)).map_err(reading)?;
        let mut header = [0; SEGMENT_HEADER as usize];
        let head = match file.read_exact_at(&mut header, 0) {
            Ok(()) => segment::head_of(&header, number),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Head::Damaged,
            Err(error) => return Err(reading(error)),
        };
        let bytes = file.metadata().map_err(reading)?.len();
        match head {
            // It was begun since.
            Head::Whole(_, base) if base >= end => {}
            Head::Damaged if header.iter().all(|byte| *byte == 0) => {}
            Head::Whole(_, base) => found.push((number, bytes.min(end - base))),
            Head::Damaged | Head::Newer(_) => found.push((number, bytes)),
        }
    }
    Ok(found)
}

/// The files that the records of a segment name, with their bytes.
fn named(segment: &[u8], names: &mut BTreeMap<BodyName, u64>) {
    for found in Scan::new(segment, SEGMENT_HEADER as usize) {
        let Found::Frame(_, frame) = found else { continue };
        if frame.header.flags & frame::BLOB == 0 {
            continue;
        }
        let name = frame.body.first_chunk::<32>();
        let bytes = frame.body.last_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        names.extend(name.copied().zip(bytes));
    }
}

/// A backup that has no name yet.
struct Partial {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_kept: bool,
    /// What a try before this one left, whose lock keeps others away until this one's is held.
    _left: Option<File>,
}

impl Partial {
    /// Where a backup is written before it has its name.
    fn path_of(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        PathBuf::from(name)
    }

    fn make(path: &Path) -> Result<Self, StoreError> {
        let partial = Self::path_of(path);
        let left = remove_partial(&partial)?;
        let making = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Running.into(),
            _ => failed("the backup", error),
        };
        let file = folder::private().read(true).write(true).create_new(true).open(&partial).map_err(making)?;
        let made = Self { file, partial, path: path.to_owned(), is_kept: false, _left: left };
        made.file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => BackupError::Running.into(),
            TryLockError::Error(error) => failed("the backup", error),
        })?;
        Ok(made)
    }

    /// Reads back what was written.
    fn check(&self, info: &BackupInfo, progress: &BackupProgress) -> Result<(), StoreError> {
        let mut file = &self.file;
        file.rewind().map_err(|error| failed("reading the backup", error))?;
        let read = read_backup(BufReader::with_capacity(BUFFER, file), &mut (), progress)?;
        if read == *info {
            Ok(())
        } else {
            Err(BackupError::Damaged { at: 0, what: "it is not what was written" }.into())
        }
    }

    /// Gives it its name, which nobody else has.
    fn keep(mut self) -> Result<(), StoreError> {
        let naming = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists.into(),
            _ => failed("the backup", error),
        };
        match fs::hard_link(&self.partial, &self.path) {
            Ok(()) => drop(fs::remove_file(&self.partial)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(naming(error)),
            // Not every file system has links. Then a file that comes into being in this moment is the only one that is not seen.
            Err(_) if fs::symlink_metadata(&self.path).is_ok() => return Err(BackupError::Exists.into()),
            Err(_) => fs::rename(&self.partial, &self.path).map_err(naming)?,
        }
        self.is_kept = true;
        folder::sync_dir(parent_of(&self.path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// The folder that a path stands in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what a backup that was broken off left, and gives it, locked, where there was something.
///
/// # Errors
/// [`BackupError::Running`] when it is not broken off.
fn remove_partial(partial: &Path) -> Result<Option<File>, StoreError> {
    let failed = |error| failed("removing what a backup that was broken off left", error);
    let left = match File::open(partial) {
        Ok(left) => left,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match left.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BackupError::Running.into()),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    match fs::remove_file(partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(Some(left)),
    }
}

/// Removes what backups that were broken off left in a folder, where its name says that it was one: those for which `is_own` says so of the name
/// that they would have got.
pub fn remove_partial_backups(folder: &Path, is_own: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(|name| name.strip_suffix(".partial")).is_some_and(&is_own) {
            let _ = remove_partial(&entry.path());
        }
    }
}

/// Checks every digest of a backup. Changes nothing.
///
/// # Errors
/// [`BackupError::Missing`], [`BackupError::Foreign`], [`BackupError::Newer`], [`BackupError::Damaged`], [`BackupError::Stopped`], and the
/// system's.
pub fn verify_backup(path: &Path, progress: &BackupProgress) -> Result<BackupInfo, StoreError> {
    let (file, bytes) = open_backup(path)?;
    progress.expect(bytes);
    read_backup(file, &mut (), progress)
}

/// Opens a backup to be read, and tells its size.
pub(crate) fn open_backup(path: &Path) -> Result<(BufReader<File>, u64), StoreError> {
    let opening = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => BackupError::Missing.into(),
        _ => failed("reading the backup", error),
    };
    let file = File::open(path).map_err(opening)?;
    let about = file.metadata().map_err(opening)?;
    if !about.is_file() {
        return Err(BackupError::Foreign.into());
    }
    Ok((BufReader::with_capacity(BUFFER, file), about.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sessions_domain::Kind;
    use sessions_ports::{Commit, KindFilter, Order, ReadRange};
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{
        LastOutcome, SledOptions, backup_file::BackupSink, check_backup, last_backup, reclaim::Extent, restore_backup,
    };

    async fn opened(ground: &TempDir) -> SledStore {
        SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap()
    }

    /// A session with a small record, a large body and one more.
    fn commits(script: &mut Script, level: Durability) -> Vec<Commit> {
        let large = vec![b'l'; 100 << 10];
        let mut made = vec![
            script.commit(&[(Kind::CREATED, 0, b"first")]),
            script.commit(&[(Kind::APPENDED, 7, &large)]),
            script.say("last"),
        ];
        made.iter_mut().for_each(|commit| commit.durability = level);
        made
    }

    fn everything() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 1, to: u64::MAX, order, kinds, max_records: usize::MAX, max_bytes: usize::MAX }
    }

    fn progress() -> BackupProgress {
        BackupProgress::default()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> BackupError {
        match outcome {
            Err(StoreError::Backup(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_backup_has_what_was_acknowledged_at_any_level_and_restores_to_the_same_store() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground).await;
        let mut scripts: Vec<Script> = (1..=3).map(Script::new).collect();
        for (script, level) in scripts.iter_mut().zip([Durability::Disk, Durability::Process, Durability::Volatile]) {
            for commit in commits(script, level) {
                store.commit(commit).await.unwrap();
            }
        }
        let removed = Script::new(9).say("gone");
        let (gone, expected, keep_key, durability) = (removed.session, None, false, Durability::Volatile);
        store.commit(removed).await.unwrap();
        store.remove(Removal { session: gone, expected, keep_key, durability }).await.unwrap();
        let file = ground.path().join("a.backup");
        let report = store.backup(&file, &progress()).await.unwrap();
        assert_eq!((report.sessions, report.info.segments, report.info.bodies), (3, 1, 1));
        assert_eq!(report.info.bytes, fs::metadata(&file).unwrap().len());
        assert!(report.info.bytes < 500 << 10, "zeros are not written: {}", report.info.bytes);
        assert_eq!(verify_backup(&file, &progress()).unwrap(), report.info);
        let rights = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(rights & 0o777, 0o600);
        let last = last_backup(&ground.path().join("store")).unwrap();
        let verified = LastOutcome::Verified { bytes: report.info.bytes, digest: report.info.digest };
        assert_eq!((last.outcome, last.file), (verified, file.display().to_string()));
        // What came behind it is not in it.
        store.commit(scripts[0].say("later")).await.unwrap();
        store.close().await.unwrap();

        let restored = ground.path().join("restored");
        restore_backup(&file, &restored, &progress()).unwrap();
        let copy = SledStore::open(&restored, SledOptions::default()).await.unwrap();
        assert_eq!(copy.id(), store.id());
        for (at, script) in scripts.iter().enumerate() {
            let written = &script.written()[..3];
            assert_eq!(copy.read(script.session(), everything()).await.unwrap().records, written, "session {at}");
        }
        assert!(matches!(copy.head(gone).await, Err(StoreError::Gone { .. })));
        copy.close().await.unwrap();
        assert_eq!(names(ground.path()), ["a.backup", "restored", "store"]);
        assert!(!restored.join("RESTORING").exists() && !restored.join("BACKUP").exists());
    }

    #[tokio::test]
    async fn space_comes_back_only_when_nobody_copies_it() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground).await;
        let mut script = Script::new(1);
        for commit in commits(&mut script, Durability::Disk) {
            store.commit(commit).await.unwrap();
        }
        let (other, session, runtime) = (store.clone(), script.session(), tokio::runtime::Handle::current());
        let (told, reclaimed) = std::sync::mpsc::channel();
        let heard = Arc::new(Mutex::new(None));
        let hears = Arc::clone(&heard);
        store.core().hook("a segment was copied", move |_| {
            // What goes now is in the backup with all that it names.
            let (expected, keep_key, durability) = (None, false, Durability::Disk);
            runtime.block_on(other.remove(Removal { session, expected, keep_key, durability })).unwrap();
            std::thread::spawn(move || told.send(crate::sled::reclaim::reclaim(other.core(), Extent::Worthwhile)));
            // This pause gives it every chance to go on though it may not.
            *hears.lock().unwrap() = reclaimed.recv_timeout(Duration::from_millis(300)).ok();
        });
        let file = ground.path().join("a.backup");
        let report = store.backup(&file, &progress()).await.unwrap();
        assert!(heard.lock().unwrap().is_none(), "files went while they were copied");
        assert_eq!((report.sessions, report.info.bodies), (1, 1));
        store.reclaim().await.unwrap();
        assert!(names(&ground.path().join("store/blobs")).is_empty());
        store.close().await.unwrap();
        let restored = ground.path().join("restored");
        restore_backup(&file, &restored, &progress()).unwrap();
        let copy = SledStore::open(&restored, SledOptions::default()).await.unwrap();
        assert_eq!(copy.read(session, everything()).await.unwrap().records, script.written());
        copy.close().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_that_is_there_is_overwritten_and_what_was_broken_off_is_removed() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground).await;
        store.commit(Script::new(1).say("hi")).await.unwrap();
        let file = ground.path().join("a.backup");
        fs::write(&file, "mine").unwrap();
        assert_eq!(refusal(store.backup(&file, &progress()).await), BackupError::Exists);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert!(matches!(last_backup(&ground.path().join("store")).unwrap().outcome, LastOutcome::Failed(_)));
        fs::remove_file(&file).unwrap();

        // A run that was killed leaves its file; one that is at work has it locked.
        let partial = Partial::path_of(&file);
        fs::write(&partial, "half").unwrap();
        let at_work = File::open(&partial).unwrap();
        at_work.lock().unwrap();
        assert_eq!(refusal(store.backup(&file, &progress()).await), BackupError::Running);
        drop(at_work);
        store.backup(&file, &progress()).await.unwrap();
        assert_eq!(names(ground.path()), ["a.backup", "store"]);

        let target = ground.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("mine"), "").unwrap();
        assert_eq!(refusal(restore_backup(&file, &target, &progress())), BackupError::Occupied);
        fs::remove_file(target.join("mine")).unwrap();
        let beside = ground.path().join("target.restoring");
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("mine"), "").unwrap();
        assert_eq!(refusal(restore_backup(&file, &target, &progress())), BackupError::Occupied);
        // With the mark of a restore it is what that left.
        fs::write(beside.join("RESTORING"), "").unwrap();
        let at_work = File::open(beside.join("RESTORING")).unwrap();
        at_work.lock().unwrap();
        assert_eq!(refusal(restore_backup(&file, &target, &progress())), BackupError::Running);
        drop(at_work);
        restore_backup(&file, &target, &progress()).unwrap();
        assert!(!beside.exists() && !target.join("mine").exists() && target.join("FORMAT").exists());
        assert_eq!(refusal(restore_backup(&file, &target, &progress())), BackupError::Occupied);
        assert_eq!(
            refusal(restore_backup(&ground.path().join("none"), &ground.path().join("t"), &progress())),
            BackupError::Missing
        );
        store.close().await.unwrap();
    }

    /// A backup of a store with two segments and a large body, and its bytes.
    async fn made(ground: &TempDir) -> (PathBuf, Vec<u8>) {
        let store = opened(ground).await;
        let mut script = Script::new(1);
        for commit in commits(&mut script, Durability::Disk) {
            store.commit(commit).await.unwrap();
        }
        let file = ground.path().join("a.backup");
        store.backup(&file, &progress()).await.unwrap();
        store.close().await.unwrap();
        let bytes = fs::read(&file).unwrap();
        (file, bytes)
    }

    #[tokio::test]
    async fn damage_anywhere_is_refused_and_leaves_nothing() {
        let ground = TempDir::new().unwrap();
        let (file, good) = made(&ground).await;
        assert!(check_backup(&good[..]).is_ok());
        let target = ground.path().join("target");
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).unwrap();
            match restore_backup(&file, &target, &progress()) {
                Err(StoreError::Backup(
                    BackupError::Damaged { .. } | BackupError::Foreign | BackupError::Newer { .. },
                )) => {}
                other => panic!("{what}: {other:?}"),
            }
            assert_eq!(names(ground.path()), ["a.backup", "store"], "{what}");
        };
        // Spread over all of it, and dense where its structure is.
        let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
        for round in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = if round < 110 { round } else { usize::try_from(random >> 33).unwrap() % good.len() };
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (random >> 20 & 7);
            refused(&bytes, &format!("byte {at}"));
            let cut = usize::try_from(random >> 30).unwrap() % good.len();
            assert!(check_backup(&good[..cut]).is_err(), "cut at {cut}");
        }
        refused(&good[..good.len() - 1], "cut");
        refused(&[&good[..], b"x"].concat(), "longer");
        refused(b"", "empty");
        refused(b"SESSBAK\x01", "only its first bytes");
        let mut newer = good.clone();
        newer[8] = 9;
        let crc = crc32c::crc32c(&newer[..60]).to_le_bytes();
        newer[60..64].copy_from_slice(&crc);
        assert_eq!(refusal(check_backup(&newer[..])), BackupError::Newer { format: 9 });
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let name = |text: &str| EntryName::parse(text.as_bytes());
        let hash = "ab".repeat(32);
        assert_eq!(name("log/00000001.seg"), Some(EntryName::Segment(1)));
        assert_eq!(name(&format!("blobs/ab/{hash}")), Some(EntryName::Body([0xab; 32])));
        let others =
            ["", "FORMAT", "log/1.seg", "log/00000000.seg", "log/+0000001.seg", "../log/00000001.seg", "/etc/x"];
        for text in others.map(str::to_owned).into_iter().chain([
            format!("blobs/aa/{hash}"),
            format!("blobs/ab/{}", hash.to_uppercase()),
            format!("blobs/../{hash}"),
            format!("blobs/ab/../ab/{hash}"),
        ]) {
            assert_eq!(name(&text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_goes_only_when_nobody_copies_it_and_closing_waits_for_the_copy_to_end() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground).await;
        store.commit(Script::new(1).say("hi")).await.unwrap();
        let (copied, hears) = std::sync::mpsc::channel();
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        store.core().hook("a segment was copied", move |core| {
            copied.send(core.kept.may_go().is_none()).unwrap();
            let _ = waits.recv();
        });
        assert!(store.core().kept.may_go().is_some());
        let running = tokio::spawn({
            let (store, file) = (store.clone(), ground.path().join("a.backup"));
            async move { store.backup(&file, &progress()).await }
        });
        let is_kept = tokio::task::spawn_blocking(move || hears.recv().unwrap()).await.unwrap();
        assert!(is_kept, "a file could have gone");
        let closing = tokio::spawn({
            let store = store.clone();
            async move { store.close().await }
        });
        store.closing().await;
        assert!(!closing.is_finished());
        goes_on.send(()).unwrap();
        // It was through with all there is when it was stopped, or was stopped; either way it ends before the store is closed.
        let outcome = running.await.unwrap();
        closing.await.unwrap().unwrap();
        assert!(matches!(outcome, Ok(_) | Err(StoreError::Closed)), "{outcome:?}");
        assert!(matches!(store.backup(&ground.path().join("b"), &progress()).await, Err(StoreError::Closed)));
        assert!(!ground.path().join("b").exists() && !ground.path().join("b.partial").exists());
    }

    #[tokio::test]
    async fn a_backup_that_is_stopped_or_dropped_leaves_nothing() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground).await;
        store.commit(Script::new(1).say("hi")).await.unwrap();
        let (file, watch) = (ground.path().join("a.backup"), progress());
        watch.stop();
        assert_eq!(refusal(store.backup(&file, &watch).await), BackupError::Stopped);
        assert_eq!(last_backup(&ground.path().join("store")), None);
        let watch = progress();
        {
            let mut dropped = std::pin::pin!(store.backup(&file, &watch));
            let waker = std::task::Waker::noop();
            let _ = dropped.as_mut().poll(&mut std::task::Context::from_waker(waker));
        }
        // Its work may be at its end already; closing waits for it.
        store.close().await.unwrap();
        assert!(!Partial::path_of(&file).exists());
        assert!(watch.advance(0).is_err());
    }

    /// What a backup holds, in memory.
    #[derive(Default)]
    struct Held(Vec<(EntryName, Vec<u8>)>);

    impl BackupSink for Held {
        fn head(&mut self, _: &BackupHead) -> Result<(), StoreError> {
            Ok(())
        }

        fn begin(&mut self, name: EntryName, _: u64) -> Result<(), StoreError> {
            self.0.push((name, Vec::new()));
            Ok(())
        }

        fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
            self.0.last_mut().unwrap().1.extend_from_slice(bytes);
            Ok(())
        }

        fn zeros(&mut self, count: u32) -> Result<(), StoreError> {
            let content = &mut self.0.last_mut().unwrap().1;
            content.resize(content.len() + count as usize, 0);
            Ok(())
        }

        fn end(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn holes_are_not_written_and_come_back() {
        let mut content = vec![0; (3 << 20) + 5];
        content[5 << 10] = 7;
        content[(2 << 20)..(2 << 20) + (70 << 10)].fill(9);
        let at = Moment::from_millis(0);
        let head = BackupHead { store: sessions_ports::StoreId([1; 16]), end: 0, at, sealing: Sealing::Plain };
        let progress = progress();
        let mut writer = BackupWriter::begin(Vec::new(), head, &progress).unwrap();
        let entries = [
            (EntryName::Segment(3), content),
            (EntryName::Segment(4), Vec::new()),
            (EntryName::Body([4; 32]), b"body".to_vec()),
        ];
        entries.iter().for_each(|(name, content)| writer.file(*name, content).unwrap());
        let (info, bytes) = writer.end().unwrap();
        assert!(bytes.len() < 80 << 10, "{}", bytes.len());
        let mut held = Held::default();
        assert_eq!(read_backup(&bytes[..], &mut held, &progress).unwrap(), info);
        assert!(held.0 == entries);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_that_change_while_the_end_is_taken_are_looked_at_again_and_so_is_the_end() {
        use sessions_ports::{KeyStore as _, SlotChange};

        use crate::keys::FileKeyStore;

        let ground = TempDir::new().unwrap();
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        let store = SledStore::open(ground.path().join("store"), options).await.unwrap();
        let keys = FileKeyStore::open(&store.keys_folder(), store.core().folder.id).await.unwrap();
        keys.put_ring(0, "a ring".into()).await.unwrap();
        let live = |byte: u8| bytes::Bytes::from([&[1, 1], [byte; 70].as_slice()].concat());
        keys.add(vec![live(1)]).await.unwrap();
        let mut script = sessions_testkit::Script::new(1);
        let commit = |script: &mut sessions_testkit::Script| sessions_ports::Commit {
            durability: Durability::Disk,
            ..script.say("said")
        };
        store.commit(commit(&mut script)).await.unwrap();
        let before = store.core().synced_position.load(Ordering::Acquire);
        let (other, changed, next) = (store.clone(), keys.clone(), commit(&mut script));
        store.core().hook("the end of a backup is known", move |_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let change = async move {
                other.commit(next).await.unwrap();
                changed.overwrite(vec![SlotChange { number: 0, expected: live(1), new: live(2) }]).await.unwrap();
            };
            std::thread::spawn(move || runtime.block_on(change)).join().unwrap();
        });
        let file = ground.path().join("one.sessions");
        let report = store.backup(&file, &BackupProgress::default()).await.unwrap();
        assert!(report.info.head.end > before, "the end is taken again, behind what the keys were changed for");
        let restored = ground.path().join("restored");
        crate::sled::restore_backup(&file, &restored, &BackupProgress::default()).unwrap();
        let copied = FileKeyStore::look_blocking(&restored.join("keys"), store.core().folder.id).unwrap();
        assert_eq!(copied.read_blocking(0, 9).unwrap(), [live(2)]);
        store.close().await.unwrap();
    }
}
