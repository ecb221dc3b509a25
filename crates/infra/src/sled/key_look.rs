//! What a folder says of its store's keys to whoever has none, and without opening the store.
//!
//! Must not know: how keys are unwrapped, or what is done about what is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{KeyError, StoreError, StoreId};

use super::folder::{self, Sealing};
use crate::{
    keys::{FileKeyStore, KeyFinding},
    sealing::{ClosedEpoch, RingFacts, SlotState, closed_epoch, ring_facts, slot_state},
};

const MISSING: KeyError = KeyError::Damaged { what: "the folder `keys` is missing or empty" };

/// How a store's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    /// There is no store yet.
    Nothing,
    /// The store is plain.
    Plain,
    /// The store is sealed; its keys are wrapped like this. `None`: its making was broken off before there were any.
    Sealed(Option<RingFacts>),
}

/// Looks at the keys of the store in a folder. Waits for the disk, changes nothing, and needs no lock.
///
/// # Errors
/// [`StoreError::ForeignFormat`] and its kin; [`sessions_ports::KeyError::Damaged`] and [`sessions_ports::KeyError::Newer`] for a ring that says nothing any more.
pub fn keys_at(path: &Path) -> Result<KeysAt, StoreError> {
    let Some(store) = folder::id_of(path)? else { return Ok(KeysAt::Nothing) };
    if folder::sealing_of(path) == Sealing::Plain {
        return Ok(KeysAt::Plain);
    }
    let keys = match FileKeyStore::look_blocking(&path.join("keys"), store) {
        Ok(keys) => keys,
        Err(StoreError::NoStore) => return Ok(KeysAt::Sealed(None)),
        Err(error) => return Err(error),
    };
    let ring = keys.ring_blocking()?;
    let facts = ring.map(|ring| ring_facts(&ring.bytes, store)).transpose()?;
    Ok(KeysAt::Sealed(facts))
}

/// The wrapped keys of a store, as far as they tell anything without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLook {
    /// How the store's key is wrapped.
    pub ring: RingFacts,
    /// Slots that hold keys.
    pub live: u64,
    /// Slots whose keys were destroyed.
    pub destroyed: u64,
    /// What is not as it was written.
    pub damage: Vec<KeyFinding>,
}

/// Looks at the keys of the store in a folder, which may be open; `None`: it is plain.
///
/// # Errors
/// [`KeyError::Damaged`] when nothing can be told, [`KeyError::Newer`], [`StoreError::NoStore`], and the system's.
pub fn look_at_keys(root: &Path) -> Result<Option<KeyLook>, StoreError> {
    let ring = match keys_at(root)? {
        KeysAt::Nothing => return Err(StoreError::NoStore),
        KeysAt::Plain => return Ok(None),
        KeysAt::Sealed(ring) => ring.ok_or(MISSING)?,
    };
    let store = folder::id_of(root)?.ok_or(StoreError::NoStore)?;
    let slots = Slots::of(&root.join("keys"), store)?;
    Ok(Some(KeyLook {
        ring,
        live: slots.live.len() as u64,
        destroyed: slots.destroyed.len() as u64,
        damage: slots.findings,
    }))
}

/// The slots of a store.
#[derive(Default)]
pub(super) struct Slots {
    /// Those that hold keys.
    pub(super) live: BTreeSet<u32>,
    /// Those whose keys were destroyed, and whose they were.
    pub(super) destroyed: BTreeMap<u32, SessionId>,
    pub(super) damaged: BTreeSet<u32>,
    /// How the data keys before those in use ended.
    pub(super) closed: BTreeMap<u32, ClosedEpoch>,
    /// What else is damaged.
    pub(super) findings: Vec<KeyFinding>,
}

impl Slots {
    /// Reads what tells without a key.
    pub(super) fn of(keys: &Path, store: StoreId) -> Result<Self, StoreError> {
        const LOT: usize = 512;
        let keys = FileKeyStore::look_blocking(keys, store)?;
        let mut slots = Self { findings: keys.damage_blocking()?, ..Self::default() };
        let count = keys.slots_blocking();
        let mut from = 0;
        while from < count {
            let lot = match keys.read_blocking(from, LOT) {
                Ok(lot) => lot.into_iter().map(Some).collect(),
                Err(_) => (from..count.min(from + LOT as u64)).map(|number| one(&keys, number)).collect::<Vec<_>>(),
            };
            if lot.is_empty() {
                break;
            }
            for (number, slot) in (from..).zip(&lot) {
                let Ok(number) = u32::try_from(number) else { break };
                match slot.as_ref().map(|slot| slot_state(slot)) {
                    Some(Ok(SlotState::Live(_))) => {
                        slots.live.insert(number);
                        let closed = slot.as_ref().and_then(|slot| closed_epoch(slot));
                        slots.closed.extend(closed.map(|closed| (number, closed)));
                    }
                    Some(Ok(SlotState::Destroyed(tombstone))) => {
                        slots.destroyed.insert(number, tombstone.session);
                    }
                    Some(Ok(SlotState::Unused)) => {}
                    Some(Err(_)) | None => drop(slots.damaged.insert(number)),
                }
            }
            from += lot.len() as u64;
        }
        Ok(slots)
    }
}

fn one(keys: &FileKeyStore, number: u64) -> Option<Bytes> {
    keys.read_blocking(number, 1).ok()?.into_iter().next()
}

/// What is wrong with a folder of keys that cannot be looked at.
pub(super) fn said_of_keys(error: &StoreError) -> String {
    match error {
        StoreError::NoStore => MISSING.to_string(),
        error => error.to_string(),
    }
}
