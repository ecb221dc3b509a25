//! What an export holds, and that it comes back equal.
//!
//! Must not know: how a record is spelled.

use super::*;

#[tokio::test]
async fn a_linear_session_round_trips() {
    let host = host(1);
    let session = host.create(NewSession::default()).await.unwrap();
    check_round_trip(&host, &session).await;
    for number in 0..200 {
        session.append(Message::user(format!("{number}"))).await.unwrap();
    }
    check_round_trip(&host, &session).await;
}

#[tokio::test]
async fn a_branched_session_round_trips() {
    let host = host(1);
    let session = branched(&host).await;
    check_round_trip(&host, &session).await;
    let other = super::host(2);
    import(&other, &jsonl(&session).await).await.unwrap();
    assert_eq!(other.find("key:host-key").await.unwrap().id(), session.id(), "its key came with it");
}

#[tokio::test]
async fn forks_of_forks_round_trip() {
    let host = host(1);
    let (root, child, grandchild) = forked(&host).await;
    for session in [&root, &child, &grandchild] {
        check_round_trip(&host, session).await;
    }
}

/// The parent of such a fork owns none of what it inherits, so it is not in the file.
#[tokio::test]
async fn a_fork_at_an_inherited_message_round_trips() {
    let host = host(1);
    let root = host.create(NewSession::default()).await.unwrap();
    let early = root.append(Message::user("early")).await.unwrap();
    root.append(Message::user("late")).await.unwrap();
    let child = root.fork(At::Now).await.unwrap();
    child.append(Message::user("in the child")).await.unwrap();
    let fork = child.fork(At::Message(early.message)).await.unwrap();
    fork.append(Message::user("beside")).await.unwrap();
    assert_eq!(texts(&fork).await, ["early", "beside"]);
    check_round_trip(&host, &fork).await;
}

#[tokio::test]
async fn imported_transcripts_round_trip() {
    let names = ["plain", "tools", "compaction", "sidechain", "broken"];
    for name in names {
        check_transcript(&fixture(&format!("claude-{name}.jsonl"))).await;
    }
}

#[tokio::test]
async fn real_transcripts_round_trip() {
    for path in real_transcripts().unwrap_or_default() {
        check_transcript(&std::fs::read(path).unwrap()).await;
    }
}

async fn check_transcript(file: &[u8]) {
    let host = host(1);
    let report = import(&host, file).await.unwrap();
    let session = host.load(report.id).await.unwrap();
    check_round_trip(&host, &session).await;
    assert_eq!(import(&host, file).await.unwrap().outcome, AppendOutcome::Replayed);
}

#[tokio::test]
async fn the_lines_are_the_canonical_form() {
    let host = host(1);
    let session = host.create(NewSession::default()).await.unwrap();
    let place = session.append(Message::user("é")).await.unwrap();
    let text = String::from_utf8(jsonl(&session).await).unwrap();
    let (id, lineage) = (session.id(), session.fresh_view().await.unwrap().lineage());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            r#"{{"format":"sessions-jsonl","version":1,"session":"{id}","lineage":"{lineage}","logs":[{{"session":"{id}","lineage":"{lineage}","first":1,"last":2,"commit":"{}"}}]}}"#,
            place.head
        )
    );
    let start =
        format!(r#"{{"session":"{id}","lineage":"{lineage}","seq":2,"kind":2,"commit":"{}","blind":""#, place.head);
    assert!(lines[2].starts_with(&start), "{}", lines[2]);
    let body = format!(
        r#""body":{{"at":1700086400000,"by":{{"id":"ada"}},"id":"{}","n":1,"role":"user","text":"é"}}}}"#,
        place.message
    );
    assert!(lines[2].ends_with(&body), "{}", lines[2]);
    assert_eq!((lines.len(), text.ends_with('\n')), (3, true));
}

#[tokio::test]
async fn the_document_shows_summary_and_visible_messages() {
    let host = host(1);
    let (_, _, session) = forked(&host).await;
    let document: Value = serde_json::from_slice(&json(&session).await).unwrap();
    assert_eq!(document["format"], "sessions-json");
    assert_eq!(document["session"]["title"], "Named anew");
    let shown: Vec<Value> =
        session.last(1000).await.unwrap().iter().map(|message| serde_json::to_value(message).unwrap()).collect();
    assert_eq!(document["messages"].as_array().unwrap(), &shown);
    assert_eq!(document["logs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_export_is_of_the_version_it_began_with() {
    let host = host(1);
    let session = branched(&host).await;
    let before = json(&session).await;
    let export = session.export_json().await.unwrap();
    session.append(Message::user("meanwhile")).await.unwrap();
    assert!(whole(export).await == before);
}

#[tokio::test]
async fn a_large_export_comes_in_pieces() {
    let host = host(1);
    let session = host.create(NewSession::default()).await.unwrap();
    for _ in 0..6 {
        session.append(Message::user("x".repeat(700_000))).await.unwrap();
    }
    let mut export = session.export_jsonl().await.unwrap();
    let mut largest = 0;
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        largest = largest.max(chunk.len());
    }
    assert!(largest < 1_500_000, "{largest}");
    check_round_trip(&host, &session).await;
}

#[tokio::test]
async fn a_failing_store_fails_the_export() {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let host = host_over(Arc::new(store.clone()), 1, Actor::default());
    let session = branched(&host).await;
    let mut export = session.export_jsonl().await.unwrap();
    export.next_chunk().await.unwrap().unwrap();
    store.fail(broken(Call::Read, 1, When::Before));
    assert!(export.next_chunk().await.is_err());
}
