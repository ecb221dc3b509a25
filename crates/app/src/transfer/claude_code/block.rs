//! The blocks of a message's content as parts, with the place of what each part holds in the line's text.
//!
//! Must not know: which message a part ends up in.

use std::{collections::HashSet, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult};

use crate::transfer::foreign::line::{Block, span, string};

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
}

/// The blocks of a content, which is a string or a list. None for an empty one, and for what is neither.
pub(in super::super) fn blocks(text: &str, content: &RawValue, role: MessageRole) -> Vec<Block> {
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(content.get()) {
        let mut blocks: Vec<Block> = Vec::new();
        let mut named: HashSet<String> = HashSet::new();
        for raw in list {
            let Some(at) = span(text, raw) else { return Vec::new() };
            let Ok(whole) = Json::parse(raw.get()) else { return Vec::new() };
            let known = known_block(text, raw, role).filter(|(part, _)| match part {
                // A call or a result stands once in a content.
                MessagePart::ToolCall(ToolCall { call_id, .. })
                | MessagePart::ToolResult(ToolResult { call_id, .. }) => named.insert(call_id.clone()),
                _ => true,
            });
            let (part, cuts) = known.unwrap_or_else(|| (MessagePart::Custom(whole.clone()), vec![at]));
            blocks.push(Block { part, cuts, whole });
        }
        return blocks;
    }
    let said = string(Some(content)).filter(|said| !said.is_empty());
    match (said, span(text, content), Json::parse(content.get())) {
        (Some(said), Some(at), Ok(whole)) => {
            vec![Block { part: MessagePart::Text(said), cuts: vec![at.clone()], whole }]
        }
        _ => Vec::new(),
    }
}

fn known_block(text: &str, raw: &RawValue, role: MessageRole) -> Option<(MessagePart, Vec<Range<usize>>)> {
    let shape: Shape<'_> =
        Some(raw.get()).filter(|raw| raw.starts_with('{')).and_then(|raw| serde_json::from_str(raw).ok())?;
    let is_model = role == MessageRole::Assistant;
    let named = |raw| string(raw).filter(|name| !name.is_empty());
    match string(shape.kind)?.as_str() {
        "text" => Some((MessagePart::Text(string(shape.text)?), vec![span(text, shape.text?)?])),
        "thinking" if is_model => {
            let signature = string(shape.signature);
            let mut cuts = vec![span(text, shape.thinking?)?];
            if let (Some(_), Some(raw)) = (&signature, shape.signature) {
                cuts.push(span(text, raw)?);
            }
            Some((MessagePart::Reasoning { text: string(shape.thinking)?, signature }, cuts))
        }
        "tool_use" if is_model => {
            let input = Json::parse(shape.input.map_or("{}", RawValue::get)).ok()?;
            let cuts = shape.input.map(|raw| span(text, raw)).map_or(Some(Vec::new()), |at| Some(vec![at?]))?;
            let call = ToolCall { call_id: named(shape.id)?, name: string(shape.name)?, input };
            Some((MessagePart::ToolCall(call), cuts))
        }
        "tool_result" if !is_model => {
            let (content, cuts) = match shape.content {
                None => (ToolContent::Text(String::new()), Vec::new()),
                Some(raw) => (tool_content(raw)?, vec![span(text, raw)?]),
            };
            let is_error = shape.is_error.is_some_and(|raw| raw.get() == "true");
            let result = ToolResult { call_id: named(shape.tool_use_id)?, content, is_error };
            Some((MessagePart::ToolResult(result), cuts))
        }
        _ => None,
    }
}

/// A text block with nothing beside its text.
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
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match part {
        MessagePart::Text(text) => vec![quoted(text)],
        MessagePart::Reasoning { text, signature } => {
            [Some(text), signature.as_ref()].into_iter().flatten().map(|text| quoted(text)).collect()
        }
        MessagePart::ToolCall(call) => vec![call.input.as_str().to_owned()],
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
        MessagePart::Text(text) => format!(r#"{{"type":"text","text":{}}}"#, serde_json::Value::from(text.as_str())),
        MessagePart::Custom(json) => json.as_str().to_owned(),
        _ => "null".to_owned(),
    }
}
