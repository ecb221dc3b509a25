//! Sealed records as a check sees them: without a key the ciphertext chain of each data key, and with it what they say.
//!
//! Must not know: what opened records say, or how anything is sealed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use sessions_domain::{SessionId, chain};
use sessions_ports::{Record, StoreError};

use super::key_look::Slots;
use crate::sealing::{ClosedEpoch, RecordHead, cipher_link, is_stand_in, read_beside};

/// Why something sealed is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The session's keys were destroyed.
    KeysDestroyed,
    /// It is sealed with a data key of this number, which the session has no more.
    EpochRetired(u16),
    /// It is sealed with a data key of this number, which the session does not have.
    NoDataKey(u16),
    /// It is not what was sealed.
    SealBroken,
    /// The session's keys cannot be had: why.
    NoKeys(String),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeysDestroyed => f.write_str("its keys were destroyed"),
            Self::EpochRetired(epoch) => {
                write!(
                    f,
                    "it is sealed with data key {epoch}, which was retired: what it was sealed anew as is gone, or somebody put an old record back"
                )
            }
            Self::NoDataKey(epoch) => {
                write!(
                    f,
                    "it is sealed with data key {epoch}, which its session's slot does not have, as where an older copy of `keys` was put back; put \
                     the newest copy of the folder `keys` back, or delete the session for good"
                )
            }
            Self::SealBroken => f.write_str("its seal is broken: it is not what was sealed here"),
            Self::NoKeys(why) => write!(f, "its keys cannot be had: {why}"),
        }
    }
}

/// Opens what is sealed in a store: whoever has the store's key.
pub trait RecordOpener: Send + Sync {
    /// The payload of a record, sealed with the keys in a slot.
    ///
    /// # Errors
    /// Why it does not open.
    fn record(&self, session: SessionId, slot: u32, record: &Record) -> Result<Bytes, Unopened>;

    /// The slot whose keys open a record, when nothing says which one it is.
    fn search(&self, session: SessionId, record: &Record) -> Option<u32>;

    /// The words of a session's row.
    ///
    /// # Errors
    /// Why they do not open.
    fn words(&self, session: SessionId, sealed: &[u8]) -> Result<Bytes, Unopened>;

    /// A snapshot of a session's view.
    ///
    /// # Errors
    /// Why it does not open.
    fn snapshot(&self, session: SessionId, sealed: &[u8]) -> Result<Bytes, Unopened>;
}

/// Whether a store that was checked is sealed, and how far it was looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealingLook {
    /// It is plain.
    #[default]
    Plain,
    /// It is sealed, and nobody gave its key: bytes were checked, and not what they say.
    Shut,
    /// It is sealed, and its records were opened.
    Opened,
}

/// The records of a session that are sealed with one data key, as whoever has no key can tell and compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochChain {
    /// The data key's number.
    pub epoch: u16,
    /// How many records there are.
    pub records: u64,
    /// The last link over them ([`cipher_link`]), in hexadecimal.
    pub link: String,
}

/// What became of a record.
pub(super) enum NotRead {
    /// Nobody looked, or its session tells why not.
    Shut,
    /// It is not as it should be.
    Wrong(String),
    /// It is not as it was sealed with this data key, so nobody will ever open it.
    Broken(u16, String),
}

#[derive(Clone, Copy, Default)]
struct Chain {
    records: u64,
    link: [u8; 32],
}

/// What a check knows of what is sealed.
pub(super) struct Unsealing {
    pub(super) opener: Option<Arc<dyn RecordOpener>>,
    /// Where sessions' keys lie.
    slots: HashMap<SessionId, u32>,
    chains: BTreeMap<(SessionId, u16), Chain>,
    /// Sessions whose keys cannot be had.
    pub(super) shut: BTreeMap<SessionId, Unopened>,
    /// The slots, or why they cannot be looked at.
    pub(super) keys: Result<Slots, StoreError>,
    /// Sessions of which a record was met.
    met: HashSet<SessionId>,
    /// Data keys that opened a record, and sessions whose words opened with what lies beside their data keys.
    proven: HashSet<(SessionId, Option<u16>)>,
    /// The links at the records up to which sessions were sealed anew, over all that stand there now.
    resealed: HashMap<SessionId, [u8; 32]>,
}

impl Unsealing {
    pub(super) fn new(opener: Option<Arc<dyn RecordOpener>>, keys: Result<Slots, StoreError>) -> Self {
        let (slots, chains, resealed) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        let (met, proven) = (HashSet::new(), HashSet::new());
        Self { opener, slots, chains, shut: BTreeMap::new(), keys, met, proven, resealed }
    }

    /// Takes notice of a session, and where its keys lie if the record says so; true for its first one.
    pub(super) fn meets(&mut self, session: SessionId, payload: &[u8]) -> bool {
        if let Some(slot) = RecordHead::read(payload).and_then(|(head, _)| head.slot) {
            self.slots.insert(session, slot);
        }
        self.met.insert(session)
    }

    /// Whether a record of a session was met.
    pub(super) fn has_met(&self, session: SessionId) -> bool {
        self.met.contains(&session)
    }

    /// How the data key before the one in use ended.
    pub(super) fn closed(&self, session: SessionId) -> Option<ClosedEpoch> {
        self.keys.as_ref().ok()?.closed.get(&self.slot_of(session)?).copied()
    }

    /// Whether a payload is sealed with a data key that is no more.
    pub(super) fn is_retired(&self, session: SessionId, payload: &[u8]) -> bool {
        let Some((head, _)) = RecordHead::read(payload) else { return false };
        let slot = head.slot.or_else(|| self.slot_of(session));
        let closed = slot.and_then(|slot| self.keys.as_ref().ok()?.closed.get(&slot));
        closed.is_some_and(|closed| head.epoch <= closed.epoch)
    }

    /// What the slot attests of a session whose records, all that stand there now, are others.
    pub(super) fn differs_from_closed(&self, session: SessionId) -> Option<ClosedEpoch> {
        self.closed(session).filter(|closed| self.resealed.get(&session).is_some_and(|link| *link != closed.new))
    }

    /// Takes notice of where a session's keys lie, as what is sealed beside its records says.
    pub(super) fn note_slot(&mut self, session: SessionId, words: &[u8]) {
        if let Some((slot, _)) = read_beside(words) {
            self.note(session, slot);
        }
    }

    /// Takes notice of where a session's keys lie.
    pub(super) fn note(&mut self, session: SessionId, slot: u32) {
        self.slots.entry(session).or_insert(slot);
    }

    pub(super) fn slot_of(&self, session: SessionId) -> Option<u32> {
        self.slots.get(&session).copied()
    }

    /// The slots that sessions say are theirs.
    pub(super) fn used(&self) -> BTreeMap<u32, SessionId> {
        self.slots.iter().map(|(session, slot)| (*slot, *session)).collect()
    }

    /// Whether a data key is the session's, as a record tells that opened with it, or its words.
    pub(super) fn is_proven(&self, session: SessionId, epoch: u16) -> bool {
        [None, Some(epoch)].into_iter().any(|epoch| self.proven.contains(&(session, epoch)))
    }

    /// The session's words opened.
    pub(super) fn prove(&mut self, session: SessionId) {
        self.proven.insert((session, None));
    }

    /// Adds a record to its chain, unless it is broken and another stands for it, and opens it.
    pub(super) fn record(&mut self, session: SessionId, record: &Record, is_stood_for: bool) -> Result<Bytes, NotRead> {
        let broken = |what: &str| NotRead::Wrong(what.to_owned());
        if is_stand_in(record) {
            return Err(broken("the record is not sealed, and no repair wrote it"));
        }
        let Some((head, _)) = RecordHead::read(&record.payload) else {
            return Err(broken("the record is not sealed as it should be"));
        };
        let chain = self.chains.entry((session, head.epoch)).or_default();
        let before = *chain;
        *chain = Chain { records: chain.records + 1, link: cipher_link(&chain.link, session, record) };
        let link = chain.link;
        if let Some(slot) = head.slot {
            self.slots.insert(session, slot);
        }
        let closed = self.closed(session).filter(|closed| closed.epoch.checked_add(1) == Some(head.epoch));
        if closed.is_some_and(|closed| record.seq == closed.version) {
            self.resealed.insert(session, link);
        }
        let Some(opener) = &self.opener else { return Err(NotRead::Shut) };
        if self.shut.contains_key(&session) {
            return Err(NotRead::Shut);
        }
        let known = self.slots.get(&session).copied().or_else(|| opener.search(session, record));
        let opened = match known {
            Some(slot) => {
                self.slots.insert(session, slot);
                opener.record(session, slot, record)
            }
            None => Err(Unopened::NoKeys("nothing tells where they lie".to_owned())),
        };
        if opened.is_ok() {
            self.proven.insert((session, Some(head.epoch)));
        } else if is_stood_for {
            self.chains.insert((session, head.epoch), before);
        }
        opened.map_err(|why| match why {
            Unopened::KeysDestroyed | Unopened::NoKeys(_) => {
                self.shut.insert(session, why);
                NotRead::Shut
            }
            Unopened::SealBroken => NotRead::Broken(head.epoch, why.to_string()),
            Unopened::EpochRetired(_) | Unopened::NoDataKey(_) => NotRead::Wrong(why.to_string()),
        })
    }

    /// What a record says; `None`: it does not open.
    pub(super) fn opened(&self, session: SessionId, record: &Record) -> Option<Bytes> {
        self.opener.as_ref()?.record(session, self.slot_of(session)?, record).ok()
    }

    /// The words of a session, when they open; `None`: nobody looked, or its session tells why not.
    pub(super) fn words(&self, session: SessionId, sealed: &[u8]) -> Option<Result<Bytes, Unopened>> {
        self.beside(session, sealed, |opener| opener.words(session, sealed))
    }

    /// A snapshot in the same way.
    pub(super) fn snapshot(&self, session: SessionId, sealed: &[u8]) -> Option<Result<Bytes, Unopened>> {
        self.beside(session, sealed, |opener| opener.snapshot(session, sealed))
    }

    fn beside(
        &self,
        session: SessionId,
        sealed: &[u8],
        open: impl FnOnce(&dyn RecordOpener) -> Result<Bytes, Unopened>,
    ) -> Option<Result<Bytes, Unopened>> {
        let opener = self.opener.as_deref().filter(|_| !self.shut.contains_key(&session))?;
        let said = read_beside(sealed).map(|(slot, _)| slot);
        let is_foreign = said.is_none() || self.slot_of(session).is_some_and(|slot| said != Some(slot));
        let opened = if is_foreign { Err(Unopened::SealBroken) } else { open(opener) };
        match opened {
            // The session's records say so, each of them.
            Err(Unopened::KeysDestroyed | Unopened::NoKeys(_)) => None,
            opened => Some(opened),
        }
    }

    /// The chains of a session.
    pub(super) fn epochs(&self, session: SessionId) -> Vec<EpochChain> {
        let of = self.chains.range((session, 0)..=(session, u16::MAX));
        of.map(|((_, epoch), chain)| EpochChain {
            epoch: *epoch,
            records: chain.records,
            link: chain::to_hex(&chain.link),
        })
        .collect()
    }
}
