//! What the store knows of its sessions in memory: the end of each log, and where records lie that the index does not hold yet.
//!
//! **Invariant**: of one session, the records that the index holds and the recent ones here together are all visible records, without gap.
//!
//! Must not know: files, threads.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::mpsc,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use sessions_domain::SessionId;
use sessions_ports::{Commit, Committed, Digest, Durability, Head, StoreError, StoredClaim};
use tokio::sync::oneshot;

use super::{
    MAX_QUEUED_BYTES,
    bodies::Bodies,
    graves::{Grave, Heirs},
    index::CoreRow,
    log_state::{Job, LogState, Place, Spot},
    rewriting::Rewrites,
    roots::Roots,
};

/// Somebody who waits for a version to reach a level.
pub(crate) struct Waiter {
    version: u64,
    /// It was queued when it was asked for, so it comes or fails.
    queued: bool,
    /// It is for the end of all that was queued, whatever that is.
    settles: bool,
    level: Durability,
    heard: oneshot::Sender<Result<Head, StoreError>>,
}

/// All sessions, and the queue of appends.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) sessions: HashMap<SessionId, LogState, RandomState>,
    pub(crate) keys: HashMap<Digest, SessionId>,
    /// Sessions that were removed.
    pub(crate) graves: HashMap<SessionId, Grave, RandomState>,
    /// Who inherits from a session, queued ones included.
    pub(super) heirs: HashMap<SessionId, Heirs, RandomState>,
    /// Removals that are not synced, and those of them that are written.
    pub(super) fresh_graves: Vec<SessionId>,
    pub(super) written_graves: Vec<SessionId>,
    /// For each segment the bytes of removed records, as far as that was noticed.
    pub(crate) dead: HashMap<u32, u64>,
    /// Large bodies of removed records, as far as that was noticed.
    pub(crate) dead_bodies: usize,
    /// What was rewritten, as far as the index does not hold it.
    pub(crate) rewrites: Rewrites,
    waiters: HashMap<SessionId, Vec<Waiter>, RandomState>,
    changes: BTreeMap<u64, SessionId>,
    tick: u64,
    pub(crate) queue: VecDeque<Job>,
    /// What cannot be queued yet because of its large bodies.
    pub(crate) bodies: Bodies,
    /// Bytes of the frames of both.
    pub(crate) queued_bytes: usize,
    /// Sessions with something that the index does not hold.
    dirty: Vec<SessionId>,
    pub(crate) recent_records: usize,
    /// Everything before this position of the log is synced, and known here.
    pub(crate) applied: u64,
    /// The generation of an index that failed somebody who read.
    pub(crate) failed_index: Option<u64>,
    /// Written and not synced: session, and the row and words it has then.
    unsynced: Vec<(SessionId, CoreRow, Option<Bytes>)>,
    pub(crate) sync_wanted: bool,
    /// Who waits for the index to hold all that is known here.
    pub(crate) wanted_checkpoints: Vec<mpsc::Sender<()>>,
    /// Who waits for the writer to go on in another segment.
    pub(crate) leaves_segment: Option<mpsc::Sender<Result<(), StoreError>>>,
    pub(crate) closing: bool,
    pub(crate) closed: bool,
    /// Nothing is taken any more. What the writer has in its hands may still happen.
    pub(crate) poisoned: bool,
    /// The writer has refused all that was on its way, because of that.
    pub(crate) all_refused: bool,
    /// An index that could not be looked at for want of space lies where it was. It may remember what the log lost, whose numbers are not to
    /// be given again, so nothing is written before that is known.
    pub(crate) left_index: bool,
    pub(crate) roots: Roots,
    /// A full disk kept what was answered before it was written from being written at all.
    pub(crate) lost_at_close: bool,
}

impl Ledger {
    /// Whether anything can be read.
    pub(crate) fn check_not_closed(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Whether anything can be written.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closing || self.closed {
            Err(StoreError::Closed)
        } else if self.poisoned {
            Err(StoreError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// Counts the changes since the store was opened.
    pub(crate) fn changes_made(&self) -> u64 {
        self.tick
    }

    /// Checks a commit against the queued tail.
    pub(crate) fn admit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.check_open()?;
        if self.left_index {
            return Err(StoreError::NoSpace { operation: "opening the index" });
        }
        let known = self.sessions.get(&commit.session);
        if self.is_gone(commit.session) || known.is_some_and(|log| log.leaving > 0) {
            return Err(StoreError::Gone { session: commit.session });
        }
        match (commit.expected.version(), known) {
            (None, Some(_)) => return Err(StoreError::AlreadyExists { session: commit.session }),
            (None, None) => {}
            (Some(expected), None) => return Err(StoreError::Conflict { expected, actual: 0 }),
            (Some(expected), Some(log)) if !commit.expected.is_tail(log.queued, log.tail()) => {
                return Err(StoreError::Conflict { expected, actual: log.queued });
            }
            (Some(_), Some(_)) => {}
        }
        if let Some(holder) = commit.key.and_then(|key| self.keys.get(&key)) {
            return Err(StoreError::KeyTaken { session: *holder });
        }
        let taken = |claim: &sessions_ports::Claim| {
            known.is_some_and(|log| log.claims.iter().any(|(key, _)| *key == claim.key))
        };
        if commit.claims.iter().any(taken) {
            return Err(StoreError::Malformed { what: "an idempotency key is claimed twice" });
        }
        self.admit_links(commit)
    }

    /// Whether a job may be queued: only so much may wait. Large bodies count apart, so that they keep nothing else from being queued.
    pub(crate) fn has_room(&self, job: &Job) -> bool {
        self.queued_bytes <= MAX_QUEUED_BYTES && (job.bodies.is_empty() || self.bodies.weight() <= MAX_QUEUED_BYTES)
    }

    /// Takes an admitted job into the queue. With [`Durability::Volatile`] and nothing unsettled before it, it is visible at once.
    pub(crate) fn enqueue(&mut self, mut job: Job, claims: Vec<(Digest, StoredClaim)>) {
        self.roots.has_begun = true;
        let first = job.records.first().map_or(1, |(seq, _)| *seq);
        for (_, name) in &job.blobs {
            self.bodies.named_by(*name);
        }
        if !job.links.is_empty() {
            self.link(job.session, &job.links);
        }
        let log = self.sessions.entry(job.session).or_insert_with(|| LogState::new(first));
        job.behind = log.tail();
        (log.queued, log.queued_commit) = (job.row.version, job.row.commit);
        if !claims.is_empty() {
            log.claims.extend(claims);
        }
        if let Some(key) = job.key {
            log.key = Some(Box::new(key));
            self.keys.insert(key, job.session);
        }
        if !job.links.is_empty() {
            log.links.clone_from(&job.links);
        }
        self.queued_bytes += job.frames.len();
        // A large body is read from its file, so it has to be there first.
        if job.durability == Durability::Volatile && log.unsettled == 0 && job.blobs.is_empty() {
            self.show(&mut job, None);
            if let Some(done) = job.done.take() {
                let _ = done.send(Ok(Committed { version: job.row.version, durability: Durability::Volatile }));
            }
        } else {
            log.unsettled += 1;
        }
        if self.bodies.keeps(&job) { self.bodies.hold(job) } else { self.queue.push_back(job) }
    }

    /// Makes a job visible. `spot`: where its frames were written, if they were.
    pub(crate) fn show(&mut self, job: &mut Job, spot: Option<Spot>) {
        self.tick += 1;
        let tick = self.tick;
        let Some(log) = self.sessions.get_mut(&job.session) else { return };
        for (_, within) in &job.records {
            log.recent.push_back(match spot {
                Some(spot) => spot.place(*within),
                None => {
                    let start = within.offset as usize;
                    Place::Memory(*within, Box::new(job.frames.slice(start..start + within.length as usize)))
                }
            });
        }
        self.recent_records += job.records.len();
        log.advance(job, spot);
        job.row = log.row;
        if let Some(snapshot) = job.snapshot.take() {
            log.snapshot = Some(snapshot);
        }
        if job.key.is_some() {
            log.new_key = job.key;
        }
        if !job.blobs.is_empty() {
            self.bodies.known(&job.blobs);
            log.new_blobs.extend(job.blobs.iter().copied());
        }
        job.visible = true;
        log.mark(job.session, &mut self.dirty);
        self.changes.remove(&log.tick);
        log.tick = tick;
        if log.words.is_some() {
            self.changes.insert(tick, job.session);
        }
        if let Some(spot) = spot {
            log.unsettled = log.unsettled.saturating_sub(1);
            log.written = job.row.version;
            if spot.is_synced {
                log.synced(job.row, job.words.take());
            }
        }
        self.wake(job.session);
    }

    /// A job was written at a place of the log: it is visible now if it was not before.
    pub(crate) fn written(&mut self, job: &mut Job, spot: Spot) {
        job.placed = true;
        if job.rewrites.is_some() {
            return self.rewritten(job, spot);
        }
        if job.removes.is_some() {
            if job.visible {
                self.removal_written(job.session, spot)
            } else {
                self.bury(job, Some(spot))
            }
            return;
        }
        if !job.visible {
            self.show(job, Some(spot));
        } else if let Some(log) = self.sessions.get_mut(&job.session) {
            for (seq, within) in &job.records {
                if let Some(place) = log.recent_mut(*seq) {
                    *place = spot.place(*within);
                }
            }
            log.written = job.row.version;
            if spot.is_synced {
                log.synced(job.row, job.words.take());
            }
            self.wake(job.session);
        }
        self.bodies.named(job);
        if job.visible && !spot.is_synced {
            self.unsynced.push((job.session, job.row, job.words.take()));
        }
    }

    /// Everything that was written is synced, up to this position of the log.
    pub(crate) fn synced(&mut self, position: u64) {
        self.sync_wanted = false;
        self.applied = position;
        for (session, row, words) in std::mem::take(&mut self.unsynced) {
            if let Some(log) = self.sessions.get_mut(&session) {
                log.synced(row, words);
            }
            self.wake(session);
        }
        self.removals_synced();
    }

    /// A session has something that the index does not hold.
    pub(crate) fn mark(&mut self, session: SessionId) {
        if let Some(log) = self.sessions.get_mut(&session) {
            log.mark(session, &mut self.dirty);
        } else if let Some(grave) = self.graves.get_mut(&session)
            && !std::mem::replace(&mut grave.is_dirty, true)
        {
            self.dirty.push(session);
        }
    }

    /// The index holds nothing.
    pub(crate) fn mark_all(&mut self) {
        self.sessions.values_mut().for_each(|log| log.is_dirty = true);
        self.dirty = self.sessions.keys().copied().collect();
        let sessions = &self.sessions;
        for (session, grave) in self.graves.iter_mut().filter(|(session, _)| !sessions.contains_key(session)) {
            grave.is_dirty = true;
            self.dirty.push(*session);
        }
        self.graves.values_mut().for_each(|grave| grave.is_buried = false);
    }

    /// Whether the index holds everything.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// How many sessions are marked.
    pub(crate) fn marked_count(&self) -> usize {
        self.dirty.len()
    }

    /// The sessions that were marked. What becomes of each is said by [`Self::unmark`] or [`Self::mark_again`].
    pub(crate) fn marked(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.dirty)
    }

    /// What a session has for the index is taken now; what comes behind that marks it anew.
    pub(crate) fn unmark(&mut self, session: SessionId) {
        if let Some(log) = self.sessions.get_mut(&session) {
            log.is_dirty = false;
        } else if let Some(grave) = self.graves.get_mut(&session) {
            grave.is_dirty = false;
        }
    }

    /// Nothing was taken of these sessions after all.
    pub(crate) fn mark_again(&mut self, sessions: impl IntoIterator<Item = SessionId>) {
        for session in sessions {
            self.unmark(session);
            self.mark(session);
        }
    }

    /// Undoes what a job that failed had changed when it was queued. Everything behind it in its log fails too, and so does waiting for it.
    pub(crate) fn withdraw(&mut self, job: &mut Job, error: impl Fn() -> StoreError) {
        // After a failed sync it may be in the log all the same.
        if !self.poisoned {
            self.bodies.released(job);
        }
        if job.removes.is_some() {
            self.withdraw_removal(job, error);
            return;
        }
        if job.rewrites.is_some() {
            return self.withdraw_rewrite(job);
        }
        self.bodies.known(&job.blobs);
        if let Some(key) = job.key {
            self.keys.remove(&key);
        }
        if !job.links.is_empty() {
            self.unlink(job.session, &job.links);
            job.links.iter().for_each(|link| self.let_go(link.owner));
        }
        let Some(log) = self.sessions.get_mut(&job.session) else { return };
        log.unsettled = log.unsettled.saturating_sub(1);
        // What was queued before it stays.
        let first = job.records.first().map_or(log.queued, |(seq, _)| seq - 1);
        if first < log.queued {
            (log.queued, log.queued_commit) = (first, job.behind);
        }
        let left = log.queued;
        log.claims.retain(|(_, claim)| claim.version <= left);
        let is_gone = left < log.row.first;
        if is_gone {
            self.sessions.remove(&job.session);
        }
        let waiters = self.waiters.remove(&job.session).unwrap_or_default();
        let visible = self.sessions.get(&job.session).map_or(0, |log| log.row.version);
        let mut others = Vec::new();
        for mut waiter in waiters {
            let failed = left < waiter.version && waiter.version <= job.row.version;
            if failed && waiter.settles && visible < left && !is_gone {
                // What was queued before it is still on its way.
                waiter.version = left;
            } else if is_gone || (failed && waiter.queued) {
                let _ = waiter.heard.send(Err(error()));
                continue;
            }
            others.push(waiter);
        }
        if !others.is_empty() {
            self.waiters.insert(job.session, others);
        }
    }

    /// Waits for a version to reach a level; `None`: it has.
    pub(crate) fn wait(
        &mut self,
        session: SessionId,
        version: u64,
        level: Durability,
    ) -> Result<Result<Head, oneshot::Receiver<Result<Head, StoreError>>>, StoreError> {
        if self.closed {
            return Err(StoreError::Closed);
        }
        let log = self.sessions.get(&session).filter(|_| !self.is_gone(session));
        let log = log.ok_or_else(|| self.absent(session))?;
        if log.exists() && log.level_of(version).is_some_and(|reached| reached >= level) {
            return Ok(Ok(log.head()));
        }
        if self.all_refused {
            return Err(StoreError::Poisoned);
        }
        let (heard, wait) = oneshot::channel();
        let queued = version <= log.queued;
        self.sync_wanted |= level == Durability::Disk && log.exists() && version <= log.row.version;
        let waiters = self.waiters.entry(session).or_default();
        waiters.retain(|waiter| !waiter.heard.is_closed());
        waiters.push(Waiter { version, queued, settles: false, level, heard });
        Ok(Err(wait))
    }

    /// Listens for the end of what is queued for a session now, whatever that is; `None`: nothing is on its way.
    pub(crate) fn settling(
        &mut self,
        session: SessionId,
    ) -> Result<Option<oneshot::Receiver<Result<Head, StoreError>>>, StoreError> {
        self.check_not_closed()?;
        match self.sessions.get(&session) {
            Some(log) if (log.row.version < log.queued || log.leaving > 0) && !self.all_refused => {
                let (heard, settling) = oneshot::channel();
                let level = Durability::Volatile;
                let version = if log.leaving > 0 { u64::MAX } else { log.queued };
                let waiter = Waiter { version, queued: true, settles: true, level, heard };
                self.waiters.entry(session).or_default().push(waiter);
                Ok(Some(settling))
            }
            _ => Ok(None),
        }
    }

    /// What is visible of a session cannot be written now: whoever waits for more than that hears it.
    pub(crate) fn refuse_levels(&mut self, session: SessionId, error: impl Fn() -> StoreError) {
        let Some((visible, written)) = self.sessions.get(&session).map(|log| (log.row.version, log.written)) else {
            return;
        };
        let Some(waiters) = self.waiters.get_mut(&session) else { return };
        let waits_for_it = |waiter: &mut Waiter| written < waiter.version && waiter.version <= visible;
        waiters.extract_if(.., waits_for_it).for_each(|waiter| drop(waiter.heard.send(Err(error()))));
    }

    /// Answers those whose wish is reached, and asks for a sync when somebody still waits for one.
    fn wake(&mut self, session: SessionId) {
        if self.waiters.is_empty() {
            return;
        }
        let Some(log) = self.sessions.get(&session).filter(|log| log.exists()) else { return };
        let Some(waiters) = self.waiters.remove(&session) else { return };
        let mut left = Vec::new();
        for waiter in waiters {
            if log.level_of(waiter.version).is_some_and(|level| level >= waiter.level) {
                let _ = waiter.heard.send(Ok(log.head()));
            } else if !waiter.heard.is_closed() {
                self.sync_wanted |= waiter.version <= log.row.version && waiter.level == Durability::Disk;
                left.push(waiter);
            }
        }
        if !left.is_empty() {
            self.waiters.insert(session, left);
        }
    }

    /// Tells who waits for a session that it will not happen any more.
    pub(super) fn end_waiting_for(&mut self, session: SessionId, error: impl Fn() -> StoreError) {
        for waiter in self.waiters.remove(&session).into_iter().flatten() {
            let _ = waiter.heard.send(Err(error()));
        }
    }

    /// Tells who waits for a removal to be settled that it failed.
    pub(super) fn end_settling(&mut self, session: SessionId, error: impl Fn() -> StoreError) {
        let Some(waiters) = self.waiters.get_mut(&session) else { return };
        let settles = |waiter: &mut Waiter| waiter.settles && waiter.version == u64::MAX;
        waiters.extract_if(.., settles).for_each(|waiter| drop(waiter.heard.send(Err(error()))));
    }

    /// Counts a change.
    pub(super) fn tick(&mut self) {
        self.tick += 1;
    }

    /// A session changed; `before`: the number of its last change.
    pub(super) fn change(&mut self, before: u64, session: SessionId) {
        self.changes.remove(&before);
        self.changes.insert(self.tick, session);
    }

    /// Tells everybody who waits that it will not happen any more.
    pub(crate) fn end_waiting(&mut self, error: impl Fn() -> StoreError) {
        for waiter in std::mem::take(&mut self.waiters).into_values().flatten() {
            let _ = waiter.heard.send(Err(error()));
        }
    }

    /// Puts a session that was loaded at open into the feed of changes.
    pub(crate) fn announce(&mut self, session: SessionId) {
        self.tick += 1;
        let tick = self.tick;
        if let Some(log) = self.sessions.get_mut(&session) {
            self.changes.remove(&log.tick);
            log.tick = tick;
            if log.words.is_some() {
                self.changes.insert(tick, session);
            }
        }
    }

    /// The logs that are there, in no order.
    pub(crate) fn there(&self) -> impl Iterator<Item = SessionId> {
        let there = self.sessions.iter().filter(|(id, log)| log.exists() && !self.is_gone(**id));
        there.map(|(id, _)| *id)
    }

    /// Changes after `since`, with their numbers; without a log: the session was removed.
    pub(crate) fn changed(&self, since: u64) -> impl Iterator<Item = (u64, SessionId, Option<&LogState>)> {
        let changes = self.changes.range(since.saturating_add(1)..);
        changes.filter_map(|(tick, id)| {
            let log = self.sessions.get(id).filter(|_| !self.is_gone(*id));
            (log.is_some() || self.is_gone(*id)).then_some((*tick, *id, log))
        })
    }
}

#[cfg(test)]
mod tests {
    use sessions_domain::CommitHash;

    use super::*;
    use crate::sled::{index::CoreRow, locator::Locator};

    fn session() -> SessionId {
        SessionId::from_bytes([7; 16])
    }

    fn job(version: u64, durability: Durability) -> Job {
        let row =
            CoreRow { first: 1, version, commit: CommitHash::ZERO, created: 1, updated: 1, messages: 1, bytes: 0 };
        Job {
            session: session(),
            frames: Bytes::new(),
            records: vec![(version, Locator { length: 0, offset: 0, ..Locator::LOST })],
            blobs: Vec::new(),
            bodies: Vec::new(),
            files: Vec::new(),
            behind: CommitHash::ZERO,
            row,
            words: None,
            snapshot: None,
            key: None,
            durability,
            begins: version == 1,
            links: Vec::new(),
            removes: None,
            rewrites: None,
            done: None,
            visible: false,
            placed: false,
            added: 0,
        }
    }

    /// A ledger with these versions in its queue.
    fn queued(jobs: impl IntoIterator<Item = (u64, Durability)>) -> Ledger {
        let mut ledger = Ledger::default();
        jobs.into_iter().for_each(|(version, durability)| ledger.enqueue(job(version, durability), Vec::new()));
        ledger
    }

    fn no_space() -> StoreError {
        StoreError::NoSpace { operation: "a test" }
    }

    #[test]
    fn what_is_queued_is_settled_when_it_is_through_or_has_failed() {
        let mut ledger = queued([(1, Durability::Disk), (2, Durability::Disk), (3, Durability::Disk)]);
        let mut settling = ledger.settling(session()).unwrap().unwrap();
        let mut first = ledger.queue.pop_front().unwrap();
        ledger.written(&mut first, Spot { segment: 0, offset: 0, is_synced: false });
        assert!(settling.try_recv().is_err(), "two are on their way");
        let (mut second, mut third) = (ledger.queue.pop_front().unwrap(), ledger.queue.pop_front().unwrap());
        ledger.withdraw(&mut second, no_space);
        assert!(settling.try_recv().is_err(), "one is on its way");
        ledger.withdraw(&mut third, no_space);
        assert!(settling.try_recv().unwrap().is_err(), "it is not on its way any more");
        assert!(ledger.settling(session()).unwrap().is_none());
    }

    #[test]
    fn what_fails_does_not_settle_what_was_queued_before_it() {
        let mut ledger = queued([(1, Durability::Disk), (2, Durability::Disk)]);
        let mut settling = ledger.settling(session()).unwrap().unwrap();
        let (mut first, mut second) = (ledger.queue.pop_front().unwrap(), ledger.queue.pop_front().unwrap());
        ledger.withdraw(&mut second, no_space);
        assert!(settling.try_recv().is_err(), "the first is on its way");
        ledger.written(&mut first, Spot { segment: 0, offset: 0, is_synced: false });
        assert_eq!(settling.try_recv().unwrap().unwrap().version, 1);
    }

    #[test]
    fn who_waits_for_what_is_queued_hears_that_it_failed_and_who_waits_for_more_goes_on() {
        let mut ledger = queued([(1, Durability::Disk)]);
        let mut first = ledger.queue.pop_front().unwrap();
        ledger.written(&mut first, Spot { segment: 0, offset: 0, is_synced: false });
        let mut follower = ledger.wait(session(), 2, Durability::Volatile).unwrap().unwrap_err();
        ledger.enqueue(job(2, Durability::Disk), Vec::new());
        let mut waiter = ledger.wait(session(), 2, Durability::Volatile).unwrap().unwrap_err();
        let mut second = ledger.queue.pop_front().unwrap();
        ledger.withdraw(&mut second, no_space);
        assert!(matches!(waiter.try_recv().unwrap(), Err(StoreError::NoSpace { .. })));
        assert!(follower.try_recv().is_err(), "another second record may come");
        ledger.enqueue(job(2, Durability::Disk), Vec::new());
        let mut second = ledger.queue.pop_front().unwrap();
        ledger.written(&mut second, Spot { segment: 0, offset: 0, is_synced: false });
        assert_eq!(follower.try_recv().unwrap().unwrap().version, 2);
    }

    #[test]
    fn what_fails_leaves_the_tail_of_what_was_queued_before_it() {
        let commit = |version: u64| CommitHash::from_bytes([version as u8; 32]);
        for fails_first in [1, 2] {
            let mut ledger = Ledger::default();
            for version in 1..=3 {
                let mut job = job(version, Durability::Disk);
                job.row.commit = commit(version);
                ledger.enqueue(job, Vec::new());
            }
            let tail = |ledger: &Ledger| ledger.sessions.get(&session()).map(|log| (log.queued, log.tail()));
            assert_eq!(tail(&ledger), Some((3, commit(3))));
            let mut failed = [ledger.queue.remove(fails_first).unwrap(), ledger.queue.remove(1).unwrap()];
            failed.iter_mut().for_each(|job| ledger.withdraw(job, no_space));
            assert_eq!(tail(&ledger), Some((1, commit(1))));
            let mut first = ledger.queue.pop_front().unwrap();
            ledger.written(&mut first, Spot { segment: 0, offset: 0, is_synced: false });
            assert_eq!(tail(&ledger), Some((1, commit(1))));
        }
    }

    #[test]
    fn a_session_that_nobody_makes_is_not_waited_for() {
        let mut ledger = queued([]);
        let refused = ledger.wait(session(), 1, Durability::Volatile);
        assert!(matches!(refused, Err(StoreError::NotFound { .. })));
        assert!(ledger.settling(session()).unwrap().is_none());
        ledger.enqueue(job(1, Durability::Disk), Vec::new());
        let mut waiter = ledger.wait(session(), 9, Durability::Volatile).unwrap().unwrap_err();
        let mut first = ledger.queue.pop_front().unwrap();
        ledger.withdraw(&mut first, no_space);
        assert!(waiter.try_recv().unwrap().is_err(), "its session is gone");
    }

    #[test]
    fn who_waits_for_a_level_hears_that_the_disk_is_full() {
        let mut ledger = queued([(1, Durability::Volatile)]);
        let mut waiter = ledger.wait(session(), 1, Durability::Disk).unwrap().unwrap_err();
        let mut follower = ledger.wait(session(), 2, Durability::Volatile).unwrap().unwrap_err();
        ledger.refuse_levels(session(), no_space);
        assert!(matches!(waiter.try_recv().unwrap(), Err(StoreError::NoSpace { .. })));
        assert!(follower.try_recv().is_err());
    }
}
