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

struct Queued {
    version: u64,
    records: Vec<Decided>,
    outcome: Option<Outcome>,
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

    /// Takes in a commit that is queued; the receiver hears when it and all before it are through.
    pub(crate) fn enqueue(&mut self, records: Vec<Decided>) -> Result<oneshot::Receiver<Outcome>, InvalidHistory> {
        let version = records.last().map_or(0, |record| record.seq);
        if self.queued.is_empty() {
            self.settled.clone_from(&self.tail);
        }
        if let Some(tail) = self.tail.as_mut() {
            apply(tail, &records)?;
        }
        let (waiter, outcome) = oneshot::channel();
        self.queued.push_back(Queued { version, records, outcome: None, waiter: Some(waiter) });
        Ok(outcome)
    }

    fn settle(&mut self, version: u64, outcome: Outcome) {
        if let Some(queued) = self.queued.iter_mut().find(|queued| queued.version == version) {
            queued.outcome = Some(outcome);
        }
        while let Some(outcome) = self.queued.front_mut().and_then(|queued| queued.outcome.take()) {
            let Some(queued) = self.queued.pop_front() else { break };
            let through = outcome.is_ok();
            let applied = match self.settled.as_mut() {
                Some(settled) if through => apply(settled, &queued.records),
                _ => Ok(()),
            };
            if let Some(waiter) = queued.waiter {
                // Nobody has to wait; a caller that went away changes nothing.
                let _ = waiter.send(outcome);
            }
            if !through || applied.is_err() {
                // What is queued behind fails too; each waiter hears it from its own commit.
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

    /// Hears what became of a queued commit.
    pub(crate) fn settle(&self, version: u64, outcome: Outcome) {
        self.lock().settle(version, outcome);
        self.changed.notify_waiters();
    }

    /// Waits until nothing is queued.
    pub(crate) async fn quiet(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().is_quiet() {
                return;
            }
            changed.await;
        }
    }
}

impl Lane {
    /// Waits until the tail is another than the one of `version`, or nothing is queued, so that it can be loaded again.
    pub(crate) async fn moved_on(&self, version: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.is_quiet() || state.tail.as_ref().is_none_or(|tail| tail.version() != version) {
                    return;
                }
            }
            changed.await;
        }
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

    fn through(version: u64) -> Outcome {
        Ok(Committed { version, durability: Durability::Disk })
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
        lane.settle(2, Err(StoreError::Poisoned));
        assert!(first.try_recv().unwrap().is_err());
        assert!(second.try_recv().is_err());
        lane.settle(3, Err(StoreError::Poisoned));
        assert!(second.try_recv().unwrap().is_err());
        assert!(lane.lock().tail.is_none());
    }
}
