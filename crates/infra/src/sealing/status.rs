//! How the keys of a store stand: how many there are, how old, and what is unfinished.
//!
//! Must not know: what is done about it.

use sessions_domain::{Moment, SessionId};
use sessions_ports::{KeyError, StoreError};

use super::{
    envelope,
    ring::RingFacts,
    slot::{self, SlotState},
    store::SealedStore,
};

/// So many slots are read at a time.
const LOT: usize = 4096;

/// How a store's keys stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key-encryption key.
    pub ring: RingFacts,
    /// Sessions' keys that are there, those among them that were made ahead of need.
    pub live: u64,
    /// Sessions' keys that were destroyed.
    pub destroyed: u64,
    /// Slots that are damaged.
    pub damaged: u64,
    /// Sessions whose slots are beyond the last one that is there: the file of slots lost its end.
    pub missing: u64,
    /// When the oldest data key in use was made.
    pub oldest: Option<Moment>,
    /// When the newest one was.
    pub newest: Option<Moment>,
    /// The most records that one data key may seal.
    pub most_records: u64,
    /// Sessions whose data key is being changed.
    pub unfinished: Vec<SessionId>,
    /// Since when all sessions are given another data key, when that was broken off or is under way.
    pub pass: Option<Moment>,
}

impl SealedStore {
    /// How the keys stand. Unwraps the keys of every session, some microseconds for each.
    ///
    /// # Errors
    /// Those of the store of keys.
    pub async fn key_status(&self) -> Result<KeyStatus, StoreError> {
        let keyring = &self.inner.keyring;
        let mut status = KeyStatus {
            ring: keyring.facts(),
            live: 0,
            destroyed: 0,
            damaged: 0,
            missing: 0,
            oldest: None,
            newest: None,
            most_records: slot::MOST_RECORDS,
            unfinished: self.unfinished(),
            pass: keyring.ring().pass,
        };
        // Before slots are counted: a session has one from its first moment on.
        let named = self.slots_of_rows().await?;
        let of = keyring.store().slots().await?;
        status.missing = named.into_iter().filter(|slot| u64::from(*slot) >= of).count() as u64;
        let mut from = 0;
        while from < of {
            let lot = usize::try_from(of - from).unwrap_or(LOT).min(LOT);
            for (number, slot) in keyring.slots_of(from, lot).await? {
                let Some(slot) = slot else {
                    status.damaged += 1;
                    continue;
                };
                match slot::state(&slot) {
                    Ok(SlotState::Destroyed(_)) => status.destroyed += 1,
                    Ok(SlotState::Unused) => {}
                    Ok(SlotState::Live(_)) => match keyring.made(number, &slot).await {
                        Ok(made) => {
                            status.live += 1;
                            status.oldest = Some(status.oldest.map_or(made, |oldest| oldest.min(made)));
                            status.newest = status.newest.max(Some(made));
                        }
                        // Its session went meanwhile.
                        Err(StoreError::Key(KeyError::SessionDestroyed { .. })) => status.destroyed += 1,
                        Err(StoreError::Key(_)) => status.damaged += 1,
                        Err(error) => return Err(error),
                    },
                    Err(KeyError::Newer { found }) => return Err(KeyError::Newer { found }.into()),
                    Err(_) => status.damaged += 1,
                }
            }
            from += lot as u64;
        }
        Ok(status)
    }

    /// Where the keys of all listed sessions lie, as their rows say.
    async fn slots_of_rows(&self) -> Result<Vec<u32>, StoreError> {
        let (mut since, mut slots) = (0, Vec::new());
        loop {
            let page = match self.inner.log.rows(since, LOT).await {
                // Its keys can still be looked at.
                Err(StoreError::Closed) => return Ok(slots),
                page => page?,
            };
            slots.extend(page.rows.iter().filter_map(|row| envelope::read_beside(&row.words)).map(|(slot, _)| slot));
            if !page.more {
                return Ok(slots);
            }
            since = page.next;
        }
    }
}
