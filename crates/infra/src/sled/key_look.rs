//! What a folder says of its store's keys to whoever has none, and without opening the store.
//!
//! Must not know: how keys are unwrapped.

use std::path::Path;

use sessions_ports::StoreError;

use super::folder::{self, Sealing};
use crate::{
    keys::FileKeyStore,
    sealing::{RingFacts, ring_facts},
};

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
