//! The bytes of an answer as events, in bounded memory. Pure: the same bytes give the same events, however they are cut.
//!
//! Must not know: how the bytes come, or how long they take.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sessions_domain::{Json, MessagePart, ToolCall};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent};

use super::{anthropic::Anthropic, frames::Frames, openai::OpenAi, strings::MOST_OF_NAME};

/// The most bytes of an answer.
pub const MOST_OF_ANSWER: usize = 64 << 20;
/// The most calls in an answer.
pub const MOST_CALLS: usize = 128;
/// The most bytes of one call's input.
pub const MOST_OF_INPUT: usize = 8 << 20;

const ANSWER_TOO_LARGE: ModelError =
    ModelError::TooLarge { what: "it has more than 64 MiB", limit: MOST_OF_ANSWER as u64 };
pub(super) const TOO_MANY_CALLS: ModelError =
    ModelError::TooLarge { what: "it has more than 128 calls", limit: MOST_CALLS as u64 };
pub(super) const INPUT_TOO_LARGE: ModelError =
    ModelError::TooLarge { what: "a call or a block of it has more than 8 MiB", limit: MOST_OF_INPUT as u64 };

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Chunks of OpenAI's chat completions.
    OpenAi,
    /// Events of Anthropic's messages.
    Anthropic,
}

enum Kind {
    OpenAi(OpenAi),
    Anthropic(Anthropic),
}

/// Reads one answer.
pub struct Decoder {
    frames: Frames,
    kind: Kind,
    bytes: usize,
}

impl Decoder {
    /// For an answer to the request of which `request` is a digest: calls that come without an id are given one that follows from it.
    pub fn new(wire: Wire, request: &str) -> Self {
        let kind = match wire {
            Wire::OpenAi => Kind::OpenAi(OpenAi::new(request)),
            Wire::Anthropic => Kind::Anthropic(Anthropic::new()),
        };
        Self { frames: Frames::default(), kind, bytes: 0 }
    }

    /// Takes more bytes. What they tell is put behind `events`, also when they end in an error. Behind the answer's end mark nothing is read.
    ///
    /// # Errors
    /// What the answer says is wrong, [`ModelError::Broken`] and [`ModelError::TooLarge`].
    pub fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        while !self.is_over() && !bytes.is_empty() {
            let before = bytes.len();
            let room = MOST_OF_ANSWER - self.bytes;
            let mut within = bytes.get(..room).unwrap_or(bytes);
            let cut = before - within.len();
            let frame = self.frames.next(&mut within)?;
            self.bytes += before - cut - within.len();
            bytes = bytes.get(before - cut - within.len()..).unwrap_or_default();
            match frame {
                Some(frame) => self.take(&frame.data, events)?,
                None if !bytes.is_empty() => return Err(ANSWER_TOO_LARGE),
                None => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, data: &str, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        match &mut self.kind {
            Kind::OpenAi(answer) => answer.take(data, events),
            Kind::Anthropic(answer) => answer.take(data, events),
        }
    }

    /// The end mark came: what follows is no part of the answer.
    pub fn is_over(&self) -> bool {
        match &self.kind {
            Kind::OpenAi(answer) => answer.is_over(),
            Kind::Anthropic(answer) => answer.is_over(),
        }
    }

    /// The answer is whole already, though more may be said of it.
    pub fn is_whole(&self) -> bool {
        match &self.kind {
            Kind::OpenAi(answer) => answer.is_whole(),
            Kind::Anthropic(answer) => answer.is_over(),
        }
    }

    /// No more bytes come.
    ///
    /// # Errors
    /// As [`Self::feed`]; [`ModelError::Broken`] when the end mark did not come, or a call's input is no JSON.
    pub fn end(mut self, events: &mut Vec<ModelEvent>) -> Result<ModelAnswer, ModelError> {
        // Behind a whole answer, half a frame is of no interest.
        if !self.is_over() {
            match self.frames.end() {
                Ok(Some(frame)) if self.is_whole() => drop(self.take(&frame.data, events)),
                Ok(Some(frame)) => self.take(&frame.data, events)?,
                Ok(None) => {}
                Err(_) if self.is_whole() => {}
                Err(error) => return Err(error),
            }
        }
        match self.kind {
            Kind::OpenAi(answer) => answer.end(events),
            Kind::Anthropic(answer) => answer.end(),
        }
    }
}

/// What is said of a call whose input cannot be had.
pub(super) const NO_INPUT: &str = "the input of a call is no JSON";

/// What does not parse.
pub(super) fn broken<T>(what: &'static str) -> impl FnOnce(T) -> ModelError {
    move |_| ModelError::Broken { what }
}

/// A call that came whole. An empty input is an object without entries.
pub(super) fn call(call_id: String, name: String, input: &str) -> Result<ToolCall, ModelError> {
    let input = if input.trim_ascii().is_empty() { "{}" } else { input };
    let input = Json::parse(input).map_err(broken(NO_INPUT))?;
    if name.is_empty() || name.len() > MOST_OF_NAME {
        return Err(ModelError::Broken { what: "a call has no name" });
    }
    Ok(ToolCall { call_id, name, input })
}

/// A block as the provider wrote it.
pub(super) fn custom(raw: &str) -> Result<MessagePart, ModelError> {
    Json::parse(raw).map(MessagePart::Custom).map_err(broken("a block nests too deep"))
}

/// A number of tokens, whatever the provider makes of it: below zero is zero, and what is too large is the largest.
pub(super) fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "such a cast keeps to the bounds, which is what is wanted"
    )]
    let kept = |number: f64| number as u64;
    value.as_u64().or_else(|| value.as_f64().map(kept))
}

/// An object's entries in their order, each to the letter.
pub(super) struct Object<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

impl serde::Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sessions_domain::TokenUsage;
    use sessions_ports::ModelStop;

    use super::*;

    type Told = (Vec<MessagePart>, Result<ModelAnswer, ModelError>);

    /// The parts that bytes make, when they come in pieces of these sizes, and the end.
    fn decoded(wire: Wire, bytes: &[u8], sizes: &[usize]) -> (Vec<ModelEvent>, Result<ModelAnswer, ModelError>) {
        let (mut decoder, mut events, mut left) = (Decoder::new(wire, "r"), Vec::new(), bytes);
        let mut sizes = sizes.iter().copied().cycle();
        while !left.is_empty() {
            let (piece, rest) = left.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, left.len()));
            left = rest;
            if let Err(error) = decoder.feed(piece, &mut events) {
                return (events, Err(error));
            }
        }
        let answer = decoder.end(&mut events);
        (events, answer)
    }

    fn told(wire: Wire, bytes: &[u8]) -> Told {
        let (events, answer) = decoded(wire, bytes, &[usize::MAX]);
        let mut parts = Vec::new();
        events.into_iter().for_each(|event| event.push_to(&mut parts));
        (parts, answer)
    }

    fn stream(frames: &[&str]) -> Vec<u8> {
        frames.iter().map(|frame| format!("data: {frame}\n\n")).collect::<String>().into_bytes()
    }

    fn openai(frames: &[&str]) -> Told {
        told(Wire::OpenAi, &stream(frames))
    }

    fn anthropic(frames: &[&str]) -> Told {
        let begun = r#"{"type":"message_start","message":{"id":"msg_1","model":"claude","usage":{"input_tokens":5,"output_tokens":1}}}"#;
        told(Wire::Anthropic, &stream(&[&[begun], frames].concat()))
    }

    fn delta(delta: &str) -> String {
        format!(r#"{{"id":"c1","model":"gpt","choices":[{{"index":0,"delta":{delta}}}]}}"#)
    }

    fn finish(reason: &str) -> String {
        format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#)
    }

    fn tool(id: &str, name: &str, input: &str) -> MessagePart {
        MessagePart::tool_call(id, name, input).unwrap()
    }

    #[test]
    fn openai_answers_become_parts() {
        let reasoning = MessagePart::Reasoning { text: "hm, so".into(), signature: None };
        let call =
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"read","arguments":""}}]}"#;
        for (deltas, reason, expected, stop) in [
            (
                vec![r#"{"role":"assistant","content":""}"#, r#"{"content":"I "}"#, r#"{"content":"look."}"#],
                "stop",
                vec![MessagePart::text("I look.")],
                ModelStop::EndTurn,
            ),
            (
                vec![r#"{"reasoning_content":"hm,"}"#, r#"{"reasoning":" so"}"#, r#"{"content":"x"}"#],
                "stop",
                vec![reasoning, MessagePart::text("x")],
                ModelStop::EndTurn,
            ),
            (
                vec![
                    call,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"1.10}"}}]}"#,
                ],
                "tool_calls",
                vec![tool("a", "read", r#"{"a":1.10}"#)],
                ModelStop::ToolUse,
            ),
            // Without arguments, and with `stop` beside calls.
            (vec![call], "stop", vec![tool("a", "read", "{}")], ModelStop::ToolUse),
            // Two at once, and without an index.
            (
                vec![
                    r#"{"tool_calls":[{"id":"a","function":{"name":"x","arguments":"{}"}},{"id":"b","function":{"name":"y","arguments":"[1]"}}]}"#,
                ],
                "tool_calls",
                vec![tool("a", "x", "{}"), tool("b", "y", "[1]")],
                ModelStop::ToolUse,
            ),
            // Another call under the same index.
            (
                vec![call, r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"y","arguments":"{}"}}]}"#],
                "tool_calls",
                vec![tool("a", "read", "{}"), tool("b", "y", "{}")],
                ModelStop::ToolUse,
            ),
            // The id is said again with each piece.
            (
                vec![call, r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"read","arguments":"{}"}}]}"#],
                "tool_calls",
                vec![tool("a", "read", "{}")],
                ModelStop::ToolUse,
            ),
            // Pieces that take turns.
            (
                vec![
                    call,
                    r#"{"tool_calls":[{"index":7,"id":"b","function":{"name":"y","arguments":"{"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}},{"index":7,"function":{"arguments":"}"}}]}"#,
                ],
                "tool_calls",
                vec![tool("a", "read", "{}"), tool("b", "y", "{}")],
                ModelStop::ToolUse,
            ),
            // An object where a text should be, to the letter.
            (
                vec![
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"x","arguments":{"n":12345678901234567890123}}}]}"#,
                ],
                "stop",
                vec![tool("a", "x", r#"{"n":12345678901234567890123}"#)],
                ModelStop::ToolUse,
            ),
            (
                vec![r#"{"tool_calls":[{"index":4294967295,"id":"a","function":{"name":"x","arguments":"{}"}}]}"#],
                "stop",
                vec![tool("a", "x", "{}")],
                ModelStop::ToolUse,
            ),
            (
                vec![
                    r#"{"function_call":{"name":"x","arguments":"{\"a\""}}"#,
                    r#"{"function_call":{"arguments":":1}"}}"#,
                ],
                "function_call",
                vec![tool("call_e36ed4a4a1b6d8f6be87e8ea", "x", r#"{"a":1}"#)],
                ModelStop::ToolUse,
            ),
            (
                vec![r#"{"refusal":"I "}"#, r#"{"refusal":"won't"}"#],
                "stop",
                vec![MessagePart::Custom(Json::parse(r#"{"refusal":"I won't","type":"refusal"}"#).unwrap())],
                ModelStop::Refusal,
            ),
            (
                vec![r#"{"content":[{"type":"text","text":"a"},{"type":"odd","v":1.0}]}"#],
                "stop",
                vec![MessagePart::text("a"), MessagePart::Custom(Json::parse(r#"{"type":"odd","v":1.0}"#).unwrap())],
                ModelStop::EndTurn,
            ),
            (vec![], "stop", vec![], ModelStop::EndTurn),
            (vec![r#"{"content":"cut"}"#], "length", vec![MessagePart::text("cut")], ModelStop::MaxTokens),
            // A call that the limit cut off is none.
            (
                vec![call, r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}"#],
                "length",
                vec![],
                ModelStop::MaxTokens,
            ),
            (vec![r#"{"content":"x"}"#], "content_filter", vec![MessagePart::text("x")], ModelStop::Refusal),
            (vec![r#"{"content":"x"}"#], "brand_new", vec![MessagePart::text("x")], ModelStop::Other),
        ] {
            let frames: Vec<String> = deltas.iter().map(|one| delta(one)).chain([finish(reason)]).collect();
            let mut frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            for has_done in [false, true] {
                frames.extend(has_done.then_some("[DONE]"));
                let (parts, answer) = openai(&frames);
                let answer = answer.unwrap();
                let same_id = |part: &MessagePart| match part {
                    MessagePart::ToolCall(call) if call.call_id.starts_with("call_") => {
                        assert_eq!(call.call_id.len(), 29);
                        MessagePart::ToolCall(ToolCall { call_id: "call_".into(), ..call.clone() })
                    }
                    other => other.clone(),
                };
                let [parts, expected] = [&parts, &expected].map(|list| list.iter().map(same_id).collect::<Vec<_>>());
                assert_eq!(
                    (parts, answer.stop, answer.raw_stop.as_deref()),
                    (expected, stop, Some(reason)),
                    "{deltas:?}"
                );
            }
        }
    }

    #[test]
    fn what_openai_says_of_an_answer_is_kept() {
        let usage = |usage: &str| {
            let said = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            openai(&[&delta(r#"{"content":"x"}"#), &finish("stop"), &said, "[DONE]", "{ not read"]).1.unwrap()
        };
        let of = |input, output, cache_read, cache_write, reasoning| {
            Some(TokenUsage { input, output, cache_read, cache_write, reasoning, ..TokenUsage::default() })
        };
        for (said, expected) in [
            (
                r#"{"prompt_tokens":100,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":3}}"#,
                of(30, 7, 60, 10, 3),
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":60}}"#,
                of(0, 7, 60, 0, 0),
            ),
            (r#"{"prompt_tokens":10,"completion_tokens":7,"prompt_cache_hit_tokens":4}"#, of(6, 7, 4, 0, 0)),
            (
                r#"{"prompt_tokens":-1,"completion_tokens":1000000000000000000}"#,
                of(0, 1_000_000_000_000_000_000, 0, 0, 0),
            ),
            (r#"{"prompt_tokens":1e300,"completion_tokens":2.0}"#, of(u64::MAX, 2, 0, 0, 0)),
            (r#"{"prompt_tokens":"many","completion_tokens":null}"#, None),
            ("{}", None),
            ("null", None),
            ("[1]", None),
        ] {
            assert_eq!(usage(said).usage, expected, "{said}");
        }
        let answer = usage("null");
        assert_eq!((answer.model.as_deref(), answer.request_id.as_deref()), (Some("gpt"), Some("c1")));
    }

    #[test]
    fn anthropic_answers_become_parts() {
        let start = |index: usize, block: &str| {
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
        };
        let more =
            |index: usize, delta: &str| format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        let stop = |index: usize| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
        let thought = |text: &str, signature: Option<&str>| MessagePart::Reasoning {
            text: text.into(),
            signature: signature.map(Into::into),
        };
        let custom = |json: &str| MessagePart::Custom(Json::parse(json).unwrap());
        let text = r#"{"type":"text","text":""}"#;
        let use_of = r#"{"type":"tool_use","id":"toolu_1","name":"read","input":{}}"#;
        let redacted = r#"{"type":"redacted_thinking","data":"EuYB="}"#;
        for (frames, reason, expected, ends) in [
            (
                vec![
                    start(0, text),
                    more(0, r#"{"type":"text_delta","text":"I "}"#),
                    r#"{"type":"ping"}"#.into(),
                    more(0, r#"{"type":"text_delta","text":"see"}"#),
                    stop(0),
                ],
                "end_turn",
                vec![MessagePart::text("I see")],
                ModelStop::EndTurn,
            ),
            // Two texts stay two.
            (
                vec![
                    start(0, text),
                    more(0, r#"{"type":"text_delta","text":"a"}"#),
                    stop(0),
                    start(1, text),
                    more(1, r#"{"type":"text_delta","text":"b"}"#),
                    more(1, r#"{"type":"text_delta","text":"c"}"#),
                    stop(1),
                ],
                "end_turn",
                vec![MessagePart::text("a"), MessagePart::text("bc")],
                ModelStop::EndTurn,
            ),
            (
                vec![
                    start(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
                    more(0, r#"{"type":"thinking_delta","thinking":"hm"}"#),
                    more(0, r#"{"type":"signature_delta","signature":"sig"}"#),
                    stop(0),
                    start(1, r#"{"type":"thinking","thinking":"","signature":""}"#),
                    more(1, r#"{"type":"signature_delta","signature":"hidden"}"#),
                    stop(1),
                    start(2, redacted),
                    stop(2),
                ],
                "end_turn",
                vec![thought("hm", Some("sig")), thought("", Some("hidden")), custom(redacted)],
                ModelStop::EndTurn,
            ),
            // Two thoughts without signatures stay two.
            (
                vec![
                    start(0, r#"{"type":"thinking","thinking":"a"}"#),
                    stop(0),
                    start(1, r#"{"type":"thinking","thinking":"b"}"#),
                    stop(1),
                ],
                "end_turn",
                vec![thought("a", None), thought("b", None)],
                ModelStop::EndTurn,
            ),
            (
                vec![
                    start(0, use_of),
                    more(0, r#"{"type":"input_json_delta","partial_json":""}"#),
                    more(0, r#"{"type":"input_json_delta","partial_json":"{\"a\": 1.1"}"#),
                    more(0, r#"{"type":"input_json_delta","partial_json":"0}"}"#),
                    stop(0),
                ],
                "tool_use",
                vec![tool("toolu_1", "read", r#"{"a": 1.10}"#)],
                ModelStop::ToolUse,
            ),
            (
                vec![start(0, use_of), stop(0), start(1, &use_of.replace("_1", "_2")), stop(1)],
                "tool_use",
                vec![tool("toolu_1", "read", "{}"), tool("toolu_2", "read", "{}")],
                ModelStop::ToolUse,
            ),
            // What is not known is kept, with what came for it.
            (
                vec![
                    start(0, r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{},"x":1.0}"#),
                    more(0, r#"{"type":"input_json_delta","partial_json":"{\"q\":1e400}"}"#),
                    more(0, r#"{"type":"brand_new_delta","x":1}"#),
                    stop(0),
                    start(1, r#"{"type":"web_search_tool_result", "content":[{"z":1.50,"a":2}]}"#),
                    stop(1),
                ],
                "end_turn",
                vec![
                    custom(r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1e400},"x":1.0}"#),
                    custom(r#"{"type":"web_search_tool_result", "content":[{"z":1.50,"a":2}]}"#),
                ],
                ModelStop::EndTurn,
            ),
            (
                vec![
                    start(0, r#"{"type":"text","text":"","citations":[]}"#),
                    more(0, r#"{"type":"citations_delta","citation":{"type":"page","n":1.0}}"#),
                    more(0, r#"{"type":"text_delta","text":"cited"}"#),
                    stop(0),
                    start(1, text),
                    more(1, r#"{"type":"text_delta","text":"plain"}"#),
                    stop(1),
                ],
                "end_turn",
                vec![
                    MessagePart::text("cited"),
                    custom(r#"{"type":"citations","citations":[{"type":"page","n":1.0}]}"#),
                    MessagePart::text("plain"),
                ],
                ModelStop::EndTurn,
            ),
            (vec![r#"{"type":"brand_new","index":"x"}"#.into()], "end_turn", vec![], ModelStop::EndTurn),
            (
                vec![start(0, use_of), more(0, r#"{"type":"input_json_delta","partial_json":"{\"a"}"#), stop(0)],
                "max_tokens",
                vec![],
                ModelStop::MaxTokens,
            ),
            (vec![start(0, text)], "model_context_window_exceeded", vec![], ModelStop::WindowFull),
            (vec![], "refusal", vec![], ModelStop::Refusal),
            (vec![], "pause_turn", vec![], ModelStop::Other),
            (vec![], "stop_sequence", vec![], ModelStop::EndTurn),
        ] {
            let end = format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":42,"cache_read_input_tokens":3,"cache_creation_input_tokens":9,"cache_creation":{{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":7}}}}}}"#
            );
            let mut all: Vec<&str> = frames.iter().map(String::as_str).collect();
            all.extend([end.as_str(), r#"{"type":"message_stop"}"#, "{ not read"]);
            let (parts, answer) = anthropic(&all);
            let answer = answer.unwrap();
            assert_eq!((parts, answer.stop, answer.raw_stop.as_deref()), (expected, ends, Some(reason)), "{frames:?}");
            let (cache_write, cache_write_long) = (2, 7);
            let usage = TokenUsage { input: 5, output: 42, cache_read: 3, cache_write, cache_write_long, reasoning: 0 };
            assert_eq!(
                (answer.usage, answer.model.as_deref(), answer.request_id.as_deref()),
                (Some(usage), Some("claude"), Some("msg_1"))
            );
        }
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        let broken = |what| Err(ModelError::Broken { what });
        let text = delta(r#"{"content":"x"}"#);
        let call = |input: &str| {
            delta(&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"n","arguments":"{input}"}}}}]}}"#
            ))
        };
        for (frames, expected) in [
            (vec![text.as_str()], broken("it ended without an end mark")),
            (vec![], broken("it ended without an end mark")),
            (vec!["[DONE]"], broken("it ended before it began")),
            (vec!["{"], broken("a chunk of it is no JSON")),
            (vec!["<html>"], broken("a chunk of it is no JSON")),
            (vec![&call("{a}"), &finish("tool_calls")], broken("the input of a call is no JSON")),
            (vec![&delta(r#"{"tool_calls":[{"index":0,"id":"a"}]}"#), &finish("stop")], broken("a call has no name")),
            (vec![&text, r#"{"error":{"code":"insufficient_quota"}}"#], Err(ModelError::Quota)),
            (vec![&text, r#"{"error":"the model ran out"}"#], broken("the provider told of an error within it")),
            (
                vec![&text, r#"{"choices":[{"delta":{},"finish_reason":"error","error":{"code":502}}]}"#],
                Err(ModelError::Refused { status: 502, reason: None }),
            ),
            (vec![&finish("load")], broken("the model was loaded and did not answer")),
            (vec![&finish("unload")], broken("the model was loaded and did not answer")),
            (vec![&text, &finish("error")], broken("the provider told of an error within it")),
            (
                vec![&call("{}").replace(r#""n""#, &format!(r#""{}""#, "n".repeat(201))), &finish("stop")],
                broken("a call has no name"),
            ),
        ] {
            assert_eq!(openai(&frames).1, expected, "{frames:?}");
        }
        let start = |block: &str| format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
        let end = [r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#, r#"{"type":"message_stop"}"#];
        let cut =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#;
        let used = start(r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#);
        for (frames, expected) in [
            (vec![start(r#"{"type":"text","text":"x"}"#)], broken("it ended without an end mark")),
            (
                vec![
                    used.clone(),
                    cut.to_owned(),
                    r#"{"type":"content_block_stop","index":0}"#.to_owned(),
                    end[0].to_owned(),
                    end[1].to_owned(),
                ],
                broken("the input of a call is no JSON"),
            ),
            (
                vec![r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#.to_owned()],
                Err(ModelError::Overloaded { retry_after: None }),
            ),
            (vec![cut.to_owned()], broken("a piece belongs to no block")),
            (vec!["{".to_owned()], broken("an event of it is no JSON")),
            (vec![start(r#"{"type":"tool_use","name":"n"}"#)], broken("a call has no id")),
        ] {
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            assert_eq!(anthropic(&frames).1, expected, "{frames:?}");
        }
        assert_eq!(told(Wire::Anthropic, &stream(&[end[1]])).1, broken("it ended before it began"));
    }

    #[test]
    fn an_answer_is_bounded() {
        let many: Vec<String> = (0..=MOST_CALLS)
            .map(|index| {
                delta(&format!(r#"{{"tool_calls":[{{"index":{index},"id":"c{index}","function":{{"name":"n"}}}}]}}"#))
            })
            .collect();
        let frames: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(openai(&frames).1, Err(TOO_MANY_CALLS));
        let piece = "a".repeat(4 << 20);
        let more = delta(&format!(
            r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"n","arguments":"{piece}"}}}}]}}"#
        ));
        assert_eq!(openai(&[&more, &more, &more]).1, Err(INPUT_TOO_LARGE));
        let text = delta(&format!(r#"{{"content":"{piece}"}}"#));
        let (_, answer) = openai(&[text.as_str(); 16]);
        assert_eq!(answer, Err(ANSWER_TOO_LARGE));
    }

    #[test]
    fn what_anthropic_sends_is_bounded_as_well() {
        let start = |index: usize, block: &str| {
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
        };
        let stop = |index: usize| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
        let use_of = |index: usize| format!(r#"{{"type":"tool_use","id":"t{index}","name":"n","input":{{}}}}"#);
        let ended: Vec<String> =
            (0..=MOST_CALLS).flat_map(|index| [start(index, &use_of(index)), stop(index)]).collect();
        let open: Vec<String> = (0..=128).map(|index| start(index, r#"{"type":"text","text":""}"#)).collect();
        let piece = "a".repeat(4 << 20);
        let more = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{piece}"}}}}"#
        );
        let input: Vec<String> = std::iter::once(start(0, &use_of(0))).chain(std::iter::repeat_n(more, 3)).collect();
        let too_open = ModelError::TooLarge { what: "it has more than 128 blocks at once", limit: 128 };
        for (frames, expected) in [(ended, TOO_MANY_CALLS), (open, too_open), (input, INPUT_TOO_LARGE)] {
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            assert_eq!(anthropic(&frames).1, Err(expected));
        }
    }

    #[test]
    fn what_it_took_so_far_is_told_when_the_provider_says_so() {
        let usage = |input, output| ModelEvent::Usage(TokenUsage { input, output, ..TokenUsage::default() });
        let frames = [
            r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":9}}"#,
        ];
        let (events, answer) = decoded(Wire::Anthropic, &stream(&frames), &[usize::MAX]);
        assert_eq!((events, answer.is_err()), (vec![usage(5, 1), usage(5, 9)], true), "though it broke off");
        let frames = [r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#];
        let (events, answer) = decoded(Wire::OpenAi, &stream(&frames), &[usize::MAX]);
        assert_eq!((events, answer.is_err()), (vec![usage(5, 1)], true));
    }

    #[test]
    fn what_is_behind_a_whole_answer_and_what_was_not_asked_for_is_no_part_of_it() {
        let (text, end) = (delta(r#"{"content":"x"}"#), finish("stop"));
        let other = r#"{"choices":[{"index":1,"delta":{"content":"another"},"finish_reason":"length"}]}"#;
        let whole = stream(&[&text, other, &end]);
        // The last one ends in the middle of a letter.
        for behind in [&b""[..], b"data: {\"cho", b"data: \xf0\x9f\xa6"] {
            let bytes = [&whole[..], behind].concat();
            let (parts, answer) = told(Wire::OpenAi, &bytes);
            assert_eq!(
                (parts, answer.map(|answer| answer.stop)),
                (vec![MessagePart::text("x")], Ok(ModelStop::EndTurn))
            );
        }
        let long = text.replace(r#""gpt""#, &format!(r#""{}""#, "m".repeat(201)));
        assert_eq!(openai(&[&long, &end]).1.unwrap().model, None, "a name that nobody has is not kept");
    }

    /// An answer with something of everything.
    fn sample(wire: Wire) -> Vec<u8> {
        match wire {
            Wire::OpenAi => stream(&[
                &delta(r#"{"reasoning_content":"hm 🦀"}"#),
                &delta(r#"{"content":"é\u00e9\ud83d"}"#),
                &delta(r#"{"content":"\ude00","refusal":"\ud83d\ude00"}"#),
                &delta(
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"n","arguments":"{\"a\":\"\ud83d"}}]}"#,
                ),
                &delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}"#),
                &finish("tool_calls"),
                r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
                "[DONE]",
                "more",
            ]),
            Wire::Anthropic => stream(&[
                r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":5}}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"hm 🦀\ud83d"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"\ude00"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
                r#"{"type":"content_block_stop","index":0}"#,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"odd","v":1.0}}"#,
                r#"{"type":"content_block_stop","index":1}"#,
                r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"n"}}"#,
                r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":\"\ud83d"}}"#,
                r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"\ude00\"}"}}"#,
                r#"{"type":"content_block_stop","index":2}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":2}}"#,
                r#"{"type":"message_stop"}"#,
                "more",
            ]),
        }
    }

    /// Frames of an answer in which each of these texts comes in pieces of its UTF-16, all of them by turns: reasoning, text, a block or refusal, and
    /// the inputs of two calls.
    fn in_units(wire: Wire, texts: &[String; 5], sizes: &[usize]) -> Vec<u8> {
        let mut left: Vec<Vec<u16>> = texts.iter().map(|text| text.encode_utf16().collect()).collect();
        let mut sizes = sizes.iter().copied().cycle();
        let mut frames = match wire {
            Wire::OpenAi => vec![delta(
                r#"{"tool_calls":[{"index":3,"id":"a","function":{"name":"n"}},{"index":4,"id":"b","function":{"name":"n"}}]}"#,
            )],
            Wire::Anthropic => vec![r#"{"type":"message_start","message":{"id":"m"}}"#.to_owned()],
        };
        let blocks = [
            r#""type":"thinking""#,
            r#""type":"text""#,
            r#""type":"odd""#,
            r#""type":"tool_use","id":"a","name":"n""#,
            r#""type":"tool_use","id":"b","name":"n""#,
        ];
        if wire == Wire::Anthropic {
            frames.extend(blocks.iter().enumerate().map(|(index, block)| {
                format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{{block}}}}}"#)
            }));
        }
        while left.iter().any(|text| !text.is_empty()) {
            for (flow, text) in left.iter_mut().enumerate() {
                let taken = sizes.next().unwrap_or(1).min(text.len());
                let piece: String = text.drain(..taken).map(|unit| format!("\\u{unit:04x}")).collect();
                frames.push(match wire {
                    Wire::OpenAi => delta(&match flow {
                        0 => format!(r#"{{"reasoning":"{piece}"}}"#),
                        1 => format!(r#"{{"content":"{piece}"}}"#),
                        2 => format!(r#"{{"refusal":"{piece}"}}"#),
                        _ => format!(r#"{{"tool_calls":[{{"index":{flow},"function":{{"arguments":"{piece}"}}}}]}}"#),
                    }),
                    Wire::Anthropic => {
                        let (kind, name) = [("thinking_delta", "thinking"), ("text_delta", "text"), ("text_delta", "text")]
                            .get(flow)
                            .unwrap_or(&("input_json_delta", "partial_json"));
                        format!(r#"{{"type":"content_block_delta","index":{flow},"delta":{{"type":"{kind}","{name}":"{piece}"}}}}"#)
                    }
                });
            }
        }
        match wire {
            Wire::OpenAi => frames.push(finish("tool_calls")),
            Wire::Anthropic => {
                frames.extend((0..5).map(|index| format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
                frames.push(r#"{"type":"message_stop"}"#.to_owned());
            }
        }
        stream(&frames.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What came of each of those texts.
    fn of_units(events: Vec<ModelEvent>) -> [String; 5] {
        let mut parts = Vec::new();
        events.into_iter().for_each(|event| event.push_to(&mut parts));
        let (mut texts, mut calls) = (<[String; 5]>::default(), 3..);
        for part in parts {
            match part {
                MessagePart::Reasoning { text, .. } => texts[0].push_str(&text),
                MessagePart::Text(text) => texts[1].push_str(&text),
                MessagePart::Custom(json) => {
                    let block: Value = json.decode().unwrap();
                    let text = block.get("refusal").or_else(|| block.get("text")).and_then(Value::as_str);
                    texts[2].push_str(text.unwrap_or_default());
                }
                MessagePart::ToolCall(call) => texts[calls.next().unwrap()].push_str(call.input.as_str()),
                other => panic!("{other:?}"),
            }
        }
        texts
    }

    #[test]
    fn what_is_cut_within_a_character_is_joined_and_half_a_character_is_no_input() {
        let text = |pieces: &[&str]| {
            let frames: Vec<String> =
                pieces.iter().map(|piece| delta(&format!(r#"{{"content":"{piece}"}}"#))).collect();
            let frames = [frames, vec![finish("stop")]].concat();
            openai(&frames.iter().map(String::as_str).collect::<Vec<_>>()).0
        };
        assert_eq!(
            text(&["keep this: \\ud83d", "\\ude00 and this", " tail"]),
            [MessagePart::text("keep this: 😀 and this tail")]
        );
        assert_eq!(text(&["a \\ud83d", "b"]), [MessagePart::text("a \u{fffd}b")]);
        assert_eq!(text(&["a \\ud83d"]), [MessagePart::text("a \u{fffd}")]);
        let broken = |what| Err(ModelError::Broken { what });
        let (mended, not_mended) = (r#"{\"c\":\"rm /tmp/x"#, "/only \\ud83d");
        let arguments = |piece: &str| {
            delta(&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"n","arguments":"{piece}"}}}}]}}"#
            ))
        };
        let frames = [arguments(mended), arguments(not_mended), arguments(r#"\"}"#), finish("tool_calls")];
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        assert_eq!(openai(&frames), (vec![], broken(NO_INPUT)));
        let input = |piece: &str| {
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{piece}"}}}}"#
            )
        };
        let frames = [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}"#,
            &input(mended),
            &input(not_mended),
            &input(r#"\"}"#),
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        assert_eq!(anthropic(&frames), (vec![], broken(NO_INPUT)));
        // Nobody ended it, so nobody knows whether all of it came.
        let unended = [frames[0], &input("{}"), frames[5], frames[6]];
        assert_eq!(anthropic(&unended), (vec![], broken(NO_INPUT)));
    }

    #[test]
    fn the_signature_of_reasoning_comes_in_pieces_too() {
        let signed = |pieces: &[&str]| {
            let mut frames = vec![r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"hm\ud83d","signature":"x"}}"#.to_owned()];
            frames.extend(pieces.iter().map(|piece| {
                format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"signature_delta","signature":"{piece}"}}}}"#)
            }));
            frames.push(r#"{"type":"message_stop"}"#.to_owned());
            anthropic(&frames.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let thought = |signature: &str| {
            vec![MessagePart::Reasoning { text: "hm\u{fffd}".into(), signature: Some(signature.into()) }]
        };
        assert_eq!(signed(&[]).0, thought("x"));
        assert_eq!(signed(&["a\\ud83d", "\\ude00"]).0, thought("a😀"));
        assert_eq!(signed(&["a\\ud83d"]).1, Err(ModelError::Broken { what: "a signature of it is no text" }));
    }

    #[test]
    fn what_is_there_and_is_no_text_is_an_error() {
        for wrong in [
            r#"{"content":5}"#,
            r#"{"content":{"text":"x"}}"#,
            r#"{"content":"x","reasoning":[]}"#,
            r#"{"refusal":true}"#,
            r#"{"tool_calls":[{"index":0,"id":5,"function":{"name":"n"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":["n"]}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"n","arguments":5}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"n\ud83d"}}]}"#,
        ] {
            let (parts, answer) = openai(&[&delta(wrong), &finish("stop")]);
            assert!(matches!(answer, Err(ModelError::Broken { .. })), "{wrong}: {parts:?} {answer:?}");
        }
        for (block, more) in [
            (r#"{"type":"text","text":5}"#, "{}"),
            (r#"{"type":"text"}"#, r#"{"type":"text_delta","text":{}}"#),
            (r#"{"type":"thinking"}"#, r#"{"type":"thinking_delta","thinking":5}"#),
            (r#"{"type":"thinking"}"#, r#"{"type":"signature_delta","signature":5}"#),
            (r#"{"type":"tool_use","id":"t","name":"n"}"#, r#"{"type":"input_json_delta","partial_json":{}}"#),
            (r#"{"type":"odd","text":5}"#, r#"{"type":"text_delta","text":"x"}"#),
            (r#"{"type":5}"#, "{}"),
        ] {
            let begun = format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
            let more = format!(r#"{{"type":"content_block_delta","index":0,"delta":{more}}}"#);
            let frames = [begun.as_str(), &more, r#"{"type":"message_stop"}"#];
            let (parts, answer) = anthropic(&frames);
            assert!(matches!(answer, Err(ModelError::Broken { .. })), "{block} {more}: {parts:?} {answer:?}");
        }
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_within_its_characters_all_of_it_comes(
            is_openai in any::<bool>(),
            texts in prop::array::uniform5(prop::collection::vec(prop_oneof![Just('😀'), any::<char>()], 0..6)),
            sizes in prop::collection::vec(1_usize..4, 1..8),
            bytes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let wire = if is_openai { Wire::OpenAi } else { Wire::Anthropic };
            let mut texts = texts.map(|text| text.into_iter().collect::<String>());
            for input in &mut texts[3..] {
                *input = serde_json::json!({"text": &input}).to_string();
            }
            let (events, answer) = decoded(wire, &in_units(wire, &texts, &sizes), &bytes);
            prop_assert!(answer.is_ok(), "{:?}", answer);
            prop_assert_eq!(of_units(events), texts);
        }

        #[test]
        fn however_an_answer_is_cut_and_damaged_it_tells_the_same(
            is_openai in any::<bool>(),
            sizes in prop::collection::vec(1_usize..40, 1..8),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            end in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let wire = if is_openai { Wire::OpenAi } else { Wire::Anthropic };
            let mut bytes = sample(wire);
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(end.map_or(bytes.len(), |end| end.index(bytes.len())));
            let whole = decoded(wire, &bytes, &[usize::MAX]);
            prop_assert_eq!(&decoded(wire, &bytes, &sizes), &whole);
            prop_assert_eq!(&decoded(wire, &bytes, &[1]), &whole);
        }

        #[test]
        fn no_bytes_make_it_panic(is_openai in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let wire = if is_openai { Wire::OpenAi } else { Wire::Anthropic };
            let _ = decoded(wire, &bytes, &[3]);
        }
    }
}
