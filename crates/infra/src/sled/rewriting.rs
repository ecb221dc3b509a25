//! Rewrites: records that get another payload, and inherited ones that become a log's own.
//!
//! A rewrite is an append of frames that say which records they are of. It is seen when it is synced, whatever level was asked, so what a
//! power cut takes was never there. Where its records lie is known here until the index holds it.
//!
//! **Invariant**: what is noted here of a record is newer than what the index and the log's state say of it.
//!
//! Must not know: the index, files.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;
use sessions_domain::SessionId;
use sessions_ports::{Durability, Link, Rewrite, Rewritten, StoreError};
use tokio::sync::oneshot;

use super::{
    bodies::BodyName,
    index::NamedBlob,
    ledger::Ledger,
    locator::Locator,
    log_state::{Job, LogState, Spot},
    stood_for::BesideFirst,
};

/// Where a rewritten record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) locator: Locator,
    /// The large body that it names.
    pub(crate) body: Option<Box<BodyName>>,
}

/// What was rewritten, as far as the index does not hold it.
#[derive(Default)]
pub(crate) struct Rewrites {
    moved: HashMap<SessionId, BTreeMap<u64, Moved>, RandomState>,
    count: usize,
    /// Something was rewritten since the store was opened, or by the part of the log that was read then.
    pub(crate) happened: bool,
    /// Large bodies that records named before they were rewritten.
    pub(crate) stale: Vec<NamedBlob>,
    /// Those of them whose files are gone.
    pub(crate) swept: Vec<NamedBlob>,
    /// Sessions that inherit less than they did.
    pub(crate) unlinked: HashSet<SessionId, RandomState>,
}

impl Rewrites {
    /// How many records are noted.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The records of a session that are noted.
    pub(crate) fn of(&self, session: SessionId) -> Option<&BTreeMap<u64, Moved>> {
        self.moved.get(&session)
    }

    pub(crate) fn note(&mut self, session: SessionId, seq: u64, moved: Moved) {
        self.happened = true;
        let before = self.moved.entry(session).or_default().insert(seq, moved);
        self.count += usize::from(before.is_none());
    }

    /// What stands for a record that was lost, where that is noted.
    pub(crate) fn stand_in(&mut self, session: SessionId, seq: u64, locator: Locator) {
        if let Some(moved) = self.moved.get_mut(&session).and_then(|moved| moved.get_mut(&seq)) {
            *moved = Moved { locator, body: None };
        }
    }

    /// The index holds these now, and the bodies that they named before.
    pub(crate) fn release(&mut self, session: SessionId, taken: &BTreeMap<u64, Moved>, stale: &[NamedBlob]) {
        if let Some(moved) = self.moved.get_mut(&session) {
            let before = moved.len();
            moved.retain(|seq, moved| taken.get(seq) != Some(moved));
            self.count = self.count.saturating_sub(before - moved.len());
            if moved.is_empty() {
                self.moved.remove(&session);
            }
        }
        if !stale.is_empty() {
            self.stale.retain(|body| !stale.contains(body));
        }
    }

    /// Forgets a session of which nothing is left: the places, and the names of its bodies.
    pub(crate) fn forget(&mut self, session: SessionId) -> (Vec<Locator>, Vec<(u64, BodyName)>) {
        if self.moved.is_empty() && self.stale.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let moved = self.moved.remove(&session).unwrap_or_default();
        self.count = self.count.saturating_sub(moved.len());
        let mut names: Vec<(u64, BodyName)> =
            moved.iter().filter_map(|(seq, moved)| Some((*seq, **moved.body.as_ref()?))).collect();
        let stale = self.stale.extract_if(.., |(of, ..)| *of == session);
        names.extend(stale.map(|(_, seq, name)| (seq, name)));
        (moved.into_values().map(|moved| moved.locator).collect(), names)
    }

    /// Large bodies that rewritten records name.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = NamedBlob> {
        let of = |(session, moved): (&SessionId, &BTreeMap<u64, Moved>)| {
            let session = *session;
            let named = moved.iter().filter_map(|(seq, moved)| Some((*seq, **moved.body.as_ref()?)));
            named.map(move |(seq, name)| (session, seq, name)).collect::<Vec<_>>()
        };
        self.moved.iter().flat_map(of)
    }
}

/// A rewrite on its way.
pub(crate) struct Rewriting {
    pub(crate) words: Option<Bytes>,
    pub(crate) unlink: Vec<SessionId>,
    /// Where the replaced records lay.
    pub(crate) old: Vec<Locator>,
    pub(super) first: u64,
    pub(super) done: Option<oneshot::Sender<Result<Rewritten, StoreError>>>,
}

impl Rewriting {
    /// One that replaces what lies there.
    pub(crate) fn waited_for(old: Vec<Locator>, done: oneshot::Sender<Result<Rewritten, StoreError>>) -> Self {
        Self { words: None, unlink: Vec::new(), old, first: 0, done: Some(done) }
    }

    /// Tells whoever waits for it how it went.
    pub(crate) fn answer(&mut self, outcome: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            let done_at = Rewritten { first: self.first, durability: Durability::Disk };
            let _ = done.send(outcome.map(|()| done_at));
        }
    }

    /// What is queued behind it waits for it, because it would be written over.
    const fn is_waited_for(&self) -> bool {
        self.words.is_some()
    }
}

impl Ledger {
    /// Checks a rewrite, all but what its records stand for. Gives the number of the log's first record, and the version behind all that is queued.
    pub(crate) fn admit_rewrite(&self, rewrite: &Rewrite) -> Result<(u64, u64), StoreError> {
        self.check_open()?;
        if self.left_index {
            return Err(StoreError::NoSpace { operation: "opening the index" });
        }
        let session = rewrite.session;
        let log = self.sessions.get(&session);
        if self.is_leaving(session) {
            let (first, version) = log.map_or((1, 0), |log| (log.row.first, log.row.version));
            return rewrite.check_left(first, self.kept(session).min(version)).map(|()| (first, version));
        }
        let log = log.filter(|log| log.exists()).ok_or(StoreError::NotFound { session })?;
        if let Some(expected) = rewrite.expected.filter(|expected| *expected != log.queued) {
            return Err(StoreError::Conflict { expected, actual: log.queued });
        }
        rewrite.check_log(log.head(), &log.links)?;
        if rewrite.words.is_some() && log.words.is_none() {
            return Err(StoreError::Malformed { what: "it gives words to a session without any" });
        }
        Ok((log.row.first, log.queued))
    }

    /// What goes along when the first record of a log gets another payload, or one below it becomes the first.
    pub(crate) fn beside_first(&self, rewrite: &Rewrite, first: u64) -> Option<BesideFirst> {
        let session = rewrite.session;
        let reaches_down = rewrite.records.first().is_some_and(|record| record.seq <= first);
        let log = self.sessions.get(&session).filter(|_| reaches_down && !self.is_leaving(session))?;
        Some(BesideFirst {
            created: log.row.created,
            key: log.key.as_deref().copied(),
            links: log.links.iter().filter(|link| !rewrite.unlink.contains(&link.owner)).copied().collect(),
            words: log.words.clone().filter(|_| log.unsettled == 0 && rewrite.words.is_none()),
        })
    }

    /// Takes an admitted rewrite into the queue.
    pub(crate) fn enqueue_rewrite(&mut self, job: Job) {
        for (_, name) in &job.blobs {
            self.bodies.named_by(*name);
        }
        self.queued_bytes += job.frames.len();
        let waits = job.rewrites.as_ref().is_some_and(|rewriting| rewriting.is_waited_for());
        if let Some(log) = self.sessions.get_mut(&job.session) {
            log.unsettled += u32::from(waits);
        }
        if self.bodies.keeps(&job) { self.bodies.hold(job) } else { self.queue.push_back(job) }
    }

    /// A rewrite is synced, and visible from here on.
    pub(super) fn rewritten(&mut self, job: &mut Job, spot: Spot) {
        (job.placed, job.visible) = (true, true);
        self.bodies.known(&job.blobs);
        self.bodies.named(job);
        let session = job.session;
        let is_gone = self.is_gone(session);
        let Some(rewriting) = &mut job.rewrites else { return };
        for locator in std::mem::take(&mut rewriting.old) {
            *self.dead.entry(locator.segment).or_default() += u64::from(locator.length);
        }
        let Some(log) = self.sessions.get_mut(&session) else { return };
        log.unsettled = log.unsettled.saturating_sub(u32::from(rewriting.is_waited_for()));
        for (seq, within) in &job.records {
            let body = job.blobs.iter().find(|(of, _)| of == seq).map(|(_, name)| Box::new(*name));
            self.dead_bodies += outdate(log, &mut self.rewrites, session, *seq, body.as_deref());
            self.rewrites.note(session, *seq, Moved { locator: spot.locator(*within), body });
        }
        if let Some((lowest, _)) = job.records.first().filter(|(lowest, _)| *lowest < log.row.first) {
            log.begin_at(*lowest);
            log.row.bytes += job.row.bytes;
            log.synced_before.bytes += job.row.bytes;
        }
        rewriting.first = log.row.first;
        if !is_gone {
            if let Some(words) = &rewriting.words {
                log.words = Some(words.clone());
                log.synced_words = Some(words.clone());
            }
            let unlink = &rewriting.unlink;
            let links: Vec<Link> = log.links.extract_if(.., |link| unlink.contains(&link.owner)).collect();
            if !links.is_empty() {
                self.rewrites.unlinked.insert(session);
                self.unlink(session, &links);
                links.iter().for_each(|link| self.let_go(link.owner));
            }
        }
        self.mark(session);
    }

    /// Undoes what a rewrite that failed had changed when it was queued.
    pub(super) fn withdraw_rewrite(&mut self, job: &Job) {
        self.bodies.known(&job.blobs);
        let waits = job.rewrites.as_ref().is_some_and(|rewriting| rewriting.is_waited_for());
        if let Some(log) = self.sessions.get_mut(&job.session) {
            log.unsettled = log.unsettled.saturating_sub(u32::from(waits));
        }
    }

    /// Notes a rewritten record that the log tells of, when it is read.
    pub(crate) fn replayed(&mut self, session: SessionId, seq: u64, locator: Locator, body: Option<&BodyName>) {
        let Some(log) = self.sessions.get_mut(&session) else { return };
        outdate(log, &mut self.rewrites, session, seq, body);
        if let Some(place) = log.recent_mut(seq) {
            *place = super::log_state::Place::Disk(locator);
            log.new_blobs.extend(body.map(|name| (seq, *name)));
            return;
        }
        for lost in seq + 1..log.row.first {
            // What comes behind it in the log is noted in its turn.
            self.rewrites.note(session, lost, Moved { locator: Locator::LOST, body: None });
        }
        self.rewrites.note(session, seq, Moved { locator, body: body.map(|name| Box::new(*name)) });
        if seq < log.row.first {
            log.begin_at(seq);
        }
    }
}

/// Whatever large body a record named is named no more, unless it is this one: how many there were.
fn outdate(
    log: &mut LogState,
    rewrites: &mut Rewrites,
    session: SessionId,
    seq: u64,
    body: Option<&BodyName>,
) -> usize {
    let known = rewrites.of(session).and_then(|moved| moved.get(&seq)).and_then(|moved| moved.body.as_deref().copied());
    let new = log.new_blobs.extract_if(.., |(of, _)| *of == seq).map(|(_, name)| name);
    let stale: Vec<NamedBlob> =
        new.chain(known).filter(|name| Some(name) != body).map(|name| (session, seq, name)).collect();
    rewrites.stale.retain(|(of, at, name)| (*of, *at) != (session, seq) || Some(name) != body);
    rewrites.stale.extend(stale.iter().copied());
    stale.len()
}
