//! Removed sessions in memory: what became of each, who inherits from it, and when the last of it may go.
//!
//! A removal is seen at once when its place comes, as a commit is. What is known of the session stays beside it until the removal is synced:
//! were it lost in a power cut, the session would be there as before.
//!
//! **Invariant**: what an heir needs is let go of only when the heir's removal is synced.
//!
//! Must not know: files, threads.

use std::collections::BTreeMap;

use sessions_domain::SessionId;
use sessions_ports::{Commit, Digest, Durability, Heir, Link, Removal, Removed, StoreError};
use tokio::sync::oneshot;

use super::{
    bodies::BodyName,
    ledger::Ledger,
    log_state::{Job, LogState, Place, Spot},
};

/// What is left of a session that was removed.
#[derive(Default)]
pub(crate) struct Grave {
    /// The version it was removed at.
    pub(crate) version: u64,
    /// The host's key, where it stays taken.
    pub(crate) key: Option<Box<Digest>>,
    /// What it inherits, as long as its removal may be lost.
    links: Vec<Link>,
    /// The key that the index may hold for it.
    pub(crate) old_key: Option<Box<Digest>>,
    /// Large bodies that its records named, and the index does not hold yet.
    pub(crate) new_blobs: Vec<(u64, BodyName)>,
    is_written: bool,
    pub(crate) is_synced: bool,
    pub(super) is_dirty: bool,
    /// The index knows all about it.
    pub(crate) is_buried: bool,
    /// The large bodies that nobody else names are removed.
    pub(crate) is_swept: bool,
}

impl Grave {
    /// One that the index knows.
    pub(crate) fn indexed(version: u64, key: Option<Digest>) -> Self {
        Self { is_buried: true, ..Self::known(version, key) }
    }

    /// One that the log tells of.
    pub(crate) fn known(version: u64, key: Option<Digest>) -> Self {
        Self { version, key: key.map(Box::new), is_written: true, is_synced: true, ..Self::default() }
    }
}

/// A removal on its way.
#[derive(Default)]
pub(crate) struct Removing {
    pub(crate) keep_key: bool,
    /// What it did, once it is visible.
    outcome: Removed,
    pub(crate) done: Option<oneshot::Sender<Result<Removed, StoreError>>>,
}

impl Removing {
    /// A removal that somebody waits for.
    pub(crate) fn new(keep_key: bool, done: oneshot::Sender<Result<Removed, StoreError>>) -> Self {
        Self { keep_key, outcome: Removed::default(), done: Some(done) }
    }

    /// Tells whoever waits for it how it went.
    pub(crate) fn answer(&mut self, outcome: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            let _ = done.send(outcome.map(|()| std::mem::take(&mut self.outcome)));
        }
    }
}

impl Ledger {
    /// Whether a session was removed.
    pub(crate) fn is_gone(&self, session: SessionId) -> bool {
        self.graves.contains_key(&session)
    }

    /// Whether a removal of a session stands in the log.
    pub(crate) fn is_removal_written(&self, session: SessionId) -> bool {
        self.graves.get(&session).is_some_and(|grave| grave.is_written)
    }

    /// Whether a session was removed, or is being so.
    pub(super) fn is_leaving(&self, session: SessionId) -> bool {
        self.is_gone(session) || self.sessions.get(&session).is_some_and(|log| log.leaving > 0)
    }

    /// The error of a session that is not there.
    pub(crate) fn absent(&self, session: SessionId) -> StoreError {
        if self.is_gone(session) { StoreError::Gone { session } } else { StoreError::NotFound { session } }
    }

    /// The last record of a session that others inherit (0: none).
    pub(crate) fn kept(&self, session: SessionId) -> u64 {
        self.heirs.get(&session).and_then(|heirs| heirs.values().max().copied()).unwrap_or(0)
    }

    /// The same, with those whose removal may still be lost.
    pub(crate) fn kept_on_disk(&self, session: SessionId) -> u64 {
        let fresh = self.fresh_graves.iter().filter_map(|id| self.graves.get(id)).flat_map(|grave| &grave.links);
        let lost = fresh.filter(|link| link.owner == session).map(|link| link.last).max();
        self.kept(session).max(lost.unwrap_or(0))
    }

    /// The last record of a session that can be read: of a removed one those that others inherit.
    pub(crate) fn readable(&self, session: SessionId, log: &LogState) -> u64 {
        if self.is_gone(session) { self.kept(session).min(log.row.version) } else { log.row.version }
    }

    /// Who inherits from a session.
    pub(crate) fn heirs_of(&self, session: SessionId) -> Vec<Heir> {
        let heirs = self.heirs.get(&session).into_iter().flatten();
        heirs.map(|(session, last)| Heir { session: *session, last: *last }).collect()
    }

    /// Whether a commit is one of a session that is there, and what it inherits is.
    pub(super) fn admit_links(&self, commit: &Commit) -> Result<(), StoreError> {
        for Link { owner, last } in &commit.links {
            let session = *owner;
            if self.is_leaving(session) {
                if self.kept(session) < *last {
                    return Err(StoreError::Gone { session });
                }
            } else if !self.sessions.contains_key(&session) {
                return Err(StoreError::NotFound { session });
            }
        }
        Ok(())
    }

    /// Notes what a session inherits.
    pub(crate) fn link(&mut self, session: SessionId, links: &[Link]) {
        for link in links {
            let last = self.heirs.entry(link.owner).or_default().entry(session).or_insert(link.last);
            *last = link.last.max(*last);
        }
    }

    /// A session inherits nothing any more.
    pub(super) fn unlink(&mut self, session: SessionId, links: &[Link]) {
        for link in links {
            if let Some(heirs) = self.heirs.get_mut(&link.owner) {
                heirs.remove(&session);
                if heirs.is_empty() {
                    self.heirs.remove(&link.owner);
                }
            }
        }
    }

    /// Checks a removal against the queued tail. `Some`: nothing is left to be done.
    pub(crate) fn admit_removal(&self, removal: &Removal) -> Result<Option<Removed>, StoreError> {
        self.check_open()?;
        if self.left_index {
            return Err(StoreError::NoSpace { operation: "opening the index" });
        }
        let session = removal.session;
        if let Some(grave) = self.graves.get(&session) {
            let is_reached = match removal.durability {
                Durability::Volatile => true,
                Durability::Process => grave.is_written,
                Durability::Disk => grave.is_synced,
            };
            return Ok(is_reached.then(|| self.left_of(session)));
        }
        let log = self.sessions.get(&session).ok_or(StoreError::NotFound { session })?;
        match removal.expected {
            // Behind another one it finds nothing to be done.
            Some(expected) if log.leaving == 0 && expected != log.queued => {
                Err(StoreError::Conflict { expected, actual: log.queued })
            }
            _ => Ok(None),
        }
    }

    /// Takes an admitted removal into the queue.
    pub(crate) fn enqueue_removal(&mut self, mut job: Job) {
        self.roots.has_begun = true;
        self.queued_bytes += job.frames.len();
        let log = self.sessions.get_mut(&job.session);
        let is_alone = log.as_ref().is_none_or(|log| log.unsettled == 0);
        if let Some(log) = log {
            log.leaving += 1;
            log.unsettled += u32::from(!(is_alone && job.durability == Durability::Volatile));
        }
        if is_alone && job.durability == Durability::Volatile {
            self.bury(&mut job, None);
            job.answer_through();
        }
        if self.bodies.keeps(&job) { self.bodies.hold(job) } else { self.queue.push_back(job) }
    }

    /// Makes a removal visible. `spot`: where its frame was written, if it was.
    pub(super) fn bury(&mut self, job: &mut Job, spot: Option<Spot>) {
        let session = job.session;
        job.visible = true;
        if let Some(log) = self.sessions.get_mut(&session) {
            log.leaving = log.leaving.saturating_sub(1);
            log.unsettled = log.unsettled.saturating_sub(u32::from(spot.is_some()));
        }
        let keeps_key = job.removes.as_ref().is_some_and(|removing| removing.keep_key);
        let outcome = if self.is_gone(session) { self.left_of(session) } else { self.dig(session, keeps_key) };
        if let Some(removing) = &mut job.removes {
            removing.outcome = outcome;
        }
        if let Some(spot) = spot {
            self.removal_written(session, spot);
        }
    }

    /// What a removal says of a session that is gone already.
    fn left_of(&self, session: SessionId) -> Removed {
        let heirs = self.heirs_of(session).iter().map(|heir| heir.session).collect();
        let kept = self.sessions.get(&session).map_or(0, |log| self.readable(session, log));
        Removed { kept, heirs, ..Removed::default() }
    }

    fn dig(&mut self, session: SessionId, keeps_key: bool) -> Removed {
        self.tick();
        let tick = self.changes_made();
        let Some(log) = self.sessions.get_mut(&session) else { return Removed::default() };
        let row = log.row;
        let (before, key, links) = (std::mem::replace(&mut log.tick, tick), log.key.clone(), log.links.clone());
        if let Some(key) = key.as_deref().filter(|key| !keeps_key && self.keys.get(*key) == Some(&session)) {
            self.keys.remove(key);
        }
        self.change(before, session);
        self.unlink(session, &links);
        let key = key.filter(|_| keeps_key);
        self.graves.insert(session, Grave { version: row.version, key, links, ..Grave::default() });
        self.fresh_graves.push(session);
        self.end_waiting_for(session, || StoreError::Gone { session });
        let left = self.left_of(session);
        let records = (row.version + 1).saturating_sub(row.first.max(left.kept + 1));
        Removed { was_there: true, records, bytes: row.bytes, ..left }
    }

    /// A removal stands in the log.
    pub(super) fn removal_written(&mut self, session: SessionId, spot: Spot) {
        if let Some(grave) = self.graves.get_mut(&session) {
            grave.is_written = true;
        }
        if spot.is_synced {
            self.rest(session);
        } else {
            self.written_graves.push(session);
        }
    }

    /// Removals that were written are synced.
    pub(super) fn removals_synced(&mut self) {
        for session in std::mem::take(&mut self.written_graves) {
            self.rest(session);
        }
    }

    /// A removal cannot be lost any more: what it leaves behind goes.
    fn rest(&mut self, session: SessionId) {
        let Some(grave) = self.graves.get_mut(&session) else { return };
        if std::mem::replace(&mut grave.is_synced, true) {
            return;
        }
        let links = std::mem::take(&mut grave.links);
        self.fresh_graves.retain(|fresh| *fresh != session);
        self.let_go(session);
        links.iter().for_each(|link| self.let_go(link.owner));
    }

    /// Forgets of a removed session what nobody inherits.
    pub(crate) fn let_go(&mut self, session: SessionId) {
        let is_kept = self.kept_on_disk(session) > 0;
        let Some(grave) = self.graves.get_mut(&session).filter(|grave| grave.is_synced) else { return };
        if let Some(log) = self.sessions.get_mut(&session) {
            grave.old_key = log.key.take().or(grave.old_key.take());
        }
        if is_kept {
            grave.is_swept = false;
            if grave.is_buried {
                return;
            }
            if let Some(log) = self.sessions.get_mut(&session) {
                log.strip();
            }
        } else if let Some(log) = self.sessions.remove(&session) {
            (grave.is_swept, grave.is_buried) = (false, false);
            grave.is_dirty = log.is_dirty;
            self.dead_bodies += log.new_blobs.len();
            grave.new_blobs.extend(log.new_blobs);
            let (moved, bodies) = self.rewrites.forget(session);
            grave.new_blobs.extend(bodies);
            for locator in moved {
                *self.dead.entry(locator.segment).or_default() += u64::from(locator.length);
            }
            self.recent_records = self.recent_records.saturating_sub(log.recent.len());
            for place in log.recent {
                if let Place::Disk(locator) = place {
                    *self.dead.entry(locator.segment).or_default() += u64::from(locator.length);
                }
            }
        } else if grave.is_buried {
            return;
        }
        self.mark(session);
    }

    /// The large bodies of a removed session that nobody else names are removed.
    pub(crate) fn swept(&mut self, session: SessionId) {
        let Some(grave) = self.graves.get_mut(&session) else { return };
        grave.new_blobs.clear();
        (grave.is_swept, grave.is_buried) = (true, false);
        let kept = self.kept_on_disk(session);
        if let Some(log) = self.sessions.get_mut(&session) {
            log.new_blobs.retain(|(seq, _)| *seq <= kept);
        }
        self.mark(session);
    }

    /// After the log was read: what of it belongs to sessions that it tells were removed.
    pub(crate) fn settle_graves(&mut self) {
        let gone: Vec<SessionId> = self.graves.keys().copied().collect();
        if !gone.is_empty() {
            self.keys.retain(|_, holder| !self.graves.contains_key(holder));
        }
        let mut links = Vec::new();
        for (session, log) in self.sessions.iter().filter(|(session, _)| !self.graves.contains_key(session)) {
            links.extend((!log.links.is_empty()).then(|| (*session, log.links.clone())));
        }
        links.iter().for_each(|(session, links)| self.link(*session, links));
        for session in gone {
            let key = self.graves.get(&session).and_then(|grave| grave.key.as_deref().copied());
            self.keys.extend(key.map(|key| (key, session)));
            self.let_go(session);
        }
    }

    /// Undoes what a removal that failed had changed when it was queued.
    pub(super) fn withdraw_removal(&mut self, job: &Job, error: impl Fn() -> StoreError) {
        let Some(log) = self.sessions.get_mut(&job.session) else { return };
        log.leaving = log.leaving.saturating_sub(1);
        log.unsettled = log.unsettled.saturating_sub(1);
        // Whoever waited for it to settle looks again.
        self.end_settling(job.session, error);
    }
}

/// Who inherits from whom, and up to where.
pub(crate) type Heirs = BTreeMap<SessionId, u64>;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sessions_domain::CommitHash;

    use super::*;
    use crate::sled::{index::CoreRow, locator::Locator};

    fn id(number: u128) -> SessionId {
        SessionId::from_parts(1, number)
    }

    const WRITTEN: Spot = Spot { segment: 1, offset: 64, is_synced: false };

    /// Takes a job through the writer's hands.
    fn serve(ledger: &mut Ledger, queue: impl FnOnce(&mut Ledger, Job), job: Job) {
        queue(ledger, job);
        let mut job = ledger.queue.pop_back().unwrap();
        ledger.written(&mut job, WRITTEN);
    }

    fn write(ledger: &mut Ledger, session: SessionId, first: u64, links: Vec<Link>) {
        let records = (first..first + 5).map(|seq| (seq, Locator { segment: 1, length: 100, ..Locator::LOST }));
        let row = CoreRow { version: first + 4, commit: CommitHash::ZERO, ..CoreRow::none(first) };
        let (durability, begins) = (Durability::Process, true);
        let job =
            Job { records: records.collect(), begins, links, durability, ..Job::bare(session, Bytes::new(), row) };
        serve(ledger, |ledger, job| ledger.enqueue(job, Vec::new()), job);
    }

    fn remove(ledger: &mut Ledger, session: SessionId) {
        let (done, _) = oneshot::channel();
        let (removes, durability) = (Some(Removing::new(false, done)), Durability::Process);
        let job = Job { removes, durability, ..Job::bare(session, Bytes::new(), CoreRow::none(1)) };
        serve(ledger, Ledger::enqueue_removal, job);
    }

    #[test]
    fn an_heir_whose_removal_may_be_lost_keeps_what_it_inherits() {
        let mut ledger = Ledger::default();
        let (owner, heir) = (id(1), id(2));
        write(&mut ledger, owner, 1, Vec::new());
        write(&mut ledger, heir, 4, vec![Link { owner, last: 3 }]);
        ledger.synced(100);
        remove(&mut ledger, owner);
        ledger.synced(200);
        assert_eq!((ledger.kept(owner), ledger.kept_on_disk(owner)), (3, 3));
        remove(&mut ledger, heir);
        assert_eq!((ledger.kept(owner), ledger.kept_on_disk(owner)), (0, 3), "a power cut would bring the heir back");
        assert!(ledger.sessions.contains_key(&owner) && ledger.dead.is_empty());
        ledger.synced(300);
        assert_eq!(ledger.kept_on_disk(owner), 0);
        assert!(ledger.sessions.is_empty());
        assert_eq!(ledger.dead.get(&1), Some(&1_000), "all of both is nobody's");
    }

    #[test]
    fn a_removal_that_fails_leaves_the_session_as_it_was() {
        let mut ledger = Ledger::default();
        write(&mut ledger, id(1), 1, Vec::new());
        let (done, mut answer) = oneshot::channel();
        let (removes, durability) = (Some(Removing::new(false, done)), Durability::Disk);
        let job = Job { removes, durability, ..Job::bare(id(1), Bytes::new(), CoreRow::none(1)) };
        ledger.enqueue_removal(job);
        let mut settling = ledger.settling(id(1)).unwrap().unwrap();
        let removal = Removal { session: id(1), expected: Some(9), keep_key: false, durability };
        assert!(ledger.admit_removal(&removal).unwrap().is_none(), "the one before it decides");
        let mut job = ledger.queue.pop_back().unwrap();
        let full = || StoreError::NoSpace { operation: "a test" };
        ledger.withdraw(&mut job, full);
        job.refuse(full());
        assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::NoSpace { .. })));
        assert!(settling.try_recv().unwrap().is_err(), "it is not on its way any more");
        assert!(ledger.settling(id(1)).unwrap().is_none() && !ledger.is_gone(id(1)));
        assert!(matches!(ledger.admit_removal(&removal), Err(StoreError::Conflict { actual: 5, .. })));
    }
}
