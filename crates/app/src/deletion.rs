//! Deleting sessions for good: what goes, what stays for others, and what is told of it.
//!
//! Must not know: how a store gives back room.

use serde::Serialize;
use sessions_domain::SessionId;
use sessions_ports::{Durability, Erased, KeyError, KindFilter, Order, ReadRange, Removal, Rewrite, StoreError};

use crate::{
    error::{ErrorKind, SessionError},
    manager::SessionManager,
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
    /// These forks.
    pub heirs: Vec<SessionId>,
    /// The forks that were deleted with it, in the order in which they went.
    pub cascaded: Vec<SessionId>,
    /// The forks that have what they inherited as records of their own now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<SessionId>,
    /// How the session's keys were destroyed, read back from where they lay. `None`: they were not, since the store is plain, or forks need them.
    pub erased: Option<Erased>,
}

impl SessionManager {
    /// Deletes a session for good: its messages, its words, its state, its host's key and its idempotency keys. Its id is never used again.
    ///
    /// Forks keep what they inherit unless they are to go too. Deleting twice is fine. With [`Self::trash`] a session can be brought back.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Conflict`] when it has another version than [`Deletion::at_version`],
    /// [`SessionError::HasForks`], [`KeyError::Plain`] when it is to be shredded in a store that seals nothing, and the store's.
    pub async fn delete(&self, id: SessionId, deletion: Deletion) -> Result<DeletionReport, SessionError> {
        let mut report = DeletionReport::default();
        if deletion.shreds && self.ports().store.erasure().is_none() {
            return Err(StoreError::Key(KeyError::Plain).into());
        }
        if deletion.forks == Forks::Refuse {
            let heirs = self.ports().store.heirs(id).await?;
            if !heirs.is_empty() {
                let forks = heirs.into_iter().map(|heir| heir.session).collect();
                return Err(SessionError::HasForks { session: id, forks });
            }
        }
        if deletion.forks == Forks::Detach {
            for heir in self.ports().store.heirs(id).await? {
                self.detach(heir.session).await?;
                report.detached.push(heir.session);
            }
        }
        if deletion.forks == Forks::Cascade {
            // Forks of forks first, so that each is deleted when nothing is left that inherits from it.
            let mut line = vec![id];
            while let Some(last) = line.last().copied() {
                let heirs = match self.ports().store.heirs(last).await {
                    Ok(heirs) => heirs,
                    Err(StoreError::NotFound { .. }) if last != id => Vec::new(),
                    Err(error) => return Err(error.into()),
                };
                match heirs.into_iter().find(|heir| !line.contains(&heir.session)) {
                    Some(heir) => line.push(heir.session),
                    None if last == id => break,
                    None => {
                        line.pop();
                        self.remove_one(last, &Deletion { expected: None, ..deletion }).await?;
                        report.cascaded.push(last);
                    }
                }
            }
        }
        let own = self.remove_one(id, &deletion).await?;
        Ok(DeletionReport { cascaded: report.cascaded, detached: report.detached, ..own })
    }

    /// Makes all that a session inherits its own, from its end to its beginning, so that a call that was broken off is gone on with.
    async fn detach(&self, heir: SessionId) -> Result<(), SessionError> {
        const LOT: usize = 256;
        let store = &self.ports().store;
        let view = self.fresh_view(&self.lane(heir)).await?;
        let owners = view.fork().map(|fork| fork.owners.clone()).unwrap_or_default();
        let durability = store.strongest();
        let unlink: Vec<SessionId> = owners.iter().map(|(owner, _)| *owner).collect();
        let mut first = store.head(heir).await?.map_or(0, |head| head.first);
        while first > 1 {
            let to = first - 1;
            let at = owners.iter().position(|(_, last)| to <= *last);
            let Some((owner, _)) = at.and_then(|at| owners.get(at)) else { break };
            let from = at.and_then(|at| owners.get(at.checked_sub(1)?)).map_or(1, |(_, before)| before + 1);
            let (order, kinds) = (Order::NewestFirst, KindFilter::All);
            let range = ReadRange { from, to, order, kinds, max_records: LOT, max_bytes: 1 << 20 };
            let mut records = store.read(*owner, range).await?.records;
            records.reverse();
            if records.is_empty() {
                break;
            }
            let adopted =
                Rewrite { session: heir, expected: None, records, words: None, unlink: Vec::new(), durability };
            first = store.rewrite(adopted).await?.first;
        }
        let (records, words) = (Vec::new(), None);
        store.rewrite(Rewrite { session: heir, expected: None, records, words, unlink, durability }).await?;
        Ok(())
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
            // Nobody can read it, and so nobody knows whose it was; what is left of it goes.
            Err(error) if error.kind() == ErrorKind::KeyDestroyed => None,
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
        Ok(DeletionReport {
            was_gone: !removed.was_there,
            records: removed.records,
            bytes: removed.bytes,
            kept: removed.kept,
            heirs: removed.heirs,
            cascaded: Vec::new(),
            detached: Vec::new(),
            erased: if self.ports().store.erasure().is_some() { self.ports().store.erased(id).await? } else { None },
        })
    }
}
