//! The one piece of machinery behind everything that changes a session: load, decide, commit, apply.
//!
//! Deciding, chaining, queueing and applying happen under the lane's lock without a pause, so a caller that goes away leaves either
//! nothing or all of it. Waiting happens outside.
//!
//! Must not know: what is decided.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};
use sessions_domain::{Blind, CommitHash, Event, LineageId, Stamp, SummaryWords, View, codec};
use sessions_ports::{Claim, Commit, Committed, Digest, Durability, Expected, Record, RowChange, StoreError};

use crate::{
    error::SessionError,
    keyed,
    lane::{Decided, Lane, LaneState, Outcome, Settling},
    manager::SessionManager,
    reading::single,
};

/// What was decided.
pub(crate) struct Plan {
    pub(crate) events: Vec<Event>,
    pub(crate) claim: Option<(Digest, Digest)>,
}

impl Plan {
    pub(crate) fn of(event: Event) -> Self {
        Self { events: vec![event], claim: None }
    }

    fn leaves_the_trash(&self) -> bool {
        self.events.iter().all(|event| matches!(event, Event::Restored))
    }
}

/// A commit that is through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Through {
    /// The first record's number.
    pub(crate) first: u64,
    pub(crate) version: u64,
    pub(crate) head: CommitHash,
    pub(crate) durability: Durability,
}

/// The largest record body, in bytes.
pub(crate) const MAX_BODY_BYTES: u64 = 64 << 20;

/// A snapshot goes with a commit after so many records at least.
const SNAPSHOT_EVERY: u64 = 64;

/// How often a decision is taken again because another writer was faster.
pub(crate) const MAX_ATTEMPTS: usize = 10_000;

/// The future of a commit, and the records it holds as a view takes them in.
type Submission = (std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>, Vec<Decided>);

/// What is left of a commit that is on its way.
type Rest = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl SessionManager {
    /// Decides and commits; decides again when another writer was faster. `None` from `decide`: nothing is to be done.
    pub(crate) async fn transact(
        &self,
        lane: &Arc<Lane>,
        durability: Durability,
        mut decide: impl FnMut(&View) -> Result<Option<Plan>, SessionError> + Send,
    ) -> Result<Option<Through>, SessionError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(placed) = self.place(lane, durability, &mut decide).await? else { return Ok(None) };
            match self.through(lane, placed).await {
                Ok(through) => return Ok(Some(through)),
                Err(StoreError::Conflict { expected, .. }) => self.catch_up(lane, expected).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(lost_every_race(lane))
    }

    /// Decides and queues: the commit has its place in the log when this answers, and is not through yet.
    ///
    /// The store checks the place, so deciding begins with the view that is there. Only when that does not lead to a commit is the
    /// store asked whether it is the newest.
    pub(crate) async fn place(
        &self,
        lane: &Arc<Lane>,
        durability: Durability,
        decide: &mut (impl FnMut(&View) -> Result<Option<Plan>, SessionError> + Send),
    ) -> Result<Option<Placed>, SessionError> {
        self.check_writable()?;
        let mut is_fresh = false;
        loop {
            is_fresh |= !lane.lock().is_ready();
            if is_fresh {
                self.refresh(lane).await?;
            }
            let (placed, rest) = {
                let mut state = lane.lock();
                let Some(view) = state.tail() else { continue };
                check_readable(&view)?;
                let wished = match decide(&view) {
                    Ok(Some(plan)) if view.trashed().is_some() && !plan.leaves_the_trash() => {
                        Err(SessionError::InTrash { session: lane.id })
                    }
                    wished => wished,
                };
                let plan = match wished {
                    Ok(Some(plan)) => plan,
                    outcome if is_fresh => return outcome.map(|_| None),
                    _ => {
                        is_fresh = true;
                        continue;
                    }
                };
                let submission = self.submit(&view, plan, durability)?;
                drop(view);
                self.start(lane, &mut state, submission, durability)?
            };
            // Not under the lane's lock: a runtime that is ending, or none at all, drops the task at once, and that settles the lane.
            if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
                runtime.spawn(self.tasks().committing(rest));
            }
            return Ok(Some(placed));
        }
    }

    /// Waits until the commit has reached its level.
    ///
    /// When whoever listened for it is gone with its runtime, the log tells: the commit's hash stands there, or it was not written.
    pub(crate) async fn through(&self, lane: &Lane, placed: Placed) -> Result<Through, StoreError> {
        let Placed { started, first, version, head, durability } = placed;
        let outcome = match started {
            Started::Done(outcome) => outcome,
            Started::Queued(outcome) => match outcome.await {
                Ok(outcome) => outcome,
                Err(_) => self.looked_up(lane, first, version, head, durability).await,
            },
        };
        let done = outcome?;
        Ok(Through { first, version: done.version, head, durability: done.durability })
    }

    async fn looked_up(
        &self,
        lane: &Lane,
        first: u64,
        version: u64,
        head: CommitHash,
        durability: Durability,
    ) -> Outcome {
        let store = &self.ports().store;
        let settled = store.settled(lane.id).await?.ok_or(StoreError::NotFound { session: lane.id })?;
        let page = store.read(lane.id, single(version)).await?;
        if page.records.first().is_some_and(|record| record.commit == head) {
            store.wait(lane.id, version, durability).await?;
            return Ok(Committed { version, durability });
        }
        Err(StoreError::Conflict { expected: first.saturating_sub(1), actual: settled.version })
    }

    /// Waits until what another writer appended is visible or has failed, and the lane's view can be loaded again.
    pub(crate) async fn catch_up(&self, lane: &Lane, expected: u64) -> Result<(), SessionError> {
        self.counts().retried();
        self.ports().store.settled(lane.id).await?;
        // While commits of this lane are on their way its view cannot be loaded again, and trying with it would only conflict.
        lane.moved_on(expected).await;
        Ok(())
    }

    /// Polls the commit once, which gives it its place in the log, and takes its records into the lane. What is left of it is to be
    /// run to its end.
    fn start(
        &self,
        lane: &Arc<Lane>,
        state: &mut LaneState,
        (mut commit, records): Submission,
        durability: Durability,
    ) -> Result<(Placed, Option<Rest>), SessionError> {
        let invalid = |source| SessionError::InvalidHistory { session: lane.id, source };
        let first = records.first().map_or(0, |record| record.seq);
        let (version, head) = records.last().map_or((0, CommitHash::ZERO), |record| (record.seq, record.commit));
        let placed = |started| Placed { started, first, version, head, durability };
        match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(done)) if state.is_quiet() => {
                state.apply(&records).map_err(invalid)?;
                Ok((placed(Started::Done(Ok(done))), None))
            }
            Poll::Ready(Err(error)) => {
                match error {
                    StoreError::Conflict { .. } => state.doubt(),
                    _ if state.is_quiet() => state.forget(),
                    _ => {}
                }
                Ok((placed(Started::Done(Err(error))), None))
            }
            polled => {
                let outcome = state.enqueue(records).map_err(invalid)?;
                let settling = Settling::new(Arc::clone(lane), version);
                let rest = async move {
                    let outcome = match polled {
                        Poll::Ready(outcome) => outcome,
                        Poll::Pending => commit.await,
                    };
                    settling.heard(outcome);
                };
                Ok((placed(Started::Queued(outcome)), Some(Box::pin(rest))))
            }
        }
    }

    /// Stamps, encodes and chains events behind a view.
    fn submit(&self, view: &View, plan: Plan, durability: Durability) -> Result<Submission, SessionError> {
        let stamp = Stamp { at: self.ports().clock.now(), actor: self.actor().clone() };
        let chain = Chain { lineage: view.lineage(), seq: view.version(), commit: view.commit() };
        let (records, decided) = self.chained(chain, plan.events, &stamp)?;
        let mut after: Option<View> = None;
        if decided.iter().any(|record| changes_words(&record.event)) {
            after = Some(applied(view, &decided)?);
        }
        let words = after.as_ref().map(words_of);
        let messages = decided.iter().rev().find_map(|record| visible_after(&record.event)).unwrap_or(view.depth());
        let only_touched = decided.iter().all(|record| record.event == Event::Touched);
        let updated = if only_touched { view.updated() } else { stamp.at };
        let (before, every) = (view.version(), snapshot_every(view));
        let crosses = before / every < (before + records.len() as u64) / every;
        let commit = Commit {
            session: view.session(),
            expected: Expected::Behind { version: view.version(), commit: view.commit() },
            records,
            row: RowChange { updated, messages, words },
            key: None,
            claims: plan.claim.map(|(key, payload)| Claim { key, payload, offset: 0 }).into_iter().collect(),
            links: Vec::new(),
            snapshot: crosses.then(|| Bytes::from(view.to_snapshot())),
            durability,
        };
        let store = Arc::clone(&self.ports().store);
        Ok((Box::pin(async move { store.commit(commit).await }), decided))
    }

    /// Encodes events and chains them.
    pub(crate) fn chained(
        &self,
        mut chain: Chain,
        events: Vec<Event>,
        stamp: &Stamp,
    ) -> Result<(Vec<Record>, Vec<Decided>), SessionError> {
        let mut records = Vec::with_capacity(events.len());
        let mut decided = Vec::with_capacity(events.len());
        for event in events {
            let record = chain.next(&event, stamp, self.blind()?)?;
            decided.push(Decided { seq: record.seq, event, stamp: stamp.clone(), commit: record.commit });
            records.push(record);
        }
        Ok((records, decided))
    }

    pub(crate) fn blind(&self) -> Result<Blind, SessionError> {
        let mut blind = [0; 32];
        self.ports().entropy.fill(&mut blind)?;
        Ok(blind)
    }
}

/// After how many records a snapshot goes with a commit. It is as long as the tree has runs, so with many of them it goes the more rarely, and
/// its share of each record stays the same.
fn snapshot_every(view: &View) -> u64 {
    let runs = view.tree().run_count() as u64;
    (runs / 4).next_power_of_two().max(SNAPSHOT_EVERY)
}

/// Nothing is decided about a history that cannot be read: what stands there may not be what it seems.
pub(crate) fn check_readable(view: &View) -> Result<(), SessionError> {
    match view.unreadable() {
        None => Ok(()),
        Some(seq) => {
            let session = view.owner_of(seq);
            let what = if session == view.session() {
                "nothing is appended to its session before it is repaired"
            } else {
                "nothing is appended to a fork that inherits it before it is repaired, its keys are put back, or its session is shredded with `--detach` and `--accept-loss`"
            };
            Err(StoreError::Corrupt { session, seq, what }.into())
        }
    }
}

enum Started {
    Done(Outcome),
    Queued(tokio::sync::oneshot::Receiver<Outcome>),
}

/// A commit that has its place in the log, unless it was refused at once.
pub(crate) struct Placed {
    started: Started,
    first: u64,
    version: u64,
    head: CommitHash,
    durability: Durability,
}

impl Placed {
    /// The version that it expected, when another writer had that place already.
    pub(crate) fn lost_its_place(&self) -> Option<u64> {
        match self.started {
            Started::Done(Err(StoreError::Conflict { expected, .. })) => Some(expected),
            _ => None,
        }
    }

    /// The number of its last record.
    pub(crate) fn last(&self) -> u64 {
        self.version
    }
}

/// What is left to say after [`MAX_ATTEMPTS`] conflicts.
pub(crate) fn lost_every_race(lane: &Lane) -> SessionError {
    let at = lane.lock().tail_version().unwrap_or(0);
    SessionError::Conflict { expected: at, actual: at }
}

/// Where a chain stands.
pub(crate) struct Chain {
    pub(crate) lineage: LineageId,
    pub(crate) seq: u64,
    pub(crate) commit: CommitHash,
}

impl Chain {
    /// The next record of the chain.
    pub(crate) fn next(&mut self, event: &Event, stamp: &Stamp, blind: Blind) -> Result<Record, SessionError> {
        let kind = event.kind();
        let body = codec::encode(event, stamp).map_err(SessionError::Unwritable)?;
        if body.len() as u64 > MAX_BODY_BYTES {
            let actual = body.len() as u64;
            return Err(SessionError::LimitReached { limit: "bytes of a message", max: MAX_BODY_BYTES, actual });
        }
        self.seq += 1;
        self.commit = self.commit.next(self.lineage, self.seq, kind, &blind, &body);
        let mut payload = BytesMut::with_capacity(blind.len() + body.len());
        payload.put_slice(&blind);
        payload.put_slice(&body);
        let label = match event {
            Event::Appended(appended) | Event::Begun(appended) => keyed::label(appended.id),
            _ => 0,
        };
        Ok(Record { seq: self.seq, kind, commit: self.commit, label, payload: payload.freeze() })
    }
}

fn applied(view: &View, decided: &[Decided]) -> Result<View, SessionError> {
    let mut after = view.clone();
    for record in decided {
        after
            .apply(record.seq, &record.event, &record.stamp, record.commit)
            .map_err(|source| SessionError::InvalidHistory { session: view.session(), source })?;
    }
    Ok(after)
}

/// The words of a view's row, as a store keeps them.
pub(crate) fn words_of(view: &View) -> Bytes {
    Bytes::from(SummaryWords::of(view).to_json())
}

/// Whether an event may change the words of the session's row.
fn changes_words(event: &Event) -> bool {
    use Event::{Configured, Described, Restored, StatusChanged, Touched, Trashed};
    matches!(event, Described(_) | Configured(_) | StatusChanged(_) | Trashed | Restored | Touched)
}

/// Visible messages after an event, for those that change it.
pub(crate) fn visible_after(event: &Event) -> Option<u64> {
    match event {
        Event::Appended(appended) | Event::Begun(appended) => Some(appended.depth),
        Event::Moved(moved) => Some(moved.depth),
        Event::Cleared(_) => Some(0),
        _ => None,
    }
}
