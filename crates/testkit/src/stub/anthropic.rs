//! What Anthropic's messages send.
//!
//! Must not know: HTTP.

use serde_json::{Value, json};

use super::scenario::{Refusal, Scenario};

fn event(data: &Value) -> String {
    let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n")
}

fn start(said: &Value) -> Vec<String> {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": said});
    vec![event(&json!({"type": "message_start", "message": message})), event(&json!({"type": "ping"}))]
}

fn known() -> Value {
    json!({"input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 10, "output_tokens": 1})
}

fn block(index: u64, block: &Value, deltas: &[Value]) -> Vec<String> {
    let begun = event(&json!({"type": "content_block_start", "index": index, "content_block": block}));
    let deltas =
        deltas.iter().map(|delta| event(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
    let ended = event(&json!({"type": "content_block_stop", "index": index}));
    [begun].into_iter().chain(deltas).chain([ended]).collect()
}

fn text(index: u64, pieces: &[&str]) -> Vec<String> {
    let deltas: Vec<Value> = pieces.iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
    block(index, &json!({"type": "text", "text": ""}), &deltas)
}

fn call(index: u64, id: &str, name: &str, pieces: &[&str]) -> Vec<String> {
    let deltas: Vec<Value> =
        pieces.iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect();
    block(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}), &deltas)
}

fn end(reason: &str, said: &Value) -> Vec<String> {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    vec![
        event(&json!({"type": "message_delta", "delta": delta, "usage": said})),
        event(&json!({"type": "message_stop"})),
    ]
}

pub(super) fn begun() -> Vec<String> {
    let mut said = text(0, &["Hi"]);
    said.pop();
    [start(&known()), said].concat()
}

/// The frames of an answer that comes to its end.
pub(super) fn answer(scenario: Scenario) -> Option<Vec<String>> {
    let seven = json!({"output_tokens": 7});
    let whole = |blocks: Vec<String>, reason: &str| [start(&known()), blocks, end(reason, &seven)].concat();
    let hi = || text(0, &["Hi"]);
    Some(match scenario {
        Scenario::Text => whole(text(0, &["Hi ", "🦀", " there"]), "end_turn"),
        Scenario::Calls => {
            let calls = [call(1, "toolu_1", "read", &["", "{\"path\":", "\"a\"}"]), call(2, "toolu_2", "list", &[])];
            whole([text(0, &["I look."]), calls.concat()].concat(), "tool_use")
        }
        Scenario::Reasoning => {
            let said = ["hm", ", so"].map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            let signed = json!({"type": "signature_delta", "signature": "c2ln"});
            let deltas = [said.to_vec(), vec![signed]].concat();
            let thought = block(0, &json!({"type": "thinking", "thinking": "", "signature": ""}), &deltas);
            whole([thought, text(1, &["Hi"])].concat(), "end_turn")
        }
        Scenario::UnknownBlock => {
            let begun = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}});
            let input = json!({"type": "input_json_delta", "partial_json": "{\"query\": \"crabs\"}"});
            let unknown = block(0, &begun, &[input, json!({"type": "brand_new_delta", "text": 1})]);
            let unheard = event(&json!({"type": "brand_new", "x": 1}));
            whole([unknown, vec![unheard], text(1, &["Hi"])].concat(), "end_turn")
        }
        Scenario::Citations => {
            let cited = json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "Hi."}});
            let said = json!({"type": "text_delta", "text": "Hi"});
            whole(block(0, &json!({"type": "text", "text": "", "citations": []}), &[cited, said]), "end_turn")
        }
        Scenario::Redacted => {
            let redacted = block(0, &json!({"type": "redacted_thinking", "data": "EuYBCoYBGAIi"}), &[]);
            whole([redacted, text(1, &["Hi"])].concat(), "end_turn")
        }
        Scenario::Empty => whole(vec![], "end_turn"),
        Scenario::BehindTheEnd => {
            let behind = [error_frame(), "data: {\n\n".to_owned()];
            [whole(hi(), "end_turn"), behind.to_vec()].concat()
        }
        Scenario::Limit => whole(hi(), "max_tokens"),
        Scenario::NegativeUsage => {
            [start(&json!({"input_tokens": -1, "output_tokens": 1})), hi(), end("end_turn", &seven)].concat()
        }
        Scenario::HugeUsage => {
            let huge = json!({"output_tokens": 1_000_000_000_000_000_000_u64});
            [start(&json!({"input_tokens": 30})), hi(), end("end_turn", &huge)].concat()
        }
        Scenario::NoUsage => [start(&json!(null)), hi(), end("end_turn", &json!(null))].concat(),
        Scenario::HighIndex => whole(call(u64::from(u32::MAX), "toolu_1", "read", &["{}"]), "tool_use"),
        _ => return None,
    })
}

/// Status and body of a refusal.
pub(super) fn refusal(why: Refusal) -> (u16, String) {
    let (status, kind, message) = match why {
        Refusal::Rate => (429, "rate_limit_error", "This request would exceed your organization's rate limit"),
        Refusal::Quota => (400, "invalid_request_error", "Your credit balance is too low to access the API"),
        Refusal::Overloaded => (529, "overloaded_error", "Overloaded"),
        Refusal::Server => (500, "api_error", "Internal server error"),
        Refusal::Denied => (401, "authentication_error", "invalid x-api-key"),
        Refusal::UnknownModel => (404, "not_found_error", "model: m"),
        Refusal::TooLong => (400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
        Refusal::TooLarge => (413, "request_too_large", "Request exceeds the maximum size"),
    };
    let error = json!({"type": kind, "message": message});
    (status, json!({"type": "error", "error": error, "request_id": "req_1"}).to_string())
}

/// An error within an answer.
pub(super) fn error_frame() -> String {
    event(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
}
