//! Undo, redo, clear, branches and forks: moves over the history, each of them appended.
//!
//! A move is decided about the place the caller saw. When the conversation went on meanwhile, the caller hears of a conflict and decides
//! again; it is never moved from somewhere else than it looked.
//!
//! Must not know: rules of the moves; the domain decides.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use sessions_domain::{
    Checkpointed, CommitHash, Event, Message, MessageId, MoveCause, Moved, Pinned, RuleViolation, SessionId,
    StateChange, View,
    branches::{Branch, Stretch},
    decide::{self, Element, RedoBy, UndoBy, Walk, Window},
};
use sessions_ports::{KindFilter, Order, StoreError};

use crate::{
    append::{AppendOutcome, Receipt},
    creation::NewSession,
    error::SessionError,
    keyed,
    once::{Done, Wish},
    reading::{BackWalk, Bounds, Read},
    session::{At, Session},
    transact::check_readable,
};

/// Elements that are read at first to see where a move goes: most steps are a message or two.
const FIRST_LOOK: usize = 4;

/// What a move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MoveReceipt {
    /// The session's version after the move.
    pub version: u64,
    /// The record the head stands at now (0: before the first message).
    pub moved_to: u64,
    /// Steps that were taken, which are fewer than asked when no more were left.
    pub steps: u64,
    /// Messages that are visible now.
    pub messages: u64,
    /// The commit of the session's last record.
    pub head: CommitHash,
    /// Whether it moved now, or before under the same idempotency key.
    pub outcome: AppendOutcome,
}

impl MoveReceipt {
    fn of(done: &Done) -> Self {
        let (moved_to, messages, steps) = match &done.event {
            Event::Moved(Moved { to, depth, steps, .. }) => (*to, *depth, *steps),
            _ => (done.first, 0, 1),
        };
        let Done { version, head, outcome, .. } = *done;
        Self { version, moved_to, steps, messages, head, outcome }
    }
}

/// A branch of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BranchInfo {
    /// Its number: the first record on it; 0 is the first branch.
    pub branch: u64,
    /// The record it left at (0: the beginning).
    pub left_at: u64,
    /// Its last record.
    pub tip: u64,
    /// True for the branch the head stands on.
    pub current: bool,
}

/// A fork that was made.
#[derive(Clone)]
pub struct Forked {
    /// The new session.
    pub session: Session,
    /// The session it was forked from.
    pub parent: SessionId,
    /// The last record it inherits.
    pub at: u64,
}

impl Session {
    /// Takes back so many steps: a step is a message, or an assistant's message with calls and all their results.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NothingToUndo`], [`SessionError::Conflict`] when the conversation went on meanwhile, the store's.
    pub async fn undo(&self, steps: u64) -> Result<MoveReceipt, SessionError> {
        self.undo_by(UndoBy::Steps(steps)).await
    }

    /// Takes back to before the user's message, so many times.
    ///
    /// # Errors
    /// As [`Self::undo`].
    pub async fn undo_turns(&self, turns: u64) -> Result<MoveReceipt, SessionError> {
        self.undo_by(UndoBy::Turns(turns)).await
    }

    /// Takes back to a message, which becomes the last visible one (with the results of its calls).
    ///
    /// # Errors
    /// As [`Self::undo`], and [`SessionError::UnknownMessage`].
    pub async fn undo_to(&self, message: sessions_domain::MessageId) -> Result<MoveReceipt, SessionError> {
        let view = self.quiet_view().await?;
        let seq = self.manager().read_message(&view, message).await?.record.seq;
        self.undo_by(UndoBy::To(seq)).await
    }

    async fn undo_by(&self, by: UndoBy) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("undo", &by).await?;
        if let Some(done) = self.done_before(wish).await? {
            return Ok(MoveReceipt::of(&done));
        }
        let view = self.still_view().await?;
        let mut walk = BackWalk::whole(self.manager(), Arc::clone(&view), view.head());
        let mut elements: Vec<Element> = Vec::new();
        let mut bounds = FIRST_LOOK;
        let event = loop {
            let page = walk.next_page(Bounds::records(bounds)).await?;
            let read = page.as_ref().map_or(0, Vec::len);
            // Where a stretch ended early, the next one is asked for the rest only.
            bounds = if read < bounds { bounds - read } else { (bounds * 4).min(4096) };
            let complete = page.is_none();
            elements.extend(page.iter().flatten().filter_map(Read::element));
            if let Walk::Done(event) = decide::undo(&view, by, Window { elements: &elements, complete })? {
                break event;
            }
        };
        self.make_move(wish, &view, event).await
    }

    /// Takes undone steps up again.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NothingToRedo`], and as [`Self::undo`].
    pub async fn redo(&self, steps: u64) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("redo", &steps).await?;
        self.redo_by(wish, RedoBy::Steps(steps)).await
    }

    /// Takes undone turns up again: to before the next user's message, so many times.
    ///
    /// # Errors
    /// As [`Self::redo`].
    pub async fn redo_turns(&self, turns: u64) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("redo-turns", &turns).await?;
        self.redo_by(wish, RedoBy::Turns(turns)).await
    }

    async fn redo_by(&self, wish: Wish, by: RedoBy) -> Result<MoveReceipt, SessionError> {
        if let Some(done) = self.done_before(wish).await? {
            return Ok(MoveReceipt::of(&done));
        }
        let view = self.still_view().await?;
        let mut stretches = ahead(&view);
        let mut elements: Vec<Element> = Vec::new();
        let mut bounds = FIRST_LOOK;
        let event = loop {
            let mut complete = true;
            if let Some(stretch) = stretches.pop() {
                let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
                let (reads, rest) =
                    self.manager().read_stretch(&view, stretch, order, kinds, Bounds::records(bounds)).await?;
                bounds = (bounds * 4).min(4096);
                elements.extend(reads.iter().filter_map(Read::element));
                stretches.extend(rest);
                complete = false;
            }
            if let Walk::Done(event) = decide::redo(&view, by, Window { elements: &elements, complete })? {
                break event;
            }
        };
        self.make_move(wish, &view, event).await
    }

    /// Hides the whole history. It can be undone.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NothingToClear`], and as [`Self::undo`].
    pub async fn clear(&self) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("clear", &()).await?;
        if let Some(done) = self.done_before(wish).await? {
            return Ok(MoveReceipt::of(&done));
        }
        let view = self.still_view().await?;
        self.make_move(wish, &view, decide::clear(&view)?).await
    }

    /// The branches of the history, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn branches(&self) -> Result<Vec<BranchInfo>, SessionError> {
        let view = self.fresh_view().await?;
        let on = view.tree().run_of(view.head()).map(|run| run.branch);
        let info = |branch: Branch| BranchInfo {
            branch: branch.id,
            left_at: branch.left_at,
            tip: branch.tip,
            current: on == Some(branch.id),
        };
        Ok(view.tree().branches().into_iter().map(info).collect())
    }

    /// Moves the head to the end of a branch.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NoSuchBranch`], and as [`Self::undo`].
    pub async fn checkout(&self, branch: u64) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("checkout", &branch).await?;
        if let Some(done) = self.done_before(wish).await? {
            return Ok(MoveReceipt::of(&done));
        }
        let view = self.still_view().await?;
        let depth = match view.tree().branch(branch) {
            Some(branch) => self.depth_at(&view, branch.tip).await?,
            None => 0,
        };
        match decide::checkout(&view, branch, depth)? {
            Some(event) => self.make_move(wish, &view, event).await,
            None => Ok(stands(&view)),
        }
    }

    /// Moves the head to where it stood at a place in history: the conversation goes on from there, and what it leaves stays reachable.
    ///
    /// # Errors
    /// As [`Self::fork`], and as [`Self::undo`].
    pub async fn checkout_at(&self, at: At) -> Result<MoveReceipt, SessionError> {
        let wish = self.wish("checkout-at", &at).await?;
        if let Some(done) = self.done_before(wish).await? {
            return Ok(MoveReceipt::of(&done));
        }
        let view = self.still_view().await?;
        let place = self.place_at(&view, at).await?;
        decide::check_open(&view)?;
        if place.head == view.head() {
            return Ok(stands(&view));
        }
        let moved = Moved { to: place.head, depth: place.depth, cause: MoveCause::Checkout, steps: 1 };
        self.make_move(wish, &view, Event::Moved(moved)).await
    }

    /// The same, if the head still stands at a record. `false`: it does not, and nothing was moved.
    pub(crate) async fn leave(&self, left: u64, at: At) -> Result<bool, SessionError> {
        let wish = self.wish("leave", &at).await?;
        let view = self.still_view().await?;
        if view.head() != left {
            return Ok(false);
        }
        let place = self.place_at(&view, at).await?;
        let moved = Moved { to: place.head, depth: place.depth, cause: MoveCause::Checkout, steps: 1 };
        match self.make_move(wish, &view, Event::Moved(moved)).await {
            Ok(_) => Ok(true),
            // Somebody went on at this moment.
            Err(SessionError::Conflict { .. } | SessionError::Rule(RuleViolation::TurnOpen)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits a move that was decided about `seen`, unless the conversation went on.
    async fn make_move(&self, wish: Wish, seen: &View, event: Event) -> Result<MoveReceipt, SessionError> {
        let done = self
            .make(wish, |view| {
                let same = view.head() == seen.head() && view.redo_tip() == seen.redo_tip();
                if !same {
                    return Err(SessionError::Conflict { expected: seen.version(), actual: view.version() });
                }
                decide::check_open(view)?;
                Ok(vec![event.clone()])
            })
            .await?;
        Ok(done.as_ref().map_or_else(|| stands(seen), MoveReceipt::of))
    }

    /// Puts a new version of a message in its place, on a branch of its own that ends there. The old one stays reachable.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NotEditable`] for messages with tool calls or results, [`SessionError::UnknownMessage`], and as
    /// [`Self::undo`].
    pub async fn edit(&self, message: MessageId, new: Message) -> Result<Receipt, SessionError> {
        let wish = self.wish("edit", &(message, &new)).await?;
        if let Some(done) = self.done_before(wish).await? {
            return edited(&done);
        }
        let view = self.still_view().await?;
        let old = self.manager().read_message(&view, message).await?;
        let old = old.element().ok_or(SessionError::UnknownMessage { message })?;
        let mut walk = BackWalk::whole(self.manager(), Arc::clone(&view), old.seq);
        let mut before: Vec<Element> = Vec::new();
        while before.len() < 2
            && let Some(page) = walk.next_page(Bounds::records(2)).await?
        {
            before.extend(page.iter().filter_map(Read::element));
        }
        let ports = self.manager().ports();
        let limits = self.manager().limits_of(&view).into_owned();
        let done = self
            .make(wish, |view| {
                let id = ports.ids.message(ports.clock.now());
                limits.check_message(&new, 0)?;
                Ok(vec![decide::edit(view, &old, before.get(1), id, new.clone())?])
            })
            .await?;
        let unknown = SessionError::UnknownMessage { message };
        done.as_ref().map_or(Err(unknown), edited)
    }

    /// Forks at a place into a new session. It costs one append, whatever the length of the history.
    ///
    /// # Errors
    /// [`SessionError::UnknownMessage`], [`SessionError::UnknownVersion`], and the store's.
    pub async fn fork(&self, at: At) -> Result<Session, SessionError> {
        self.fork_as(at, NewSession::default()).await.map(|forked| forked.session)
    }

    /// Forks at a place into a new session with words of its own; what `new` leaves open is inherited, and so are the state of the
    /// session, its pins and its checkpoints, as far as they are of what is inherited.
    ///
    /// # Errors
    /// As [`Self::fork`].
    pub async fn fork_as(&self, at: At, mut new: NewSession) -> Result<Forked, SessionError> {
        let view = self.quiet_view().await?;
        check_readable(&view)?;
        if let Some(key) = self.key() {
            let id = keyed::fork_id(self.manager().ports().store.id(), view.lineage(), key);
            if let Some(forked) = self.forked_before(id, at, &view).await? {
                return Ok(forked);
            }
            new.id = new.id.or(Some(id));
        }
        let place = self.place_at(&view, at).await?;
        let durability = new.durability.unwrap_or(self.manager().durability());
        let log = self.manager().log_of(self.id(), view.owner_of(place.at), place.at).await?;
        match self.manager().ports().store.wait(log, place.at, durability).await {
            // What it keeps for others was waited for by them.
            Ok(_) | Err(StoreError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut point = decide::fork_point(&view, place.at, place.commit, place.head, place.depth);
        point.last = Some(self.last_element(&view, place.at).await?).filter(|last| *last != place.at);
        if self.manager().has_all(self.id()).await? {
            // What it inherited is its own, and those it had it from may be gone.
            point.owners = vec![(self.id(), place.at)];
        }
        new.fork = Some(point);
        let words = view.described().clone();
        new.described.title = new.described.title.or(words.title);
        new.described.description = new.described.description.or(words.description);
        new.described.tags = new.described.tags.or(words.tags);
        if new.origin.is_empty() {
            new.origin = view.origin().clone();
        }
        new.inherited = inherited(&view, place.at);
        let (session, _) = self.manager().begin(new).await?;
        Ok(Forked { session, parent: view.session(), at: place.at })
    }

    /// The fork that was made once under a key, if it was made of this place.
    async fn forked_before(&self, id: SessionId, at: At, view: &View) -> Result<Option<Forked>, SessionError> {
        let Some(session) = self.manager().get(id).await? else { return Ok(None) };
        let point = session.fresh_view().await?.fork().cloned();
        // The present is another place by now, and so is none that could be compared.
        let same = match at {
            At::Now => true,
            at => self.place_at(view, at).await?.at == point.as_ref().map_or(0, |point| point.at),
        };
        match point {
            Some(point) if same => Ok(Some(Forked { session, parent: point.parent, at: point.at })),
            _ => Err(SessionError::KeyReused),
        }
    }
}

impl Session {
    /// The last place on the tree at or before a record (0: there is none).
    async fn last_element(&self, view: &View, at: u64) -> Result<u64, SessionError> {
        if view.tree().last() <= at {
            return Ok(view.tree().last());
        }
        let mut rest = Some(Stretch { first: 1, last: at });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::NewestFirst, KindFilter::Elements);
            let (reads, more) = self.manager().read_stretch(view, stretch, order, kinds, Bounds::records(1)).await?;
            if let Some(read) = reads.first() {
                return Ok(read.record.seq);
            }
            rest = more;
        }
        Ok(0)
    }
}

/// What a fork takes along beside the history up to `at`.
fn inherited(view: &View, at: u64) -> Vec<Event> {
    let pins = view.pins().iter().copied().filter(|pin| *pin <= at);
    let pins = pins.map(|message| Event::Pinned(Pinned { message, pinned: true }));
    let names = view.checkpoints().iter().filter(|(_, place)| place.version <= at);
    let names = names.map(|(name, place)| Event::Checkpointed(Checkpointed { name: name.clone(), at: Some(*place) }));
    let state = StateChange::between(&BTreeMap::new(), view.state()).map(Event::StateChanged);
    state.into_iter().chain(pins).chain(names).collect()
}

/// The receipt of a move to where the head stands already.
fn stands(view: &View) -> MoveReceipt {
    MoveReceipt {
        version: view.version(),
        moved_to: view.head(),
        steps: 0,
        messages: view.depth(),
        head: view.commit(),
        outcome: AppendOutcome::Inserted,
    }
}

/// The receipt of an edit.
fn edited(done: &Done) -> Result<Receipt, SessionError> {
    let Event::Appended(appended) = &done.event else { return Err(SessionError::KeyReused) };
    let Done { first: seq, version, head, durability, outcome, .. } = *done;
    Ok(Receipt { message: appended.id, seq, version, head, durability, outcome })
}

/// The stretches from behind the head to the redo tip, so that the last of the list is the nearest.
fn ahead(view: &View) -> Vec<Stretch> {
    let Some(tip) = view.redo_tip() else { return Vec::new() };
    let mut stretches = Vec::new();
    for stretch in view.tree().whole_path(tip) {
        if stretch.first <= view.head() {
            if view.head() < stretch.last {
                stretches.push(Stretch { first: view.head() + 1, last: stretch.last });
            }
            break;
        }
        stretches.push(stretch);
    }
    stretches
}
