//! Messages as OpenAI's chat completions have them.
//!
//! Must not know: what makes them valid.

use serde::Serialize;

use super::{
    FormRules, InstructionsAs,
    body::{Content, Results, lone_text, stretches},
    custom,
    media::{Media, media},
};
use crate::{
    form::Form,
    json::Json,
    message::{FileRef, Message, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult},
};

/// One entry of `messages`.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Entry<'a> {
    Said { role: &'static str, content: Content<'a, Part<'a>> },
    Answer(Answer<'a>),
    Result { role: &'static str, tool_call_id: &'a str, content: Content<'a, Part<'a>> },
}

/// An answer. Without text its content is `null`.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    role: &'static str,
    content: Option<Content<'a, Part<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Part<'a> {
    Known(Known<'a>),
    AsItCame(&'a Json),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Known<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Address<'a> },
    InputAudio { input_audio: Audio<'a> },
    File { file: FileData<'a> },
    Refusal { refusal: String },
}

#[derive(Serialize)]
pub(super) struct Address<'a> {
    url: &'a str,
}

#[derive(Serialize)]
pub(super) struct Audio<'a> {
    data: &'a str,
    format: &'static str,
}

#[derive(Serialize)]
pub(super) struct FileData<'a> {
    filename: &'a str,
    file_data: &'a str,
}

/// The entries.
pub(super) fn spelled<'a>(messages: &[&'a Message], rules: &FormRules) -> Vec<Entry<'a>> {
    let system = if rules.instructions == InstructionsAs::Developer { "developer" } else { "system" };
    let mut out = Vec::with_capacity(messages.len());
    let mut answer: Option<&Message> = None;
    for (role, stretch) in stretches(messages) {
        match role {
            MessageRole::Tool => {
                let results = Results::of(answer).sorted(&stretch);
                out.extend(results.into_iter().map(result));
            }
            MessageRole::System => out.extend(stretch.iter().map(|message| said(system, message))),
            MessageRole::User => out.extend(stretch.iter().map(|message| said("user", message))),
            MessageRole::Assistant => out.extend(stretch.iter().map(|message| Entry::Answer(spoken(message)))),
        }
        answer = stretch.last().copied();
    }
    out
}

fn said<'a>(role: &'static str, message: &'a Message) -> Entry<'a> {
    Entry::Said { role, content: content(&message.parts) }
}

fn result(result: &ToolResult) -> Entry<'_> {
    let content = match &result.content {
        ToolContent::Text(text) => Content::Text(text),
        ToolContent::Parts(parts) => content(parts),
    };
    Entry::Result { role: "tool", tool_call_id: &result.call_id, content }
}

fn content(parts: &[MessagePart]) -> Content<'_, Part<'_>> {
    let all: Vec<&MessagePart> = parts.iter().collect();
    match lone_text(&all) {
        Some(text) => Content::Text(text),
        None => Content::Parts(parts.iter().filter_map(part).collect()),
    }
}

fn spoken(message: &Message) -> Answer<'_> {
    let is_refusal = |part: &&MessagePart| matches!(part, MessagePart::Custom(json) if custom::refusal(json).is_some());
    let (refusals, said): (Vec<&MessagePart>, Vec<&MessagePart>) =
        message.parts.iter().filter(|part| !matches!(part, MessagePart::ToolCall(_))).partition(is_refusal);
    let tool_calls = message.calls().map(call).collect();
    let words = refusals.iter().filter_map(|part| match part {
        MessagePart::Custom(json) => custom::refusal(json),
        _ => None,
    });
    let words: Vec<String> = words.collect();
    let as_parts = |parts: &[&'_ MessagePart]| !parts.is_empty();
    let (content, refusal) = match (lone_text(&said), refusals.as_slice()) {
        // A refusal alone stands as the one part, and of several all words do: content is one refusal at most, and none is none.
        (None, [only]) if said.is_empty() => (part(only).map(|part| Content::Parts(vec![part])), None),
        (None, [_, ..]) if said.is_empty() => {
            let refusal = words.join("\n");
            (Some(Content::Parts(vec![Part::Known(Known::Refusal { refusal })])), None)
        }
        (Some(text), _) => (Some(Content::Text(text)), joined(words)),
        (None, _) if as_parts(&said) => {
            (Some(Content::Parts(said.into_iter().filter_map(part).collect())), joined(words))
        }
        (None, _) => (None, joined(words)),
    };
    Answer { role: "assistant", content, refusal, tool_calls }
}

fn joined(words: Vec<String>) -> Option<String> {
    (!words.is_empty()).then(|| words.join("\n"))
}

fn call(call: &ToolCall) -> Call<'_> {
    Call {
        id: &call.call_id,
        kind: "function",
        function: Function { name: &call.name, arguments: call.input.as_str() },
    }
}

fn part(part: &MessagePart) -> Option<Part<'_>> {
    match part {
        MessagePart::Text(text) => Some(Part::Known(Known::Text { text })),
        MessagePart::File(file) => media(file, Form::OpenAi).and_then(|media| known(file, media)).map(Part::Known),
        MessagePart::Custom(json) => Some(Part::AsItCame(json)),
        // These have their place beside the content, or none.
        MessagePart::ToolCall(_)
        | MessagePart::ToolResult(_)
        | MessagePart::Reasoning { .. }
        | MessagePart::Error { .. } => None,
    }
}

fn known<'a>(file: &'a FileRef, media: Media<'a>) -> Option<Known<'a>> {
    let url = file.url.as_deref()?;
    match media {
        Media::Picture(..) | Media::PictureAt(_) => Some(Known::ImageUrl { image_url: Address { url } }),
        Media::Audio(format, data) => Some(Known::InputAudio { input_audio: Audio { data, format } }),
        Media::Document(_) => {
            let filename = file.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("document.pdf");
            Some(Known::File { file: FileData { filename, file_data: url } })
        }
        Media::DocumentAt(_) => None,
    }
}
