//! Deleting sessions for good: what goes, what stays for others, and what is told of it.
//!
//! Must not know: how a store gives back room.

use std::collections::HashSet;

use serde::Serialize;
use sessions_domain::{CommitHash, SessionId, View};
use sessions_ports::{
    Durability, Erased, Heir, KeyError, KindFilter, Order, ReadRange, Record, Removal, Rewrite, StoreError,
};

use crate::{
    error::SessionError,
    manager::SessionManager,
    reading::{is_ended, is_shut, is_unreadable, read_around, unreadable},
};

/// What becomes of the sessions that were forked from one that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forks {
    /// They keep what they inherit of it.
    #[default]
    Keep,
    /// They are deleted too, and what was forked from them.
    Cascade,
    /// Nothing is deleted as long as there are any.
    Refuse,
    /// They get what they inherit as records of their own, under keys of their own.
    Detach,
}

/// How to delete. By default forks keep what they inherit, and the file that the session was imported from stays known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deletion {
    forks: Forks,
    expected: Option<u64>,
    forgets_source: bool,
    shreds: bool,
    accepts_loss: bool,
    durability: Option<Durability>,
}

impl Deletion {
    /// Destroys the session's keys, so that no copy of its bytes can be read again, and gives the proof. A session with forks is refused, unless
    /// they are to go too; the file that it was imported from is forgotten.
    #[must_use]
    pub fn shredding() -> Self {
        Self { forks: Forks::Refuse, shreds: true, forgets_source: true, ..Self::default() }
    }

    /// What becomes of forks.
    #[must_use]
    pub fn forks(mut self, forks: Forks) -> Self {
        self.forks = forks;
        self
    }

    /// With [`Forks::Detach`]: what nobody can read now of what a fork inherits, because it is damaged or its keys are, the fork has as lost for good. Otherwise
    /// the deletion is refused there, since it may be repaired or put back. [`DeletionReport::lost`] tells of it.
    #[must_use]
    pub fn accepting_loss(mut self) -> Self {
        self.accepts_loss = true;
        self
    }

    /// Only when the session has this version, for whoever decided about what was there then.
    #[must_use]
    pub fn at_version(mut self, version: u64) -> Self {
        self.expected = Some(version);
        self
    }

    /// Forgets the file that the session was imported from, so that importing it again brings it back as a new session.
    #[must_use]
    pub fn forgetting_source(mut self) -> Self {
        self.forgets_source = true;
        self
    }

    /// Waits for this level instead of the manager's.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeletionReport {
    /// True when the session had been deleted before.
    pub was_gone: bool,
    /// Records of the session that nobody can read any more.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Records up to this number stay for the forks that inherit them. 0: none.
    pub kept: u64,
    /// These forks, as far as they are of the same tenant.
    pub heirs: Vec<SessionId>,
    /// The forks that were deleted with it, in the order in which they went.
    pub cascaded: Vec<SessionId>,
    /// The forks that have what they inherited as records of their own now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<SessionId>,
    /// Logs that it inherited from and that were in no list, as an import brings them, and that nobody else inherits from: they are shredded with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grounds: Vec<SessionId>,
    /// How much of what they inherited nobody could read any more, and these have as lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostToFork>,
    /// How the session's keys were destroyed, read back from where they lay. `None`: they were not, since the store is plain, or forks need them.
    pub erased: Option<Erased>,
}

/// What a fork had as lost when it was detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostToFork {
    /// The fork.
    pub fork: SessionId,
    /// How many records.
    pub records: u64,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeletionStep {
    /// A fork gets what it inherits as records of its own ([`Forks::Detach`]), from the last one to the first.
    Detaching {
        /// The fork.
        fork: SessionId,
        /// So many records it has already.
        done: u64,
        /// Of so many.
        of: u64,
    },
}

/// What a fork inherits, as it says itself. What else names owners is not sealed, and so not taken for whose words these are.
struct Inherited {
    /// Each with the last of its records that the fork has, ascending.
    owners: Vec<(SessionId, u64)>,
}

impl Inherited {
    fn of(view: &View) -> Self {
        Self { owners: view.fork().map(|fork| fork.owners.clone()).unwrap_or_default() }
    }

    /// The last record that is inherited (0: none is known of).
    fn last(&self) -> u64 {
        self.owners.last().map_or(0, |(_, last)| *last)
    }

    /// Whose the records before this one are, with the newest lot of them that are one owner's. `None`: nothing tells it.
    fn before(&self, first: u64) -> (Option<SessionId>, ReadRange) {
        const LOT: u64 = 256;
        let to = first.saturating_sub(1);
        let owner = self.owners.iter().find(|(_, last)| to <= *last).map(|(owner, _)| *owner);
        let others = self.owners.iter().map(|(_, last)| *last).filter(|last| *last < to);
        let from = others.max().unwrap_or(0).saturating_add(1).max(first.saturating_sub(LOT));
        let (order, kinds) = (Order::NewestFirst, KindFilter::All);
        (owner, ReadRange { from, to, order, kinds, max_records: usize::MAX, max_bytes: 1 << 20 })
    }
}

/// Whether a session goes without having been read: it may be damaged, also where no repair mends that.
fn cannot_be_read(id: SessionId, error: &SessionError) -> bool {
    error.is_unreadable() || matches!(error, SessionError::Store(StoreError::Corrupt { session, .. }) if *session == id)
}

/// What stands for a record that nobody has any more.
fn lost(seq: u64) -> Record {
    Record { commit: CommitHash::ZERO.after_lost(seq), ..unreadable(seq) }
}

impl SessionManager {
    /// Deletes a session for good: its messages, its words, its state, its host's key and its idempotency keys. Its id is never used again.
    ///
    /// Forks keep what they inherit unless they are to go too. Deleting twice is fine. With [`Self::trash`] a session can be brought back.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] also for that of another tenant, [`SessionError::Conflict`] when it has another version than [`Deletion::at_version`],
    /// [`SessionError::HasForks`], [`KeyError::Plain`] when it is to be shredded in a store that seals nothing, and the store's.
    pub async fn delete(&self, id: SessionId, deletion: Deletion) -> Result<DeletionReport, SessionError> {
        self.delete_told(id, deletion, |_| ()).await
    }

    /// As [`Self::delete`], and tells how far it is. When it is dropped, what was not begun is not done; asked again it goes on.
    ///
    /// # Errors
    /// Those of [`Self::delete`].
    pub async fn delete_told(
        &self,
        id: SessionId,
        deletion: Deletion,
        mut told: impl FnMut(DeletionStep) + Send,
    ) -> Result<DeletionReport, SessionError> {
        if deletion.shreds && self.ports().store.erasure().is_none() {
            return Err(StoreError::Key(KeyError::Plain).into());
        }
        // Before anything is told or changed.
        self.check_deletable(id, &deletion).await?;
        let (mut detached, mut lost, mut cascaded) = (Vec::new(), Vec::new(), Vec::new());
        match deletion.forks {
            Forks::Keep => {}
            Forks::Refuse => {
                let forks = self.own_heirs(id, id).await?;
                if !forks.is_empty() {
                    return Err(SessionError::HasForks { session: id, forks });
                }
            }
            Forks::Detach => {
                for heir in self.own_heirs(id, id).await? {
                    match self.detach(id, heir, deletion.accepts_loss, &mut told).await {
                        Ok(records) => {
                            detached.push(heir);
                            lost.extend((records > 0).then_some(LostToFork { fork: heir, records }));
                        }
                        // It was deleted meanwhile, so it needs nothing any more.
                        Err(SessionError::Gone { session }) if session == heir => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Forks::Cascade => cascaded = self.cascade(id, &deletion).await?,
        }
        let grounds = if deletion.shreds { self.remove_grounds(id, &deletion).await? } else { Vec::new() };
        let own = self.remove_one(id, &deletion).await?;
        Ok(DeletionReport { cascaded, detached, lost, grounds, ..own })
    }

    /// Deletes what is there for a session alone: logs that it inherits from and that are in no list, as an import brings them. They keep what it inherits until
    /// it is deleted itself.
    async fn remove_grounds(&self, id: SessionId, deletion: &Deletion) -> Result<Vec<SessionId>, SessionError> {
        let Ok(session) = self.load_any(id).await else { return Ok(Vec::new()) };
        let Ok(view) = session.quiet_view().await else { return Ok(Vec::new()) };
        let mut grounds = Vec::new();
        // Each may inherit from those before it, until it goes.
        for (owner, _) in Inherited::of(&view).owners.into_iter().rev() {
            let store = &self.ports().store;
            let is_there = matches!(store.head(owner).await, Ok(Some(_)));
            if !is_there || store.heirs(owner).await?.iter().any(|heir| heir.session != id) {
                continue;
            }
            // All rows are looked at last of all.
            if matches!(self.is_ours(owner).await, Ok(true))
                && !self.is_listed(owner).await?
                && !self.has_row(owner).await?
            {
                self.remove_one(owner, &Deletion { expected: None, ..*deletion }).await?;
                grounds.push(owner);
            }
        }
        Ok(grounds)
    }

    /// Refuses a session of another tenant, and one that has another version than it is to have. One that is gone may be deleted again.
    async fn check_deletable(&self, id: SessionId, deletion: &Deletion) -> Result<(), SessionError> {
        let view = match self.load_any(id).await {
            Ok(session) => session.quiet_view().await,
            Err(error) => Err(error),
        };
        match (view, deletion.expected) {
            (Ok(view), Some(expected)) if view.version() != expected => {
                Err(SessionError::Conflict { expected, actual: view.version() })
            }
            (Err(error), _) if !self.may_end_unread(id, &error).await? => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the actor may delete a session that answers so. Of one that is gone nothing says whose it was.
    async fn may_end_unread(&self, id: SessionId, error: &SessionError) -> Result<bool, SessionError> {
        let is_gone = matches!(error, SessionError::Gone { .. });
        Ok(is_gone || (cannot_be_read(id, error) && self.is_ours_unread(id).await?))
    }

    /// Those that inherit from `session`, when all of them may be deleted or changed by who deletes `asked`. Forks of other tenants are refused, and
    /// not named.
    async fn own_heirs(&self, asked: SessionId, session: SessionId) -> Result<Vec<SessionId>, SessionError> {
        let all = match self.ports().store.heirs(session).await {
            Ok(heirs) => heirs,
            Err(StoreError::NotFound { .. }) if session != asked => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let count = all.len();
        let forks = self.seen_of(all).await?;
        // What is gone says no more whose it was, so nothing is told of what others have of it.
        let is_told = forks.len() == count || (forks.is_empty() && self.is_gone(asked).await?);
        if is_told { Ok(forks) } else { Err(SessionError::HasForks { session: asked, forks }) }
    }

    /// Those sessions that the actor may see.
    async fn seen_of(&self, heirs: Vec<Heir>) -> Result<Vec<SessionId>, SessionError> {
        let mut seen = Vec::with_capacity(heirs.len());
        for Heir { session, .. } in heirs {
            match self.is_ours(session).await {
                Ok(true) => seen.push(session),
                Ok(false) => {}
                Err(error) if self.may_end_unread(session, &error).await? => seen.push(session),
                Err(error) if cannot_be_read(session, &error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }

    async fn is_gone(&self, id: SessionId) -> Result<bool, SessionError> {
        match self.ports().store.head(id).await {
            Err(StoreError::Gone { .. }) => Ok(true),
            head => Ok(head.map(|_| false)?),
        }
    }

    /// Deletes all that was forked from a session, and gives them in the order in which they went. When one of them is another tenant's, none goes.
    async fn cascade(&self, id: SessionId, deletion: &Deletion) -> Result<Vec<SessionId>, SessionError> {
        // All are looked at before any goes. Forks of forks come first, so that each is deleted when nothing is left that inherits from it.
        let (mut known, mut order) = (HashSet::from([id]), Vec::new());
        let mut line = vec![(id, self.own_heirs(id, id).await?)];
        while let Some((last, heirs)) = line.last_mut() {
            match heirs.pop() {
                Some(heir) if known.insert(heir) => line.push((heir, self.own_heirs(id, heir).await?)),
                Some(_) => {}
                None => {
                    order.push(*last);
                    line.pop();
                }
            }
        }
        order.pop();
        for fork in &order {
            self.remove_one(*fork, &Deletion { expected: None, ..*deletion }).await?;
        }
        Ok(order)
    }

    /// Makes all that a session inherits its own, from its end to its beginning, so that a call that was broken off is gone on with. What nobody will ever
    /// read any more it has as lost, and with `accepts_loss` also what nobody can read now. Gives how many records that are.
    async fn detach(
        &self,
        from_whom: SessionId,
        heir: SessionId,
        accepts_loss: bool,
        told: &mut (impl FnMut(DeletionStep) + Send),
    ) -> Result<u64, SessionError> {
        let store = &self.ports().store;
        let view = self.fresh_view(&self.lane(heir)).await?;
        let inherited = Inherited::of(&view);
        let durability = store.strongest();
        let mut first = store.head(heir).await?.map_or(0, |head| head.first);
        let (of, mut count) = (inherited.last(), 0);
        while first > 1 {
            told(DeletionStep::Detaching { fork: heir, done: (of + 1).saturating_sub(first), of });
            let (owner, range) = inherited.before(first);
            let read = match owner {
                // Its keys are to go: what nobody can read of it now nobody ever will.
                Some(owner) if owner == from_whom && accepts_loss => {
                    match read_around(store.as_ref(), owner, range).await {
                        Err(error) if is_shut(&error) => Ok(Vec::new()),
                        page => page.map(|page| page.records),
                    }
                }
                Some(owner) => match store.read(owner, range).await {
                    Err(error) if is_ended(&error) => Ok(Vec::new()),
                    page => page.map(|page| page.records),
                },
                None => Ok(Vec::new()),
            };
            let mut records = read?;
            records.reverse();
            for record in records.iter_mut().filter(|record| is_unreadable(record)) {
                (*record, count) = (lost(record.seq), count + 1);
            }
            if records.is_empty() {
                records = (range.from..=range.to).map(lost).collect();
                count += records.len() as u64;
            }
            let adopted =
                Rewrite { session: heir, expected: None, records, words: None, unlink: Vec::new(), durability };
            first = store.rewrite(adopted).await?.first;
        }
        told(DeletionStep::Detaching { fork: heir, done: (of + 1).saturating_sub(first), of });
        let unlink = inherited.owners.iter().map(|(owner, _)| *owner).chain([from_whom]).collect();
        let (records, words) = (Vec::new(), None);
        store.rewrite(Rewrite { session: heir, expected: None, records, words, unlink, durability }).await?;
        if view.unreadable().is_some() {
            // It can be read whole from now on.
            self.reread(heir);
        }
        Ok(count)
    }

    async fn remove_one(&self, id: SessionId, deletion: &Deletion) -> Result<DeletionReport, SessionError> {
        let view = match self.load_any(id).await {
            Ok(session) => session.quiet_view().await,
            Err(error) => Err(error),
        };
        let view = match view {
            Ok(view) => Some(view),
            Err(SessionError::Gone { .. }) => {
                let erased = self.ports().store.erased(id).await?;
                return Ok(DeletionReport { was_gone: true, erased, ..DeletionReport::default() });
            }
            // What is left of it goes.
            Err(error) if cannot_be_read(id, &error) => None,
            Err(error) => return Err(error),
        };
        let is_import = view.is_some_and(|view| view.key().is_none() && view.source().is_some());
        let removal = Removal {
            session: id,
            expected: deletion.expected,
            keep_key: is_import && !deletion.forgets_source,
            durability: deletion.durability.unwrap_or(self.durability()),
        };
        let removed = self.ports().store.remove(removal).await?;
        self.let_go(id);
        let mut heirs = Vec::with_capacity(removed.heirs.len());
        for heir in removed.heirs {
            if self.live_view(heir).is_some_and(|view| view.unreadable().is_some()) {
                // What kept it from being appended to may be gone with the session.
                self.reread(heir);
            }
            // It is done: an heir that cannot be looked at is left out, and nothing fails any more.
            if self.is_ours(heir).await.unwrap_or(false) {
                heirs.push(heir);
            }
        }
        Ok(DeletionReport {
            was_gone: !removed.was_there,
            records: removed.records,
            bytes: removed.bytes,
            kept: removed.kept,
            heirs,
            cascaded: Vec::new(),
            detached: Vec::new(),
            lost: Vec::new(),
            grounds: Vec::new(),
            erased: if self.ports().store.erasure().is_some() { self.ports().store.erased(id).await? } else { None },
        })
    }
}
