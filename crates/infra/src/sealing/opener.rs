//! Opens what is sealed in the folder of a store that nobody has open, for whoever checks it.
//!
//! Must not know: segments, or what is done about what does not open.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{KeyError, KeyProvider, Record, StoreError};

use super::{
    envelope::{self, Beside, RecordHead},
    keyring::Keyring,
    ring::RingFacts,
    search::{self, Tried},
    slot::SessionKeys,
    witness::KeyedWitness,
};
use crate::{
    environment::SystemClock,
    keys::FileKeyStore,
    sled::{
        RecordOpener, Sealing, Unopened,
        folder::{id_of, sealing_of},
    },
};

/// Sessions whose keys are kept ready.
const MOST_READY: usize = 16 << 10;

type Loaded = Result<Arc<SessionKeys>, Unopened>;

/// The unlocked keys of a store in a folder, for reading alone. Nothing in the folder changes.
pub struct StoreOpener {
    keyring: Keyring,
    keys: FileKeyStore,
    /// By session too: what a slot answers is not the same for each. A tombstone in it is of one session, and the others' keys are retired.
    ready: Mutex<HashMap<(SessionId, u32), Loaded>>,
}

impl StoreOpener {
    /// Unlocks the keys of the store in a folder.
    ///
    /// # Errors
    /// [`KeyError::NotSealed`] for a plain store, [`KeyError::WrongKey`] and the others of [`KeyProvider::unwrap`], [`KeyError::Damaged`],
    /// [`StoreError::NoStore`].
    pub async fn unlock(root: &Path, provider: &dyn KeyProvider) -> Result<Self, StoreError> {
        let store = id_of(root)?.ok_or(StoreError::NoStore)?;
        if sealing_of(root) == Sealing::Plain {
            return Err(KeyError::NotSealed.into());
        }
        let keys = match FileKeyStore::look_blocking(&root.join("keys"), store) {
            Err(StoreError::NoStore) => return Err(KeyError::Damaged { what: "the folder `keys` is missing" }.into()),
            keys => keys?,
        };
        let keyring = Keyring::unlock(Arc::new(keys.clone()), store, provider, Arc::new(SystemClock)).await?;
        Ok(Self { keyring, keys, ready: Mutex::default() })
    }

    /// What the ring tells about the key in use.
    pub fn facts(&self) -> RingFacts {
        self.keyring.facts()
    }

    /// What attests the heads of the store's sessions.
    ///
    /// # Errors
    /// [`KeyError::Damaged`].
    pub fn witness(&self) -> Result<KeyedWitness, KeyError> {
        self.keyring.witness()
    }

    fn keys_of(&self, session: SessionId, slot: u32) -> Loaded {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = ready.get(&(session, slot)) {
            return keys.clone();
        }
        let keys = self.load(session, slot).map_err(|error| match error {
            StoreError::Key(KeyError::SessionDestroyed { .. }) => Unopened::KeysDestroyed,
            error => Unopened::NoKeys(error.to_string()),
        });
        if ready.len() >= MOST_READY {
            ready.clear();
        }
        ready.insert((session, slot), keys.clone());
        keys
    }

    fn load(&self, session: SessionId, slot: u32) -> Result<Arc<SessionKeys>, StoreError> {
        let slots = self.keys.read_blocking(u64::from(slot), 1)?;
        let bytes = slots.first().ok_or(KeyError::Damaged { what: "a session names a slot that is not there" })?;
        let opened = self.keyring.open(session, slot, bytes).map_err(|error| match error {
            // Nobody has the store open, so nobody changes its key.
            KeyError::Retired { .. } => KeyError::SessionRetired { session },
            error => error,
        });
        Ok(Arc::new(opened?.ready(slot)?))
    }

    fn beside(&self, what: Beside, session: SessionId, sealed: &[u8]) -> Result<Bytes, Unopened> {
        let (slot, _) = envelope::read_beside(sealed).ok_or(Unopened::SealBroken)?;
        self.keys_of(session, slot)?.open_beside(what, session, sealed).ok_or(Unopened::SealBroken)
    }
}

impl RecordOpener for StoreOpener {
    fn record(&self, session: SessionId, slot: u32, record: &Record) -> Result<Bytes, Unopened> {
        let keys = self.keys_of(session, slot)?;
        let opened = keys.open(session, record.clone());
        let epoch = RecordHead::read(&record.payload).map(|(head, _)| head.epoch);
        opened.map(|record| record.payload).map_err(|error| match error {
            StoreError::Key(KeyError::EpochRetired { epoch, .. }) => Unopened::EpochRetired(epoch),
            _ => match epoch.filter(|epoch| keys.of(*epoch).is_none()) {
                Some(epoch) => Unopened::NoDataKey(epoch),
                None => Unopened::SealBroken,
            },
        })
    }

    fn search(&self, session: SessionId, record: &Record) -> Option<u32> {
        let (ring, mut end) = (self.keyring.ring(), self.keys.slots_blocking());
        while end > 0 {
            let from = end.saturating_sub(search::LOT);
            let slots: Vec<_> = match self.keys.read_blocking(from, usize::try_from(end - from).ok()?) {
                Ok(slots) => (from..).zip(slots.into_iter().map(Some)).collect(),
                // One that is damaged must not take the others along.
                Err(_) => (from..end)
                    .map(|at| (at, self.keys.read_blocking(at, 1).ok().and_then(|mut one| one.pop())))
                    .collect(),
            };
            if let Tried::Found(slot) = search::try_all(&ring, &slots, session, std::slice::from_ref(record)) {
                return Some(slot);
            }
            end = from;
        }
        None
    }

    fn words(&self, session: SessionId, sealed: &[u8]) -> Result<Bytes, Unopened> {
        self.beside(Beside::Words, session, sealed)
    }

    fn snapshot(&self, session: SessionId, sealed: &[u8]) -> Result<Bytes, Unopened> {
        self.beside(Beside::Snapshot, session, sealed)
    }
}
