//! One live session: its view as it will be when all queued commits are through, and as readers may see it.
//!
//! **Invariant**: queued commits settle in the order of the log, whoever waits for them.
//!
//! Must not know: what the events mean.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

use sessions_domain::{CommitHash, Event, InvalidHistory, Json, Moment, SessionId, Stamp, View};
use sessions_ports::{Committed, StoreError};
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    compact::Refusals,
    context::{Counted, Kept},
    turn::Running,
    usage::Ledger,
};

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
    /// The view that readers see; `None` until loaded, and after a failure.
    settled: Option<Arc<View>>,
    /// The view behind all queued commits, once somebody decides with it while they are on their way. Most commits are alone, and
    /// then no view is copied.
    ahead: Option<Arc<View>>,
    /// The store refused what was decided with the view: another writer was faster.
    is_behind: bool,
    queued: VecDeque<Queued>,
}

impl LaneState {
    pub(crate) fn is_quiet(&self) -> bool {
        self.queued.is_empty()
    }

    /// Whether there is a view to decide with, as far as is known here.
    pub(crate) fn is_ready(&self) -> bool {
        self.settled.is_some() && !self.is_behind
    }

    /// The view that readers may see.
    pub(crate) fn visible(&self) -> Option<Arc<View>> {
        self.settled.clone()
    }

    /// The view behind all queued commits.
    pub(crate) fn tail(&mut self) -> Option<Arc<View>> {
        self.tail_mut().cloned()
    }

    /// The version behind all queued commits, while their view is known.
    pub(crate) fn tail_version(&self) -> Option<u64> {
        let settled = self.settled.as_ref()?.version();
        Some(self.queued.back().map_or(settled, |last| last.version))
    }

    pub(crate) fn tail_mut(&mut self) -> Option<&mut Arc<View>> {
        if self.queued.is_empty() {
            return self.settled.as_mut();
        }
        if self.ahead.is_none() {
            let mut ahead = self.settled.clone()?;
            if self.queued.iter().any(|queued| apply(&mut ahead, &queued.records).is_err()) {
                self.forget_views();
                return None;
            }
            self.ahead = Some(ahead);
        }
        self.ahead.as_mut()
    }

    /// Takes in the view as the store has it. Nothing may be queued.
    pub(crate) fn load(&mut self, view: View) {
        self.settled = Some(Arc::new(view));
        self.is_behind = false;
    }

    /// The view is what the store has.
    pub(crate) fn confirm(&mut self) {
        self.is_behind = false;
    }

    /// The view is not what the store has, so that the next use brings it up to date.
    pub(crate) fn doubt(&mut self) {
        self.is_behind = true;
    }

    /// Forgets everything, so that the next use loads it again.
    pub(crate) fn forget(&mut self) {
        self.forget_views();
        self.queued.clear();
    }

    /// Forgets what is known of the log, so that the next use reads it again.
    pub(crate) fn forget_views(&mut self) {
        self.settled = None;
        self.ahead = None;
    }

    /// Takes in a commit that is through already.
    pub(crate) fn apply(&mut self, records: &[Decided]) -> Result<(), InvalidHistory> {
        self.settled.as_mut().map_or(Ok(()), |view| apply(view, records))
    }

    /// Takes in a commit that is queued; the receiver hears when it and all before it are through. When nobody could tell how it
    /// ended, the receiver is let go of without an answer.
    pub(crate) fn enqueue(&mut self, records: Vec<Decided>) -> Result<oneshot::Receiver<Outcome>, InvalidHistory> {
        let version = records.last().map_or(0, |record| record.seq);
        if let Some(ahead) = self.ahead.as_mut() {
            apply(ahead, &records)?;
        }
        let (waiter, outcome) = oneshot::channel();
        if self.queued.capacity() == 0 {
            self.queued.reserve_exact(1);
        }
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
                self.forget_views();
            }
        }
        if self.queued.is_empty() {
            self.settled = self.ahead.take().or_else(|| self.settled.take());
            // There may be many lanes, and memory that was just freed is nearer than what each keeps for itself.
            self.queued = VecDeque::new();
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

/// The message that somebody here writes while it arrives.
#[derive(Default)]
struct Writing {
    /// The record that began it.
    seq: u64,
    writer: Weak<()>,
    /// Somebody ends it: closed when that is over.
    ending: Option<watch::Receiver<()>>,
}

/// Whether a message is written on.
pub(crate) enum Arriving {
    /// By somebody here.
    Live,
    /// Somebody here ends it: closed when that is over.
    Ending(watch::Receiver<()>),
    /// Nobody here does.
    Abandoned,
}

/// A session that is in use.
pub(crate) struct Lane {
    pub(crate) id: SessionId,
    state: Mutex<LaneState>,
    changed: Notify,
    /// The message that somebody here is writing while it arrives.
    stream: Mutex<Writing>,
    /// State that is never stored.
    temporary: Mutex<BTreeMap<String, Json>>,
    /// What a model was to be sent last, and what is counted of it.
    sent: Mutex<Sent>,
    /// The turn that runs.
    turn: Mutex<Weak<Running>>,
    /// When somebody asked for a handle last, in milliseconds since 1970.
    asked_for: AtomicI64,
}

#[derive(Default)]
struct Sent {
    context: Option<Box<Kept>>,
    ledger: Option<Box<Ledger>>,
    refusals: Refusals,
    /// By encoding.
    counted: Vec<(Box<str>, Arc<Counted>)>,
}

impl Lane {
    pub(crate) fn new(id: SessionId, view: Option<View>) -> Self {
        let state = LaneState { settled: view.map(Arc::new), ..LaneState::default() };
        Self {
            id,
            state: Mutex::new(state),
            changed: Notify::new(),
            stream: Mutex::default(),
            temporary: Mutex::default(),
            sent: Mutex::default(),
            turn: Mutex::default(),
            asked_for: AtomicI64::new(i64::MIN),
        }
    }

    /// Notes that a turn runs, until it says that it is over.
    ///
    /// # Errors
    /// The turn that runs, when another one does.
    pub(crate) fn begin_turn(&self, running: &Arc<Running>) -> Result<(), Arc<Running>> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match turn.upgrade().filter(|before| !before.is_over()) {
            Some(before) => Err(before),
            None => {
                *turn = Arc::downgrade(running);
                Ok(())
            }
        }
    }

    /// The turn that runs.
    pub(crate) fn turn(&self) -> Option<Arc<Running>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).upgrade().filter(|running| !running.is_over())
    }

    /// Notes that somebody asks for a handle.
    pub(crate) fn note_use(&self, now: Moment) {
        self.asked_for.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Whether nobody asked for a handle or changed the session since a moment, and nothing of it is on its way.
    pub(crate) fn is_idle_since(&self, moment: Moment) -> bool {
        let state = self.lock();
        let is_old = state.visible().is_none_or(|view| view.accessed() <= moment);
        state.is_quiet() && is_old && self.asked_for.load(Ordering::Relaxed) <= moment.as_millis()
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context that was given last, for whoever goes on from it.
    pub(crate) fn take_context(&self) -> Option<Box<Kept>> {
        self.sent().context.take()
    }

    /// Keeps a context for the next one.
    pub(crate) fn keep_context(&self, context: Box<Kept>) {
        self.sent().context = Some(context);
    }

    /// Lets go of what is kept for the next context.
    pub(crate) fn forget_context(&self) {
        let mut sent = self.sent();
        (sent.context, sent.counted) = (None, Vec::new());
    }

    /// The compactions that won too little.
    pub(crate) fn refusals<T>(&self, look: impl FnOnce(&mut Refusals) -> T) -> T {
        look(&mut self.sent().refusals)
    }

    /// The ledger as far as it was read, for whoever goes on from there.
    pub(crate) fn take_ledger(&self) -> Option<Box<Ledger>> {
        self.sent().ledger.take()
    }

    /// Keeps a ledger for the next one.
    pub(crate) fn keep_ledger(&self, ledger: Box<Ledger>) {
        self.sent().ledger = Some(ledger);
    }

    /// The counts of messages in an encoding.
    pub(crate) fn counted(&self, encoding: &str) -> Arc<Counted> {
        let mut sent = self.sent();
        if let Some((_, known)) = sent.counted.iter().find(|(name, _)| **name == *encoding) {
            return Arc::clone(known);
        }
        let counted = Arc::new(Counted::default());
        sent.counted.push((encoding.into(), Arc::clone(&counted)));
        counted
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LaneState> {
        // A panic elsewhere leaves at worst a view that the next conflict replaces.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// State that is never stored. It goes with the lane, which lives as long as anybody holds a handle.
    pub(crate) fn temporary(&self) -> MutexGuard<'_, BTreeMap<String, Json>> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who writes the message that begins at a record, for as long as he lives.
    pub(crate) fn hold_stream(&self, seq: u64, writer: Weak<()>) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Writing { seq, writer, ending: None };
    }

    /// Notes that the message that began at a record is being ended; what is given is to be dropped when that is over.
    pub(crate) fn end_stream(&self, seq: u64) -> watch::Sender<()> {
        let (over, ending) = watch::channel(());
        let mut writing = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.seq == seq {
            writing.ending = Some(ending);
        }
        over
    }

    /// Whether somebody here is writing the message that began at a record.
    pub(crate) fn arriving(&self, seq: u64) -> Arriving {
        let writing = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        match &writing.ending {
            _ if writing.seq != seq || writing.writer.strong_count() == 0 => Arriving::Abandoned,
            Some(ending) if ending.has_changed().is_err() => Arriving::Abandoned,
            Some(ending) => Arriving::Ending(ending.clone()),
            None => Arriving::Live,
        }
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
        let is_another = |state: &LaneState| state.tail_version() != Some(version);
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
    use sessions_domain::{Actor, Created, Described, LineageId, Moment};
    use sessions_ports::Durability;

    use super::*;

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1), actor: Actor::default() }
    }

    fn lane() -> Lane {
        let created = Created::of(SessionId::from_bytes([1; 16]), LineageId::from_bytes([1; 16]));
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
    fn a_turn_that_is_over_is_in_nobodys_way_however_long_it_is_held() {
        let (lane, first, second) = (lane(), Running::new(), Running::new());
        assert!(lane.begin_turn(&first).is_ok() && lane.begin_turn(&second).is_err());
        let stopping = lane.turn();
        first.end();
        assert!(stopping.is_some() && lane.turn().is_none());
        assert!(lane.begin_turn(&second).is_ok(), "somebody who stops the first one still holds it");
        assert!(lane.turn().is_some_and(|running| Arc::ptr_eq(&running, &second)));
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
        assert!(lane.lock().ahead.is_none());
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
        assert!(lane.lock().tail().is_none());
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
        assert!(lane.lock().tail().is_none(), "what is in the log is not known");
        lane.settle(3, through(3));
        assert!(second.try_recv().unwrap().is_ok());
        assert!(lane.lock().is_quiet() && lane.lock().tail().is_none());
    }

    #[test]
    fn a_view_is_copied_only_when_somebody_decides_with_what_is_on_its_way() {
        let lane = lane();
        let place = |lane: &Lane| lane.lock().visible().map(|view| Arc::as_ptr(&view));
        let before = place(&lane);
        lane.lock().enqueue(titled(2)).unwrap();
        assert_eq!(lane.lock().tail_version(), Some(2));
        lane.settle(2, through(2));
        assert_eq!(place(&lane), before, "alone");
        lane.lock().enqueue(titled(3)).unwrap();
        assert_eq!(lane.lock().tail().unwrap().version(), 3);
        lane.lock().enqueue(titled(4)).unwrap();
        let mut state = lane.lock();
        let versions = (state.visible().unwrap().version(), state.tail().unwrap().version(), state.tail_version());
        assert_eq!(versions, (2, 4, Some(4)));
        drop(state);
        lane.settle(3, through(3));
        lane.settle(4, through(4));
        let mut state = lane.lock();
        assert_eq!(
            (state.visible().unwrap().version(), state.tail().unwrap().described().title.as_deref()),
            (4, Some("4"))
        );
    }
}
