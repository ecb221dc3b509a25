//! What Ollama sends where it speaks OpenAI's chat completions: reasoning under another name, calls whole, `load` as a reason, errors of its own.
//!
//! Must not know: HTTP.

use serde_json::{Value, json};

use super::{
    openai::{frame, text},
    scenario::{Refusal, Scenario},
};

fn chunk(message: &Value, reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": message, "finish_reason": reason});
    frame(&json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_763_800_000, "model": "m-1",
        "system_fingerprint": "fp_ollama", "choices": [choice]}))
}

fn end(reason: &str) -> Vec<String> {
    let said = json!({"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27});
    let usage = frame(&json!({"id": "chatcmpl-1", "model": "m-1", "choices": [], "usage": said}));
    vec![chunk(&json!({"role": "assistant", "content": ""}), Some(reason)), usage, "data: [DONE]\n\n".to_owned()]
}

pub(super) fn begun() -> Vec<String> {
    vec![text("Hi")]
}

/// The frames of an answer that comes to its end.
pub(super) fn answer(scenario: Scenario) -> Option<Vec<String>> {
    Some(match scenario {
        Scenario::Text => [["Hi ", "🦀", " there"].map(text).to_vec(), end("stop")].concat(),
        Scenario::Calls => {
            let call = |id: &str, index: u64, name: &str, input: &str| json!({"id": id, "index": index, "type": "function", "function": {"name": name, "arguments": input}});
            let calls = [call("call_1", 0, "read", r#"{"path":"a"}"#), call("call_2", 1, "list", "{}")];
            let calls = chunk(&json!({"role": "assistant", "content": "", "tool_calls": calls}), None);
            [vec![text("I look."), calls], end("tool_calls")].concat()
        }
        Scenario::Reasoning => {
            let piece = |piece| chunk(&json!({"role": "assistant", "content": "", "reasoning": piece}), None);
            [["hm", ", so"].map(piece).to_vec(), begun(), end("stop")].concat()
        }
        Scenario::Limit => [begun(), end("length")].concat(),
        Scenario::Loaded => end("load"),
        _ => return None,
    })
}

/// Status and body of a refusal.
pub(super) fn refusal(why: Refusal) -> Option<(u16, String)> {
    let (status, kind, message) = match why {
        Refusal::Server => (500, "api_error", "llama runner process has terminated"),
        Refusal::UnknownModel => (404, "not_found_error", "model 'm' not found"),
        Refusal::Overloaded => (503, "api_error", "server busy, please try again"),
        _ => return None,
    };
    Some((status, json!({"error": {"message": message, "type": kind, "param": null, "code": null}}).to_string()))
}

/// An error within an answer.
pub(super) fn error_frame() -> String {
    frame(&json!({"error": {"message": "an error was encountered while running the model", "type": "api_error"}}))
}
