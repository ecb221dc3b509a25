//! A message that arrives bit by bit: how it begins, what comes, how it ends, and the message that all of it makes.
//!
//! Nothing is written twice: a chunk holds what is new, and the seal holds no text. The message is where it began; chunks and seal are
//! records behind it that are no places of the tree.
//!
//! Must not know: when a chunk is written, or by whom.

use serde::{Deserialize, Serialize};

use crate::{
    chain::{sha256, to_hex},
    message::{Message, MessageMetadata, MessagePart},
};

/// What came of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The parts that came. A text or reasoning at the beginning goes on with the part before, if that is of the same type.
    pub parts: Vec<MessagePart>,
    /// True when the first part is one of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// How a streamed message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamEnd {
    /// Whole.
    Complete,
    /// Somebody stopped it.
    Cancelled,
    /// It failed.
    Failed,
    /// Whoever wrote it went away.
    Interrupted,
}

/// A streamed message ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// The message: the number of the record that began it.
    pub message: u64,
    /// How it ended.
    pub end: StreamEnd,
    /// Why, in the host's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Chunks that it was made of.
    pub chunks: u64,
    /// SHA-256 of the JSON of its parts, in hexadecimal; absent where whoever sealed it had not read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What is known of it in the end: stands for what was known when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MessageMetadata>,
}

/// Whether a message is all that was to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// It is.
    #[default]
    Complete,
    /// It is still arriving, or nobody has said yet that it ended.
    Partial,
    /// Somebody stopped it.
    Cancelled,
    /// It failed.
    Failed,
    /// Whoever wrote it went away.
    Interrupted,
}

impl MessageState {
    /// True when the message is whole.
    pub fn is_complete(&self) -> bool {
        *self == Self::Complete
    }

    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<StreamEnd> for MessageState {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Complete => Self::Complete,
            StreamEnd::Cancelled => Self::Cancelled,
            StreamEnd::Failed => Self::Failed,
            StreamEnd::Interrupted => Self::Interrupted,
        }
    }
}

/// Takes a part in behind others: text and reasoning go on where `joins`, all else is a part of its own.
pub fn push_part(parts: &mut Vec<MessagePart>, part: MessagePart, joins: bool) {
    match (parts.last_mut().filter(|_| joins), part) {
        (Some(MessagePart::Text(text)), MessagePart::Text(more)) => text.push_str(&more),
        (
            Some(MessagePart::Reasoning { text, signature }),
            MessagePart::Reasoning { text: more, signature: signed },
        ) if signature.is_none() => {
            text.push_str(&more);
            *signature = signed;
        }
        (_, part) => parts.push(part),
    }
}

impl Chunk {
    /// Takes the chunk into the message that it belongs to.
    pub fn append_to(self, parts: &mut Vec<MessagePart>) {
        let mut joins = !self.apart;
        for part in self.parts {
            push_part(parts, part, joins);
            joins = false;
        }
    }
}

/// The digest of a message's parts, as a seal has it.
pub fn parts_digest(parts: &[MessagePart]) -> String {
    to_hex(&sha256(&serde_json::to_vec(parts).unwrap_or_default()))
}

/// A message that is put together from its records.
#[derive(Clone, Debug)]
pub struct Assembly {
    message: Message,
    state: MessageState,
}

impl Assembly {
    /// What stood in the record that began it.
    pub fn begin(message: Message) -> Self {
        Self { message, state: MessageState::Partial }
    }

    /// Takes a chunk in.
    pub fn push(&mut self, chunk: Chunk) {
        chunk.append_to(&mut self.message.parts);
    }

    /// Takes the seal in.
    pub fn seal(&mut self, sealed: &Sealed) {
        self.state = sealed.end.into();
        if let Some(metadata) = &sealed.metadata {
            self.message.metadata.clone_from(metadata);
        }
    }

    /// The message as far as it came, and whether that is all of it. One of which nothing came has no parts.
    pub fn finish(self) -> (Message, MessageState) {
        (self.message, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageRole;

    fn chunk(parts: Vec<MessagePart>, apart: bool) -> Chunk {
        Chunk { parts, apart }
    }

    #[test]
    fn chunks_make_the_message_that_was_streamed() {
        let thought = |text: &str, signature: Option<&str>| MessagePart::Reasoning {
            text: text.into(),
            signature: signature.map(Into::into),
        };
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        let empty = Message { role: MessageRole::Assistant, parts: vec![], metadata: MessageMetadata::default() };
        let mut assembly = Assembly::begin(empty);
        for piece in [
            chunk(vec![thought("hm", None)], false),
            chunk(vec![thought(", so", Some("sig")), MessagePart::text("I ")], false),
            chunk(vec![MessagePart::text("look.")], false),
            chunk(vec![MessagePart::text("Another part.")], true),
            chunk(vec![call.clone()], false),
            chunk(vec![thought("again", None)], false),
        ] {
            let json = serde_json::to_string(&piece).unwrap();
            assembly.push(serde_json::from_str(&json).unwrap());
        }
        let parts = [
            thought("hm, so", Some("sig")),
            MessagePart::text("I look."),
            MessagePart::text("Another part."),
            call,
            thought("again", None),
        ];
        let (partial, state) = assembly.clone().finish();
        assert_eq!((partial.parts.as_slice(), state), (&parts[..], MessageState::Partial));
        let metadata = MessageMetadata { finish_reason: Some("stop".into()), ..MessageMetadata::default() };
        assembly.seal(&Sealed {
            message: 2,
            end: StreamEnd::Complete,
            reason: None,
            chunks: 6,
            digest: Some(parts_digest(&parts)),
            metadata: Some(metadata.clone()),
        });
        let (whole, state) = assembly.finish();
        assert_eq!((whole.metadata, state), (metadata, MessageState::Complete));
    }
}
