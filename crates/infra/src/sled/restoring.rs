//! A store from a backup: unpacked beside the folder that it is to be, checked, and only then given its name.
//!
//! Must not know: how the file of a backup is laid out.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sessions_ports::{BackupError, StoreError};

use super::{
    SledOptions, SledStore, VerifyReport,
    backup::{open_backup, parent_of},
    backup_file::{BackupHead, BackupInfo, BackupProgress, BackupSink, EntryName, read_backup},
    bodies,
    folder::{self, Sealing, failed},
    segment, verify,
};

/// Says of a folder that it is being restored into; whoever does so holds its lock.
pub(crate) const MARK: &str = "RESTORING";

/// A store that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The backup.
    pub info: BackupInfo,
    /// What a check of the restored store found: every frame, and the chain of every session. Damage that stands here was in the store when
    /// it was copied.
    pub verified: VerifyReport,
    /// How long it took.
    pub took: Duration,
}

/// Makes a store from a backup, in a folder that is empty or not there yet. It is unpacked, checked and opened once in `<folder>.restoring`,
/// which gets its name as the last step: there is the whole store or none. What a try that was broken off left there is removed.
///
/// # Errors
/// [`BackupError::Occupied`], [`BackupError::Running`], those of [`verify_backup`](super::verify_backup), [`StoreError::NoSpace`], and the
/// system's. Nothing is left of the try.
pub fn restore_backup(file: &Path, root: &Path, progress: &BackupProgress) -> Result<RestoreReport, StoreError> {
    let begun = Instant::now();
    let (input, bytes) = open_backup(file)?;
    check_free(root)?;
    let parent = parent_of(root);
    folder::make(parent)?;
    let place = Place::make(root)?;
    progress.expect(bytes);
    let mut unpacking = Unpacking { root: place.path.clone(), open: None };
    let info = read_backup(input, &mut unpacking, progress)?;
    for folder in folders(&place.path)? {
        folder::sync_dir(&folder)?;
    }
    // The index is built, so that whoever opens it next need not wait for that.
    let options = SledOptions { sealing: info.head.sealing, ..SledOptions::default() };
    SledStore::open_blocking(&place.path, options)?.inner.shut()?;
    let verified = verify(&place.path)?;
    check_free(root)?;
    place.name_it(root)?;
    folder::sync_dir(parent)?;
    let _ = fs::remove_file(root.join(MARK));
    Ok(RestoreReport { info, verified, took: begun.elapsed() })
}

/// Whether a store can be made there.
fn check_free(root: &Path) -> Result<(), StoreError> {
    match fs::read_dir(root) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(BackupError::Occupied.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(BackupError::Occupied.into()),
        Err(error) => Err(failed("reading the folder to restore into", error)),
    }
}

fn folders(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = vec![root.to_owned(), root.join("log"), root.join("blobs")];
    found.extend(Some(root.join("keys")).filter(|keys| keys.exists()));
    let reading = |error| failed("reading what was restored", error);
    for entry in fs::read_dir(root.join("blobs")).map_err(reading)? {
        found.push(entry.map_err(reading)?.path());
    }
    Ok(found)
}

/// The folder that is restored into.
struct Place {
    path: PathBuf,
    _lock: File,
    is_named: bool,
}

impl Place {
    fn make(root: &Path) -> Result<Self, StoreError> {
        // A name that ends in a slash is the same folder, and not one in it.
        let mut name = root.components().as_path().as_os_str().to_owned();
        name.push(".restoring");
        let path = PathBuf::from(name);
        folder::make(&path)?;
        let is_empty = fs::read_dir(&path)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|e| e.file_name() == MARK)));
        // Nobody else makes a file of this name, so what stands beside it is what a restore left.
        if !is_empty && !path.join(MARK).is_file() {
            return Err(BackupError::Occupied.into());
        }
        let locking = |error| failed("locking the folder to restore into", error);
        let options = || folder::private().write(true).create(true).truncate(false).open(path.join(MARK));
        let lock = options().map_err(locking)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Running.into()),
            Err(TryLockError::Error(error)) => return Err(locking(error)),
        }
        let place = Self { path, _lock: lock, is_named: false };
        place.clear().map_err(|error| failed("removing what a restore that was broken off left", error))?;
        Ok(place)
    }

    /// Removes all but the mark.
    fn clear(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == MARK {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn name_it(mut self, root: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, root).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => BackupError::Occupied.into(),
            _ => failed("naming what was restored", error),
        })?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_named && self.clear().is_ok() {
            let _ = fs::remove_file(self.path.join(MARK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Writes the files of a backup into a folder.
struct Unpacking {
    root: PathBuf,
    open: Option<Open>,
}

struct Open {
    name: EntryName,
    file: File,
    length: u64,
    /// Zeros that are to come before the next bytes.
    ahead: i64,
}

fn writing(error: std::io::Error) -> StoreError {
    failed("what is restored", error)
}

impl BackupSink for Unpacking {
    fn head(&mut self, head: &BackupHead) -> Result<(), StoreError> {
        for part in ["log", "blobs", "quarantine"] {
            folder::make(&self.root.join(part))?;
        }
        if head.sealing == Sealing::Sealed {
            folder::make(&self.root.join("keys"))?;
        }
        folder::write_format(&self.root, head.store.0, head.sealing).map(drop)
    }

    fn begin(&mut self, name: EntryName, length: u64) -> Result<(), StoreError> {
        let path = match name {
            EntryName::Ring => self.root.join("keys/ring"),
            EntryName::Slots => self.root.join("keys/slots"),
            EntryName::Segment(number) => segment::path_of(&self.root.join("log"), number),
            EntryName::Body(name) => bodies::path_of(&self.root.join("blobs"), &name),
        };
        folder::make(parent_of(&path))?;
        let file = folder::private().write(true).create_new(true).open(path).map_err(writing)?;
        self.open = Some(Open { name, file, length, ahead: 0 });
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.ahead > 0 {
            std::io::Seek::seek_relative(&mut open.file, std::mem::take(&mut open.ahead)).map_err(writing)?;
        }
        open.file.write_all(bytes).map_err(writing)
    }

    fn zeros(&mut self, count: u32) -> Result<(), StoreError> {
        if let Some(open) = &mut self.open {
            open.ahead += i64::from(count);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        open.file.set_len(open.length).and_then(|()| open.file.sync_all()).map_err(writing)?;
        if open.name == EntryName::Ring {
            // A store has two copies of it.
            let copy = || {
                let mut file = folder::private().write(true).create_new(true).open(self.root.join("keys/ring.copy"))?;
                file.write_all(&fs::read(self.root.join("keys/ring"))?)?;
                file.sync_all()
            };
            copy().map_err(writing)?;
        }
        Ok(())
    }
}
