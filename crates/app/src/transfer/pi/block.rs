//! The blocks of a message's content as parts, with the place of what each part holds in the line's text.
//!
//! Must not know: which message a part ends up in.

use std::{collections::HashSet, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, ToolCall, ToolContent};

use crate::transfer::foreign::line::{Block, named, span, string};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking_signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The blocks of a content, which is a string or a list. None for an empty one, and for what is neither.
pub(super) fn blocks(text: &str, content: &RawValue, is_model: bool) -> Vec<Block> {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(content.get()) else {
        return said(text, content).into_iter().collect();
    };
    let mut called: HashSet<String> = HashSet::new();
    let block = |raw: &RawValue| {
        let whole = Json::parse(raw.get()).ok()?;
        let known = known_block(text, raw, is_model).filter(|(part, _)| match part {
            // A call stands once in a content.
            MessagePart::ToolCall(call) => called.insert(call.call_id.clone()),
            _ => true,
        });
        let (part, cuts) = match known {
            Some(known) => known,
            None => (MessagePart::Custom(whole.clone()), vec![span(text, raw)?]),
        };
        Some(Block { part, cuts, whole })
    };
    list.into_iter().map(block).collect::<Option<_>>().unwrap_or_default()
}

/// A string as a text.
pub(super) fn said(text: &str, raw: &RawValue) -> Option<Block> {
    let part = MessagePart::Text(named(Some(raw))?);
    Some(Block { part, cuts: vec![span(text, raw)?], whole: Json::parse(raw.get()).ok()? })
}

fn known_block(text: &str, raw: &RawValue, is_model: bool) -> Option<(MessagePart, Vec<Range<usize>>)> {
    let shape: Shape<'_> =
        Some(raw.get()).filter(|raw| raw.starts_with('{')).and_then(|raw| serde_json::from_str(raw).ok())?;
    match string(shape.kind)?.as_str() {
        "text" => Some((MessagePart::Text(string(shape.text)?), vec![span(text, shape.text?)?])),
        "thinking" if is_model => {
            let signature = string(shape.thinking_signature);
            let mut cuts = vec![span(text, shape.thinking?)?];
            if let (Some(_), Some(raw)) = (&signature, shape.thinking_signature) {
                cuts.push(span(text, raw)?);
            }
            Some((MessagePart::Reasoning { text: string(shape.thinking)?, signature }, cuts))
        }
        "toolCall" if is_model => {
            let input = Json::parse(shape.arguments.map_or("{}", RawValue::get)).ok()?;
            let cuts = shape.arguments.map(|raw| span(text, raw)).map_or(Some(Vec::new()), |at| Some(vec![at?]))?;
            let call = ToolCall { call_id: named(shape.id)?, name: string(shape.name)?, input };
            Some((MessagePart::ToolCall(call), cuts))
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

/// What a tool gave.
pub(super) fn tool_content(raw: &RawValue) -> Option<ToolContent> {
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
        MessagePart::Error { message, .. } => vec![quoted(message)],
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
        MessagePart::Text(text) => format!(r#"{{"type":"text","text":{}}}"#, quoted(text)),
        MessagePart::Custom(json) => json.as_str().to_owned(),
        _ => "null".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
