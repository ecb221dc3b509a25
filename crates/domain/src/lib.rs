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
pub mod context;
pub mod decide;
mod event;
mod identity;
mod json;
mod message;
mod moment;
pub mod pairing;
mod shared_list;
mod stored;
mod summary;
pub mod varint;
mod view;

pub use actor::Actor;
pub use chain::{Blind, CommitHash, Place};
pub use decide::RuleViolation;
pub use event::{
    Appended, Cleared, Created, Described, Event, ForkPoint, ImportSource, Kind, MoveCause, Moved, Origin, Residue,
    ResidueLine, Stamp,
};
pub use identity::{InvalidId, InvalidKey, LineageId, MessageId, SessionId, SessionKey};
pub use json::{InvalidJson, Json, MAX_JSON_DEPTH, depth as json_depth};
pub use message::{
    FileRef, Message, MessageMetadata, MessagePart, MessageRole, TokenUsage, ToolCall, ToolContent, ToolResult,
};
pub use moment::Moment;
pub use stored::StoredMessage;
pub use summary::{SessionSummary, SummaryWords};
pub use view::{InvalidHistory, OpenCalls, SessionStatus, View};
