//! What happened to a session: the facts of its log. Past tense; never changed once written.
//!
//! Must not know: bytes (see [`crate::codec`]), or the state that follows from the facts (see [`crate::view`]).

use serde::{Deserialize, Serialize};

use crate::{
    actor::Actor,
    chain::CommitHash,
    identity::{LineageId, MessageId, SessionId, SessionKey},
    json::Json,
    message::Message,
    moment::Moment,
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
    /// [`Event::Lost`].
    pub const LOST: Self = Self(127);

    /// True for the kinds that are places on the tree of messages: a message, a clear, or a lost record (which may have been one).
    pub const fn is_element(self) -> bool {
        matches!(self, Self::APPENDED | Self::CLEARED | Self::LOST)
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
    /// Where it was made: the working directory, provider, model and the like.
    #[serde(default, skip_serializing_if = "Origin::is_empty")]
    pub origin: Origin,
    /// The place it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkPoint>,
    /// The file it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImportSource>,
}

impl Created {
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

/// Where a session was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who made it, in the words of the host or of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Json>,
}

impl Origin {
    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
    /// What was said.
    pub message: Message,
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
