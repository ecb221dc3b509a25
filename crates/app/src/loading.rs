//! How a log becomes a view: from a snapshot that is of this log, or from the first record on.
//!
//! Must not know: lanes that have commits on their way; the manager keeps those.

use std::sync::Arc;

use sessions_domain::{
    CommitHash, Created, Event, ForkPoint, InvalidHistory, Kind, SessionId, Stamp, View, branches::Tree,
};
use sessions_ports::{Head, KindFilter, Order, ReadRange, Record, StoreError};

use crate::{
    error::SessionError,
    manager::SessionManager,
    reading::{decoded, is_unreadable, outlined, read_around, single},
};

/// The record that begins a session.
struct Beginning {
    seq: u64,
    commit: CommitHash,
    created: Created,
    stamp: Stamp,
}

impl Beginning {
    fn of(id: SessionId, record: &Record) -> Result<Self, SessionError> {
        let (event, stamp) = decoded(id, record)?;
        let Event::Created(created) = event else {
            return Err(SessionError::InvalidHistory { session: id, source: InvalidHistory::NoBeginning });
        };
        Ok(Self { seq: record.seq, commit: record.commit, created: *created, stamp })
    }

    /// A view that ends before the first record that is left of what this session had inherited and made its own, when the beginning of that is lost.
    fn behind_loss(&self, first: u64) -> Result<View, SessionError> {
        let nobody = self.created.fork.as_ref().map_or(self.created.session, |fork| fork.parent);
        let created = Created::of(nobody, self.created.lineage);
        let begun = View::begin(1, &created, &self.stamp, CommitHash::ZERO.after_lost(1), None);
        let invalid = |source| SessionError::InvalidHistory { session: self.created.session, source };
        let mut view = begun.map_err(invalid)?;
        for seq in 2..first {
            view.apply(seq, &Event::Lost, &self.stamp, view.commit().after_lost(seq)).map_err(invalid)?;
        }
        Ok(view)
    }

    /// The view of this record. What it inherits comes from a view of the last owner of that.
    fn view(self, owner: Option<&View>) -> Result<View, SessionError> {
        let Self { seq, commit, created, stamp } = self;
        let mut view = View::begin(seq, &created, &stamp, commit, owner.map(View::tree))
            .map_err(|source| SessionError::InvalidHistory { session: created.session, source })?;
        let unreadable = owner.and_then(View::unreadable).filter(|lost| *lost < seq);
        unreadable.into_iter().for_each(|seq| view.note_unreadable(seq));
        Ok(view)
    }
}

/// A fork on the way to a view of it.
struct Begun {
    beginning: Beginning,
    /// The first record of its log.
    first: u64,
    /// The last one that its view is to have.
    last: u64,
}

/// What a log of a line begins with.
enum Level {
    /// All of it, in whatever way its view was had.
    View(Box<View>),
    /// What another owns, up to a record.
    Fork { begun: Box<Begun>, owner: SessionId, at: u64 },
}

impl SessionManager {
    /// The view of a log up to a record, or further when that is at hand.
    ///
    /// A fork begins with the tree of the session that owns what it inherits, and that may be a fork itself. The line is followed to a view
    /// that is there, or to its first session, and the forks are begun one after the other; forks of forks may go as deep as they like.
    pub(crate) async fn read_view(&self, id: SessionId, mut head: Head, last: u64) -> Result<View, SessionError> {
        loop {
            if let Some(view) = self.view_of_line(id, head, last).await? {
                return Ok(view);
            }
            let now = self.ports().store.head(id).await?.ok_or(SessionError::NotFound { session: id })?;
            head.first = now.first;
        }
    }

    /// The same; `None` when a fork of the line made its own meanwhile what it had inherited.
    async fn view_of_line(&self, id: SessionId, head: Head, last: u64) -> Result<Option<View>, SessionError> {
        let (mut id, mut head, mut last) = (id, head, last);
        let mut line: Vec<Begun> = Vec::new();
        let mut view = loop {
            let (heir, owner, at) = match self.level(id, head, last, !line.is_empty()).await {
                Ok(Level::View(view)) => break *view,
                Ok(Level::Fork { begun, owner, at }) => (*begun, owner, at),
                // What is inherited cannot be read, or is gone by now.
                Err(error) => match line.pop().filter(|_| error.is_shut()) {
                    None => return Err(error),
                    Some(heir) => match self.view_alone(heir, error.is_ended()).await? {
                        None => return Ok(None),
                        Some(view) => break view,
                    },
                },
            };
            let of_owner = match self.head_of_owner(owner, at).await {
                Err(error) if error.is_shut() => match self.view_alone(heir, error.is_ended()).await? {
                    None => return Ok(None),
                    Some(view) => break view,
                },
                of_owner => of_owner?,
            };
            line.push(heir);
            (id, head) = (owner, of_owner);
            last = at.min(head.version);
        };
        while let Some(Begun { beginning, last, .. }) = line.pop() {
            view = match self.replay(beginning.view(Some(&view))?, last).await {
                Ok(view) => view,
                Err(error) => match line.pop().filter(|_| error.is_shut()) {
                    None => return Err(error),
                    Some(heir) => match self.view_alone(heir, error.is_ended()).await? {
                        None => return Ok(None),
                        Some(view) => view,
                    },
                },
            };
        }
        Ok(Some(view))
    }

    /// What a log of a line begins with. `is_owner`: somebody inherits from it, so that a view that is there may be used.
    async fn level(&self, id: SessionId, head: Head, last: u64, is_owner: bool) -> Result<Level, SessionError> {
        let live = if is_owner { self.live_view(id) } else { None };
        if let Some(view) = live {
            return self.replay(view, last).await.map(Box::new).map(Level::View);
        }
        if let Some(view) = self.kept_view(id, head.version, last).await? {
            return Ok(Level::View(Box::new(view)));
        }
        let beginning = self.beginning_of(id, head.first, last).await?;
        let is_adopted = beginning.created.session != id;
        if let Some(fork) = beginning.created.fork.as_ref().filter(|_| !is_adopted) {
            let (owner, at) = (owner_of(fork), fork.at);
            return Ok(Level::Fork { begun: Box::new(Begun { beginning, first: head.first, last }), owner, at });
        }
        let is_behind_loss = !is_adopted && beginning.seq > 1;
        let begun = if is_behind_loss { beginning.behind_loss(head.first)? } else { beginning.view(None)? };
        let view = self.replay_log(id, begun, last).await?;
        // Its own beginning may be lost in what it made its own.
        let view = if view.session() == id { view } else { view.inherited_by(id) };
        Ok(Level::View(Box::new(view)))
    }

    /// The view of a fork when nobody can read what it inherited; `None` when it has it itself by now. While the keys for that may still be put back, which
    /// is so unless it `is_ended`, nothing is appended.
    async fn view_alone(&self, heir: Begun, is_ended: bool) -> Result<Option<View>, SessionError> {
        let Begun { beginning, first, last } = heir;
        match self.ports().store.head(beginning.created.session).await {
            Ok(Some(now)) if now.first < first => return Ok(None),
            Ok(_) | Err(StoreError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // What it had made its own was lost, in whole or from its beginning on.
        let is_behind_loss = first < beginning.seq;
        let session = beginning.created.session;
        let inherited = beginning.seq.saturating_sub(1);
        let begun = if is_behind_loss { beginning.behind_loss(first)? } else { beginning.view(None)? };
        let mut view = self.replay_log(session, begun, last).await?;
        if !is_ended {
            view.note_unreadable(inherited);
        }
        Ok(Some(view))
    }

    /// The tree that a fork inherits. The last owner of its records has it; the parent itself need not be there.
    pub(crate) async fn tree_of(&self, fork: &ForkPoint) -> Result<Tree, SessionError> {
        let owner = owner_of(fork);
        let view = match self.live_view(owner).filter(|view| fork.at <= view.version()) {
            Some(view) => view,
            None => {
                let head = self.head_of_owner(owner, fork.at).await?;
                self.read_view(owner, head, fork.at.min(head.version)).await?
            }
        };
        Ok(view.tree().clone())
    }

    /// The view that a session in use has now. It may be behind its log.
    pub(crate) fn live_view(&self, id: SessionId) -> Option<View> {
        let visible = self.lane(id).lock().visible()?;
        Some(Arc::unwrap_or_clone(visible))
    }

    /// The head of a log that a fork inherits from, up to a record.
    pub(crate) async fn head_of_owner(&self, owner: SessionId, at: u64) -> Result<Head, SessionError> {
        let head = match self.ports().store.head(owner).await {
            Ok(head) => head.ok_or(SessionError::NotFound { session: owner })?,
            Err(StoreError::Gone { .. }) => self.head_of_kept(owner, at).await?,
            Err(error) => return Err(error.into()),
        };
        // So each of a line begins before the one that inherits from it, and the line has an end.
        if at < head.first {
            let source = InvalidHistory::Gap { expected: at, found: head.first };
            return Err(SessionError::InvalidHistory { session: owner, source });
        }
        Ok(head)
    }

    /// The same for an owner that was deleted: what it keeps for its forks has an end too.
    async fn head_of_kept(&self, owner: SessionId, at: u64) -> Result<Head, SessionError> {
        let store = self.ports().store.as_ref();
        let first = read_around(store, owner, ReadRange { from: 1, ..single(at) }).await?;
        let last = read_around(store, owner, single(at)).await?;
        match (first.records.first(), last.records.first()) {
            (Some(first), Some(last)) => Ok(Head { version: at, commit: last.commit, first: first.seq }),
            _ => Err(SessionError::Gone { session: owner }),
        }
    }

    /// The view of a snapshot, if there is one of this log as it is now, with what stands behind it up to a record. A snapshot is only a hint:
    /// its commit must be the one in the log.
    async fn kept_view(&self, id: SessionId, version: u64, last: u64) -> Result<Option<View>, SessionError> {
        let kept = self.ports().store.snapshot(id).await?.and_then(|bytes| View::from_snapshot(&bytes));
        let kept = kept.filter(|view| view.session() == id && view.version() <= version);
        let Some(mut view) = kept else { return Ok(None) };
        let from = view.version();
        let records = self.page_of(id, from, last.max(from)).await?;
        let Some((first, behind)) = records.split_first() else { return Ok(None) };
        if first.seq != from || first.commit != view.commit() {
            return Ok(None);
        }
        self.take_in(id, &mut view, behind).await?;
        self.replay(view, last).await.map(Some)
    }

    /// Where a view of a log begins. That is its first record when all that it inherited stands in it, or nothing else is left; and the session's own
    /// beginning otherwise: a log may have some of what it inherits before that, when taking it over was broken off.
    async fn beginning_of(&self, id: SessionId, first: u64, last: u64) -> Result<Beginning, SessionError> {
        let at_first = self.beginning_at(id, first).await;
        let is_begun = |beginning: &Beginning| first <= 1 || beginning.created.session == id;
        let is_there = !matches!(&at_first, Err(SessionError::InvalidHistory { .. }));
        if at_first.as_ref().is_ok_and(is_begun) || (first <= 1 && is_there) {
            return at_first;
        }
        let mut from = first.saturating_add(1);
        while from <= last {
            let records = self.page_of(id, from, last).await?;
            let Some(behind) = records.last().map(|record| record.seq.saturating_add(1)) else { break };
            for record in records.iter().filter(|record| record.kind == Kind::CREATED && !is_unreadable(record)) {
                let beginning = Beginning::of(id, record)?;
                if beginning.created.session == id {
                    return Ok(beginning);
                }
            }
            from = behind;
        }
        at_first
    }

    /// What a session itself says of its beginning, wherever in its log that stands; `None`: it is lost.
    pub(crate) async fn named(&self, id: SessionId) -> Result<Option<Created>, SessionError> {
        let Some(head) = self.ports().store.head(id).await? else { return Ok(None) };
        match self.beginning_of(id, head.first, head.version).await {
            Ok(beginning) => Ok(Some(beginning.created).filter(|created| created.session == id)),
            Err(SessionError::InvalidHistory { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn beginning_at(&self, id: SessionId, seq: u64) -> Result<Beginning, SessionError> {
        let page = self.ports().store.read(id, single(seq)).await?;
        let Some(record) = page.records.first() else { return Err(SessionError::NotFound { session: id }) };
        Beginning::of(id, record)
    }

    /// Takes the records up to a version into a view.
    pub(crate) async fn replay(&self, view: View, version: u64) -> Result<View, SessionError> {
        let session = view.session();
        self.replay_log(session, view, version).await
    }

    /// The same, of a log that may begin with what the session inherited.
    async fn replay_log(&self, session: SessionId, mut view: View, version: u64) -> Result<View, SessionError> {
        while view.version() < version {
            let from = view.version().saturating_add(1);
            let records = self.page_of(session, from, version).await?;
            if records.is_empty() {
                let source = InvalidHistory::Gap { expected: from, found: version };
                return Err(SessionError::InvalidHistory { session, source });
            }
            self.take_in(session, &mut view, &records).await?;
        }
        Ok(view)
    }

    async fn page_of(&self, id: SessionId, from: u64, to: u64) -> Result<Vec<Record>, SessionError> {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from, to, order, kinds, max_records: 4096, max_bytes: 4 << 20 };
        Ok(read_around(self.ports().store.as_ref(), id, range).await?.records)
    }

    async fn take_in(&self, session: SessionId, view: &mut View, records: &[Record]) -> Result<(), SessionError> {
        let invalid = |source| SessionError::InvalidHistory { session, source };
        for record in records {
            if is_unreadable(record) {
                let commit = self.commit_of_unreadable(session, view, record.seq).await?;
                view.pass_over(record.seq, commit).map_err(invalid)?;
                continue;
            }
            let (event, stamp) = outlined(session, record)?;
            if let Event::Created(created) = event {
                if created.fork.is_none() && record.seq > 1 {
                    // A repair wrote it in the place of a fork's lost beginning, and did not know whom that had left: what stands before it is the session's.
                    view.apply(record.seq, &Event::Lost, &stamp, record.commit).map_err(invalid)?;
                    *view = view.clone().inherited_by(session);
                    continue;
                }
                // What it inherited stands in its own log: behind it the session itself begins.
                let beginning = Beginning { seq: record.seq, commit: record.commit, created: *created, stamp };
                *view = beginning.view(Some(view))?;
                continue;
            }
            view.apply(record.seq, &event, &stamp, record.commit).map_err(invalid)?;
        }
        Ok(())
    }

    /// The commit to go on with behind a record that cannot be read: of the last one the store knows it.
    async fn commit_of_unreadable(
        &self,
        session: SessionId,
        view: &View,
        seq: u64,
    ) -> Result<CommitHash, SessionError> {
        let head = match self.ports().store.head(session).await {
            // Others inherit from it, and what it goes on with is theirs.
            Err(StoreError::Gone { .. }) => None,
            head => head?.filter(|head| head.version == seq),
        };
        Ok(head.map_or_else(|| view.commit().after_lost(seq), |head| head.commit))
    }
}

/// Who owns the last record that a fork inherits.
fn owner_of(fork: &ForkPoint) -> SessionId {
    fork.owners.last().map_or(fork.parent, |(owner, _)| *owner)
}
