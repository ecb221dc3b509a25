//! Transcripts of other programs that come in, once each.
//!
//! Must not know: what their lines mean.

use super::*;

#[tokio::test]
async fn a_transcript_comes_in_by_one_commit_and_once() {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let host = host_over(Arc::new(store.clone()), 1, Actor::default());
    let file = fixture("claude-tools.jsonl");
    let report = import(&host, &file).await.unwrap();
    assert_eq!(store.calls(Call::Commit), 1);
    assert_eq!((report.outcome, report.report.tool_calls), (AppendOutcome::Inserted, 9));
    let shape = serde_json::to_value(&report).unwrap();
    for key in ["id", "outcome", "format", "messages", "tool_calls", "repaired", "set_aside", "kept", "usage"] {
        assert!(shape.get(key).is_some(), "{key}");
    }
    assert_eq!(shape["id"], report.id.to_string());
    assert_eq!(listed(&host).await, [report.id]);

    let again = import(&host, &file).await.unwrap();
    assert_eq!((again.id, again.outcome), (report.id, AppendOutcome::Replayed));
    assert_eq!(again.report, report.report);
    assert_eq!(store.calls(Call::Commit), 1, "nothing was written");
    let session = host.load(report.id).await.unwrap();
    session.append(Message::user("I go on.")).await.unwrap();
    assert_eq!(import(&host, &file).await.unwrap().outcome, AppendOutcome::Replayed);
    assert_eq!(texts(&session).await.last().unwrap(), "I go on.");

    let copy = import_as(&host, &file, anew()).await.unwrap();
    assert_eq!(copy.outcome, AppendOutcome::Inserted);
    assert_ne!(copy.id, report.id);
    assert_eq!(import(&host, &file).await.unwrap().id, report.id, "a copy does not stand for the file");
}

#[tokio::test]
async fn files_without_an_id_are_known_by_their_bytes() {
    let host = host(1);
    let file = |text: &str| {
        format!(r#"{{"type":"user","uuid":"a","parentUuid":null,"message":{{"role":"user","content":"{text}"}}}}"#)
    };
    let first = import(&host, file("one").as_bytes()).await.unwrap();
    let second = import(&host, file("two").as_bytes()).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(import(&host, file("one").as_bytes()).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_file_that_changed_since_is_told_and_nothing_is_lost() {
    let host = host(1);
    let file = fixture("claude-plain.jsonl");
    let report = import(&host, &file).await.unwrap();
    let before = jsonl(&host.load(report.id).await.unwrap()).await;
    let changed = String::from_utf8(file.clone()).unwrap().replacen("Early", "Late", 1);
    let grown = [
        changed.as_bytes(),
        br#"{"type":"user","uuid":"new","parentUuid":null,"message":{"role":"user","content":"more"}}"#,
    ]
    .concat();
    assert!(changed.as_bytes() != file);
    let result = import(&host, &grown).await;
    assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert!(matches!(refused(result), ImportError::SourceChanged { session } if session == report.id));
    assert!(jsonl(&host.load(report.id).await.unwrap()).await == before);
    assert_eq!(listed(&host).await.len(), 1);
    assert_eq!(import_as(&host, &grown, anew()).await.unwrap().outcome, AppendOutcome::Inserted);
}

#[tokio::test]
async fn tenants_import_apart() {
    let store: Arc<dyn SessionLog> = Arc::new(MemoryStore::new());
    let ada = host_over(store, 1, Actor::named("ada"));
    let bob = ada.acting_for(Actor { tenant: "other".into(), ..Actor::named("bob") });
    let file = fixture("claude-plain.jsonl");
    let (first, second) = (import(&ada, &file).await.unwrap(), import(&bob, &file).await.unwrap());
    assert_eq!(second.outcome, AppendOutcome::Inserted);
    assert_ne!(first.id, second.id);
    let lines = jsonl(&ada.load(first.id).await.unwrap()).await;
    assert!(matches!(refused(import(&bob, &lines).await), ImportError::AnotherTenant));
    let copy = import_as(&bob, &lines, anew()).await.unwrap();
    assert_eq!(texts(&bob.load(copy.id).await.unwrap()).await, texts(&ada.load(first.id).await.unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_of_one_file_at_once_make_one_session() {
    let host = host(1);
    let file = fixture("claude-plain.jsonl");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (host, file) = (host.clone(), file.clone());
            tokio::spawn(async move { import(&host, &file).await.unwrap() })
        })
        .collect();
    let mut reports = Vec::new();
    for task in tasks {
        reports.push(task.await.unwrap());
    }
    assert!(reports.iter().all(|report| report.id == reports[0].id));
    let inserted = reports.iter().filter(|report| report.outcome == AppendOutcome::Inserted).count();
    assert_eq!((inserted, listed(&host).await.len()), (1, 1));
}

#[tokio::test]
async fn a_key_comes_only_with_a_new_session() {
    let host = host(1);
    let file = fixture("claude-plain.jsonl");
    let key = || Some("mine".parse().unwrap());
    let options = ImportOptions { key: key(), ..ImportOptions::default() };
    assert!(matches!(refused(import_as(&host, &file, options).await), ImportError::KeyNeedsNewId));
    assert_eq!(listed(&host).await, []);
    let report = import_as(&host, &file, ImportOptions { key: key(), ..anew() }).await.unwrap();
    assert_eq!(host.find("key:mine").await.unwrap().id(), report.id);
}

#[tokio::test]
async fn a_failed_commit_leaves_nothing_and_can_be_done_again() {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let host = host_over(Arc::new(store.clone()), 1, Actor::default());
    store.fail(broken(Call::Commit, 1, When::Before));
    let file = fixture("claude-plain.jsonl");
    assert!(import(&host, &file).await.is_err());
    assert_eq!(listed(&host).await, []);
    store.heal();
    assert_eq!(import(&host, &file).await.unwrap().outcome, AppendOutcome::Inserted);
    store.fail(broken(Call::Commit, 1, When::After));
    let other = fixture("claude-tools.jsonl");
    assert!(import(&host, &other).await.is_err());
    store.heal();
    assert_eq!(import(&host, &other).await.unwrap().outcome, AppendOutcome::Replayed);
    assert_eq!(listed(&host).await.len(), 2);
}

#[tokio::test]
async fn files_of_nobody_are_refused_with_a_hint() {
    let host = host(1);
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty_file"),
        (b" \n\n", "empty_file"),
        (b"\x7fELF\0\0", "binary_file"),
        (b"hello\xff\n", "binary_file"),
        (b"just words\n", "unknown_format"),
        (b"{\"type\":\"session_meta\",\"payload\":{}}\n", "no_messages"),
    ];
    for (bytes, kind) in cases {
        assert_eq!(refused(import(&host, bytes).await).kind(), kind);
    }
    let wide = format!("{}é", "x".repeat(sessions_app::transfer::DETECT_BYTES - 1));
    assert_eq!(refused(import(&host, wide.as_bytes()).await).kind(), "unknown_format");
    assert_eq!(listed(&host).await, []);
}

#[tokio::test]
async fn a_restored_session_still_stands_for_its_file() {
    let (host, other) = (host(1), super::host(2));
    let file = fixture("claude-plain.jsonl");
    let report = import(&host, &file).await.unwrap();
    let lines = jsonl(&host.load(report.id).await.unwrap()).await;
    import(&other, &lines).await.unwrap();
    let again = import(&other, &file).await.unwrap();
    assert_eq!((again.id, again.outcome), (report.id, AppendOutcome::Replayed));
    // Where the file came in by itself, both stay.
    let third = super::host(3);
    let own = import(&third, &file).await.unwrap();
    assert_eq!(import(&third, &lines).await.unwrap().outcome, AppendOutcome::Inserted);
    assert_eq!(import(&third, &file).await.unwrap().id, own.id);
    assert_eq!(listed(&third).await.len(), 2);
}
