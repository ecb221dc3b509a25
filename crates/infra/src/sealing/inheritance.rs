//! From whom a session inherits whose beginning was lost. What stands for that was written without a key, and so could whoever wants to read another session's
//! words through it; so it is believed only as far as something that was sealed says the same.
//!
//! Must not know: how anything is sealed, or how a beginning was lost.

use sessions_domain::{Created, Event, ForkPoint, Kind, Kinship, SessionId, SummaryWords, codec};
use sessions_ports::{KindFilter, Order, ReadRange, Record, StoreError};

use super::{envelope, store::Inner};

/// Whether what a session inherits is what its parent's own beginning says.
enum Asked {
    Confirmed,
    Denied,
    /// The parent's beginning is not there any more.
    NobodyThere,
}

impl Inner {
    /// What stands for a beginning, as far as it is believed. Refuses it when it inherits what neither the session's own words nor its parent's beginning confirm.
    pub(super) async fn checked_beginning(
        &self,
        session: SessionId,
        record: &Record,
        created: Created,
        words: &SummaryWords,
    ) -> Result<Created, StoreError> {
        let refused = || StoreError::unconfirmed(session, record.seq);
        let Some(fork) = &created.fork else { return Ok(created) };
        let said = words.parent.filter(|parent| words.kinship == Some(Kinship::Fork) && *parent != session);
        let is_next = fork.at.checked_add(1) == Some(record.seq);
        if said.is_none() && is_next && self.is_said_by_heirs(session, record.seq, fork).await? {
            return Ok(created);
        }
        // What it took over stands in its own log. It is given nothing of anybody else's.
        let alone = Created { fork: None, ..created.clone() };
        let has_all = matches!(self.log.head(session).await, Ok(Some(head)) if head.first <= 1);
        let Some(parent) = said.filter(|_| is_next) else {
            return if has_all { Ok(alone) } else { Err(refused()) };
        };
        // Who has no key takes whoever has the last record of what it inherits for the parent, whose own parent that may be.
        let fork = ForkPoint { parent, ..fork.clone() };
        match self.ask_parent(session, &fork).await? {
            Asked::Confirmed => Ok(Created { fork: Some(fork), ..created }),
            Asked::Denied if !has_all => Err(refused()),
            Asked::Denied | Asked::NobodyThere => Ok(alone),
        }
    }

    /// Whether a fork of a session that was removed says what that inherited: the words that did are gone with it.
    async fn is_said_by_heirs(&self, session: SessionId, seq: u64, fork: &ForkPoint) -> Result<bool, StoreError> {
        if !self.is_removed(session).await {
            return Ok(false);
        }
        for heir in self.log.heirs(session).await? {
            let said = self.sealed_beginning(heir.session).await?.and_then(|created| created.fork);
            let owners = said.map(|fork| fork.owners).unwrap_or_default();
            let at = owners.iter().position(|(owner, last)| *owner == session && seq <= *last);
            if at.and_then(|at| owners.get(..at)) == Some(&fork.owners) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_removed(&self, session: SessionId) -> bool {
        matches!(self.log.head(session).await, Err(StoreError::Gone { .. }))
    }

    /// A session's own beginning, where that is sealed and opens.
    async fn sealed_beginning(&self, session: SessionId) -> Result<Option<Created>, StoreError> {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let mut range = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 1, max_bytes: 1 << 20 };
        loop {
            let page = match self.log.read(session, range).await {
                Ok(page) => page,
                Err(StoreError::Corrupt { .. } | StoreError::Gone { .. } | StoreError::NotFound { .. }) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            // It stands behind what it took over.
            for record in page.records.into_iter().filter(|record| record.kind == Kind::CREATED) {
                let is_sealed = !envelope::is_stand_in(&record);
                let opened = self.keys_to_read(session).await.and_then(|keys| keys.open(session, record));
                let payload = opened.map(|record| record.payload).unwrap_or_default();
                let said = payload.get(32..).and_then(|body| codec::decode(Kind::CREATED, body).ok());
                if let Some((Event::Created(created), _)) = said
                    && created.session == session
                {
                    return Ok(Some(*created).filter(|_| is_sealed));
                }
            }
            match page.next {
                Some(next) => range = ReadRange { from: next, max_records: 4096, ..range },
                None => return Ok(None),
            }
        }
    }

    /// Asks the parent of a fork whose the records are up to its place: its own beginning says so. That stands in its log, behind what it took over since,
    /// and in that of the fork when this one took over all.
    async fn ask_parent(&self, session: SessionId, fork: &ForkPoint) -> Result<Asked, StoreError> {
        let parent = fork.parent;
        if fork.owners.iter().all(|(owner, _)| *owner == parent) {
            return Ok(Asked::Confirmed);
        }
        let begins = match fork.owners.as_slice() {
            [.., (_, before), (owner, _)] if *owner == parent => before.checked_add(1),
            _ => None,
        };
        // Below the place, so that asking has an end.
        let begins = begins.filter(|begins| *begins <= fork.at);
        let logs = [Some(parent), begins.map(|_| session)];
        let mut asked = Asked::NobodyThere;
        for log in logs.into_iter().flatten() {
            let record = match self.beginning_in(log, begins, log == parent).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(StoreError::Corrupt { .. }) => {
                    asked = Asked::Denied;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let body = record.payload.get(32..).unwrap_or_default();
            match codec::decode(record.kind, body) {
                Ok((Event::Created(created), _)) if created.session == parent => {
                    if owners_up_to(fork.at, *created) == fork.owners {
                        return Ok(Asked::Confirmed);
                    }
                    asked = Asked::Denied;
                }
                // It took over what it inherited, and its own beginning stands behind the place.
                Ok((Event::Created(_), _)) if begins.is_none() => {}
                _ => asked = Asked::Denied,
            }
        }
        Ok(asked)
    }

    /// The record of a log that has this number, or its first one, as it was before it was sealed. What stands for a lost one counts in its own log.
    async fn beginning_in(&self, log: SessionId, seq: Option<u64>, is_own: bool) -> Result<Option<Record>, StoreError> {
        let (from, to) = seq.map_or((0, u64::MAX), |seq| (seq, seq));
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from, to, order, kinds, max_records: 1, max_bytes: 1 };
        let record = match self.log.read(log, range).await {
            Ok(page) => page.records.into_iter().next(),
            Err(StoreError::Gone { .. } | StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(record) = record.filter(|record| is_own || !envelope::is_stand_in(record)) else { return Ok(None) };
        let keys = self.keys_to_read(log).await?;
        // What stands for the parent's own beginning is believed as far as that one is.
        match envelope::is_stand_in(&record) {
            true => match Box::pin(self.named_beginning(log, &keys, record)).await {
                // Nor is anything left of it that would.
                Err(error) if error.is_unconfirmed() && self.is_removed(log).await => Ok(None),
                named => named.map(Some),
            },
            false => keys.open(log, record).map(Some),
        }
    }
}

/// Who has the records of a session up to one.
fn owners_up_to(at: u64, created: Created) -> Vec<(SessionId, u64)> {
    let mut owners = created.fork.map(|fork| fork.owners).unwrap_or_default();
    owners.push((created.session, u64::MAX));
    let (mut before, mut expected) = (0, Vec::new());
    for (owner, last) in owners {
        if before < at {
            expected.push((owner, last.min(at)));
        }
        before = last;
    }
    expected
}
