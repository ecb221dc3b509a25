//! Sessions that begin: made anew, opened or made under a host's key, and the commit that holds the whole beginning of a log.
//!
//! Must not know: what is said in them later.

use bytes::Bytes;
use sessions_domain::{
    CommitHash, Created, Described, Event, ForkPoint, ImportSource, Kinship, Moment, Origin, Parent, SessionId,
    SessionKey, Stamp, View, branches::Tree,
};
use sessions_ports::{Commit, Durability, Expected, Link, RowChange, StoreError};

use crate::{
    append::AppendOutcome,
    error::SessionError,
    lane::Lane,
    manager::SessionManager,
    session::Session,
    transact::{Chain, MAX_ATTEMPTS, words_of},
};

/// A session to make.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    pub(crate) id: Option<SessionId>,
    pub(crate) key: Option<SessionKey>,
    pub(crate) described: Described,
    pub(crate) origin: Origin,
    pub(crate) created_at: Option<Moment>,
    pub(crate) durability: Option<Durability>,
    pub(crate) fork: Option<ForkPoint>,
    pub(crate) source: Option<ImportSource>,
    pub(crate) parent: Option<Parent>,
    /// What comes behind its first record in the same append.
    pub(crate) inherited: Vec<Event>,
}

impl NewSession {
    /// A session with a title.
    pub fn titled(title: impl Into<String>) -> Self {
        let described = Described { title: Some(title.into()), ..Described::default() };
        Self { described, ..Self::default() }
    }

    /// With the host's own key.
    #[must_use]
    pub fn key(mut self, key: SessionKey) -> Self {
        self.key = Some(key);
        self
    }

    /// With an id of the host's (one that moves in from elsewhere).
    #[must_use]
    pub fn id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// As the work of a sub-agent for another session, whose history it does not inherit.
    #[must_use]
    pub fn sub_agent_of(mut self, session: SessionId) -> Self {
        self.parent = Some(Parent { session, kinship: Kinship::SubAgent });
        self
    }

    /// With the time it was made elsewhere, which is data: its records bear the time at which they are appended.
    #[must_use]
    pub fn created_at(mut self, at: Moment) -> Self {
        self.created_at = Some(at);
        self
    }

    /// With a description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.described.description = Some(text.into());
        self
    }

    /// With tags, which are a set.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        let mut tags: Vec<String> = tags.into_iter().collect();
        tags.sort();
        tags.dedup();
        self.described.tags = (!tags.is_empty()).then_some(tags);
        self
    }

    /// With what is known of it, and its settings.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin.tidied();
        self
    }

    /// With a level of its own for its first record.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}

/// A session that was opened or made.
#[derive(Clone)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Whether it was made now.
    pub outcome: AppendOutcome,
    /// The level its creation is known to have reached.
    pub durability: Durability,
}

impl SessionManager {
    /// Makes a session.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] or [`StoreError::KeyTaken`] when its id or key belongs to another.
    pub async fn create(&self, new: NewSession) -> Result<Session, SessionError> {
        self.begin(new).await.map(|(session, _)| session)
    }

    /// Opens the session with the host's key, also out of the trash, or makes it. Atomic, also when several do it at once.
    ///
    /// # Errors
    /// The key's, or the store's.
    pub async fn open_or_create(&self, key: &str) -> Result<Session, SessionError> {
        let new = NewSession { key: Some(SessionKey::new(key)?), ..NewSession::default() };
        self.open_or_create_as(new).await.map(|opened| opened.session)
    }

    /// Opens the session with the key of `new`, or makes it as `new` says.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_or_create_as(&self, new: NewSession) -> Result<Opened, SessionError> {
        let (outcome, durability) = (AppendOutcome::Replayed, self.durability());
        if let Some(session) = self.by_key(new.key.as_ref()).await? {
            let session = self.restore_from_trash(session.id()).await?;
            return Ok(Opened { session, outcome, durability });
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.begin(new.clone()).await {
                Ok((session, durability)) => {
                    return Ok(Opened { session, outcome: AppendOutcome::Inserted, durability });
                }
                // The holder may be on its way; when it fails, the key is free again.
                Err(SessionError::Store(StoreError::KeyTaken { session })) if attempt < MAX_ATTEMPTS => {
                    match self.ports().store.settled(session).await {
                        Ok(Some(_)) => {
                            let session = self.restore_from_trash(session).await?;
                            return Ok(Opened { session, outcome, durability });
                        }
                        // So is that of one that was removed meanwhile.
                        Ok(None) | Err(StoreError::Gone { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn begin(&self, new: NewSession) -> Result<(Session, Durability), SessionError> {
        let now = self.ports().clock.now();
        let stamp = Stamp { at: now, actor: self.actor().clone() };
        let (limits, words) = (self.limits(), &new.described);
        let tags = words.tags.as_deref().unwrap_or_default();
        limits.check_words(words.title.as_deref(), words.description.as_deref(), tags)?;
        limits.check_metadata(&new.origin)?;
        let session = new.id.unwrap_or_else(|| self.ports().ids.session(now));
        let _room = self.room_for(session).await?;
        let created = Created {
            session,
            lineage: self.ports().ids.lineage(now),
            key: new.key,
            described: new.described,
            origin: new.origin,
            fork: new.fork,
            source: new.source,
            parent: new.parent,
            created_at: new.created_at,
            state_of: None,
        };
        let inherited = match &created.fork {
            Some(fork) => Some(self.tree_of(fork).await?),
            None => None,
        };
        let durability = new.durability.unwrap_or(self.durability());
        let mut events = vec![Event::Created(Box::new(created))];
        events.extend(new.inherited);
        self.publish(events, &stamp, inherited.as_ref(), durability).await
    }

    /// Commits the whole beginning of a log, whose first event is its creation.
    pub(crate) async fn publish(
        &self,
        events: Vec<Event>,
        stamp: &Stamp,
        inherited: Option<&Tree>,
        durability: Durability,
    ) -> Result<(Session, Durability), SessionError> {
        self.check_going_on()?;
        let (commit, view) = self.beginning(events, stamp, inherited, durability)?;
        let done = self.ports().store.commit(commit).await?;
        let lane = self.adopt(Lane::new(view.session(), Some(view)));
        Ok((Session::new(self.clone(), lane), done.durability))
    }

    /// The commit that holds the whole beginning of a log, and the view it makes.
    pub(crate) fn beginning(
        &self,
        events: Vec<Event>,
        stamp: &Stamp,
        inherited: Option<&Tree>,
        durability: Durability,
    ) -> Result<(Commit, View), SessionError> {
        let Some(Event::Created(created)) = events.first() else {
            return Err(StoreError::Malformed { what: "a log begins with its session's creation" }.into());
        };
        let created = created.clone();
        let (seq, commit) = created.fork.as_ref().map_or((0, CommitHash::ZERO), |fork| (fork.at, fork.commit));
        let chain = Chain { lineage: created.lineage, seq, commit };
        let (records, decided) = self.chained(chain, events, stamp)?;
        let invalid = |source| SessionError::InvalidHistory { session: created.session, source };
        let mut view: Option<View> = None;
        for record in &decided {
            match &mut view {
                None => {
                    let begun = View::begin(record.seq, &created, stamp, record.commit, inherited);
                    view = Some(begun.map_err(invalid)?);
                }
                Some(view) => view.apply(record.seq, &record.event, stamp, record.commit).map_err(invalid)?,
            }
        }
        let Some(view) = view else { return Err(StoreError::Malformed { what: "no records" }.into()) };
        let is_shown = created.state_of.is_none();
        let commit = Commit {
            session: created.session,
            expected: Expected::NoStream,
            snapshot: (records.len() > 16).then(|| Bytes::from(view.to_snapshot())),
            records,
            row: RowChange { updated: stamp.at, messages: view.depth(), words: is_shown.then(|| words_of(&view)) },
            key: created.key.as_ref().map(|key| self.key_digest(key)),
            claims: Vec::new(),
            links: links_of(&created),
            durability,
        };
        Ok((commit, view))
    }
}

/// What a log inherits, as its store has to know it.
pub(crate) fn links_of(created: &Created) -> Vec<Link> {
    let owners = created.fork.iter().flat_map(|fork| &fork.owners);
    owners.map(|(owner, last)| Link { owner: *owner, last: *last }).collect()
}
