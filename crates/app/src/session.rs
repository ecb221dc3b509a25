//! A handle to one conversation.
//!
//! Must not know: how it is stored. What a handle can do stands beside what it does: appending, moving, reading, subscribing.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sessions_domain::{
    CommitHash, Event, MessageId, Place, SessionId, SessionSummary, SummaryWords, View,
    branches::Stretch,
    decide::{Element, ElementKind},
};
use sessions_ports::{Durability, KindFilter, Order, Row};

use crate::{
    append::Receipt,
    directory::summary_of,
    error::SessionError,
    lane::Lane,
    manager::SessionManager,
    place::PlaceToken,
    reading::{BackWalk, Bounds, Read},
    subscription::Subscription,
};

/// A place in a session's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum At {
    /// The present.
    Now,
    /// As it was at this version.
    Version(u64),
    /// At this message.
    Message(MessageId),
    /// At the place of this token, if that is still what it was.
    Token(PlaceToken),
}

/// A handle to one session. Clones are handles to the same one.
#[derive(Clone)]
pub struct Session {
    manager: SessionManager,
    lane: Arc<Lane>,
    /// The idempotency key of the next change.
    key: Option<Arc<str>>,
}

/// A head in history, with what a fork needs to begin there.
pub(crate) struct HeadAt {
    pub(crate) at: u64,
    pub(crate) commit: CommitHash,
    pub(crate) head: u64,
    pub(crate) depth: u64,
}

impl Session {
    pub(crate) fn new(manager: SessionManager, lane: Arc<Lane>) -> Self {
        Self { manager, lane, key: None }
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.lane.id
    }

    /// The manager it belongs to.
    pub fn manager(&self) -> &SessionManager {
        &self.manager
    }

    /// The same session, whose changes are made under an idempotency key, or under none.
    pub(crate) fn keyed(&self, key: Option<Arc<str>>) -> Self {
        Self { key, ..self.clone() }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// The state of the session as its log makes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn fresh_view(&self) -> Result<Arc<View>, SessionError> {
        self.manager.fresh_view(&self.lane).await
    }

    /// The state when none of the session's own commits is on its way.
    pub(crate) async fn quiet_view(&self) -> Result<Arc<View>, SessionError> {
        self.lane.quiet().await;
        self.fresh_view().await
    }

    /// The session's version: the number of its last record.
    ///
    /// # Errors
    /// The store's.
    pub async fn version(&self) -> Result<u64, SessionError> {
        Ok(self.fresh_view().await?.version())
    }

    /// The token of the place that an append reached.
    pub fn token(&self, receipt: &Receipt) -> PlaceToken {
        let place = Place { session: self.id(), seq: receipt.version, hash: receipt.head };
        PlaceToken { place, durability: receipt.durability }
    }

    /// The place of the session's last record.
    ///
    /// # Errors
    /// The store's.
    pub async fn place(&self) -> Result<Place, SessionError> {
        Ok(self.fresh_view().await?.place())
    }

    /// What a list shows of the session.
    ///
    /// # Errors
    /// The store's.
    pub async fn summary(&self) -> Result<SessionSummary, SessionError> {
        let view = self.fresh_view().await?;
        let row = Row {
            session: view.session(),
            version: view.version(),
            created: view.created(),
            updated: view.updated(),
            messages: view.depth(),
            words: Bytes::new(),
        };
        Ok(summary_of(&row, SummaryWords::of(&view)))
    }

    /// Waits until a version has reached a level; with it a host streams at [`Durability::Process`] and pays one sync per turn.
    ///
    /// # Errors
    /// The store's.
    pub async fn wait_durable(&self, version: u64, level: Durability) -> Result<(), SessionError> {
        self.manager.ports().store.wait(self.id(), version, level).await?;
        Ok(())
    }

    /// What is committed behind a version, as it is, without gaps.
    pub fn subscribe(&self, after: u64) -> Subscription {
        Subscription::new(self.clone(), after)
    }

    /// Where the head was, or is to be, at a place in history.
    pub(crate) async fn place_at(&self, view: &View, at: At) -> Result<HeadAt, SessionError> {
        match at {
            At::Now => Ok(HeadAt { at: view.version(), commit: view.commit(), head: view.head(), depth: view.depth() }),
            At::Version(version) if version == view.version() => Box::pin(self.place_at(view, At::Now)).await,
            At::Version(version) => self.head_at_version(view, version).await,
            At::Message(id) => {
                let read = self.manager.read_message(view, id).await?;
                let head = read.record.seq;
                let depth = read.element().map_or(0, |element| element.depth);
                // All records of a message that arrived bit by bit belong to it.
                let (at, commit) = read.end.unwrap_or((head, read.record.commit));
                Ok(HeadAt { at, commit, head, depth })
            }
            At::Token(token) => {
                let version = self.version_at(view, token).await?;
                Box::pin(self.place_at(view, At::Version(version))).await
            }
        }
    }

    /// The version that a token names, if what stands there is what it names.
    async fn version_at(&self, view: &View, token: PlaceToken) -> Result<u64, SessionError> {
        let PlaceToken { place, durability } = token;
        let is_ours = place.session == view.session() || view.owner_of(place.seq) == place.session;
        if !is_ours || place.seq == 0 {
            return Err(SessionError::ForeignPlace);
        }
        let stands = match place.seq <= view.version() {
            true => self.manager.read_one(view, place.seq).await?,
            false => None,
        };
        match stands {
            Some(read) if read.record.commit == place.hash => Ok(place.seq),
            _ if durability < Durability::Disk => Err(SessionError::LostPlace),
            _ => Err(SessionError::RolledBack),
        }
    }

    /// The last record at or before a version that moved the head tells where it stood.
    async fn head_at_version(&self, view: &View, version: u64) -> Result<HeadAt, SessionError> {
        let last = view.version();
        if version == 0 || version > last {
            return Err(SessionError::UnknownVersion { version, first: 1, last });
        }
        let mut commit = None;
        let mut rest = Some(Stretch { first: 1, last: version });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::NewestFirst, KindFilter::All);
            let (reads, more) = self.manager.read_stretch(view, stretch, order, kinds, Bounds::records(16)).await?;
            for read in reads {
                let commit = *commit.get_or_insert(read.record.commit);
                if let Some((head, depth)) = stands_at(&read) {
                    let depth = if read.event == Event::Lost { self.depth_at(view, head).await? } else { depth };
                    return Ok(HeadAt { at: version, commit, head, depth });
                }
            }
            rest = more;
        }
        Err(SessionError::UnknownVersion { version, first: 1, last })
    }

    /// Messages visible at an element. A lost record does not say it, and has as many as the element before it.
    pub(crate) async fn depth_at(&self, view: &View, element: u64) -> Result<u64, SessionError> {
        let mut walk = BackWalk::whole(&self.manager, std::sync::Arc::new(view.clone()), element);
        while let Some(page) = walk.next_page(Bounds::records(64)).await? {
            let known = page.iter().filter_map(Read::element).find(|element| element.what != ElementKind::Lost);
            if let Some(known) = known {
                return Ok(known.depth);
            }
        }
        Ok(0)
    }
}

/// Where the head stands after a record, for those that say so.
fn stands_at(read: &Read) -> Option<(u64, u64)> {
    match &read.event {
        Event::Created(created) => Some(created.fork.as_ref().map_or((0, 0), |fork| (fork.head, fork.depth))),
        Event::Moved(moved) => Some((moved.to, moved.depth)),
        event => Element::of(read.record.seq, event).map(|element| (element.seq, element.depth)),
    }
}
