//! The strict store in memory: it keeps sessions as long as the process lives, and refuses whatever any store may refuse.
//!
//! A commit is a few map operations under one lock, done when its future is first polled, and answered at once. Payloads are shared,
//! never copied.
//!
//! Must not know: what records say, or what a disk is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::{Moment, SessionId};
use sessions_ports::{
    Commit, Committed, Digest, Durability, Head, KindFilter, Order, Page, ReadRange, Record, Row, RowPage, SessionLog,
    StoreError, StoreId, StoredClaim,
};
use tokio::sync::{Notify, futures::OwnedNotified};

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
    keys: HashMap<Digest, SessionId>,
    /// **Invariant**: holds each session that has words once, under its `Log::change`.
    changes: BTreeMap<u64, SessionId>,
    last_change: u64,
    waiters: HashMap<SessionId, Waiters>,
}

/// One session. **Invariant**: records are numbered from `first` without gaps, and there is at least one.
struct Log {
    first: u64,
    records: Vec<Record>,
    labels: BTreeSet<(u64, u64)>,
    claims: HashMap<Digest, StoredClaim>,
    snapshot: Option<Bytes>,
    created: Moment,
    updated: Moment,
    messages: u64,
    words: Option<Bytes>,
    change: u64,
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
        let head = state.logs.get(&session).and_then(Log::head).ok_or(StoreError::NotFound { session })?;
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

/// What is wrong with a commit whatever the store holds. Gives the number of its last record.
fn check(commit: &Commit) -> Result<u64, StoreError> {
    let malformed = |what| Err(StoreError::Malformed { what });
    let (Some(first), Some(last)) = (commit.records.first(), commit.records.last()) else {
        return malformed("it has no records; give at least one");
    };
    match commit.expected.version() {
        None if first.seq == 0 => return malformed("records are numbered from 1"),
        None => {}
        Some(0) => return malformed("version 0 is no stream; expect that instead"),
        Some(version) if version.checked_add(1) != Some(first.seq) => {
            return malformed("its first record does not follow the version it expects");
        }
        Some(_) if commit.key.is_some() => {
            return malformed("a key comes with a session's first commit only");
        }
        Some(_) => {}
    }
    if commit.records.iter().zip(commit.records.iter().skip(1)).any(|(a, b)| a.seq.checked_add(1) != Some(b.seq)) {
        return malformed("its records are not numbered without gaps");
    }
    let count = commit.records.len();
    if commit.claims.iter().any(|claim| usize::try_from(claim.offset).is_ok_and(|offset| offset >= count)) {
        return malformed("a claim stands for a record it does not have");
    }
    if commit.claims.iter().enumerate().any(|(at, claim)| commit.claims.iter().skip(at + 1).any(|c| c.key == claim.key))
    {
        return malformed("it claims an idempotency key twice");
    }
    let optional = [&commit.snapshot, &commit.row.words];
    let extra = optional.into_iter().flatten().map(Bytes::len);
    let bytes = commit.records.iter().map(|record| record.payload.len()).chain(extra).map(|len| len as u64).sum();
    if bytes > MAX_COMMIT_BYTES {
        return Err(StoreError::TooLarge { bytes, max: MAX_COMMIT_BYTES });
    }
    Ok(last.seq)
}

impl State {
    /// What is wrong with a commit in the light of what is here.
    fn admit(&self, commit: &Commit) -> Result<(), StoreError> {
        let log = self.logs.get(&commit.session);
        let head = log.and_then(Log::head);
        match (commit.expected.version(), head) {
            (None, Some(_)) => return Err(StoreError::AlreadyExists { session: commit.session }),
            (Some(expected), head) if !head.is_some_and(|head| commit.expected.is_tail(head.version, head.commit)) => {
                return Err(StoreError::Conflict { expected, actual: head.map_or(0, |head| head.version) });
            }
            _ => {}
        }
        if let Some(holder) = commit.key.and_then(|key| self.keys.get(&key)) {
            return Err(StoreError::KeyTaken { session: *holder });
        }
        if log.is_some_and(|log| commit.claims.iter().any(|claim| log.claims.contains_key(&claim.key))) {
            return Err(StoreError::Malformed {
                what: "it claims an idempotency key that the session has; look it up",
            });
        }
        Ok(())
    }

    fn apply(&mut self, commit: Commit, version: u64) {
        let session = commit.session;
        if let Some(key) = commit.key {
            self.keys.insert(key, session);
        }
        let first = commit.records.first().map_or(version, |record| record.seq);
        let log = self.logs.entry(session).or_insert_with(|| Log::beginning(first, commit.row.updated));
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
        if let Some(waiters) = self.waiters.get(&session) {
            waiters.notify.notify_waiters();
        }
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

impl Log {
    fn beginning(first: u64, created: Moment) -> Self {
        Self {
            first,
            records: Vec::new(),
            labels: BTreeSet::new(),
            claims: HashMap::new(),
            snapshot: None,
            created,
            updated: created,
            messages: 0,
            words: None,
            change: 0,
        }
    }

    fn head(&self) -> Option<Head> {
        let last = self.records.last()?;
        Some(Head { version: last.seq, commit: last.commit, first: self.first })
    }

    /// Records of a range, oldest first, and the number of the first of them.
    fn slice(&self, from: u64, to: u64) -> &[Record] {
        let place = |seq: u64| usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = if to < self.first { 0 } else { place(to).saturating_add(1).min(self.records.len()) };
        self.records.get(place(from)..end).unwrap_or_default()
    }

    fn page(&self, range: ReadRange) -> Page {
        let slice = self.slice(range.from, range.to);
        match range.order {
            Order::OldestFirst => fill(slice.iter(), range),
            Order::NewestFirst => fill(slice.iter().rev(), range),
        }
    }
}

fn fill<'a>(records: impl Iterator<Item = &'a Record>, range: ReadRange) -> Page {
    let (mut page, mut bytes) = (Vec::new(), 0_usize);
    for record in records {
        if range.kinds == KindFilter::Elements && !record.kind.is_element() {
            continue;
        }
        bytes = bytes.saturating_add(record.payload.len());
        if page.len() >= range.max_records || (bytes > range.max_bytes && !page.is_empty()) {
            return Page { records: page, next: Some(record.seq) };
        }
        page.push(record.clone());
    }
    Page { records: page, next: None }
}

#[async_trait]
impl SessionLog for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut state = self.open()?;
        self.check_level(commit.durability)?;
        let version = check(&commit)?;
        state.admit(&commit)?;
        state.apply(commit, version);
        Ok(Committed { version, durability: self.shared.strongest })
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        Ok(self.open()?.logs.get(&session).and_then(Log::head))
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        let state = self.open()?;
        let log = state.logs.get(&session).ok_or(StoreError::NotFound { session })?;
        Ok(log.page(range))
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        let state = self.open()?;
        let labels = state.logs.get(&session).map(|log| log.labels.range((label, 0)..=(label, u64::MAX)));
        Ok(labels.into_iter().flatten().map(|(_, seq)| *seq).collect())
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
        let (mut rows, mut next) = (Vec::new(), since);
        for (change, session) in changed.by_ref().take(limit) {
            rows.extend(state.row(*session));
            next = *change;
        }
        Ok(RowPage { rows, next, more: changed.next().is_some() })
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
