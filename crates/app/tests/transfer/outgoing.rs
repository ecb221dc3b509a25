//! Sessions on their way to other programs: what came from a file goes out as that file, and whatever a session is, it goes out as something
//! that comes in again.
//!
//! Must not know: how lines are spelled.

use sessions_app::{
    At, NewSession, Session,
    transfer::{ExportFormat, Format, detect},
};
use sessions_domain::{Message, MessagePart};

use crate::ground::{exported, fixture, host, import, meaning, real_files, session_of, visible};

const PROGRAMS: [(&str, ExportFormat, Format); 3] = [
    ("claude-code", ExportFormat::ClaudeCode, Format::ClaudeCode),
    ("codex", ExportFormat::Codex, Format::Codex),
    ("pi", ExportFormat::Pi, Format::Pi),
];

const FIXTURES: [(&str, ExportFormat); 9] = [
    ("claude-broken.jsonl", ExportFormat::ClaudeCode),
    ("claude-compaction.jsonl", ExportFormat::ClaudeCode),
    ("claude-plain.jsonl", ExportFormat::ClaudeCode),
    ("claude-sidechain.jsonl", ExportFormat::ClaudeCode),
    ("claude-tools.jsonl", ExportFormat::ClaudeCode),
    ("codex-plain.jsonl", ExportFormat::Codex),
    ("codex-compaction.jsonl", ExportFormat::Codex),
    ("pi-tree.jsonl", ExportFormat::Pi),
    ("pi-flat.jsonl", ExportFormat::Pi),
];

/// A turn with a call and its result.
async fn go_on(session: &Session) {
    let call = MessagePart::tool_call("call_new", "read", r#"{"n":1.10,"path":"a \"b\""}"#).unwrap();
    session.append(Message::user("And \u{1b}[31m now?")).await.unwrap();
    session.append(Message::assistant("I look again.").with(call)).await.unwrap();
    session.append(Message::tool_result("call_new", "line one\nline two")).await.unwrap();
    session.append(Message::assistant("Now it is done.")).await.unwrap();
}

/// A file comes in, goes out as it was, and comes in again with the same messages.
async fn check_whole(file: &[u8], format: ExportFormat, name: &str) {
    let session = session_of(&host(1), file).await;
    let out = exported(&session, format).await;
    assert!(out == file, "{name} differs: {} bytes for {}", out.len(), file.len());
    let again = session_of(&host(2), &out).await;
    assert_eq!(visible(&again).await, visible(&session).await, "{name}");
}

/// What was said since stands behind the file, and comes in behind it again.
async fn check_gone_on(file: &[u8], format: ExportFormat, name: &str) {
    let session = session_of(&host(1), file).await;
    go_on(&session).await;
    let out = exported(&session, format).await;
    assert!(out.starts_with(file), "{name}");
    let again = session_of(&host(2), &out).await;
    assert_eq!(meaning(&visible(&again).await), meaning(&visible(&session).await), "{name}");
    let input = visible(&again)
        .await
        .iter()
        .flat_map(|it| it.calls().map(|call| call.input.clone()).collect::<Vec<_>>())
        .last();
    assert_eq!(input.unwrap().as_str(), r#"{"n":1.10,"path":"a \"b\""}"#);
    let out = exported(&again, format).await;
    assert_eq!(
        session_of(&host(3), &out).await.fresh_view().await.unwrap().depth(),
        again.fresh_view().await.unwrap().depth()
    );
}

#[tokio::test]
async fn fixtures_go_out_as_they_came() {
    for (name, format) in FIXTURES {
        check_whole(&fixture(name), format, name).await;
    }
    let unended = fixture("pi-tree.jsonl");
    check_whole(unended.strip_suffix(b"\n").unwrap(), ExportFormat::Pi, "without a last line break").await;
    let blanks = [b"\n \r\n".as_slice(), &fixture("codex-plain.jsonl"), b"\n\n"].concat();
    check_whole(&blanks, ExportFormat::Codex, "blank lines").await;
    let windows = String::from_utf8(fixture("claude-plain.jsonl")).unwrap().replace('\n', "\r\n");
    check_whole(windows.as_bytes(), ExportFormat::ClaudeCode, "line breaks of another system").await;
    let marked = [b"\xef\xbb\xbf".as_slice(), &fixture("claude-plain.jsonl")].concat();
    check_whole(&marked, ExportFormat::ClaudeCode, "a mark of the encoding").await;
    let odd =
        br#"{"type":"user","uuid":"a","parentUuid":null,"sessionId":"s","message":{ "content" : "\u0041\/\u00e9" } }"#;
    check_whole(odd, ExportFormat::ClaudeCode, "other spellings").await;
}

#[tokio::test]
async fn real_transcripts_go_out_as_they_came() {
    for (program, format, _) in PROGRAMS {
        for path in real_files(program) {
            let (file, name) = (std::fs::read(&path).unwrap(), path.display().to_string());
            check_whole(&file, format, &name).await;
            check_gone_on(&file, format, &name).await;
        }
    }
}

#[tokio::test]
async fn what_was_said_since_stands_behind_the_file() {
    for (name, format) in FIXTURES {
        if name != "claude-broken.jsonl" {
            check_gone_on(&fixture(name), format, name).await;
        }
    }
    // The last line of a file that was cut is kept as it was, and what is new begins on a line of its own.
    let session = session_of(&host(1), &fixture("claude-broken.jsonl")).await;
    go_on(&session).await;
    let out = exported(&session, ExportFormat::ClaudeCode).await;
    let again = session_of(&host(2), &out).await;
    assert_eq!(meaning(&visible(&again).await), meaning(&visible(&session).await));
}

#[tokio::test]
async fn where_the_conversation_stands_goes_out_too() {
    for (name, format) in FIXTURES {
        let session = session_of(&host(1), &fixture(name)).await;
        session.undo(1).await.unwrap();
        if format != ExportFormat::ClaudeCode {
            // Claude Code goes on where its file ends.
            let again = session_of(&host(2), &exported(&session, format).await).await;
            assert_eq!(meaning(&visible(&again).await), meaning(&visible(&session).await), "{name}");
        }
        go_on(&session).await;
        let again = session_of(&host(3), &exported(&session, format).await).await;
        assert_eq!(meaning(&visible(&again).await), meaning(&visible(&session).await), "{name}");
        session.clear().await.unwrap();
        session.append(Message::user("From the beginning.")).await.unwrap();
        let again = session_of(&host(4), &exported(&session, format).await).await;
        assert_eq!(meaning(&visible(&again).await), ["User says From the beginning."], "{name}");
    }
}

#[tokio::test]
async fn a_session_goes_out_to_every_program() {
    for (name, own) in FIXTURES {
        let from = host(1);
        let session = session_of(&from, &fixture(name)).await;
        let fork = session.fork(At::Now).await.unwrap();
        for (program, format, known) in PROGRAMS {
            for session in [&session, &fork] {
                if session.id() != fork.id() && format == own {
                    continue;
                }
                let out = exported(session, format).await;
                assert_eq!(detect(&out), Some(known), "{name} to {program}");
                let report = import(&host(2), &out).await.unwrap().report;
                assert_eq!((report.repaired, report.set_aside), (vec![], vec![]), "{name} to {program}");
                let again = session_of(&host(3), &out).await;
                let is_answered = |said: &String| !said.starts_with("result ");
                let said =
                    |messages: Vec<Message>| meaning(&messages).into_iter().filter(is_answered).collect::<Vec<_>>();
                let (before, after) = (said(visible(session).await), said(visible(&again).await));
                let lost = before.iter().find(|said| !after.contains(said));
                assert_eq!(lost, None, "{name} to {program}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_of_ours_goes_out_valid_and_comes_in_again() {
    let from = host(1);
    let session = from.create(NewSession::titled("Ours")).await.unwrap();
    session.append(Message::system("Be brief.")).await.unwrap();
    go_on(&session).await;
    let calls = Message::assistant("").with(MessagePart::tool_call("text", "patch", r#""*** Begin""#).unwrap());
    session.append(calls.with(MessagePart::tool_call("list", "f", "[1,2]").unwrap())).await.unwrap();
    session.append(Message::tool_result("list", "")).await.unwrap();
    session.append(Message::user("Never mind.")).await.unwrap();
    for (program, format, _) in PROGRAMS {
        let out = exported(&session, format).await;
        let report = import(&host(2), &out).await.unwrap();
        assert_eq!((report.report.repaired, report.report.set_aside), (vec![], vec![]), "{program}");
        let again = session_of(&host(3), &out).await;
        let mut expected = meaning(&visible(&session).await);
        // The call that was never answered is answered there.
        let at = expected.iter().position(|said| said == "result list").unwrap();
        expected.insert(at + 1, "result text".to_owned());
        assert_eq!(meaning(&visible(&again).await), expected, "{program}");
        let usage = again.tally().await.unwrap().usage;
        assert_eq!(usage, session.tally().await.unwrap().usage, "{program}");
    }
}

#[tokio::test]
async fn a_copy_of_a_message_of_the_file_is_new() {
    let session = session_of(&host(1), &fixture("claude-plain.jsonl")).await;
    let copy = visible(&session).await[0].clone();
    session.append(copy).await.unwrap();
    let out = exported(&session, ExportFormat::ClaudeCode).await;
    assert!(out.starts_with(&fixture("claude-plain.jsonl")));
    let again = session_of(&host(2), &out).await;
    assert_eq!(meaning(&visible(&again).await), meaning(&visible(&session).await));
}
