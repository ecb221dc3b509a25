//! Cleaning up by age: what is due is looked for in the list, and looked at once more, as it is by then, when it is done.
//!
//! What cannot be read is never deleted, and what anybody uses, needs or has pinned is left alone. All that is left alone is told, with why.
//!
//! Must not know: what is due when; the domain does. How often it is looked for stands in `cleaning`.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use sessions_domain::{
    Event, Moment, RuntimeState, SessionId, SessionStatus, View,
    branches::Stretch,
    decide,
    upkeep::{self, Age, AgePolicy, Step},
};
use sessions_ports::{Durability, Heir, KindFilter, Order, StoreError};

use crate::{
    deletion::{Deletion, Forks},
    error::SessionError,
    lane::{Arriving, Lane},
    manager::SessionManager,
    reading::{Bounds, is_unreadable},
    transact::Plan,
};

/// What a session is told that is archived here.
const REASON: &str = "not used for a long time";

/// When sessions are put aside by age. By default nothing is.
///
/// A session is used when it is changed or touched; reading it is no use that is kept. What is done here counts as a change, so the time to the
/// trash begins anew with the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// How often [`SessionManager::start_cleanup`] looks; a second at least.
    pub interval: Duration,
    /// Not used for so long: it leaves memory, which changes nothing but that its next use reads it again. One that somebody holds a handle to
    /// lets go of what it keeps for its next context.
    pub idle: Option<Duration>,
    /// In a store that keeps nothing anyway ([`Durability::Volatile`] is its strongest level), one that leaves memory is deleted for good, since
    /// memory is where it is.
    pub removes_idle: bool,
    /// Not used for so long: archived.
    pub archive_after: Option<Duration>,
    /// Not used for so long: put into the trash.
    pub trash_after: Option<Duration>,
    /// In the trash for so long: deleted for good.
    pub delete_after: Option<Duration>,
    /// At most so many sessions are archived, put into the trash or deleted at once.
    pub limit: usize,
    /// Believes the clock however far it is ahead of the newest change. Otherwise it counts for an hour after that at most.
    pub trusts_clock: bool,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            idle: None,
            removes_idle: false,
            archive_after: None,
            trash_after: None,
            delete_after: None,
            limit: 1_000,
            trusts_clock: false,
        }
    }
}

impl CleanupPolicy {
    /// True when there is never anything to do.
    pub fn is_off(&self) -> bool {
        self.idle.is_none() && self.ages(Durability::Disk).is_off()
    }

    /// What is due in a store whose strongest level this is.
    fn ages(&self, strongest: Durability) -> AgePolicy {
        let Self { archive_after, trash_after, delete_after, .. } = *self;
        let removes = self.removes_idle && strongest == Durability::Volatile;
        AgePolicy { archive_after, trash_after, delete_after, remove_after: self.idle.filter(|_| removes) }
    }
}

/// Whether a cleanup does what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupRun {
    /// It says what it would do, and changes nothing.
    Dry,
    /// It does it.
    Real,
}

/// What a cleanup did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleanupReport {
    /// The time that ages were counted by.
    pub now: Moment,
    /// What was done, the session that was not changed for longest first.
    pub done: Vec<Cleaned>,
    /// What was due and was left alone.
    pub skipped: Vec<Skipped>,
    /// Sessions that left memory.
    pub released: u64,
    /// True when more was due than is done at once, or the manager is to end.
    pub more: bool,
}

/// A session that something was done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// The session.
    pub session: SessionId,
    /// What.
    pub step: Step,
}

/// A session that was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The session.
    pub session: SessionId,
    /// What was due, as the list has it.
    pub step: Step,
    /// Why it was not done.
    pub why: WhySkipped,
}

/// Why a session was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhySkipped {
    /// It is not due any more: it was used, restored or deleted since the list was looked at.
    Changed,
    /// Somebody in this process holds a handle to it.
    InUse,
    /// A message of it is still arriving, or a turn runs.
    TurnOpen,
    /// Messages of it are pinned.
    Pinned,
    /// Other sessions inherit from it.
    HasForks,
    /// It cannot be read whole, or could not be changed: what it is, is not known well enough to put it away.
    Unreadable,
}

impl WhySkipped {
    /// The reason in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::InUse => "in_use",
            Self::TurnOpen => "turn_open",
            Self::Pinned => "pinned",
            Self::HasForks => "has_forks",
            Self::Unreadable => "unreadable",
        }
    }

    /// Why a session was not read or changed. What goes wrong with the whole store is no reason, and ends the cleanup.
    fn of(error: SessionError) -> Result<Self, SessionError> {
        use sessions_domain::RuleViolation as R;
        match error {
            SessionError::Store(StoreError::Closed | StoreError::Poisoned | StoreError::NoSpace { .. }) => Err(error),
            SessionError::NotFound { .. }
            | SessionError::Gone { .. }
            | SessionError::InTrash { .. }
            | SessionError::Conflict { .. } => Ok(Self::Changed),
            SessionError::HasForks { .. } => Ok(Self::HasForks),
            SessionError::Rule(R::TurnOpen) => Ok(Self::TurnOpen),
            _ => Ok(Self::Unreadable),
        }
    }
}

/// One cleanup, with the time that it counts by.
struct Sweep<'a> {
    manager: &'a SessionManager,
    ages: AgePolicy,
    now: Moment,
    run: CleanupRun,
}

impl SessionManager {
    /// Does what a policy says is due for the sessions of the actor's tenant, or tells what it would do. Space on the disk comes back as after
    /// any deletion.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sessions_app::{CleanupPolicy, CleanupRun, SessionError, SessionManager};
    /// # async fn shown(sessions: SessionManager) -> Result<(), SessionError> {
    /// let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
    /// let policy = CleanupPolicy { trash_after: days(90), delete_after: days(30), ..CleanupPolicy::default() };
    /// let would = sessions.clean_up(&policy, CleanupRun::Dry).await?;
    /// let did = sessions.clean_up(&policy, CleanupRun::Real).await?;
    /// assert_eq!(would.done, did.done);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's, when it cannot go on at all. What was done until then stays done, and the next cleanup goes on.
    pub async fn clean_up(&self, policy: &CleanupPolicy, run: CleanupRun) -> Result<CleanupReport, SessionError> {
        let stopping = self.stopping();
        self.clean_up_until(policy, run, None, &|| stopping.is_asked()).await
    }

    /// The same, by a time that is not behind `latest`, and ended between two sessions when that is asked.
    pub(crate) async fn clean_up_until(
        &self,
        policy: &CleanupPolicy,
        run: CleanupRun,
        latest: Option<Moment>,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<CleanupReport, SessionError> {
        self.check_going_on()?;
        let clock = self.ports().clock.now();
        let released = policy.idle.map_or(0, |idle| self.release(upkeep::earlier(clock, idle), run));
        let ages = policy.ages(self.ports().store.strongest());
        let mut report = CleanupReport { now: clock, released, ..CleanupReport::default() };
        let newest = if ages.is_off() { None } else { self.newest_change().await? };
        let Some(newest) = newest else { return Ok(report) };
        if !policy.trusts_clock {
            let believed = upkeep::believed(clock, newest);
            report.now = latest.map_or(believed, |latest| believed.min(latest));
        }
        let sweep = Sweep { manager: self, ages, now: report.now, run };
        for (session, step) in self.aged(sweep.now, &ages).await? {
            if report.done.len() >= policy.limit || is_over() {
                report.more = true;
                break;
            }
            match sweep.take(session, step, &report.done).await? {
                Ok(step) => report.done.push(Cleaned { session, step }),
                Err(why) => report.skipped.push(Skipped { session, step, why }),
            }
        }
        Ok(report)
    }

    /// Whether somebody holds a session, other than who holds this lane of it once.
    fn is_held(&self, id: SessionId, ours: Option<&Arc<Lane>>) -> bool {
        self.lanes(|lanes| {
            lanes.get(&id).is_some_and(|lane| {
                let own = ours.is_some_and(|ours| Arc::ptr_eq(ours, lane));
                Arc::strong_count(lane) > 1 + usize::from(own)
            })
        })
    }

    /// Lets go of what is kept in memory of sessions that were not used since a moment, and gives how many left it.
    fn release(&self, since: Moment, run: CleanupRun) -> u64 {
        // Views are looked at under their own locks alone.
        let kept: Vec<Arc<Lane>> = self.lanes(|lanes| lanes.values().cloned().collect());
        let idle: Vec<Arc<Lane>> = kept.into_iter().filter(|lane| lane.is_idle_since(since)).collect();
        if run == CleanupRun::Real {
            idle.iter().for_each(|lane| lane.forget_context());
        }
        self.lanes(|lanes| {
            let mut released = 0;
            for lane in &idle {
                // Who kept it, and this look.
                let is_free = lanes.get(&lane.id).is_some_and(|known| Arc::ptr_eq(known, lane));
                if !is_free || Arc::strong_count(lane) > 2 {
                    continue;
                }
                released += 1;
                if run == CleanupRun::Real {
                    lanes.remove(&lane.id);
                }
            }
            released
        })
    }
}

type Outcome = Result<Step, WhySkipped>;

impl Sweep<'_> {
    /// Does what is due for a session, as it is now.
    async fn take(&self, id: SessionId, step: Step, done: &[Cleaned]) -> Result<Outcome, SessionError> {
        if self.manager.is_held(id, None) {
            return Ok(Err(WhySkipped::InUse));
        }
        let outcome = match self.check(id, step, done).await {
            Ok(Ok(version)) if self.run == CleanupRun::Real => self.make(id, step, version).await,
            checked => checked.map(|checked| checked.map(|_| step)),
        };
        outcome.or_else(|error| WhySkipped::of(error).map(Err))
    }

    /// The session's version, when the step may be taken there.
    async fn check(
        &self,
        id: SessionId,
        step: Step,
        done: &[Cleaned],
    ) -> Result<Result<u64, WhySkipped>, SessionError> {
        let lane = self.manager.lane(id);
        let view = self.manager.fresh_view(&lane).await?;
        if !self.manager.may_see(&view) {
            return Ok(Err(WhySkipped::Unreadable));
        }
        if let Some(why) = self.obstacle(&lane, &view, step) {
            return Ok(Err(why));
        }
        if step != Step::Archive {
            // A dry run counts those out that it would have deleted by now.
            let is_gone = |heir: &Heir| done.iter().any(|it| it.session == heir.session && it.step == Step::Delete);
            if !self.manager.ports().store.heirs(id).await?.iter().all(is_gone) {
                return Ok(Err(WhySkipped::HasForks));
            }
        }
        if step == Step::Delete && !self.is_readable(&view).await? {
            return Ok(Err(WhySkipped::Unreadable));
        }
        Ok(Ok(view.version()))
    }

    /// What stands in the way of a step at this view of the session.
    fn obstacle(&self, lane: &Arc<Lane>, view: &View, step: Step) -> Option<WhySkipped> {
        if upkeep::due(&Age::of(view), self.now, &self.ages) != Some(step) {
            return Some(WhySkipped::Changed);
        }
        if self.manager.is_held(lane.id, Some(lane)) {
            return Some(WhySkipped::InUse);
        }
        if self.has_open_turn(lane, view, step) {
            return Some(WhySkipped::TurnOpen);
        }
        if !view.pins().is_empty() {
            return Some(WhySkipped::Pinned);
        }
        view.unreadable().map(|_| WhySkipped::Unreadable)
    }

    /// A message that nobody writes any more is no obstacle but to the archive, whose rule wants it ended.
    fn has_open_turn(&self, lane: &Lane, view: &View, step: Step) -> bool {
        let is_open = view
            .stream()
            .is_some_and(|open| step == Step::Archive || !matches!(lane.arriving(open.message), Arriving::Abandoned));
        let runs = view.runtime().is_some_and(|noted| {
            let is_ours = Some(noted.run) == self.manager.run();
            is_ours && matches!(noted.to, RuntimeState::Busy | RuntimeState::Retrying { .. })
        });
        is_open || runs
    }

    /// Whether each record that is the session's own can be read.
    async fn is_readable(&self, view: &View) -> Result<bool, SessionError> {
        let mut rest = Some(Stretch { first: view.first_own(), last: view.version() });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let read = self.manager.read_records(view, stretch, order, kinds, Bounds::records(256)).await?;
            if read.0.iter().any(|read| is_unreadable(&read.record)) {
                return Ok(false);
            }
            rest = read.1;
        }
        Ok(true)
    }

    /// Takes the step. What is appended is decided on the newest view, and what is deleted has the version that was looked at.
    async fn make(&self, id: SessionId, step: Step, version: u64) -> Result<Outcome, SessionError> {
        if step == Step::Delete {
            if self.manager.is_held(id, None) {
                return Ok(Err(WhySkipped::InUse));
            }
            let deletion = Deletion::default().forks(Forks::Refuse).at_version(version);
            let report = self.manager.delete(id, deletion).await?;
            return Ok(if report.was_gone { Err(WhySkipped::Changed) } else { Ok(step) });
        }
        let lane = self.manager.lane(id);
        let mut why = WhySkipped::Changed;
        let decided = |view: &View| {
            if let Some(found) = self.obstacle(&lane, view, step) {
                why = found;
                return Ok(None);
            }
            Ok(event_of(view, step)?.map(Plan::of))
        };
        let done = self.manager.transact(&lane, self.manager.durability(), decided).await?;
        Ok(done.map(|_| step).ok_or(why))
    }
}

fn event_of(view: &View, step: Step) -> Result<Option<Event>, SessionError> {
    match step {
        Step::Archive => Ok(decide::set_status(view, SessionStatus::Archived, Some(REASON.to_owned()))?),
        _ => Ok(decide::trash(view)),
    }
}
