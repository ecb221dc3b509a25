//! Files that were imported before, and have grown since.
//!
//! Must not know: how lines are spelled.

use sessions_app::{
    AppendOutcome, Deletion, ErrorKind, ImportError, ImportOptions, Query, SessionError,
    transfer::{ExportFormat, Grown},
};
use sessions_domain::{Kinship, Message, RuleViolation, SessionStatus};

use crate::ground::{exported, fixture, host, import, meaning, real_files, session_of, visible};

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

/// Where the lines of a file end.
fn ends(file: &[u8]) -> Vec<usize> {
    file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect()
}

/// What is said, in no order: a line that comes before its parent is placed by what was there when it came.
fn sorted(mut said: Vec<String>) -> Vec<String> {
    said.sort();
    said
}

/// The file comes in up to each of these places, one after the other, and is there as it is in the end.
async fn check_growth(file: &[u8], places: &[usize], format: ExportFormat, name: &str) {
    let there = host(1);
    let mut id = None;
    for place in places.iter().copied().chain([file.len()]) {
        let Ok(report) = import(&there, &file[..place]).await else {
            assert_eq!(id, None, "{name} at {place}");
            continue;
        };
        assert_eq!(*id.get_or_insert(report.id), report.id, "{name} at {place}");
        let again = import(&there, &file[..place]).await.unwrap();
        assert_eq!((again.outcome, again.version, again.grown), (AppendOutcome::Replayed, report.version, None));
    }
    let session = there.load(id.unwrap()).await.unwrap();
    let out = exported(&session, format).await;
    assert!(
        out.strip_suffix(b"\n").unwrap_or(&out) == file.strip_suffix(b"\n").unwrap_or(file),
        "{name} by {places:?}"
    );
    let whole = session_of(&host(2), file).await;
    // Of two calls of one id in one answer the second is none, unless the answer came in two parts.
    if name != "claude-broken.jsonl" {
        let tally = (session.tally().await.unwrap(), whole.tally().await.unwrap());
        assert_eq!(
            (tally.0.tool_calls, tally.0.messages.min(tally.1.messages)),
            (tally.1.tool_calls, tally.1.messages)
        );
        // What was told of an answer after its last message came is counted with the next one.
        if visible(&session).await.last().unwrap().role == sessions_domain::MessageRole::Assistant
            && !name.contains("codex")
        {
            assert_eq!(tally.0.usage, tally.1.usage, "{name} by {places:?}");
        }
        let (grown, whole) = (meaning(&visible(&session).await), meaning(&visible(&whole).await));
        assert_eq!(sorted(grown), sorted(whole), "{name} by {places:?}");
    }
}

#[tokio::test]
async fn a_file_that_grows_line_by_line_is_there_as_it_is() {
    for (name, format) in FIXTURES {
        let file = fixture(name);
        check_growth(&file, &ends(&file), format, name).await;
        for end in ends(&file) {
            check_growth(&file, &[end], format, name).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_was_cut_within_a_line_grows_too() {
    for (name, format) in FIXTURES {
        let file = fixture(name);
        for end in ends(&file) {
            check_growth(&file, &[end.saturating_sub(20)], format, name).await;
            check_growth(&file, &[end - 1, end], format, name).await;
        }
    }
}

#[tokio::test]
async fn real_transcripts_grow() {
    let programs =
        [("claude-code", ExportFormat::ClaudeCode), ("codex", ExportFormat::Codex), ("pi", ExportFormat::Pi)];
    for (program, format) in programs {
        for path in real_files(program) {
            let file = std::fs::read(&path).unwrap();
            let ends = ends(&file);
            let thirds = [ends[ends.len() / 3], ends[ends.len() / 3 * 2]];
            check_growth(&file, &thirds, format, &path.display().to_string()).await;
        }
    }
}

#[tokio::test]
async fn the_head_goes_along_only_where_the_import_left_it() {
    let file = fixture("codex-plain.jsonl");
    let ends = ends(&file);
    let half = &file[..ends[9]];
    // It stands where the import left it.
    let there = host(1);
    let session = session_of(&there, half).await;
    let before = session.fresh_view().await.unwrap();
    let grown = import(&there, &file).await.unwrap().grown.unwrap();
    assert!(grown.moved && grown.lines as usize == ends.len() - 10 && grown.messages > 0);
    let after = session.fresh_view().await.unwrap();
    assert!(after.depth() > before.depth() && after.tree().branches().len() == 1);
    // Somebody said something here meanwhile.
    let there = host(2);
    let session = session_of(&there, half).await;
    session.append(Message::user("Mine.")).await.unwrap();
    let before = session.fresh_view().await.unwrap();
    let Grown { moved, branch, .. } = import(&there, &file).await.unwrap().grown.unwrap();
    let after = session.fresh_view().await.unwrap();
    assert!(!moved && after.head() == before.head() && after.depth() == before.depth());
    assert_eq!(visible(&session).await.last().unwrap().text(), "Mine.");
    session.append(Message::assistant("Yours.")).await.unwrap();
    session.checkout(branch).await.unwrap();
    let whole = session_of(&host(3), &file).await;
    assert_eq!(meaning(&visible(&session).await), meaning(&visible(&whole).await));
    // Somebody went back.
    let there = host(4);
    let session = session_of(&there, half).await;
    session.undo(1).await.unwrap();
    let before = session.fresh_view().await.unwrap();
    assert!(!import(&there, &file).await.unwrap().grown.unwrap().moved);
    assert_eq!(session.fresh_view().await.unwrap().head(), before.head());
}

#[tokio::test]
async fn a_file_whose_lines_changed_is_told_and_nothing_is_lost() {
    for (name, _) in FIXTURES {
        let file = fixture(name);
        let there = host(1);
        let session = session_of(&there, &file).await;
        let before = session.fresh_view().await.unwrap().place();
        let end = ends(&file)[1];
        let others = [
            [&file[..end], b"{\"type\":\"other\"}\n".as_slice(), &file[end..]].concat(),
            String::from_utf8_lossy(&file).replacen("2026-01-05T09:00", "2026-01-05T19:00", 1).into_bytes(),
        ];
        for other in others {
            if other == file {
                continue;
            }
            let result = import(&there, &other).await;
            assert_eq!(result.as_ref().map_err(SessionError::kind).unwrap_err(), ErrorKind::Conflict, "{name}");
            assert!(
                matches!(result, Err(SessionError::Import(ImportError::SourceChanged { session: id })) if id == session.id())
            );
            assert_eq!(session.fresh_view().await.unwrap().place(), before);
        }
        // An older copy of the file has nothing new.
        let report = import(&there, &file[..file.len() - 1]).await.unwrap();
        assert_eq!((report.outcome, report.grown), (AppendOutcome::Replayed, None), "{name}");
    }
}

#[tokio::test]
async fn imports_of_a_grown_file_at_once_add_it_once() {
    let file = fixture("claude-tools.jsonl");
    let there = host(1);
    let session = session_of(&there, &file[..ends(&file)[6]]).await;
    let (one, two, three) = tokio::join!(import(&there, &file), import(&there, &file), import(&there, &file));
    let added = [one, two, three].map(|report| u64::from(report.unwrap().grown.is_some()));
    assert_eq!(added.iter().sum::<u64>(), 1);
    let whole = session_of(&host(2), &file).await;
    assert_eq!(session.tally().await.unwrap().messages, whole.tally().await.unwrap().messages);
}

#[tokio::test]
async fn what_was_thrown_away_comes_back_only_when_asked() {
    let file = fixture("codex-plain.jsonl");
    let half = &file[..ends(&file)[9]];
    let there = host(1);
    let session = session_of(&there, half).await;
    there.trash(session.id()).await.unwrap();
    let report = import(&there, &file).await.unwrap();
    assert_eq!(
        (report.id, report.outcome, report.version, report.grown),
        (session.id(), AppendOutcome::Replayed, 0, None)
    );
    there.delete(session.id(), Deletion::default()).await.unwrap();
    let report = import(&there, &file).await.unwrap();
    assert_eq!(
        (report.id, report.outcome, report.version, report.grown),
        (session.id(), AppendOutcome::Replayed, 0, None)
    );
    assert_eq!(there.list(&Query::default()).await.unwrap().sessions.len(), 0);
    let options = ImportOptions { new_id: true, ..ImportOptions::default() };
    let report = there.import(std::io::Cursor::new(file), options).await.unwrap();
    assert!(report.version > 0 && report.id != session.id());
}

#[tokio::test]
async fn a_session_that_is_not_active_takes_nothing_in() {
    let file = fixture("codex-plain.jsonl");
    let there = host(1);
    let session = session_of(&there, &file[..ends(&file)[9]]).await;
    session.set_status(SessionStatus::Completed).await.unwrap();
    let version = session.version().await.unwrap();
    assert!(matches!(import(&there, &file).await, Err(SessionError::Rule(RuleViolation::NotActive { .. }))));
    assert_eq!(session.version().await.unwrap(), version);
    let known = import(&there, &file[..ends(&file)[9]]).await.unwrap();
    assert_eq!(known.outcome, AppendOutcome::Replayed);
}

#[tokio::test]
async fn the_session_of_a_sub_agent_knows_the_one_that_began_it() {
    let line = |agent: &str| {
        let side = if agent.is_empty() { String::new() } else { format!(r#""isSidechain":true,"agentId":"{agent}","#) };
        format!(
            r#"{{"type":"user",{side}"uuid":"u{agent}","parentUuid":null,"sessionId":"main","message":{{"content":"a"}}}}"#
        )
    };
    let there = host(1);
    let alone = session_of(&there, line("a1").as_bytes()).await;
    let parent = session_of(&there, line("").as_bytes()).await;
    let known = session_of(&there, line("a2").as_bytes()).await;
    assert_eq!(alone.summary().await.unwrap().parent, None);
    let summary = known.summary().await.unwrap();
    assert_eq!((summary.parent, summary.kinship), (Some(parent.id()), Some(Kinship::SubAgent)));
    let custom = known.fresh_view().await.unwrap().origin().custom.clone();
    assert_eq!((custom["agent"].as_str(), custom["parent"].as_str()), (r#""a2""#, r#""main""#));
}
