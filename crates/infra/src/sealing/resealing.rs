//! Another data key for a session: what follows is sealed with it at once, and what was there is sealed anew beside whoever reads and writes.
//!
//! Steps, each of which is durable before the next: the ring notes the session, where the old epoch ends and the head of its ciphertext chain; its slot
//! holds both data keys; all records up to that end are sealed anew; its slot holds the new key alone, and says how the old epoch ended; the ring
//! forgets it. Whatever breaks it off, the next one goes on where it was.
//!
//! Must not know: what records say, or how a store replaces their bytes.

use std::sync::Arc;

use sessions_domain::SessionId;
use sessions_ports::{
    Durability, KeyError, KindFilter, Order, ReadRange, Record, Rewrite, Rewritten, SlotChange, StoreError,
};

use super::{
    envelope::{self, Beside, Epoch, RecordHead},
    ring::Resealing,
    sealer::cipher_link,
    sessions::Running,
    slot::{ClosedEpoch, DataKey, SessionKeys, SlotKeys},
    store::{Inner, SealedStore},
};
use crate::sealing::cipher;

/// So many records and bytes are read, and sealed anew, at a time.
const LOT: (usize, usize) = (512, 1 << 20);
/// How often a slot is looked at again because somebody changed it meanwhile.
const TRIES: usize = 64;

/// How far a change of a session's data key is. It is told after each step, so a step that was told is done, whatever happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataStep {
    /// What is appended from here on is sealed with the new key.
    Begun,
    /// Records up to this one, of so many, are sealed anew.
    Records {
        /// Up to this one.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// The old key is no more.
    Finished,
}

/// What a change of a data key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// The session.
    pub session: SessionId,
    /// Records that were sealed anew.
    pub records: u64,
    /// The epoch in use since.
    pub epoch: u16,
    /// How the one before it ended.
    pub closed: Option<ClosedEpoch>,
    /// It went on with one that had been broken off.
    pub resumed: bool,
}

/// A walk over the ciphertext of a log from its beginning.
#[derive(Clone, Copy)]
struct Walked {
    link: [u8; 32],
    next: u64,
}

impl Walked {
    const BEGINNING: Self = Self { link: [0; 32], next: 0 };
}

impl SealedStore {
    /// Gives a session another data key, and seals its records anew. Appends and reads go on meanwhile; receipts, places and versions stay what they
    /// were. Afterwards the old key is no more, and whoever kept a copy of the old bytes and gets at the keys of later opens nothing. Of a session that was
    /// removed this is done to what others still inherit.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Gone`] when it was removed and nobody inherits from it; [`StoreError::Corrupt`] when a record is damaged, so repair first; the stores'. What was
    /// done until then stays, and the next call goes on.
    pub async fn rotate_data(
        &self,
        session: SessionId,
        mut told: impl FnMut(DataStep) + Send,
    ) -> Result<Resealed, StoreError> {
        let inner = &self.inner;
        let one = inner.resealing.lock().await;
        let known = inner.keyring.ring().resealing.iter().copied().find(|noted| noted.session == session);
        let resumed = known.is_some();
        let (noted, keys) = match known {
            Some(noted) => (noted, inner.slot_keys(noted).await?),
            None => {
                let (slot, _) = inner.slot_of(session).await?.ok_or(StoreError::NotFound { session })?;
                let noted = Resealing { session, slot, version: 0, old: [0; 32] };
                let keys = inner.slot_keys(noted).await?;
                (noted, keys)
            }
        };
        if resumed && keys.data.len() == 1 && is_closed_at(&keys, noted) {
            inner.keyring.forget_resealing(session).await?;
            told(DataStep::Finished);
            let closed = keys.closed;
            return Ok(Resealed { session, records: 0, epoch: epoch_of(&keys), closed, resumed });
        }
        let noted = if keys.data.len() == 1 {
            // Else another key would take the place of one that is not in the slot now and may come back, with its number.
            let keys = keys.ready(noted.slot)?;
            for record in inner.samples(session).await? {
                keys.open(session, record)?;
            }
            self.begin_resealing(noted).await?
        } else {
            noted
        };
        told(DataStep::Begun);
        let records = self.reseal(noted, &mut told).await?;
        let (epoch, closed) = self.finish_resealing(noted).await?;
        inner.keyring.forget_resealing(session).await?;
        told(DataStep::Finished);
        drop(one);
        Ok(Resealed { session, records, epoch, closed: Some(closed), resumed })
    }

    /// Finishes the changes of data keys that were broken off, each as far as it goes: what keeps one from its end is given with it, and keeps no other.
    ///
    /// # Errors
    /// What keeps all of them, as of [`Self::rotate_data`]. A session of which nothing is left is forgotten.
    pub async fn resume(
        &self,
        mut told: impl FnMut(SessionId, DataStep) + Send,
    ) -> Result<Vec<(SessionId, Result<Resealed, StoreError>)>, StoreError> {
        let mut all = Vec::new();
        for noted in self.inner.keyring.ring().resealing.clone() {
            match self.rotate_data(noted.session, |step| told(noted.session, step)).await {
                Ok(resealed) => all.push((noted.session, Ok(resealed))),
                Err(error) if is_no_more(&error) => self.inner.keyring.forget_resealing(noted.session).await?,
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Key(_))) => all.push((noted.session, Err(error))),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Sessions whose data key is being changed, and of which that was broken off.
    pub fn unfinished(&self) -> Vec<SessionId> {
        self.inner.keyring.ring().resealing.iter().map(|noted| noted.session).collect()
    }

    /// Sessions that were removed, and have a data key as long as others inherit from them.
    ///
    /// # Errors
    /// The store's.
    pub async fn removed_with_heirs(&self) -> Result<Vec<SessionId>, StoreError> {
        let mut sessions = Vec::new();
        for condemned in &self.inner.keyring.ring().condemned {
            let session = condemned.session;
            let is_removed = matches!(self.inner.log.head(session).await, Err(StoreError::Gone { .. }));
            if is_removed && !self.inner.log.heirs(session).await?.is_empty() {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    /// Puts the new key beside the old one, while nobody appends.
    async fn begin_resealing(&self, noted: Resealing) -> Result<Resealing, StoreError> {
        let session = noted.session;
        // Most of the chain is walked before the session is held up.
        let walked = self.inner.walk(session, Walked::BEGINNING, u64::MAX, |_| true).await?;
        self.alone(session, false, move |inner, known| -> Running<_> {
            Box::pin(async move {
                match inner.begin_epoch(known.as_ref(), noted, walked).await {
                    Ok((keys, noted)) => (Some(keys), Ok(noted)),
                    // The slot may hold the new key already: whoever seals next looks there.
                    Err(error) => (None, Err(error)),
                }
            })
        })
        .await
    }

    /// Seals all records of the old epoch anew.
    async fn reseal(&self, noted: Resealing, told: &mut (impl FnMut(DataStep) + Send)) -> Result<u64, StoreError> {
        let Resealing { session, version, .. } = noted;
        let keys = self.inner.keyring.load(session, noted.slot).await?;
        let (mut from, mut count) = (0, 0);
        loop {
            let page = self.inner.log.read(session, ReadRange { from, ..all() }).await?;
            let first = page.records.first().map(|record| record.seq).filter(|_| from == 0);
            let last = page.records.last().map_or(version, |record| record.seq);
            let mut anew = Vec::new();
            for record in page.records {
                let of = RecordHead::read(&record.payload).map(|(head, _)| head);
                let is_old = of.is_some_and(|head| Some(head.epoch) != keys.newest());
                if !envelope::is_stand_in(&record) && is_old {
                    let begins = Some(record.seq) == first || of.is_some_and(|head| head.slot.is_some());
                    anew.push(keys.seal(session, keys.open(session, record)?, begins)?);
                }
            }
            count += anew.len() as u64;
            if !anew.is_empty() {
                let durability = self.inner.log.strongest();
                self.inner.log.rewrite(rewrite(session, anew, durability)).await?;
            }
            told(DataStep::Records { done: last.min(version), of: version });
            match page.next {
                Some(next) => from = next,
                None => return Ok(count),
            }
        }
    }

    /// Takes the old key away.
    async fn finish_resealing(&self, noted: Resealing) -> Result<(u16, ClosedEpoch), StoreError> {
        let Resealing { session, version, old, .. } = noted;
        let newest = self.inner.keyring.load(session, noted.slot).await?.newest();
        let walked = self.inner.walk(session, Walked::BEGINNING, version, is_of(newest)).await?;
        let epoch = newest.map_or(0, |newest| newest.saturating_sub(1));
        // It may have been removed meanwhile, and what nobody inherits is gone.
        let version = version.min(walked.next.saturating_sub(1));
        let closed = ClosedEpoch { epoch, version, old, new: walked.link };
        self.alone(session, false, move |inner, known| -> Running<_> {
            Box::pin(async move {
                match inner.end_epoch(known.as_ref(), noted, closed).await {
                    Ok((keys, epoch)) => (Some(keys), Ok((epoch, closed))),
                    Err(error) => (None, Err(error)),
                }
            })
        })
        .await
    }
}

fn all() -> ReadRange {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: LOT.0, max_bytes: LOT.1 }
}

fn rewrite(session: SessionId, records: Vec<Record>, durability: Durability) -> Rewrite {
    Rewrite { session, expected: None, records, words: None, unlink: Vec::new(), durability }
}

/// Whether a record is of this epoch, or of none.
fn is_of(epoch: Option<Epoch>) -> impl Fn(&Record) -> bool + Send {
    move |record| {
        let of = RecordHead::read(&record.payload).map(|(head, _)| head.epoch);
        envelope::is_stand_in(record) || of == epoch
    }
}

fn epoch_of(keys: &SlotKeys) -> u16 {
    keys.data.last().map_or(0, |key| key.epoch)
}

/// Whether a slot says that the change that the ring notes is done. It may say so of fewer records, when the session was removed meanwhile.
fn is_closed_at(keys: &SlotKeys, noted: Resealing) -> bool {
    keys.closed.is_some_and(|closed| closed.old == noted.old)
}

/// Whether nothing is left of a session that a data key would be for.
pub(super) fn is_no_more(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(error, E::Gone { .. } | E::NotFound { .. } | E::Key(KeyError::SessionDestroyed { .. }))
}

impl Inner {
    /// The keys that a noted slot holds.
    pub(super) async fn slot_keys(&self, noted: Resealing) -> Result<SlotKeys, StoreError> {
        Ok(self.keyring.look(noted.session, noted.slot).await?.1)
    }

    /// Goes on along the ciphertext up to a record. Each must be as `is_right` says.
    async fn walk(
        &self,
        session: SessionId,
        mut walked: Walked,
        to: u64,
        is_right: impl Fn(&Record) -> bool + Send,
    ) -> Result<Walked, StoreError> {
        loop {
            let page = self.log.read(session, ReadRange { from: walked.next, to, ..all() }).await?;
            for record in &page.records {
                if !is_right(record) {
                    return Err(KeyError::Unfinished.into());
                }
                walked.link = cipher_link(&walked.link, session, record);
                walked.next = record.seq.saturating_add(1);
            }
            match page.next {
                Some(next) => walked.next = next,
                None => return Ok(walked),
            }
        }
    }

    /// Notes where the old epoch ends, and puts a new data key beside the one in use. What was sealed with that one alone has its place before.
    async fn begin_epoch(
        &self,
        known: Option<&Arc<SessionKeys>>,
        noted: Resealing,
        walked: Walked,
    ) -> Result<(Arc<SessionKeys>, Resealing), StoreError> {
        let session = noted.session;
        let version = self.settled_without(known, session).await?;
        // One whose caller went away may have come so far since the slot was looked at: it is gone on with.
        let begun = self.keyring.ring().resealing.iter().copied().find(|begun| begun.session == session);
        if let Some(begun) = begun
            && self.slot_keys(begun).await?.data.len() > 1
        {
            return Ok((self.change_slot(begun, |_| Ok(())).await?, begun));
        }
        let walked = self.walk(session, walked, version, |_| true).await?;
        let noted = Resealing { version, old: walked.link, ..noted };
        self.keyring.note_resealing(noted).await?;
        let made = self.keyring.made_now();
        let keys = self
            .change_slot(noted, |keys| {
                let epoch = epoch_of(keys).checked_add(1);
                let epoch = epoch.ok_or(KeyError::Damaged { what: "the session has had all data keys that can be" })?;
                keys.data.push(DataKey { epoch, made, first: 0, secret: cipher::new_key()? });
                Ok(())
            })
            .await?;
        Ok((keys, noted))
    }

    /// Leaves the newest data key alone, and says how the epoch before it ended.
    async fn end_epoch(
        &self,
        known: Option<&Arc<SessionKeys>>,
        noted: Resealing,
        closed: ClosedEpoch,
    ) -> Result<(Arc<SessionKeys>, u16), StoreError> {
        let (mut epoch, session) = (0, noted.session);
        let newest = self.keyring.load(session, noted.slot).await?.newest();
        // Nothing may need the old key any more, also behind what was sealed anew.
        let version = self.settled_without(known, session).await?;
        let behind = Walked { next: closed.version.saturating_add(1), ..Walked::BEGINNING };
        self.walk(session, behind, version, is_of(newest)).await?;
        let keys = self
            .change_slot(noted, |keys| {
                let newest = keys.data.pop().ok_or(KeyError::Damaged { what: "a session has no data key" })?;
                epoch = newest.epoch;
                (keys.data, keys.closed) = (vec![newest], Some(closed));
                Ok(())
            })
            .await?;
        Ok((keys, epoch))
    }

    /// The last record of a session when nobody seals with keys that were known, and all that was sealed is through.
    async fn settled_without(&self, known: Option<&Arc<SessionKeys>>, session: SessionId) -> Result<u64, StoreError> {
        if let Some(keys) = known {
            keys.unused().await;
        }
        match self.log.settled(session).await {
            Ok(head) => Ok(head.ok_or(StoreError::NotFound { session })?.version),
            // What others inherit of it is there.
            Err(gone @ StoreError::Gone { .. }) => self.last_record(session).await?.ok_or(gone),
            Err(error) => Err(error),
        }
    }

    /// The number of the last record that can be read of a session.
    async fn last_record(&self, session: SessionId) -> Result<Option<u64>, StoreError> {
        let range = ReadRange { order: Order::NewestFirst, max_records: 1, max_bytes: 1, ..all() };
        let page = self.log.read(session, range).await?;
        Ok(page.records.first().map(|record| record.seq))
    }

    async fn change_slot(
        &self,
        noted: Resealing,
        mut change: impl FnMut(&mut SlotKeys) -> Result<(), KeyError> + Send,
    ) -> Result<Arc<SessionKeys>, StoreError> {
        let number = u64::from(noted.slot);
        for _ in 0..TRIES {
            // Another key-encryption key must not take over between.
            let _wrapping = self.keyring.wrapping.read().await;
            let (expected, mut keys) = self.keyring.look(noted.session, noted.slot).await?;
            change(&mut keys)?;
            let first = self.first_record(noted.session).await?.map_or(0, |record| record.seq);
            let new = self.keyring.wrap(noted.slot, &keys)?;
            match self.keyring.store().overwrite(vec![SlotChange { number, expected, new }]).await {
                Ok(()) => {
                    let ready = keys.ready(noted.slot)?;
                    ready.begin_at(first);
                    return Ok(Arc::new(ready));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KeyError::Unfinished.into())
    }

    /// Seals a rewrite of the records of a session.
    pub(super) async fn sealed_rewrite(&self, keys: &SessionKeys, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        let session = rewrite.session;
        let own = self.first_record(session).await?.map_or(u64::MAX, |record| record.seq);
        let first = rewrite.records.first().map_or(own, |record| record.seq.min(own));
        let records = rewrite.records.into_iter().map(|record| {
            // What stands for a lost record of another log was believed when it was read there; here it is a record like others.
            if envelope::is_stand_in(&record) && record.seq >= own {
                Ok(record)
            } else {
                let begins = record.seq == first;
                keys.seal(session, record, begins)
            }
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let words = rewrite.words.map(|words| keys.seal_beside(Beside::Words, session, &words)).transpose()?;
        let lets_go = !rewrite.unlink.is_empty();
        let rewritten = self.log.rewrite(Rewrite { records, words, ..rewrite }).await?;
        if lets_go {
            // It may have been the last one that needed the keys of who was removed before.
            self.sweep(None).await?;
        }
        Ok(rewritten)
    }
}
