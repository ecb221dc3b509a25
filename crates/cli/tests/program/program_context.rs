//! What a model is sent, through the program: `context`, `compact`, `uncompact`, `instruct`, `tokens`.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sessions_testkit::stub::{Reply, Stub};

use crate::{Desk, finish, has_fields};

/// Desk with a session of many turns, whose oldest have a call with a long result.
fn worked() -> Desk {
    let desk = Desk::new();
    desk.one(&["new", "--key", "k"]);
    let mut lines = vec![json!({"role": "system", "content": "be careful"})];
    for turn in 0..20 {
        lines.push(json!({"role": "user", "content": format!("question {turn} about the red build")}));
        let call = format!("c{turn}");
        lines.push(json!({"role": "assistant", "parts": [{"type": "tool-call", "call_id": call, "name": "read", "input": {"path": "src/lib.rs"}}]}));
        lines.push(json!({"role": "tool", "parts": [{"type": "tool-result", "call_id": call, "content": "fn main() {}\n".repeat(80)}]}));
        lines.push(json!({"role": "assistant", "content": format!("answer {turn}: the import was missing")}));
    }
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(desk.run_with(&["append", "k", "--jsonl", "--json"], input.as_bytes()).code, 0);
    desk
}

#[test]
fn a_context_is_in_the_form_that_was_asked_for_and_within_the_budget() {
    let desk = worked();
    let all = desk.one(&["context", "k"]);
    has_fields(&all, &["messages", "tokens", "repairs"]);
    assert_eq!(
        (all["messages"].as_array().unwrap().len(), &all["repairs"], &all["estimate"]),
        (81, &json!([]), &json!(true))
    );
    let few = desk.one(&["context", "k", "--max-tokens", "800"]);
    assert!(few["tokens"].as_u64().unwrap() <= 800 && few["cut"] == json!(true));
    assert_eq!((&few["messages"][0]["role"], &few["messages"][1]["role"]), (&json!("system"), &json!("user")));

    let openai = desk.one(&["context", "k", "--format", "openai"]);
    assert_eq!(openai["messages"][2]["tool_calls"][0]["function"]["arguments"], json!(r#"{"path":"src/lib.rs"}"#));
    assert_eq!(openai["messages"][3]["tool_call_id"], json!("c0"));
    let anthropic = desk.one(&["context", "k", "--format", "anthropic"]);
    has_fields(&anthropic, &["system", "messages", "tokens"]);
    assert_eq!(anthropic["messages"][2]["content"][0]["type"], json!("tool_result"));
    let model = desk.one(&["context", "k", "--model", "gpt-4o"]);
    assert_eq!(model["messages"], openai["messages"]);
    let seen = desk.run(&["context", "k", "--max-tokens", "800"]);
    assert!(seen.stdout.contains("instructions") && seen.stdout.contains("older turns do not fit"), "{}", seen.stdout);
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_hint() {
    let desk = worked();
    let unknown = desk.run(&["context", "k", "--model", "gpt-4p", "--json"]).refused(3, "not_found");
    assert!(unknown["message"].as_str().unwrap().contains("gpt-4o"), "{unknown}");
    desk.one(&["instruct", "k", &"be very careful ".repeat(40)]);
    let small = desk.run(&["context", "k", "--max-tokens", "20", "--json"]).refused(1, "refused");
    assert!(small["hint"].as_str().unwrap().contains("raise the budget"), "{small}");
    desk.run(&["context", "k", "--max-tokens", "0", "--json"]).refused(2, "usage");
    desk.run(&["context", "k", "--format", "yaml", "--json"]).refused(2, "usage");
    desk.run(&["uncompact", "k", "--json"]).refused(1, "refused");
    desk.one(&["new", "--key", "empty"]);
    desk.run(&["compact", "empty", "--json"]).refused(1, "failed");
}

#[test]
fn a_compaction_is_planned_made_shown_and_taken_away() {
    let desk = worked();
    let before = desk.one(&["context", "k"]);
    let planned = desk.one(&["compact", "k", "--max-tokens", "1000", "--dry-run"]);
    assert_eq!(planned["target"], json!(1_000));
    assert_eq!((planned["version"].is_null(), desk.one(&["context", "k"]) == before), (true, true));
    let made = desk.one(&["compact", "k", "--max-tokens", "1000"]);
    has_fields(&made, &["before", "after", "target", "covers", "version", "summary"]);
    assert_eq!((&made["before"], &made["covers"]), (&before["tokens"], &planned["covers"]));
    let after = desk.one(&["context", "k"]);
    assert_eq!((&after["tokens"], &after["summary"]), (&made["after"], &made["compaction"]));
    assert!(made["after"].as_u64().unwrap() <= 1_000);
    let shown = desk.json(&["show", "k"]);
    let covered = shown.iter().filter(|message| message["covered_by"] == made["compaction"]).count();
    assert_eq!((shown.len(), json!(covered)), (81, made["covers"].clone()));
    assert!(desk.run(&["show", "k"]).stdout.contains("(summarised)"));
    desk.one(&["uncompact", "k"]);
    assert_eq!(desk.one(&["context", "k"]), before);
}

#[test]
fn a_compaction_says_who_made_the_summary_and_when_its_target_is_missed() {
    let desk = worked();
    let made = desk.run(&["compact", "k", "--max-tokens", "1000", "--once", "a"]);
    assert!(made.stdout.contains("a summary that no model wrote stands for "), "{made:?}");
    assert!(!made.stderr.contains("reached"), "{made:?}");
    let reused = desk.run(&["compact", "k", "--max-tokens", "900", "--once", "a", "--json"]).refused(4, "conflict");
    assert!(!reused.to_string().contains("message; take"), "it is no message: {reused}");
    desk.one(&["uncompact", "k"]);

    // What is pinned stays, so the target is missed.
    let pinned = desk.one(&["append", "k", "--role", "user", &"stay ".repeat(400)]);
    desk.one(&["pin", "k", pinned["id"].as_str().unwrap()]);
    let missed = desk.run(&["compact", "k", "--max-tokens", "300"]);
    assert!(missed.code == 0 && missed.stderr.contains("the target of 300 tokens was not reached"), "{missed:?}");
}

#[test]
fn the_target_that_nobody_named_is_told_when_it_is_missed_as_well() {
    let desk = worked();
    let half = desk.one(&["compact", "k", "--dry-run"]);
    assert_eq!(half["target"].as_u64(), half["before"].as_u64().map(|before| before / 2));
    let pinned = desk.one(&["append", "k", "--role", "user", &"stay ".repeat(12_000)]);
    desk.one(&["append", "k", "--role", "assistant", "Noted."]);
    desk.one(&["pin", "k", pinned["id"].as_str().unwrap()]);
    let made = desk.run(&["compact", "k", "--json"]);
    let (report, notice) = (made.lines().remove(0), made.stderr.as_str());
    assert!(report["after"].as_u64() > report["target"].as_u64(), "{made:?}");
    assert!(
        made.code == 0 && notice.contains(&format!("the target of {} tokens was not", report["target"])),
        "{made:?}"
    );
}

#[test]
fn a_call_for_a_summary_that_ctrl_c_ends_is_in_the_ledger() {
    let desk = worked();
    let stub = Stub::start("key", vec![Reply::silence()]).unwrap();
    let provider = format!("{{ kind: openai, base_url: '{}', api_key_env: HOUSE_KEY }}", stub.address());
    let models = "{ house-7b: { provider: mine, window: 32768 } }";
    let file = format!("sessions: {{ model: house-7b, providers: {{ mine: {provider} }}, models: {models} }}");
    std::fs::write(desk.path("c.yaml"), file).unwrap();
    let mut command = desk.command(&["--config", "c.yaml", "compact", "k", "--by-model", "--max-tokens", "1000"]);
    let mut child = command.env("HOUSE_KEY", "key").stderr(Stdio::null()).spawn().unwrap();
    assert!(stub.wait_for_requests(1));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let calls = desk.json(&["tokens", "k", "--calls"]);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((&calls[0]["purpose"], &calls[0]["outcome"]), (&json!("compaction"), &json!("cancelled")), "{calls:?}");
    assert_eq!(desk.one(&["context", "k"])["summary"], Value::Null);
}

#[test]
fn a_model_writes_the_summary_where_that_is_asked_for() {
    let desk = worked();
    let none = desk.run(&["compact", "k", "--by-model", "--json"]).refused(2, "usage");
    assert!(none["hint"].as_str().unwrap().contains("--model"), "{none}");
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "c", "model": "m-1", "choices": [choice]}))
    };
    let text = SECTIONS.map(|heading| format!("## {heading}\n- the red build\n")).concat();
    let frames =
        [chunk(json!({"content": text}), Value::Null), chunk(json!({}), json!("stop")), "data: [DONE]\n\n".to_owned()];
    let stub = Stub::start("key", vec![Reply::stream(frames.into_iter().map(String::into_bytes))]).unwrap();
    let provider = format!("{{ kind: openai, base_url: '{}', api_key_env: HOUSE_KEY }}", stub.address());
    let models = "{ house-7b: { provider: mine, window: 32768 } }";
    let file = format!("sessions: {{ model: house-7b, providers: {{ mine: {provider} }}, models: {models} }}");
    std::fs::write(desk.path("c.yaml"), file).unwrap();
    let mut command = desk.command(&["--config", "c.yaml", "compact", "k", "--by-model", "--max-tokens", "1000"]);
    command.env("HOUSE_KEY", "key");
    let made = finish(command, b"");
    assert!(made.code == 0 && made.stdout.contains("a summary by m-1 stands for "), "{made:?}");
    assert!(made.stdout.contains("- the red build") && stub.asked().len() == 1, "{made:?}");
}

/// The headings of a summary.
const SECTIONS: [&str; 5] = ["Goal", "Decisions", "State", "Next step", "Files"];

#[test]
fn instructions_are_told_stated_and_taken_away() {
    let desk = worked();
    assert_eq!(desk.one(&["instruct", "k"])["instructions"], Value::Null);
    let stated = desk.one(&["instruct", "k", "be quick"]);
    assert_eq!((&stated["instructions"], &stated["changed"]), (&json!("be quick"), &json!(true)));
    let again = desk.one(&["instruct", "k", "be quick"]);
    assert_eq!((&again["version"], &again["changed"]), (&stated["version"], &json!(false)));
    assert_eq!(desk.one(&["context", "k"])["messages"][0]["parts"][0]["text"], json!("be quick"));
    let read = desk.run_with(&["instruct", "k", "-", "--json"], b"be brief\n");
    assert_eq!((read.code, &read.lines()[0]["instructions"]), (0, &json!("be brief")), "{read:?}");
    desk.run_with(&["instruct", "k", "-", "--json"], b"").refused(2, "usage");
    let dash = desk.run(&["--json", "instruct", "k", "--", "-"]);
    assert_eq!(dash.lines()[0]["instructions"], json!("-"), "{dash:?}");
    assert_eq!(desk.one(&["instruct", "k", "--none"])["instructions"], Value::Null);
    assert_eq!(desk.one(&["context", "k"])["messages"][0]["role"], json!("user"));
}

#[test]
fn tokens_tells_what_was_spent_and_how_full_the_window_is() {
    let desk = Desk::new();
    let answer = |id: &str| {
        let usage = json!({"input_tokens": 1_000_000, "output_tokens": 10_000, "cache_read_input_tokens": 0});
        json!({"type": "assistant", "uuid": id, "parentUuid": "u1", "sessionId": "s", "timestamp": "2026-10-01T00:00:00Z",
            "message": {"id": id, "role": "assistant", "model": "claude-opus-4-5", "content": [{"type": "text", "text": "done"}], "usage": usage}})
    };
    let question = json!({"type": "user", "uuid": "u1", "parentUuid": null, "sessionId": "s", "timestamp": "2026-10-01T00:00:00Z",
        "message": {"role": "user", "content": "do it"}});
    std::fs::write(desk.path("t.jsonl"), format!("{question}\n{}\n", answer("a1"))).unwrap();
    let id = desk.one(&["import", "t.jsonl"])["id"].as_str().unwrap().to_owned();
    let ledger = desk.one(&["tokens", &id]);
    has_fields(&ledger, &["models", "total", "context"]);
    // 5 dollars a million of input, 25 a million of output.
    assert_eq!(
        (&ledger["total"]["cost"], &ledger["total"]["usage"]["input"]),
        (&json!(["5.25 USD"]), &json!(1_000_000))
    );
    let window = desk.one(&["tokens", &id, "--model", "gpt-4o"])["context"].clone();
    assert_eq!((&window["model"], &window["state"]), (&json!("gpt-4o"), &json!("normal")));
    let calls = desk.json(&["tokens", &id, "--calls"]);
    assert_eq!(
        (calls.len(), &calls[0]["outcome"], &calls[0]["model"]),
        (1, &json!("taken"), &json!("claude-opus-4-5"))
    );
    assert_eq!(calls[0]["priced"], json!({"amount": "5.25 USD", "by": "table"}));
    desk.run(&["tokens", &id, "--model", "nobody", "--json"]).refused(3, "not_found");
}

#[test]
fn the_configuration_bounds_contexts_and_knows_models_of_ones_own() {
    let desk = worked();
    let file = "sessions:\n  tokens: { max_context_tokens: 700 }\n  models:\n    mine: { provider: ollama, window: 1000, reserved_output: 500 }\n";
    std::fs::write(desk.path("c.yaml"), file).unwrap();
    let bounded = desk.one(&["--config", "c.yaml", "context", "k"]);
    assert!(bounded["tokens"].as_u64().unwrap() <= 700);
    let mine = desk.one(&["--config", "c.yaml", "context", "k", "--model", "mine"]);
    assert!(mine["tokens"].as_u64().unwrap() <= 500 && mine["messages"][1]["role"] == json!("user"), "{mine}");
}

#[test]
fn show_tells_the_tokens_of_each_message_for_a_model() {
    let desk = Desk::new();
    desk.talk(&["hello world", "hello"]);
    let tokens = |arguments: &[&str], field: &str| -> Vec<Value> {
        desk.json(&[&["show", "k"], arguments].concat()).iter().map(|shown| shown[field].clone()).collect()
    };
    assert_eq!(tokens(&[], "tokens"), [Value::Null, Value::Null]);
    assert_eq!(tokens(&["--model", "gpt-4o"], "tokens"), [json!(2), json!(1)]);
    assert_eq!(tokens(&["--model", "gpt-4o"], "estimate"), [Value::Null, Value::Null]);
    assert_eq!(tokens(&["--model", "gpt-4o", "--last", "1"], "tokens"), [json!(1)]);
    desk.one(&["undo", "k"]);
    assert_eq!(tokens(&["--model", "gpt-4o", "--all"], "tokens"), [json!(2), json!(1)]);
    assert_eq!(tokens(&["--model", "claude-opus-4-5"], "estimate"), [json!(true)]);
    desk.one(&["redo", "k"]);
    let seen = desk.run(&["show", "k", "--model", "gpt-4o"]).stdout;
    assert!(seen.contains("  2 tokens\n") && seen.contains("  1 token\n"), "{seen}");
    assert!(!desk.run(&["show", "k"]).stdout.contains("token"));
    let unknown = desk.run(&["show", "k", "--model", "gpt-4p", "--json"]).refused(3, "not_found");
    assert!(unknown["message"].as_str().unwrap().contains("gpt-4o"), "{unknown}");
}
