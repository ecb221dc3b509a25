//! Messages as Anthropic has them: the user's and the model's turns, results at the beginning of the user's.
//!
//! Must not know: what makes them valid.

use serde::Serialize;

use super::{
    Form,
    body::{Content, Results, lone_text, stretches},
    media::{Media, media},
};
use crate::{
    json::Json,
    message::{FileRef, Message, MessagePart, MessageRole, ToolContent, ToolResult},
};

/// One entry of `messages`.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    role: &'static str,
    content: Content<'a, Block<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Block<'a> {
    Known(Known<'a>),
    AsItCame(&'a Json),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Known<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a Json,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Content<'a, Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

/// The instructions, and the entries.
pub(super) fn spelled<'a>(messages: &[&'a Message]) -> (Option<Content<'a, Block<'a>>>, Vec<Entry<'a>>) {
    let leading = messages.iter().take_while(|message| message.role == MessageRole::System).count();
    let (system, rest) = messages.split_at_checked(leading).unwrap_or((messages, &[]));
    let system: Vec<&MessagePart> = system.iter().flat_map(|message| &message.parts).collect();
    let system = (!system.is_empty()).then(|| content(&system));
    let mut turns: Vec<(&'static str, Vec<Block<'a>>, Vec<&'a MessagePart>)> = Vec::new();
    let mut answer: Option<&Message> = None;
    for (role, stretch) in stretches(rest) {
        let name = match role {
            MessageRole::System => "system",
            MessageRole::User | MessageRole::Tool => "user",
            MessageRole::Assistant => "assistant",
        };
        if turns.last().is_none_or(|(last, ..)| *last != name) {
            turns.push((name, Vec::new(), Vec::new()));
        }
        let Some((_, results, said)) = turns.last_mut() else { continue };
        if role == MessageRole::Tool {
            results.extend(Results::of(answer).sorted(&stretch).into_iter().map(result));
        } else {
            said.extend(stretch.iter().flat_map(|message| &message.parts));
        }
        answer = stretch.last().copied();
    }
    let entry = |(role, results, said): (&'static str, Vec<Block<'a>>, Vec<&'a MessagePart>)| {
        let content = if results.is_empty() {
            content(&said)
        } else {
            Content::Parts(results.into_iter().chain(said.into_iter().filter_map(block)).collect())
        };
        Entry { role, content }
    };
    (system, turns.into_iter().map(entry).collect())
}

fn content<'a>(parts: &[&'a MessagePart]) -> Content<'a, Block<'a>> {
    match lone_text(parts) {
        Some(text) => Content::Text(text),
        None => Content::Parts(parts.iter().copied().filter_map(block).collect()),
    }
}

fn result(result: &ToolResult) -> Block<'_> {
    let content = match &result.content {
        ToolContent::Text(text) => Content::Text(text),
        ToolContent::Parts(parts) => Content::Parts(parts.iter().filter_map(block).collect()),
    };
    Block::Known(Known::ToolResult { tool_use_id: &result.call_id, content, is_error: result.is_error })
}

fn block(part: &MessagePart) -> Option<Block<'_>> {
    let known = match part {
        MessagePart::Text(text) => Known::Text { text },
        MessagePart::Reasoning { text, signature } => {
            Known::Thinking { thinking: text, signature: signature.as_deref()? }
        }
        MessagePart::ToolCall(call) => Known::ToolUse { id: &call.call_id, name: &call.name, input: &call.input },
        MessagePart::ToolResult(answer) => return Some(result(answer)),
        MessagePart::File(file) => known(file)?,
        MessagePart::Custom(json) => return Some(Block::AsItCame(json)),
        MessagePart::Error { .. } => return None,
    };
    Some(Block::Known(known))
}

fn known(file: &FileRef) -> Option<Known<'_>> {
    let title = file.name.as_deref().filter(|name| !name.is_empty());
    Some(match media(file, Form::Anthropic)? {
        Media::PictureAt(url) => Known::Image { source: Source::Url { url } },
        Media::Picture(media_type, data) => Known::Image { source: Source::Base64 { media_type, data } },
        Media::DocumentAt(url) => Known::Document { source: Source::Url { url }, title },
        Media::Document(data) => {
            Known::Document { source: Source::Base64 { media_type: "application/pdf", data }, title }
        }
        Media::Audio(..) => return None,
    })
}
