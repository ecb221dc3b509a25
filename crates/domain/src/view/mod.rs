//! The state that follows from a session's log. Small: it does not grow with the length of the conversation, only with the number
//! of times it took another way.
//!
//! **Invariant**: a view is a function of the log alone. Applying the same records gives the same view, with or without a snapshot between.
//!
//! Must not know: messages beyond the tool calls that wait for an answer, or where the log is kept.

mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    branches::{NotAnElement, Tree},
    chain::{CommitHash, Place},
    compaction::{Compactions, InForce},
    event::{Appended, Created, Described, Event, ForkPoint, ImportSource, Inherited, MoveCause, NamedPlace, Stamp},
    identity::{LineageId, SessionId, SessionKey},
    json::Json,
    life::{RuntimeChange, RuntimeState, SessionStatus},
    message::{Message, MessagePart, MessageRole},
    metadata::{Origin, Parent},
    moment::Moment,
    state::StateOwner,
};

/// A record that cannot follow the log it stands in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistory {
    /// The first record is not the session's beginning.
    #[error("the log does not begin with the session's creation")]
    NoBeginning,
    /// A second beginning.
    #[error("record {seq} begins the session a second time")]
    SecondBeginning {
        /// The record.
        seq: u64,
    },
    /// A sequence number was left out or doubled.
    #[error("record {found} stands where {expected} belongs")]
    Gap {
        /// What belongs there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// An element follows something that is none.
    #[error(transparent)]
    NotAnElement(#[from] NotAnElement),
    /// A head moved to something that is no element.
    #[error("record {seq} moves the head to {to}, which is no message")]
    MovedNowhere {
        /// The record.
        seq: u64,
        /// Where to.
        to: u64,
    },
}

/// Which tool calls wait for an answer at the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenCalls {
    /// These.
    Known(Vec<String>),
    /// The head was moved: the elements before it tell (see [`crate::decide::open_calls`]).
    Unknown,
}

/// A message that is arriving, as far as the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStream {
    /// The message: the number of the record that began it.
    pub message: u64,
    /// Chunks that came.
    pub chunks: u64,
    /// Ids of the tool calls in it.
    pub calls: Vec<String>,
}

/// A session as its log makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    session: SessionId,
    lineage: LineageId,
    version: u64,
    commit: CommitHash,
    tree: Tree,
    standing: Standing,
    /// Shared by clones: it is most of a view, and an append neither reads nor changes it.
    about: Arc<About>,
    /// The first record that could not be read. It is no part of a snapshot: nothing is written to such a log.
    unreadable: Option<u64>,
}

/// What nearly every record changes: kept as JSON in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    head: u64,
    depth: u64,
    redo: Option<u64>,
    open: OpenCalls,
    status: SessionStatus,
    updated: Moment,
    lost: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_archive: Option<SessionStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trashed: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    touched: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<OpenStream>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<RuntimeChange>,
}

/// What is known of a session as a whole: kept as JSON in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    key: Option<SessionKey>,
    described: Described,
    origin: Origin,
    fork: Option<ForkPoint>,
    source: Option<ImportSource>,
    created: Moment,
    #[serde(default)]
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Parent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_of: Option<StateOwner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    state: BTreeMap<String, Json>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pins: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    checkpoints: BTreeMap<String, NamedPlace>,
    #[serde(default, skip_serializing_if = "Compactions::is_empty")]
    compactions: Compactions,
}

impl View {
    /// The view of a log's first record. A fork needs the tree of the session it was forked from.
    ///
    /// # Errors
    /// [`InvalidHistory::Gap`] when `seq` is not the first of such a log.
    pub fn begin(
        seq: u64,
        created: &Created,
        stamp: &Stamp,
        commit: CommitHash,
        inherited: Option<&Tree>,
    ) -> Result<Self, InvalidHistory> {
        let expected = created.fork.as_ref().map_or(1, |fork| fork.at.saturating_add(1));
        if seq != expected {
            return Err(InvalidHistory::Gap { expected, found: seq });
        }
        let tree = match (&created.fork, inherited) {
            (Some(fork), Some(tree)) => tree.clipped(fork.last.unwrap_or(fork.at).min(fork.at)),
            _ => Tree::default(),
        };
        let (head, depth) = match &created.fork {
            Some(fork) if fork.head == 0 || tree.run_of(fork.head).is_some() => (fork.head, fork.depth),
            // Of what was inherited too much is lost to say. The fork stands at the end of what is left.
            Some(_) => (tree.last(), tree.span(tree.last())),
            None => (0, 0),
        };
        let Inherited { pins, compactions } =
            created.fork.as_ref().map(|fork| fork.inherits.clone()).unwrap_or_default();
        Ok(Self {
            session: created.session,
            lineage: created.lineage,
            version: seq,
            commit,
            tree,
            standing: Standing {
                head,
                depth,
                redo: None,
                open: if head == 0 { OpenCalls::Known(Vec::new()) } else { OpenCalls::Unknown },
                status: SessionStatus::Active,
                updated: stamp.at,
                lost: 0,
                before_archive: None,
                trashed: None,
                touched: None,
                stream: None,
                runtime: None,
            },
            about: Arc::new(About {
                key: created.key.clone(),
                described: created.described.clone(),
                origin: created.origin.clone(),
                fork: created.fork.clone(),
                source: created.source.clone(),
                created: created.created_at.unwrap_or(stamp.at),
                tenant: stamp.actor.tenant.clone(),
                parent: created.parent,
                state_of: created.state_of.clone(),
                status_reason: None,
                state: BTreeMap::new(),
                pins,
                checkpoints: BTreeMap::new(),
                compactions,
            }),
            unreadable: None,
        })
    }

    /// The view of a log that holds what another session was, where the beginning of its own is lost: it is this session's, and has what it inherited, without
    /// the key and the source of the other.
    #[must_use]
    pub fn inherited_by(mut self, session: SessionId) -> Self {
        let about = Arc::make_mut(&mut self.about);
        (self.session, about.key, about.source) = (session, None, None);
        self
    }

    /// Takes the next record for a lost one because it cannot be read now. What follows can then be looked at; where it stands is known
    /// only when a repair has said that the record is lost, so until then nothing may follow.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn pass_over(&mut self, seq: u64, commit: CommitHash) -> Result<(), InvalidHistory> {
        let stamp = Stamp { at: Moment::default(), actor: crate::Actor::default() };
        self.apply(seq, &Event::Lost, &stamp, commit)?;
        self.note_unreadable(seq);
        Ok(())
    }

    /// Notes that a record cannot be read which this log builds on.
    pub fn note_unreadable(&mut self, seq: u64) {
        self.unreadable = Some(self.unreadable.map_or(seq, |known| known.min(seq)));
    }

    /// The first record that cannot be read, in this log or in what it inherits. While there is one, nothing may be appended.
    pub fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// [`InvalidHistory`] when the record cannot follow; the view is then unchanged.
    pub fn apply(&mut self, seq: u64, event: &Event, stamp: &Stamp, commit: CommitHash) -> Result<(), InvalidHistory> {
        if seq != self.version + 1 {
            return Err(InvalidHistory::Gap { expected: self.version + 1, found: seq });
        }
        match event {
            Event::Created(_) => return Err(InvalidHistory::SecondBeginning { seq }),
            Event::Appended(appended) => self.apply_message(seq, appended)?,
            Event::Begun(appended) => {
                self.apply_message(seq, appended)?;
                let calls = calls_of(&appended.message);
                self.standing.stream = Some(OpenStream { message: seq, chunks: 0, calls });
            }
            Event::Cleared(_) => {
                self.tree.add(seq, self.standing.head, true)?;
                self.stand_at(seq, 0, OpenCalls::Known(Vec::new()));
                self.standing.redo = None;
            }
            Event::Lost => {
                let parent = self.tree.last();
                self.tree.add(seq, parent, false)?;
                if self.standing.head == parent {
                    self.stand_at(seq, self.standing.depth, OpenCalls::Unknown);
                }
                self.standing.lost += 1;
            }
            Event::Moved(moved) => {
                if moved.to != 0 && self.tree.run_of(moved.to).is_none() {
                    return Err(InvalidHistory::MovedNowhere { seq, to: moved.to });
                }
                self.standing.redo = match moved.cause {
                    MoveCause::Undo => self.standing.redo.or(Some(self.standing.head)),
                    MoveCause::Redo => self.standing.redo.filter(|tip| *tip != moved.to),
                    MoveCause::Checkout => None,
                };
                let open = if moved.to == 0 { OpenCalls::Known(Vec::new()) } else { OpenCalls::Unknown };
                self.stand_at(moved.to, moved.depth, open);
            }
            Event::Chunk(chunk) => {
                if let Some(stream) = &mut self.standing.stream {
                    stream.chunks += 1;
                    stream.calls.extend(calls_in(&chunk.parts));
                }
            }
            Event::Sealed(sealed) => self.end_stream(Some(sealed.message)),
            Event::StatusChanged(change) => {
                let standing = &mut self.standing;
                standing.before_archive = Some(standing.status).filter(|_| change.to == SessionStatus::Archived);
                standing.status = change.to;
                Arc::make_mut(&mut self.about).status_reason.clone_from(&change.reason);
            }
            Event::Trashed => self.standing.trashed = Some(stamp.at),
            Event::Restored => self.standing.trashed = None,
            Event::Touched => self.standing.touched = Some(stamp.at),
            Event::RuntimeChanged(change) => {
                self.standing.runtime = Some(change.clone()).filter(|change| change.to != RuntimeState::Idle);
            }
            Event::Configured(change) => change.apply_to(&mut Arc::make_mut(&mut self.about).origin),
            Event::StateChanged(change) => change.apply_to(&mut Arc::make_mut(&mut self.about).state),
            Event::Pinned(pin) => {
                let pins = &mut Arc::make_mut(&mut self.about).pins;
                if pin.pinned {
                    pins.insert(pin.message)
                } else {
                    pins.remove(&pin.message)
                };
            }
            Event::Checkpointed(checkpoint) => {
                let names = &mut Arc::make_mut(&mut self.about).checkpoints;
                match checkpoint.at {
                    Some(at) => names.insert(checkpoint.name.clone(), at),
                    None => names.remove(&checkpoint.name),
                };
            }
            Event::Compacted(compacted) => Arc::make_mut(&mut self.about).compactions.add(seq, compacted),
            Event::Uncompacted(undone) => Arc::make_mut(&mut self.about).compactions.remove(seq, undone.compaction),
            Event::Instructed(_) => Arc::make_mut(&mut self.about).compactions.instruct(seq),
            Event::Described(described) => {
                let words = &mut Arc::make_mut(&mut self.about).described;
                let keep = |new: &Option<String>, old: &mut Option<String>| {
                    if let Some(text) = new {
                        *old = Some(text.clone()).filter(|text| !text.is_empty());
                    }
                };
                keep(&described.title, &mut words.title);
                keep(&described.description, &mut words.description);
                if described.tags.is_some() {
                    words.tags.clone_from(&described.tags);
                }
            }
            Event::Residue(_) | Event::Spent(_) | Event::Unknown { .. } => {}
        }
        if matches!(event, Event::Appended(_) | Event::Cleared(_) | Event::Lost | Event::Moved(_)) {
            // What follows a message that nobody sealed has ended it: a log of another's, or one with losses.
            self.standing.stream = None;
        }
        self.version = seq;
        self.commit = commit;
        if stamp.at != Moment::default() && *event != Event::Touched {
            self.standing.updated = stamp.at;
        }
        Ok(())
    }

    fn apply_message(&mut self, seq: u64, appended: &Appended) -> Result<(), InvalidHistory> {
        let parent = appended.parent.unwrap_or_else(|| self.tree.last());
        self.tree.add(seq, parent, false)?;
        let open = if parent == self.standing.head {
            self.open_after(&appended.message, appended.late)
        } else if appended.message.role == MessageRole::Tool {
            OpenCalls::Unknown
        } else {
            OpenCalls::Known(calls_of(&appended.message))
        };
        self.stand_at(seq, appended.depth, open);
        self.standing.redo = None;
        Ok(())
    }

    fn open_after(&mut self, message: &Message, late: bool) -> OpenCalls {
        // What is open is changed in its place: of many calls each may be answered by a message of its own.
        let before = std::mem::replace(&mut self.standing.open, OpenCalls::Unknown);
        match (before, message.role) {
            (open, MessageRole::Tool) if late => open,
            (OpenCalls::Known(mut open), MessageRole::Tool) => {
                let answered: HashSet<&str> = message.results().map(|result| result.call_id.as_str()).collect();
                open.retain(|id| !answered.contains(id.as_str()));
                OpenCalls::Known(open)
            }
            (OpenCalls::Unknown, MessageRole::Tool) => OpenCalls::Unknown,
            _ => OpenCalls::Known(calls_of(message)),
        }
    }

    fn end_stream(&mut self, message: Option<u64>) {
        let Some(stream) = self.standing.stream.take_if(|open| message.is_none_or(|seq| seq == open.message)) else {
            return;
        };
        if self.standing.head == stream.message {
            self.standing.open = OpenCalls::Known(stream.calls);
        }
    }

    fn stand_at(&mut self, head: u64, depth: u64, open: OpenCalls) {
        self.standing.head = head;
        self.standing.depth = depth;
        self.standing.open = open;
    }

    /// Fills in the calls that wait for an answer, where the view does not know them (see [`OpenCalls::Unknown`]).
    pub fn set_open_calls(&mut self, calls: Vec<String>) {
        self.standing.open = OpenCalls::Known(calls);
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The log.
    pub fn lineage(&self) -> LineageId {
        self.lineage
    }

    /// The sequence number of the last record.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The commit of the last record.
    pub fn commit(&self) -> CommitHash {
        self.commit
    }

    /// The place of the last record.
    pub fn place(&self) -> Place {
        Place { session: self.session, seq: self.version, hash: self.commit }
    }

    /// The element the head stands at (0: before the first).
    pub fn head(&self) -> u64 {
        self.standing.head
    }

    /// Messages that are visible.
    pub fn depth(&self) -> u64 {
        self.standing.depth
    }

    /// The tree of messages.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where redo leads in the end, while it can.
    pub fn redo_tip(&self) -> Option<u64> {
        self.standing.redo
    }

    /// Tool calls that wait for an answer.
    pub fn open_calls(&self) -> &OpenCalls {
        &self.standing.open
    }

    /// The host's own key.
    pub fn key(&self) -> Option<&SessionKey> {
        self.about.key.as_ref()
    }

    /// Title, description and tags.
    pub fn described(&self) -> &Described {
        &self.about.described
    }

    /// What is known of the session.
    pub fn origin(&self) -> &Origin {
        &self.about.origin
    }

    /// The state of life.
    pub fn status(&self) -> SessionStatus {
        self.standing.status
    }

    /// Why the session is in its state of life, where whoever put it there said so.
    pub fn status_reason(&self) -> Option<&str> {
        self.about.status_reason.as_deref()
    }

    /// The state of life before the session was archived, while it is.
    pub fn before_archive(&self) -> Option<SessionStatus> {
        self.standing.before_archive
    }

    /// Since when the session is in the trash, while it is.
    pub fn trashed(&self) -> Option<Moment> {
        self.standing.trashed
    }

    /// When the session was last used: changed, or touched.
    pub fn accessed(&self) -> Moment {
        self.standing.touched.map_or(self.standing.updated, |touched| touched.max(self.standing.updated))
    }

    /// The message that is arriving, as far as the log says.
    pub fn stream(&self) -> Option<&OpenStream> {
        self.standing.stream.as_ref()
    }

    /// What the session was noted to do.
    pub fn runtime(&self) -> Option<&RuntimeChange> {
        self.standing.runtime.as_ref()
    }

    /// Key-value state of the session's own scope.
    pub fn state(&self) -> &BTreeMap<String, Json> {
        &self.about.state
    }

    /// Whose state the log keeps, where it is no conversation.
    pub fn state_of(&self) -> Option<&StateOwner> {
        self.about.state_of.as_ref()
    }

    /// The messages that are pinned: the numbers of their records.
    pub fn pins(&self) -> &BTreeSet<u64> {
        &self.about.pins
    }

    /// How the conversation is compacted.
    pub fn compacted_now(&self) -> InForce {
        self.compacted_at(self.version, self.standing.head)
    }

    /// How the conversation was compacted at a version, with its head at an element. What was taken away since does not count there either.
    pub fn compacted_at(&self, version: u64, head: u64) -> InForce {
        self.about.compactions.in_force(version, |seq| self.tree.is_visible(seq, head))
    }

    /// Where the log says how the conversation is compacted, and what the model is told.
    pub fn compactions(&self) -> &Compactions {
        &self.about.compactions
    }

    /// Places that have a name.
    pub fn checkpoints(&self) -> &BTreeMap<String, NamedPlace> {
        &self.about.checkpoints
    }

    /// The session it came from: by a fork, or as the work of a sub-agent.
    pub fn parent(&self) -> Option<Parent> {
        let forked = |fork: &ForkPoint| Parent { session: fork.parent, kinship: crate::metadata::Kinship::Fork };
        self.about.fork.as_ref().map(forked).or(self.about.parent)
    }

    /// The place the session was forked from.
    pub fn fork(&self) -> Option<&ForkPoint> {
        self.about.fork.as_ref()
    }

    /// The file the session was imported from.
    pub fn source(&self) -> Option<&ImportSource> {
        self.about.source.as_ref()
    }

    /// When the session was made.
    pub fn created(&self) -> Moment {
        self.about.created
    }

    /// When the last record was appended.
    pub fn updated(&self) -> Moment {
        self.standing.updated
    }

    /// The tenant it belongs to.
    pub fn tenant(&self) -> &str {
        &self.about.tenant
    }

    /// Records that were damaged and set aside by a repair.
    pub fn lost(&self) -> u64 {
        self.standing.lost
    }

    /// The first sequence number that is the session's own and not inherited.
    pub fn first_own(&self) -> u64 {
        self.about.fork.as_ref().map_or(1, |fork| fork.at.saturating_add(1))
    }

    /// Who holds a record: the session itself, or an owner of what it inherited.
    pub fn owner_of(&self, seq: u64) -> SessionId {
        let inherited = self.about.fork.iter().flat_map(|fork| &fork.owners).find(|(_, last)| seq <= *last);
        inherited.map_or(self.session, |(owner, _)| *owner)
    }

    /// Who holds the records up to `at`, for a fork of this session there.
    pub fn owners_up_to(&self, at: u64) -> Vec<(SessionId, u64)> {
        let mut owners = Vec::new();
        let mut reached = 0;
        let inherited = self.about.fork.iter().flat_map(|fork| &fork.owners);
        for (owner, last) in inherited.copied().chain([(self.session, self.version)]) {
            if reached < at {
                reached = last.min(at);
                owners.push((owner, reached));
            }
        }
        owners
    }
}

fn calls_of(message: &Message) -> Vec<String> {
    calls_in(&message.parts).collect()
}

fn calls_in(parts: &[MessagePart]) -> impl Iterator<Item = String> {
    parts
        .iter()
        .filter_map(|part| if let MessagePart::ToolCall(call) = part { Some(call.call_id.clone()) } else { None })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Cleared, Moved};
    use crate::identity::MessageId;

    pub(crate) fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1), actor: crate::Actor::default() }
    }

    /// The view of a session that nothing was said in.
    pub(crate) fn begun() -> View {
        let created = Created::of(SessionId::from_bytes([1; 16]), LineageId::from_bytes([2; 16]));
        View::begin(1, &created, &stamp(), CommitHash::ZERO, None).unwrap()
    }

    pub(super) fn message(depth: u64, parent: Option<u64>) -> Event {
        let id = MessageId::from_bytes([depth as u8; 16]);
        Event::Appended(Appended { id, parent, depth, late: false, replaces: None, message: Message::user("x") })
    }

    pub(super) fn apply(view: &mut View, event: Event) {
        view.apply(view.version() + 1, &event, &stamp(), CommitHash::ZERO).unwrap();
    }

    pub(super) fn say(view: &mut View, parent: Option<u64>) {
        let event = message(view.depth() + 1, parent);
        apply(view, event);
    }

    #[test]
    fn undo_redo_and_branches_move_the_head_and_nothing_else() {
        let mut view = begun();
        for depth in 1..=3 {
            apply(&mut view, message(depth, None));
        }
        assert_eq!((view.head(), view.depth()), (4, 3));
        apply(&mut view, Event::Moved(Moved { to: 3, depth: 2, cause: MoveCause::Undo, steps: 1 }));
        apply(&mut view, Event::Moved(Moved { to: 2, depth: 1, cause: MoveCause::Undo, steps: 1 }));
        assert_eq!((view.head(), view.redo_tip()), (2, Some(4)));
        apply(&mut view, Event::Moved(Moved { to: 4, depth: 3, cause: MoveCause::Redo, steps: 2 }));
        assert_eq!((view.head(), view.redo_tip()), (4, None));
        apply(&mut view, Event::Cleared(Cleared { from: 4, depth: 3 }));
        assert_eq!((view.head(), view.depth()), (8, 0));
        apply(&mut view, message(1, None));
        assert_eq!(view.tree().path(view.head()).count(), 1);
        assert_eq!(view.tree().branches().len(), 1);
    }

    #[test]
    fn a_record_that_cannot_follow_changes_nothing() {
        let mut view = begun();
        apply(&mut view, message(1, None));
        let before = view.clone();
        let wrong = [
            (2, message(2, None)),
            (4, message(2, None)),
            (3, message(2, Some(77))),
            (3, Event::Moved(Moved { to: 1, depth: 0, cause: MoveCause::Undo, steps: 1 })),
        ];
        for (seq, event) in wrong {
            assert!(view.apply(seq, &event, &stamp(), CommitHash::ZERO).is_err());
            assert_eq!(view, before);
        }
    }

    #[test]
    fn owners_of_a_fork_of_a_fork_are_cut_where_it_left() {
        let mut view = begun();
        let (a, b) = (SessionId::from_bytes([8; 16]), SessionId::from_bytes([9; 16]));
        let owners = vec![(a, 10), (b, 20)];
        view.version = 30;
        Arc::make_mut(&mut view.about).fork = Some(ForkPoint {
            parent: b,
            at: 20,
            commit: CommitHash::ZERO,
            head: 0,
            depth: 0,
            owners,
            last: None,
            inherits: Inherited::default(),
        });
        assert_eq!(view.owners_up_to(5), [(a, 5)]);
        assert_eq!(view.owners_up_to(10), [(a, 10)]);
        assert_eq!(view.owners_up_to(15), [(a, 10), (b, 15)]);
        assert_eq!(view.owners_up_to(25), [(a, 10), (b, 20), (view.session(), 25)]);
        assert_eq!([view.owner_of(10), view.owner_of(11), view.owner_of(21)], [a, b, view.session()]);
    }

    #[test]
    fn only_new_words_copy_what_is_known_of_a_session() {
        let mut view = begun();
        let before = view.clone();
        say(&mut view, None);
        apply(&mut view, Event::Moved(Moved { to: 0, depth: 0, cause: MoveCause::Undo, steps: 1 }));
        assert!(Arc::ptr_eq(&view.about, &before.about));
        apply(&mut view, Event::Described(Described { title: Some("new".to_owned()), ..Described::default() }));
        assert_eq!((view.described().title.as_deref(), &before.described().title), (Some("new"), &None));
    }
}
