//! The folder of a store: its parts, its format, its lock, and who may read it.
//!
//! Must not know: what the index holds, or of segments more than that each begins with the store's id.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sessions_domain::chain;
use sessions_ports::{BackendError, BackendErrorKind, Clock as _, KeyError, StoreError, StoreId};

use super::{
    segment::{self, Head, SEGMENT_HEADER},
    takeover::{self, Gone, Step, WORK},
};
use crate::environment::SystemClock;

/// The format this version reads and writes.
pub(crate) const FORMAT: &str = "sessions-store 1";
const EXPECTED: &str = "`sessions-store 1`";

/// How long a new owner waits for the last one to let go.
const LOCK_PATIENCE: Duration = Duration::from_millis(800);

/// Whether records in a store are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// They are as they were given.
    #[default]
    Plain,
    /// Nobody reads them without the store's key.
    Sealed,
}

impl Sealing {
    /// A sealed store is never opened plain, nor a plain one as if it were sealed.
    fn must_be(self, found: Self) -> Result<(), StoreError> {
        match (self, found) {
            (Self::Plain, Self::Sealed) => Err(KeyError::Sealed.into()),
            (Self::Sealed, Self::Plain) => Err(KeyError::NotSealed.into()),
            _ => Ok(()),
        }
    }
}

/// What a folder says of itself: its format file, or that keys lie in it.
pub(crate) fn sealing_of(root: &Path) -> Sealing {
    let is_said = fs::read_to_string(root.join("FORMAT")).is_ok_and(|text| text.lines().any(|line| line == "sealed"));
    if is_said || root.join("keys").exists() { Sealing::Sealed } else { Sealing::Plain }
}

/// A store's folder, locked.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) id: StoreId,
    pub(crate) created: bool,
    /// What became of a `FORMAT` file that does not say the id any more; the log said it.
    pub(crate) lost_format: Option<&'static str>,
    /// Held for as long as the folder is ours; the system lets go of it when the process dies.
    lock: Mutex<Option<File>>,
}

/// An I/O error of the store's folder, told apart by what a caller can do.
pub(crate) fn failed(operation: &'static str, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace { operation },
        kind => {
            let kind = match kind {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BackendErrorKind::Permission,
                ErrorKind::NotADirectory
                | ErrorKind::NotFound
                | ErrorKind::IsADirectory
                | ErrorKind::InvalidFilename => BackendErrorKind::Path,
                _ => BackendErrorKind::Io,
            };
            BackendError::new(kind, operation, error).into()
        }
    }
}

/// Too many open files, of the system and of the process.
pub(crate) const TOO_MANY_FILES: [i32; 2] = [23, 24];

/// Whether the system refused for a reason that says nothing about the file.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    let kinds = [
        ErrorKind::PermissionDenied,
        ErrorKind::OutOfMemory,
        ErrorKind::ResourceBusy,
        ErrorKind::WouldBlock,
        ErrorKind::Interrupted,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

impl Folder {
    /// Opens a plain store's folder, or makes one where there is nothing.
    #[cfg(test)]
    pub(crate) fn open(
        root: &Path,
        entropy: impl FnOnce() -> Result<[u8; 16], StoreError>,
    ) -> Result<Self, StoreError> {
        Self::open_as(Sealing::Plain, root, entropy)
    }

    /// Opens a store's folder, or makes one where there is nothing.
    pub(crate) fn open_as(
        sealing: Sealing,
        root: &Path,
        entropy: impl FnOnce() -> Result<[u8; 16], StoreError>,
    ) -> Result<Self, StoreError> {
        make(root)?;
        // A folder that is not ours is left as it is, without so much as a lock in it.
        let known = read_format(root)?.whole()?;
        if known.is_some() {
            sealing.must_be(sealing_of(root))?;
        }
        let lock = lock(root)?;
        if let Some(store) = known {
            takeover::settle(root, store)?;
        }
        let (id, created) = match read_format(root)?.whole()? {
            Some(id) => (id, false),
            None => (write_format(root, entropy()?, sealing)?, true),
        };
        sealing.must_be(sealing_of(root))?;
        for part in ["log", "blobs", "quarantine"] {
            make(&root.join(part))?;
        }
        // Left by a check that was broken off.
        let _ = fs::remove_dir_all(root.join("index.look"));
        sync_dir(root)?;
        if created && let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The folder's own name is part of what has to survive; where its parent may not be read, the system decides.
            let _ = sync_dir(parent);
        }
        Ok(Self { root: root.to_owned(), id, created, lost_format: None, lock: Mutex::new(Some(lock)) })
    }

    /// Opens the folder of a store that exists, changing nothing in it but who holds its lock, and what was broken off when it was sealed in its
    /// place.
    pub(crate) fn existing(root: &Path) -> Result<Self, StoreError> {
        Self::existing_told(root, &mut |_| ()).map(|(folder, _)| folder)
    }

    /// The same, and tells what of that was done.
    pub(super) fn existing_told(root: &Path, told: &mut dyn FnMut(Step)) -> Result<(Self, Gone), StoreError> {
        must_exist(root)?;
        let lock = lock(root)?;
        let (id, lost_format) = match read_format(root)? {
            Format::Whole(id) => (id, None),
            Format::Lost { id, what } => (id, Some(what)),
            Format::Nothing => return Err(StoreError::NoStore),
        };
        let gone = takeover::settle_decided(root, id, told)?;
        let folder = Self { root: root.to_owned(), id, created: false, lost_format, lock: Mutex::new(Some(lock)) };
        Ok((folder, gone))
    }

    /// Writes the `FORMAT` file anew, with the id that the log says. What stood there is kept in the quarantine, and its place told.
    pub(crate) fn write_format_anew(&self) -> Result<Option<PathBuf>, StoreError> {
        make(&self.quarantine())?;
        let format = self.root.join("FORMAT");
        let kept = format.exists().then(|| self.aside("FORMAT"));
        if let Some(kept) = &kept {
            fs::rename(&format, kept).map_err(|error| failed("setting the damaged FORMAT file aside", error))?;
            sync_dir(&self.quarantine())?;
        }
        let sealing = if self.keys().exists() { Sealing::Sealed } else { Sealing::Plain };
        write_format(&self.root, self.id.0, sealing)?;
        Ok(kept)
    }

    /// Where the keys of a sealed store lie.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Takes the lock away from whoever has the folder now; `None`: they let go of it.
    pub(super) fn handed_over(&self) -> Option<Self> {
        let lock = Mutex::new(Some(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take()?));
        Some(Self { root: self.root.clone(), id: self.id, created: false, lost_format: None, lock })
    }

    /// Lets go of the lock before the folder is dropped.
    pub(crate) fn unlock(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Where a check puts a copy of the index to look into.
    pub(crate) fn index_copy(&self) -> PathBuf {
        self.root.join("index.look")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// What stands in the quarantine, with its bytes, in the order of the names.
    pub(crate) fn in_quarantine(&self) -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(self.quarantine()).into_iter().flatten().flatten();
        let mut found: Vec<(PathBuf, u64)> = entries.map(|entry| (entry.path(), bytes_of(&entry.path()))).collect();
        found.sort();
        found
    }

    /// A name in the quarantine that is not taken.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        let free = |n: u32| self.quarantine().join(format!("{name}.{n}"));
        (0..).map(free).find(|path| !path.exists()).unwrap_or_else(|| free(0))
    }
}

/// Looks whether a store is there, and makes nothing, not even a lock.
pub(crate) fn must_exist(root: &Path) -> Result<(), StoreError> {
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => match read_format(root)? {
            Format::Nothing => Err(StoreError::NoStore),
            Format::Whole(_) | Format::Lost { .. } => Ok(()),
        },
        Ok(_) => Err(failed("opening the store's folder (its path is a file)", ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NoStore),
        Err(error) => Err(failed("reading the store's folder", error)),
    }
}

/// The id of the store in a folder; `None`: there is none.
pub(crate) fn id_of(root: &Path) -> Result<Option<StoreId>, StoreError> {
    match fs::metadata(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading the store's folder", error)),
        Ok(found) if !found.is_dir() => {
            return Err(failed("opening the store's folder (its path is a file)", ErrorKind::NotADirectory.into()));
        }
        Ok(_) => {}
    }
    Ok(match read_format(root)? {
        Format::Whole(id) | Format::Lost { id, .. } => Some(id),
        Format::Nothing => None,
    })
}

/// Bytes at and below a path.
fn bytes_of(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| bytes_of(&entry.path())).sum(),
        Err(_) => fs::symlink_metadata(path).map_or(0, |about| about.len()),
    }
}

/// Makes a folder that only its owner may enter. One that is there keeps the rights that its owner gave it.
pub(crate) fn make(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(failed("making the store's folder (its path is a file)", ErrorKind::NotADirectory.into()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            return Err(failed("making the store's folder (its path is a link that leads nowhere)", error));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("reading the store's folder", error)),
    }
    let create = || {
        DirBuilder::new().mode(0o700).recursive(true).create(path)?;
        // The umask may have taken bits away from what we ask for.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    };
    create().map_err(|error| failed("making the store's folder", error))
}

/// Makes a folder, or takes one that is there, so that only its owner may enter it. For what others write into: the files that sled makes
/// are as open as the umask lets them be. Where it cannot be done, whoever writes there hears of it, or the owner is another one.
pub(crate) fn close_to_others(path: &Path) {
    let _ = DirBuilder::new().mode(0o700).create(path);
    let is_open = fs::metadata(path).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o077 != 0);
    if is_open {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
}

/// Options of a file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("syncing a folder of the store", error))
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("LOCK");
    if path.is_symlink() {
        // What it leads to would be written over.
        return Err(failed("opening the store's lock (it is a link)", ErrorKind::InvalidFilename.into()));
    }
    let mut file = private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed("opening the store's lock", error))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(locked_by(&mut file)),
            Err(TryLockError::Error(error)) => return Err(failed("locking the store", error)),
        }
    }
    let since = SystemClock.now();
    let owner = format!("{}\n{since}\n", std::process::id());
    // Who owns the lock is a help for people; the lock itself is the system's, so a full disk does not matter here.
    let _ = file.set_len(0).and_then(|()| file.write_all(owner.as_bytes()));
    Ok(file)
}

fn locked_by(file: &mut File) -> StoreError {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let mut lines = text.lines();
    let pid = lines.next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
    StoreError::Locked { pid, since: lines.next().unwrap_or("an unknown time").to_owned() }
}

/// What says of a folder whether it is a store.
enum Format {
    /// Nothing stands there yet.
    Nothing,
    /// The store with this id.
    Whole(StoreId),
    /// `FORMAT` does not say it any more, and every segment of the log says this id.
    Lost { id: StoreId, what: &'static str },
}

impl Format {
    /// The id of a store that can be opened; `None` where nothing stands yet.
    fn whole(self) -> Result<Option<StoreId>, StoreError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Whole(id) => Ok(Some(id)),
            Self::Lost { what, .. } => Err(StoreError::FormatLost { what }),
        }
    }
}

fn read_format(root: &Path) -> Result<Format, StoreError> {
    let text = match fs::read(root.join("FORMAT")) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match empty(root) {
                // Somebody made a store here between the two looks. The format is the first thing of a store, and is never taken away.
                Err(StoreError::ForeignFormat { .. }) if root.join("FORMAT").exists() => read_format(root),
                Err(foreign @ StoreError::ForeignFormat { .. }) => match id_in_log(root)? {
                    Some(id) => Ok(Format::Lost { id, what: "missing" }),
                    None if is_what_is_left(root) => Err(StoreError::IdLost),
                    None => Err(foreign),
                },
                looked => looked.map(|()| Format::Nothing),
            };
        }
        Err(error) => return Err(failed("reading the store's format", error)),
    };
    let mut lines = text.lines();
    let format = lines.next().unwrap_or_default();
    if let Some(version) = format.strip_prefix("sessions-store ").and_then(|version| version.parse::<u64>().ok())
        && version > 1
    {
        return Err(StoreError::NewerFormat { found: format!("the store (format {version})") });
    }
    let id = lines.next().and_then(|line| line.strip_prefix("id ")).and_then(chain::from_hex);
    let id: Option<[u8; 16]> = id.and_then(|bytes| bytes.try_into().ok());
    let in_log = id_in_log(root)?;
    if let (FORMAT, Some(id)) = (format, id) {
        // The id keys all hashes of words, so a wrong one would make keys and large bodies unknown.
        return Ok(match in_log.filter(|said| said.0 != id) {
            Some(said) => Format::Lost { id: said, what: "not that of its log" },
            None => Format::Whole(StoreId(id)),
        });
    }
    // Some other program's words are left alone; what one of ours was is told by what is left of it.
    let is_ours = format == FORMAT || id.is_some() || !format.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if let Some(id) = in_log.filter(|_| is_ours || format.trim().is_empty()) {
        let what = if text.trim_matches(['\0', '\n', ' ']).is_empty() { "empty" } else { "damaged" };
        return Ok(Format::Lost { id, what });
    }
    if (is_ours || format.trim().is_empty()) && is_what_is_left(root) {
        return Err(StoreError::IdLost);
    }
    let found = if format == FORMAT { "a damaged FORMAT file" } else { "a folder with a foreign FORMAT file" };
    Err(StoreError::ForeignFormat { found: found.to_owned(), expected: EXPECTED })
}

/// The id that every whole segment of a log says; `None` when there are none, or they do not agree.
fn id_in_log(root: &Path) -> Result<Option<StoreId>, StoreError> {
    let log = root.join("log");
    let mut said = None;
    for number in segment::numbers(&log)? {
        let mut head = [0; SEGMENT_HEADER as usize];
        let read = File::open(segment::path_of(&log, number)).and_then(|file| file.read_exact_at(&mut head, 0));
        let head = if read.is_ok() { segment::head_of(&head, number) } else { Head::Damaged };
        match head {
            Head::Whole(id, _) if said.is_none_or(|said| said == id) => said = Some(id),
            Head::Whole(..) => return Ok(None),
            Head::Newer(format) => return Err(segment::newer(format)),
            Head::Damaged => {}
        }
    }
    Ok(said)
}

/// Whether nothing stands in a folder but parts of a store, and those that every store has beside its log.
fn is_what_is_left(root: &Path) -> bool {
    let parts = ["FORMAT", "FORMAT.new", "LOCK", "log", "index", "index.look", "blobs", "quarantine"];
    let parts = parts.iter().chain(&["BACKUP", "BACKUP.new", "RESTORING", "keys", WORK]);
    let is_part = |name: OsString| parts.clone().any(|part| name == *part);
    let has_no_more = fs::read_dir(root)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_part(entry.file_name()))));
    has_no_more && root.join("LOCK").is_file() && root.join("blobs").is_dir() && root.join("quarantine").is_dir()
}

/// A folder is taken for a new store only when nothing but what an interrupted creation leaves stands in it.
fn empty(root: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(root).map_err(|error| failed("reading the store's folder", error))?;
    for entry in entries {
        let name = entry.map_err(|error| failed("reading the store's folder", error))?.file_name();
        if name != "LOCK" && name != "FORMAT.new" {
            let found = "a folder that holds other things".to_owned();
            return Err(StoreError::ForeignFormat { found, expected: EXPECTED });
        }
    }
    Ok(())
}

pub(super) fn write_format(root: &Path, id: [u8; 16], sealing: Sealing) -> Result<StoreId, StoreError> {
    let sealed = if sealing == Sealing::Sealed { "sealed\n" } else { "" };
    let text = format!("{FORMAT}\nid {}\n{sealed}", chain::to_hex(&id));
    write_durably(&root.join("FORMAT.new"), &root.join("FORMAT"), text.as_bytes(), "writing the store's format")?;
    Ok(StoreId(id))
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_durably(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    operation: &'static str,
) -> Result<(), StoreError> {
    let write = || {
        // Not written through a link that somebody put there.
        let _ = fs::remove_file(temporary);
        let mut file = private().write(true).create_new(true).open(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().map_err(|error| failed(operation, error))?;
    path.parent().map_or(Ok(()), sync_dir)
}
