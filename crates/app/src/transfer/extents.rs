//! Which logs a session's export holds, and how far each goes: those that it inherits from, and its own.
//!
//! A log whose beginning nobody can read any more begins with what stands for that, as after a repair, so that the file can be read in again.
//!
//! Must not know: how a file is spelled.

use std::{collections::BTreeMap, ops::RangeInclusive};

use bytes::Bytes;
use sessions_domain::{
    Actor, CommitHash, Created, Event, ForkPoint, InvalidHistory, Kind, LineageId, SessionId, Stamp, View, codec,
};
use sessions_ports::Record;

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
    /// What stands for beginnings that are lost, by their numbers.
    stand_ins: BTreeMap<u64, Record>,
    /// The commit of the last record that was given, as the store has it.
    stored: CommitHash,
}

impl Extents {
    /// None.
    pub(super) const fn none() -> Self {
        Self { logs: Vec::new(), stand_ins: BTreeMap::new(), stored: CommitHash::ZERO }
    }

    pub(super) async fn of(session: &Session, view: &View) -> Result<Self, SessionError> {
        let mut all = Self::none();
        let owners = view.fork().map(|fork| fork.owners.clone()).unwrap_or_default();
        let line: Vec<(SessionId, u64)> = owners.into_iter().chain([(view.session(), view.version())]).collect();
        let mut first = 1;
        let mut line = line.into_iter().peekable();
        while let Some((owner, last)) = line.next() {
            let begun = begun(session, owner, first).await?.filter(|(created, _)| created.session == owner);
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
