//! Seals a plain store of a folder in its place.
//!
//! Must not know: how a log is laid out, or which file is replaced when.

use std::{collections::HashMap, ops::ControlFlow, path::Path, sync::Arc};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    BackendError, BackendErrorKind, Digest, KeyError, KeyProvider, Record, SessionLog as _, StoreError,
};
use tokio::runtime::Handle;

use super::{
    cipher::TAG,
    envelope::{Beside, RecordHead},
    keyring::Keyring,
    opener::StoreOpener,
    ring::RingFacts,
    slot::SessionKeys,
};
use crate::{
    environment::SystemClock,
    keys::FileKeyStore,
    sled::{
        Sealing, SledStore,
        enciphering::{Enciphers, PlainStore, go_on},
        folder::sealing_of,
        takeover::{self, Gone, Step},
    },
};

/// Sessions whose keys are kept ready.
const MOST_READY: usize = 4096;

/// How far sealing a store in its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealStep {
    /// Its keys are made.
    Begun,
    /// So many bytes of the plain log are sealed.
    Sealed {
        /// Bytes that are done.
        done: u64,
        /// Bytes of the log.
        of: u64,
    },
    /// All is written; what follows holds it against the plain store.
    Written,
    /// It is what the plain store is. What follows takes its place.
    Checked,
    /// The store is sealed: from here on there is no way back, and whoever opens it ends what is broken off.
    Replaced,
    /// A file of the plain store is overwritten, and gone.
    Erased,
    /// A part of the sealed store has its place.
    Moved(&'static str),
}

/// A store that was sealed in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedInPlace {
    /// Its sessions.
    pub sessions: u64,
    /// Their records.
    pub records: u64,
    /// Files of the plain store that are gone: its log, its large bodies, its index and its quarantine.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of the files that were not overwritten: the disk did not let it, or they have another name elsewhere.
    pub not_overwritten: u64,
    /// An earlier try had sealed it already, and was broken off before its end. What that one erased is not counted.
    pub resumed: bool,
    /// How its key is wrapped.
    pub ring: RingFacts,
}

/// Seals the plain store in a folder, which nobody has open: sessions, versions, commits, places, receipts and idempotency keys stay as they are.
///
/// It is written anew beside itself, sealed, and held against the plain one, record by record. Then it takes that one's place in one step, and what was
/// plain is overwritten and removed. Whatever breaks it off before that step leaves the plain store; whatever breaks it off afterwards leaves the sealed
/// one, and whoever opens that, or calls this once more, goes on with the rest. It takes as much room again as the store has.
///
/// `erases_quarantine`: what was set aside of the log goes too. It lies there in the clear, so without that consent a store that has something
/// there is refused. Backups that were made before stay as they are.
///
/// `step` is told how far it is, on a thread that may wait, and can end it until [`SealStep::Replaced`].
///
/// # Errors
/// [`KeyError::Sealed`] when the store is sealed; [`KeyError::InTheClear`] when something is in the quarantine; [`StoreError::NoStore`], [`StoreError::Locked`], [`StoreError::NoSpace`]; those of [`KeyProvider::wrap`]; one of kind
/// [`BackendErrorKind::Unavailable`] when it is damaged, and when `step` ended it.
pub async fn seal_in_place(
    root: &Path,
    provider: &dyn KeyProvider,
    erases_quarantine: bool,
    mut step: impl FnMut(SealStep) -> ControlFlow<()> + Send + 'static,
) -> Result<SealedInPlace, StoreError> {
    let path = root.to_owned();
    let (found, mut step) = off_the_runtime(move || Ok((find(&path, erases_quarantine, &mut step)?, step))).await?;
    let plain = match found {
        Found::Plain(plain) => plain,
        Found::Sealed(gone) => {
            let ring = StoreOpener::unlock(root, provider).await?.facts();
            let store = SledStore::open_for_upkeep(root).await?;
            let counts = store.counts();
            store.close().await?;
            return Ok(report(counts, gone, true, ring));
        }
    };
    let keyring = keys_of(&plain, provider).await;
    let runtime = Handle::current();
    off_the_runtime(move || {
        let written = keyring.and_then(|keyring| {
            go_on(step(SealStep::Begun))?;
            write(&plain, Cipherer::new(keyring, runtime), &mut step)
        });
        let ring = match written {
            Ok(ring) => ring,
            Err(error) => {
                // Where it cannot be removed, the next opening does.
                let _ = plain.give_up();
                return Err(error);
            }
        };
        let counts = plain.counts();
        let gone = plain.replace(&mut |told| tell(&mut step, told))?;
        Ok(report(counts, gone, false, ring))
    })
    .await
}

/// What lies in the folder.
enum Found {
    /// A plain store, and an empty folder for the sealed one.
    Plain(Box<PlainStore>),
    /// One that an earlier try had sealed, and what went now.
    Sealed(Gone),
}

fn find(
    root: &Path,
    erases_quarantine: bool,
    step: &mut impl FnMut(SealStep) -> ControlFlow<()>,
) -> Result<Found, StoreError> {
    if sealing_of(root) == Sealing::Sealed && takeover::is_unfinished(root) {
        return takeover::go_on(root, &mut |told| tell(step, told)).map(Found::Sealed);
    }
    let plain = PlainStore::take(root, erases_quarantine)?;
    plain.begin()?;
    Ok(Found::Plain(Box::new(plain)))
}

/// Does what waits for the disk where that holds up nobody.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(BackendError::new(BackendErrorKind::Internal, "sealing the store in its place", error).into())
    })
}

/// The first keys of the store that is written.
async fn keys_of(plain: &PlainStore, provider: &dyn KeyProvider) -> Result<Keyring, StoreError> {
    let keys = FileKeyStore::open(&plain.work().join("keys"), plain.id()).await?;
    Keyring::begin(Arc::new(keys), plain.id(), provider, Arc::new(SystemClock)).await
}

/// Writes the sealed store, and holds it against the plain one. Gives how its key is wrapped.
fn write(
    plain: &PlainStore,
    mut with: Cipherer,
    step: &mut impl FnMut(SealStep) -> ControlFlow<()>,
) -> Result<RingFacts, StoreError> {
    let said = plain.encipher(&mut with, &mut |done, of| step(SealStep::Sealed { done, of }))?;
    with.runtime.block_on(with.keyring.put_away())?;
    go_on(step(SealStep::Written))?;
    let witness = Arc::new(with.keyring.witness()?);
    // What follows is opened with keys that were read back.
    with.ready.clear();
    plain.check(&said, &mut with, witness)?;
    go_on(step(SealStep::Checked))?;
    Ok(with.keyring.facts())
}

/// What nobody can end any more.
fn tell(step: &mut impl FnMut(SealStep) -> ControlFlow<()>, told: Step) {
    let _ = step(match told {
        Step::Decided => SealStep::Replaced,
        Step::Erased => SealStep::Erased,
        Step::Moved(part) => SealStep::Moved(part),
    });
}

fn report((sessions, records): (u64, u64), gone: Gone, resumed: bool, ring: RingFacts) -> SealedInPlace {
    let Gone { files, bytes, not_overwritten } = gone;
    SealedInPlace { sessions, records, files, bytes, not_overwritten, resumed, ring }
}

/// Seals with keys that are made for each session when it is met.
struct Cipherer {
    keyring: Keyring,
    runtime: Handle,
    slots: HashMap<SessionId, u32>,
    ready: HashMap<SessionId, Arc<SessionKeys>>,
}

impl Cipherer {
    fn new(keyring: Keyring, runtime: Handle) -> Self {
        Self { keyring, runtime, slots: HashMap::new(), ready: HashMap::new() }
    }

    fn keys_of(&mut self, session: SessionId) -> Result<Arc<SessionKeys>, StoreError> {
        if let Some(keys) = self.ready.get(&session) {
            return Ok(Arc::clone(keys));
        }
        let keys = match self.slots.get(&session) {
            Some(slot) => self.runtime.block_on(self.keyring.load(session, *slot))?,
            None => self.runtime.block_on(self.keyring.take_or_make())?,
        };
        self.slots.insert(session, keys.slot);
        if self.ready.len() >= MOST_READY {
            self.ready.clear();
        }
        self.ready.insert(session, Arc::clone(&keys));
        Ok(keys)
    }
}

impl Enciphers for Cipherer {
    fn record(&mut self, session: SessionId, record: Record, begins: bool) -> Result<Bytes, StoreError> {
        Ok(self.keys_of(session)?.seal(session, record, begins)?.payload)
    }

    fn words(&mut self, session: SessionId, words: &[u8]) -> Result<Bytes, StoreError> {
        Ok(self.keys_of(session)?.seal_beside(Beside::Words, session, words)?)
    }

    fn opened(&mut self, session: SessionId, record: Record) -> Result<Bytes, StoreError> {
        Ok(self.keys_of(session)?.open(session, record)?.payload)
    }

    fn opened_words(&mut self, session: SessionId, sealed: &[u8]) -> Result<Bytes, StoreError> {
        let opened = self.keys_of(session)?.open_beside(Beside::Words, session, sealed);
        opened.ok_or_else(|| KeyError::Damaged { what: "what was sealed just now does not open" }.into())
    }

    fn name(&self, key: &Digest) -> Digest {
        self.keyring.name(key)
    }

    fn claim(&mut self, session: SessionId, key: &Digest, payload: &Digest) -> Result<(Digest, Digest), StoreError> {
        let keys = self.keys_of(session)?;
        let key = keys.claim_key(key);
        Ok((key, keys.mask(&key, payload)))
    }

    fn added(&self, begins: bool) -> u64 {
        let head = RecordHead { epoch: 1, slot: begins.then_some(0) };
        (head.length() + TAG) as u64
    }
}
