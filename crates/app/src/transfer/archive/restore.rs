//! Puts an archive's logs into the store: what is free is taken, what is there and equal is left, anything else is refused.
//!
//! The logs a session inherits from come first, each whole, and without words: a list does not show them, and they are no more than
//! what the session needs. When such a log's own session is imported later, it goes on from there and is shown. The session's own log
//! is the last commit, so whoever sees the session has all of it. Where what it inherits from was deleted, and where it had made that its own before it
//! was exported, it has all as records of its own.
//!
//! Must not know: how the archive was written.

use bytes::Bytes;
use sessions_domain::{Described, Event, SessionId, Stamp};
use sessions_ports::{Commit, Committed, Durability, Expected, Head, Record, Rewrite, RowChange, StoreError};

use super::log::{Archive, ArchivedLog};
use crate::{
    append::AppendOutcome,
    creation::links_of,
    error::SessionError,
    keyed,
    manager::SessionManager,
    reading::{decoded, single},
    transact::{Chain, words_of},
    transfer::ImportError,
};

/// How often it is looked again because another writer was faster.
const MAX_ATTEMPTS: usize = 8;

/// What the store has of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    Free,
    /// All of it, and nothing else.
    Equal,
    /// All of it, and more records behind it, up to this version.
    Longer(u64),
    /// Its beginning, up to this version.
    Shorter(u64),
    /// Something else, up to this version.
    Other(u64),
}

/// What became of a session's own log.
pub(in crate::transfer) struct Restored {
    pub(in crate::transfer) outcome: AppendOutcome,
    pub(in crate::transfer) version: u64,
    pub(in crate::transfer) durability: Durability,
    /// True when the session has a host's key and another session holds it, or it could not be claimed any more.
    pub(in crate::transfer) without_key: bool,
}

/// A commit to make for a log.
enum Step {
    Nothing,
    Commit(Box<Commit>),
}

impl SessionManager {
    /// Puts the logs into the store. `marked`: a session that came from another program's file is found by that file again.
    pub(in crate::transfer) async fn restore(
        &self,
        archive: &Archive,
        marked: bool,
        durability: Durability,
    ) -> Result<Restored, SessionError> {
        let logs = archive.grounds.iter().chain([&archive.own]);
        if logs.clone().any(|log| log.view.tenant() != self.actor().tenant) {
            return Err(ImportError::AnotherTenant.into());
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_restore(archive, marked, durability).await {
                // Somebody else wrote one of the logs meanwhile: what is there now decides.
                Err(SessionError::Conflict { .. } | SessionError::Store(StoreError::AlreadyExists { .. }))
                    if attempt < MAX_ATTEMPTS =>
                {
                    for log in logs.clone() {
                        match self.ports().store.settled(log.session()).await {
                            // Then the session takes all of that.
                            Err(StoreError::Gone { .. }) if log.session() != archive.own.session() => {}
                            settled => drop(settled?),
                        }
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_restore(
        &self,
        archive: &Archive,
        marked: bool,
        durability: Durability,
    ) -> Result<Restored, SessionError> {
        let inherited = if archive.has_all() || self.is_ground_gone(archive).await? {
            self.take_all(archive, marked, durability).await?;
            &[]
        } else {
            archive.grounds.as_slice()
        };
        // Everything is looked at before anything is written.
        let own = self.own_step(&archive.own, marked, durability).await?;
        let mut grounds = Vec::with_capacity(inherited.len());
        for log in inherited {
            grounds.push((log, self.ground_step(log, durability).await?));
        }
        for (log, step) in grounds {
            match step {
                Step::Nothing => {
                    self.ports().store.wait(log.session(), log.last(), durability).await?;
                }
                Step::Commit(commit) => {
                    self.ports().store.commit(*commit).await?;
                }
            }
        }
        let key = archive.own.created.key.as_ref();
        let (session, version) = (archive.own.session(), archive.own.last());
        let Step::Commit(commit) = own else {
            let head = self.ports().store.wait(session, version, durability).await?;
            let outcome = AppendOutcome::Replayed;
            return Ok(Restored { outcome, version: head.version, durability, without_key: false });
        };
        let without_key = match key.filter(|_| commit.key.is_none()) {
            Some(key) => self.ports().store.by_key(self.key_digest(key)).await? != Some(session),
            None => false,
        };
        let done = self.commit_own(*commit, key.is_some()).await?;
        let outcome = AppendOutcome::Inserted;
        Ok(Restored { outcome, version: done.version, durability: done.durability, without_key })
    }

    /// Commits; the mark of an imported file gives way to another session that has it, a host's key does not.
    async fn commit_own(&self, commit: Commit, is_host_key: bool) -> Result<Committed, SessionError> {
        let unmarked = (commit.key.is_some() && !is_host_key).then(|| Commit { key: None, ..commit.clone() });
        match (self.ports().store.commit(commit).await, unmarked) {
            (Err(StoreError::KeyTaken { .. }), Some(commit)) => Ok(self.ports().store.commit(commit).await?),
            (done, _) => Ok(done?),
        }
    }

    async fn ground_step(&self, log: &ArchivedLog, durability: Durability) -> Result<Step, SessionError> {
        match self.standing(log).await? {
            Standing::Free => Ok(Step::of(log, 0, None, durability)),
            Standing::Equal | Standing::Longer(_) => Ok(Step::Nothing),
            Standing::Shorter(here) if !self.is_listed(log.session()).await? => {
                Ok(Step::of(log, here, None, durability))
            }
            Standing::Shorter(here) | Standing::Other(here) => Err(another_head(log, here)),
        }
    }

    async fn own_step(&self, log: &ArchivedLog, marked: bool, durability: Durability) -> Result<Step, SessionError> {
        let words = Some(words_of(&log.view));
        let standing = self.standing(log).await?;
        let here = match standing {
            Standing::Free => {
                let Step::Commit(mut commit) = Step::of(log, 0, words, durability) else { return Ok(Step::Nothing) };
                commit.key = self.key_of(log, marked);
                return Ok(Step::Commit(commit));
            }
            Standing::Equal | Standing::Shorter(_) if self.is_listed(log.session()).await? => match standing {
                Standing::Shorter(here) => return Err(another_head(log, here)),
                _ => return Ok(Step::Nothing),
            },
            Standing::Equal => return self.shown(log, durability),
            Standing::Longer(here) if self.is_shown_only(log, here).await? => return Ok(Step::Nothing),
            Standing::Longer(here) | Standing::Other(here) => return Err(another_head(log, here)),
            Standing::Shorter(here) => here,
        };
        Ok(Step::of(log, here, words, durability))
    }

    /// What a session is found by.
    fn key_of(&self, log: &ArchivedLog, marked: bool) -> Option<sessions_ports::Digest> {
        let source = log.created.source.as_ref().filter(|_| marked);
        let mark = || source.map(|source| self.import_mark(source));
        log.created.key.as_ref().map(|key| self.key_digest(key)).or_else(mark)
    }

    /// Gives a session all that it inherits as records of its own, unless it is there already: nobody else here has that. It is begun without its last
    /// record, so that [`Self::own_step`] shows it when it has all.
    async fn take_all(&self, archive: &Archive, marked: bool, durability: Durability) -> Result<(), SessionError> {
        const LOT: usize = 256;
        let (own, store) = (&archive.own, &self.ports().store);
        let session = own.session();
        let mut first = match store.head(session).await? {
            None => {
                let Step::Commit(commit) = Step::of(own, 0, None, durability) else { return Ok(()) };
                let mut commit = Commit { key: self.key_of(own, marked), links: Vec::new(), ..*commit };
                if commit.records.len() > 1 {
                    (commit.snapshot, _) = (None, commit.records.pop());
                }
                self.commit_own(commit, own.created.key.is_some()).await?;
                own.view.first_own()
            }
            Some(head) if head.first > 1 && !self.has_row(session).await? && self.is_ahead_of(own, head).await? => {
                head.first
            }
            Some(_) => return Ok(()),
        };
        let inherited: Vec<&Record> = archive.grounds.iter().flat_map(|log| &log.records).collect();
        // Its first record names owners, and a store may go by that when all else is lost.
        let named = own.created.fork.iter().flat_map(|fork| &fork.owners);
        let named: Vec<SessionId> = named.map(|(owner, _)| *owner).collect();
        let durability = store.strongest();
        while first > 1 {
            let before = inherited.partition_point(|record| record.seq < first);
            let mut room = 1_usize << 20;
            let fits = |record: &&&Record| {
                let fits = room > 0;
                room = room.saturating_sub(record.payload.len());
                fits
            };
            let lot = inherited.iter().take(before).rev().take(LOT).take_while(fits);
            let mut records: Vec<Record> = lot.map(|record| Record::clone(record)).collect();
            records.reverse();
            let is_last = records.first().is_none_or(|record| record.seq <= 1);
            let unlink = if is_last { named.clone() } else { Vec::new() };
            let rewrite = Rewrite { session, expected: None, records, words: None, unlink, durability };
            first = store.rewrite(rewrite).await?.first;
        }
        Ok(())
    }

    /// Whether something that the session inherits from was deleted here, and is never again what it was.
    async fn is_ground_gone(&self, archive: &Archive) -> Result<bool, SessionError> {
        for log in &archive.grounds {
            match self.ports().store.head(log.session()).await {
                Err(StoreError::Gone { .. }) => return Ok(true),
                head => drop(head?),
            }
        }
        Ok(false)
    }

    /// Whether all that the store has of a session is in the file.
    async fn is_ahead_of(&self, log: &ArchivedLog, head: Head) -> Result<bool, SessionError> {
        let Some(ours) = log.commit_at(head.version) else { return Ok(false) };
        let page = self.ports().store.read(log.session(), single(head.version)).await?;
        Ok(page.records.first().is_some_and(|record| record.commit == ours))
    }

    async fn standing(&self, log: &ArchivedLog) -> Result<Standing, SessionError> {
        let store = &self.ports().store;
        let Some(head) = store.head(log.session()).await? else { return Ok(Standing::Free) };
        // A file may name any session, and some of its records may say nothing: of another tenant's nothing is compared, told or inherited.
        if !self.is_ours(log.session()).await? {
            return Err(StoreError::AlreadyExists { session: log.session() }.into());
        }
        let (here, last) = (head.version, log.last());
        let at = here.min(last);
        // It may have made its own since what it inherits.
        let Some(ours) = log.commit_at(at).filter(|_| head.first <= log.view.first_own()) else {
            return Ok(Standing::Other(here));
        };
        // A commit binds all before it, so one comparison is enough.
        let page = store.read(log.session(), single(at)).await?;
        let is_same = page.records.first().is_some_and(|record| record.commit == ours);
        Ok(match here.cmp(&last) {
            _ if !is_same => Standing::Other(here),
            std::cmp::Ordering::Less => Standing::Shorter(here),
            std::cmp::Ordering::Equal => Standing::Equal,
            std::cmp::Ordering::Greater => Standing::Longer(here),
        })
    }

    /// A log that was there for its forks alone is whole already. A store shows a session from a commit that has its words, and a
    /// commit has a record: one that changes nothing.
    fn shown(&self, log: &ArchivedLog, durability: Durability) -> Result<Step, SessionError> {
        let stamp = Stamp { at: log.view.updated(), actor: self.actor().clone() };
        let mut chain = Chain { lineage: log.lineage, seq: log.last(), commit: log.view.commit() };
        let record = chain.next(&Event::Described(Described::default()), &stamp, self.blind()?)?;
        let Step::Commit(mut commit) = Step::of(log, log.last(), Some(words_of(&log.view)), durability) else {
            return Ok(Step::Nothing);
        };
        commit.records = vec![record];
        Ok(Step::Commit(commit))
    }

    /// True when nothing stands behind the log but the record of [`Self::shown`].
    async fn is_shown_only(&self, log: &ArchivedLog, here: u64) -> Result<bool, SessionError> {
        if here != log.last() + 1 {
            return Ok(false);
        }
        let page = self.ports().store.read(log.session(), single(here)).await?;
        let Some(record) = page.records.first() else { return Ok(false) };
        let (event, _) = decoded(log.session(), record)?;
        Ok(event == Event::Described(Described::default()))
    }

    /// The digest by which the session of an imported file is found.
    pub(in crate::transfer) fn import_mark(&self, source: &sessions_domain::ImportSource) -> sessions_ports::Digest {
        keyed::import_mark(self.ports().store.id(), self.actor(), source)
    }
}

impl Step {
    /// The commit of a log's records behind `here`.
    fn of(log: &ArchivedLog, here: u64, words: Option<Bytes>, durability: Durability) -> Self {
        let view = &log.view;
        let records: Vec<_> = log.records.iter().filter(|record| record.seq > here).cloned().collect();
        Self::Commit(Box::new(Commit {
            session: log.session(),
            expected: if here == 0 { Expected::NoStream } else { Expected::Exactly(here) },
            snapshot: (log.records.len() > 16).then(|| Bytes::from(view.to_snapshot())),
            records,
            row: RowChange { updated: view.updated(), messages: view.depth(), words },
            key: None,
            claims: Vec::new(),
            links: if here == 0 { links_of(&log.created) } else { Vec::new() },
            durability,
        }))
    }
}

fn another_head(log: &ArchivedLog, here: u64) -> SessionError {
    ImportError::AnotherHead { session: log.session(), here, file: log.last() }.into()
}
