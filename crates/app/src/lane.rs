//! One live session: its view as it will be when all queued commits are through, and as readers may see it.
//!
//! **Invariant**: queued commits settle in the order of the log, whoever waits for them.
//!
//! Must not know: what the events mean.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessions_domain::{CommitHash, Event, InvalidHistory, SessionId, Stamp, View};
use sessions_ports::{Committed, StoreError};
use tokio::sync::{Notify, oneshot};

/// A record that was decided, as a view takes it in.
pub(crate) struct Decided {
    pub(crate) seq: u64,
    pub(crate) event: Event,
    pub(crate) stamp: Stamp,
    pub(crate) commit: CommitHash,
}

pub(crate) type Outcome = Result<Committed, StoreError>;

/// How a queued commit ended, as far as its lane knows.
enum Ending {
    Heard(Outcome),
    /// Whoever listened is gone, with its runtime or by a panic. The store does what it was asked all the same.
    Unheard,
}

struct Queued {
    version: u64,
    records: Vec<Decided>,
    ending: Option<Ending>,
    waiter: Option<oneshot::Sender<Outcome>>,
}

/// What a lane holds under its lock.
#[derive(Default)]
pub(crate) struct LaneState {
    /// The view behind all queued commits; `None` until loaded, and after a failure.
    pub(crate) tail: Option<Arc<View>>,
    /// The view that readers see, while it differs from `tail`.
    settled: Option<Arc<View>>,
    queued: VecDeque<Queued>,
}

impl LaneState {
    pub(crate) fn is_quiet(&self) -> bool {
        self.queued.is_empty()
    }

    /// The view that readers may see.
    pub(crate) fn visible(&self) -> Option<Arc<View>> {
        self.settled.clone().or_else(|| self.tail.clone())
    }

    /// Forgets everything, so that the next use loads it again.
    pub(crate) fn forget(&mut self) {
        self.tail = None;
        self.settled = None;
        self.queued.clear();
    }

    /// Takes in a commit that is through already.
    pub(crate) fn apply(&mut self, records: &[Decided]) -> Result<(), InvalidHistory> {
        self.tail.as_mut().map_or(Ok(()), |tail| apply(tail, records))
    }

    /// Takes in a commit that is queued; the receiver hears when it and all before it are through. When nobody could tell how it
    /// ended, the receiver is let go of without an answer.
    pub(crate) fn enqueue(&mut self, records: Vec<Decided>) -> Result<oneshot::Receiver<Outcome>, InvalidHistory> {
        let version = records.last().map_or(0, |record| record.seq);
        if self.queued.is_empty() {
            self.settled.clone_from(&self.tail);
        }
        if let Some(tail) = self.tail.as_mut() {
            apply(tail, &records)?;
        }
        let (waiter, outcome) = oneshot::channel();
        self.queued.push_back(Queued { version, records, ending: None, waiter: Some(waiter) });
        Ok(outcome)
    }

    fn settle(&mut self, version: u64, ending: Ending) {
        if let Some(queued) = self.queued.iter_mut().find(|queued| queued.version == version) {
            queued.ending = Some(ending);
        }
        while let Some(ending) = self.queued.front_mut().and_then(|queued| queued.ending.take()) {
            let Some(queued) = self.queued.pop_front() else { break };
            let through = matches!(ending, Ending::Heard(Ok(_)));
            let applied = match self.settled.as_mut() {
                Some(settled) if through => apply(settled, &queued.records),
                _ => Ok(()),
            };
            if let (Some(waiter), Ending::Heard(outcome)) = (queued.waiter, ending) {
                // Nobody has to wait; a caller that went away changes nothing.
                let _ = waiter.send(outcome);
            }
            if !through || applied.is_err() {
                // What is queued behind a failure fails too, and behind what nobody heard of the log knows. Each waiter hears of its own.
                self.tail = None;
                self.settled = None;
            }
        }
        if self.queued.is_empty() {
            self.settled = None;
        }
    }
}

fn apply(view: &mut Arc<View>, records: &[Decided]) -> Result<(), InvalidHistory> {
    let view = Arc::make_mut(view);
    for record in records {
        view.apply(record.seq, &record.event, &record.stamp, record.commit)?;
    }
    Ok(())
}

/// A session that is in use.
pub(crate) struct Lane {
    pub(crate) id: SessionId,
    state: Mutex<LaneState>,
    changed: Notify,
}

impl Lane {
    pub(crate) fn new(id: SessionId, view: Option<View>) -> Self {
        let state = LaneState { tail: view.map(Arc::new), ..LaneState::default() };
        Self { id, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LaneState> {
        // A panic elsewhere leaves at worst a view that the next conflict replaces.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, version: u64, ending: Ending) {
        self.lock().settle(version, ending);
        self.changed.notify_waiters();
    }

    /// Waits until nothing is queued.
    pub(crate) async fn quiet(&self) {
        self.until(LaneState::is_quiet).await;
    }

    /// Waits until the tail is another than the one of `version`, or nothing is queued, so that it can be loaded again.
    pub(crate) async fn moved_on(&self, version: u64) {
        let is_another = |state: &LaneState| state.tail.as_ref().is_none_or(|tail| tail.version() != version);
        self.until(|state| state.is_quiet() || is_another(state)).await;
    }

    async fn until(&self, holds: impl Fn(&LaneState) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // It listens before it looks, so no change falls between.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// A queued commit of which the lane has to hear. However the task that listens for it ends, the lane goes on.
///
/// Dropping it takes the lane's lock.
pub(crate) struct Settling {
    lane: Arc<Lane>,
    version: u64,
    ending: Ending,
}

impl Settling {
    pub(crate) fn new(lane: Arc<Lane>, version: u64) -> Self {
        Self { lane, version, ending: Ending::Unheard }
    }

    pub(crate) fn heard(mut self, outcome: Outcome) {
        self.ending = Ending::Heard(outcome);
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.lane.settle(self.version, std::mem::replace(&mut self.ending, Ending::Unheard));
    }
}

#[cfg(test)]
mod tests {
    use sessions_domain::{Actor, Created, Described, LineageId, Moment, Origin};
    use sessions_ports::Durability;

    use super::*;

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1), actor: Actor::default() }
    }

    fn lane() -> Lane {
        let created = Created {
            session: SessionId::from_bytes([1; 16]),
            lineage: LineageId::from_bytes([1; 16]),
            key: None,
            described: Described::default(),
            origin: Origin::default(),
            fork: None,
            source: None,
        };
        let view = View::begin(1, &created, &stamp(), CommitHash::ZERO, None).unwrap();
        Lane::new(created.session, Some(view))
    }

    fn titled(seq: u64) -> Vec<Decided> {
        let event = Event::Described(Described { title: Some(seq.to_string()), ..Described::default() });
        vec![Decided { seq, event, stamp: stamp(), commit: CommitHash::ZERO }]
    }

    fn through(version: u64) -> Ending {
        Ending::Heard(Ok(Committed { version, durability: Durability::Disk }))
    }

    #[test]
    fn commits_settle_in_the_order_of_the_log() {
        let lane = lane();
        let mut second = {
            let mut state = lane.lock();
            state.enqueue(titled(2)).unwrap();
            state.enqueue(titled(3)).unwrap()
        };
        lane.settle(3, through(3));
        assert!(second.try_recv().is_err(), "the first is not through yet");
        assert_eq!(lane.lock().visible().unwrap().version(), 1);
        lane.settle(2, through(2));
        assert!(second.try_recv().unwrap().is_ok());
        assert_eq!(lane.lock().visible().unwrap().version(), 3);
        assert!(lane.lock().settled.is_none());
    }

    #[test]
    fn a_failure_forgets_the_view_and_each_waiter_hears_of_its_own() {
        let lane = lane();
        let (mut first, mut second) = {
            let mut state = lane.lock();
            (state.enqueue(titled(2)).unwrap(), state.enqueue(titled(3)).unwrap())
        };
        lane.settle(2, Ending::Heard(Err(StoreError::Poisoned)));
        assert!(first.try_recv().unwrap().is_err());
        assert!(second.try_recv().is_err());
        lane.settle(3, Ending::Heard(Err(StoreError::Poisoned)));
        assert!(second.try_recv().unwrap().is_err());
        assert!(lane.lock().tail.is_none());
    }

    #[test]
    fn a_commit_that_nobody_hears_of_lets_the_lane_go_on() {
        let lane = Arc::new(lane());
        let (mut first, mut second) = {
            let mut state = lane.lock();
            (state.enqueue(titled(2)).unwrap(), state.enqueue(titled(3)).unwrap())
        };
        drop(Settling::new(Arc::clone(&lane), 2));
        assert!(matches!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(lane.lock().tail.is_none(), "what is in the log is not known");
        lane.settle(3, through(3));
        assert!(second.try_recv().unwrap().is_ok());
        assert!(lane.lock().is_quiet() && lane.lock().tail.is_none());
    }
}
