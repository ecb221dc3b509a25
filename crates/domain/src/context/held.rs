//! How much memory messages take, so that who keeps them knows what he keeps.
//!
//! Must not know: tokens, or who keeps them.

use super::{Group, Piece};
use crate::message::{FileRef, Message, MessageMetadata, MessagePart, ToolContent};

/// The memory that a message takes, in bytes: its texts, its metadata and the room for its parts.
pub fn held(message: &Message) -> usize {
    let parts = message.parts.iter().map(part).fold(0, usize::saturating_add);
    size_of::<Message>().saturating_add(parts).saturating_add(metadata(&message.metadata))
}

/// The memory of a piece.
pub(super) fn of_piece(piece: &Piece) -> usize {
    size_of::<Piece>().saturating_add(held(&piece.message))
}

/// The memory of a group.
pub(super) fn of_group(group: &Group) -> usize {
    let repairs = size_of_val(group.repairs.as_slice());
    let pieces = group.pieces.iter().map(of_piece).fold(repairs, usize::saturating_add);
    size_of::<Group>().saturating_add(pieces)
}

fn part(part: &MessagePart) -> usize {
    let inside = match part {
        MessagePart::Text(text) => text.len(),
        MessagePart::Reasoning { text, signature } => text.len().saturating_add(maybe(signature)),
        MessagePart::ToolCall(call) => texts([call.call_id.len(), call.name.len(), call.input.as_str().len()]),
        MessagePart::ToolResult(result) => result.call_id.len().saturating_add(match &result.content {
            ToolContent::Text(text) => text.len(),
            ToolContent::Parts(parts) => parts.iter().map(self::part).fold(0, usize::saturating_add),
        }),
        MessagePart::File(FileRef { media_type, name, artifact, url }) => {
            texts([media_type.len(), maybe(name), maybe(artifact), maybe(url)])
        }
        MessagePart::Error { message, code } => message.len().saturating_add(maybe(code)),
        MessagePart::Custom(json) => json.as_str().len(),
    };
    size_of::<MessagePart>().saturating_add(inside)
}

fn metadata(of: &MessageMetadata) -> usize {
    let custom = of.custom.as_ref().map_or(0, |json| json.as_str().len());
    let (names, ids) = ([&of.model, &of.provider, &of.author], [&of.request_id, &of.correlation_id, &of.causation_id]);
    let rest = [&of.cost, &of.finish_reason, &of.made_at];
    let said = [names, ids, rest].into_iter().flatten().map(maybe);
    said.fold(custom, usize::saturating_add)
}

fn maybe(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn texts<const N: usize>(lengths: [usize; N]) -> usize {
    lengths.into_iter().fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn whatever_a_message_says_takes_its_bytes() {
        let long = "x".repeat(10_000);
        let json = || Json::parse(&format!(r#"{{"type":"x","a":"{long}"}}"#)).unwrap();
        let file = |media_type: &str, url: Option<String>| {
            MessagePart::File(FileRef { media_type: media_type.to_owned(), name: None, artifact: None, url })
        };
        let nested = Message::tool_result("a", "").parts.into_iter().map(|part| match part {
            MessagePart::ToolResult(mut result) => {
                result.content = ToolContent::Parts(vec![file("image/png", Some(long.clone()))]);
                MessagePart::ToolResult(result)
            }
            part => part,
        });
        let parts = [
            MessagePart::text(long.clone()),
            MessagePart::Reasoning { text: String::new(), signature: Some(long.clone()) },
            MessagePart::tool_call("a", "t", json().as_str()).unwrap(),
            file(&long, None),
            file("image/png", Some(long.clone())),
            MessagePart::Error { message: long.clone(), code: None },
            MessagePart::Custom(json()),
        ];
        let small = held(&Message::user(""));
        for part in parts.into_iter().chain(nested) {
            let more = held(&Message::user("").with(part)) - small;
            assert!((10_000..10_500).contains(&more), "{more}");
        }
        let mut told = Message::user("");
        told.metadata.custom = Some(json());
        told.metadata.request_id = Some(long);
        assert!((20_000..20_100).contains(&(held(&told) - small)));
    }
}
