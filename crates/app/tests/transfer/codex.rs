//! Codex's transcripts: small ones that are written here, and real ones where they are at hand.
//!
//! Must not know: stores.

use serde_json::{Value, json};
use sessions_app::transfer::{Transcript, codex};
use sessions_domain::{Message, MessagePart};

use crate::ground::{Dice, Log, check_any, check_restored, fixture, lines_of, real_files, shown};

fn read(bytes: &[u8]) -> Transcript {
    codex::read(bytes).unwrap()
}

#[test]
fn an_answer_of_many_items_is_one_message_and_nothing_is_doubled() {
    let file = fixture("codex-plain.jsonl");
    let transcript = read(&file);
    let facts = transcript.facts.clone();
    assert_eq!(facts.session.as_deref(), Some("11111111-0000-7000-8000-000000000001"));
    assert_eq!(facts.cwd.as_deref(), Some("/home/ada/garden"));
    assert_eq!((facts.provider.as_deref(), facts.model.as_deref()), (Some("example"), Some("codex-example-1")));
    assert_eq!((facts.git_branch.as_deref(), facts.git_commit.as_deref()), (Some("main"), Some("abc123")));
    assert_eq!(transcript.report.repaired, []);
    assert_eq!(transcript.report.set_aside, []);
    let usage = serde_json::to_value(transcript.report.usage).unwrap();
    assert_eq!(usage, json!({"input": 130, "output": 60, "cache_read": 120, "cache_write": 0, "reasoning": 14}));
    let log = Log::of(transcript);
    assert_eq!(
        log.visible(),
        [
            "s: Answer shortly.",
            "u: <environment_context>",
            "u: Which beds are there?",
            "a: (thinks) I look. ?call_1 ?call_2",
            "t: !call_1",
            "t: !call_2",
            "a: ?call_3 ?call_4 <custom>",
            "t: !call_3",
            "t: !call_4",
            "a: Three beds.",
        ]
    );
    let path = log.path(false);
    let of = |at: usize| path[at].1.clone();
    let inputs: Vec<String> =
        path.iter().flat_map(|(_, it)| it.calls().map(|call| call.input.as_str().to_owned())).collect();
    assert_eq!(inputs, [r#"{"cmd":"ls"}"#, r#""no json""#, r#""*** Begin\n""#, r#"{"type":"exec","command":["ls"]}"#]);
    assert!(of(4).results().all(|result| !result.is_error) && of(5).results().all(|result| result.is_error));
    let MessagePart::Reasoning { signature, .. } = &of(3).parts[0] else { panic!("no reasoning") };
    assert_eq!(signature.as_deref(), Some("sealed="));
    check_restored(&file, &log);
}

#[test]
fn a_compaction_a_rollback_and_a_fork_read_as_they_were_meant() {
    let file = fixture("codex-compaction.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.facts.parent.as_deref(), Some("22222222-0000-7000-8000-000000000000"));
    assert_eq!(transcript.report.usage.input, 40, "what the parent counted is the parent's");
    assert!(transcript.entries.iter().any(|entry| entry.is_compact_summary));
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: So far: a plan.", "u: Once more.", "a: Done."]);
    assert_eq!(log.path(true).len(), 5);
    assert_eq!(log.view.tree().branches().len(), 2, "what was rolled back is a branch");
    check_restored(&file, &log);
}

#[test]
fn what_is_wrong_is_reported_with_its_line() {
    let item = |payload: Value| {
        json!({"timestamp": "2026-01-05T09:00:00.000Z", "type": "response_item", "payload": payload}).to_string()
    };
    let said = |role: &str, text: &str| {
        item(json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}))
    };
    let call = |id: &str| item(json!({"type": "function_call", "name": "f", "arguments": "{}", "call_id": id}));
    let output = |id: &str| item(json!({"type": "function_call_output", "call_id": id, "output": "x"}));
    let lines = [
        said("user", "a"),
        "{\"timestamp\":".to_owned(),
        call("one"),
        output("two"),
        item(json!({"type": "never_heard_of"})),
        item(json!({"type": "message", "role": "user", "content": []})),
        said("user", "b"),
        r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"\ud83d"}]}}"#.to_owned(),
    ];
    let file = lines.join("\n");
    let transcript = read(file.as_bytes());
    assert_eq!(lines_of(&transcript.report.set_aside), [2, 5, 6]);
    assert_eq!(lines_of(&transcript.report.repaired), [3, 4, 8]);
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: a", "a: ?one", "t: !two", "u: b", "u: \u{fffd}"]);
    assert_eq!(log.repairs(false).len(), 2);
    check_restored(file.as_bytes(), &log);
}

#[test]
fn files_of_the_first_versions_are_read() {
    let lines = [
        r#"{"id":"old","timestamp":"2025-05-01T09:00:00.000Z","instructions":null,"git":{"branch":"main"}}"#,
        r#"{"record_type":"state"}"#,
        r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}"#,
        r#"{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"x"},{"type":"summary_text","text":"y"}]}"#,
        r#"{"type":"local_shell_call","call_id":"c","status":"completed","action":{"type":"exec","command":["ls"]}}"#,
    ];
    let file = lines.join("\r\n");
    let transcript = read(file.as_bytes());
    assert_eq!(
        (transcript.facts.session.as_deref(), transcript.facts.git_branch.as_deref()),
        (Some("old"), Some("main"))
    );
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: a", "a: (thinks) ?c"]);
    let Message { parts, .. } = &log.path(false)[1].1;
    assert_eq!(parts[0], MessagePart::Reasoning { text: "x\n\ny".into(), signature: None });
    check_restored(file.as_bytes(), &log);
}

#[test]
fn any_change_of_bytes_gives_a_typed_error_or_a_clean_log() {
    let mut dice = Dice(0xc0de);
    let files = [fixture("codex-plain.jsonl"), fixture("codex-compaction.jsonl")];
    for round in 0..600 {
        let mut file = files[round % 2].clone();
        for _ in 0..=dice.roll(6) {
            let at = dice.roll(file.len());
            match dice.roll(3) {
                0 => file[at] = dice.roll(256) as u8,
                1 => drop(file.remove(at)),
                _ => file.truncate(at.max(40)),
            }
        }
        if let Ok(transcript) = codex::read(&file[..]) {
            check_any(&file, transcript);
        }
    }
}

#[test]
fn real_rollouts_come_in_whole_and_go_out_byte_by_byte() {
    for path in real_files("codex") {
        let file = std::fs::read(&path).unwrap();
        let transcript = read(&file);
        assert_eq!(transcript.report.set_aside, [], "{}", path.display());
        let lines: Vec<Value> =
            file.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let count = |kinds: &[&str]| {
            let of = |value: &&Value| kinds.iter().any(|kind| value["payload"]["type"] == *kind);
            lines.iter().filter(|value| value["type"] == "response_item").filter(of).count() as u64
        };
        assert_eq!(transcript.report.tool_calls, count(&["function_call", "custom_tool_call"]));
        let unanswered = transcript.report.tool_calls - count(&["function_call_output", "custom_tool_call_output"]);
        let never = transcript.report.repaired.iter().filter(|it| it.what.contains("never answered")).count() as u64;
        assert_eq!(never, unanswered, "{:?}", transcript.report.repaired);
        // The last total is the sum of all that was counted.
        let mut totals = lines.iter().filter_map(|value| value["payload"]["info"]["total_token_usage"].as_object());
        let total = totals.next_back().unwrap();
        let (usage, of) = (transcript.report.usage, |name: &str| total[name].as_u64().unwrap());
        assert_eq!(usage.input + usage.cache_read, of("input_tokens"));
        assert_eq!((usage.output, usage.cache_read), (of("output_tokens"), of("cached_input_tokens")));
        println!("{}: {} messages", path.display(), transcript.report.messages);
        let log = Log::of(transcript);
        assert_eq!(log.repairs(false).len() as u64, unanswered);
        assert!(log.visible().iter().all(|message| shown_twice(&log, message)));
        // The texts are redacted to a few words each, so the names of fields weigh more than in a real one.
        assert!(log.bytes < file.len() * 3 / 2, "{} bytes of records for {}", log.bytes, file.len());
        check_restored(&file, &log);
    }
}

/// Redacted texts say their length and digest, so the same text twice would be the same message twice.
fn shown_twice(log: &Log, message: &str) -> bool {
    let answers = log.path(false).into_iter().filter(|(_, it)| it.role == sessions_domain::MessageRole::Assistant);
    answers.filter(|(_, it)| shown(it) == message).count() <= 1
}
