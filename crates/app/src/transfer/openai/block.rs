//! The parts of one message, with the place of what each holds in the line's text.
//!
//! Must not know: other messages.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult};

use crate::transfer::{
    foreign::line::{Block, named, span, string},
    messages::{Shape, pieces},
};

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// A message's blocks.
pub(super) fn spoken(text: &str, shape: &Shape<'_>) -> Option<(MessageRole, Vec<Block>)> {
    let content = || shape.content.map(|content| pieces(text, content)).unwrap_or_default();
    match string(shape.role)?.as_str() {
        "system" | "developer" => Some((MessageRole::System, content())),
        "user" => Some((MessageRole::User, content())),
        "assistant" => {
            let mut blocks = content();
            blocks.extend(shape.refusal.and_then(refusal));
            blocks.extend(shape.function_call.filter(|call| call.get() != "null").and_then(|call| kept(text, call)));
            blocks.extend(calls(text, shape.tool_calls));
            Some((MessageRole::Assistant, blocks))
        }
        "tool" => Some((MessageRole::User, result(text, shape).into_iter().collect())),
        _ => None,
    }
}

/// A refusal that stands beside the content, as the part that it would be within it.
fn refusal(raw: &RawValue) -> Option<Block> {
    #[derive(serde::Serialize)]
    struct Refusal {
        #[serde(rename = "type")]
        kind: &'static str,
        refusal: String,
    }
    let whole = Json::of(&Refusal { kind: "refusal", refusal: named(Some(raw))? }).ok()?;
    Some(Block { part: MessagePart::Custom(whole.clone()), cuts: Vec::new(), whole })
}

fn kept(text: &str, raw: &RawValue) -> Option<Block> {
    let whole = Json::parse(raw.get()).ok()?;
    Some(Block { part: MessagePart::Custom(whole.clone()), cuts: vec![span(text, raw)?], whole })
}

fn calls(text: &str, list: Option<&RawValue>) -> Vec<Block> {
    let list: Vec<&RawValue> = list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    let mut called: HashSet<String> = HashSet::new();
    let block = |raw: &RawValue| {
        // A call stands once in a message.
        let known = call(text, raw).filter(
            |block| !matches!(&block.part, MessagePart::ToolCall(call) if !called.insert(call.call_id.clone())),
        );
        known.or_else(|| kept(text, raw))
    };
    list.into_iter().filter_map(block).collect()
}

fn call(text: &str, raw: &RawValue) -> Option<Block> {
    let call: Call<'_> =
        Some(raw.get()).filter(|raw| raw.starts_with('{')).and_then(|raw| serde_json::from_str(raw).ok())?;
    let function = call.function?;
    let arguments = function.arguments.and_then(|raw| Some((string(Some(raw))?, span(text, raw)?)));
    let (input, cuts) = match arguments {
        Some((arguments, at)) if !arguments.trim().is_empty() => {
            let input = Json::parse(&arguments).ok().or_else(|| Json::of(&arguments).ok())?;
            (input, vec![at])
        }
        // None, or empty ones.
        Some(_) => (Json::parse("{}").ok()?, Vec::new()),
        None if function.arguments.is_none() => (Json::parse("{}").ok()?, Vec::new()),
        None => return None,
    };
    let part = ToolCall { call_id: named(call.id)?, name: string(function.name)?, input };
    Some(Block { part: MessagePart::ToolCall(part), cuts, whole: Json::parse(raw.get()).ok()? })
}

fn result(text: &str, shape: &Shape<'_>) -> Option<Block> {
    let (content, cuts) = match shape.content.filter(|content| content.get() != "null") {
        Some(raw) => (tool_content(raw)?, vec![span(text, raw)?]),
        None => (ToolContent::Text(String::new()), Vec::new()),
    };
    let result = ToolResult { call_id: named(shape.tool_call_id)?, content, is_error: false };
    let part = MessagePart::ToolResult(result);
    Some(Block { part, cuts, whole: Json::parse(text).ok()? })
}

/// A text with nothing beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainText {
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

fn tool_content(raw: &RawValue) -> Option<ToolContent> {
    if let Some(text) = string(Some(raw)) {
        return Some(ToolContent::Text(text));
    }
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    let part = |raw: &RawValue| match serde_json::from_str::<PlainText>(raw.get()) {
        Ok(plain) if plain.kind == "text" && raw.get().starts_with('{') => Some(MessagePart::Text(plain.text)),
        _ => Json::parse(raw.get()).ok().map(MessagePart::Custom),
    };
    Some(ToolContent::Parts(list.into_iter().map(part).collect::<Option<_>>()?))
}

/// What a part holds, as the JSON that stood in the line.
pub(super) fn values(part: &MessagePart) -> Vec<String> {
    match part {
        MessagePart::Text(text) => vec![quoted(text)],
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
        MessagePart::Text(text) => format!(r#"{{"type":"text","text":{}}}"#, quoted(text)),
        MessagePart::Custom(json) => json.as_str().to_owned(),
        _ => "null".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
