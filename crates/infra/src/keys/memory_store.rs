//! A store of wrapped keys that lives as long as the process: what tests start from, and what belongs to a store in memory.
//!
//! Must not know: what the keys are for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_ports::{Erasure, KeyStore, MAX_SLOT, Slot, SlotChange, StoreError, StoredRing};

/// One slot. Its bytes are a place that is written over, as on a disk.
struct Held {
    changes: u64,
    length: usize,
    bytes: [u8; MAX_SLOT],
}

impl Held {
    fn new(slot: &[u8], changes: u64) -> Self {
        let mut bytes = [0; MAX_SLOT];
        bytes.iter_mut().zip(slot).for_each(|(held, byte)| *held = *byte);
        Self { changes, length: slot.len(), bytes }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[derive(Default)]
struct Keys {
    ring: Option<StoredRing>,
    slots: Vec<Held>,
}

/// Wrapped keys in memory. Clones are handles of the same keys.
#[derive(Clone, Default)]
pub struct MemoryKeyStore(Arc<Mutex<Keys>>);

impl MemoryKeyStore {
    /// One that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what is no slot.
pub(super) fn check_size(slot: &Slot) -> Result<(), StoreError> {
    if slot.len() > MAX_SLOT {
        return Err(StoreError::TooLarge { bytes: slot.len() as u64, max: MAX_SLOT as u64 });
    }
    Ok(())
}

/// Refuses changes that no store of so many slots can make.
pub(super) fn check_changes(changes: &[SlotChange], slots: u64) -> Result<(), StoreError> {
    let mut numbers = BTreeSet::new();
    for change in changes {
        check_size(&change.new)?;
        if change.number >= slots {
            return Err(StoreError::Malformed { what: "a slot is to be overwritten that does not exist" });
        }
        if !numbers.insert(change.number) {
            return Err(StoreError::Malformed { what: "a slot is to be overwritten twice at once" });
        }
    }
    Ok(())
}

/// What is answered when a slot, or the ring, changed meanwhile. A slot is known by its bytes, so its versions are those of its own count.
pub(super) fn changed_meanwhile(actual: u64) -> StoreError {
    StoreError::Conflict { expected: actual.saturating_sub(1), actual }
}

#[async_trait]
impl KeyStore for MemoryKeyStore {
    async fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
        Ok(self.keys().ring.clone())
    }

    async fn put_ring(&self, expected: u64, ring: Bytes) -> Result<(), StoreError> {
        let mut keys = self.keys();
        let actual = keys.ring.as_ref().map_or(0, |ring| ring.version);
        if actual != expected {
            return Err(StoreError::Conflict { expected, actual });
        }
        keys.ring = Some(StoredRing { version: expected.saturating_add(1), bytes: ring });
        Ok(())
    }

    async fn slots(&self) -> Result<u64, StoreError> {
        Ok(self.keys().slots.len() as u64)
    }

    async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError> {
        slots.iter().try_for_each(check_size)?;
        let mut keys = self.keys();
        let first = keys.slots.len() as u64;
        keys.slots.extend(slots.iter().map(|slot| Held::new(slot, 1)));
        Ok(first)
    }

    async fn truncate(&self, count: u64) -> Result<(), StoreError> {
        self.keys().slots.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(())
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let keys = self.keys();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(keys.slots.iter().skip(from).take(limit).map(|held| Slot::copy_from_slice(held.get())).collect())
    }

    async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError> {
        let mut keys = self.keys();
        check_changes(&changes, keys.slots.len() as u64)?;
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        for change in &changes {
            match keys.slots.get(place(change.number)) {
                Some(held) if held.get() == change.expected => {}
                held => return Err(changed_meanwhile(held.map_or(0, |held| held.changes))),
            }
        }
        for change in &changes {
            if let Some(held) = keys.slots.get_mut(place(change.number)) {
                *held = Held::new(&change.new, held.changes.saturating_add(1));
            }
        }
        Ok(())
    }

    fn erasure(&self) -> Erasure {
        Erasure::Overwritten
    }
}
