//! Wrapped keys in a folder: the ring in two whole copies, and slots that are overwritten in place.
//!
//! ```text
//! ring  ring.copy  slots
//! ```
//!
//! Only one process may have it open, as it lies in the folder of a store, which is locked.
//!
//! Must not know: what the keys are for.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_ports::{
    BackendError, BackendErrorKind, Erasure, KeyError, KeyStore, Slot, SlotChange, StoreError, StoreId, StoredRing,
};

use super::{
    ring_file::{self, MAX_RING, RingFiles},
    slot_file::{self, Failure, SlotFile},
};
use crate::sled::folder::{self, failed};

const SLOTS: &str = "slots";

/// What is not as it was written, or was not when the keys were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFinding {
    /// One of the two copies of the ring, by its file's name. The other one is whole.
    RingCopy(&'static str),
    /// The first bytes of the file of slots. Every slot is read without them.
    Header,
    /// A slot, by its number: what it held is lost.
    Slot(u64),
}

/// The two files of a store's keys as they are copied into a backup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeysCopy {
    version: u64,
    /// The file `ring`.
    pub(crate) ring: Vec<u8>,
    /// The file `slots`.
    pub(crate) slots: Vec<u8>,
    /// What each slot holds.
    held: Vec<Option<Slot>>,
}

impl KeysCopy {
    /// Copies what is there now; `None`: it changed meanwhile.
    pub(crate) fn of(folder: &Path, store: StoreId) -> Result<Option<Self>, StoreError> {
        let missing = || KeyError::Damaged { what: "the ring is missing" };
        let keys = match FileKeyStore::look_blocking(folder, store) {
            Err(StoreError::NoStore) => return Err(missing().into()),
            keys => keys?,
        };
        let keys = keys.keys();
        let ring = keys.rings.read()?.ok_or_else(missing)?;
        let (slots, held) = keys.slots.copy(store)?;
        let is_same = keys.rings.read()?.is_some_and(|now| now.version == ring.version);
        let (version, ring) = (ring.version, ring_file::encode(store, &ring));
        Ok(is_same.then_some(Self { version, ring, slots, held }))
    }

    /// Whether every key that was there before is still there, but for those that were destroyed.
    pub(crate) fn keeps(&self, before: &Self, is_destroyed: impl Fn(&Slot) -> bool) -> bool {
        let mut slots = before.held.iter().enumerate();
        self.version == before.version
            && slots.all(|(at, slot)| match (slot, self.held.get(at)) {
                (before, Some(now)) if before == now => true,
                (_, Some(Some(now))) => is_destroyed(now),
                _ => false,
            })
    }
}

/// Whether bytes are the file of a store's ring, as it was written.
pub(crate) fn is_ring(store: StoreId, file: &[u8]) -> bool {
    ring_file::is_whole(store, file)
}

struct Keys {
    rings: RingFiles,
    slots: SlotFile<File>,
    may_write: bool,
    is_poisoned: bool,
    mended: Vec<KeyFinding>,
}

impl Keys {
    /// Makes a change, and remembers when nobody knows what became of it.
    fn change<T>(&mut self, make: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        if !self.may_write {
            return Err(StoreError::Malformed { what: "keys that were opened for reading are to be changed" });
        }
        make(self).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Unknown => {
                self.is_poisoned = true;
                StoreError::Poisoned
            }
        })
    }

    fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
        match self.rings.read()? {
            None if self.slots.count() > 0 => {
                Err(KeyError::Damaged { what: "both copies of the ring are gone" }.into())
            }
            ring => Ok(ring),
        }
    }
}

/// Wrapped keys in a folder. Clones are handles of the same keys.
///
/// The ring comes before the first slot: slots without a ring are damage. When the power goes while slots are added, some of them may be
/// there afterwards, and those between them that are not are read as empty ones; nobody was told of any.
#[derive(Clone)]
pub struct FileKeyStore(Arc<Mutex<Keys>>);

impl FileKeyStore {
    /// Opens the keys of a store in this folder, and makes both when there is nothing. What a change left when it was broken off is
    /// finished before anything is read.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] when no ring, or nothing of the slots, is as it was written; [`KeyError::Newer`]; [`StoreError::NoSpace`].
    pub async fn open(folder: &Path, store: StoreId) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        off_the_runtime(move || Self::open_blocking(&folder, store)).await
    }

    /// As [`Self::open`], for a thread that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn open_blocking(folder: &Path, store: StoreId) -> Result<Self, StoreError> {
        folder::make(folder)?;
        let rings = RingFiles { folder: folder.to_owned(), store };
        let slots = folder.join(SLOTS);
        if !slots.exists() {
            if rings.read()?.is_some() {
                return Err(KeyError::Damaged { what: "the file `slots` is gone" }.into());
            }
            let making = "making room for wrapped keys";
            folder::write_durably(&folder.join("slots.new"), &slots, &slot_file::new_file(store), making)?;
        }
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The folder's own name has to survive too.
            folder::sync_dir(parent)?;
        }
        // What a newer version wrote is left untouched.
        rings.read()?;
        let file = OpenOptions::new().read(true).write(true).open(slots).map_err(opening)?;
        let slots = SlotFile::open(file, store, true)?;
        let mut mended: Vec<_> = rings.mend(&mut |_| {})?.into_iter().map(KeyFinding::RingCopy).collect();
        let mut keys = Keys { rings, slots, may_write: true, is_poisoned: false, mended: Vec::new() };
        if !keys.slots.header_is_whole() && keys.change(|keys| keys.slots.mend_header(store)).is_ok() {
            mended.push(KeyFinding::Header);
        }
        keys.mended = mended;
        Ok(Self(Arc::new(Mutex::new(keys))))
    }

    /// Opens keys that are there for reading alone, and changes nothing.
    ///
    /// # Errors
    /// As [`Self::open`]; [`StoreError::NoStore`] when there are none.
    pub fn look_blocking(folder: &Path, store: StoreId) -> Result<Self, StoreError> {
        let rings = RingFiles { folder: folder.to_owned(), store };
        let ring = rings.read()?;
        let file = match File::open(folder.join(SLOTS)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(match ring {
                    Some(_) => KeyError::Damaged { what: "the file `slots` is gone" }.into(),
                    None => StoreError::NoStore,
                });
            }
            file => file.map_err(opening)?,
        };
        let slots = SlotFile::open(file, store, false)?;
        let keys = Keys { rings, slots, may_write: false, is_poisoned: false, mended: Vec::new() };
        Ok(Self(Arc::new(Mutex::new(keys))))
    }

    /// Whether a ring, or what is left of one, lies in this folder, so that whatever it belongs to is sealed.
    ///
    /// # Errors
    /// The system's, when it does not let one look.
    pub fn has_ring(folder: &Path) -> Result<bool, StoreError> {
        for name in ["ring", "ring.copy"] {
            match fs::symlink_metadata(folder.join(name)) {
                Ok(_) => return Ok(true),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(failed("looking for the ring of keys", error)),
            }
        }
        Ok(false)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`KeyStore::ring`], for a thread that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn ring_blocking(&self) -> Result<Option<StoredRing>, StoreError> {
        self.keys().ring()
    }

    /// [`KeyStore::slots`], without waiting for more than a change that is being made.
    pub fn slots_blocking(&self) -> u64 {
        self.keys().slots.count()
    }

    /// [`KeyStore::read`], for a thread that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn read_blocking(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
        // Nobody writes while a block is read; looking at what was read keeps nobody waiting.
        slot_file::read(from, limit, |from, to, block| self.keys().slots.block(from, to, block))
    }

    /// Everything that is not as it was written, for a thread that may wait. Changes nothing.
    ///
    /// # Errors
    /// The system's; [`KeyError::Damaged`] when no ring is whole.
    pub fn damage_blocking(&self) -> Result<Vec<KeyFinding>, StoreError> {
        let keys = self.keys();
        keys.ring()?;
        let mut found: Vec<_> = keys.rings.unlike()?.into_iter().map(KeyFinding::RingCopy).collect();
        found.extend((!keys.slots.header_is_whole()).then_some(KeyFinding::Header));
        found.extend(keys.slots.damaged()?.into_iter().map(KeyFinding::Slot));
        Ok(found)
    }

    /// What opening found damaged and wrote anew.
    pub fn mended(&self) -> Vec<KeyFinding> {
        self.keys().mended.clone()
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keys) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let keys = self.clone();
        off_the_runtime(move || work(&mut keys.keys())).await
    }
}

fn opening(error: std::io::Error) -> StoreError {
    failed("opening the wrapped keys", error)
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |error| BackendError::new(BackendErrorKind::Internal, "working on wrapped keys", error);
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

#[async_trait]
impl KeyStore for FileKeyStore {
    async fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
        self.with(|keys| keys.ring()).await
    }

    async fn put_ring(&self, expected: u64, ring: Bytes) -> Result<(), StoreError> {
        if ring.len() > MAX_RING {
            return Err(StoreError::TooLarge { bytes: ring.len() as u64, max: MAX_RING as u64 });
        }
        let put = move |keys: &mut Keys| {
            let actual = keys.ring()?.map_or(0, |ring| ring.version);
            if actual != expected {
                return Err(StoreError::Conflict { expected, actual }.into());
            }
            keys.rings.write(&StoredRing { version: expected.saturating_add(1), bytes: ring }, &mut |_| {})
        };
        self.with(|keys| keys.change(put)).await
    }

    async fn slots(&self) -> Result<u64, StoreError> {
        self.with(|keys| Ok(keys.slots.count())).await
    }

    async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError> {
        self.with(move |keys| keys.change(|keys| keys.slots.add(&slots))).await
    }

    async fn truncate(&self, count: u64) -> Result<(), StoreError> {
        self.with(move |keys| keys.change(|keys| keys.slots.truncate(count))).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let keys = self.clone();
        off_the_runtime(move || keys.read_blocking(from, limit)).await
    }

    async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError> {
        self.with(move |keys| keys.change(|keys| keys.slots.overwrite(&changes))).await
    }

    fn erasure(&self) -> Erasure {
        Erasure::Overwritten
    }
}
