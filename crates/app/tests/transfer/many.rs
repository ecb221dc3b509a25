//! A thousand sessions of three programs, as a folder would have them.
//!
//! Must not know: how lines are spelled.

use serde_json::json;
use sessions_app::{AppendOutcome, Query};

use crate::ground::{host, import, lines_of};

/// A conversation of a program, of so many turns. What is wrong with it depends on its number: nothing, a line that is no JSON, a result
/// nobody asked for, a call that nobody answered, or a parent that is not there; with the line that tells of it.
fn conversation(number: usize, turns: usize) -> (String, Option<u64>) {
    let mut lines: Vec<String> = Vec::new();
    let mut said = |id: &str, parent: &str, kind: Said<'_>| {
        let line = match number % 3 {
            0 => claude(number, id, parent, kind),
            1 => codex(kind),
            _ => pi(id, parent, kind),
        };
        lines.push(line);
        lines.len() as u64
    };
    let mut wrong = None;
    let mut parent = String::new();
    for turn in 0..turns {
        let ids = [0, 1, 2, 3].map(|at| format!("{turn}-{at}"));
        let call = format!("call-{number}-{turn}");
        said(&ids[0], &parent, Said::Asks);
        let at = said(&ids[1], &ids[0], Said::Calls(&call));
        match (number % 5, turn) {
            (1, 0) => wrong = Some(said(&ids[2], &ids[1], Said::Nonsense)),
            (3, 0) => wrong = Some(at),
            _ => {}
        }
        let mut before = ids[1].as_str();
        if (number % 5, turn) != (3, 0) {
            said(&format!("{turn}-r"), &ids[1], Said::Gives(&call));
            before = "r";
        }
        let before = if before == "r" { format!("{turn}-r") } else { before.to_owned() };
        if (number % 5, turn) == (2, 0) {
            wrong = Some(said(&ids[2], &before, Said::Gives("nobody")));
        }
        // A rollout has no parents.
        let is_adrift = (number % 5, turn) == (4, 1) && number % 3 != 1;
        let at = said(&ids[3], if is_adrift { "gone" } else { &before }, Said::Answers);
        wrong = if is_adrift { Some(at) } else { wrong };
        parent.clone_from(&ids[3]);
    }
    (lines.join("\n") + "\n", wrong)
}

#[derive(Clone, Copy)]
enum Said<'a> {
    Asks,
    Calls(&'a str),
    Gives(&'a str),
    Answers,
    Nonsense,
}

fn claude(number: usize, id: &str, parent: &str, said: Said<'_>) -> String {
    let (kind, content) = match said {
        Said::Asks => ("user", json!("What now?")),
        Said::Calls(call) => ("assistant", json!([{"type": "tool_use", "id": call, "name": "f", "input": {}}])),
        Said::Gives(call) => ("user", json!([{"type": "tool_result", "tool_use_id": call, "content": "x"}])),
        Said::Answers => ("assistant", json!([{"type": "text", "text": "This."}])),
        Said::Nonsense => return "{\"type\":".to_owned(),
    };
    let parent = (!parent.is_empty()).then_some(parent);
    json!({"type": kind, "uuid": id, "parentUuid": parent, "sessionId": format!("s{number}"), "message": {"content": content}}).to_string()
}

fn codex(said: Said<'_>) -> String {
    let payload = match said {
        Said::Asks => {
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What now?"}]})
        }
        Said::Calls(call) => json!({"type": "function_call", "name": "f", "arguments": "{}", "call_id": call}),
        Said::Gives(call) => json!({"type": "function_call_output", "call_id": call, "output": "x"}),
        Said::Answers => {
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "This."}]})
        }
        Said::Nonsense => return "{\"type\":".to_owned(),
    };
    json!({"type": "response_item", "payload": payload}).to_string()
}

fn pi(id: &str, parent: &str, said: Said<'_>) -> String {
    let message = match said {
        Said::Asks => json!({"role": "user", "content": "What now?"}),
        Said::Calls(call) => {
            json!({"role": "assistant", "content": [{"type": "toolCall", "id": call, "name": "f", "arguments": {}}]})
        }
        Said::Gives(call) => {
            json!({"role": "toolResult", "toolCallId": call, "content": [{"type": "text", "text": "x"}]})
        }
        Said::Answers => json!({"role": "assistant", "content": [{"type": "text", "text": "This."}]}),
        Said::Nonsense => return "{\"type\":".to_owned(),
    };
    let parent = (!parent.is_empty()).then_some(parent);
    json!({"type": "message", "id": id, "parentId": parent, "timestamp": "2026-01-05T09:00:00.000Z", "message": message}).to_string()
}

/// The file of a session: what names it, and the conversation.
fn file(number: usize, turns: usize) -> (Vec<u8>, Option<u64>) {
    let (text, wrong) = conversation(number, turns);
    let name = match number % 3 {
        1 => json!({"type": "session_meta", "payload": {"id": format!("c{number}")}}).to_string() + "\n",
        2 => json!({"type": "session", "version": 3, "id": format!("p{number}"), "timestamp": "2026-01-05T09:00:00.000Z"}).to_string() + "\n",
        _ => String::new(),
    };
    let before = u64::from(!name.is_empty());
    ((name + &text).into_bytes(), wrong.map(|line| line + before))
}

#[tokio::test]
async fn a_thousand_sessions_come_in_once_and_each_tells_what_is_wrong() {
    const SESSIONS: usize = 1_000;
    let there = host(1);
    for number in 0..SESSIONS {
        let (bytes, wrong) = file(number, 3);
        let report = import(&there, &bytes).await.unwrap();
        assert_eq!(report.outcome, AppendOutcome::Inserted);
        let told = [lines_of(&report.report.repaired), lines_of(&report.report.set_aside)].concat();
        assert_eq!(told, wrong.into_iter().collect::<Vec<_>>(), "{number}: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(report.report.tool_calls, 3);
    }
    for number in 0..SESSIONS {
        // Each tenth has grown since.
        let (bytes, _) = file(number, if number % 10 == 0 { 4 } else { 3 });
        let report = import(&there, &bytes).await.unwrap();
        assert_eq!(report.grown.is_some(), number % 10 == 0, "{number}");
    }
    let query = Query { limit: 2 * SESSIONS, ..Query::default() };
    let rows = there.list(&query).await.unwrap().sessions;
    assert_eq!(rows.len(), SESSIONS);
}
