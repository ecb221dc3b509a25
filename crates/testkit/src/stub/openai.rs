//! What OpenAI's chat completions send.
//!
//! Must not know: HTTP.

use serde_json::{Value, json};

use super::scenario::{Refusal, Scenario};

pub(super) fn frame(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn chunk(delta: &Value, reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
    frame(
        &json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_763_800_000, "model": "m-1", "choices": [choice], "usage": null}),
    )
}

pub(super) fn text(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

fn usage(usage: &Value) -> String {
    frame(
        &json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m-1", "choices": [], "usage": usage}),
    )
}

fn end(reason: &str, said: Option<&Value>) -> Vec<String> {
    let said = said.map(usage);
    [chunk(&json!({}), Some(reason))].into_iter().chain(said).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn known() -> Value {
    json!({"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
        "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 2}})
}

pub(super) fn begun() -> Vec<String> {
    let first = chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None);
    vec![": keep-alive\n\n".to_owned(), first, text("Hi")]
}

fn call(index: u64, id: &str, name: &str) -> String {
    let function = json!({"name": name, "arguments": ""});
    chunk(&json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}), None)
}

fn input(index: u64, piece: &str) -> String {
    chunk(&json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), None)
}

/// The frames of an answer that comes to its end.
pub(super) fn answer(scenario: Scenario) -> Option<Vec<String>> {
    let hi = |reason: &str, said: Option<&Value>| [begun(), end(reason, said)].concat();
    Some(match scenario {
        Scenario::Text => {
            let pieces = ["Hi ", "🦀", " there"].map(text);
            [pieces.to_vec(), end("stop", Some(&known()))].concat()
        }
        Scenario::Calls => {
            let calls = [
                text("I look."),
                call(0, "call_1", "read"),
                input(0, "{\"path\":"),
                call(1, "call_2", "list"),
                input(0, "\"a\"}"),
            ];
            [calls.to_vec(), end("tool_calls", Some(&known()))].concat()
        }
        Scenario::Reasoning => {
            let pieces = ["hm", ", so"].map(|piece| chunk(&json!({"reasoning_content": piece}), None));
            [pieces.to_vec(), hi("stop", Some(&known()))].concat()
        }
        Scenario::Empty => end("stop", Some(&known())),
        Scenario::BehindTheEnd => {
            let behind = [error_frame(), "data: {\n\n".to_owned(), text("never said")];
            [hi("stop", Some(&known())), behind.to_vec()].concat()
        }
        Scenario::Limit => hi("length", Some(&known())),
        Scenario::NegativeUsage => hi("stop", Some(&json!({"prompt_tokens": -1, "completion_tokens": 7}))),
        Scenario::HugeUsage => {
            hi("stop", Some(&json!({"prompt_tokens": 30, "completion_tokens": 1_000_000_000_000_000_000_u64})))
        }
        Scenario::NoUsage => hi("stop", None),
        Scenario::HighIndex => {
            let index = u64::from(u32::MAX);
            [vec![call(index, "call_1", "read"), input(index, "{}")], end("tool_calls", Some(&known()))].concat()
        }
        _ => return None,
    })
}

/// Status and body of a refusal.
pub(super) fn refusal(why: Refusal) -> (u16, String) {
    let (status, kind, code, message) = match why {
        Refusal::Rate => (429, "tokens", json!("rate_limit_exceeded"), "Rate limit reached for m-1"),
        Refusal::Quota => (
            429,
            "insufficient_quota",
            json!("insufficient_quota"),
            "You exceeded your current quota, please check your plan",
        ),
        Refusal::Overloaded => (503, "server_error", json!(null), "The engine is currently overloaded"),
        Refusal::Server => (500, "server_error", json!(null), "The server had an error"),
        Refusal::Denied => (401, "invalid_request_error", json!("invalid_api_key"), "Incorrect API key provided"),
        Refusal::UnknownModel => (
            404,
            "invalid_request_error",
            json!("model_not_found"),
            "The model `m` does not exist or you do not have access to it",
        ),
        Refusal::TooLong => (
            400,
            "invalid_request_error",
            json!("context_length_exceeded"),
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
        ),
        Refusal::TooLarge => (413, "invalid_request_error", json!(null), "Request too large"),
    };
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    (status, json!({"error": error}).to_string())
}

/// An error within an answer.
pub(super) fn error_frame() -> String {
    frame(&json!({"error": {"message": "The server is overloaded", "type": "overloaded_error", "code": null}}))
}
