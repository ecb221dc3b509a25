//! Answers in the form of Anthropic's messages.
//!
//! Source: the API's description of streaming. Events and deltas that are not known are passed over, as it asks; blocks that are not known are kept, with
//! what their deltas add to them. What a text cites is kept behind the text, as a part of the type `citations`.
//!
//! Must not know: how frames come.

use serde::Deserialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use sessions_domain::{MessagePart, TokenUsage};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent, ModelStop};

use super::{
    decoder::{MOST_CALLS, MOST_OF_INPUT, Object, broken, call, count, custom, name, text},
    failure,
};

const NO_EVENT: &str = "an event of it is no JSON";
/// The most blocks that are open at once. They come one after the other.
const MOST_OPEN: usize = 128;

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(default)]
    index: Option<Value>,
    #[serde(borrow, default)]
    message: Option<Begun<'a>>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Begun<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Block<'a> {
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
    citations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
}

/// A block that has begun and not ended.
enum Open {
    Text { cites: Vec<String> },
    Thinking { signature: Option<String> },
    Call { id: String, name: String, begun: String, input: String },
    Other { raw: String, text: String, input: String },
}

/// What goes on with what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Text(u64),
    Thinking(u64),
}

/// What came so far.
pub(super) struct Anthropic {
    open: Vec<(u64, Open)>,
    last: Option<Flow>,
    calls: usize,
    /// The input of a call was no JSON.
    has_broken_call: bool,
    reason: Option<String>,
    usage: Usage,
    model: Option<String>,
    id: Option<String>,
    has_begun: bool,
    is_over: bool,
}

#[derive(Default)]
struct Usage {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_long: Option<u64>,
    reasoning: Option<u64>,
}

impl Usage {
    /// What is said later stands for what was said before, figure by figure: they are sums already.
    fn take(&mut self, said: &Value) {
        let newest = |name: &str, before: Option<u64>| count(said.get(name)).or(before);
        self.input = newest("input_tokens", self.input);
        self.output = newest("output_tokens", self.output);
        self.cache_read = newest("cache_read_input_tokens", self.cache_read);
        self.cache_write = newest("cache_creation_input_tokens", self.cache_write);
        let kept = said.get("cache_creation");
        let long = count(kept.and_then(|kept| kept.get("ephemeral_1h_input_tokens")));
        self.cache_write_long = long.or(self.cache_write_long);
        let details = said.get("output_tokens_details");
        self.reasoning = count(details.and_then(|details| details.get("thinking_tokens"))).or(self.reasoning);
    }

    fn whole(&self) -> Option<TokenUsage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let written = self.cache_write.unwrap_or(0);
        let cache_write_long = self.cache_write_long.unwrap_or(0).min(written);
        Some(TokenUsage {
            input: self.input.unwrap_or(0),
            output: self.output.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: written - cache_write_long,
            cache_write_long,
            reasoning: self.reasoning.unwrap_or(0),
        })
    }
}

impl Anthropic {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            last: None,
            calls: 0,
            has_broken_call: false,
            reason: None,
            usage: Usage::default(),
            model: None,
            id: None,
            has_begun: false,
            is_over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn take(&mut self, data: &str, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let said: Said<'_> = serde_json::from_str(data).map_err(broken(NO_EVENT))?;
        let index = said.index.as_ref().and_then(Value::as_u64).unwrap_or(0);
        match text(said.kind).as_deref() {
            Some("message_start") => {
                self.has_begun = true;
                if let Some(begun) = said.message {
                    (self.id, self.model) = (name(begun.id), name(begun.model));
                    begun.usage.iter().for_each(|usage| self.usage.take(usage));
                    events.extend(begun.usage.and_then(|_| self.usage.whole()).map(ModelEvent::Usage));
                }
                Ok(())
            }
            Some("content_block_start") => said.content_block.map_or(Ok(()), |block| self.begin(index, block, events)),
            Some("content_block_delta") => said.delta.map_or(Ok(()), |delta| self.delta(index, delta, events)),
            Some("content_block_stop") => self.stop(index, events),
            Some("message_delta") => {
                if let Some(delta) = said.delta {
                    let delta: Delta<'_> = serde_json::from_str(delta.get()).map_err(broken(NO_EVENT))?;
                    self.reason = name(delta.stop_reason).or(self.reason.take());
                }
                said.usage.iter().for_each(|usage| self.usage.take(usage));
                events.extend(said.usage.and_then(|_| self.usage.whole()).map(ModelEvent::Usage));
                Ok(())
            }
            Some("message_stop") if !self.has_begun => Err(ModelError::Broken { what: "it ended before it began" }),
            Some("message_stop") => {
                self.is_over = true;
                Ok(())
            }
            Some("error") => Err(failure::within(data)),
            // `ping`, and what may come later.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, index: u64, raw: &RawValue, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let block: Block<'_> = serde_json::from_str(raw.get()).map_err(broken(NO_EVENT))?;
        // One that was not ended is as it stands.
        self.stop(index, events)?;
        if self.open.len() == MOST_OPEN {
            return Err(ModelError::TooLarge { limit: MOST_OPEN as u64 });
        }
        let open = match text(block.kind).as_deref() {
            Some("text") => {
                self.text(index, text(block.text).unwrap_or_default(), events);
                let cites = block.citations.into_iter().flatten().map(|cited| cited.get().to_owned()).collect();
                Open::Text { cites }
            }
            Some("thinking") => {
                self.thought(index, text(block.thinking).unwrap_or_default(), events);
                Open::Thinking { signature: text(block.signature).filter(|signature| !signature.is_empty()) }
            }
            Some("tool_use") => {
                self.calls += 1;
                if self.calls > MOST_CALLS {
                    return Err(ModelError::TooLarge { limit: MOST_CALLS as u64 });
                }
                let id = name(block.id).ok_or(ModelError::Broken { what: "a call has no id" })?;
                let begun = block.input.map(|input| input.get().to_owned()).unwrap_or_default();
                Open::Call { id, name: text(block.name).unwrap_or_default(), begun, input: String::new() }
            }
            _ => Open::Other { raw: raw.get().to_owned(), text: String::new(), input: String::new() },
        };
        self.open.push((index, open));
        Ok(())
    }

    /// A piece of a text. The first piece of another block is a part of its own.
    fn text(&mut self, index: u64, piece: String, events: &mut Vec<ModelEvent>) {
        if piece.is_empty() {
            return;
        }
        let is_apart = matches!(self.last, Some(Flow::Text(before)) if before != index);
        self.last = Some(Flow::Text(index));
        events.push(if is_apart { ModelEvent::Part(MessagePart::Text(piece)) } else { ModelEvent::Text(piece) });
    }

    /// The same for reasoning.
    fn thought(&mut self, index: u64, text: String, events: &mut Vec<ModelEvent>) {
        if text.is_empty() {
            return;
        }
        let is_apart = matches!(self.last, Some(Flow::Thinking(before)) if before != index);
        self.last = Some(Flow::Thinking(index));
        events.push(if is_apart {
            ModelEvent::Part(MessagePart::Reasoning { text, signature: None })
        } else {
            ModelEvent::Reasoning { text, signature: None }
        });
    }

    fn delta(&mut self, index: u64, raw: &RawValue, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let delta: Delta<'_> = serde_json::from_str(raw.get()).map_err(broken(NO_EVENT))?;
        let Some(open) = self.open.iter_mut().find(|(at, _)| *at == index).map(|(_, open)| open) else {
            return Err(ModelError::Broken { what: "a piece belongs to no block" });
        };
        let gathered = match (text(delta.kind).as_deref(), open) {
            (Some("text_delta"), Open::Text { .. }) => {
                self.text(index, text(delta.text).unwrap_or_default(), events);
                return Ok(());
            }
            (Some("thinking_delta"), Open::Thinking { .. }) => {
                self.thought(index, text(delta.thinking).unwrap_or_default(), events);
                return Ok(());
            }
            (Some("signature_delta"), Open::Thinking { signature }) => {
                *signature = text(delta.signature).filter(|signature| !signature.is_empty());
                return Ok(());
            }
            (Some("citations_delta"), Open::Text { cites }) => {
                cites.extend(delta.citation.map(|cited| cited.get().to_owned()));
                return Ok(());
            }
            (Some("input_json_delta"), Open::Call { input, .. } | Open::Other { input, .. }) => {
                input.push_str(&text(delta.partial_json).unwrap_or_default());
                input
            }
            (Some("text_delta"), Open::Other { text: said, .. }) => {
                said.push_str(&text(delta.text).unwrap_or_default());
                said
            }
            _ => return Ok(()),
        };
        let is_too_large = gathered.len() > MOST_OF_INPUT;
        if is_too_large { Err(ModelError::TooLarge { limit: MOST_OF_INPUT as u64 }) } else { Ok(()) }
    }

    fn stop(&mut self, index: u64, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == index) else { return Ok(()) };
        let part = match self.open.remove(at).1 {
            Open::Text { cites } if cites.is_empty() => return Ok(()),
            Open::Text { cites } => custom(&format!(r#"{{"type":"citations","citations":[{}]}}"#, cites.join(",")))?,
            Open::Thinking { signature: None } => return Ok(()),
            Open::Thinking { signature } => {
                let is_apart = self.last != Some(Flow::Thinking(index));
                self.last = None;
                let text = String::new();
                // Reasoning that is hidden has a signature alone.
                events.push(if is_apart {
                    ModelEvent::Part(MessagePart::Reasoning { text, signature })
                } else {
                    ModelEvent::Reasoning { text, signature }
                });
                return Ok(());
            }
            Open::Call { id, name, begun, input } => {
                let input = if input.trim_ascii().is_empty() { begun } else { input };
                match self::call(id, name, &input) {
                    Ok(call) => MessagePart::ToolCall(call),
                    Err(_) => {
                        // Told in the end, when it is known whether the answer was cut.
                        self.has_broken_call = true;
                        return Ok(());
                    }
                }
            }
            Open::Other { raw, text, input } => custom(&filled(raw, &text, &input)?)?,
        };
        self.last = None;
        events.push(ModelEvent::Part(part));
        Ok(())
    }

    pub(super) fn end(self) -> Result<ModelAnswer, ModelError> {
        if !self.is_over {
            return Err(ModelError::Broken { what: "it ended without an end mark" });
        }
        let stop = match self.reason.as_deref() {
            Some("end_turn" | "stop_sequence") if self.calls > 0 => ModelStop::ToolUse,
            Some("end_turn" | "stop_sequence") => ModelStop::EndTurn,
            Some("tool_use") if self.calls > 0 => ModelStop::ToolUse,
            Some("tool_use") => ModelStop::EndTurn,
            Some("max_tokens") => ModelStop::MaxTokens,
            Some("model_context_window_exceeded") => ModelStop::WindowFull,
            Some("refusal") => ModelStop::Refusal,
            _ => ModelStop::Other,
        };
        let is_cut = matches!(stop, ModelStop::MaxTokens | ModelStop::WindowFull);
        if self.has_broken_call && !is_cut {
            return Err(ModelError::Broken { what: "the input of a call is no JSON" });
        }
        let usage = self.usage.whole();
        Ok(ModelAnswer { stop, raw_stop: self.reason, usage, model: self.model, request_id: self.id })
    }
}

/// A block with what came for it: to the letter where nothing came.
fn filled(raw: String, said: &str, input: &str) -> Result<String, ModelError> {
    if said.is_empty() && input.trim_ascii().is_empty() {
        return Ok(raw);
    }
    let mut block: Object<'_> = serde_json::from_str(&raw).map_err(broken(NO_EVENT))?;
    let before = block.0.iter().find(|(name, _)| name == "text").and_then(|(_, value)| text(Some(value)));
    let said = to_raw_value(&format!("{}{said}", before.unwrap_or_default())).map_err(broken(NO_EVENT))?;
    let input = (!input.trim_ascii().is_empty())
        .then(|| serde_json::from_str::<&RawValue>(input).map_err(broken("the input of a block is no JSON")))
        .transpose()?;
    let mut set = |name: &str, value| match block.0.iter_mut().find(|(found, _)| found == name) {
        Some((_, found)) => *found = value,
        None => block.0.push((name.to_owned(), value)),
    };
    if said.get() != r#""""# {
        set("text", &said);
    }
    if let Some(input) = input {
        set("input", input);
    }
    serde_json::to_string(&block).map_err(broken(NO_EVENT))
}
