//! Following a session: what is committed, as it is, without gaps.
//!
//! Must not know: how a store tells that something happened.

use std::collections::VecDeque;

use sessions_domain::{Event, MessageState, Stamp, StoredMessage, branches::Stretch};
use sessions_ports::{Durability, KindFilter, Order, StoreError};

use crate::{
    error::SessionError,
    reading::{Bounds, Read},
    session::Session,
};

/// One record that was committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The record's number, which is the session's version after it.
    pub seq: u64,
    /// What happened.
    pub event: Event,
    /// When and by whom.
    pub stamp: Stamp,
}

impl Update {
    /// The message, when one was appended or began to arrive (what comes of it are updates of their own).
    pub fn message(&self) -> Option<StoredMessage> {
        let (appended, state) = match &self.event {
            Event::Appended(appended) => (appended, MessageState::Complete),
            Event::Begun(appended) => (appended, MessageState::Partial),
            _ => return None,
        };
        Some(StoredMessage::of(self.seq, appended.clone(), self.stamp.clone(), true).in_state(state))
    }
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EndReason {
    /// The reader was further behind than it had said it would be.
    Lagged,
    /// The session was deleted.
    Deleted,
    /// The store was closed.
    Closed,
}

/// Follows a session. Dropping it ends it; a slow reader misses nothing, because it reads from the log.
pub struct Subscription {
    session: Session,
    seen: u64,
    read: VecDeque<Update>,
    most_behind: Option<u64>,
    ended: Option<EndReason>,
}

impl Subscription {
    pub(crate) fn new(session: Session, after: u64) -> Self {
        Self { session, seen: after, read: VecDeque::new(), most_behind: None, ended: None }
    }

    /// Ends it with [`EndReason::Lagged`] when the reader is more than so many records behind, instead of reading all of them.
    #[must_use]
    pub fn at_most_behind(mut self, records: u64) -> Self {
        self.most_behind = Some(records);
        self
    }

    /// Why it ended, once it has.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.ended
    }

    /// The version up to which it gave everything, for whoever subscribes again.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next record; waits for it when there is none yet. `None`: it has ended, and [`Self::end_reason`] says why.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// The store's, after which it may be asked again.
    pub async fn next(&mut self) -> Result<Option<Update>, SessionError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        match self.following().await {
            Ok(update) => Ok(update),
            Err(error) => {
                self.ended = match error {
                    SessionError::Gone { .. } => Some(EndReason::Deleted),
                    SessionError::Store(StoreError::Closed) => Some(EndReason::Closed),
                    other => return Err(other),
                };
                Ok(None)
            }
        }
    }

    async fn following(&mut self) -> Result<Option<Update>, SessionError> {
        loop {
            if let Some(update) = self.read.pop_front() {
                self.seen = update.seq;
                return Ok(Some(update));
            }
            let manager = self.session.manager();
            let first = self.seen.saturating_add(1);
            let head = manager.ports().store.wait(self.session.id(), first, Durability::Volatile).await?;
            if self.most_behind.is_some_and(|most| head.version.saturating_sub(self.seen) > most) {
                self.ended = Some(EndReason::Lagged);
                return Ok(None);
            }
            // The view only tells who owns what was inherited, so an older one serves.
            let view = self.session.fresh_view().await?;
            let stretch = Stretch { first, last: head.version };
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let (reads, _) = manager.read_records(&view, stretch, order, kinds, Bounds::records(256)).await?;
            let update = |read: Read| Update { seq: read.record.seq, event: read.event, stamp: read.stamp };
            self.read.extend(reads.into_iter().map(update));
        }
    }
}
