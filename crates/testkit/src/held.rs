//! A store that holds commits back until it is told, in front of any other: what a slow disk does, as slowly as a test wants.
//!
//! Must not know: which store it stands before.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use sessions_domain::{CommitHash, SessionId};
use sessions_ports::{
    BackendError, BackendErrorKind, Commit, Committed, Digest, Durability, Head, Page, ReadRange, RowPage, SessionLog,
    StoreError, StoreId, StoredClaim,
};
use tokio::sync::{Notify, oneshot};

use crate::faulty::Injected;

/// Takes commits into a queue and writes them when it is told to. A clone is the same one.
///
/// Places in the log are taken at the first poll, and a commit happens whoever waits for it, as the port promises. The store behind it
/// has to answer when it is polled once, as one in memory does.
#[derive(Clone)]
pub struct HeldStore {
    inner: Arc<dyn SessionLog>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Held>,
    /// Commits that were queued so far.
    queued: u64,
    failed: Option<Injected>,
    closed: bool,
}

struct Held {
    number: u64,
    commit: Commit,
    done: oneshot::Sender<Result<Committed, StoreError>>,
}

impl Held {
    fn version(&self) -> u64 {
        self.tail().0
    }

    fn tail(&self) -> (u64, CommitHash) {
        self.commit.records.last().map_or((0, CommitHash::ZERO), |record| (record.seq, record.commit))
    }
}

/// The answer of a call that the store behind gives at once.
fn at_once<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || BackendError::new(BackendErrorKind::Internal, "holding a store back", "it did not answer at once");
    call.now_or_never().unwrap_or_else(|| Err(late().into()))
}

impl HeldStore {
    /// Before this store.
    pub fn over(inner: Arc<dyn SessionLog>) -> Self {
        Self { inner, state: Arc::default(), changed: Arc::default() }
    }

    /// Commits that are held back now.
    pub fn held(&self) -> usize {
        self.lock().queue.len()
    }

    /// Waits until so many commits are held back.
    pub async fn until_held(&self, count: usize) {
        self.until(|state| (state.queue.len() >= count).then_some(())).await;
    }

    /// Writes the commit that waits longest, if there is one.
    pub fn write_one(&self) -> bool {
        let mut state = self.lock();
        let Some(Held { commit, done, .. }) = state.queue.pop_front() else { return false };
        // Nobody has to wait for it.
        let _ = done.send(at_once(self.inner.commit(commit)));
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// Writes everything that is held back.
    pub fn write_all(&self) {
        while self.write_one() {}
    }

    /// Fails everything that is held back. Nothing of it is written.
    pub fn fail_all(&self, answer: Injected) {
        let mut state = self.lock();
        state.failed = Some(answer);
        for held in std::mem::take(&mut state.queue) {
            let _ = held.done.send(Err(answer.error()));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until<T>(&self, holds: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = holds(&self.lock());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// Checks a commit against the queued tail.
    fn admit(&self, state: &State, commit: &Commit) -> Result<(), StoreError> {
        if state.closed {
            return Err(StoreError::Closed);
        }
        if commit.durability > self.strongest() {
            return Err(StoreError::TooWeak { asked: commit.durability, best: self.strongest() });
        }
        let queued = || state.queue.iter().map(|held| (held, &held.commit));
        let last = queued().filter(|(_, other)| other.session == commit.session).map(|(held, _)| held.tail()).last();
        let tail = last.or(at_once(self.inner.head(commit.session))?.map(|head| (head.version, head.commit)));
        match (commit.expected.version(), tail) {
            (None, Some(_)) => return Err(StoreError::AlreadyExists { session: commit.session }),
            (Some(expected), tail) if !tail.is_some_and(|(version, tip)| commit.expected.is_tail(version, tip)) => {
                return Err(StoreError::Conflict { expected, actual: tail.map_or(0, |(version, _)| version) });
            }
            _ => {}
        }
        if let Some(key) = commit.key {
            let holder = queued().find(|(_, other)| other.key == Some(key)).map(|(_, other)| other.session);
            if let Some(session) = holder.or(at_once(self.inner.by_key(key))?) {
                return Err(StoreError::KeyTaken { session });
            }
        }
        for claim in &commit.claims {
            let made = queued_claim(state, commit.session, claim.key);
            if made.or(at_once(self.inner.claim(commit.session, claim.key))?).is_some() {
                return Err(StoreError::Malformed { what: "it claims an idempotency key that the session has" });
            }
        }
        Ok(())
    }

    fn take(&self, commit: Commit) -> Result<oneshot::Receiver<Result<Committed, StoreError>>, StoreError> {
        let mut state = self.lock();
        self.admit(&state, &commit)?;
        let (done, outcome) = oneshot::channel();
        state.queued += 1;
        let number = state.queued;
        state.queue.push_back(Held { number, commit, done });
        drop(state);
        self.changed.notify_waiters();
        Ok(outcome)
    }
}

fn queued_claim(state: &State, session: SessionId, key: Digest) -> Option<StoredClaim> {
    let of_session = state.queue.iter().filter(|held| held.commit.session == session);
    of_session.flat_map(|held| held.commit.claims.iter().map(move |claim| (held, claim))).find_map(|(held, claim)| {
        let first = held.commit.records.first().map_or(0, |record| record.seq);
        let stored =
            StoredClaim { payload: claim.payload, seq: first + u64::from(claim.offset), version: held.version() };
        (claim.key == key).then_some(stored)
    })
}

impl fmt::Debug for HeldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldStore").field("held", &self.held()).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionLog for HeldStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if commit.records.is_empty() || commit.expected.version() == Some(0) {
            // It has no place to be taken: the store behind says what is wrong with it.
            return self.inner.commit(commit).await;
        }
        self.take(commit)?.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.inner.head(session).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.inner.read(session, range).await
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.inner.find(session, label).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.inner.snapshot(session).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.inner.by_key(key).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        let queued = queued_claim(&self.lock(), session, key);
        if queued.is_some() { Ok(queued) } else { self.inner.claim(session, key).await }
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.inner.rows(since, limit).await
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        let is_held =
            |state: &State| state.queue.iter().any(|held| held.commit.session == session && held.version() >= version);
        if is_held(&self.lock()) {
            self.until(|state| (!is_held(state)).then_some(())).await;
            if at_once(self.inner.head(session))?.is_none_or(|head| head.version < version) {
                return Err(self.lock().failed.map_or(StoreError::Closed, Injected::error));
            }
        }
        self.inner.wait(session, version, level).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        let last = self.lock().queued;
        let is_left = |held: &Held| held.commit.session == session && held.number <= last;
        self.until(|state| (!state.queue.iter().any(is_left)).then_some(())).await;
        self.inner.settled(session).await
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.lock().closed = true;
        self.fail_all(Injected::Closed);
        self.inner.close().await
    }
}
