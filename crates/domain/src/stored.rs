//! A message as it stands in a session.
//!
//! Must not know: how it was read.

use std::ops::Deref;

use serde::Serialize;

use crate::{
    actor::Actor,
    event::{Appended, Stamp},
    identity::MessageId,
    message::{Message, MessageMetadata, MessagePart, MessageRole},
    moment::Moment,
    stream::MessageState,
    tokens::{Exactness, Tokens},
};

/// A [`Message`] with its place, its id and its stamp. It serialises as the JSON shape of a message:
/// `{"seq","id","role","parts","at","tokens","visible",…}`, in which `at` is when it was said; when that was elsewhere, `appended_at` is
/// when it came here.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    /// The record's sequence number, which orders messages.
    pub seq: u64,
    /// The message's id.
    pub id: MessageId,
    /// When it was appended.
    pub at: Moment,
    /// Who appended it.
    pub actor: Actor,
    /// Its number among the visible messages of its path, from 1.
    pub depth: u64,
    /// True for tool results that came after the conversation had gone on.
    pub late: bool,
    /// True when it is on the current path.
    pub visible: bool,
    /// Whether it is all that was to be said.
    pub state: MessageState,
    /// The message that it is a new version of.
    pub replaces: Option<MessageId>,
    /// The compaction whose summary stands for it in the context: the number of its record.
    pub covered_by: Option<u64>,
    /// Its tokens, where somebody had them counted: they depend on the model, and are not in the log.
    pub tokens: Option<Tokens>,
    /// What was said.
    pub message: Message,
}

impl StoredMessage {
    /// The message of a record.
    pub fn of(seq: u64, appended: Appended, stamp: Stamp, visible: bool) -> Self {
        let Appended { id, depth, late, replaces, message, .. } = appended;
        let state = MessageState::Complete;
        let (at, actor, covered_by, tokens) = (stamp.at, stamp.actor, None, None);
        Self { seq, id, at, actor, depth, late, visible, state, replaces, covered_by, tokens, message }
    }

    /// The same message, so far as it came.
    #[must_use]
    pub fn in_state(self, state: MessageState) -> Self {
        Self { state, ..self }
    }

    /// The same message, with the compaction that covers it.
    #[must_use]
    pub fn covered_by(self, covered_by: Option<u64>) -> Self {
        Self { covered_by, ..self }
    }

    /// When it was said: when it was made, where that is known and not when it was appended (an imported message), or else when it was
    /// appended.
    pub fn said_at(&self) -> Moment {
        self.message.metadata.made_at.as_deref().and_then(Moment::parse).unwrap_or(self.at)
    }
}

impl Deref for StoredMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

#[derive(Serialize)]
struct Shape<'a> {
    seq: u64,
    id: MessageId,
    role: MessageRole,
    parts: &'a [MessagePart],
    at: Moment,
    tokens: Option<u64>,
    /// True when they are about so many.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimate: bool,
    visible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    appended_at: Option<Moment>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(skip_serializing_if = "MessageState::is_complete")]
    state: MessageState,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    covered_by: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a MessageMetadata>,
}

impl Serialize for StoredMessage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (metadata, said_at) = (&self.message.metadata, self.said_at());
        Shape {
            seq: self.seq,
            id: self.id,
            role: self.message.role,
            parts: &self.message.parts,
            at: said_at,
            tokens: self.tokens.map(|tokens| tokens.count),
            estimate: self.tokens.is_some_and(|tokens| tokens.exactness == Exactness::Estimate),
            visible: self.visible,
            appended_at: Some(self.at).filter(|at| *at != said_at),
            late: self.late,
            state: self.state,
            replaces: self.replaces,
            covered_by: self.covered_by,
            actor: (!self.actor.is_anonymous()).then_some(&self.actor),
            metadata: (!metadata.is_empty()).then_some(metadata),
        }
        .serialize(serializer)
    }
}
