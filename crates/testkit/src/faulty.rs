//! A store that fails when it is told to, hesitates, or lets something else happen within a call, in front of any other.
//!
//! Must not know: which store it stands before.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use sessions_domain::SessionId;
use sessions_ports::{
    BackendError, BackendErrorKind, Commit, Committed, Digest, Durability, Head, Heir, Page, ReadRange, Removal,
    Removed, Rewrite, Rewritten, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};

/// A method of [`SessionLog`] that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// [`SessionLog::commit`].
    Commit,
    /// [`SessionLog::remove`].
    Remove,
    /// [`SessionLog::rewrite`].
    Rewrite,
    /// [`SessionLog::heirs`].
    Heirs,
    /// [`SessionLog::head`].
    Head,
    /// [`SessionLog::read`].
    Read,
    /// [`SessionLog::find`].
    Find,
    /// [`SessionLog::snapshot`].
    Snapshot,
    /// [`SessionLog::by_key`].
    ByKey,
    /// [`SessionLog::claim`].
    Claim,
    /// [`SessionLog::rows`].
    Rows,
    /// [`SessionLog::wait`].
    Wait,
    /// [`SessionLog::settled`].
    Settled,
    /// [`SessionLog::erased`].
    Erased,
    /// [`SessionLog::close`].
    Close,
}

/// When a call fails. Never between: a commit is whole or absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing happened.
    Before,
    /// It happened, and the answer is lost.
    After,
}

/// What a failed call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injected {
    /// [`StoreError::Poisoned`].
    Poisoned,
    /// A [`BackendError`] of kind [`BackendErrorKind::Unavailable`].
    Unavailable,
    /// A [`BackendError`] of kind [`BackendErrorKind::Io`].
    Io,
    /// [`StoreError::NoSpace`].
    NoSpace,
    /// [`StoreError::Closed`].
    Closed,
}

impl Injected {
    pub(crate) fn error(self) -> StoreError {
        let backend =
            |kind| StoreError::Backend(BackendError::new(kind, "a call that was told to fail", "injected fault"));
        match self {
            Self::Poisoned => StoreError::Poisoned,
            Self::Unavailable => backend(BackendErrorKind::Unavailable),
            Self::Io => backend(BackendErrorKind::Io),
            Self::NoSpace => StoreError::NoSpace { operation: "a call that was told to fail" },
            Self::Closed => StoreError::Closed,
        }
    }
}

/// One failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which method; `None`: any.
    pub call: Option<Call>,
    /// Which of its calls from now on, counted from 1.
    pub nth: u64,
    /// Before or after it happens.
    pub when: When,
    /// What it answers.
    pub answer: Injected,
}

/// Stands before a store, counts its calls and fails those it was told to. A clone is the same one.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn SessionLog>,
    hesitates: bool,
    state: Arc<Mutex<State>>,
}

/// Something that happens within a call, and the calls that are left until then.
struct Interlude {
    call: Call,
    nth: u64,
    what: BoxFuture<'static, ()>,
}

type Watcher = Arc<dyn Fn(&Commit) + Send + Sync>;

#[derive(Default)]
struct State {
    calls: HashMap<Call, u64>,
    total: u64,
    /// With the calls that are left until it strikes.
    faults: Vec<Fault>,
    interludes: Vec<Interlude>,
    struck: u64,
    watcher: Option<Watcher>,
}

impl FaultyStore {
    /// Before this store, without faults.
    pub fn over(inner: Arc<dyn SessionLog>) -> Self {
        Self { inner, hesitates: false, state: Arc::default() }
    }

    /// Before this store, without faults. Each call gives way once before it happens and once after, so that a future can be dropped at
    /// either. A commit, rewrite or removal has its place when it first gives way, as the port promises.
    pub fn hesitating(inner: Arc<dyn SessionLog>) -> Self {
        Self { hesitates: true, ..Self::over(inner) }
    }

    /// Adds a failure, which happens once.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Lets something happen within the `nth` call from now on: after the store did its part, and before its caller hears of it. So a
    /// race has one outcome, however the threads run.
    pub fn meanwhile(&self, call: Call, nth: u64, what: impl Future<Output = ()> + Send + 'static) {
        self.lock().interludes.push(Interlude { call, nth, what: what.boxed() });
    }

    /// Shows each commit to somebody before it happens.
    pub fn watch(&self, sees: impl Fn(&Commit) + Send + Sync + 'static) {
        self.lock().watcher = Some(Arc::new(sees));
    }

    async fn interlude(&self, call: Call) {
        let due = {
            let mut state = self.lock();
            let mine = state.interludes.iter_mut().filter(|interlude| interlude.call == call);
            mine.for_each(|interlude| interlude.nth = interlude.nth.saturating_sub(1));
            let due = state.interludes.iter().position(|interlude| interlude.call == call && interlude.nth == 0);
            due.map(|at| state.interludes.swap_remove(at))
        };
        if let Some(due) = due {
            due.what.await;
        }
    }

    /// Takes all failures back that have not happened.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Calls of one method so far, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Calls of all methods so far.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Failures that happened. A test that expects one should see it here: a fault that never struck tests nothing.
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. An error: it fails before it happens. A fault: it fails afterwards.
    fn enter(&self, call: Call) -> Result<Option<Injected>, StoreError> {
        let mut state = self.lock();
        *state.calls.entry(call).or_insert(0) += 1;
        state.total += 1;
        let mut striking = None;
        state.faults.retain_mut(|fault| {
            if fault.call.is_some_and(|only| only != call) {
                return true;
            }
            fault.nth = fault.nth.saturating_sub(1);
            if fault.nth == 0 && striking.is_none() {
                striking = Some(*fault);
                return false;
            }
            true
        });
        state.struck += u64::from(striking.is_some());
        match striking {
            Some(Fault { when: When::Before, answer, .. }) => Err(answer.error()),
            later => Ok(later.map(|fault| fault.answer)),
        }
    }

    /// Lets a call happen, with all that was told of it.
    async fn around<T, F>(&self, call: Call, happens: impl FnOnce() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let fault = self.enter(call)?;
        let mut happens = std::pin::pin!(happens());
        let early = if self.hesitates && matches!(call, Call::Commit | Call::Remove | Call::Rewrite) {
            happens.as_mut().now_or_never()
        } else {
            None
        };
        if self.hesitates {
            tokio::task::yield_now().await;
        }
        let answer = match early {
            Some(answer) => answer,
            None => happens.await,
        };
        self.interlude(call).await;
        if self.hesitates {
            tokio::task::yield_now().await;
        }
        leave(fault, answer)
    }
}

/// The answer, unless it is to be lost. What failed by itself keeps its own error.
fn leave<T>(fault: Option<Injected>, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    answer.and_then(|answer| fault.map_or(Ok(answer), |fault| Err(fault.error())))
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("FaultyStore")
            .field("total", &state.total)
            .field("faults", &state.faults)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionLog for FaultyStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let watcher = self.lock().watcher.clone();
        if let Some(watcher) = watcher {
            watcher(&commit);
        }
        self.around(Call::Commit, || self.inner.commit(commit)).await
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.around(Call::Remove, || self.inner.remove(removal)).await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        self.around(Call::Rewrite, || self.inner.rewrite(rewrite)).await
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        self.around(Call::Heirs, || self.inner.heirs(session)).await
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around(Call::Head, || self.inner.head(session)).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.around(Call::Read, || self.inner.read(session, range)).await
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.around(Call::Find, || self.inner.find(session, label)).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.around(Call::Snapshot, || self.inner.snapshot(session)).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.around(Call::ByKey, || self.inner.by_key(key)).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.around(Call::Claim, || self.inner.claim(session, key)).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.around(Call::Rows, || self.inner.rows(since, limit)).await
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.around(Call::Wait, || self.inner.wait(session, version, level)).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around(Call::Settled, || self.inner.settled(session)).await
    }

    async fn erased(&self, session: SessionId) -> Result<Option<sessions_ports::Erased>, StoreError> {
        self.around(Call::Erased, || self.inner.erased(session)).await
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
        self.around(Call::Close, || self.inner.close()).await
    }
}
