//! Lists of messages as providers' APIs have them: small ones that are written here, and what goes out in their forms.
//!
//! Must not know: stores.

use serde_json::{Value, json};
use sessions_app::{
    AppendOutcome,
    transfer::{ExportFormat, Format, Transcript, anthropic, detect, openai},
};
use sessions_domain::{Message, MessagePart, MessageRole};

use crate::ground::{Dice, Log, check_any, exported, host, import, lines_of, session_of, visible};

fn read(format: Format, file: &str) -> Transcript {
    let read = match format {
        Format::OpenAi => openai::read(file.as_bytes()),
        _ => anthropic::read(file.as_bytes()),
    };
    read.unwrap_or_else(|error| panic!("{error}: {file}"))
}

/// A conversation with calls in parallel, a failed one, and what only the provider knows.
fn openai_messages() -> Vec<Value> {
    vec![
        json!({"role": "developer", "content": "Be brief."}),
        json!({"role": "user", "name": "ada", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}]}),
        json!({"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"n\": 1.10}"}},
            {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{broken"}},
            {"id": "c3", "type": "function", "function": {"name": "look", "arguments": ""}}]}),
        json!({"role": "tool", "tool_call_id": "c2", "content": "two"}),
        json!({"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "one"}]}),
        json!({"role": "tool", "tool_call_id": "c3", "content": null}),
        json!({"role": "assistant", "content": null, "refusal": "I will not say."}),
    ]
}

fn anthropic_messages() -> Vec<Value> {
    vec![
        json!({"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}),
        json!({"role": "assistant", "model": "m", "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 2}, "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"n": 1.1}}, {"type": "tool_use", "id": "c2", "name": "look", "input": {}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "one"}, {"type": "tool_result", "tool_use_id": "c2", "is_error": true, "content": "two"}, {"type": "text", "text": "And?"}]}),
        json!({"role": "assistant", "content": [{"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}, {"type": "text", "text": "A door."}]}),
    ]
}

/// The ways in which a list of messages may stand in a file.
fn files(messages: &[Value]) -> Vec<String> {
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let request = json!({"model": "gpt", "temperature": 1.0, "messages": messages});
    let list = Value::from(messages.to_vec());
    vec![
        lines,
        list.to_string(),
        serde_json::to_string_pretty(&list).unwrap() + "\n",
        request.to_string(),
        format!("\u{feff}{request:#}"),
    ]
}

#[test]
fn a_list_of_openai_reads_the_same_however_it_stands() {
    for file in files(&openai_messages()) {
        assert_eq!(detect(file.as_bytes()), Some(Format::OpenAi), "{file}");
        let transcript = read(Format::OpenAi, &file);
        assert_eq!(
            (lines_of(&transcript.report.repaired), lines_of(&transcript.report.set_aside)),
            (vec![], vec![]),
            "{file}"
        );
        let log = Log::of(transcript);
        assert_eq!(
            log.visible(),
            [
                "s: Be brief.",
                "u: What is it? <custom>",
                "a: I look. ?c1 ?c2 ?c3",
                "t: !c2",
                "t: !c1",
                "t: !c3",
                "a: <custom>"
            ]
        );
        let path = log.path(false);
        let inputs: Vec<&str> = path[2].1.calls().map(|call| call.input.as_str()).collect();
        assert_eq!(inputs, [r#"{"n": 1.10}"#, r#""{broken""#, "{}"]);
    }
}

#[test]
fn a_list_of_anthropic_reads_the_same_however_it_stands() {
    let messages = anthropic_messages();
    for file in files(&messages) {
        assert_eq!(detect(file.as_bytes()), Some(Format::Anthropic), "{file}");
        let transcript = read(Format::Anthropic, &file);
        assert_eq!(
            (lines_of(&transcript.report.repaired), lines_of(&transcript.report.set_aside)),
            (vec![], vec![]),
            "{file}"
        );
        assert_eq!((transcript.report.usage.input, transcript.report.usage.output), (3, 2));
        let log = Log::of(transcript);
        assert_eq!(
            log.visible(),
            ["u: What is it? <custom>", "a: (thinks) I look. ?c1 ?c2", "t: !c1 !c2", "u: And?", "a: <custom> A door."]
        );
        let metadata = &log.path(false)[1].1.metadata;
        assert_eq!((metadata.model.as_deref(), metadata.finish_reason.as_deref()), (Some("m"), Some("tool_use")));
    }
    let request = json!({"system": [{"type": "text", "text": "Be brief."}], "messages": messages});
    for file in [request.to_string(), format!("{request:#}")] {
        let log = Log::of(read(Format::Anthropic, &file));
        assert_eq!(log.visible()[0], "s: Be brief.");
    }
}

/// Every message comes back as an equal value, and lines to the letter.
#[test]
fn nothing_of_a_list_is_lost() {
    for (format, messages) in [(Format::OpenAi, openai_messages()), (Format::Anthropic, anthropic_messages())] {
        for (at, file) in files(&messages).into_iter().enumerate() {
            let log = Log::of(read(format, &file));
            let lines = sessions_app::transfer::restore_lines(&log.events).unwrap();
            let lines: Vec<String> = lines.into_iter().map(|(_, line)| String::from_utf8(line).unwrap()).collect();
            if at == 0 {
                assert_eq!(lines.join("\n") + "\n", file);
                let kept = log.path(false).into_iter().filter_map(|(_, message)| message.metadata.custom);
                let kept: String = kept.map(|json| json.as_str().to_owned()).collect();
                for text in ["I look.", "1.1", "iVBOR", "example.org"] {
                    assert!(!kept.contains(text), "{text} stands twice");
                }
            }
            let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let (said, beside): (Vec<Value>, Vec<Value>) =
                values.into_iter().partition(|value| value.get("role").is_some());
            assert_eq!(said, messages);
            let expected = (at > 2).then(|| json!({"model": "gpt", "temperature": 1.0, "messages": []}));
            assert_eq!(beside, Vec::from_iter(expected));
        }
    }
}

#[test]
fn what_is_wrong_is_reported_with_its_line() {
    let file = [
        r#"{"role":"user","content":"a"}"#,
        "nonsense",
        r#"{"role":"function","name":"f","content":"x"}"#,
        r#"{"role":"user","content":""}"#,
        r#"{"role":"tool","tool_call_id":"c9","content":"x"}"#,
        r#"{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}},{"id":"c1","function":{"name":"g","arguments":"{}"}}]}"#,
        r#"{"messages":[{"role":"user","content":"elsewhere"}]}"#,
        r#"{"role":"user","content":"b"}"#,
    ];
    let transcript = read(Format::OpenAi, &file.join("\n"));
    assert_eq!(lines_of(&transcript.report.set_aside), [2, 3, 4, 7]);
    assert_eq!(lines_of(&transcript.report.repaired), [5, 6]);
    let log = Log::of(transcript);
    assert_eq!(log.visible(), ["u: a", "t: !c9", "a: ?c1 <custom>", "u: b"]);
    let lines = sessions_app::transfer::restore_lines(&log.events).unwrap();
    let lines: Vec<&[u8]> = lines.iter().map(|(_, line)| &line[..]).collect();
    assert_eq!(lines.join(&b'\n'), file.join("\n").into_bytes());
}

#[test]
fn what_is_no_conversation_is_not_taken_for_one() {
    for file in [
        "[]",
        "{}",
        "[{}]",
        r#"[{"role":"admin","content":"x"}]"#,
        r#"[{"name":"a"}]"#,
        r#"{"role":"user"}"#,
        r#"{"messages":["a"]}"#,
        r#"{"note":"\"role\":\"user\",\"content\":"}"#,
        r#"[{"role":"user","content":"a"}"#,
    ] {
        let is_cut = file.ends_with(r#""a"}"#);
        assert!(is_cut || detect(file.as_bytes()).is_none(), "{file}");
        assert!(openai::read(file.as_bytes()).is_err() && anthropic::read(file.as_bytes()).is_err(), "{file}");
    }
}

#[test]
fn any_change_of_bytes_gives_a_typed_error_or_a_clean_log() {
    let mut dice = Dice(0xf0);
    let files: Vec<(Format, bool, Vec<u8>)> =
        [(Format::OpenAi, openai_messages()), (Format::Anthropic, anthropic_messages())]
            .into_iter()
            .flat_map(|(format, messages)| {
                files(&messages).into_iter().enumerate().map(move |(at, file)| (format, at == 0, file.into_bytes()))
            })
            .collect();
    let mut read = 0;
    for round in 0..1_000 {
        let (format, is_lines, mut file) = files[round % files.len()].clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(file.len());
            match dice.roll(if is_lines { 3 } else { 2 }) {
                0 => file[at] = dice.roll(256) as u8,
                1 => drop(file.remove(at)),
                _ => file.truncate(at.max(40)),
            }
        }
        let transcript = if format == Format::OpenAi { openai::read(&file[..]) } else { anthropic::read(&file[..]) };
        let Ok(transcript) = transcript else { continue };
        read += 1;
        if is_lines {
            check_any(&file, transcript);
        } else {
            Log::of(transcript);
        }
    }
    assert!(read > 200, "{read}");
}

#[tokio::test]
async fn a_list_comes_in_once() {
    for (format, messages) in [(Format::OpenAi, openai_messages()), (Format::Anthropic, anthropic_messages())] {
        for file in files(&messages) {
            let host = host(1);
            let first = import(&host, file.as_bytes()).await.unwrap();
            assert_eq!((first.outcome, first.format), (AppendOutcome::Inserted, format));
            let again = import(&host, file.as_bytes()).await.unwrap();
            assert_eq!((again.outcome, again.id, again.version), (AppendOutcome::Replayed, first.id, first.version));
        }
    }
}

#[tokio::test]
async fn a_session_goes_out_in_each_form_and_comes_in_again() {
    for (out, file) in [
        (ExportFormat::OpenAi, Value::from(openai_messages()).to_string()),
        (ExportFormat::Anthropic, json!({"system": "Be brief.", "messages": anthropic_messages()}).to_string()),
    ] {
        let session = session_of(&host(1), file.as_bytes()).await;
        session.append(Message::user("And now?")).await.unwrap();
        let call = MessagePart::tool_call("n1", "read", r#"{"n":1.10}"#).unwrap();
        session.append(Message::assistant("I look.").with(call)).await.unwrap();
        for (name, key) in [(ExportFormat::OpenAi, "tool_calls"), (ExportFormat::Anthropic, "tool_use")] {
            let sent = exported(&session, name).await;
            let body: Value = serde_json::from_slice(&sent).unwrap();
            assert!(body["messages"].is_array() && body.to_string().contains(key), "{body}");
            assert!(body.to_string().contains("interrupted: the tool call was not answered"));
            let again = session_of(&host(2), &sent).await;
            let last = visible(&again).await.pop().unwrap();
            assert_eq!(last.role, MessageRole::Tool);
            assert_eq!(exported(&again, name).await, sent, "{out:?} as {name:?}");
        }
    }
}
