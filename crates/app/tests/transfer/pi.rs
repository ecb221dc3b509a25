//! pi's sessions: small ones that are written here, and real ones where they are at hand.
//!
//! Must not know: stores.

use serde_json::{Value, json};
use sessions_app::transfer::{Transcript, pi};
use sessions_domain::{
    MessagePart,
    money::{Currency, Money},
};

use crate::ground::{Dice, Log, check_any, check_restored, fixture, lines_of, real_files};

fn read(bytes: &[u8]) -> Transcript {
    pi::read(bytes).unwrap()
}

#[test]
fn a_tree_reads_as_it_was_meant() {
    let file = fixture("pi-tree.jsonl");
    let transcript = read(&file);
    let facts = transcript.facts.clone();
    assert_eq!(facts.session.as_deref(), Some("33333333-0000-4000-8000-000000000001"));
    assert_eq!(facts.title.as_deref(), Some("Garden"));
    assert_eq!(facts.parent.as_deref(), Some("/home/ada/earlier.jsonl"));
    assert_eq!((facts.provider.as_deref(), facts.version.as_deref()), (Some("example"), Some("3")));
    assert_eq!((lines_of(&transcript.report.repaired), lines_of(&transcript.report.set_aside)), (vec![], vec![]));
    assert_eq!((transcript.report.usage.input, transcript.report.usage.cache_read), (36, 4));
    let log = Log::of(transcript);
    assert_eq!(
        log.visible(),
        [
            "u: Which beds are there?",
            "a: (thinks) I look. ?c1 ?c2",
            "t: !c1",
            "t: !c2",
            "u: Left: peas.",
            "u: And beans? <custom>",
            "a: May. <error>"
        ]
    );
    let path = log.path(false);
    assert_eq!(path[1].1.metadata.cost.as_deref(), Some("0.25 USD"));
    assert!(path[3].1.results().all(|result| result.is_error));
    assert_eq!(log.view.tree().branches().len(), 2);
    check_restored(&file, &log);
}

#[test]
fn a_compaction_is_a_clear_and_all_before_it_stays_reachable() {
    let file = fixture("pi-flat.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.report.repaired, []);
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: So far: a plan.", "u: ls bed.txt", "a: Done."]);
    assert_eq!(log.path(true).len(), 5);
    check_restored(&file, &log);
}

/// A call that nothing was written down of is no answer, so its cost is left aside here as well.
#[test]
fn what_calls_cost_is_what_their_file_says() {
    for path in real_files("pi") {
        let file = std::fs::read(&path).unwrap();
        let mut calls = 0_u32;
        let mut told = 0.0;
        for line in file.split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
            let message = &line["message"];
            let says = message["content"].as_array().is_some_and(|blocks| !blocks.is_empty());
            let cost = message["usage"]["cost"]["total"].as_f64().filter(|cost| *cost > 0.0);
            if let Some(cost) = cost.filter(|_| says && message["role"] == "assistant") {
                calls += 1;
                told += cost;
            }
        }
        let transcript = read(&file);
        let messages = transcript.entries.iter().filter_map(|entry| entry.message());
        let costs: Vec<Money> =
            messages.filter_map(|message| message.metadata.cost.as_deref()).map(|cost| cost.parse().unwrap()).collect();
        let sum = costs.iter().fold(Money::zero(Currency::USD), |sum, cost| sum.checked_add(*cost).unwrap());
        println!("{}: {calls} calls, {told} told, {sum}", path.display());
        assert_eq!(costs.len(), calls as usize, "{}", path.display());
        assert!(calls > 0 && (sum.picos() as f64 / 1e12 - told).abs() < 1e-9, "{}: {sum}", path.display());
    }
}

#[test]
fn what_is_wrong_is_reported_with_its_line() {
    let line = |id: &str, parent: Value, message: Value| {
        json!({"type": "message", "id": id, "parentId": parent, "timestamp": "2026-01-05T09:00:00.000Z", "message": message}).to_string()
    };
    let call =
        json!({"role": "assistant", "content": [{"type": "toolCall", "id": "one", "name": "f", "arguments": {}}]});
    let result = json!({"role": "toolResult", "toolCallId": "two", "content": [], "isError": false});
    let lines = [
        line("a", Value::Null, json!({"role": "user", "content": "a"})),
        "{".to_owned(),
        line("b", json!("a"), call),
        line("c", json!("b"), result),
        line("d", json!("gone"), json!({"role": "user", "content": "d"})),
        line("e", json!("d"), json!({"role": "user", "content": ""})),
        json!({"type": "never_heard_of", "id": "f", "parentId": "e"}).to_string(),
    ];
    let file = lines.join("\n");
    let transcript = read(file.as_bytes());
    assert_eq!(lines_of(&transcript.report.set_aside), [2, 6, 7]);
    assert_eq!(lines_of(&transcript.report.repaired), [3, 4, 5]);
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: a", "a: ?one", "t: !two", "u: d"]);
    check_restored(file.as_bytes(), &log);
}

#[test]
fn any_change_of_bytes_gives_a_typed_error_or_a_clean_log() {
    let mut dice = Dice(0x314);
    let files = [fixture("pi-tree.jsonl"), fixture("pi-flat.jsonl")];
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
        if let Ok(transcript) = pi::read(&file[..]) {
            check_any(&file, transcript);
        }
    }
}

#[test]
fn real_sessions_come_in_whole_and_go_out_byte_by_byte() {
    for path in real_files("pi") {
        let file = std::fs::read(&path).unwrap();
        let transcript = read(&file);
        assert_eq!(transcript.report.set_aside, [], "{}", path.display());
        let lines: Vec<Value> =
            file.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let of_role =
            |role: &str| lines.iter().filter(|value| value["message"]["role"] == role).cloned().collect::<Vec<_>>();
        let calls = |value: &Value| {
            value["message"]["content"].as_array().unwrap().iter().filter(|it| it["type"] == "toolCall").count() as u64
        };
        let answers = of_role("assistant");
        assert_eq!(transcript.report.tool_calls, answers.iter().map(calls).sum::<u64>());
        let output = answers.iter().filter_map(|value| value["message"]["usage"]["output"].as_u64()).sum::<u64>();
        assert_eq!(transcript.report.usage.output, output);
        let results = of_role("toolResult").len() as u64;
        println!(
            "{}: {} messages, {} results, {:?}",
            path.display(),
            transcript.report.messages,
            results,
            transcript.report.repaired.len()
        );
        let errors = transcript.entries.iter().filter_map(|entry| entry.message()).flat_map(|it| &it.parts);
        assert!(errors.filter(|part| matches!(part, MessagePart::Error { .. })).count() > 0);
        check_any(&file, transcript);
    }
}
