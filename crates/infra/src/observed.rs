//! A store that says what it is asked: a span around each call, and counters. `docs/observability.md` is the table of names.
//!
//! Nothing that a person wrote is in them: a span has the session's id, numbers and the kind of an error, never a key, a title or a body.
//! Where nobody listens, a call costs one small allocation and a few additions.
//!
//! Must not know: which store it is, or what its calls are for.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::Serialize;
use sessions_domain::SessionId;
use sessions_ports::{
    BackendErrorKind, Commit, Committed, Digest, Durability, Erased, Erasure, Head, Heir, Page, ReadRange, Removal,
    Removed, Rewrite, Rewritten, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};
use tracing::{Span, field::Empty};

/// Kinds of errors, as `error.type` has them.
const KINDS: [&str; 14] = [
    "conflict",
    "not_found",
    "corrupt",
    "no_space",
    "poisoned",
    "closed",
    "locked",
    "too_large",
    "malformed",
    "backup",
    "unavailable",
    "gone",
    "key",
    "other",
];

fn kind_of(error: &StoreError) -> usize {
    match error {
        StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::KeyTaken { .. } => 0,
        StoreError::NotFound { .. } | StoreError::NoStore => 1,
        StoreError::Corrupt { .. } | StoreError::FormatLost { .. } | StoreError::IdLost => 2,
        StoreError::NoSpace { .. } => 3,
        StoreError::Poisoned => 4,
        StoreError::Closed => 5,
        StoreError::Locked { .. } => 6,
        StoreError::TooLarge { .. } => 7,
        StoreError::Malformed { .. } | StoreError::TooWeak { .. } => 8,
        StoreError::Backup(_) => 9,
        StoreError::Backend(error) if error.kind == BackendErrorKind::Unavailable => 10,
        StoreError::Gone { .. } => 11,
        StoreError::Key(_) => 12,
        _ => 13,
    }
}

/// The name of an error's kind, as spans and counters have it.
pub fn error_type(error: &StoreError) -> &'static str {
    KINDS.get(kind_of(error)).copied().unwrap_or("other")
}

/// What was asked of a store since its manager was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreCounters {
    /// Commits that were made.
    pub appends: u64,
    /// Records in them.
    pub records_appended: u64,
    /// Bytes of their payloads.
    pub bytes_appended: u64,
    /// Pages that were read.
    pub reads: u64,
    /// Records in them.
    pub records_read: u64,
    /// Bytes of their payloads.
    pub bytes_read: u64,
    /// Sessions that were removed.
    pub removals: u64,
    /// Rewrites of records that were made.
    pub rewrites: u64,
    /// All other questions that were answered.
    pub questions: u64,
    /// Commits that are on their way now, and waited for.
    pub in_flight: u64,
    /// Calls that failed, by the kind of error; kinds that never came are left out.
    pub errors: Vec<(&'static str, u64)>,
}

#[derive(Default)]
struct Counts {
    calls: [AtomicU64; 5],
    appended: [AtomicU64; 2],
    read: [AtomicU64; 2],
    in_flight: AtomicU64,
    errors: [AtomicU64; KINDS.len()],
}

/// What a call is counted as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Commit,
    Read,
    Remove,
    Rewrite,
    Question,
}

/// How much a call carried: records, and bytes of their payloads.
type Load = (u64, u64);

/// A store, observed. Clones observe the same one.
#[derive(Clone)]
pub struct ObservedStore {
    store: Arc<dyn SessionLog>,
    kind: &'static str,
    counts: Arc<Counts>,
}

impl fmt::Debug for ObservedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedStore").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A span around a call, at level `debug`; none where nobody listens.
macro_rules! span {
    ($store:expr, $call:literal, $session:expr, $load:expr) => {{
        let span = tracing::debug_span!(
            target: "sessions::store",
            concat!("store ", $call),
            "db.system.name" = $store.kind,
            "db.operation.name" = $call,
            "gen_ai.conversation.id" = Empty,
            "sessions.records" = Empty,
            "sessions.bytes" = Empty,
            "error.type" = Empty,
        );
        if !span.is_disabled() {
            let session: Option<SessionId> = $session;
            if let Some(session) = session {
                span.record("gen_ai.conversation.id", tracing::field::display(session));
            }
            let load: Option<Load> = $load;
            if let Some((records, bytes)) = load {
                span.record("sessions.records", records).record("sessions.bytes", bytes);
            }
        }
        span
    }};
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A call on its way.
struct Observed<'a, T> {
    answer: Answer<'a, T>,
    call: Call,
    span: Span,
    counts: &'a Counts,
    /// What the answer carries; for a commit: what went in.
    load: fn(&T) -> Option<Load>,
    given: Load,
    is_in_flight: bool,
}

impl<T> Future for Observed<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.call == Call::Commit && !this.is_in_flight {
            this.is_in_flight = true;
            this.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let Poll::Ready(answer) = this.span.in_scope(|| this.answer.as_mut().poll(cx)) else { return Poll::Pending };
        match &answer {
            Ok(value) => {
                let load = (this.load)(value);
                if let Some((records, bytes)) = load.filter(|_| !this.span.is_disabled()) {
                    this.span.record("sessions.records", records).record("sessions.bytes", bytes);
                }
                this.counts.answered(this.call, load.unwrap_or(this.given));
            }
            Err(error) => {
                this.span.record("error.type", error_type(error));
                this.counts.failed(error);
            }
        }
        Poll::Ready(answer)
    }
}

impl<T> Drop for Observed<'_, T> {
    fn drop(&mut self) {
        if self.is_in_flight {
            self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Counts {
    fn answered(&self, call: Call, (records, bytes): Load) {
        let [appends, reads, removals, rewrites, questions] = &self.calls;
        let (count, sums) = match call {
            Call::Commit => (appends, Some(&self.appended)),
            Call::Read => (reads, Some(&self.read)),
            Call::Remove => (removals, None),
            Call::Rewrite => (rewrites, None),
            Call::Question => (questions, None),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some([of_records, of_bytes]) = sums {
            of_records.fetch_add(records, Ordering::Relaxed);
            of_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn failed(&self, error: &StoreError) {
        if let Some(count) = self.errors.get(kind_of(error)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ObservedStore {
    /// Observes a store. `kind` is what spans call it, as in `sled`.
    pub fn new(store: Arc<dyn SessionLog>, kind: &'static str) -> Self {
        Self { store, kind, counts: Arc::default() }
    }

    /// What was asked of it.
    pub fn counters(&self) -> StoreCounters {
        let counts = &*self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ([appends, reads, removals, rewrites, questions], [of_appended, bytes_appended]) =
            (&counts.calls, &counts.appended);
        let [of_read, bytes_read] = &counts.read;
        let errors = KINDS.iter().zip(&counts.errors).map(|(kind, count)| (*kind, get(count)));
        StoreCounters {
            appends: get(appends),
            records_appended: get(of_appended),
            bytes_appended: get(bytes_appended),
            reads: get(reads),
            records_read: get(of_read),
            bytes_read: get(bytes_read),
            removals: get(removals),
            rewrites: get(rewrites),
            questions: get(questions),
            in_flight: get(&counts.in_flight),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn observed<'a, T: 'a>(
        &'a self,
        call: Call,
        span: Span,
        given: Load,
        load: fn(&T) -> Option<Load>,
        answer: Answer<'a, T>,
    ) -> Answer<'a, T> {
        Box::pin(Observed { answer, call, span, counts: &self.counts, load, given, is_in_flight: false })
    }

    fn question<'a, T: 'a>(&'a self, span: Span, answer: Answer<'a, T>) -> Answer<'a, T> {
        self.observed(Call::Question, span, (0, 0), |_| None, answer)
    }
}

fn load_of<'a>(payloads: impl Iterator<Item = &'a Bytes>) -> Load {
    payloads.fold((0, 0), |(records, bytes), payload| (records + 1, bytes + payload.len() as u64))
}

// Written out, where the macro of the port would put each call into a box of its own before it goes on to the store's.
impl SessionLog for ObservedStore {
    fn commit<'a, 'b>(&'a self, commit: Commit) -> Answer<'b, Committed>
    where
        'a: 'b,
        Self: 'b,
    {
        let load = load_of(commit.records.iter().map(|record| &record.payload));
        let span = span!(self, "commit", Some(commit.session), Some(load));
        self.observed(Call::Commit, span, load, |_| None, self.store.commit(commit))
    }

    fn remove<'a, 'b>(&'a self, removal: Removal) -> Answer<'b, Removed>
    where
        'a: 'b,
        Self: 'b,
    {
        let span = span!(self, "remove", Some(removal.session), None);
        let load = |removed: &Removed| Some((removed.records, removed.bytes));
        self.observed(Call::Remove, span, (0, 0), load, self.store.remove(removal))
    }

    fn rewrite<'a, 'b>(&'a self, rewrite: Rewrite) -> Answer<'b, Rewritten>
    where
        'a: 'b,
        Self: 'b,
    {
        let load = load_of(rewrite.records.iter().map(|record| &record.payload));
        let span = span!(self, "rewrite", Some(rewrite.session), Some(load));
        self.observed(Call::Rewrite, span, load, |_| None, self.store.rewrite(rewrite))
    }

    fn heirs<'a, 'b>(&'a self, session: SessionId) -> Answer<'b, Vec<Heir>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "heirs", Some(session), None), self.store.heirs(session))
    }

    fn head<'a, 'b>(&'a self, session: SessionId) -> Answer<'b, Option<Head>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "head", Some(session), None), self.store.head(session))
    }

    fn read<'a, 'b>(&'a self, session: SessionId, range: ReadRange) -> Answer<'b, Page>
    where
        'a: 'b,
        Self: 'b,
    {
        let span = span!(self, "read", Some(session), None);
        let load = |page: &Page| Some(load_of(page.records.iter().map(|record| &record.payload)));
        self.observed(Call::Read, span, (0, 0), load, self.store.read(session, range))
    }

    fn find<'a, 'b>(&'a self, session: SessionId, label: u64) -> Answer<'b, Vec<u64>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "find", Some(session), None), self.store.find(session, label))
    }

    fn snapshot<'a, 'b>(&'a self, session: SessionId) -> Answer<'b, Option<Bytes>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "snapshot", Some(session), None), self.store.snapshot(session))
    }

    fn by_key<'a, 'b>(&'a self, key: Digest) -> Answer<'b, Option<SessionId>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "by_key", None, None), self.store.by_key(key))
    }

    fn claim<'a, 'b>(&'a self, session: SessionId, key: Digest) -> Answer<'b, Option<StoredClaim>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "claim", Some(session), None), self.store.claim(session, key))
    }

    fn rows<'a, 'b>(&'a self, since: u64, limit: usize) -> Answer<'b, RowPage>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "rows", None, None), self.store.rows(since, limit))
    }

    fn wait<'a, 'b>(&'a self, session: SessionId, version: u64, level: Durability) -> Answer<'b, Head>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "wait", Some(session), None), self.store.wait(session, version, level))
    }

    fn settled<'a, 'b>(&'a self, session: SessionId) -> Answer<'b, Option<Head>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "settled", Some(session), None), self.store.settled(session))
    }

    fn erased<'a, 'b>(&'a self, session: SessionId) -> Answer<'b, Option<Erased>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "erased", Some(session), None), self.store.erased(session))
    }

    fn erasure(&self) -> Option<Erasure> {
        self.store.erasure()
    }

    fn strongest(&self) -> Durability {
        self.store.strongest()
    }

    fn id(&self) -> StoreId {
        self.store.id()
    }

    fn close<'a, 'b>(&'a self) -> Answer<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        self.question(span!(self, "close", None, None), self.store.close())
    }
}
