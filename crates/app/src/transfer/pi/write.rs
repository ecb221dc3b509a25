//! Messages as new lines of a session of pi.
//!
//! Must not know: where the lines go.

use serde::Deserialize;
use sessions_domain::{Message, MessagePart, MessageRole, ToolResult};

use crate::transfer::foreign::{
    object::{Object, list},
    writer::{About, Said, Tools, Writer, in_words, pieces},
};

/// The version that is written.
const VERSION: u64 = 3;

/// Writes lines that the program takes up again.
#[derive(Default)]
pub(in super::super) struct PiWriter {
    tools: Tools,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Writer for PiWriter {
    fn beginning(&mut self, about: &About) -> Vec<String> {
        let header = Object::new()
            .put("type", "session")
            .put("version", &VERSION)
            .put("id", &about.session)
            .put("timestamp", &about.created.to_string())
            .put("cwd", &about.cwd);
        vec![header.end()]
    }

    fn learn(&mut self, message: &Message) {
        self.tools.learn(message);
    }

    fn message(&mut self, about: &About, said: &Said<'_>, id: &str, parent: Option<&str>) -> (Vec<String>, String) {
        self.tools.learn(said.message);
        let millis = said.at.as_millis();
        let spoken = |role: &str| {
            let content: Vec<String> = said.message.parts.iter().filter_map(block).collect();
            Object::new().put("role", role).raw("content", &list(&content))
        };
        let messages: Vec<String> = match said.message.role {
            MessageRole::Tool => {
                said.message.results().map(|result| self.result(result).put("timestamp", &millis).end()).collect()
            }
            MessageRole::Assistant => vec![answer(spoken("assistant"), about, said).put("timestamp", &millis).end()],
            MessageRole::User => vec![spoken("user").put("timestamp", &millis).end()],
            MessageRole::System => {
                let content: Vec<String> = said.message.parts.iter().filter_map(block).collect();
                let line = entry("custom_message", id, parent, said).put("customType", "system");
                let line = line.raw("content", &list(&content)).put("display", &false).end();
                return (vec![line], id.to_owned());
            }
        };
        let (mut lines, mut last) = (Vec::new(), parent.map(str::to_owned));
        let count = messages.len();
        for (at, message) in messages.into_iter().enumerate() {
            // Of several results each is a line, and the last bears the message's id.
            let own = if at + 1 == count { id.to_owned() } else { format!("{id}-{at}") };
            lines.push(entry("message", &own, last.as_deref(), said).raw("message", &message).end());
            last = Some(own);
        }
        (lines, last.unwrap_or_else(|| id.to_owned()))
    }

    fn pointer(&mut self, about: &About, id: &str, parent: Option<&str>) -> Option<String> {
        let line = Object::new().put("type", "custom").put("id", id).put("parentId", &parent);
        Some(line.put("timestamp", &about.created.to_string()).put("customType", "sessions-head").end())
    }

    fn id_of(&self, line: &[u8]) -> Option<String> {
        serde_json::from_slice::<Named>(line).ok().filter(|named| named.kind != "session").map(|named| named.id)
    }
}

impl PiWriter {
    fn result(&self, result: &ToolResult) -> Object {
        let spell = |piece: Result<String, &str>| match piece {
            Ok(text) => text_block(&text),
            Err(json) => known_or_text(json),
        };
        let content: Vec<String> = pieces(&result.content).into_iter().map(spell).collect();
        Object::new()
            .put("role", "toolResult")
            .put("toolCallId", &result.call_id)
            .put("toolName", self.tools.name(&result.call_id))
            .raw("content", &list(&content))
            .put("isError", &result.is_error)
    }
}

fn entry(kind: &str, id: &str, parent: Option<&str>, said: &Said<'_>) -> Object {
    let line = Object::new().put("type", kind).put("id", id).put("parentId", &parent);
    line.put("timestamp", &said.at.to_string())
}

fn answer(message: Object, about: &About, said: &Said<'_>) -> Object {
    let (metadata, usage) = (said.metadata(), said.usage());
    let model = metadata.model.as_ref().or(about.model.as_ref()).map_or("unknown", String::as_str);
    let provider = metadata.provider.as_ref().or(about.provider.as_ref()).map_or("unknown", String::as_str);
    let cost = metadata.cost.as_deref().and_then(|cost| cost.strip_suffix(" USD"));
    let cost = cost.filter(|cost| cost.parse::<f64>().is_ok_and(f64::is_finite)).unwrap_or("0");
    let parts = Object::new().put("input", &0).put("output", &0).put("cacheRead", &0).put("cacheWrite", &0);
    let total =
        usage.input.saturating_add(usage.output).saturating_add(usage.cache_read).saturating_add(usage.cache_written());
    let usage = Object::new()
        .put("input", &usage.input)
        .put("output", &usage.output)
        .put("cacheRead", &usage.cache_read)
        .put("cacheWrite", &usage.cache_written())
        .put("totalTokens", &total)
        .raw("cost", &parts.raw("total", cost).end())
        .end();
    let calls = said.message.calls().next().is_some();
    let error = said.message.parts.iter().find_map(|part| match part {
        MessagePart::Error { message, .. } => Some(message),
        _ => None,
    });
    let reason = if error.is_some() {
        "error"
    } else if calls {
        "toolUse"
    } else {
        "stop"
    };
    message
        .put("api", if provider == "openai" { "openai-responses" } else { "anthropic-messages" })
        .put("provider", provider)
        .put("model", model)
        .raw("usage", &usage)
        .put("stopReason", reason)
        .maybe("errorMessage", error)
}

fn text_block(text: &str) -> String {
    Object::new().put("type", "text").put("text", text).end()
}

fn block(part: &MessagePart) -> Option<String> {
    match part {
        MessagePart::Reasoning { text, signature } => {
            let block = Object::new().put("type", "thinking").put("thinking", text);
            Some(block.maybe("thinkingSignature", signature.as_ref()).end())
        }
        MessagePart::ToolCall(call) => {
            // Arguments are an object there.
            let input = call.input.as_str();
            let input = if input.starts_with('{') { input.to_owned() } else { Object::new().raw("input", input).end() };
            let block = Object::new().put("type", "toolCall").put("id", &call.call_id).put("name", &call.name);
            Some(block.raw("arguments", &input).end())
        }
        MessagePart::Custom(json) => Some(known_or_text(json.as_str())),
        MessagePart::Error { .. } | MessagePart::ToolResult(_) => None,
        other => in_words(other).map(|text| text_block(&text)),
    }
}

/// A block as it is, when it is an image as pi has it.
fn known_or_text(json: &str) -> String {
    let is_image = json.contains("\"image\"") && json.contains("\"mimeType\"");
    if is_image { json.to_owned() } else { text_block(json) }
}
