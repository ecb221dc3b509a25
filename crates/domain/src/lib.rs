//! Entities, events and rules of an agent's conversation.
//!
//! The truth of a session is an append-only log of [`Event`]s; everything else is a [`View`]. This crate says what happened, what may
//! happen ([`decide`]) and what follows. It is pure: no async, no I/O, no clock and no randomness, so every rule is a table or a property.
//!
//! Must not know: stores, ports, hosts.

mod actor;
pub mod branches;
pub mod chain;
pub mod codec;
pub mod compaction;
pub mod context;
pub mod decide;
mod event;
pub mod form;
mod identity;
mod json;
mod life;
mod limits;
mod message;
mod metadata;
mod moment;
pub mod money;
pub mod nearest;
pub mod pairing;
pub mod price;
pub mod profile;
mod shared_list;
mod state;
mod stored;
pub mod stream;
mod summary;
pub mod tokens;
pub mod turn;
pub mod upkeep;
pub mod varint;
mod view;

pub use actor::Actor;
pub use chain::{Blind, CommitHash, Place};
pub use decide::RuleViolation;
pub use event::{
    Appended, Checkpointed, Cleared, Created, Described, Event, ForkPoint, ImportSource, Inherited, Kind, MoveCause,
    Moved, NamedPlace, Pinned, Residue, ResidueLine, Stamp,
};
pub use identity::{InvalidId, InvalidKey, LineageId, MessageId, SessionId, SessionKey};
pub use json::{InvalidJson, Json, MAX_JSON_DEPTH, depth as json_depth};
pub use life::{RuntimeChange, RuntimeState, SessionStatus, StatusChange};
pub use limits::{LimitReached, Limits};
pub use message::{
    FileRef, Message, MessageMetadata, MessagePart, MessageRole, TokenUsage, ToolCall, ToolContent, ToolResult,
};
pub use metadata::{Change, Kinship, MetadataChange, Origin, Parent, SessionSettings};
pub use moment::Moment;
pub use state::{InvalidStateKey, StateChange, StateKey, StateOwner, StateScope};
pub use stored::StoredMessage;
pub use stream::{Chunk, MessageState, Sealed, StreamEnd};
pub use summary::{SessionSummary, SummaryWords};
pub use view::{InvalidHistory, OpenCalls, OpenStream, View};
