//! Messages as new lines of a Codex rollout.
//!
//! What a terminal shows of a session are events, so a person's and the model's texts are told a second time as such.
//!
//! Must not know: where the lines go.

use std::collections::HashSet;

use sessions_domain::{Json, Message, MessagePart, MessageRole, TokenUsage, ToolContent};

use crate::transfer::foreign::{
    object::{Object, list, text_of},
    writer::{About, Said, Writer, in_words, pieces},
};

/// Writes lines that the program takes up again.
#[derive(Default)]
pub(in super::super) struct CodexWriter {
    /// Calls whose input is a text.
    with_text: HashSet<String>,
    total: TokenUsage,
}

impl Writer for CodexWriter {
    fn beginning(&mut self, about: &About) -> Vec<String> {
        let at = about.created.to_string();
        let meta = Object::new()
            .put("id", &about.session)
            .put("timestamp", &at)
            .put("cwd", &about.cwd)
            .put("originator", "sessions")
            .put("cli_version", env!("CARGO_PKG_VERSION"))
            .put("source", "cli")
            .put("model_provider", about.provider.as_deref().unwrap_or("openai"))
            .end();
        vec![line(&at, "session_meta", &meta)]
    }

    fn learn(&mut self, message: &Message) {
        let texts = message.calls().filter(|call| call.input.as_str().starts_with('"'));
        self.with_text.extend(texts.map(|call| call.call_id.clone()));
    }

    fn message(&mut self, about: &About, said: &Said<'_>, id: &str, _: Option<&str>) -> (Vec<String>, String) {
        let at = said.at.to_string();
        let mut lines = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for part in &said.message.parts {
            let is_text =
                !matches!(part, MessagePart::ToolCall(_) | MessagePart::ToolResult(_) | MessagePart::Reasoning { .. });
            if !is_text || is_item(part) {
                self.say(&mut lines, &at, said.message.role, &mut texts);
                lines.extend(self.item(part, said).map(|item| line(&at, "response_item", &item)));
            } else {
                texts.extend(in_words(part));
            }
        }
        self.say(&mut lines, &at, said.message.role, &mut texts);
        if let Some(usage) = said.metadata().usage {
            lines.push(self.counted(&at, usage));
        }
        if said.message.role == MessageRole::User
            && let Some(model) = &about.model
        {
            let context = Object::new().put("cwd", &about.cwd).put("model", model).end();
            lines.push(line(&at, "turn_context", &context));
        }
        (lines, id.to_owned())
    }

    fn pointer(&mut self, _: &About, _: &str, _: Option<&str>) -> Option<String> {
        None
    }

    fn id_of(&self, _: &[u8]) -> Option<String> {
        None
    }
}

fn line(at: &str, kind: &str, payload: &str) -> String {
    Object::new().put("timestamp", at).put("type", kind).raw("payload", payload).end()
}

/// True for what was an item of the model in a file of this format.
fn is_item(part: &MessagePart) -> bool {
    let MessagePart::Custom(json) = part else { return false };
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    json.decode::<Typed>().is_ok_and(|typed| super::block::is_models_own(&typed.kind))
}

impl CodexWriter {
    /// The texts so far as one message.
    fn say(&mut self, lines: &mut Vec<String>, at: &str, role: MessageRole, texts: &mut Vec<String>) {
        if texts.is_empty() {
            return;
        }
        let (role, kind) = match role {
            MessageRole::System => ("developer", "input_text"),
            MessageRole::Assistant => ("assistant", "output_text"),
            MessageRole::User | MessageRole::Tool => ("user", "input_text"),
        };
        let content: Vec<String> =
            texts.iter().map(|text| Object::new().put("type", kind).put("text", text).end()).collect();
        let item = Object::new().put("type", "message").put("role", role).raw("content", &list(&content)).end();
        let told = match role {
            "user" => Some("user_message"),
            "assistant" => Some("agent_message"),
            _ => None,
        };
        let told = told.map(|kind| Object::new().put("type", kind).put("message", &texts.join("\n")).end());
        let item = line(at, "response_item", &item);
        let told = told.map(|event| line(at, "event_msg", &event));
        if role == "user" {
            lines.extend([Some(item), told].into_iter().flatten());
        } else {
            lines.extend([told, Some(item)].into_iter().flatten());
        }
        texts.clear();
    }

    fn item(&mut self, part: &MessagePart, said: &Said<'_>) -> Option<String> {
        match part {
            // What only the provider can read is worth something to that provider.
            MessagePart::Reasoning { text, signature } => {
                let metadata = said.metadata();
                let is_its_own = metadata.provider.as_deref().is_none_or(|provider| provider == "openai")
                    && !metadata.model.as_deref().unwrap_or_default().contains("claude");
                let signature = signature.as_ref().filter(|_| is_its_own)?;
                let summary = Object::new().put("type", "summary_text").put("text", text).end();
                let summary = if text.is_empty() { Vec::new() } else { vec![summary] };
                let item =
                    Object::new().put("type", "reasoning").raw("summary", &list(&summary)).raw("content", "null");
                Some(item.put("encrypted_content", signature).end())
            }
            MessagePart::ToolCall(call) => {
                let input: &Json = &call.input;
                if input.as_str().starts_with('"') {
                    self.with_text.insert(call.call_id.clone());
                    let item = Object::new().put("type", "custom_tool_call").put("status", "completed");
                    return Some(item.put("call_id", &call.call_id).put("name", &call.name).put("input", input).end());
                }
                let item = Object::new().put("type", "function_call").put("name", &call.name);
                Some(item.put("arguments", input.as_str()).put("call_id", &call.call_id).end())
            }
            MessagePart::ToolResult(result) => {
                let kind = if self.with_text.contains(&result.call_id) {
                    "custom_tool_call_output"
                } else {
                    "function_call_output"
                };
                let output = match &result.content {
                    ToolContent::Text(text) => text_of(text),
                    parts @ ToolContent::Parts(_) => {
                        let text = |text: &str| Object::new().put("type", "input_text").put("text", text).end();
                        let spell = |piece: Result<String, &str>| match piece {
                            Ok(said) => text(&said),
                            Err(json) if json.contains("\"input_image\"") => json.to_owned(),
                            Err(json) => text(json),
                        };
                        list(&pieces(parts).into_iter().map(spell).collect::<Vec<_>>())
                    }
                };
                let item = Object::new().put("type", kind).put("call_id", &result.call_id);
                Some(item.raw("output", &output).end())
            }
            MessagePart::Custom(json) => Some(json.as_str().to_owned()),
            _ => None,
        }
    }

    /// Tokens are told as totals.
    fn counted(&mut self, at: &str, usage: TokenUsage) -> String {
        self.total = self.total.plus(usage);
        let tokens = |usage: TokenUsage| {
            let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_written());
            Object::new()
                .put("input_tokens", &input)
                .put("cached_input_tokens", &usage.cache_read)
                .put("output_tokens", &usage.output)
                .put("reasoning_output_tokens", &usage.reasoning)
                .put("total_tokens", &input.saturating_add(usage.output))
                .end()
        };
        let info = Object::new()
            .raw("total_token_usage", &tokens(self.total))
            .raw("last_token_usage", &tokens(usage))
            .raw("model_context_window", "null")
            .end();
        let event = Object::new().put("type", "token_count").raw("info", &info).raw("rate_limits", "null").end();
        line(at, "event_msg", &event)
    }

    /// A writer that goes on behind a file with these totals.
    pub(in super::super) fn behind(usage: TokenUsage) -> Self {
        Self { total: usage, ..Self::default() }
    }
}
