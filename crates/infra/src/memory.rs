//! The strict store in memory: it keeps sessions as long as the process lives, and refuses whatever any store may refuse.
//!
//! A commit is a few map operations under one lock, done when its future is first polled, and answered at once. Payloads are shared,
//! never copied.
//!
//! Must not know: what records say, or what a disk is.

mod log;

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    Commit, Committed, Digest, Durability, Erased, Erasure, Head, Heir, Link, Page, ReadRange, Removal, Removed,
    Rewrite, Rewritten, Row, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};
use tokio::sync::{Notify, futures::OwnedNotified};

use self::log::Log;

/// The most bytes of payloads, words and snapshot in one commit: 1 GiB.
pub const MAX_COMMIT_BYTES: u64 = 1 << 30;

/// A store in memory. A clone is another handle to the same store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    id: StoreId,
    strongest: Durability,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    logs: HashMap<SessionId, Log>,
    /// Those that were removed, each with the records that others inherit.
    removed: HashMap<SessionId, Log>,
    /// Who inherits from a session, and up to where.
    heirs: HashMap<SessionId, BTreeMap<SessionId, u64>>,
    keys: HashMap<Digest, SessionId>,
    /// **Invariant**: holds each session that has words or was removed once, under its `Log::change`.
    changes: BTreeMap<u64, SessionId>,
    last_change: u64,
    waiters: HashMap<SessionId, Waiters>,
}

/// Futures that wait for a session to change.
struct Waiters {
    notify: Arc<Notify>,
    count: usize,
}

impl MemoryStore {
    /// An empty store, which promises nothing beyond the process's life.
    pub fn new() -> Self {
        Self::pretending(Durability::Volatile)
    }

    /// An empty store that claims to give a stronger level than it does, so that a test can ask for it.
    pub fn pretending(strongest: Durability) -> Self {
        // The hasher's keys are random; the id has nothing to protect, since the words themselves lie in the same memory.
        let draw = || RandomState::new().hash_one(0_u8).to_le_bytes();
        let (mut id, [low, high]) = ([0; 16], [draw(), draw()]);
        for (byte, random) in id.iter_mut().zip(low.into_iter().chain(high)) {
            *byte = random;
        }
        Self::with_id(StoreId(id), strongest)
    }

    /// An empty store of this identity, for runs that shall be the same each time.
    pub fn with_id(id: StoreId, strongest: Durability) -> Self {
        Self { shared: Arc::new(Shared { id, strongest, state: Mutex::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    fn check_level(&self, asked: Durability) -> Result<(), StoreError> {
        let best = self.shared.strongest;
        if asked > best { Err(StoreError::TooWeak { asked, best }) } else { Ok(()) }
    }

    /// The head when it is far enough, or else what to wait for.
    fn reached(&self, session: SessionId, version: u64) -> Result<Result<Head, Waiting>, StoreError> {
        let mut state = self.open()?;
        let head = state.head(session)?.ok_or(StoreError::NotFound { session })?;
        if head.version >= version {
            return Ok(Ok(head));
        }
        let waiters = state.waiters.entry(session).or_insert_with(|| Waiters { notify: Arc::default(), count: 0 });
        waiters.count += 1;
        // Made under the lock, so it hears every commit from here on, polled or not.
        let change = Arc::clone(&waiters.notify).notified_owned();
        drop(state);
        Ok(Err(Waiting { change: Some(change), _guard: WaitGuard { store: self.clone(), session } }))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sessions = self.lock().logs.len();
        f.debug_struct("MemoryStore").field("id", &self.shared.id).field("sessions", &sessions).finish_non_exhaustive()
    }
}

struct Waiting {
    change: Option<OwnedNotified>,
    _guard: WaitGuard,
}

/// Takes a wait off the list again, however it ends.
struct WaitGuard {
    store: MemoryStore,
    session: SessionId,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        if let Some(waiters) = state.waiters.get_mut(&self.session) {
            waiters.count -= 1;
            if waiters.count == 0 {
                state.waiters.remove(&self.session);
            }
        }
    }
}

impl State {
    /// What is wrong with a commit in the light of what is here.
    fn admit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.present(commit.session)?;
        let log = self.logs.get(&commit.session);
        commit.check_tail(log.and_then(Log::head).map(|head| (head.version, head.commit)))?;
        if let Some(holder) = commit.key.and_then(|key| self.keys.get(&key)) {
            return Err(StoreError::KeyTaken { session: *holder });
        }
        if log.is_some_and(|log| commit.claims.iter().any(|claim| log.claims.contains_key(&claim.key))) {
            return Err(StoreError::Malformed {
                what: "it claims an idempotency key that the session has; look it up",
            });
        }
        commit.links.iter().try_for_each(|link| self.check_link(*link))
    }

    /// Whether what a session would inherit is there.
    fn check_link(&self, Link { owner, last }: Link) -> Result<(), StoreError> {
        if self.removed.contains_key(&owner) && self.kept(owner) < last {
            Err(StoreError::Gone { session: owner })
        } else if self.removed.contains_key(&owner) || self.logs.contains_key(&owner) {
            Ok(())
        } else {
            Err(StoreError::NotFound { session: owner })
        }
    }

    /// Whether a session was not removed.
    fn present(&self, session: SessionId) -> Result<(), StoreError> {
        if self.removed.contains_key(&session) { Err(StoreError::Gone { session }) } else { Ok(()) }
    }

    fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.present(session)?;
        Ok(self.logs.get(&session).and_then(Log::head))
    }

    /// The last record of a session that others inherit (0: none).
    fn kept(&self, session: SessionId) -> u64 {
        self.heirs.get(&session).and_then(|heirs| heirs.values().max().copied()).unwrap_or(0)
    }

    fn remove(&mut self, removal: Removal) -> Result<Removed, StoreError> {
        let session = removal.session;
        if let Some(log) = self.removed.get(&session) {
            let kept = log.records.last().map_or(0, |record| record.seq);
            return Ok(Removed { kept, heirs: self.heirs_of(session), ..Removed::default() });
        }
        let actual = self.head(session)?.ok_or(StoreError::NotFound { session })?.version;
        if let Some(expected) = removal.expected.filter(|expected| *expected != actual) {
            return Err(StoreError::Conflict { expected, actual });
        }
        let Some(mut log) = self.logs.remove(&session) else { return Err(StoreError::NotFound { session }) };
        for link in std::mem::take(&mut log.links) {
            self.release(link.owner, session);
        }
        let (records, bytes) = log.bury(self.kept(session));
        if let Some(key) = log.key.filter(|_| !removal.keep_key) {
            self.keys.remove(&key);
        }
        self.changes.remove(&log.change);
        self.last_change += 1;
        log.change = self.last_change;
        self.changes.insert(self.last_change, session);
        let kept = log.records.last().map_or(0, |record| record.seq);
        self.removed.insert(session, log);
        self.wake(session);
        Ok(Removed { was_there: true, records, bytes, kept, heirs: self.heirs_of(session) })
    }

    /// Gives the number of the log's first record afterwards.
    fn rewrite(&mut self, rewrite: Rewrite) -> Result<u64, StoreError> {
        let session = rewrite.session;
        let kept = self.kept(session);
        if let Some(left) = self.removed.get_mut(&session) {
            rewrite.check_left(left.first, kept)?;
            left.has(&rewrite.records)?;
            let first = left.first;
            left.rewrite(rewrite.records, first);
            return Ok(first);
        }
        let log = self.logs.get_mut(&session).ok_or(StoreError::NotFound { session })?;
        let head = log.head().ok_or(StoreError::NotFound { session })?;
        if let Some(expected) = rewrite.expected.filter(|expected| *expected != head.version) {
            return Err(StoreError::Conflict { expected, actual: head.version });
        }
        let first = rewrite.check_log(head, &log.links)?;
        if rewrite.words.is_some() && log.words.is_none() {
            return Err(StoreError::Malformed { what: "it gives words to a session without any" });
        }
        log.has(&rewrite.records)?;
        log.rewrite(rewrite.records, first);
        if rewrite.words.is_some() {
            log.words = rewrite.words;
        }
        let unlinked: Vec<Link> = log.links.extract_if(.., |link| rewrite.unlink.contains(&link.owner)).collect();
        unlinked.iter().for_each(|link| self.release(link.owner, session));
        Ok(first)
    }

    /// An heir is gone: what its removed owner kept only for it goes too.
    fn release(&mut self, owner: SessionId, heir: SessionId) {
        if let Some(heirs) = self.heirs.get_mut(&owner) {
            heirs.remove(&heir);
            if heirs.is_empty() {
                self.heirs.remove(&owner);
            }
        }
        let kept = self.kept(owner);
        if let Some(log) = self.removed.get_mut(&owner) {
            log.bury(kept);
        }
    }

    fn heirs_of(&self, session: SessionId) -> Vec<SessionId> {
        self.heirs.get(&session).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    fn wake(&self, session: SessionId) {
        if let Some(waiters) = self.waiters.get(&session) {
            waiters.notify.notify_waiters();
        }
    }

    fn apply(&mut self, commit: Commit, version: u64) {
        let session = commit.session;
        if let Some(key) = commit.key {
            self.keys.insert(key, session);
        }
        let first = commit.records.first().map_or(version, |record| record.seq);
        for link in &commit.links {
            let last = self.heirs.entry(link.owner).or_default().entry(session).or_insert(link.last);
            *last = link.last.max(*last);
        }
        let log = self.logs.entry(session).or_insert_with(|| Log::beginning(first, commit.row.updated));
        if log.records.is_empty() {
            (log.key, log.links) = (commit.key, commit.links);
        }
        for claim in commit.claims {
            let stored = StoredClaim { payload: claim.payload, seq: first + u64::from(claim.offset), version };
            log.claims.insert(claim.key, stored);
        }
        log.labels.extend(commit.records.iter().filter(|r| r.label != 0).map(|r| (r.label, r.seq)));
        log.records.extend(commit.records);
        log.updated = commit.row.updated;
        log.messages = commit.row.messages;
        if commit.snapshot.is_some() {
            log.snapshot = commit.snapshot;
        }
        if commit.row.words.is_some() {
            log.words = commit.row.words;
        }
        if log.words.is_some() {
            self.changes.remove(&log.change);
            self.last_change += 1;
            log.change = self.last_change;
            self.changes.insert(self.last_change, session);
        }
        self.wake(session);
    }

    fn row(&self, session: SessionId) -> Option<Row> {
        let log = self.logs.get(&session)?;
        Some(Row {
            session,
            version: log.head()?.version,
            created: log.created,
            updated: log.updated,
            messages: log.messages,
            words: log.words.clone()?,
        })
    }
}

#[async_trait]
impl SessionLog for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut state = self.open()?;
        self.check_level(commit.durability)?;
        let version = commit.check(MAX_COMMIT_BYTES)?;
        state.admit(&commit)?;
        state.apply(commit, version);
        Ok(Committed { version, durability: self.shared.strongest })
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        let mut state = self.open()?;
        self.check_level(removal.durability)?;
        state.remove(removal)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        let mut state = self.open()?;
        self.check_level(rewrite.durability)?;
        rewrite.check(MAX_COMMIT_BYTES)?;
        let first = state.rewrite(rewrite)?;
        Ok(Rewritten { first, durability: self.shared.strongest })
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        let state = self.open()?;
        if !state.logs.contains_key(&session) && !state.removed.contains_key(&session) {
            return Err(StoreError::NotFound { session });
        }
        let heirs = state.heirs.get(&session).into_iter().flatten();
        Ok(heirs.map(|(session, last)| Heir { session: *session, last: *last }).collect())
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.open()?.head(session)
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        let state = self.open()?;
        match (state.logs.get(&session), state.removed.get(&session)) {
            (Some(log), _) => Ok(log.page(range)),
            (None, Some(left)) if !left.records.is_empty() => Ok(left.page(range)),
            (None, Some(_)) => Err(StoreError::Gone { session }),
            (None, None) => Err(StoreError::NotFound { session }),
        }
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        let state = self.open()?;
        let log = state.logs.get(&session).or_else(|| state.removed.get(&session));
        Ok(log.map(|log| log.find(label)).unwrap_or_default())
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open()?.logs.get(&session).and_then(|log| log.snapshot.clone()))
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        Ok(self.open()?.keys.get(&key).copied())
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        Ok(self.open()?.logs.get(&session).and_then(|log| log.claims.get(&key).copied()))
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        let state = self.open()?;
        let mut changed = state.changes.range(since.saturating_add(1)..);
        let (mut rows, mut removed, mut next) = (Vec::new(), Vec::new(), since);
        for (change, session) in changed.by_ref().take(limit) {
            match state.row(*session) {
                Some(row) => rows.push(row),
                None => removed.push(*session),
            }
            next = *change;
        }
        Ok(RowPage { rows, removed, next, more: changed.next().is_some() })
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.check_level(level)?;
        loop {
            match self.reached(session, version)? {
                Ok(head) => return Ok(head),
                Err(mut waiting) => {
                    if let Some(change) = waiting.change.take() {
                        change.await;
                    }
                }
            }
        }
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        // A commit is through or refused when it was polled once.
        self.head(session).await
    }

    async fn erased(&self, _: SessionId) -> Result<Option<Erased>, StoreError> {
        Ok(None)
    }

    fn erasure(&self) -> Option<Erasure> {
        None
    }

    fn strongest(&self) -> Durability {
        self.shared.strongest
    }

    fn id(&self) -> StoreId {
        self.shared.id
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.closed = true;
        for waiters in state.waiters.values() {
            waiters.notify.notify_waiters();
        }
        Ok(())
    }
}
