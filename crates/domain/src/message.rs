//! What is said: messages, their parts and what is known about them.
//!
//! Must not know: where a message stands in a log, or how a provider spells it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::value::RawValue;

use crate::json::Json;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// Instructions.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// The answer of a tool.
    Tool,
}

/// One message: a role, its parts in order, and what is known about it.
///
/// ```
/// use sessions_domain::{Message, MessagePart};
/// let question = Message::user("Why does E0502 happen?");
/// assert_eq!(question.text(), "Why does E0502 happen?");
/// let call = MessagePart::tool_call("call-1", "read_file", r#"{"path":"src/lib.rs"}"#).unwrap();
/// let asks = Message::assistant("I look.").with(call);
/// assert_eq!(asks.calls().count(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said, in order.
    pub parts: Vec<MessagePart>,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "MessageMetadata::is_empty")]
    pub metadata: MessageMetadata,
}

impl Message {
    /// A message of one text part.
    pub fn text_of(role: MessageRole, text: impl Into<String>) -> Self {
        Self { role, parts: vec![MessagePart::text(text)], metadata: MessageMetadata::default() }
    }

    /// Instructions.
    pub fn system(text: impl Into<String>) -> Self {
        Self::text_of(MessageRole::System, text)
    }

    /// What a person says.
    pub fn user(text: impl Into<String>) -> Self {
        Self::text_of(MessageRole::User, text)
    }

    /// What the model says.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::text_of(MessageRole::Assistant, text)
    }

    /// The answer to one tool call.
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<String>) -> Self {
        let part = MessagePart::ToolResult(ToolResult {
            call_id: call_id.into(),
            content: ToolContent::Text(content.into()),
            is_error: false,
        });
        Self { role: MessageRole::Tool, parts: vec![part], metadata: MessageMetadata::default() }
    }

    /// The same message with one part more.
    #[must_use]
    pub fn with(mut self, part: MessagePart) -> Self {
        self.parts.push(part);
        self
    }

    /// The text parts, joined by newlines.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| if let MessagePart::Text(text) = part { Some(text.as_str()) } else { None })
            .collect();
        texts.join("\n")
    }

    /// The tool calls of the message, in order.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| if let MessagePart::ToolCall(call) = part { Some(call) } else { None })
    }

    /// The tool results of the message, in order.
    pub fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.parts
            .iter()
            .filter_map(|part| if let MessagePart::ToolResult(result) = part { Some(result) } else { None })
    }
}

/// A request of the model to run a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Pairs the call with its result.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as the model wrote them.
    pub input: Json,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call that is answered.
    pub call_id: String,
    /// The answer.
    pub content: ToolContent,
    /// True when the tool failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// The content of a tool result: a text, or parts.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolContent {
    /// A text.
    Text(String),
    /// Parts (text, files, custom).
    Parts(Vec<MessagePart>),
}

/// A file by reference: an image, audio, a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// The media type, as in `image/png`.
    pub media_type: String,
    /// A name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An artifact of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Where it lies otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MessagePart {
    /// Text.
    Text(String),
    /// The model's reasoning, with the provider's opaque signature.
    Reasoning {
        /// The text, which may be empty when the provider hides it.
        text: String,
        /// What the provider wants back unchanged.
        signature: Option<String>,
    },
    /// A request to run a tool.
    ToolCall(ToolCall),
    /// The answer of a tool.
    ToolResult(ToolResult),
    /// A file.
    File(FileRef),
    /// Something went wrong while the message was made.
    Error {
        /// What went wrong.
        message: String,
        /// The provider's or the host's code for it.
        code: Option<String>,
    },
    /// Anything else, kept to the letter: a JSON object whose `type` is not one of ours.
    Custom(Json),
}

impl MessagePart {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A tool call with its arguments as JSON text.
    ///
    /// # Errors
    /// [`crate::InvalidJson`] when `input` is no JSON or nests too deep.
    pub fn tool_call(
        call_id: impl Into<String>,
        name: impl Into<String>,
        input: &str,
    ) -> Result<Self, crate::InvalidJson> {
        let input = Json::parse(input)?;
        Ok(Self::ToolCall(ToolCall { call_id: call_id.into(), name: name.into(), input }))
    }

    /// The name of the part's type, as in its JSON.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Reasoning { .. } => "reasoning",
            Self::ToolCall(_) => "tool-call",
            Self::ToolResult(_) => "tool-result",
            Self::File(_) => "file",
            Self::Error { .. } => "error",
            Self::Custom(_) => "custom",
        }
    }
}

/// The JSON of the parts that have names of their own. The tag is read first and the rest from the same text, because
/// serde's tagged enums would buffer, which loses raw JSON.
#[derive(Serialize, Deserialize)]
struct TextBody<T> {
    text: T,
}
#[derive(Serialize, Deserialize)]
struct ReasoningBody {
    text: String,
    #[serde(default)]
    signature: Option<String>,
}
#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default)]
    code: Option<String>,
}
#[derive(Deserialize)]
struct CustomBody {
    value: Json,
}

impl Serialize for MessagePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Custom(json) = self {
            return if is_foreign_object(json) { json.serialize(serializer) } else { wrapped(json, serializer) };
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.type_name())?;
        match self {
            Self::Text(text) => map.serialize_entry("text", text)?,
            Self::Reasoning { text, signature } => {
                map.serialize_entry("text", text)?;
                if let Some(signature) = signature {
                    map.serialize_entry("signature", signature)?;
                }
            }
            Self::ToolCall(call) => {
                map.serialize_entry("call_id", &call.call_id)?;
                map.serialize_entry("name", &call.name)?;
                map.serialize_entry("input", &call.input)?;
            }
            Self::ToolResult(result) => {
                map.serialize_entry("call_id", &result.call_id)?;
                map.serialize_entry("content", &result.content)?;
                if result.is_error {
                    map.serialize_entry("is_error", &true)?;
                }
            }
            Self::File(file) => {
                map.serialize_entry("media_type", &file.media_type)?;
                let optional = [("name", &file.name), ("artifact", &file.artifact), ("url", &file.url)];
                for (name, value) in optional {
                    if let Some(value) = value {
                        map.serialize_entry(name, value)?;
                    }
                }
            }
            Self::Error { message, code } => {
                map.serialize_entry("message", message)?;
                if let Some(code) = code {
                    map.serialize_entry("code", code)?;
                }
            }
            Self::Custom(_) => {}
        }
        map.end()
    }
}

const OUR_TYPES: [&str; 7] = ["text", "reasoning", "tool-call", "tool-result", "file", "error", "custom"];

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, rename = "type")]
    name: std::borrow::Cow<'a, str>,
}

/// True for an object that says a `type` which is not one of ours: it can stand as it is.
fn is_foreign_object(json: &Json) -> bool {
    json.decode::<Tag<'_>>().is_ok_and(|tag| !OUR_TYPES.contains(&&*tag.name))
}

fn wrapped<S: Serializer>(json: &Json, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("type", "custom")?;
    map.serialize_entry("value", json)?;
    map.end()
}

impl<'de> Deserialize<'de> for MessagePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        part_of(raw.get()).map_err(de::Error::custom)
    }
}

fn part_of(text: &str) -> Result<MessagePart, serde_json::Error> {
    let tag: Tag<'_> = serde_json::from_str(text)
        .map_err(|_| <serde_json::Error as de::Error>::custom("a part is an object with a `type`"))?;
    Ok(match &*tag.name {
        "text" => MessagePart::Text(serde_json::from_str::<TextBody<String>>(text)?.text),
        "reasoning" => {
            let body: ReasoningBody = serde_json::from_str(text)?;
            MessagePart::Reasoning { text: body.text, signature: body.signature }
        }
        "tool-call" => MessagePart::ToolCall(serde_json::from_str(text)?),
        "tool-result" => MessagePart::ToolResult(serde_json::from_str(text)?),
        "file" => MessagePart::File(serde_json::from_str(text)?),
        "error" => {
            let body: ErrorBody = serde_json::from_str(text)?;
            MessagePart::Error { message: body.message, code: body.code }
        }
        "custom" => match serde_json::from_str::<CustomBody>(text) {
            Ok(body) => MessagePart::Custom(body.value),
            Err(_) => MessagePart::Custom(serde_json::from_str(text)?),
        },
        _ => MessagePart::Custom(serde_json::from_str(text)?),
    })
}

impl Serialize for ToolContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Parts(parts) => parts.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ToolContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if text.starts_with('"') {
            serde_json::from_str(text).map(Self::Text).map_err(de::Error::custom)
        } else {
            serde_json::from_str(text)
                .map(Self::Parts)
                .map_err(|_| de::Error::custom("the content of a tool result is a string or a list of parts"))
        }
    }
}

/// Tokens of one call to a model, as the provider reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens that were sent and not read from a cache.
    #[serde(default)]
    pub input: u64,
    /// Tokens that came back.
    #[serde(default)]
    pub output: u64,
    /// Tokens read from the provider's cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Tokens written to the provider's cache, for as long as it keeps them unless it is told otherwise.
    #[serde(default)]
    pub cache_write: u64,
    /// Tokens written to it for an hour, where the provider tells them apart. They are none of `cache_write`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cache_write_long: u64,
    /// Tokens of hidden reasoning, where the provider tells them apart.
    #[serde(default)]
    pub reasoning: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
const fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl TokenUsage {
    /// Tokens written to the provider's cache, for however long.
    pub const fn cache_written(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_long)
    }

    /// The sum of two usages, without overflow.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_long: self.cache_write_long.saturating_add(other.cache_write_long),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// What is known about a message. Everything is optional; what is not known is not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageMetadata {
    /// Tokens of the call that made the message. Counted once per call, however many messages it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// True when nobody reported these tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it cost, as a decimal number with its currency (`0.0123 USD`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Who wrote it, where that is not the actor of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Ties messages of one piece of work together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What caused the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Why the model stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// When the message was made, where that is not when it was appended (imported times are data). RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<String>,
    /// The host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Json>,
}

impl MessageMetadata {
    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(json: &str) -> MessagePart {
        let part: MessagePart = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&part).unwrap(), json);
        part
    }

    #[test]
    fn every_part_keeps_its_json_to_the_letter() {
        for json in [
            r#"{"type":"text","text":"a\u001b[31m"}"#,
            r#"{"type":"reasoning","text":"hm","signature":"abc="}"#,
            r#"{"type":"reasoning","text":""}"#,
            r#"{"type":"tool-call","call_id":"c","name":"n","input":{"z":1.0,"a":[1e400]}}"#,
            r#"{"type":"tool-result","call_id":"c","content":"ok"}"#,
            r#"{"type":"tool-result","call_id":"c","content":[{"type":"text","text":"x"}],"is_error":true}"#,
            r#"{"type":"file","media_type":"image/png","name":"a.png","url":"https://example.org/a.png"}"#,
            r#"{"type":"error","message":"overloaded","code":"529"}"#,
        ] {
            assert_ne!(round_trip(json).type_name(), "custom");
        }
        assert_eq!(round_trip(r#"{"type":"server_tool_use","b":1.50,"a":2}"#).type_name(), "custom");
        assert_eq!(round_trip(r#"{"type":"custom","value":[1,2.0]}"#).type_name(), "custom");
    }

    #[test]
    fn a_custom_part_that_claims_one_of_our_types_is_wrapped() {
        let part = MessagePart::Custom(Json::parse(r#"{"type":"text","wrong":1}"#).unwrap());
        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(json, r#"{"type":"custom","value":{"type":"text","wrong":1}}"#);
        assert_eq!(serde_json::from_str::<MessagePart>(&json).unwrap(), part);
    }

    #[test]
    fn usage_from_before_writes_for_an_hour_reads_and_is_written_as_it_was() {
        let before = r#"{"input":1,"output":2,"cache_read":3,"cache_write":4,"reasoning":5}"#;
        let usage: TokenUsage = serde_json::from_str(before).unwrap();
        assert_eq!((usage.cache_write_long, usage.cache_written()), (0, 4));
        assert_eq!(serde_json::to_string(&usage).unwrap(), before);
        let long = TokenUsage { cache_write_long: 6, ..usage };
        let json = r#"{"input":1,"output":2,"cache_read":3,"cache_write":4,"cache_write_long":6,"reasoning":5}"#;
        assert_eq!(serde_json::to_string(&long).unwrap(), json);
        assert_eq!(serde_json::from_str::<TokenUsage>(json).unwrap(), long);
        assert_eq!((long.plus(long).cache_write_long, long.cache_written()), (12, 10));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for json in [r#"{"text":"no type"}"#, "[]", "3", r#"{"type":"text"}"#, r#"{"type":"text","text":"\ud800"}"#] {
            assert!(serde_json::from_str::<MessagePart>(json).is_err(), "{json}");
        }
    }
}
