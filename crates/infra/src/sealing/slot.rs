//! A session's keys: wrapped in its slot, and ready for use.
//!
//! Must not know: where slots lie, or which session has which.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use ring::hmac;
use sessions_domain::{Moment, SessionId};
use sessions_ports::{Digest, KeyError, KeyId, SecretKey, Slot, StoreId, StoredClaim};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{
    cipher::{self, Cipher, NONCE, TAG},
    envelope::{self, Beside, Epoch},
};

const FORMAT: u8 = 1;
const LIVE: u8 = 1;
const DESTROYED: u8 = 2;
/// The most data keys at a time: the one in use, and while old records are sealed anew the one before it.
pub(crate) const MOST_EPOCHS: usize = 2;
/// The most bytes in the clear: root, count, and for each data key its epoch, when it was made, the first record it may seal, and itself.
const BODY: usize = 32 + 1 + MOST_EPOCHS * DATA_KEY;
const DATA_KEY: usize = 2 + 8 + 8 + 32;
/// One data key seals no more records than this, so that nonces of 96 bits meet with a probability below 2^-32 (NIST SP 800-38D, 8.3).
pub(crate) const MOST_RECORDS: u64 = 1 << 32;

/// A data key of a session.
pub(crate) struct DataKey {
    pub(crate) epoch: Epoch,
    pub(crate) made: Moment,
    /// The first record that it may have sealed.
    pub(crate) first: u64,
    pub(crate) secret: SecretKey,
}

/// How an epoch ended: what its records' ciphertext was, and what it is since. It stands in the clear, so that whoever has no key can check the
/// beginning of the epoch that followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedEpoch {
    /// The epoch that ended.
    pub epoch: u16,
    /// The last record that was sealed anew.
    pub version: u64,
    /// The ciphertext chain's head up to there under the old data key ([`super::cipher_link`]).
    pub old: [u8; 32],
    /// The same under the new one.
    pub new: [u8; 32],
}

impl ClosedEpoch {
    const BYTES: usize = 2 + 8 + 32 + 32;

    fn to_bytes(self) -> Vec<u8> {
        [&self.epoch.to_le_bytes()[..], &self.version.to_le_bytes(), &self.old, &self.new].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (old, rest) = rest.split_first_chunk()?;
        let new = rest.first_chunk()?;
        let (epoch, version) = (u16::from_le_bytes(*epoch), u64::from_le_bytes(*version));
        Some(Self { epoch, version, old: *old, new: *new })
    }
}

/// What a slot holds, in the clear. Wiped when it is dropped.
pub(crate) struct SlotKeys {
    pub(crate) root: SecretKey,
    /// Ascending; the last one is in use.
    pub(crate) data: Vec<DataKey>,
    /// How the last epoch that is over ended. While two data keys are there it is left out, for want of room.
    pub(crate) closed: Option<ClosedEpoch>,
}

/// What a slot says without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// Keys, wrapped under this key-encryption key.
    Live(KeyId),
    /// There were keys, and they were destroyed.
    Destroyed(Tombstone),
    /// There never were any: the power went while it was made, and nobody was told of it.
    Unused,
}

/// What is left in a slot when its keys were destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) session: SessionId,
    pub(crate) at: Moment,
}

impl SlotKeys {
    /// New keys, from the first record on.
    pub(crate) fn new(made: Moment) -> Result<Self, KeyError> {
        let data = vec![DataKey { epoch: 1, made, first: 0, secret: cipher::new_key()? }];
        Ok(Self { root: cipher::new_key()?, data, closed: None })
    }

    /// The slot's bytes.
    pub(crate) fn wrap(&self, store: StoreId, number: u64, id: KeyId, kek: &Cipher) -> Result<Slot, KeyError> {
        let mut body = Zeroizing::new([0; BODY]);
        let count = u8::try_from(self.data.len()).ok().filter(|count| usize::from(*count) <= MOST_EPOCHS);
        let count = count.ok_or(KeyError::Damaged { what: "a session has too many data keys" })?;
        let keys = self.data.iter().map(|key| {
            let parts = [&key.epoch.to_le_bytes()[..], &key.made.as_millis().to_le_bytes(), &key.first.to_le_bytes()];
            (Zeroizing::new(parts.concat()), key.secret.expose())
        });
        let keys: Vec<_> = keys.collect();
        let count = [count];
        let parts = [self.root.expose().as_slice(), &count].into_iter();
        let parts = parts.chain(keys.iter().flat_map(|(head, secret)| [head.as_slice(), secret.as_slice()]));
        body.iter_mut().zip(parts.flatten()).for_each(|(to, from)| *to = *from);
        let length = 33 + self.data.len() * DATA_KEY;
        let closed = self.closed.filter(|_| self.data.len() == 1).map(ClosedEpoch::to_bytes).unwrap_or_default();
        let mut slot = vec![FORMAT, LIVE];
        slot.extend_from_slice(&id.0);
        slot.push(u8::from(!closed.is_empty()));
        slot.extend_from_slice(&closed);
        let wrapped = kek.wrap(&context(store, number, &slot), body.get(..length).unwrap_or_default())?;
        slot.extend_from_slice(&wrapped);
        Ok(Bytes::from(slot))
    }

    /// The keys of a slot.
    pub(crate) fn unwrap(slot: &[u8], store: StoreId, number: u64, kek: &Cipher) -> Result<Self, KeyError> {
        let damaged = || KeyError::Damaged { what: UNLIKE };
        let mut room = Zeroizing::new(ROOM);
        let body = unwrapped(slot, store, number, kek, &mut room).ok_or_else(damaged)?;
        let (root, rest) = body.split_at_checked(32).ok_or_else(damaged)?;
        let (count, rest) = rest.split_first().ok_or_else(damaged)?;
        let root = SecretKey::from_slice(root).ok_or_else(damaged)?;
        let data = rest.chunks_exact(DATA_KEY).take(usize::from(*count)).map(data_key);
        let data = data.collect::<Option<Vec<_>>>().filter(|data| !data.is_empty()).ok_or_else(damaged)?;
        Ok(Self { root, data, closed: closed_epoch(slot) })
    }

    /// The same keys as they are used.
    pub(crate) fn ready(&self, slot: u32) -> Result<SessionKeys, KeyError> {
        let data = self.data.iter().map(|key| {
            let cipher = Cipher::new(&cipher::derive(&key.secret, "sessions records 1")?)?;
            Ok(ReadyKey { epoch: key.epoch, first: key.first, cipher })
        });
        Ok(SessionKeys {
            slot,
            root: Cipher::new(&cipher::derive(&self.root, BESIDE)?)?,
            claims: cipher::mac_key(&cipher::derive(&self.root, "sessions claims 1")?),
            begins_at: AtomicU64::new(0),
            uses: AtomicUsize::new(0),
            unused: Notify::new(),
            data: data.collect::<Result<_, KeyError>>()?,
        })
    }
}

const UNLIKE: &str = "a session's wrapped keys are not as they were written";
/// What the key of what is sealed beside the records is derived for.
const BESIDE: &str = "sessions beside 1";

/// What a slot wraps, in `room`.
fn unwrapped<'a>(slot: &[u8], store: StoreId, number: u64, kek: &Cipher, room: &'a mut Room) -> Option<&'a [u8]> {
    let (clear, wrapped) = slot.split_at_checked(head_of(slot)?)?;
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE>()?;
    let room = room.get_mut(..sealed.len())?;
    room.copy_from_slice(sealed);
    kek.open_in_place(*nonce, &context(store, number, clear), room)
}

/// Room to unwrap a slot in. Whoever gives it wipes it.
pub(crate) type Room = [u8; BODY + TAG];
/// Such room.
pub(crate) const ROOM: Room = [0; BODY + TAG];

/// Opens what is sealed beside a session's records with the one key of its slot that this takes. `None`: it is not what was sealed there.
///
/// # Errors
/// [`KeyError::Damaged`] when the slot is not under this key as it was written.
pub(crate) fn open_beside<'a>(
    (slot, store, number, kek): (&[u8], StoreId, u32, &Cipher),
    (what, session, bytes): (Beside, SessionId, &[u8]),
    room: &mut Room,
    text: &'a mut Vec<u8>,
) -> Result<Option<&'a [u8]>, KeyError> {
    let body = unwrapped(slot, store, u64::from(number), kek, room);
    let root = body.and_then(<[u8]>::first_chunk).ok_or(KeyError::Damaged { what: UNLIKE })?;
    let mut derived = Zeroizing::new([0; 32]);
    cipher::derive_into(root, BESIDE, &mut derived)?;
    let Some((nonce, sealed)) =
        envelope::read_beside(bytes).and_then(|(_, sealed)| sealed.split_first_chunk::<NONCE>())
    else {
        return Ok(None);
    };
    text.clear();
    text.extend_from_slice(sealed);
    Ok(Cipher::of(&derived)?.open_in_place(*nonce, &what.context(session, number), text))
}

fn data_key(bytes: &[u8]) -> Option<DataKey> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (made, rest) = rest.split_first_chunk()?;
    let (first, secret) = rest.split_first_chunk()?;
    Some(DataKey {
        epoch: Epoch::from_le_bytes(*epoch),
        made: Moment::from_millis(i64::from_le_bytes(*made)),
        first: u64::from_le_bytes(*first),
        secret: SecretKey::from_slice(secret)?,
    })
}

/// What wrapped keys are bound to: their store, their slot, and what stands before them, the name of the key that wraps them among it.
fn context(store: StoreId, number: u64, clear: &[u8]) -> Vec<u8> {
    [b"sessions slot 1".as_slice(), &store.0, &number.to_le_bytes(), clear].concat()
}

/// Bytes of a live slot before the wrapped keys.
fn head_of(slot: &[u8]) -> Option<usize> {
    match slot.get(10)? {
        0 => Some(11),
        1 => Some(11 + ClosedEpoch::BYTES),
        _ => None,
    }
}

/// How the last epoch of a slot ended, when one did and its keys are there.
pub(crate) fn closed_epoch(slot: &[u8]) -> Option<ClosedEpoch> {
    (slot.get(1) == Some(&LIVE) && slot.get(10) == Some(&1))
        .then(|| slot.get(11..).and_then(ClosedEpoch::read))
        .flatten()
}

/// What a slot is.
pub(crate) fn state(slot: &[u8]) -> Result<SlotState, KeyError> {
    if slot.is_empty() {
        return Ok(SlotState::Unused);
    }
    let damaged = KeyError::Damaged { what: "a slot is none" };
    let Some((&[format, state], rest)) = slot.split_first_chunk() else { return Err(damaged) };
    // There was none before the first, so zeros are no newer one.
    if format > FORMAT {
        return Err(KeyError::Newer { found: format!("slot format {format}") });
    }
    match state {
        _ if format < FORMAT => Err(damaged),
        LIVE => rest.first_chunk().map(|id| SlotState::Live(KeyId(*id))).ok_or(damaged),
        DESTROYED => {
            let tombstone = rest.split_first_chunk().and_then(|(session, rest)| {
                let at = Moment::from_millis(i64::from_le_bytes(*rest.first_chunk()?));
                Some(Tombstone { session: SessionId::from_bytes(*session), at })
            });
            tombstone.map(SlotState::Destroyed).ok_or(damaged)
        }
        _ => Err(damaged),
    }
}

impl Tombstone {
    /// The bytes that take the keys' place.
    pub(crate) fn slot(self) -> Slot {
        let mut slot = vec![FORMAT, DESTROYED];
        slot.extend_from_slice(&self.session.to_bytes());
        slot.extend_from_slice(&self.at.as_millis().to_le_bytes());
        Bytes::from(slot)
    }
}

struct ReadyKey {
    epoch: Epoch,
    first: u64,
    cipher: Cipher,
}

/// A session's keys, ready for use.
pub(crate) struct SessionKeys {
    pub(crate) slot: u32,
    root: Cipher,
    claims: hmac::Key,
    /// The first record of the session's log, as far as that is known.
    begins_at: AtomicU64,
    data: Vec<ReadyKey>,
    /// How many seal with them now, and who waits until nobody does.
    uses: AtomicUsize,
    unused: Notify,
}

/// Keys that something is sealed with. Until it is dropped, nobody takes their data key away.
pub(crate) struct InUse(Arc<SessionKeys>);

impl InUse {
    pub(crate) fn of(keys: &Arc<SessionKeys>) -> Self {
        keys.uses.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(keys))
    }
}

impl Deref for InUse {
    type Target = SessionKeys;

    fn deref(&self) -> &SessionKeys {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.0.uses.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.unused.notify_waiters();
        }
    }
}

impl SessionKeys {
    pub(crate) fn is_in_use(&self) -> bool {
        self.uses.load(Ordering::Acquire) > 0
    }

    /// Waits until nobody seals with them.
    pub(crate) async fn unused(&self) {
        loop {
            let mut unused = std::pin::pin!(self.unused.notified());
            // It listens before it looks, so no end falls between.
            unused.as_mut().enable();
            if !self.is_in_use() {
                return;
            }
            unused.await;
        }
    }

    /// The data key in use, and its epoch; `None` when it may seal no record of this number.
    pub(crate) fn current(&self, seq: u64) -> Option<(Epoch, &Cipher)> {
        let key = self.data.last()?;
        let first = key.first.max(self.begins_at.load(Ordering::Relaxed));
        (seq.saturating_sub(first) < MOST_RECORDS).then_some((key.epoch, &key.cipher))
    }

    /// Notes the first record of the session's log: from there on records are counted that its data key seals.
    pub(crate) fn begin_at(&self, seq: u64) {
        self.begins_at.store(seq, Ordering::Relaxed);
    }

    /// The epoch in use.
    pub(crate) fn newest(&self) -> Option<Epoch> {
        self.data.last().map(|key| key.epoch)
    }

    /// The data key of an epoch, while there is one.
    pub(crate) fn of(&self, epoch: Epoch) -> Option<&Cipher> {
        self.data.iter().find(|key| key.epoch == epoch).map(|key| &key.cipher)
    }

    /// Whether an epoch is over and its key is no more.
    pub(crate) fn is_over(&self, epoch: Epoch) -> bool {
        self.data.first().is_some_and(|oldest| epoch < oldest.epoch)
    }

    /// The key of what is sealed beside the records.
    pub(crate) const fn root(&self) -> &Cipher {
        &self.root
    }

    /// What the store knows an idempotency key by.
    pub(crate) fn claim_key(&self, key: &Digest) -> Digest {
        cipher::mac(&self.claims, &[b"key", key])
    }

    /// What the store keeps of a payload's digest, and the other way round. `key` is as the store knows it.
    pub(crate) fn mask(&self, key: &Digest, payload: &Digest) -> Digest {
        let mut masked = cipher::mac(&self.claims, &[b"payload", key]);
        masked.iter_mut().zip(payload).for_each(|(byte, of)| *byte ^= of);
        masked
    }

    pub(crate) fn unmask(&self, key: &Digest, claim: StoredClaim) -> StoredClaim {
        StoredClaim { payload: self.mask(key, &claim.payload), ..claim }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([3; 16]);
    const ID: KeyId = KeyId([4; 8]);

    fn kek(byte: u8) -> Cipher {
        Cipher::new(&SecretKey::take(&mut [byte; 32])).unwrap()
    }

    #[test]
    fn wrapped_keys_come_back_only_with_their_key_in_their_place() {
        let keys = SlotKeys::new(Moment::from_millis(5)).unwrap();
        let slot = keys.wrap(STORE, 7, ID, &kek(1)).unwrap();
        assert!(slot.len() <= sessions_ports::MAX_SLOT, "{}", slot.len());
        assert_eq!(state(&slot).unwrap(), SlotState::Live(ID));
        let back = SlotKeys::unwrap(&slot, STORE, 7, &kek(1)).unwrap();
        assert_eq!(back.root.expose(), keys.root.expose());
        let of = |keys: &SlotKeys| {
            keys.data.iter().map(|k| (k.epoch, k.made, k.first, *k.secret.expose())).collect::<Vec<_>>()
        };
        assert_eq!(of(&back), of(&keys));
        assert!(SlotKeys::unwrap(&slot, STORE, 8, &kek(1)).is_err(), "another place");
        assert!(SlotKeys::unwrap(&slot, StoreId([9; 16]), 7, &kek(1)).is_err(), "another store");
        assert!(SlotKeys::unwrap(&slot, STORE, 7, &kek(2)).is_err(), "another key");
        for at in 0..slot.len() {
            let mut bent = slot.to_vec();
            bent[at] ^= 1;
            assert!(SlotKeys::unwrap(&bent, STORE, 7, &kek(1)).is_err(), "byte {at}");
        }
        let secrets = [keys.root.expose(), keys.data[0].secret.expose()];
        assert!(secrets.iter().all(|secret| !slot.windows(32).any(|window| window == secret.as_slice())));
    }

    #[test]
    fn the_end_of_an_epoch_stands_in_the_clear_and_is_bound() {
        let mut keys = SlotKeys::new(Moment::from_millis(5)).unwrap();
        let closed = ClosedEpoch { epoch: 1, version: 9, old: [1; 32], new: [2; 32] };
        keys.closed = Some(closed);
        let slot = keys.wrap(STORE, 7, ID, &kek(1)).unwrap();
        assert!(slot.len() <= sessions_ports::MAX_SLOT, "{}", slot.len());
        assert_eq!(closed_epoch(&slot), Some(closed));
        assert_eq!(SlotKeys::unwrap(&slot, STORE, 7, &kek(1)).unwrap().closed, Some(closed));
        let mut bent = slot.to_vec();
        bent[13] ^= 1;
        assert!(SlotKeys::unwrap(&bent, STORE, 7, &kek(1)).is_err());
        let second = SlotKeys::new(Moment::default()).unwrap().data.remove(0);
        keys.data.push(DataKey { epoch: 2, ..second });
        let slot = keys.wrap(STORE, 7, ID, &kek(1)).unwrap();
        assert!(slot.len() <= sessions_ports::MAX_SLOT, "{}", slot.len());
        assert_eq!((closed_epoch(&slot), SlotKeys::unwrap(&slot, STORE, 7, &kek(1)).unwrap().data.len()), (None, 2));
    }

    #[test]
    fn a_tombstone_says_whose_keys_were_there() {
        let tombstone = Tombstone { session: SessionId::from_bytes([1; 16]), at: Moment::from_millis(9) };
        assert_eq!(state(&tombstone.slot()).unwrap(), SlotState::Destroyed(tombstone));
        assert!(state(&[1, 3]).is_err() && state(&[1, 2, 0]).is_err());
        assert_eq!(state(&[]).unwrap(), SlotState::Unused);
        assert!(matches!(state(&[2, 1]), Err(KeyError::Newer { .. })));
        assert!(matches!(state(&[0; 224]), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn a_data_key_that_is_worn_out_seals_no_more() {
        let keys = SlotKeys::new(Moment::default()).unwrap().ready(0).unwrap();
        assert!(keys.current(MOST_RECORDS - 1).is_some());
        assert!(keys.current(MOST_RECORDS).is_none());
        keys.begin_at(9);
        assert!(keys.current(MOST_RECORDS + 8).is_some());
        assert!(keys.current(MOST_RECORDS + 9).is_none());
    }

    #[test]
    fn a_masked_payload_comes_back() {
        let keys = SlotKeys::new(Moment::default()).unwrap().ready(0).unwrap();
        let key = keys.claim_key(&[1; 32]);
        assert_ne!(key, [1; 32]);
        let masked = keys.mask(&key, &[2; 32]);
        assert_ne!(masked, [2; 32]);
        assert_eq!(keys.mask(&key, &masked), [2; 32]);
    }
}
