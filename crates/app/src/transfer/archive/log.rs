//! Logs as a file gives them, record by record, with every commit checked before anything is believed.
//!
//! **Invariant**: an [`Archive`] holds whole logs whose chains are unbroken, each the exact ground of the next, the session's own last.
//!
//! Must not know: stores, or how the file spells records.

use bytes::{BufMut, Bytes, BytesMut};
use sessions_domain::{
    CommitHash, Created, Event, Kind, LineageId, MAX_JSON_DEPTH, SessionId, Stamp, View, codec, json_depth,
};
use sessions_ports::Record;

use super::wire::Extent;
use crate::{
    keyed,
    transact::MAX_BODY_BYTES,
    transfer::{ImportError, LostRecord, Report},
};

/// What stands around a message's own JSON in a body.
const ENVELOPE_DEPTH: usize = 16;

/// One log, whole.
pub(in crate::transfer) struct ArchivedLog {
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) created: Created,
    pub(in crate::transfer) stamp: Stamp,
    pub(in crate::transfer) records: Vec<Record>,
    pub(in crate::transfer) view: View,
}

impl ArchivedLog {
    pub(in crate::transfer) fn session(&self) -> SessionId {
        self.created.session
    }

    fn lost_its_beginning(&self) -> bool {
        self.records.first().is_some_and(|record| self.created.stands_for_a_lost_one(&record.payload))
    }

    pub(in crate::transfer) fn last(&self) -> u64 {
        self.view.version()
    }

    pub(in crate::transfer) fn commit_at(&self, seq: u64) -> Option<CommitHash> {
        let at = seq.checked_sub(self.view.first_own())?;
        self.records.get(usize::try_from(at).ok()?).map(|record| record.commit)
    }
}

/// The logs of a file.
pub(in crate::transfer) struct Archive {
    /// The logs the session inherits from, oldest first.
    pub(in crate::transfer) grounds: Vec<ArchivedLog>,
    /// The session's own.
    pub(in crate::transfer) own: ArchivedLog,
    pub(in crate::transfer) report: Report,
}

impl Archive {
    /// Whether the session had made all that it inherits its own: it names others as owners of that than those that wrote it, who need not be there.
    pub(in crate::transfer) fn has_all(&self) -> bool {
        let owners = self.own.created.fork.iter().flat_map(|fork| &fork.owners).copied();
        !owners.eq(self.grounds.iter().map(|log| (log.session(), log.last())))
    }
}

/// A record as the file gives it.
pub(in crate::transfer) struct Given<'a> {
    pub(in crate::transfer) session: SessionId,
    pub(in crate::transfer) lineage: LineageId,
    pub(in crate::transfer) seq: u64,
    pub(in crate::transfer) kind: Kind,
    pub(in crate::transfer) commit: CommitHash,
    pub(in crate::transfer) blind: Vec<u8>,
    pub(in crate::transfer) body: std::borrow::Cow<'a, [u8]>,
    /// The line it stands at.
    pub(in crate::transfer) line: u64,
}

/// Takes records in.
pub(in crate::transfer) struct Assembly {
    extents: Vec<Extent>,
    done: Vec<ArchivedLog>,
    begun: Option<ArchivedLog>,
    seq: u64,
    commit: CommitHash,
    /// The record before is lost, and its own commit is not known: what follows cannot be checked against it.
    is_loose: bool,
    report: Report,
}

impl Assembly {
    /// Expects these logs.
    pub(in crate::transfer) fn of(extents: Vec<Extent>) -> Result<Self, ImportError> {
        let inconsistent = |what| Err(ImportError::Inconsistent { what });
        let mut before = 0_u64;
        for (at, extent) in extents.iter().enumerate() {
            if before.checked_add(1) != Some(extent.first) || extent.last < extent.first {
                return inconsistent("one does not begin where the one before it ends");
            }
            if extents.iter().take(at).any(|other| other.session == extent.session) {
                return inconsistent("one of them stands there twice");
            }
            before = extent.last;
        }
        if extents.is_empty() {
            return inconsistent("there are none");
        }
        let (seq, commit) = (0, CommitHash::ZERO);
        Ok(Self { extents, done: Vec::new(), begun: None, seq, commit, is_loose: false, report: Report::default() })
    }

    /// Takes in the next record.
    pub(in crate::transfer) fn take(&mut self, given: Given<'_>) -> Result<(), ImportError> {
        let (session, seq) = (given.session, given.seq);
        let expected = self.seq + 1;
        let Some(extent) = self.extents.get(self.done.len()) else {
            return Err(ImportError::Surplus { session, seq });
        };
        if (session, given.lineage) != (extent.session, extent.lineage) {
            let is_done = self.done.iter().any(|log| log.session() == session);
            let missing = ImportError::Missing { session: extent.session, seq: expected };
            return Err(if is_done { ImportError::Surplus { session, seq } } else { missing });
        }
        if seq != expected {
            return Err(ImportError::Misplaced { session, expected, found: seq });
        }
        let is_last = seq == extent.last;
        let ends_as_said = extent.commit == given.commit;
        let record = self.checked(&given)?;
        let (event, stamp) = codec::decode(given.kind, &given.body).map_err(|source| ImportError::InvalidRecord {
            session,
            seq,
            source,
        })?;
        self.place(session, record, event, stamp)?;
        self.is_loose = given.kind == Kind::LOST && given.commit == self.commit.after_lost(seq);
        self.seq = seq;
        self.commit = given.commit;
        if is_last {
            if !ends_as_said {
                return Err(ImportError::Altered { session, seq });
            }
            self.done.extend(self.begun.take());
        }
        Ok(())
    }

    /// The record, when its commit binds it to the one before.
    fn checked(&self, given: &Given<'_>) -> Result<Record, ImportError> {
        let Given { session, seq, kind, commit, line, .. } = *given;
        if given.body.len() as u64 > MAX_BODY_BYTES {
            return Err(ImportError::TooLong { line, max: MAX_BODY_BYTES });
        }
        if kind == Kind::LOST {
            // What it said is not known. Its commit is its own where that is still known, and then the record behind it binds it; or it is
            // the one that stands for a lost record, and the chain goes on behind it.
            if !given.body.is_empty() || given.blind.iter().any(|byte| *byte != 0) {
                return Err(ImportError::Altered { session, seq });
            }
        } else if !self.is_loose && !self.begun.as_ref().is_some_and(ArchivedLog::lost_its_beginning) {
            let blind = given.blind.as_slice().try_into().map_err(|_| ImportError::Altered { session, seq })?;
            if self.commit.next(given.lineage, seq, kind, blind, &given.body) != commit {
                return Err(ImportError::Altered { session, seq });
            }
        }
        let nested = || std::str::from_utf8(&given.body).map_or(0, json_depth);
        if kind == Kind::APPENDED && nested() > MAX_JSON_DEPTH + ENVELOPE_DEPTH {
            return Err(ImportError::TooDeep { line });
        }
        let mut payload = BytesMut::with_capacity(given.blind.len() + given.body.len());
        payload.put_slice(&given.blind);
        payload.put_slice(&given.body);
        Ok(Record { seq, kind, commit, label: 0, payload: payload.freeze() })
    }

    fn place(&mut self, session: SessionId, mut record: Record, event: Event, stamp: Stamp) -> Result<(), ImportError> {
        let invalid = |source| ImportError::InvalidHistory { session, source };
        if let Event::Appended(appended) = &event {
            record.label = keyed::label(appended.id);
            let message = &appended.message;
            self.report.messages += 1;
            self.report.tool_calls += message.calls().count() as u64;
            self.report.usage = self.report.usage.plus(message.metadata.usage.unwrap_or_default());
        }
        if event == Event::Lost {
            self.report.lost.push(LostRecord { session, seq: record.seq });
        }
        if let Some(log) = &mut self.begun {
            log.view.apply(record.seq, &event, &stamp, record.commit).map_err(invalid)?;
            log.records.push(record);
            return Ok(());
        }
        let Event::Created(created) = event else {
            return Err(invalid(sessions_domain::InvalidHistory::NoBeginning));
        };
        self.check_ground(&created)?;
        let tree = self.done.last().map(|log| log.view.tree());
        if let (Some(fork), Some(tree)) = (&created.fork, tree)
            && fork.head != 0
            && tree.run_of(fork.head).is_none()
        {
            return Err(ImportError::Inconsistent { what: "a fork begins at something that is no message" });
        }
        if created.stands_for_a_lost_one(&record.payload) {
            self.report.lost.push(LostRecord { session, seq: record.seq });
        }
        let view = View::begin(record.seq, &created, &stamp, record.commit, tree).map_err(invalid)?;
        let lineage = created.lineage;
        self.begun = Some(ArchivedLog { lineage, created: *created, stamp, records: vec![record], view });
        Ok(())
    }

    /// A log's beginning says what it stands on, and that must be what the file holds.
    fn check_ground(&self, created: &Created) -> Result<(), ImportError> {
        let inconsistent = |what| Err(ImportError::Inconsistent { what });
        let named = self.extents.get(self.done.len()).map(|extent| (extent.session, extent.lineage));
        if named != Some((created.session, created.lineage)) {
            return inconsistent("one is called otherwise than its first record says");
        }
        let fits = match &created.fork {
            None => self.done.is_empty(),
            Some(fork) => {
                let continues = fork.commit == self.commit || self.is_loose;
                fork.at == self.seq && continues && fork.at > 0 && self.is_owned(created.session, &fork.owners)
            }
        };
        if fits { Ok(()) } else { inconsistent("one was forked from something else than the file holds") }
    }

    /// Whether these may own the logs that are there: each its own, or what it had made its own of them.
    fn is_owned(&self, session: SessionId, owners: &[(SessionId, u64)]) -> bool {
        let ends_there = |last: u64| self.done.iter().any(|log| log.last() == last);
        let ascends = owners.iter().zip(owners.iter().skip(1)).all(|((_, one), (_, next))| one < next);
        let reaches = owners.last().is_some_and(|(_, last)| *last == self.seq);
        ascends && reaches && owners.iter().all(|(owner, last)| *owner != session && ends_there(*last))
    }

    /// The whole, when every log came to its end.
    pub(in crate::transfer) fn finish(mut self) -> Result<Archive, ImportError> {
        if let Some(extent) = self.extents.get(self.done.len()) {
            return Err(ImportError::Missing { session: extent.session, seq: self.seq + 1 });
        }
        let Some(own) = self.done.pop() else { return Err(ImportError::Empty) };
        Ok(Archive { grounds: self.done, own, report: self.report })
    }
}

/// The body of a record.
pub(in crate::transfer) fn body_of(payload: &Bytes) -> &[u8] {
    payload.get(32..).unwrap_or_default()
}
