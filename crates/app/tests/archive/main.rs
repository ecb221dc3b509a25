//! Imports and exports over a store: what comes in once, what goes out and comes back, and what is refused.
//!
//! Must not know: how a store keeps what comes in.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect has failed"
)]

mod export;
mod import;
mod made_own;
mod transcripts;

use std::{
    io::{BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::Value;
use sessions_app::{
    AppendOutcome, At, ErrorKind, Export, Format, ImportError, ImportOptions, ImportReport, NewSession, Ports, Query,
    Session, SessionError, SessionManager, Settings,
};
use sessions_domain::{Actor, Kind, Message, MessagePart, Moment, SessionId};
use sessions_infra::{MemoryStore, environment::EstimateCounter, tokens::BuiltInEncodings};
use sessions_ports::{Commit, Durability, Expected, Record, RowChange, SessionLog, StoreId};
use sessions_testkit::{Call, Fault, FaultyStore, FixedClock, FixedEntropy, Injected, SequentialIds, When};

/// A host of its own: another store, another clock, other randomness and, from `number` on, other ids.
fn host_over(store: Arc<dyn SessionLog>, number: i64, actor: Actor) -> SessionManager {
    let ids = SequentialIds::new();
    for _ in 0..number * 1000 {
        use sessions_ports::IdGenerator;
        let now = Moment::default();
        let _ = (ids.session(now), ids.message(now), ids.lineage(now));
    }
    let ports = Ports {
        store,
        clock: Arc::new(FixedClock::at(Moment::from_millis(1_700_000_000_000 + number * 86_400_000))),
        ids: Arc::new(ids),
        entropy: Arc::new(FixedEntropy::seeded(number.unsigned_abs())),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings { actor, ..Settings::default() }).unwrap()
}

fn host(number: i64) -> SessionManager {
    let id = StoreId([u8::try_from(number).unwrap(); 16]);
    host_over(Arc::new(MemoryStore::with_id(id, Default::default())), number, Actor::named("ada"))
}

async fn import(to: &SessionManager, bytes: &[u8]) -> Result<ImportReport, SessionError> {
    import_as(to, bytes, ImportOptions::default()).await
}

async fn import_as(to: &SessionManager, bytes: &[u8], options: ImportOptions) -> Result<ImportReport, SessionError> {
    to.import(Cursor::new(bytes.to_vec()), options).await
}

fn broken(call: Call, nth: u64, when: When) -> Fault {
    Fault { call: Some(call), nth, when, answer: Injected::Io }
}

fn anew() -> ImportOptions {
    ImportOptions { new_id: true, ..ImportOptions::default() }
}

async fn whole(mut export: Export) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        assert!(!chunk.is_empty());
        bytes.extend(chunk);
    }
    bytes
}

async fn jsonl(session: &Session) -> Vec<u8> {
    whole(session.export_jsonl().await.unwrap()).await
}

async fn json(session: &Session) -> Vec<u8> {
    whole(session.export_json().await.unwrap()).await
}

async fn texts(session: &Session) -> Vec<String> {
    session.last(10_000).await.unwrap().iter().map(|message| message.text()).collect()
}

async fn listed(host: &SessionManager) -> Vec<SessionId> {
    let query = Query { limit: 1000, ..Query::default() };
    host.list(&query).await.unwrap().sessions.iter().map(|row| row.id).collect()
}

fn refused(result: Result<ImportReport, SessionError>) -> ImportError {
    match result {
        Err(SessionError::Import(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// The real transcripts, where they are at hand.
fn real_transcripts() -> Option<Vec<PathBuf>> {
    let Some(folder) = std::env::var_os("SESSIONS_TEST_DATA") else {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
        return None;
    };
    let folder = PathBuf::from(folder).join("claude-code");
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    assert!(files.len() >= 8, "{} has {} transcripts", folder.display(), files.len());
    Some(files)
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
}

/// A conversation with calls, bodies that keep their spelling, an undo, another branch, a title and a clear that was taken back.
async fn branched(host: &SessionManager) -> Session {
    let new = NewSession::titled("Ünïcode \u{1b}[31m title").tags(["b".to_owned(), "a".to_owned()]);
    let session = host
        .create(
            new.description("about")
                .created_at(Moment::from_millis(1_600_000_000_000))
                .key("host-key".parse().unwrap()),
        )
        .await
        .unwrap();
    session.append(Message::system("Be brief.")).await.unwrap();
    session.append(Message::user("one\u{2028}\"two\"\\ \n three")).await.unwrap();
    let call = MessagePart::tool_call("c1", "run", r#"{"b":1.10, "a":12345678901234567890123}"#).unwrap();
    session.append(Message::assistant("I look.").with(call)).await.unwrap();
    session.append(Message::tool_result("c1", "42")).await.unwrap();
    session.append(Message::assistant("42.")).await.unwrap();
    session.undo(2).await.unwrap();
    session.append(Message::user("Otherwise.")).await.unwrap();
    session.rename("Named anew").await.unwrap();
    session.clear().await.unwrap();
    session.undo(1).await.unwrap();
    session
}

/// Three generations: the fork of a fork, with a parent that is gone on since.
async fn forked(host: &SessionManager) -> (Session, Session, Session) {
    let root = branched(host).await;
    let child = root.fork(At::Now).await.unwrap();
    let place = child.append(Message::user("in the child")).await.unwrap();
    child.append(Message::assistant("more in the child")).await.unwrap();
    let grandchild = child.fork(At::Message(place.message)).await.unwrap();
    grandchild.append(Message::assistant("in the grandchild")).await.unwrap();
    root.append(Message::assistant("the root goes on")).await.unwrap();
    (root, child, grandchild)
}

/// Both forms of a session go into empty stores, and come out of them as they were.
async fn check_round_trip(from: &SessionManager, session: &Session) {
    let (lines, document) = (jsonl(session).await, json(session).await);
    assert_eq!(jsonl(session).await, lines, "an export is the same each time");
    for (number, bytes) in [(2, &lines), (3, &document)] {
        let other = host(number);
        let report = import(&other, bytes).await.unwrap();
        assert_eq!((report.id, report.outcome), (session.id(), AppendOutcome::Inserted));
        let restored = other.load(report.id).await.unwrap();
        assert!(jsonl(&restored).await == lines, "JSON lines differ");
        assert!(json(&restored).await == document, "documents differ");
        assert_eq!(restored.last(10_000).await.unwrap(), session.last(10_000).await.unwrap());
        assert_eq!(restored.place().await.unwrap(), session.place().await.unwrap());
        assert_eq!(restored.summary().await.unwrap(), session.summary().await.unwrap());
        assert_eq!(restored.branches().await.unwrap(), session.branches().await.unwrap());
        assert_eq!(listed(&other).await, [session.id()], "only the session itself is listed");
        let row = |host: &SessionManager| {
            let host = host.clone();
            async move { host.list(&Query { limit: 1000, ..Query::default() }).await.unwrap().sessions }
        };
        let (before, after) = (row(from).await, row(&other).await);
        assert_eq!(before.iter().find(|row| row.id == session.id()), after.first());
        let again = import(&other, bytes).await.unwrap();
        assert_eq!((again.id, again.outcome, again.version), (report.id, AppendOutcome::Replayed, report.version));
        assert!(jsonl(&restored).await == lines, "a second import changed something");
    }
}
