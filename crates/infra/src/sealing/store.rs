//! A store that seals what it is given, over any store that keeps what it is given.
//!
//! Must not know: which store is beneath, or what records say.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    BackendError, BackendErrorKind, Clock, Commit, Committed, Digest, Durability, Erased, Erasure, Expected, Head,
    Heir, KeyError, KeyProvider, KeyStore, Page, ReadRange, Removal, Removed, Rewrite, Rewritten, RowPage, SessionLog,
    StoreError, StoreId, StoredClaim,
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    keyring::{Fresh, Keyring},
    ring::{Condemned, MOST_KEPT, RingFacts},
    sealer::added_bytes,
    search::{Fit, Searches},
    sessions::{Errand, Found, Running, Sessions, Turn},
    slot::{InUse, SessionKeys},
    witness::KeyedWitness,
};

/// A store that seals records, words, snapshots and names before another store sees them. Clones are handles to the same one.
///
/// It keeps every law of a store that the one beneath keeps. `docs/security.md` says what stays visible.
#[derive(Clone)]
pub struct SealedStore {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) log: Arc<dyn SessionLog>,
    pub(super) keyring: Keyring,
    pub(super) sessions: Sessions,
    /// Held for reading by a session that begins until it has its place in the store beneath; what asks for heirs holds it for writing.
    placing: tokio::sync::RwLock<()>,
    /// One data key is changed at a time.
    pub(super) resealing: tokio::sync::Mutex<()>,
    pub(super) searches: Searches,
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore").field("store", &self.inner.log.id()).finish_non_exhaustive()
    }
}

/// What was found, for one more who seals with it. An error that cannot be told twice keeps its words.
fn to_seal(found: &Result<Arc<SessionKeys>, StoreError>) -> Found {
    use StoreError as E;
    match found {
        Ok(keys) => Ok(InUse::of(keys)),
        Err(E::Gone { session }) => Err(E::Gone { session: *session }),
        Err(E::NotFound { session }) => Err(E::NotFound { session: *session }),
        Err(E::NoSpace { operation }) => Err(E::NoSpace { operation }),
        Err(E::Poisoned) => Err(E::Poisoned),
        Err(E::Closed) => Err(E::Closed),
        Err(E::Corrupt { session, seq, what }) => Err(E::Corrupt { session: *session, seq: *seq, what }),
        Err(E::Key(KeyError::SessionDestroyed { session })) => {
            Err(KeyError::SessionDestroyed { session: *session }.into())
        }
        Err(E::Key(KeyError::SessionRetired { session })) => Err(KeyError::SessionRetired { session: *session }.into()),
        Err(E::Key(KeyError::Retired { key })) => Err(KeyError::Retired { key: key.clone() }.into()),
        Err(E::Key(KeyError::Damaged { what })) => Err(KeyError::Damaged { what }.into()),
        Err(E::Key(KeyError::NoEntropy)) => Err(KeyError::NoEntropy.into()),
        Err(error) => {
            Err(BackendError::new(BackendErrorKind::Internal, "finding a session's keys", error.to_string()).into())
        }
    }
}

/// Whether a refusal says that nothing was written, and nothing will be.
fn is_refusal(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(
        error,
        E::Conflict { .. }
            | E::AlreadyExists { .. }
            | E::KeyTaken { .. }
            | E::NotFound { .. }
            | E::Gone { .. }
            | E::TooWeak { .. }
            | E::TooLarge { .. }
            | E::Malformed { .. }
            | E::NoSpace { .. }
    )
}

pub(super) fn ended(operation: &'static str) -> StoreError {
    BackendError::new(BackendErrorKind::Internal, operation, "the task that did it ended").into()
}

impl SealedStore {
    /// Opens a sealed store.
    ///
    /// # Errors
    /// [`KeyError::NotSealed`] when the store has no keys; [`KeyError::WrongKey`] and the others of [`KeyProvider::unwrap`];
    /// [`KeyError::Damaged`].
    pub async fn open(
        log: Arc<dyn SessionLog>,
        keys: Arc<dyn KeyStore>,
        provider: &dyn KeyProvider,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let keyring = Keyring::unlock(keys, log.id(), provider, clock).await?;
        let store = Self::with(log, keyring);
        // What a crash left of a change of the key.
        store.inner.keyring.finish(&mut |_| ()).await?;
        store.inner.sweep(None).await?;
        Ok(store)
    }

    /// Seals a store that is empty, under keys that are made now.
    ///
    /// # Errors
    /// [`KeyError::NotSealed`] when the store holds plain sessions; [`StoreError::Conflict`] when it has keys; those of [`KeyProvider::wrap`].
    pub async fn create(
        log: Arc<dyn SessionLog>,
        keys: Arc<dyn KeyStore>,
        provider: &dyn KeyProvider,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let page = log.rows(0, 1).await?;
        if !page.rows.is_empty() {
            return Err(KeyError::NotSealed.into());
        }
        let keyring = Keyring::begin(keys, log.id(), provider, clock).await?;
        Ok(Self::with(log, keyring))
    }

    fn with(log: Arc<dyn SessionLog>, keyring: Keyring) -> Self {
        let (sessions, placing, resealing) = Default::default();
        Self { inner: Arc::new(Inner { log, keyring, sessions, placing, resealing, searches: Searches::default() }) }
    }

    /// Opens a sealed store, or seals one that is empty.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::create`]. A store that holds sessions and no keys is [`KeyError::Damaged`].
    pub async fn open_or_create(
        log: Arc<dyn SessionLog>,
        keys: Arc<dyn KeyStore>,
        provider: &dyn KeyProvider,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        if keys.ring().await?.is_some() {
            return Self::open(log, keys, provider, clock).await;
        }
        match Self::create(log, keys, provider, clock).await {
            Err(StoreError::Key(KeyError::NotSealed)) => {
                Err(KeyError::Damaged { what: "there are sessions, and the ring is missing" }.into())
            }
            created => created,
        }
    }

    /// Who attests the heads of this store's sessions, with a key of its own. The store beneath is given it before the first commit, where it takes one.
    ///
    /// # Errors
    /// [`KeyError::Damaged`].
    pub fn witness(&self) -> Result<KeyedWitness, KeyError> {
        self.inner.keyring.witness()
    }

    /// What the ring tells about the key in use.
    pub fn key_facts(&self) -> RingFacts {
        self.inner.keyring.facts()
    }

    /// Begins what needs the session's keys in its turn, and gives its answer. Once polled it goes on, whoever waits.
    async fn in_turn<T: Send + 'static>(
        &self,
        session: SessionId,
        work: impl FnOnce(Arc<Inner>, Found) -> Running<Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        let mut work = Some(work);
        let errand = || {
            let (inner, work) = (Arc::clone(&self.inner), work.take());
            Errand::Shared(Box::new(move |keys| {
                let Some(work) = work else { return Box::pin(std::future::ready(())) };
                let work = work(inner, keys);
                Box::pin(async move {
                    // Nobody has to wait.
                    let _ = done.send(work.await);
                })
            }))
        };
        match self.inner.sessions.enter(session, errand) {
            Turn::Now(keys) => match work.take() {
                Some(work) => return work(Arc::clone(&self.inner), Ok(keys)).await,
                None => return Err(ended("finding a session's keys")),
            },
            Turn::Queued => {}
            Turn::Drive => drive(&self.inner, session).await,
        }
        outcome.await.unwrap_or_else(|_| Err(ended("waiting for a session's keys")))
    }

    /// Does what makes or unmakes a session's keys in its turn and alone, and gives its answer. Once polled it goes on, whoever waits.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        session: SessionId,
        ends: bool,
        work: impl FnOnce(
            Arc<Inner>,
            Option<Arc<SessionKeys>>,
        ) -> Running<(Option<Arc<SessionKeys>>, Result<T, StoreError>)>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let errand = Errand::Alone(Box::new(move |keys| {
            let work = work(inner, keys);
            Box::pin(async move {
                let (keys, answer) = work.await;
                let _ = done.send(answer);
                keys
            })
        }));
        if self.inner.sessions.enter_alone(session, ends, errand) {
            drive(&self.inner, session).await;
        }
        outcome.await.unwrap_or_else(|_| Err(ended("changing a session's keys")))
    }

    fn check_level(&self, asked: Durability) -> Result<(), StoreError> {
        let best = self.inner.log.strongest();
        if asked > best { Err(StoreError::TooWeak { asked, best }) } else { Ok(()) }
    }

    /// Waits until what was asked of a session before has begun.
    async fn arrived(&self, session: SessionId) {
        let (done, outcome) = oneshot::channel();
        if self.inner.sessions.join(session, || Errand::Wake(done)) {
            let _ = outcome.await;
        }
    }
}

/// Begins what waits for a session, now as far as it goes without waiting, and then beside the caller.
async fn drive(inner: &Arc<Inner>, session: SessionId) {
    let mut driving: Running<()> = {
        let inner = Arc::clone(inner);
        Box::pin(async move { inner.drive(session).await })
    };
    match Handle::try_current() {
        Ok(runtime) => {
            if driving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                runtime.spawn(driving);
            }
        }
        Err(_) => driving.await,
    }
}

/// Does something that goes on whoever waits for it, since it may hold what others need.
pub(super) async fn beside<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn(work).await.unwrap_or_else(|_| Err(ended("a task of the sealed store"))),
        Err(_) => work.await,
    }
}

impl Inner {
    /// Takes care of a session's queue until it is over.
    async fn drive(self: Arc<Self>, session: SessionId) {
        while let Some((errand, keys)) = self.sessions.next(session) {
            match errand {
                Errand::Wake(done) => {
                    let _ = done.send(());
                }
                Errand::Alone(work) => {
                    let keys = work(keys).await;
                    self.sessions.found(session, keys);
                }
                Errand::Shared(work) => {
                    let found = match keys {
                        Some(keys) => Ok(keys),
                        None => self.find_keys(session).await,
                    };
                    self.sessions.found(session, found.as_ref().ok().cloned());
                    let mut running = work(to_seal(&found));
                    if running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                        match Handle::try_current() {
                            Ok(runtime) => drop(runtime.spawn(running)),
                            Err(_) => running.await,
                        }
                    }
                }
            }
        }
    }

    /// A session's first commit: keys are taken for it, and are its own when it is made.
    async fn begin(
        self: Arc<Self>,
        known: Option<Arc<SessionKeys>>,
        commit: Commit,
    ) -> (Option<Arc<SessionKeys>>, Result<Committed, StoreError>) {
        let placing = self.placing.read().await;
        // With known ones the session is there already, or was a moment ago; the store knows.
        let is_fresh = known.is_none();
        let keys = match known {
            Some(keys) => keys,
            None => match self.fresh_keys().await {
                Ok(keys) => keys,
                Err(error) => return (None, Err(error)),
            },
        };
        let committed = {
            let mut committing = std::pin::pin!(self.sealed_commit(&keys, commit));
            let first = std::future::poll_fn(|cx| Poll::Ready(committing.as_mut().poll(cx))).await;
            drop(placing);
            match first {
                Poll::Ready(committed) => committed,
                Poll::Pending => committing.await,
            }
        };
        match committed {
            Err(error) if is_fresh => {
                if is_refusal(&error) {
                    self.keyring.give_back(keys);
                }
                (None, Err(error))
            }
            committed => (Some(keys), committed),
        }
    }

    /// Keys that were made ahead of need, or else now.
    async fn fresh_keys(self: &Arc<Self>) -> Result<Fresh, StoreError> {
        let (Some(fresh), is_low) = self.keyring.take() else { return self.keyring.take_or_make().await };
        if is_low && let Ok(runtime) = Handle::try_current() {
            let inner = Arc::clone(self);
            // When it fails, the next one who needs keys hears why.
            runtime.spawn(async move { drop(inner.keyring.make().await) });
        }
        Ok(fresh)
    }

    /// Removes a session, and then its keys, unless others inherit from it.
    async fn remove(
        self: Arc<Self>,
        known: Option<Arc<SessionKeys>>,
        removal: Removal,
    ) -> (Option<Arc<SessionKeys>>, Result<Removed, StoreError>) {
        let session = removal.session;
        // Who began before may inherit from it.
        drop(self.placing.write().await);
        let slot = match &known {
            Some(keys) => Some(keys.slot),
            None => match self.slot_of(session).await {
                Ok(found) => found.map(|(slot, _)| slot),
                // What is not there, or gone, has no keys; the store says the rest.
                Err(StoreError::NotFound { .. } | StoreError::Gone { .. }) => None,
                // Else its keys would stay behind without anybody who knows of them.
                Err(error) => return (None, Err(error)),
            },
        };
        let condemned = match slot {
            Some(slot) => match self.fit(session, slot).await {
                Ok(fit) => (fit != Fit::Foreign).then_some(Condemned { session, slot }),
                Err(error) => return (known, Err(error)),
            },
            None => None,
        };
        if let Some(condemned) = condemned {
            let noted = match self.check_room(session).await {
                Ok(()) => self.keyring.condemn(condemned).await,
                full => full,
            };
            if let Err(error) = noted {
                return (known, Err(error));
            }
        }
        // Keys that are gone must not outlive a removal that is not: it waits for the strongest level.
        let durability = removal.durability.max(self.log.strongest());
        let removed = self.log.remove(Removal { durability, ..removal }).await;
        match removed {
            Ok(removed) => match self.sweep(Some(session)).await {
                Ok(()) => {
                    let bytes = removed.bytes.saturating_sub(added_bytes(&removed));
                    (None, Ok(Removed { bytes, ..removed }))
                }
                Err(error) => (None, Err(error)),
            },
            Err(error) => {
                if let Some(condemned) = condemned.filter(|_| is_refusal(&error)) {
                    // When this fails it is looked at again the next time the store is opened.
                    let _ = self.keyring.absolve(condemned).await;
                }
                (known, Err(error))
            }
        }
    }

    /// Whether another session that others inherit from can be noted, so that there is always room for what has an end.
    async fn check_room(&self, session: SessionId) -> Result<(), StoreError> {
        let is_full = self.keyring.ring().condemned.len() >= MOST_KEPT;
        if is_full && !self.log.heirs(session).await?.is_empty() {
            return Err(KeyError::ManyKept { most: MOST_KEPT }.into());
        }
        Ok(())
    }

    /// Destroys the keys of condemned sessions of which nothing is left, and lets those live that are there. A slot that is not as it should be keeps no other from
    /// its end: it stays condemned, and only whoever asks for that session hears of it.
    pub(super) async fn sweep(&self, asked: Option<SessionId>) -> Result<(), StoreError> {
        let mut heard = Ok(());
        for condemned in self.keyring.ring().condemned.clone() {
            let session = condemned.session;
            // Else others inherit from it; or it is not gone, and whoever removes it comes back.
            if let Err(StoreError::Gone { .. }) = self.first_record(session).await {
                self.sessions.forget(session);
                match self.keyring.destroy(condemned).await {
                    Ok(()) => self.keyring.absolve(condemned).await?,
                    Err(error @ (StoreError::Key(_) | StoreError::Malformed { .. })) if asked == Some(session) => {
                        heard = Err(error);
                    }
                    Err(StoreError::Key(_) | StoreError::Malformed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        heard
    }
}

#[async_trait]
impl SessionLog for SealedStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        // What no store takes is refused before anything is made for it.
        commit.check(u64::MAX)?;
        self.check_level(commit.durability)?;
        let session = commit.session;
        if commit.expected == Expected::NoStream {
            for link in commit.links.iter().filter(|link| self.inner.sessions.is_ending(link.owner)) {
                self.arrived(link.owner).await;
            }
            return self.alone(session, false, |inner, keys| Box::pin(inner.begin(keys, commit))).await;
        }
        if let Some(keys) = self.inner.sessions.get_to_seal(session) {
            return self.inner.sealed_commit(&keys, commit).await;
        }
        let work = |inner: Arc<Inner>, keys: Found| -> Running<_> {
            Box::pin(async move {
                match keys {
                    Ok(keys) => inner.sealed_commit(&keys, commit).await,
                    Err(StoreError::NotFound { .. }) => {
                        let expected = commit.expected.version().unwrap_or(0);
                        Err(StoreError::Conflict { expected, actual: 0 })
                    }
                    Err(error) => Err(error),
                }
            })
        };
        self.in_turn(session, work).await
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.alone(removal.session, true, move |inner, keys| Box::pin(inner.remove(keys, removal))).await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        rewrite.check(u64::MAX)?;
        self.check_level(rewrite.durability)?;
        let session = rewrite.session;
        let work = |inner: Arc<Inner>, keys: Found| -> Running<_> {
            Box::pin(async move {
                let keys = keys?;
                inner.sealed_rewrite(&keys, rewrite).await
            })
        };
        self.in_turn(session, work).await
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        // Who is about to begin may inherit from it.
        drop(self.inner.placing.write().await);
        self.inner.log.heirs(session).await
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.inner.log.head(session).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        let page = self.inner.log.read(session, range).await?;
        match self.inner.open_page(session, page).await {
            // It may have been sealed anew while it was read, or by another handle.
            Err(StoreError::Key(KeyError::EpochRetired { .. }) | StoreError::Corrupt { .. }) => {
                let page = self.inner.log.read(session, range).await?;
                let keys = self.inner.find_keys(session).await?;
                match self.inner.open_page_with(session, &keys, page).await {
                    Err(error @ StoreError::Corrupt { .. }) => Err(self.inner.blamed(session, error).await),
                    page => page,
                }
            }
            page => page,
        }
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.inner.log.find(session, label).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        match self.inner.log.snapshot(session).await? {
            Some(sealed) => Ok(self.inner.open_snapshot(session, &sealed).await),
            None => Ok(None),
        }
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.inner.log.by_key(self.inner.keyring.name(&key)).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        let claim = move |inner: Arc<Inner>, keys: Found| -> Running<_> {
            Box::pin(async move {
                match keys {
                    Ok(keys) => {
                        let key = keys.claim_key(&key);
                        let claim = inner.log.claim(session, key).await?;
                        Ok(claim.map(|claim| keys.unmask(&key, claim)))
                    }
                    // Of a session that is not there the store finds nothing.
                    Err(StoreError::NotFound { .. } | StoreError::Gone { .. }) => inner.log.claim(session, key).await,
                    Err(error) => Err(error),
                }
            })
        };
        self.in_turn(session, claim).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        let mut page = self.inner.log.rows(since, limit).await?;
        self.inner.open_words(&mut page.rows).await?;
        Ok(page)
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.arrived(session).await;
        self.inner.log.wait(session, version, level).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.arrived(session).await;
        self.inner.log.settled(session).await
    }

    async fn erased(&self, session: SessionId) -> Result<Option<Erased>, StoreError> {
        self.inner.keyring.erased(session).await
    }

    fn erasure(&self) -> Option<Erasure> {
        Some(self.inner.keyring.store().erasure())
    }

    fn strongest(&self) -> Durability {
        self.inner.log.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.log.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        let store = self.clone();
        beside(async move {
            // What is on its way is under way before the store beneath is told to end.
            for pending in store.inner.sessions.pending() {
                store.arrived(pending).await;
            }
            let put_away = store.inner.keyring.put_away().await;
            store.inner.log.close().await?;
            put_away
        })
        .await
    }
}
