//! Another key-encryption key: every session's keys are wrapped anew, and the old key is dead.
//!
//! What a crash leaves is finished when the store is opened the next time. The ring changes first, and from then on only the new key opens the
//! store; it holds the old key wrapped under the new one until no slot needs it.
//!
//! Must not know: records. Their number does not matter here.

use sessions_ports::{KeyError, KeyProvider, SlotChange, StoreError};

use super::{
    keyring::Keyring,
    ring::{Ring, Successor},
    slot::{self, SlotKeys, SlotState},
    store::SealedStore,
};

/// So many slots are wrapped anew with one call of the store that keeps them.
const LOT: usize = 4096;
/// How often a lot is looked at again because somebody changed one of its slots meanwhile.
const TRIES: usize = 64;

/// How far a change of keys is. It is told after each step, so a step that was told is done, whatever happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyStep {
    /// The new key is in the ring.
    Begun,
    /// So many slots of so many were looked at.
    Slots {
        /// Looked at.
        done: u64,
        /// Of these.
        of: u64,
    },
    /// The old key is out of the ring.
    Finished,
}

/// What a change of keys did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotated {
    /// Slots that were wrapped anew.
    pub slots: u64,
    /// Slots that are damaged, and could not be.
    pub damaged: u64,
}

impl SealedStore {
    /// Gives the store another key-encryption key, wrapped by a provider of whatever kind, and wraps all sessions' keys under it. The records stay as
    /// they are, so their number does not matter. A change that was broken off is finished first.
    ///
    /// # Errors
    /// Those of [`KeyProvider::wrap`]: nothing changed. Those of the store of keys: what is left is done when the store is opened again, with
    /// the new key.
    pub async fn rotate(
        &self,
        provider: &dyn KeyProvider,
        mut told: impl FnMut(KeyStep) + Send,
    ) -> Result<Rotated, StoreError> {
        let keyring = &self.inner.keyring;
        // Two at a time would each take the other's old key for its own.
        let _one = keyring.rotating.lock().await;
        keyring.finish(&mut told).await?;
        let (store, now) = (keyring.ring().store(), keyring.now());
        let successor = Successor::wrapped_by(provider, store, now).await?;
        keyring.change(|ring| Some(ring.succeeded_by(successor))).await?;
        told(KeyStep::Begun);
        keyring.finish(&mut told).await
    }
}

impl Keyring {
    /// Wraps anew what is still wrapped under the retiring key, and forgets that.
    pub(super) async fn finish(&self, told: &mut (impl FnMut(KeyStep) + Send)) -> Result<Rotated, StoreError> {
        let mut rotated = Rotated::default();
        let ring = self.ring();
        if ring.retiring.is_none() {
            return Ok(rotated);
        }
        // Whoever wrapped something under the old key has stored it: from here on no slot comes with it.
        drop(self.wrapping.write().await);
        let of = self.store().slots().await?;
        let mut done = 0;
        while done < of {
            let lot = usize::try_from(of - done).unwrap_or(LOT).min(LOT);
            self.wrap_lot(&ring, done, lot, &mut rotated).await?;
            done += lot as u64;
            told(KeyStep::Slots { done, of });
        }
        self.change(|ring| Some(ring.settled())).await?;
        told(KeyStep::Finished);
        Ok(rotated)
    }

    async fn wrap_lot(&self, ring: &Ring, from: u64, lot: usize, rotated: &mut Rotated) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let (mut changes, mut damaged) = (Vec::new(), 0);
            for (number, slot) in self.slots_of(from, lot).await? {
                match wrapped_anew(ring, number, slot) {
                    Ok(Some(change)) => changes.push(change),
                    Ok(None) => {}
                    // Without the old key nobody could ever read it.
                    Err(newer @ KeyError::Newer { .. }) => return Err(newer.into()),
                    Err(_) => damaged += 1,
                }
            }
            let count = changes.len() as u64;
            match self.store().overwrite(changes).await {
                // A session of the lot was deleted meanwhile, say.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    (rotated.slots, rotated.damaged) = (rotated.slots + count, rotated.damaged + damaged);
                    return Ok(());
                }
            }
        }
        Err(KeyError::Unfinished.into())
    }

    /// Slots that are as they were written; `None` stands for one that is damaged.
    pub(super) async fn slots_of(
        &self,
        from: u64,
        lot: usize,
    ) -> Result<Vec<(u64, Option<sessions_ports::Slot>)>, StoreError> {
        match self.store().read(from, lot).await {
            Ok(slots) => return Ok((from..).zip(slots.into_iter().map(Some)).collect()),
            Err(StoreError::Key(KeyError::Damaged { .. })) => {}
            Err(error) => return Err(error),
        }
        let mut slots = Vec::with_capacity(lot);
        for number in from..from + lot as u64 {
            let slot = match self.store().read(number, 1).await {
                Ok(slot) => slot.into_iter().next(),
                Err(StoreError::Key(KeyError::Damaged { .. })) => None,
                Err(error) => return Err(error),
            };
            slots.push((number, slot));
        }
        Ok(slots)
    }
}

/// The change of a slot that is wrapped under the retiring key; `None` for any other.
fn wrapped_anew(ring: &Ring, number: u64, slot: Option<sessions_ports::Slot>) -> Result<Option<SlotChange>, KeyError> {
    let slot = slot.ok_or(KeyError::Damaged { what: "a slot is not as it was written" })?;
    let Some(old) = &ring.retiring else { return Ok(None) };
    if slot::state(&slot)? != SlotState::Live(old.id) {
        return Ok(None);
    }
    let keys = SlotKeys::unwrap(&slot, ring.store(), number, &old.cipher)?;
    let new = keys.wrap(ring.store(), number, ring.kek.id, &ring.kek.cipher)?;
    Ok(Some(SlotChange { number, expected: slot, new }))
}
