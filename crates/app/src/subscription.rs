//! Following a session: what is committed, as it is, without gaps.
//!
//! Must not know: how a store tells that something happened.

use std::collections::VecDeque;

use sessions_domain::{Event, Stamp, StoredMessage, branches::Stretch};
use sessions_ports::{Durability, KindFilter, Order};

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
    /// The message, when one was appended.
    pub fn message(&self) -> Option<StoredMessage> {
        let Event::Appended(appended) = &self.event else { return None };
        Some(StoredMessage::of(self.seq, appended.clone(), self.stamp.clone(), true))
    }
}

/// Follows a session. Dropping it ends it; a slow reader misses nothing, because it reads from the log.
pub struct Subscription {
    session: Session,
    seen: u64,
    read: VecDeque<Update>,
}

impl Subscription {
    pub(crate) fn new(session: Session, after: u64) -> Self {
        Self { session, seen: after, read: VecDeque::new() }
    }

    /// The next record; waits for it when there is none yet.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// The store's, which end the subscription: [`sessions_ports::StoreError::Closed`] when it was closed.
    pub async fn next(&mut self) -> Result<Update, SessionError> {
        loop {
            if let Some(update) = self.read.pop_front() {
                self.seen = update.seq;
                return Ok(update);
            }
            let manager = self.session.manager();
            let first = self.seen.saturating_add(1);
            let head = manager.ports().store.wait(self.session.id(), first, Durability::Volatile).await?;
            // The view only tells who owns what was inherited, so an older one serves.
            let view = self.session.fresh_view().await?;
            let stretch = Stretch { first, last: head.version };
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let (reads, _) = manager.read_stretch(&view, stretch, order, kinds, Bounds::records(256)).await?;
            let update = |read: Read| Update { seq: read.record.seq, event: read.event, stamp: read.stamp };
            self.read.extend(reads.into_iter().map(update));
        }
    }
}
