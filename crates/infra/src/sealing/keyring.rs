//! The unlocked keys of a store: the ring, the slots of its sessions, and slots that are made ahead of need.
//!
//! Must not know: records, or who asks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use ring::hmac;
use sessions_domain::{Moment, SessionId};
use sessions_ports::{Clock, Digest, Erased, KeyError, KeyProvider, KeyStore, Slot, SlotChange, StoreError, StoreId};

use super::{
    cipher,
    ring::{Condemned, Resealing, Ring, RingFacts},
    slot::{self, SessionKeys, SlotKeys, SlotState, Tombstone},
    store::beside,
    witness::KeyedWitness,
};

/// Slots are made ahead of need in growing lots, up to so many.
const MOST_AHEAD: usize = 64;

/// Whoever's keys lie in a slot.
const NOBODY: SessionId = SessionId::from_bytes([0; 16]);

/// Keys of a session that is not there yet.
pub(crate) type Fresh = Arc<SessionKeys>;

/// The keys of a store, unlocked.
pub(crate) struct Keyring {
    keys: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    ring: Arc<RwLock<Arc<Ring>>>,
    /// One change of the ring at a time.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// One key-encryption key takes over at a time.
    pub(super) rotating: tokio::sync::Mutex<()>,
    /// Held for reading from looking at the ring until what was wrapped under it is stored; another key is there before it is held for writing.
    pub(super) wrapping: tokio::sync::RwLock<()>,
    ahead: Mutex<Ahead>,
    making: tokio::sync::Mutex<()>,
    names: hmac::Key,
    /// Where keys lay that were destroyed since the store was opened: who destroys them asks for the proof at once.
    destroyed: Mutex<HashMap<SessionId, u32>>,
}

#[derive(Default)]
struct Ahead {
    ready: VecDeque<Fresh>,
    lot: usize,
    is_making: bool,
}

impl Keyring {
    /// Unlocks the keys that are stored.
    pub(crate) async fn unlock(
        keys: Arc<dyn KeyStore>,
        store: StoreId,
        provider: &dyn KeyProvider,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let stored = keys.ring().await?.ok_or(KeyError::NotSealed)?;
        let ring = Ring::unlock(&stored.bytes, stored.version, store, provider).await?;
        Self::with(keys, ring, clock)
    }

    /// Makes the first keys of a store.
    pub(crate) async fn begin(
        keys: Arc<dyn KeyStore>,
        store: StoreId,
        provider: &dyn KeyProvider,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let mut ring = Ring::begin(store, provider, clock.now()).await?;
        keys.put_ring(0, ring.to_bytes()?).await?;
        ring.version = 1;
        Self::with(keys, ring, clock)
    }

    fn with(keys: Arc<dyn KeyStore>, ring: Ring, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let names = cipher::mac_key(&ring.store_key("sessions names 1")?);
        Ok(Self {
            keys,
            clock,
            ring: Arc::new(RwLock::new(Arc::new(ring))),
            changing: Arc::default(),
            rotating: tokio::sync::Mutex::default(),
            destroyed: Mutex::default(),
            wrapping: tokio::sync::RwLock::default(),
            ahead: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            names,
        })
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn facts(&self) -> RingFacts {
        self.ring().facts()
    }

    pub(crate) fn store(&self) -> &Arc<dyn KeyStore> {
        &self.keys
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// When a data key is made that is made now: later than all that were there when a change of all of them began, whatever the clock says.
    pub(crate) fn made_now(&self) -> Moment {
        let since = self.ring().pass.map(|since| Moment::from_millis(since.as_millis().saturating_add(1)));
        since.map_or(self.now(), |since| since.max(self.now()))
    }

    /// What attests the heads of the store's sessions.
    pub(crate) fn witness(&self) -> Result<KeyedWitness, KeyError> {
        let key = self.ring().store_key("sessions heads 1")?;
        KeyedWitness::new(&key).ok_or(KeyError::Damaged { what: "a key cannot be derived" })
    }

    /// What the store knows a host's key by.
    pub(crate) fn name(&self, key: &Digest) -> Digest {
        cipher::mac(&self.names, &[key])
    }

    /// Changes the ring, one change after the other. Without a change nothing is written. Once begun it goes on, whoever waits, so what is stored and
    /// what is used here are the same.
    pub(crate) async fn change(&self, change: impl FnOnce(&Ring) -> Option<Ring>) -> Result<(), StoreError> {
        let one = Arc::clone(&self.changing).lock_owned().await;
        let now = self.ring();
        let Some(mut next) = change(&now) else { return Ok(()) };
        let (keys, ring) = (Arc::clone(&self.keys), Arc::clone(&self.ring));
        beside(async move {
            keys.put_ring(now.version, next.to_bytes()?).await?;
            next.version = now.version + 1;
            *ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            drop(one);
            Ok(())
        })
        .await
    }

    /// The keys in a slot.
    pub(crate) async fn load(&self, session: SessionId, number: u32) -> Result<Arc<SessionKeys>, StoreError> {
        let (_, keys) = self.look(session, number).await?;
        Ok(Arc::new(keys.ready(number)?))
    }

    /// A slot as it is stored now, and the keys that it holds, in the clear.
    pub(crate) async fn look(&self, session: SessionId, number: u32) -> Result<(Slot, SlotKeys), StoreError> {
        loop {
            let version = self.ring().version;
            let slots = self.keys.read(u64::from(number), 1).await?;
            let slot = slots.into_iter().next();
            let slot = slot.ok_or(KeyError::Damaged { what: "a session names a slot that is not there" })?;
            match self.open(session, number, &slot) {
                Err(KeyError::Retired { key }) => {
                    let is_of_now = self.is_of_now().await;
                    // Else another key-encryption key took over between, and it is wrapped under that one by now.
                    if self.ring().version == version {
                        let retired = KeyError::Retired { key };
                        return Err(if is_of_now { KeyError::SessionRetired { session } } else { retired }.into());
                    }
                }
                opened => return Ok((slot, opened?)),
            }
        }
    }

    /// Whether the ring in use here is the one that is stored. Else another handle changed it, and knows keys that are not known here.
    pub(super) async fn is_of_now(&self) -> bool {
        // A change of our own is stored before it is in use.
        let _one = self.changing.lock().await;
        let (stored, now) = (self.keys.ring().await, self.ring().version);
        stored.is_ok_and(|stored| stored.is_some_and(|stored| stored.version == now))
    }

    /// The keys that a slot holds, in the clear.
    pub(crate) fn open(&self, session: SessionId, number: u32, slot: &Slot) -> Result<SlotKeys, KeyError> {
        match slot::state(slot)? {
            // Another's tombstone says nothing of this session's keys.
            SlotState::Destroyed(tombstone) if session != NOBODY && tombstone.session != session => {
                Err(KeyError::SessionRetired { session })
            }
            SlotState::Destroyed(_) => Err(KeyError::SessionDestroyed { session }),
            SlotState::Unused => Err(KeyError::Damaged { what: "a session names a slot without keys" }),
            SlotState::Live(id) => {
                let ring = self.ring();
                let kek = ring.named(id).ok_or_else(|| KeyError::Retired { key: id.to_string() })?;
                SlotKeys::unwrap(slot, ring.store(), u64::from(number), &kek.cipher)
            }
        }
    }

    /// When the data key in use in a slot was made.
    pub(crate) async fn made(&self, number: u64, slot: &Slot) -> Result<Moment, StoreError> {
        let number = u32::try_from(number)
            .map_err(|_| KeyError::Damaged { what: "there are more slots than can be numbered" })?;
        let keys = match self.open(NOBODY, number, slot) {
            // Another key-encryption key may have taken over since it was read.
            Err(KeyError::Retired { .. }) => self.look(NOBODY, number).await?.1,
            opened => opened?,
        };
        let made = keys.data.last().map(|key| key.made);
        Ok(made.ok_or(KeyError::Damaged { what: "a session has no data key" })?)
    }

    /// Wraps keys for a slot under the key in use.
    pub(crate) fn wrap(&self, number: u32, keys: &SlotKeys) -> Result<Slot, KeyError> {
        let ring = self.ring();
        keys.wrap(ring.store(), u64::from(number), ring.kek.id, &ring.kek.cipher)
    }

    /// Keys for a session that begins, when some were made ahead of need. `true`: few are left, so that more should be made beside.
    pub(crate) fn take(&self) -> (Option<Fresh>, bool) {
        let mut ahead = self.ahead();
        let fresh = ahead.ready.pop_front();
        let is_low = ahead.ready.len() * 2 <= ahead.lot && !ahead.is_making;
        (fresh, is_low)
    }

    /// Keys of a session that did not begin: nothing was sealed with them that anybody kept.
    pub(crate) fn give_back(&self, fresh: Fresh) {
        self.ahead().ready.push_front(fresh);
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys for a session that begins, made now when there are none.
    pub(crate) async fn take_or_make(&self) -> Result<Fresh, StoreError> {
        loop {
            if let (Some(fresh), _) = self.take() {
                return Ok(fresh);
            }
            self.make().await?;
        }
    }

    /// Makes a lot of slots ahead of need. The first lot is one slot: most programs that end soon begin one session.
    pub(crate) async fn make(&self) -> Result<(), StoreError> {
        let before = self.ahead().lot;
        let _one = self.making.lock().await;
        let lot = {
            let mut ahead = self.ahead();
            if ahead.lot != before && !ahead.ready.is_empty() {
                return Ok(());
            }
            ahead.is_making = true;
            if ahead.lot == 0 { 1 } else { (ahead.lot * 8).min(MOST_AHEAD) }
        };
        let made = self.make_lot(lot).await;
        let mut ahead = self.ahead();
        ahead.is_making = false;
        ahead.ready.extend(made?);
        ahead.lot = lot;
        Ok(())
    }

    async fn make_lot(&self, lot: usize) -> Result<Vec<Fresh>, StoreError> {
        let _wrapping = self.wrapping.read().await;
        let keys = (0..lot).map(|_| SlotKeys::new(self.made_now())).collect::<Result<Vec<_>, _>>()?;
        let first = self.keys.slots().await?;
        let number = |at: usize| {
            let number = u32::try_from(first).ok().and_then(|first| first.checked_add(u32::try_from(at).ok()?));
            number.ok_or(KeyError::Damaged { what: "there are more slots than can be numbered" })
        };
        let wrapped = keys.iter().enumerate().map(|(at, keys)| self.wrap(number(at)?, keys));
        let wrapped = wrapped.collect::<Result<Vec<_>, _>>()?;
        if self.keys.add(wrapped).await? != first {
            return Err(KeyError::Damaged { what: "somebody else adds slots to this store" }.into());
        }
        Ok(keys
            .iter()
            .enumerate()
            .map(|(at, keys)| Ok(Arc::new(keys.ready(number(at)?)?)))
            .collect::<Result<_, KeyError>>()?)
    }

    /// Takes slots away again that nobody used.
    pub(crate) async fn put_away(&self) -> Result<(), StoreError> {
        let _one = self.making.lock().await;
        let mut unused: Vec<u64> = self.ahead().ready.drain(..).map(|fresh| u64::from(fresh.slot)).collect();
        unused.sort_unstable();
        let mut count = self.keys.slots().await?;
        let before = count;
        while unused.pop_if(|last| *last + 1 == count).is_some() {
            count -= 1;
        }
        if count < before { self.keys.truncate(count).await } else { Ok(()) }
    }

    /// Notes that a session's keys are to go.
    pub(crate) async fn condemn(&self, condemned: Condemned) -> Result<(), StoreError> {
        self.change(|ring| {
            let mut next = ring.clone();
            next.condemned.push(condemned);
            (!ring.condemned.contains(&condemned)).then_some(next)
        })
        .await
    }

    /// Forgets that a session's keys are to go: they went, or the session stays.
    pub(crate) async fn absolve(&self, condemned: Condemned) -> Result<(), StoreError> {
        self.change(|ring| {
            let mut next = ring.clone();
            next.condemned.retain(|other| *other != condemned);
            (next.condemned.len() < ring.condemned.len()).then_some(next)
        })
        .await
    }

    /// Notes that a session's data key is being changed.
    pub(crate) async fn note_resealing(&self, noted: Resealing) -> Result<(), StoreError> {
        self.change(|ring| {
            let mut next = ring.clone();
            next.resealing.retain(|other| other.session != noted.session);
            next.resealing.push(noted);
            (!ring.resealing.contains(&noted)).then_some(next)
        })
        .await
    }

    /// Forgets that a session's data key is being changed.
    pub(crate) async fn forget_resealing(&self, session: SessionId) -> Result<(), StoreError> {
        self.change(|ring| {
            let mut next = ring.clone();
            next.resealing.retain(|other| other.session != session);
            (next.resealing.len() < ring.resealing.len()).then_some(next)
        })
        .await
    }

    /// How a session's keys were destroyed, as their slot says.
    pub(crate) async fn erased(&self, session: SessionId) -> Result<Option<Erased>, StoreError> {
        const LOT: usize = 4096;
        let known = self.destroyed().get(&session).copied();
        if let Some(slot) = known {
            return self.erased_among(session, u64::from(slot), 1).await;
        }
        // Of those that were destroyed before the store was opened only the slots tell; the newest sessions are the last ones.
        let mut end = self.keys.slots().await?;
        while end > 0 {
            let from = end.saturating_sub(LOT as u64);
            let erased = self.erased_among(session, from, usize::try_from(end - from).unwrap_or(LOT)).await?;
            if erased.is_some() {
                return Ok(erased);
            }
            end = from;
        }
        Ok(None)
    }

    async fn erased_among(&self, session: SessionId, from: u64, lot: usize) -> Result<Option<Erased>, StoreError> {
        let of = |(number, slot): (u64, Option<Slot>)| match slot.as_deref().map(slot::state) {
            Some(Ok(SlotState::Destroyed(tombstone))) if tombstone.session == session => {
                Some(Erased { how: self.keys.erasure(), slot: number, at: tombstone.at })
            }
            _ => None,
        };
        Ok(self.slots_of(from, lot).await?.into_iter().find_map(of))
    }

    fn destroyed(&self) -> MutexGuard<'_, HashMap<SessionId, u32>> {
        self.destroyed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Destroys the keys in a slot, and reads it back. Doing it twice is fine.
    pub(crate) async fn destroy(&self, Condemned { session, slot }: Condemned) -> Result<(), StoreError> {
        let number = u64::from(slot);
        loop {
            let expected = match self.keys.read(number, 1).await {
                Ok(now) => match now.into_iter().next() {
                    Some(now) => now,
                    // It was cut off with whatever was in it.
                    None => return Ok(()),
                },
                // What is left of it goes too.
                Err(StoreError::Key(KeyError::Damaged { .. })) => Slot::new(),
                Err(error) => return Err(error),
            };
            if matches!(slot::state(&expected), Ok(SlotState::Destroyed(_))) {
                self.destroyed().insert(session, slot);
                return Ok(());
            }
            let new = Tombstone { session, at: self.now() }.slot();
            match self.keys.overwrite(vec![SlotChange { number, expected, new }]).await {
                // Something else changed the slot; it is looked at again. That the next look reads a tombstone is the proof.
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
