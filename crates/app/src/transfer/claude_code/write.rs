//! Messages as new lines of a Claude Code transcript.
//!
//! Must not know: where the lines go.

use serde::Deserialize;
use sessions_domain::{MessagePart, MessageRole, ToolContent};

use crate::transfer::foreign::{
    object::{Object, list, text_of},
    writer::{About, Said, Writer, in_words, pieces},
};

/// Writes lines that the program takes up again.
#[derive(Default)]
pub(in super::super) struct ClaudeCodeWriter;

#[derive(Deserialize)]
struct Named {
    uuid: String,
}

impl Writer for ClaudeCodeWriter {
    fn beginning(&mut self, about: &About) -> Vec<String> {
        let title = about.title.as_ref().map(|title| {
            Object::new().put("type", "custom-title").put("customTitle", title).put("sessionId", &about.session).end()
        });
        title.into_iter().collect()
    }

    fn learn(&mut self, _: &sessions_domain::Message) {}

    fn message(&mut self, about: &About, said: &Said<'_>, id: &str, parent: Option<&str>) -> (Vec<String>, String) {
        let is_answer = said.message.role == MessageRole::Assistant;
        let blocks: Vec<String> = said.message.parts.iter().filter_map(|part| block(part, said)).collect();
        let empty = || vec![text_block("")];
        let content = list(&if blocks.is_empty() { empty() } else { blocks });
        let inner = if is_answer {
            let usage = said.usage();
            let written = (usage.cache_write_long > 0).then(|| {
                Object::new()
                    .put("ephemeral_5m_input_tokens", &usage.cache_write)
                    .put("ephemeral_1h_input_tokens", &usage.cache_write_long)
                    .end()
            });
            let told = Object::new()
                .put("input_tokens", &usage.input)
                .put("cache_creation_input_tokens", &usage.cache_written())
                .put("cache_read_input_tokens", &usage.cache_read);
            let told = written.iter().fold(told, |told, written| told.raw("cache_creation", written));
            let usage = told.put("output_tokens", &usage.output).end();
            let model = said.metadata().model.as_ref().or(about.model.as_ref());
            Object::new()
                .put("id", &format!("msg_{}", id.replace('-', "")))
                .put("type", "message")
                .put("role", "assistant")
                .put("model", model.map_or("<synthetic>", String::as_str))
                .raw("content", &content)
                .put("stop_reason", &said.metadata().finish_reason)
                .raw("stop_sequence", "null")
                .raw("usage", &usage)
        } else {
            Object::new().put("role", "user").raw("content", &content)
        };
        let line = Object::new()
            .put("parentUuid", &parent)
            .put("isSidechain", &false)
            .put("userType", "external")
            .put("cwd", &about.cwd)
            .put("sessionId", &about.session)
            .put("version", env!("CARGO_PKG_VERSION"))
            .put("type", if is_answer { "assistant" } else { "user" })
            .raw("message", &inner.end())
            .maybe("isMeta", (said.message.role == MessageRole::System).then_some(&true))
            .put("uuid", id)
            .put("timestamp", &said.at.to_string())
            .end();
        (vec![line], id.to_owned())
    }

    fn pointer(&mut self, _: &About, _: &str, _: Option<&str>) -> Option<String> {
        None
    }

    fn id_of(&self, line: &[u8]) -> Option<String> {
        serde_json::from_slice::<Named>(line).ok().map(|named| named.uuid)
    }
}

fn text_block(text: &str) -> String {
    Object::new().put("type", "text").put("text", text).end()
}

fn block(part: &MessagePart, said: &Said<'_>) -> Option<String> {
    match part {
        MessagePart::Text(text) => Some(text_block(text)),
        // A signature is worth something to the provider that gave it, and thoughts without one to none.
        MessagePart::Reasoning { text, signature } => {
            let model = said.metadata().model.as_deref().unwrap_or_default();
            let signature = signature.as_ref().filter(|_| model.contains("claude"))?;
            let block = Object::new().put("type", "thinking").put("thinking", text).put("signature", signature);
            Some(block.end())
        }
        MessagePart::ToolCall(call) => {
            // An input is an object there.
            let input = call.input.as_str();
            let input = if input.starts_with('{') { input.to_owned() } else { Object::new().raw("input", input).end() };
            let block = Object::new().put("type", "tool_use").put("id", &call.call_id).put("name", &call.name);
            Some(block.raw("input", &input).end())
        }
        MessagePart::ToolResult(result) => {
            let content = match &result.content {
                ToolContent::Text(text) => text_of(text),
                parts @ ToolContent::Parts(_) => {
                    let spell = |piece: Result<String, &str>| match piece {
                        Ok(text) => text_block(&text),
                        Err(json) => known_or_text(json),
                    };
                    list(&pieces(parts).into_iter().map(spell).collect::<Vec<_>>())
                }
            };
            let block = Object::new().put("tool_use_id", &result.call_id).put("type", "tool_result");
            Some(block.raw("content", &content).maybe("is_error", result.is_error.then_some(&true)).end())
        }
        MessagePart::Custom(json) => Some(known_or_text(json.as_str())),
        other => in_words(other).map(|text| text_block(&text)),
    }
}

/// A block as it is, when the provider knows its type.
fn known_or_text(json: &str) -> String {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: &'a str,
        #[serde(borrow, default)]
        source: Option<&'a serde_json::value::RawValue>,
    }
    let typed: Option<Typed<'_>> =
        Some(json).filter(|json| json.starts_with('{')).and_then(|json| serde_json::from_str(json).ok());
    let is_known = typed.is_some_and(|typed| matches!(typed.kind, "image" | "document") && typed.source.is_some());
    if is_known { json.to_owned() } else { text_block(json) }
}
