//! Where a session's keys lie when nothing says it any more: its beginning is lost, and so is what is kept beside its log. What is left of it is bound to it, so
//! only its own keys open it, and these are found by trying.
//!
//! Must not know: what records say, or what is done with keys.

use std::{collections::HashMap, sync::Arc};

use sessions_domain::SessionId;
use sessions_ports::{KeyError, KindFilter, Order, ReadRange, Record, Slot, StoreError};
use tokio::{runtime::Handle, sync::Mutex, task};

use super::{
    envelope::{self, Beside, RecordHead},
    ring::Ring,
    slot::{self, SessionKeys, SlotKeys, SlotState},
    store::{Inner, ended},
};

/// Slots that are tried at once.
pub(super) const LOT: u64 = 2048;
/// So few are tried where they are asked for.
const FEW: usize = 64;
/// The smallest of so many records are tried, so that a large one costs nothing.
const LOOKED_AT: usize = 32;
/// So many records are tried: one that somebody changed hides the keys of no other.
const SAMPLES: usize = 3;
/// So many sessions are remembered. Each takes some 40 bytes.
const MOST: usize = 64 << 10;

/// What searches found while the store was open; `None`: no slot opens the session's records. One search at a time.
#[derive(Default)]
pub(super) struct Searches {
    done: Mutex<HashMap<SessionId, Option<u32>>>,
}

/// How the keys in a slot are to a session that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// They are its own.
    Opens,
    /// They are its own, of before another data key took over: they open what lies beside its records alone.
    Older,
    /// They open nothing of it.
    Foreign,
    /// Nobody can tell: they cannot be had, or nothing of it is left.
    Unknown,
}

/// What trying a lot of slots gave.
pub(super) enum Tried {
    Found(u32),
    /// None of them. `all`: each of them could be tried.
    Nothing {
        all: bool,
    },
}

impl Inner {
    /// The slot whose keys open what is left of a session, the newest ones first; `None`: there is none, or nothing is left.
    pub(super) async fn search_slot(&self, session: SessionId) -> Result<Option<u32>, StoreError> {
        let mut done = self.searches.done.lock().await;
        if let Some(known) = done.get(&session) {
            return Ok(*known);
        }
        let samples = Arc::new(self.samples(session).await?);
        if samples.is_empty() {
            return Ok(None);
        }
        let mut end = self.keyring.store().slots().await?;
        let (mut found, mut all_tried) = (None, true);
        while end > 0 && found.is_none() {
            let from = end.saturating_sub(LOT);
            match self.try_lot(session, &samples, from, end).await? {
                Tried::Found(slot) => found = Some(slot),
                Tried::Nothing { all } => all_tried &= all,
            }
            end = from;
        }
        if found.is_some() || all_tried {
            if done.len() >= MOST {
                done.clear();
            }
            done.insert(session, found);
        }
        Ok(found)
    }

    /// How the keys in a slot are to a session that names it. Where slots were cut off, newer sessions have their numbers.
    pub(super) async fn fit(&self, session: SessionId, number: u32) -> Result<Fit, StoreError> {
        loop {
            let ring = self.keyring.ring();
            let Some(slot) = self.live_slot(number).await? else { return Ok(Fit::Unknown) };
            let samples = match self.samples(session).await {
                Ok(samples) if samples.is_empty() => return Ok(Fit::Unknown),
                Ok(samples) => samples,
                // The store says what becomes of a session that is not there.
                Err(StoreError::NotFound { .. } | StoreError::Gone { .. }) => return Ok(Fit::Unknown),
                Err(error) => return Err(error),
            };
            let fit = match self.keyring.open(session, number, &slot) {
                Ok(keys) if opens(&keys, number, session, &samples) => return Ok(Fit::Opens),
                Ok(keys) => self.fit_beside(session, &keys.ready(number)?, &samples).await?,
                // Another key took over between.
                Err(KeyError::Retired { .. }) if self.keyring.ring().version != ring.version => continue,
                // No key that is there opens it, as where it was put back to before one took over: nobody else needs it.
                Err(KeyError::Retired { .. }) => return Ok(Fit::Unknown),
                Err(_) => Fit::Foreign,
            };
            // Another data key may have taken over between: its slot has it before any record is sealed with it.
            if self.live_slot(number).await?.is_some_and(|now| now == slot) {
                return Ok(fit);
            }
        }
    }

    /// The same of keys that open none of these records: what is sealed beside them still tells whose they are.
    async fn fit_beside(&self, session: SessionId, keys: &SessionKeys, samples: &[Record]) -> Result<Fit, StoreError> {
        let words = self.row_words(session).await?;
        let is_own = words.is_some_and(|words| keys.open_beside(Beside::Words, session, &words).is_some());
        let is_own = is_own || {
            let snapshot = self.log.snapshot(session).await?;
            snapshot.is_some_and(|view| keys.open_beside(Beside::Snapshot, session, &view).is_some())
        };
        let mut epochs = samples.iter().filter_map(|record| RecordHead::read(&record.payload));
        Ok(match is_own {
            // Its records are damaged, and its keys are not.
            true if epochs.any(|(head, _)| keys.of(head.epoch).is_some() || keys.is_over(head.epoch)) => Fit::Opens,
            true => Fit::Older,
            false => Fit::Foreign,
        })
    }

    async fn live_slot(&self, number: u32) -> Result<Option<Slot>, StoreError> {
        let slots = self.keyring.slots_of(u64::from(number), 1).await?;
        let slot = slots.into_iter().find_map(|(_, slot)| slot);
        Ok(slot.filter(|slot| matches!(slot::state(slot), Ok(SlotState::Live(_)))))
    }

    /// What is wrong with a session of which a record does not open: the record, or the keys that lie there for all of it.
    pub(super) async fn blamed(&self, session: SessionId, error: StoreError) -> StoreError {
        let fit = match self.slot_of(session).await {
            Ok(Some((slot, _))) => self.fit(session, slot).await,
            _ => return error,
        };
        match fit {
            Ok(Fit::Older | Fit::Foreign) => KeyError::SessionRetired { session }.into(),
            _ => error,
        }
    }

    /// Small ones of a session's newest records that can be read.
    pub(super) async fn samples(&self, session: SessionId) -> Result<Vec<Record>, StoreError> {
        let (order, kinds) = (Order::NewestFirst, KindFilter::All);
        let mut range = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: LOOKED_AT, max_bytes: 1 << 16 };
        loop {
            let next = match self.log.read(session, range).await {
                Ok(page) => {
                    let is_sealed =
                        |record: &Record| !envelope::is_stand_in(record) && RecordHead::read(&record.payload).is_some();
                    let mut sealed: Vec<Record> = page.records.into_iter().filter(is_sealed).collect();
                    if !sealed.is_empty() {
                        sealed.sort_by_key(|record| record.payload.len());
                        sealed.truncate(SAMPLES);
                        return Ok(sealed);
                    }
                    range.max_records = LOOKED_AT;
                    page.next
                }
                // Those before the damaged one are looked at one by one.
                Err(StoreError::Corrupt { .. }) if range.max_records > 1 => {
                    range.max_records = 1;
                    Some(range.to)
                }
                Err(StoreError::Corrupt { seq, .. }) => seq.min(range.to).checked_sub(1),
                Err(error) => return Err(error),
            };
            match next {
                Some(next) => range.to = next,
                None => return Ok(Vec::new()),
            }
        }
    }

    async fn try_lot(
        &self,
        session: SessionId,
        samples: &Arc<Vec<Record>>,
        from: u64,
        end: u64,
    ) -> Result<Tried, StoreError> {
        let slots = self.keyring.slots_of(from, usize::try_from(end - from).unwrap_or(0)).await?;
        let (ring, samples) = (self.keyring.ring(), Arc::clone(samples));
        if slots.len() <= FEW || Handle::try_current().is_err() {
            return Ok(try_all(&ring, &slots, session, &samples));
        }
        let work = task::spawn_blocking(move || try_all(&ring, &slots, session, &samples));
        work.await.map_err(|_| ended("searching a session's keys"))
    }
}

/// Tries slots, the last ones first; `None` stands for a damaged one.
pub(super) fn try_all(ring: &Ring, slots: &[(u64, Option<Slot>)], session: SessionId, samples: &[Record]) -> Tried {
    let mut all = true;
    for (number, slot) in slots.iter().rev() {
        // A damaged one opens nothing, and no later try finds it whole.
        let Some(slot) = slot else { continue };
        let Ok(SlotState::Live(id)) = slot::state(slot) else { continue };
        let Some(kek) = ring.named(id) else {
            // It was wrapped anew meanwhile.
            all = false;
            continue;
        };
        let keys = SlotKeys::unwrap(slot, ring.store(), *number, &kek.cipher);
        if let (Ok(keys), Ok(number)) = (keys, u32::try_from(*number))
            && opens(&keys, number, session, samples)
        {
            return Tried::Found(number);
        }
    }
    Tried::Nothing { all }
}

/// Whether keys open one of these records.
fn opens(keys: &SlotKeys, number: u32, session: SessionId, samples: &[Record]) -> bool {
    let Ok(ready) = keys.ready(number) else { return false };
    samples.iter().any(|record| ready.open(session, record.clone()).is_ok())
}
