//! Looking after a store by its URL: verify, repair, space that comes back, and a doctor's look at it and its disk; and backups, which are
//! restored and checked.
//!
//! A store is verified and repaired while nobody has it open.
//!
//! Must not know: segments, records, or how findings are shown.

use std::{
    borrow::Cow,
    fs, io,
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sessions_app::{ErrorKind, SessionError};
use sessions_infra::{
    counted::counted,
    disk::{FileSystem, SyncTimes},
    environment::SystemClock,
    keys::KeyFinding,
    sealing::{RingFacts, SealStep, SealedInPlace, StoreOpener, seal_in_place},
    sled::{
        self, BackupProgress, BackupReport, KeyLook, KeysAt, LastOutcome, OpenReport, Reclaimed, RepairReport,
        SledStore, VerifyReport,
    },
};
use sessions_ports::{BackendError, BackendErrorKind, Clock as _, Durability, KeyProvider, SessionLog, StoreError};

pub use crate::anchoring::{NotAnchored, anchor, check_anchor};
pub use crate::backup::{restore_backup, restore_backup_with, verify_backup};
use crate::url::StoreUrl;

/// A store in memory has no files to look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store in memory has no files to look after; name a store on disk, as in sled:./chats")]
pub struct NothingOnDisk;

/// Checks every record of a store that nobody has open. Changes nothing, and reports all that is wrong, not only the first. A sealed store needs no
/// key for it: then its bytes are checked, and not what they say.
///
/// # Errors
/// [`StoreError::Locked`] when somebody has it open, [`StoreError::ForeignFormat`], and the system's.
pub async fn verify(url: &StoreUrl) -> Result<VerifyReport, SessionError> {
    let path = path_of(url)?;
    blocking(move || sled::verify(&path).map_err(SessionError::from)).await
}

/// How a store's keys are, for whoever has none. Changes nothing, also while somebody has the store open.
///
/// # Errors
/// The URL's; [`StoreError::ForeignFormat`] and its kin; [`sessions_ports::KeyError::Damaged`] for keys that say nothing any more.
pub async fn keys_at(url: &StoreUrl) -> Result<KeysAt, SessionError> {
    let path = path_of(url)?;
    blocking(move || sled::keys_at(&path).map_err(SessionError::from)).await
}

/// The same of a sealed store, with its key: then what records say is checked too, which [`verify`] leaves alone. Nothing is written, and the key
/// is unwrapped before the store is looked at.
///
/// # Errors
/// As [`verify`]; [`StoreError::Key`] with [`KeyError::NotSealed`](sessions_ports::KeyError::NotSealed) for a plain store, and those of
/// [`KeyProvider::unwrap`].
pub async fn verify_sealed(url: &StoreUrl, key: &dyn KeyProvider) -> Result<VerifyReport, SessionError> {
    let path = path_of(url)?;
    let opener = Arc::new(StoreOpener::unlock(&path, key).await?);
    let witness = opener.witness().map_err(StoreError::from)?;
    blocking(move || sled::verify_sealed(&path, Some(&witness), opener).map_err(SessionError::from)).await
}

/// Seals a plain store that nobody has open in its place: sessions, versions, places, receipts and idempotency keys stay as they are, and what was plain is
/// overwritten and removed. Whatever breaks it off leaves the plain store or the sealed one; called again it goes on. It takes as much room again as
/// the store has. [`seal_in_place`] tells more.
///
/// `erases_quarantine`: what a crash or a repair set aside goes too, which lies there in the clear. `step` is told how far it is, and can end it
/// until [`SealStep::Replaced`].
///
/// # Errors
/// The URL's, and those of [`seal_in_place`].
pub async fn seal(
    url: &StoreUrl,
    key: &dyn KeyProvider,
    erases_quarantine: bool,
    step: impl FnMut(SealStep) -> ControlFlow<()> + Send + 'static,
) -> Result<SealedInPlace, SessionError> {
    Ok(seal_in_place(&path_of(url)?, key, erases_quarantine, step).await?)
}

/// Sets aside what a store cannot read, so that the rest works; nothing is deleted. With `dry_run` it only says what it would do.
///
/// # Errors
/// As [`verify`].
pub async fn repair(url: &StoreUrl, dry_run: bool) -> Result<RepairReport, SessionError> {
    let path = path_of(url)?;
    blocking(move || sled::repair(&path, dry_run).map_err(SessionError::from)).await
}

/// [`repair`] of a sealed store, with its key: records whose seals are broken are given up as lost too, and the sessions are attested as they stand
/// afterwards. After a repair without the key whoever opens the store next hears that its sessions do not stand as they were attested.
///
/// # Errors
/// As [`verify_sealed`].
pub async fn repair_sealed(url: &StoreUrl, key: &dyn KeyProvider, dry_run: bool) -> Result<RepairReport, SessionError> {
    let path = path_of(url)?;
    let opener = Arc::new(StoreOpener::unlock(&path, key).await?);
    let witness = Arc::new(opener.witness().map_err(StoreError::from)?);
    blocking(move || sled::repair_sealed(&path, dry_run, witness, opener).map_err(SessionError::from)).await
}

/// Takes off the disk what only deleted sessions had, of a store that nobody has open. One that is open does so by itself where much comes
/// back, and all of it with [`SledStore::reclaim`].
///
/// # Errors
/// [`StoreError::Locked`] when somebody has it open, [`StoreError::NoStore`], and those of [`SledStore::reclaim`].
pub async fn reclaim(url: &StoreUrl) -> Result<Reclaimed, SessionError> {
    let store = SledStore::open_for_upkeep(path_of(url)?).await?;
    let reclaimed = store.reclaim().await;
    let closed = store.close().await;
    let reclaimed = reclaimed?;
    closed?;
    Ok(reclaimed)
}

/// Writes a backup of a store that nobody has open into a new file. A sealed store needs no key for it: the file holds its wrapped keys, and is
/// opened by the key of now. One that is open backs itself up with [`SessionManager::backup`](crate::SessionManager::backup).
///
/// # Errors
/// [`StoreError::Locked`] when somebody has it open, [`StoreError::NoStore`], and those of [`SledStore::backup`].
pub async fn backup(url: &StoreUrl, file: impl AsRef<Path>) -> Result<BackupReport, SessionError> {
    let store = SledStore::open_for_upkeep(path_of(url)?).await?;
    let made = store.backup(file.as_ref(), &BackupProgress::default()).await;
    let closed = store.close().await;
    let made = made?;
    closed?;
    Ok(made)
}

/// One thing that the doctor looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was looked at, as in `file system`.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
    /// What to do about it, where something should be done.
    pub advice: Option<Cow<'static, str>>,
    /// A figure for programs, where there is one: bytes, microseconds.
    pub value: Option<u64>,
    /// Where it keeps the store, or a part of it, from being used: what that asks for.
    pub trouble: Option<ErrorKind>,
}

impl Observation {
    fn of(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, what: what.into(), advice: None, value: None, trouble: None }
    }

    fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn trouble(mut self, kind: ErrorKind) -> Self {
        self.trouble = Some(kind);
        self
    }

    fn value(mut self, value: u64) -> Self {
        self.value = Some(value);
        self
    }
}

/// Appends with a sync that the doctor measures.
const SYNCS: usize = 50;

/// Bytes of each.
const SYNC_BYTES: usize = 512;

/// A sync that is faster than this did not reach a disk, as far as disks are known.
const TOO_FAST: Duration = Duration::from_micros(10);

/// A sync that is slower than this makes every append wait noticeably.
const SLOW: Duration = Duration::from_millis(10);

/// Looks at a store and the disk it lies on. Makes no store where there is none.
///
/// # Errors
/// The URL's. What is wrong with the store or the disk is an observation.
pub async fn diagnose(url: &StoreUrl) -> Result<Vec<Observation>, SessionError> {
    diagnose_with(url, RingFacts::ROTATION_DAYS).await
}

/// The same, with advice for a key that is older than so many days.
///
/// # Errors
/// As [`diagnose`].
pub async fn diagnose_with(url: &StoreUrl, key_rotation_days: u64) -> Result<Vec<Observation>, SessionError> {
    let path = path_of(url)?;
    let mut seen = vec![Observation::of("store", url.to_string())];
    if !path.exists() {
        let nothing = Observation::of("format", "there is no store at this path yet");
        seen.push(nothing.advise("the first session that you create makes it"));
        let beside = existing_parent(&path);
        seen.extend(blocking(move || Ok(disk(&beside, &beside))).await?);
        return Ok(seen);
    }
    seen.push(format_of(&path));
    seen.extend(opened(&path).await);
    let inside = path.clone();
    seen.extend(blocking(move || Ok(sealing(&inside, key_rotation_days))).await?);
    seen.push(backed_up(&path));
    let inside = path.clone();
    seen.extend(
        blocking(move || {
            let mut seen = sizes(&inside);
            seen.extend(disk(&inside, &existing_parent(&inside)));
            Ok(seen)
        })
        .await?,
    );
    Ok(seen)
}

pub(crate) fn path_of(url: &StoreUrl) -> Result<PathBuf, SessionError> {
    match url {
        StoreUrl::Sled(path) => Ok(path.clone()),
        StoreUrl::Memory => Err(SessionError::Configuration(Box::new(NothingOnDisk))),
    }
}

/// Runs work that waits for a disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    let lost = |error| BackendError::new(BackendErrorKind::Internal, "looking after the store", error);
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::from(lost(error)))?
}

fn format_of(path: &Path) -> Observation {
    match fs::read(path.join("FORMAT")) {
        Ok(bytes) => {
            let head = bytes.get(..bytes.len().min(200)).unwrap_or_default();
            let line = String::from_utf8_lossy(head).lines().next().unwrap_or_default().to_owned();
            Observation::of("format", line)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Observation::of("format", "there is no FORMAT file"),
        Err(error) => Observation::of("format", error.to_string()),
    }
}

/// What opening says: the level it gives, who has it open, what had to be mended.
async fn opened(path: &Path) -> Vec<Observation> {
    match SledStore::open_for_upkeep(path).await {
        Ok(store) => {
            let best = store.strongest();
            let mut seen = vec![
                Observation::of("lock", "nobody else has the store open"),
                opening(store.report()),
                Observation::of("durability", format!("{best}: {}", promise(best))),
            ];
            if let Err(error) = store.close().await {
                seen.push(Observation::of("closed", error.to_string()).advise("run `verify`"));
            }
            seen
        }
        Err(StoreError::Locked { pid, since }) => {
            let owner = format!("process {pid} has the store open since {since}");
            let locked = Observation::of("lock", owner).trouble(ErrorKind::Locked);
            vec![
                locked.advise(
                    "close it there, and look again: how it opens and the level it gives are not known until then",
                ),
            ]
        }
        Err(error @ StoreError::NoStore) => {
            vec![Observation::of("opened", error.to_string()).advise("the first session that you create makes one")]
        }
        Err(error) => {
            let advice = match &error {
                StoreError::ForeignFormat { .. } => "name the folder of a store, or one that does not exist yet",
                StoreError::NewerFormat { .. } => {
                    "use the version of the program that wrote it, and leave it alone until then"
                }
                StoreError::FormatLost { .. } => "run `repair`: it writes the file anew from what the log says",
                StoreError::IdLost => "put FORMAT and log back from a copy of the folder: no repair can make them",
                StoreError::NoSpace { .. } => "free some space and look again; nothing acknowledged was lost",
                StoreError::Backend(error) => match error.kind {
                    BackendErrorKind::Permission => {
                        "use an account that may read and write there, or name another path"
                    }
                    BackendErrorKind::Path => "name the folder of a store, or one that does not exist yet",
                    _ => "look at what the system says of this disk, and copy the store's folder to another one",
                },
                _ => "run `verify` to see what is wrong with it",
            };
            let said = error.to_string();
            // What to do is said once, in the advice.
            let said = said.rsplit_once("; ").map_or(said.as_str(), |(what, _)| what);
            vec![Observation::of("opened", said).advise(advice).trouble(SessionError::from(error).kind())]
        }
    }
}

/// Whether the store is sealed, and what its keys tell without the one that opens them.
fn sealing(path: &Path, rotation_days: u64) -> Vec<Observation> {
    match sled::look_at_keys(path) {
        Ok(None) => {
            let plain = Observation::of("sealing", "the store is plain: who can read its files reads its sessions");
            vec![plain.advise("seal it in its place with `keys init`, if others can get at the disk")]
        }
        Ok(Some(look)) => sealed(&look, rotation_days),
        // What is wrong with the folder is told by opening it.
        Err(StoreError::Key(error)) => {
            let said = error.to_string();
            let said = said.split_once("; ").map_or(said.as_str(), |(what, _)| what).to_owned();
            let damaged = Observation::of("sealing", said).trouble(ErrorKind::Damaged);
            vec![damaged.advise("put the folder `keys` back from a backup: without it nobody reads the store")]
        }
        Err(_) => Vec::new(),
    }
}

fn sealed(look: &KeyLook, rotation_days: u64) -> Vec<Observation> {
    let KeyLook { ring, live, destroyed, damage, .. } = look;
    let now = SystemClock.now();
    let days = ring.days_old(now);
    let (kind, name, id) = (ring.wrapped.provider, &ring.wrapped.key, ring.key);
    let said = format!("sealed with a {kind} ({name}); key {id} of {}, {}", ring.made, counted(days, "day"));
    let sealed = Observation::of("sealing", said).value(days);
    let mut seen = vec![match ring.advice_after(now, rotation_days) {
        Some(advice) => sealed.advise(advice),
        None => sealed,
    }];
    let slots =
        format!("{}, and {} whose keys were destroyed", counted(*live, "wrapped key"), counted(*destroyed, "slot"));
    seen.push(Observation::of("keys", slots).value(*live));
    let mut slots = 0_u64;
    for finding in damage {
        match finding {
            KeyFinding::RingCopy(name) => {
                let what = format!("`{name}`, one of the two copies of the ring, is damaged");
                seen.push(Observation::of("keys", what).advise("open the store, which writes it anew"));
            }
            KeyFinding::Slot(_) => slots += 1,
            _ => {
                let what = Observation::of("keys", "the first bytes of `slots` are damaged");
                seen.push(what.advise("open the store, which writes them anew"));
            }
        }
    }
    if slots > 0 {
        let what = Observation::of("keys", format!("{} damaged", counted(slots, "slot"))).trouble(ErrorKind::Damaged);
        seen.push(what.advise(
            "run `verify` to see which sessions it hit, restore a backup beside the store and export these from there",
        ));
    }
    seen
}

/// How the last backup went.
fn backed_up(path: &Path) -> Observation {
    match sled::last_backup(path) {
        None => Observation::of("backup", "no backup is known")
            .advise("`backup FILE` makes one, also while the store is in use"),
        Some(last) => match last.outcome {
            LastOutcome::Verified { bytes, .. } => {
                let size = counted(bytes, "byte");
                Observation::of("backup", format!("{} of {}, {size}, verified", last.file, last.at)).value(bytes)
            }
            LastOutcome::Failed(why) => {
                let said = format!("the last one, of {}, to {}, failed: {why}", last.at, last.file);
                Observation::of("backup", said).advise("see to the reason, and make one with `backup FILE`")
            }
        },
    }
}

fn opening(report: &OpenReport) -> Observation {
    if report.is_quiet() {
        let read = counted(report.replayed, "record");
        let unread = "the others and large bodies were not looked at, which `verify` does";
        Observation::of("opened", format!("cleanly, {read} read from the log; {unread}"))
    } else if report.damaged > 0 || report.shortened {
        let damaged = Observation::of("opened", report.to_string()).trouble(ErrorKind::Damaged);
        damaged.advise("run `verify` to see which sessions it hit, copy the store's folder, then run `repair`")
    } else {
        Observation::of("opened", report.to_string())
    }
}

fn promise(level: Durability) -> &'static str {
    match level {
        Durability::Volatile => "what is acknowledged lives as long as the process",
        Durability::Process => "what is acknowledged survives the death of the process",
        Durability::Disk => "what is acknowledged survives a power cut, as far as the disk keeps its word",
    }
}

/// The store's files, by what stands at the top of its folder.
fn sizes(path: &Path) -> Vec<Observation> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut parts: Vec<(String, u64, u64)> = entries
        .flatten()
        .map(|entry| {
            let (files, bytes) = size_of(&entry.path());
            (entry.file_name().to_string_lossy().into_owned(), files, bytes)
        })
        .collect();
    parts.sort();
    let total: u64 = parts.iter().map(|(_, _, bytes)| bytes).sum();
    let part = |(name, files, bytes): (String, u64, u64)| {
        Observation::of("files", format!("{name}: {}, {}", counted(files, "file"), counted(bytes, "byte"))).value(bytes)
    };
    let mut seen: Vec<Observation> = parts.into_iter().map(part).collect();
    seen.push(Observation::of("size", counted(total, "byte")).value(total));
    seen
}

/// Files and bytes at and below a path. Links are not followed.
fn size_of(path: &Path) -> (u64, u64) {
    let Ok(about) = fs::symlink_metadata(path) else { return (0, 0) };
    if !about.is_dir() {
        // A hole in a file takes no room.
        return (1, about.len().min(about.blocks() * 512));
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size_of(&entry.path()));
    below.fold((0, 0), |(files, bytes), (more, size)| (files + more, bytes + size))
}

/// The file system of the store, and how long a sync takes beside it.
fn disk(path: &Path, beside: &Path) -> Vec<Observation> {
    let system = FileSystem::of(path);
    let probe = if FileSystem::of(beside) == system { beside } else { path };
    let mut seen = vec![match &system {
        None => Observation::of("file system", "the system does not say"),
        Some(on) => {
            let said = format!("{} on {}, mounted at {}", on.kind, on.device, on.mounted_at.display());
            let said = Observation::of("file system", said);
            if on.is_volatile() {
                said.advise("it lives in memory: nothing on it survives a restart, so put the store on a disk")
            } else if on.is_remote() {
                said.advise("it is another machine's: what a sync promises there is that machine's to keep")
            } else {
                said
            }
        }
    }];
    seen.push(match SyncTimes::measure(probe, SYNC_BYTES, SYNCS) {
        Err(error) => Observation::of("fdatasync", format!("not measured: {error}"))
            .advise("let this account write to the folder that the store stands in"),
        Ok(times) => {
            let (median, slow) = (times.percentile(50), times.percentile(99));
            let (half, most) = (median.as_micros(), slow.as_micros());
            let said = format!("{half} µs (median of {SYNCS} appends of {SYNC_BYTES} bytes), {most} µs at worst");
            let said = Observation::of("fdatasync", said).value(u64::try_from(half).unwrap_or(u64::MAX));
            let in_memory = system.as_ref().is_some_and(FileSystem::is_volatile);
            if median < TOO_FAST && !in_memory {
                said.advise("this is faster than disks are: check that the disk or its machine does not ignore syncs")
            } else if median > SLOW {
                said.advise(
                    "every append at disk level waits this long: let several be in flight, or stream at process level",
                )
            } else {
                said
            }
        }
    });
    seen
}

/// The nearest folder above a path that exists.
fn existing_parent(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use sessions_infra::sled::SledOptions;
    use sessions_ports::KeyError;

    use super::*;

    #[tokio::test]
    async fn space_comes_back_from_a_store_that_nobody_has_open() {
        let ground = tempfile::TempDir::new().unwrap();
        let path = ground.path().join("store");
        let url = StoreUrl::Sled(path.clone());
        assert!(matches!(reclaim(&url).await, Err(SessionError::Store(StoreError::NoStore))));
        assert!(matches!(reclaim(&StoreUrl::Memory).await, Err(SessionError::Configuration(_))));
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        assert!(matches!(reclaim(&url).await, Err(SessionError::Store(StoreError::Locked { .. }))));
        store.close().await.unwrap();
        assert_eq!(reclaim(&url).await.unwrap(), Reclaimed::default(), "nothing was deleted");
    }

    #[tokio::test]
    async fn a_sealed_store_is_looked_after_without_its_key_and_looked_into_with_it() {
        use sessions_infra::keys::KeyFileProvider;

        use crate::{Message, NewSession, SealingLook, SessionManager};

        let ground = tempfile::TempDir::new().unwrap();
        let (path, file) = (ground.path().join("store"), ground.path().join("one.sessions"));
        let url = StoreUrl::Sled(path.clone());
        let (right, wrong) = (ground.path().join("right.key"), ground.path().join("wrong.key"));
        let key = || KeyFileProvider::create_or_open(&right).unwrap();
        let sessions = SessionManager::open_sealed(url.to_string(), key()).await.unwrap();
        let chat = sessions.create(NewSession::titled("Fix the build")).await.unwrap();
        for text in ["a", "b", "c"] {
            chat.append(Message::user(text)).await.unwrap();
        }
        let id = chat.id();
        drop(chat);
        sessions.close().await.unwrap();
        drop(sessions);

        let seen = diagnose(&url).await.unwrap();
        let sealing = seen.iter().find(|seen| seen.check == "sealing").unwrap();
        assert!(sealing.what.starts_with("sealed with a key file (") && sealing.trouble.is_none(), "{sealing:?}");
        assert!(seen.iter().any(|seen| seen.check == "opened" && seen.trouble.is_none()), "{seen:?}");
        assert_eq!(reclaim(&url).await.unwrap().segments, 0);
        backup(&url, &file).await.unwrap();
        let shut = verify(&url).await.unwrap();
        assert_eq!((shut.sealing, shut.findings.as_slice()), (SealingLook::Shut, [].as_slice()));
        let opened = verify_sealed(&url, &key()).await.unwrap();
        assert_eq!((opened.sealing, opened.findings.as_slice()), (SealingLook::Opened, [].as_slice()));
        let wrong = verify_sealed(&url, &KeyFileProvider::create(&wrong).unwrap()).await.unwrap_err();
        assert!(matches!(wrong, SessionError::Store(StoreError::Key(KeyError::WrongKey { .. }))), "{wrong:?}");

        // A record is damaged, and the session goes on under its name, attested anew.
        let log = path.join("log/00000001.seg");
        let mut bytes = fs::read(&log).unwrap();
        let first = bytes.windows(4).position(|bytes| bytes == b"SSN\x01").unwrap();
        bytes[first + 100] ^= 1;
        fs::write(&log, bytes).unwrap();
        assert!(!verify(&url).await.unwrap().is_sound());
        repair_sealed(&url, &key(), false).await.unwrap();
        let repaired = verify_sealed(&url, &key()).await.unwrap();
        assert!(repaired.is_sound(), "{:?}", repaired.findings);
        let sessions = SessionManager::open_sealed(url.to_string(), key()).await.unwrap();
        let chat = sessions.load(id).await.unwrap();
        assert_eq!(chat.summary().await.unwrap().title.as_deref(), Some("Fix the build"));
        assert_eq!(chat.last(9).await.unwrap().len(), 3);
        chat.append(Message::user("d")).await.unwrap();
        drop(chat);
        sessions.close().await.unwrap();
        drop(sessions);

        let copy = ground.path().join("copy");
        restore_backup(&file, &copy).await.unwrap();
        let copied = verify_sealed(&StoreUrl::Sled(copy.clone()), &key()).await.unwrap();
        assert_eq!(copied.findings, []);
        fs::write(copy.join("keys/ring.copy"), "none").unwrap();
        let seen = diagnose(&StoreUrl::Sled(copy.clone())).await.unwrap();
        assert!(seen.iter().any(|seen| seen.what.contains("`ring.copy`") && seen.advice.is_some()), "{seen:?}");
        fs::remove_dir_all(copy.join("keys")).unwrap();
        let seen = diagnose(&StoreUrl::Sled(copy)).await.unwrap();
        let sealing = seen.iter().find(|seen| seen.check == "sealing").unwrap();
        assert_eq!(sealing.trouble, Some(ErrorKind::Damaged));
    }
}
