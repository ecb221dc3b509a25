//! Answers in the form of OpenAI's chat completions, from whoever speaks it.
//!
//! Sources: the API's description (chat completion chunks), Ollama's `openai` package, and what servers that call themselves compatible are known to
//! do otherwise: pieces of calls without an index, other calls under the same index, input as an object, reasoning in fields of its own, no `[DONE]`.
//!
//! Must not know: how frames come.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sessions_domain::{
    MessagePart, TokenUsage,
    chain::{sha256, to_hex},
};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent, ModelStop};

use super::{
    decoder::{INPUT_TOO_LARGE, MOST_CALLS, MOST_OF_INPUT, NO_INPUT, TOO_MANY_CALLS, broken, call, count, custom},
    failure,
    strings::{Gathered, Joiner, Piece, known, name, piece, text},
};

const NO_CHUNK: &str = "a chunk of it is no JSON";

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<Value>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
}

/// A piece of a call.
#[derive(Deserialize)]
struct CallPiece<'a> {
    #[serde(default)]
    index: Option<Value>,
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

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    input: Gathered,
}

/// What came so far.
pub(super) struct OpenAi {
    request: String,
    calls: Vec<Call>,
    text: Joiner,
    reasoning: Joiner,
    refusal: Gathered,
    reason: Option<String>,
    usage: Option<TokenUsage>,
    model: Option<String>,
    id: Option<String>,
    has_choice: bool,
    is_over: bool,
}

impl OpenAi {
    pub(super) fn new(request: &str) -> Self {
        Self {
            request: request.to_owned(),
            calls: Vec::new(),
            text: Joiner::default(),
            reasoning: Joiner::default(),
            refusal: Gathered::default(),
            reason: None,
            usage: None,
            model: None,
            id: None,
            has_choice: false,
            is_over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_over || self.reason.is_some()
    }

    pub(super) fn take(&mut self, data: &str, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let data = data.trim_ascii();
        if data == "[DONE]" {
            if !self.has_choice {
                return Err(ModelError::Broken { what: "it ended before it began" });
            }
            self.is_over = true;
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_str(data).map_err(broken(NO_CHUNK))?;
        if chunk.error.is_some_and(|error| error.get() != "null") {
            return Err(failure::within(data));
        }
        self.id = self.id.take().or_else(|| known(chunk.id));
        self.model = self.model.take().or_else(|| known(chunk.model));
        if let Some(usage) = chunk.usage.and_then(usage) {
            self.usage = Some(usage);
            events.push(ModelEvent::Usage(usage));
        }
        for choice in chunk.choices.into_iter().flatten() {
            // Others were not asked for.
            if choice.index.as_ref().and_then(Value::as_u64).unwrap_or(0) == 0 {
                self.choose(choice, data, events)?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Choice<'_>, data: &str, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        self.has_choice = true;
        if let Some(delta) = choice.delta {
            self.delta(delta, events)?;
        }
        let reason = name(choice.finish_reason)?;
        if choice.error.is_some_and(|error| error.get() != "null") || reason.as_deref() == Some("error") {
            return Err(choice.error.map_or_else(|| failure::within(data), |error| failure::within(error.get())));
        }
        // A model that is loaded or unloaded has said nothing.
        if let Some("load" | "unload") = reason.as_deref() {
            return Err(ModelError::Broken { what: "the model was loaded and did not answer" });
        }
        self.reason = reason.or(self.reason.take());
        Ok(())
    }

    fn delta(&mut self, delta: Delta<'_>, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        // Some say the same under both names.
        let (first, other) = (piece(delta.reasoning_content)?, piece(delta.reasoning)?);
        if let Some(more) = first.filter(|first| !first.is_empty()).or(other) {
            let text = self.reasoning.join(&more);
            reasoned(text, events);
        }
        if let Some(content) = delta.content {
            self.said(content, events)?;
        }
        if let Some(more) = piece(delta.refusal)? {
            self.refusal.push(&more);
        }
        for more in delta.tool_calls.into_iter().flatten() {
            self.call(more)?;
        }
        match delta.function_call {
            Some(function) => self.call(CallPiece { index: Some(Value::from(0)), id: None, function: Some(function) }),
            None => Ok(()),
        }
    }

    /// The call that a piece belongs to. Another id with a name begins another one, whatever its index.
    fn of(&self, index: Option<u64>, id: Option<&str>, is_named: bool) -> Option<usize> {
        let is_other = |call: &Call| is_named && id.is_some() && call.id.is_some() && call.id.as_deref() != id;
        let found = match (index, id) {
            (Some(_), _) => self.calls.iter().rposition(|call| call.index == index),
            (None, Some(_)) => self.calls.iter().rposition(|call| call.id.as_deref() == id),
            (None, None) => self.calls.len().checked_sub(1).filter(|_| !is_named),
        };
        found.filter(|at| self.calls.get(*at).is_some_and(|call| !is_other(call)))
    }

    /// The content of a delta: a text, or parts of which some are text.
    fn said(&mut self, content: &RawValue, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        if !content.get().starts_with('[') {
            if let Some(more) = piece(Some(content))? {
                written(self.text.join(&more), events);
            }
            return Ok(());
        }
        let parts: Vec<&RawValue> = serde_json::from_str(content.get()).map_err(broken(NO_CHUNK))?;
        for part in parts {
            match text_of(part) {
                Some(more) => written(self.text.join(&more), events),
                None => events.push(ModelEvent::Part(custom(part.get())?)),
            }
        }
        Ok(())
    }

    fn call(&mut self, more: CallPiece<'_>) -> Result<(), ModelError> {
        let (index, id) = (more.index.as_ref().and_then(Value::as_u64), name(more.id)?);
        let (called, input) = more.function.map_or((None, None), |function| (function.name, function.arguments));
        let called = text(called)?.filter(|called| !called.is_empty());
        let at = match self.of(index, id.as_deref(), called.is_some()) {
            Some(at) => at,
            None if self.calls.len() == MOST_CALLS => return Err(TOO_MANY_CALLS),
            None => {
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        call.id = call.id.take().or(id);
        if let Some(called) = called {
            // Said again with each piece, or for the first time.
            call.name = called;
        }
        match input {
            // An object where a text should be.
            Some(input) if input.get().starts_with('{') => call.input = Gathered::of(input.get()),
            input => piece(input)?.iter().for_each(|more| call.input.push(more)),
        }
        if call.input.len() > MOST_OF_INPUT {
            return Err(INPUT_TOO_LARGE);
        }
        Ok(())
    }

    pub(super) fn end(mut self, events: &mut Vec<ModelEvent>) -> Result<ModelAnswer, ModelError> {
        if !self.is_whole() {
            return Err(ModelError::Broken { what: "it ended without an end mark" });
        }
        reasoned(self.reasoning.end().map(String::from).unwrap_or_default(), events);
        written(self.text.end().map(String::from).unwrap_or_default(), events);
        let is_cut = self.reason.as_deref() == Some("length");
        let mut parts = Vec::new();
        for (number, gathered) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            let id = gathered.id.unwrap_or_else(|| made_id(&self.request, number));
            let input = gathered.input.exact(NO_INPUT);
            match input.and_then(|input| call(id, gathered.name, &input)) {
                Ok(call) => parts.push(MessagePart::ToolCall(call)),
                // It has no end because the answer has none.
                Err(_) if is_cut => {}
                Err(error) => return Err(error),
            }
        }
        let refusal = self.refusal.lossy();
        let stop = stop(self.reason.as_deref(), !parts.is_empty(), !refusal.is_empty());
        if !refusal.is_empty() {
            let refusal = serde_json::json!({"type": "refusal", "refusal": refusal});
            events.push(ModelEvent::Part(custom(&refusal.to_string())?));
        }
        events.extend(parts.into_iter().map(ModelEvent::Part));
        let Self { reason, usage, model, id, .. } = self;
        Ok(ModelAnswer { stop, raw_stop: reason, usage, model, request_id: id })
    }
}

/// An id for a call that came without one: the same for the same request, and for no other.
fn made_id(request: &str, number: usize) -> String {
    let digest = to_hex(&sha256(format!("{request} {number}").as_bytes()));
    format!("call_{}", digest.chars().take(24).collect::<String>())
}

fn written(text: String, events: &mut Vec<ModelEvent>) {
    events.extend((!text.is_empty()).then_some(ModelEvent::Text(text)));
}

fn reasoned(text: String, events: &mut Vec<ModelEvent>) {
    events.extend((!text.is_empty()).then_some(ModelEvent::Reasoning { text, signature: None }));
}

/// The text of a part that is nothing else. All others are kept as they came.
fn text_of(part: &RawValue) -> Option<Piece<'_>> {
    let part: ContentPart<'_> = serde_json::from_str(part.get()).ok()?;
    let is_text = known(part.kind).as_deref() == Some("text");
    piece(part.text.filter(|_| is_text)).ok().flatten()
}

fn stop(reason: Option<&str>, has_calls: bool, is_refused: bool) -> ModelStop {
    match reason {
        Some("length") => ModelStop::MaxTokens,
        Some("content_filter") => ModelStop::Refusal,
        Some("stop" | "tool_calls" | "function_call" | "stop_sequence" | "eos") | None if has_calls => {
            ModelStop::ToolUse
        }
        Some("stop" | "stop_sequence" | "eos") if is_refused => ModelStop::Refusal,
        // Servers say `tool_calls` without any too.
        Some("stop" | "stop_sequence" | "eos" | "tool_calls" | "function_call") => ModelStop::EndTurn,
        _ => ModelStop::Other,
    }
}

/// OpenAI counts all that was sent as the prompt, what was read from a cache included.
fn usage(raw: &RawValue) -> Option<TokenUsage> {
    let usage: Value = serde_json::from_str(raw.get()).ok()?;
    let detail = |of: &str, name: &str| count(usage.get(of).and_then(|details| details.get(name)));
    let (prompt, completion) = (count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")));
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let read = detail("prompt_tokens_details", "cached_tokens").or_else(|| count(usage.get("prompt_cache_hit_tokens")));
    let (read, written) = (read.unwrap_or(0), detail("prompt_tokens_details", "cache_write_tokens").unwrap_or(0));
    Some(TokenUsage {
        input: prompt.unwrap_or(0).saturating_sub(read).saturating_sub(written),
        output: completion.unwrap_or(0),
        cache_read: read,
        cache_write: written,
        reasoning: detail("completion_tokens_details", "reasoning_tokens").unwrap_or(0),
        ..TokenUsage::default()
    })
}
