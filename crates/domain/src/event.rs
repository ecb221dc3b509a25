//! What happened to a session: the facts of its log. Past tense; never changed once written.
//!
//! Must not know: bytes (see [`crate::codec`]), or the state that follows from the facts (see [`crate::view`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    actor::Actor,
    chain::CommitHash,
    compaction::{Compacted, Compactions, Instructed, Spent, Uncompacted},
    identity::{LineageId, MessageId, SessionId, SessionKey},
    life::{RuntimeChange, StatusChange},
    message::Message,
    metadata::{MetadataChange, Origin, Parent},
    moment::Moment,
    state::{StateChange, StateOwner},
    stream::{Chunk, Sealed},
};

/// When and by whom: given from outside, the same for every event of one append.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// The moment of the append.
    pub at: Moment,
    /// Who appends.
    pub actor: Actor,
}

/// One fact. The discriminants of kinds stand in [`Kind`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "nearly every event is a message; a box would cost an allocation each")]
pub enum Event {
    /// The session began. Always the log's first record.
    Created(Box<Created>),
    /// A message was appended.
    Appended(Appended),
    /// The head moved along the tree of messages: undo, redo, checkout.
    Moved(Moved),
    /// Everything before was hidden; itself a place that can be undone.
    Cleared(Cleared),
    /// Words about the session changed.
    Described(Described),
    /// Lines of an imported file that have no place in the conversation were kept.
    Residue(Residue),
    /// The state of life became another.
    StatusChanged(StatusChange),
    /// What is known of the session changed.
    Configured(Box<MetadataChange>),
    /// Key-value state changed.
    StateChanged(StateChange),
    /// A message was pinned or is pinned no more.
    Pinned(Pinned),
    /// A place got a name, or a name was taken away.
    Checkpointed(Checkpointed),
    /// A message began to arrive: where it stands, with what it begins.
    Begun(Appended),
    /// More of the message that is arriving.
    Chunk(Chunk),
    /// The message that was arriving ended.
    Sealed(Box<Sealed>),
    /// The session was put into the trash.
    Trashed,
    /// The session was taken out of the trash.
    Restored,
    /// What the session does was noted.
    RuntimeChanged(RuntimeChange),
    /// The session was used, though nothing was changed.
    Touched,
    /// The conversation was compacted.
    Compacted(Box<Compacted>),
    /// A compaction does not apply any more.
    Uncompacted(Uncompacted),
    /// The model's instructions became others.
    Instructed(Instructed),
    /// A model was called, and no message came of it.
    Spent(Box<Spent>),
    /// A newer version of the program wrote something this one does not know. Kept, and passed over.
    Unknown {
        /// The kind's number.
        kind: u8,
    },
    /// The record was damaged and set aside by a repair; what it said is not known.
    Lost,
}

/// The numbers of the kinds, as they stand in a record's header. Numbers are never used again for another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// [`Event::Created`].
    pub const CREATED: Self = Self(1);
    /// [`Event::Appended`].
    pub const APPENDED: Self = Self(2);
    /// [`Event::Moved`].
    pub const MOVED: Self = Self(3);
    /// [`Event::Cleared`].
    pub const CLEARED: Self = Self(4);
    /// [`Event::Described`].
    pub const DESCRIBED: Self = Self(5);
    /// [`Event::Residue`].
    pub const RESIDUE: Self = Self(6);
    /// [`Event::StatusChanged`].
    pub const STATUS_CHANGED: Self = Self(7);
    /// [`Event::Configured`].
    pub const CONFIGURED: Self = Self(8);
    /// [`Event::StateChanged`].
    pub const STATE_CHANGED: Self = Self(9);
    /// [`Event::Pinned`].
    pub const PINNED: Self = Self(10);
    /// [`Event::Checkpointed`].
    pub const CHECKPOINTED: Self = Self(11);
    /// [`Event::Begun`].
    pub const BEGUN: Self = Self(12);
    /// [`Event::Chunk`].
    pub const CHUNK: Self = Self(13);
    /// [`Event::Sealed`].
    pub const SEALED: Self = Self(14);
    /// [`Event::Trashed`].
    pub const TRASHED: Self = Self(15);
    /// [`Event::Restored`].
    pub const RESTORED: Self = Self(16);
    /// [`Event::RuntimeChanged`].
    pub const RUNTIME_CHANGED: Self = Self(17);
    /// [`Event::Touched`].
    pub const TOUCHED: Self = Self(18);
    /// [`Event::Compacted`].
    pub const COMPACTED: Self = Self(19);
    /// [`Event::Uncompacted`].
    pub const UNCOMPACTED: Self = Self(20);
    /// [`Event::Instructed`].
    pub const INSTRUCTED: Self = Self(21);
    /// [`Event::Spent`].
    pub const SPENT: Self = Self(22);
    /// [`Event::Lost`].
    pub const LOST: Self = Self(127);

    /// True for the kinds that are places on the tree of messages: a message, a clear, or a lost record (which may have been one).
    pub const fn is_element(self) -> bool {
        matches!(self, Self::APPENDED | Self::BEGUN | Self::CLEARED | Self::LOST)
    }
}

impl Event {
    /// The number of the event's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Created(_) => Kind::CREATED,
            Self::Appended(_) => Kind::APPENDED,
            Self::Moved(_) => Kind::MOVED,
            Self::Cleared(_) => Kind::CLEARED,
            Self::Described(_) => Kind::DESCRIBED,
            Self::Residue(_) => Kind::RESIDUE,
            Self::StatusChanged(_) => Kind::STATUS_CHANGED,
            Self::Configured(_) => Kind::CONFIGURED,
            Self::StateChanged(_) => Kind::STATE_CHANGED,
            Self::Pinned(_) => Kind::PINNED,
            Self::Checkpointed(_) => Kind::CHECKPOINTED,
            Self::Begun(_) => Kind::BEGUN,
            Self::Chunk(_) => Kind::CHUNK,
            Self::Sealed(_) => Kind::SEALED,
            Self::Trashed => Kind::TRASHED,
            Self::Restored => Kind::RESTORED,
            Self::RuntimeChanged(_) => Kind::RUNTIME_CHANGED,
            Self::Touched => Kind::TOUCHED,
            Self::Compacted(_) => Kind::COMPACTED,
            Self::Uncompacted(_) => Kind::UNCOMPACTED,
            Self::Instructed(_) => Kind::INSTRUCTED,
            Self::Spent(_) => Kind::SPENT,
            Self::Unknown { kind } => Kind(*kind),
            Self::Lost => Kind::LOST,
        }
    }
}

/// What a session is from its first record on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The session.
    pub session: SessionId,
    /// Its log.
    pub lineage: LineageId,
    /// The host's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SessionKey>,
    /// Words about it.
    #[serde(flatten)]
    pub described: Described,
    /// What is known of it: the working directory, provider, model and the like.
    #[serde(default, skip_serializing_if = "Origin::is_empty")]
    pub origin: Origin,
    /// The place it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkPoint>,
    /// The file it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImportSource>,
    /// The session it came from without inheriting its history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// When it was made elsewhere, for a host that moves in: data, which orders nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Moment>,
    /// Whose state the log keeps, where it is no conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_of: Option<StateOwner>,
}

impl Created {
    /// The beginning of a session of which nothing more is known.
    pub fn of(session: SessionId, lineage: LineageId) -> Self {
        Self {
            session,
            lineage,
            key: None,
            described: Described::default(),
            origin: Origin::default(),
            fork: None,
            source: None,
            parent: None,
            created_at: None,
            state_of: None,
        }
    }

    /// True for a beginning that a repair wrote for one that was lost: its lineage is made of the session's id and its blind is zero, as
    /// of no other, and the records behind it are chained in another lineage. `payload` is the record's, which begins with the blind.
    pub fn stands_for_a_lost_one(&self, payload: &[u8]) -> bool {
        self.lineage.to_bytes() == self.session.to_bytes() && payload.starts_with(&[0; 32])
    }
}

/// Words about a session. In a [`Event::Described`] what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A longer description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The tags: a set, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// The place a session was forked from. The fork's own records start at `at + 1`; what is at or below belongs to the owners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The session that was forked.
    pub parent: SessionId,
    /// The last sequence number that is inherited.
    pub at: u64,
    /// The commit of the record at `at`, which the fork's chain continues.
    pub commit: CommitHash,
    /// The message the fork's head stands at (0: before the first).
    pub head: u64,
    /// Messages visible at `head`.
    pub depth: u64,
    /// Who holds the inherited records: (owner, last sequence number of its stretch), ascending.
    pub owners: Vec<(SessionId, u64)>,
    /// The last place on the tree at or before `at`; `None`: `at` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// What the fork's context begins with, as the parent's had it.
    #[serde(default, skip_serializing_if = "Inherited::is_empty")]
    pub inherits: Inherited,
}

/// What a fork has from the start beside messages: the parent's choices that a context depends on, as far as they stand at or before the fork.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Messages that are pinned.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pins: BTreeSet<u64>,
    /// Compactions and instructions.
    #[serde(default, skip_serializing_if = "Compactions::is_empty")]
    pub compactions: Compactions,
}

impl Inherited {
    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.compactions.is_empty()
    }
}

/// The file that a session was imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportSource {
    /// The format, as in `claude-code`.
    pub format: String,
    /// The session's id in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// SHA-256 of the source's bytes, in hexadecimal.
    pub digest: String,
}

/// A message on the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// Its id.
    pub id: MessageId,
    /// The element it follows (0: the beginning). `None` in a record means: the log's last element before it.
    pub parent: Option<u64>,
    /// Visible messages on the path up to and including this one.
    pub depth: u64,
    /// True for tool results that came after the conversation had gone on; they are left out of the context.
    pub late: bool,
    /// The message that this one is a new version of.
    pub replaces: Option<MessageId>,
    /// What was said.
    pub message: Message,
}

/// A message was pinned: it is always a part of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The message: the number of its record.
    pub message: u64,
    /// Whether it is pinned now.
    pub pinned: bool,
}

/// A place got a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpointed {
    /// The name.
    pub name: String,
    /// The place; `None`: the name is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<NamedPlace>,
}

/// A place that has a name: the present of a moment in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPlace {
    /// The session's version.
    pub version: u64,
    /// The record the head stood at (0: before the first message).
    pub head: u64,
    /// Messages visible there.
    pub depth: u64,
}

/// The head moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Where to (0: before the first message).
    pub to: u64,
    /// Messages visible there.
    pub depth: u64,
    /// What moved it.
    pub cause: MoveCause,
    /// Steps that were taken.
    #[serde(default)]
    pub steps: u64,
}

/// What moved a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveCause {
    /// Towards the beginning.
    Undo,
    /// Back towards where undo came from.
    Redo,
    /// To another branch.
    Checkout,
}

/// Everything up to the head was hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// The head that was hidden, which undoing the clear goes back to.
    pub from: u64,
    /// Messages that were visible there.
    pub depth: u64,
}

/// Lines of an imported file that have no place in the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// The lines, in the file's order.
    pub lines: Vec<ResidueLine>,
}

/// One kept line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidueLine {
    /// The line's number in its file, from 1.
    pub line: u64,
    /// The line without its line break. Text that is not UTF-8 stands in `base16` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in hexadecimal, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base16: Option<String>,
}
