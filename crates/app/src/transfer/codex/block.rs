//! The items of a response as parts, with the place of what each part holds in the line's text.
//!
//! Must not know: which message a part ends up in.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult};

use crate::transfer::foreign::line::{Block, named, span, string};

/// What an item of a response is.
pub(super) enum Item {
    /// A message, or a piece of the model's answer.
    Said(MessageRole, Vec<Block>),
    /// Something that only Codex itself needs.
    Aside,
    /// A message without content.
    Empty,
    /// Anything else.
    Unknown,
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    action: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
}

/// True for the type of an item, of all the versions we know.
pub(super) fn is_item(kind: &str) -> bool {
    matches!(
        kind,
        "message"
            | "reasoning"
            | "function_call"
            | "function_call_output"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "local_shell_call"
            | "ghost_snapshot"
    ) || is_models_own(kind)
}

/// Items of the model that have no part of ours.
pub(super) fn is_models_own(kind: &str) -> bool {
    matches!(
        kind,
        "web_search_call"
            | "image_generation_call"
            | "tool_search_call"
            | "tool_search_output"
            | "mcp_tool_call"
            | "compaction"
            | "compaction_summary"
            | "context_compaction"
            | "agent_message"
    )
}

/// Reads an item, which is a value in the text of a line.
pub(super) fn item(text: &str, raw: &RawValue) -> Item {
    let object = Some(raw.get()).filter(|raw| raw.starts_with('{'));
    let shape: Option<Shape<'_>> = object.and_then(|raw| serde_json::from_str(raw).ok());
    let (Some(shape), Ok(whole)) = (shape, Json::parse(raw.get())) else { return Item::Unknown };
    let Some(kind) = string(shape.kind) else { return Item::Unknown };
    if kind == "message" {
        return message(text, &shape);
    }
    if kind == "ghost_snapshot" {
        return Item::Aside;
    }
    let known = match kind.as_str() {
        "reasoning" => reasoning(text, &shape).map(|found| (MessageRole::Assistant, found)),
        "function_call" | "custom_tool_call" | "local_shell_call" => {
            call(text, &kind, &shape).map(|found| (MessageRole::Assistant, found))
        }
        "function_call_output" | "custom_tool_call_output" => {
            return match result(text, &shape) {
                Some((part, cuts)) => Item::Said(MessageRole::User, vec![Block { part, cuts, whole }]),
                None => Item::Unknown,
            };
        }
        _ => None,
    };
    let custom = || {
        let is_known = is_item(&kind) || is_models_own(&kind);
        is_known.then(|| (MessagePart::Custom(whole.clone()), span(text, raw).into_iter().collect()))
    };
    let found = known.or_else(|| custom().map(|found| (MessageRole::Assistant, found)));
    match found {
        Some((role, (part, cuts))) => Item::Said(role, vec![Block { part, cuts, whole }]),
        None => Item::Unknown,
    }
}

/// A part, and where its values stand.
type Found = (MessagePart, Vec<Range<usize>>);

fn message(text: &str, shape: &Shape<'_>) -> Item {
    let role = match string(shape.role).as_deref() {
        Some("developer" | "system") => MessageRole::System,
        Some("user") => MessageRole::User,
        Some("assistant") => MessageRole::Assistant,
        _ => return Item::Unknown,
    };
    let blocks = shape.content.map(|content| pieces(text, content)).unwrap_or_default();
    if blocks.is_empty() { Item::Empty } else { Item::Said(role, blocks) }
}

/// A piece of text.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

/// The pieces of a content: texts, and what else there is to the letter.
fn pieces(text: &str, content: &RawValue) -> Vec<Block> {
    if let (Some(said), Some(at), Ok(whole)) = (named(Some(content)), span(text, content), Json::parse(content.get())) {
        return vec![Block { part: MessagePart::Text(said), cuts: vec![at], whole }];
    }
    let list: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
    let block = |raw: &RawValue| {
        let whole = Json::parse(raw.get()).ok()?;
        let said = serde_json::from_str::<Piece<'_>>(raw.get()).ok().filter(|_| raw.get().starts_with('{'));
        let said = said.filter(|piece| string(Some(piece.kind)).is_some_and(|kind| kind.ends_with("_text")));
        let found = said.and_then(|piece| Some((string(piece.text)?, span(text, piece.text?)?)));
        let (part, at) = match found {
            Some((said, at)) => (MessagePart::Text(said), at),
            None => (MessagePart::Custom(whole.clone()), span(text, raw)?),
        };
        Some(Block { part, cuts: vec![at], whole })
    };
    list.into_iter().map(block).collect::<Option<_>>().unwrap_or_default()
}

/// What the model thought: the summaries, or the thoughts themselves, and what only the provider can read.
fn reasoning(text: &str, shape: &Shape<'_>) -> Option<Found> {
    let texts = |raw: Option<&RawValue>| -> Vec<(String, Option<Range<usize>>)> {
        let list: Vec<Piece<'_>> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let texts = list.into_iter().filter_map(|piece| piece.text);
        texts.filter_map(|raw| Some((string(Some(raw))?, span(text, raw)))).collect()
    };
    let said = Some(texts(shape.summary)).filter(|said| !said.is_empty()).unwrap_or_else(|| texts(shape.content));
    let signature = string(shape.encrypted_content);
    // Of several texts none is what the part holds, so they stay where they are: an empty place is never cut out.
    let only = if let [(_, at)] = said.as_slice() { at.clone() } else { None };
    let mut cuts = vec![only.unwrap_or(0..0)];
    if signature.is_some() {
        cuts.push(span(text, shape.encrypted_content?)?);
    }
    let said: Vec<String> = said.into_iter().map(|(said, _)| said).collect();
    Some((MessagePart::Reasoning { text: said.join("\n\n"), signature }, cuts))
}

fn call(text: &str, kind: &str, shape: &Shape<'_>) -> Option<Found> {
    let call_id = named(shape.call_id).or_else(|| named(shape.id))?;
    let (name, input, cuts) = match kind {
        "local_shell_call" => ("local_shell".to_owned(), Json::parse(shape.action?.get()).ok()?, Vec::new()),
        "function_call" => {
            let raw = shape.arguments?;
            let arguments = string(Some(raw))?;
            // Arguments are JSON in a string. Where they are none, they are a string.
            let parsed = Json::parse(&arguments).ok().filter(|input| !input.as_str().starts_with('"'));
            let input = parsed.or_else(|| Json::of(&arguments).ok())?;
            (string(shape.name)?, input, vec![span(text, raw)?])
        }
        _ => {
            let raw = shape.input?;
            (string(shape.name)?, Json::of(&string(Some(raw))?).ok()?, vec![span(text, raw)?])
        }
    };
    Some((MessagePart::ToolCall(ToolCall { call_id, name, input }), cuts))
}

/// What a tool gave, in the form of older versions.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(default)]
    success: Option<bool>,
}

fn result(text: &str, shape: &Shape<'_>) -> Option<Found> {
    let raw = shape.output?;
    let payload: Option<Payload<'_>> =
        Some(raw.get()).filter(|raw| raw.starts_with('{')).and_then(|raw| serde_json::from_str(raw).ok());
    let (raw, is_error) = payload.map_or((raw, false), |payload| (payload.content, payload.success == Some(false)));
    let content = match string(Some(raw)) {
        Some(text) => ToolContent::Text(text),
        None => {
            let list: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
            ToolContent::Parts(list.into_iter().map(inner_part).collect::<Option<_>>()?)
        }
    };
    let result = ToolResult { call_id: named(shape.call_id)?, content, is_error };
    Some((MessagePart::ToolResult(result), vec![span(text, raw)?]))
}

/// A text with nothing beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainText {
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

fn inner_part(raw: &RawValue) -> Option<MessagePart> {
    match serde_json::from_str::<PlainText>(raw.get()) {
        Ok(plain) if plain.kind == "input_text" && raw.get().starts_with('{') => Some(MessagePart::Text(plain.text)),
        _ => Json::parse(raw.get()).ok().map(MessagePart::Custom),
    }
}

/// What a part holds, as the JSON that stood in the line.
pub(super) fn values(part: &MessagePart) -> Vec<String> {
    match part {
        MessagePart::Text(text) => vec![quoted(text)],
        MessagePart::Reasoning { text, signature } => {
            [Some(text), signature.as_ref()].into_iter().flatten().map(|text| quoted(text)).collect()
        }
        MessagePart::ToolCall(call) if call.input.as_str().starts_with('"') => vec![call.input.as_str().to_owned()],
        MessagePart::ToolCall(call) => vec![quoted(call.input.as_str())],
        MessagePart::ToolResult(result) => vec![match &result.content {
            ToolContent::Text(text) => quoted(text),
            ToolContent::Parts(parts) => {
                let parts: Vec<String> = parts.iter().map(inner_value).collect();
                format!("[{}]", parts.join(","))
            }
        }],
        MessagePart::Custom(json) => vec![json.as_str().to_owned()],
        _ => Vec::new(),
    }
}

fn inner_value(part: &MessagePart) -> String {
    match part {
        MessagePart::Text(text) => format!(r#"{{"type":"input_text","text":{}}}"#, quoted(text)),
        MessagePart::Custom(json) => json.as_str().to_owned(),
        _ => "null".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
