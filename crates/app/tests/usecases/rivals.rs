//! Imports of one file by two managers: whoever loses waits for the winner, and takes its place when it fails.

use std::{io::Cursor, sync::Arc};

use sessions_app::{
    AppendOutcome, ErrorKind, ImportOptions, ImportReport, NewSession, Query, SessionError, SessionManager,
};
use sessions_domain::Message;
use sessions_infra::MemoryStore;
use sessions_testkit::{Call, FaultyStore, HeldStore, Injected};

use crate::ground::{due, manager, texts};

type Imported = Result<ImportReport, SessionError>;

async fn import(sessions: &SessionManager, file: &[u8]) -> Imported {
    sessions.import(Cursor::new(file.to_vec()), ImportOptions::default()).await
}

/// A transcript of another program.
fn transcript() -> Vec<u8> {
    let message = r#"{"role":"user","content":"one"}"#;
    format!(r#"{{"type":"user","uuid":"a","parentUuid":null,"sessionId":"s","message":{message}}}"#).into_bytes()
}

/// A session that is exported.
async fn archive() -> Vec<u8> {
    let chat = manager(MemoryStore::new()).create(NewSession::titled("t")).await.unwrap();
    chat.append(Message::user("one")).await.unwrap();
    let mut export = chat.export_jsonl().await.unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend(chunk);
    }
    file
}

/// Imports a file twice at once. What becomes of the winner's commit is decided when the loser has lost to it and waits.
async fn race(file: Vec<u8>, decide: impl FnOnce(&HeldStore)) -> (HeldStore, [Imported; 2]) {
    let held = HeldStore::over(Arc::new(MemoryStore::new()));
    let importing =
        |sessions: SessionManager, file: Vec<u8>| tokio::spawn(async move { import(&sessions, &file).await });
    let winner = importing(manager(held.clone()), file.clone());
    due("the winner's commit", held.until_held(1)).await;
    let seen = FaultyStore::over(Arc::new(held.clone()));
    let loser = importing(manager(seen.clone()), file);
    while seen.calls(Call::Settled) == 0 && !loser.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!((seen.calls(Call::Commit), held.held()), (1, 1), "it lost once and waits");
    decide(&held);
    // A loser that tries again is written; one that has its answer has nothing to write.
    let served = held.clone();
    let serving = tokio::spawn(async move {
        loop {
            served.until_held(1).await;
            served.write_all();
        }
    });
    let outcomes = [due("the winner", winner).await.unwrap(), due("the loser", loser).await.unwrap()];
    serving.abort();
    (held, outcomes)
}

async fn one_session(store: HeldStore) {
    let sessions = manager(store);
    let page = sessions.list(&Query::default()).await.unwrap();
    assert_eq!(page.sessions.len(), 1, "one file is one session");
    let session = sessions.load(page.sessions[0].id).await.unwrap();
    assert_eq!(texts(&session).await, ["one"]);
}

async fn who_lost_finds_the_winners(file: Vec<u8>) {
    let (store, outcomes) = race(file, HeldStore::write_all).await;
    let [winner, loser] = outcomes.map(Result::unwrap);
    assert_eq!((winner.outcome, loser.outcome), (AppendOutcome::Inserted, AppendOutcome::Replayed));
    assert_eq!((winner.id, winner.version), (loser.id, loser.version));
    one_session(store).await;
}

async fn who_lost_to_one_that_fails_takes_its_place(file: Vec<u8>) {
    let (store, [winner, loser]) = race(file, |held| held.fail_all(Injected::NoSpace)).await;
    assert_eq!(winner.unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(loser.unwrap().outcome, AppendOutcome::Inserted);
    one_session(store).await;
}

#[tokio::test]
async fn a_transcript_that_another_imports_is_found() {
    who_lost_finds_the_winners(transcript()).await;
}

#[tokio::test]
async fn a_transcript_that_another_failed_to_import_is_imported() {
    who_lost_to_one_that_fails_takes_its_place(transcript()).await;
}

#[tokio::test]
async fn a_session_that_another_restores_is_found() {
    who_lost_finds_the_winners(archive().await).await;
}

#[tokio::test]
async fn a_session_that_another_failed_to_restore_is_restored() {
    who_lost_to_one_that_fails_takes_its_place(archive().await).await;
}
