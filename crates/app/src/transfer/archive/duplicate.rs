//! A copy of an archive under new names: new sessions, new logs, fresh blinds and chains. Messages keep their ids.
//!
//! The logs it inherits from are copied with it, so a copy never meets a log that is there already.
//!
//! Must not know: stores.

use bytes::{BufMut, BytesMut};
use sessions_domain::{
    Blind, CommitHash, Created, Event, Kind, LineageId, Moment, SessionId, SessionKey, Stamp, View, branches::Tree,
    codec,
};
use sessions_ports::Record;

use super::log::{Archive, ArchivedLog, body_of};
use crate::{error::SessionError, manager::SessionManager, reading::decoded, transfer::ImportError};

/// The chain of the copy, as far as it goes.
struct Copied {
    names: Vec<(SessionId, SessionId)>,
    owners: Vec<(SessionId, u64)>,
    seq: u64,
    commit: CommitHash,
}

impl Archive {
    /// The same conversation under new names, made by the manager's actor.
    pub(in crate::transfer) fn duplicated(
        self,
        manager: &SessionManager,
        key: Option<SessionKey>,
    ) -> Result<Self, SessionError> {
        let now = manager.ports().clock.now();
        let (names, owners) = (Vec::new(), Vec::new());
        let mut copied = Copied { names, owners, seq: 0, commit: CommitHash::ZERO };
        let mut grounds: Vec<ArchivedLog> = Vec::with_capacity(self.grounds.len());
        for log in self.grounds {
            let tree = grounds.last().map(|log| log.view.tree());
            let log = copied.copy(manager, log, None, tree, now)?;
            grounds.push(log);
        }
        let tree = grounds.last().map(|log| log.view.tree());
        let own = copied.copy(manager, self.own, key, tree, now)?;
        Ok(Self { grounds, own, report: self.report })
    }
}

impl Copied {
    fn copy(
        &mut self,
        manager: &SessionManager,
        log: ArchivedLog,
        key: Option<SessionKey>,
        tree: Option<&Tree>,
        now: Moment,
    ) -> Result<ArchivedLog, SessionError> {
        let ids = &manager.ports().ids;
        let (session, lineage) = (ids.session(now), ids.lineage(now));
        let invalid = |source| ImportError::InvalidHistory { session: log.created.session, source };
        let (created, stamp) = self.beginning(manager, &log, session, lineage, key);
        let beginning = Event::Created(Box::new(created.clone()));
        let first = codec::encode(&beginning, &stamp).map_err(SessionError::Unwritable)?;
        let mut records = Vec::with_capacity(log.records.len());
        let mut view: Option<View> = None;
        for record in &log.records {
            let body = if view.is_none() { &first } else { body_of(&record.payload) };
            let copy = self.next(record, lineage, manager.blind()?, body);
            match &mut view {
                None => {
                    view = Some(View::begin(copy.seq, &created, &stamp, copy.commit, tree).map_err(invalid)?);
                }
                Some(view) => {
                    let (event, stamp) = decoded(log.created.session, record)?;
                    view.apply(copy.seq, &event, &stamp, copy.commit).map_err(invalid)?;
                }
            }
            records.push(copy);
        }
        let Some(view) = view else { return Err(ImportError::Empty.into()) };
        self.names.push((log.session(), session));
        self.owners.push((session, self.seq));
        Ok(ArchivedLog { lineage, created, stamp, records, view })
    }

    fn beginning(
        &self,
        manager: &SessionManager,
        log: &ArchivedLog,
        session: SessionId,
        lineage: LineageId,
        key: Option<SessionKey>,
    ) -> (Created, Stamp) {
        let mut created = Created { session, lineage, key, ..log.created.clone() };
        if let Some(fork) = &mut created.fork {
            // Who had made its own all that is inherited of it need not be in the file.
            let known = self.names.iter().find(|(before, _)| *before == fork.parent).or(self.names.last());
            fork.parent = known.map_or(fork.parent, |(_, now)| *now);
            fork.commit = self.commit;
            fork.owners.clone_from(&self.owners);
        }
        (created, Stamp { at: log.stamp.at, actor: manager.actor().clone() })
    }

    fn next(&mut self, record: &Record, lineage: LineageId, blind: Blind, body: &[u8]) -> Record {
        self.seq = record.seq;
        if record.kind == Kind::LOST {
            self.commit = self.commit.after_lost(record.seq);
            return Record { commit: self.commit, ..record.clone() };
        }
        self.commit = self.commit.next(lineage, record.seq, record.kind, &blind, body);
        let mut payload = BytesMut::with_capacity(blind.len() + body.len());
        payload.put_slice(&blind);
        payload.put_slice(body);
        Record { commit: self.commit, payload: payload.freeze(), ..record.clone() }
    }
}
