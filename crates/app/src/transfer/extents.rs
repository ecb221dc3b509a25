//! Which logs a session's export holds, and how far each goes: those that it inherits from, and its own.
//!
//! A log whose beginning nobody can read any more begins with what stands for that, as after a repair, so that the file can be read in again.
//!
//! Must not know: how a file is spelled.

use std::{collections::BTreeMap, ops::RangeInclusive};

use bytes::Bytes;
use sessions_domain::{
    Actor, CommitHash, Created, Event, ForkPoint, InvalidHistory, Kind, LineageId, SessionId, Stamp, View, codec,
    decide,
};
use sessions_ports::{KindFilter, Order, ReadRange, Record};

use super::archive::Extent;
use crate::{
    error::SessionError,
    reading::{decoded, is_unreadable, single, unreadable},
    session::Session,
};

/// The logs of an export.
pub(super) struct Extents {
    /// Oldest first; the last one is the session's own.
    pub(super) logs: Vec<Extent>,
    /// Who has what had been made its own, by the first records of the logs that this was.
    owners: BTreeMap<u64, SessionId>,
    /// What stands for beginnings that are lost, by their numbers.
    stand_ins: BTreeMap<u64, Record>,
    /// The commit of the last record that was given, as the store has it.
    stored: CommitHash,
}

impl Extents {
    /// None.
    pub(super) const fn none() -> Self {
        Self { logs: Vec::new(), owners: BTreeMap::new(), stand_ins: BTreeMap::new(), stored: CommitHash::ZERO }
    }

    /// Who has a log, as the session sees it.
    pub(super) fn owner(&self, log: &Extent) -> SessionId {
        self.owners.get(&log.first).copied().unwrap_or(log.session)
    }

    pub(super) async fn of(session: &Session, view: &View) -> Result<Self, SessionError> {
        let mut all = Self::none();
        let owners = view.fork().map(|fork| fork.owners.clone()).unwrap_or_default();
        let line: Vec<(SessionId, u64)> = owners.into_iter().chain([(view.session(), view.version())]).collect();
        let mut first = 1;
        let mut line = line.into_iter().peekable();
        while let Some((owner, last)) = line.next() {
            let begun = begun(session, owner, first).await?;
            let is_made_own =
                owner != view.session() && begun.as_ref().is_some_and(|(created, _)| created.session != owner);
            if is_made_own && let Some(logs) = all.logs_within(session, owner, first..=last).await? {
                // An owner that had made its own what it inherited: each log of that stands in the file as what it was.
                all.owners.extend(logs.iter().map(|log| (log.first, owner)));
                all.logs.extend(logs);
                first = last.saturating_add(1);
                continue;
            }
            let begun = begun.filter(|(created, _)| created.session == owner);
            let commit = match line.peek() {
                None => view.commit(),
                Some((next, _)) => end(session, owner, last, *next).await?,
            };
            match begun {
                Some((created, record)) if created.stands_for_a_lost_one(&record.payload) => {
                    // Whoever wrote it may not have known what it was forked from.
                    let (lineage, fits) = (created.lineage, all.is_ground_of(&created));
                    let payload = if fits { record.payload } else { all.stand_in(view, created)? };
                    all.begin_anew(payload, lineage, owner, first..=last, commit);
                }
                Some((Created { lineage, .. }, _)) => {
                    all.logs.push(Extent { session: owner, lineage, first, last, commit });
                }
                None => {
                    let named = if owner == view.session() { session.manager().named(owner).await? } else { None };
                    let lineage = LineageId::from_bytes(owner.to_bytes());
                    let created = named.unwrap_or(Created::of(owner, lineage));
                    let payload = all.stand_in(view, Created { lineage, ..created })?;
                    all.begin_anew(payload, lineage, owner, first..=last, commit);
                }
            }
            first = last.saturating_add(1);
        }
        Ok(all)
    }

    /// The logs that make up a range of an owner that had made its own what it inherited, when every record of it follows the one before, and none is
    /// lost where one of the logs begins or ends.
    async fn logs_within(
        &self,
        session: &Session,
        owner: SessionId,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Vec<Extent>>, SessionError> {
        let (mut next, last) = range.into_inner();
        let mut lineup = Lineup::behind(self.logs.last().map_or(CommitHash::ZERO, |log| log.commit));
        while next <= last {
            let (order, kinds, max_records) = (Order::OldestFirst, KindFilter::All, 4096);
            let range = ReadRange { from: next, to: last, order, kinds, max_records, max_bytes: 1 << 20 };
            let page = session.manager().read_owned(session.id(), owner, range).await?;
            if page.records.is_empty() {
                return Ok(None);
            }
            for record in &page.records {
                if record.seq != next || !lineup.take(owner, record)? {
                    return Ok(None);
                }
                next = next.saturating_add(1);
            }
        }
        Ok(Some(lineup.logs).filter(|_| lineup.before == Before::Sound))
    }

    /// Whether a log says that it was forked from the logs that are there.
    fn is_ground_of(&self, created: &Created) -> bool {
        let owners = self.logs.iter().map(|log| (log.session, log.last));
        match (&created.fork, self.logs.last()) {
            (Some(fork), Some(last)) => fork.commit == last.commit && fork.owners.iter().copied().eq(owners),
            (fork, last) => fork.is_none() && last.is_none(),
        }
    }

    /// What stands for a lost beginning behind the logs that are there, as a repair writes it.
    fn stand_in(&self, view: &View, created: Created) -> Result<Bytes, SessionError> {
        let session = created.session;
        let created = Created { fork: self.fork(view), ..created };
        let stamp = Stamp { at: view.created(), actor: Actor { tenant: view.tenant().to_owned(), ..Actor::default() } };
        let body = codec::encode(&Event::Created(Box::new(created)), &stamp)
            .map_err(|_| SessionError::InvalidHistory { session, source: InvalidHistory::NoBeginning })?;
        Ok(Bytes::from([&[0; 32], body.as_slice()].concat()))
    }

    /// Adds a log whose beginning is lost. What stands for that is bound to the log before it as the file has it: a sealed store names it as it is read.
    fn begin_anew(
        &mut self,
        payload: Bytes,
        lineage: LineageId,
        session: SessionId,
        range: RangeInclusive<u64>,
        commit: CommitHash,
    ) {
        let (first, last) = range.into_inner();
        let before = self.logs.last().map_or(CommitHash::ZERO, |log| log.commit);
        let own = before.next(lineage, first, Kind::CREATED, &[0; 32], payload.get(32..).unwrap_or_default());
        self.stand_ins.insert(first, Record { seq: first, kind: Kind::CREATED, commit: own, label: 0, payload });
        let commit = if first == last { own } else { commit };
        self.logs.push(Extent { session, lineage, first, last, commit });
    }

    /// Where a log left the ones before it, as far as the session that inherits it tells.
    fn fork(&self, view: &View) -> Option<ForkPoint> {
        let before = self.logs.last()?;
        let tree = view.tree().clipped(before.last);
        let head = tree.last();
        Some(ForkPoint {
            parent: before.session,
            at: before.last,
            commit: before.commit,
            head,
            depth: if head == 0 { 0 } else { tree.span(head) },
            owners: self.logs.iter().map(|log| (log.session, log.last)).collect(),
            last: Some(head).filter(|head| *head != before.last),
            inherits: decide::inherited(view, before.last),
        })
    }

    /// The next record as a file has it. `commit`: of the one before it in the file.
    pub(super) fn record(&mut self, log: &Extent, mut record: Record, commit: CommitHash) -> Record {
        if record.kind == Kind::CREATED && record.seq != log.first {
            // A session's own beginning, behind what it had inherited and nobody has any more.
            record = unreadable(record.seq);
        }
        let stored = std::mem::replace(&mut self.stored, record.commit);
        if let Some(stand_in) = self.stand_ins.get(&record.seq) {
            return stand_in.clone();
        }
        // One that follows what was lost before it, or nothing: of what was made a session's own and then lost nobody knows what stood before it.
        let follows = |before: CommitHash| record.commit == before.after_lost(record.seq);
        if record.kind == Kind::LOST && record.seq == log.last {
            record.commit = log.commit;
        } else if is_unreadable(&record)
            || (record.kind == Kind::LOST && (follows(stored) || follows(CommitHash::ZERO)))
        {
            record.commit = commit.after_lost(record.seq);
        }
        record
    }
}

/// What is known of the record before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It stands where it should.
    Sound,
    /// It is lost, and its commit is known.
    Lost,
    /// It is lost with its commit, so that nothing tells what the next one follows.
    Unknown,
    /// It followed such a one, so that it may be of another log, whose beginning is lost.
    Unsure,
}

/// The logs that one was made of, record by record.
struct Lineup {
    logs: Vec<Extent>,
    commit: CommitHash,
    before: Before,
}

impl Lineup {
    fn behind(commit: CommitHash) -> Self {
        Self { logs: Vec::new(), commit, before: Before::Sound }
    }

    /// Takes the next record. False: it does not follow the one before it, or it is not known whether one of the logs begins or ends there.
    fn take(&mut self, owner: SessionId, record: &Record) -> Result<bool, SessionError> {
        let seq = record.seq;
        if record.kind == Kind::CREATED {
            let (Event::Created(created), _) = decoded(owner, record)? else { return Ok(false) };
            let Created { session, lineage, .. } = *created;
            if self.before != Before::Sound || self.logs.iter().any(|log| log.session == session) {
                return Ok(false);
            }
            self.logs.push(Extent { session, lineage, first: seq, last: seq, commit: self.commit });
        }
        let Some(log) = self.logs.last_mut() else { return Ok(false) };
        if record.kind == Kind::LOST {
            // Of two with one record between nobody knows whose that is.
            if self.before == Before::Unsure {
                return Ok(false);
            }
            let unknown = [self.commit, CommitHash::ZERO].map(|before| before.after_lost(seq));
            let is_known = !unknown.contains(&record.commit) && !is_unreadable(record);
            self.before = if is_known { Before::Lost } else { Before::Unknown };
            self.commit = if is_known { record.commit } else { self.commit.after_lost(seq) };
        } else {
            let (blind, body) = record.payload.split_at_checked(32).unwrap_or_default();
            let Ok(blind) = blind.try_into() else { return Ok(false) };
            let follows = self.commit.next(log.lineage, seq, record.kind, blind, body) == record.commit;
            self.before = match (follows, self.before) {
                (true, _) => Before::Sound,
                (false, Before::Unknown) => Before::Unsure,
                (false, _) => return Ok(false),
            };
            self.commit = record.commit;
        }
        (log.last, log.commit) = (seq, self.commit);
        Ok(true)
    }
}

/// What a log says at a record, if it begins there.
async fn begun(session: &Session, owner: SessionId, seq: u64) -> Result<Option<(Created, Record)>, SessionError> {
    let page = session.manager().read_owned(session.id(), owner, single(seq)).await?;
    let Some(record) = page.records.into_iter().next().filter(|record| !is_unreadable(record)) else { return Ok(None) };
    match decoded(owner, &record)? {
        (Event::Created(created), _) => Ok(Some((*created, record))),
        _ => Ok(None),
    }
}

/// The commit of the last record that is inherited of a log. Where nobody has that any more, whoever goes on behind it knows it.
async fn end(session: &Session, owner: SessionId, last: u64, next: SessionId) -> Result<CommitHash, SessionError> {
    let page = session.manager().read_owned(session.id(), owner, single(last)).await?;
    let end = page.records.first().filter(|record| !is_unreadable(record));
    if let Some(record) = end.filter(|record| record.kind != Kind::LOST) {
        return Ok(record.commit);
    }
    let known = begun(session, next, last.saturating_add(1)).await?.and_then(|(created, _)| created.fork);
    let known = known.map(|fork| fork.commit).or(end.map(|record| record.commit));
    Ok(known.unwrap_or(CommitHash::ZERO.after_lost(last)))
}
