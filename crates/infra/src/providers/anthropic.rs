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
    decoder::{
        INPUT_TOO_LARGE, MOST_CALLS, MOST_OF_INPUT, NO_INPUT, Object, TOO_MANY_CALLS, broken, call, count, custom,
    },
    failure,
    strings::{Gathered, Joiner, known, name, piece, text},
};

const NO_EVENT: &str = "an event of it is no JSON";
const NO_BLOCK_INPUT: &str = "the input of a block is no JSON";
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
    Text { joiner: Joiner, cites: Vec<String> },
    Thinking { joiner: Joiner, begun: Gathered, signature: Option<Gathered> },
    Call { id: String, name: String, begun: String, input: Gathered },
    Other { raw: String, text: Option<Gathered>, input: Gathered },
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
        match text(said.kind)?.as_deref() {
            Some("message_start") => {
                self.has_begun = true;
                if let Some(begun) = said.message {
                    (self.id, self.model) = (known(begun.id), known(begun.model));
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
                    self.reason = name(delta.stop_reason)?.or(self.reason.take());
                }
                said.usage.iter().for_each(|usage| self.usage.take(usage));
                events.extend(said.usage.and_then(|_| self.usage.whole()).map(ModelEvent::Usage));
                Ok(())
            }
            Some("message_stop") if !self.has_begun => Err(ModelError::Broken { what: "it ended before it began" }),
            Some("message_stop") => {
                self.stop_all(events)?;
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
            return Err(ModelError::TooLarge { what: "it has more than 128 blocks at once", limit: MOST_OPEN as u64 });
        }
        let mut joiner = Joiner::default();
        let open = match text(block.kind)?.as_deref() {
            Some("text") => {
                self.text(index, joined(&mut joiner, block.text)?, events);
                let cites = block.citations.into_iter().flatten().map(|cited| cited.get().to_owned()).collect();
                Open::Text { joiner, cites }
            }
            Some("thinking") => {
                self.thought(index, joined(&mut joiner, block.thinking)?, events);
                let mut begun = Gathered::default();
                piece(block.signature)?.iter().for_each(|first| begun.push(first));
                Open::Thinking { joiner, begun, signature: None }
            }
            Some("tool_use") => {
                self.calls += 1;
                if self.calls > MOST_CALLS {
                    return Err(TOO_MANY_CALLS);
                }
                let id = name(block.id)?.ok_or(ModelError::Broken { what: "a call has no id" })?;
                let begun = block.input.map(|input| input.get().to_owned()).unwrap_or_default();
                Open::Call { id, name: text(block.name)?.unwrap_or_default(), begun, input: Gathered::default() }
            }
            _ => Open::Other { raw: raw.get().to_owned(), text: None, input: Gathered::default() },
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
        let gathered = match (text(delta.kind)?.as_deref(), open) {
            (Some("text_delta"), Open::Text { joiner, .. }) => {
                let more = joined(joiner, delta.text)?;
                self.text(index, more, events);
                return Ok(());
            }
            (Some("thinking_delta"), Open::Thinking { joiner, .. }) => {
                let more = joined(joiner, delta.thinking)?;
                self.thought(index, more, events);
                return Ok(());
            }
            (Some("signature_delta"), Open::Thinking { signature, .. }) => {
                // It stands for what the block began with.
                let signature = signature.get_or_insert_default();
                piece(delta.signature)?.iter().for_each(|more| signature.push(more));
                signature
            }
            (Some("citations_delta"), Open::Text { cites, .. }) => {
                cites.extend(delta.citation.map(|cited| cited.get().to_owned()));
                return Ok(());
            }
            (Some("input_json_delta"), Open::Call { input, .. } | Open::Other { input, .. }) => {
                piece(delta.partial_json)?.iter().for_each(|more| input.push(more));
                input
            }
            (Some("text_delta"), Open::Other { raw, text, .. }) => {
                let Some(more) = piece(delta.text)?.filter(|more| !more.is_empty()) else { return Ok(()) };
                let begun = if text.is_none() { Some(begun(raw)?) } else { None };
                let text = text.get_or_insert_with(|| begun.unwrap_or_default());
                text.push(&more);
                text
            }
            _ => return Ok(()),
        };
        let is_too_large = gathered.len() > MOST_OF_INPUT;
        if is_too_large { Err(INPUT_TOO_LARGE) } else { Ok(()) }
    }

    fn stop(&mut self, index: u64, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == index) else { return Ok(()) };
        let part = match self.open.remove(at).1 {
            Open::Text { mut joiner, cites } => {
                self.text(index, joiner.end().map(String::from).unwrap_or_default(), events);
                if cites.is_empty() {
                    return Ok(());
                }
                custom(&format!(r#"{{"type":"citations","citations":[{}]}}"#, cites.join(",")))?
            }
            Open::Thinking { mut joiner, begun, signature } => {
                self.thought(index, joiner.end().map(String::from).unwrap_or_default(), events);
                let signature = signature.unwrap_or(begun).exact("a signature of it is no text")?;
                if signature.is_empty() {
                    return Ok(());
                }
                let signature = Some(signature);
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
                let input = input.exact(NO_INPUT);
                let input = input.map(|input| if input.trim_ascii().is_empty() { begun } else { input });
                match input.and_then(|input| self::call(id, name, &input)) {
                    Ok(call) => MessagePart::ToolCall(call),
                    Err(_) => {
                        // Told in the end, when it is known whether the answer was cut.
                        self.has_broken_call = true;
                        return Ok(());
                    }
                }
            }
            Open::Other { raw, text, input } => {
                custom(&filled(raw, text.map(Gathered::lossy), &input.exact(NO_BLOCK_INPUT)?)?)?
            }
        };
        self.last = None;
        events.push(ModelEvent::Part(part));
        Ok(())
    }

    /// Blocks that were not ended are as they stand, but for calls: nobody knows whether all of their input came.
    fn stop_all(&mut self, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        while let Some((index, open)) = self.open.first() {
            if matches!(open, Open::Call { .. }) {
                self.has_broken_call = true;
                self.open.remove(0);
            } else {
                self.stop(*index, events)?;
            }
        }
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
            return Err(ModelError::Broken { what: NO_INPUT });
        }
        let usage = self.usage.whole();
        Ok(ModelAnswer { stop, raw_stop: self.reason, usage, model: self.model, request_id: self.id })
    }
}

fn joined(joiner: &mut Joiner, raw: Option<&RawValue>) -> Result<String, ModelError> {
    Ok(piece(raw)?.map(|more| joiner.join(&more)).unwrap_or_default())
}

/// The text that a block began with.
fn begun(raw: &str) -> Result<Gathered, ModelError> {
    let block: Block<'_> = serde_json::from_str(raw).map_err(broken(NO_EVENT))?;
    let mut text = Gathered::default();
    piece(block.text)?.iter().for_each(|first| text.push(first));
    Ok(text)
}

/// A block with the text and the input that came for it: to the letter where nothing came.
fn filled(raw: String, text: Option<String>, input: &str) -> Result<String, ModelError> {
    if text.is_none() && input.trim_ascii().is_empty() {
        return Ok(raw);
    }
    let mut block: Object<'_> = serde_json::from_str(&raw).map_err(broken(NO_EVENT))?;
    let text = text.map(|text| to_raw_value(&text).map_err(broken(NO_EVENT))).transpose()?;
    let input = (!input.trim_ascii().is_empty())
        .then(|| serde_json::from_str::<&RawValue>(input).map_err(broken(NO_BLOCK_INPUT)))
        .transpose()?;
    let mut set = |name: &str, value| match block.0.iter_mut().find(|(found, _)| found == name) {
        Some((_, found)) => *found = value,
        None => block.0.push((name.to_owned(), value)),
    };
    if let Some(text) = &text {
        set("text", text);
    }
    if let Some(input) = input {
        set("input", input);
    }
    serde_json::to_string(&block).map_err(broken(NO_EVENT))
}
