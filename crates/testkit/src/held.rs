//! A store that holds commits, rewrites and removals back until it is told, in front of any other: what a slow disk does, as slowly as a test wants.
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
    BackendError, BackendErrorKind, Commit, Committed, Digest, Durability, Head, Heir, Link, Page, ReadRange, Removal,
    Removed, Rewrite, Rewritten, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};
use tokio::sync::{Notify, oneshot};

use crate::faulty::Injected;

/// Takes commits, rewrites and removals into a queue and writes them when it is told to. A clone is the same one.
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
    /// Commits, rewrites and removals that were queued so far.
    queued: u64,
    failed: Option<Injected>,
    closed: bool,
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

struct Held {
    number: u64,
    what: Step,
}

/// What is held back, and who hears of it.
enum Step {
    Commit(Box<Commit>, Answer<Committed>),
    Remove(Removal, Answer<Removed>),
    Rewrite(Box<Rewrite>, Answer<Rewritten>),
}

impl Held {
    fn session(&self) -> SessionId {
        match &self.what {
            Step::Commit(commit, _) => commit.session,
            Step::Remove(removal, _) => removal.session,
            Step::Rewrite(rewrite, _) => rewrite.session,
        }
    }

    fn commit(&self) -> Option<&Commit> {
        match &self.what {
            Step::Commit(commit, _) => Some(commit),
            Step::Remove(..) | Step::Rewrite(..) => None,
        }
    }

    fn version(&self) -> u64 {
        self.tail().map_or(0, |(version, _)| version)
    }

    fn tail(&self) -> Option<(u64, CommitHash)> {
        self.commit()?.records.last().map(|record| (record.seq, record.commit))
    }

    /// Does it now. Nobody has to wait for it.
    fn write(self, store: &dyn SessionLog) {
        match self.what {
            Step::Commit(commit, done) => drop(done.send(at_once(store.commit(*commit)))),
            Step::Remove(removal, done) => drop(done.send(at_once(store.remove(removal)))),
            Step::Rewrite(rewrite, done) => drop(done.send(at_once(store.rewrite(*rewrite)))),
        }
    }

    fn fail(self, answer: Injected) {
        match self.what {
            Step::Commit(_, done) => drop(done.send(Err(answer.error()))),
            Step::Remove(_, done) => drop(done.send(Err(answer.error()))),
            Step::Rewrite(_, done) => drop(done.send(Err(answer.error()))),
        }
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

    /// Commits, rewrites and removals that are held back now.
    pub fn held(&self) -> usize {
        self.lock().queue.len()
    }

    /// Waits until so many of them are held back.
    pub async fn until_held(&self, count: usize) {
        self.until(|state| (state.queue.len() >= count).then_some(())).await;
    }

    /// Writes what waits longest, if there is anything.
    pub fn write_one(&self) -> bool {
        let mut state = self.lock();
        let Some(held) = state.queue.pop_front() else { return false };
        held.write(&*self.inner);
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
        std::mem::take(&mut state.queue).into_iter().for_each(|held| held.fail(answer));
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

    /// Whether anything is taken at this level.
    fn check(&self, state: &State, asked: Durability) -> Result<(), StoreError> {
        let best = self.strongest();
        if state.closed {
            Err(StoreError::Closed)
        } else if asked > best {
            Err(StoreError::TooWeak { asked, best })
        } else {
            Ok(())
        }
    }

    /// The queued tail of a session.
    fn tail(&self, state: &State, session: SessionId) -> Result<Option<(u64, CommitHash)>, StoreError> {
        if state.is_leaving(session) {
            return Err(StoreError::Gone { session });
        }
        let last = state.queue.iter().filter(|held| held.session() == session).filter_map(Held::tail).next_back();
        Ok(last.or(at_once(self.inner.head(session))?.map(|head| (head.version, head.commit))))
    }

    /// Checks a commit against the queued tail.
    fn admit(&self, state: &State, commit: &Commit) -> Result<(), StoreError> {
        self.check(state, commit.durability)?;
        commit.check_tail(self.tail(state, commit.session)?)?;
        if let Some(key) = commit.key {
            let holder = state.commits().find(|other| other.key == Some(key)).map(|other| other.session);
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
        commit.links.iter().try_for_each(|link| self.check_link(state, *link))
    }

    /// Whether what a session would inherit is there, and will be.
    fn check_link(&self, state: &State, Link { owner, last }: Link) -> Result<(), StoreError> {
        match self.tail(state, owner) {
            Ok(None) => Err(StoreError::NotFound { session: owner }),
            Err(StoreError::Gone { .. }) => {
                let is_kept = self.queued_heirs(state, owner)?.iter().any(|heir| heir.last >= last);
                if is_kept { Ok(()) } else { Err(StoreError::Gone { session: owner }) }
            }
            other => other.map(drop),
        }
    }

    /// Who inherits from a session now, and who will.
    fn queued_heirs(&self, state: &State, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        let queued = state.commits().flat_map(|commit| {
            let links = commit.links.iter().filter(move |link| link.owner == session);
            links.map(|link| Heir { session: commit.session, last: link.last })
        });
        let queued: Vec<Heir> = queued.collect();
        let is_queued = state.commits().any(|commit| commit.session == session);
        let mut heirs = match at_once(self.inner.heirs(session)) {
            Err(StoreError::NotFound { .. }) if is_queued => Vec::new(),
            heirs => heirs?,
        };
        heirs.extend(queued);
        heirs.sort_by_key(|heir| heir.session);
        Ok(heirs)
    }

    fn take(&self, commit: Commit) -> Result<oneshot::Receiver<Result<Committed, StoreError>>, StoreError> {
        let mut state = self.lock();
        self.admit(&state, &commit)?;
        let (done, outcome) = oneshot::channel();
        state.hold(Step::Commit(Box::new(commit), done));
        drop(state);
        self.changed.notify_waiters();
        Ok(outcome)
    }

    fn take_removal(&self, removal: Removal) -> Result<oneshot::Receiver<Result<Removed, StoreError>>, StoreError> {
        let mut state = self.lock();
        self.check(&state, removal.durability)?;
        match self.tail(&state, removal.session) {
            // It waits for the one before it.
            Err(StoreError::Gone { .. }) => {}
            tail => {
                let (actual, _) = tail?.ok_or(StoreError::NotFound { session: removal.session })?;
                if let Some(expected) = removal.expected.filter(|expected| *expected != actual) {
                    return Err(StoreError::Conflict { expected, actual });
                }
            }
        }
        let (done, outcome) = oneshot::channel();
        state.hold(Step::Remove(removal, done));
        drop(state);
        self.changed.notify_waiters();
        Ok(outcome)
    }

    fn take_rewrite(&self, rewrite: Rewrite) -> Result<oneshot::Receiver<Result<Rewritten, StoreError>>, StoreError> {
        let mut state = self.lock();
        self.check(&state, rewrite.durability)?;
        if let (Some(expected), Ok(Some((actual, _)))) = (rewrite.expected, self.tail(&state, rewrite.session))
            && expected != actual
        {
            return Err(StoreError::Conflict { expected, actual });
        }
        let (done, outcome) = oneshot::channel();
        // All else the store behind it says in its turn.
        state.hold(Step::Rewrite(Box::new(Rewrite { expected: None, ..rewrite }), done));
        drop(state);
        self.changed.notify_waiters();
        Ok(outcome)
    }
}

impl State {
    fn hold(&mut self, what: Step) {
        self.queued += 1;
        self.queue.push_back(Held { number: self.queued, what });
    }

    fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.queue.iter().filter_map(Held::commit)
    }

    /// Whether the removal of a session is held back.
    fn is_leaving(&self, session: SessionId) -> bool {
        self.queue.iter().any(|held| held.session() == session && matches!(held.what, Step::Remove(..)))
    }
}

fn queued_claim(state: &State, session: SessionId, key: Digest) -> Option<StoredClaim> {
    let of_session = state.commits().filter(|commit| commit.session == session);
    of_session.flat_map(|commit| commit.claims.iter().map(move |claim| (commit, claim))).find_map(|(commit, claim)| {
        let first = commit.records.first().map_or(0, |record| record.seq);
        let version = commit.records.last().map_or(0, |record| record.seq);
        let stored = StoredClaim { payload: claim.payload, seq: first + u64::from(claim.offset), version };
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
        let inherits_from_itself = commit.links.iter().any(|link| link.owner == commit.session);
        if commit.records.is_empty() || commit.expected.version() == Some(0) || inherits_from_itself {
            // It has no place to be taken: the store behind says what is wrong with it.
            return self.inner.commit(commit).await;
        }
        self.take(commit)?.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.take_removal(removal)?.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        self.take_rewrite(rewrite)?.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        self.queued_heirs(&self.lock(), session)
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
            |state: &State| state.queue.iter().any(|held| held.session() == session && held.version() >= version);
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
        let is_left = |held: &Held| held.session() == session && held.number <= last;
        self.until(|state| (!state.queue.iter().any(is_left)).then_some(())).await;
        self.inner.settled(session).await
    }

    async fn erased(&self, session: SessionId) -> Result<Option<sessions_ports::Erased>, StoreError> {
        self.inner.erased(session).await
    }

    fn erasure(&self) -> Option<sessions_ports::Erasure> {
        self.inner.erasure()
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
