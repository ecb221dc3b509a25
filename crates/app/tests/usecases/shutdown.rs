//! The end of a manager: what is told to end, what is still taken, and what is refused from when on.

use std::time::Duration;

use sessions_app::{NewSession, SessionError};
use sessions_domain::{Event, Message, MessageMetadata, MessageRole};
use sessions_infra::MemoryStore;
use sessions_ports::StoreError;
use tokio::{sync::oneshot, time::Instant};

use crate::ground::{self, due};

const LONG: Duration = Duration::from_secs(3600);

fn is_closed<T>(outcome: Result<T, SessionError>) -> bool {
    matches!(outcome.err(), Some(SessionError::Store(StoreError::Closed)))
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_told_to_end_and_waited_for_and_handles_go_on_until_then() {
    let (store, began) = (MemoryStore::new(), Instant::now());
    let sessions = ground::manager(store);
    let session = sessions.open_or_create("k").await.unwrap();
    let id = session.id();
    let answer = Message { role: MessageRole::Assistant, parts: Vec::new(), metadata: MessageMetadata::default() };
    let other = sessions.create(NewSession::titled("other")).await.unwrap();
    let mut arriving = session.begin(answer).await.unwrap();
    let mut updates = session.subscribe(session.version().await.unwrap());
    let stopping = sessions.stopping();
    let (go, gone) = oneshot::channel::<()>();
    let work = sessions.spawn(async move {
        stopping.asked().await;
        gone.await.unwrap();
    });
    arriving.push_text("half of it").await.unwrap();
    let ending = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.shutdown(LONG).await }
    });
    let told = due("the chunk", updates.next()).await.unwrap().unwrap();
    assert!(matches!(told.event, Event::Chunk(_)), "{told:?}");
    assert_eq!(began.elapsed(), Duration::ZERO, "what was gathered is written at once");
    assert!(is_closed(sessions.create(NewSession::default()).await));
    assert!(is_closed(sessions.load(id).await) && is_closed(sessions.get(id).await));
    assert!(is_closed(sessions.open_or_create("new").await));
    assert!(sessions.stopping().is_asked() && !work.is_finished() && !ending.is_finished());
    other.append(Message::user("taken")).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(ending.await.unwrap().unwrap().unfinished, 0);
    assert!(work.is_finished());
    assert!(is_closed(other.append(Message::user("refused")).await));
    assert_eq!(updates.next().await.unwrap(), None);
    assert!(is_closed(arriving.finish(None).await));
    sessions.close().await.unwrap();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_told_and_nothing_is_taken_any_more() {
    let (sessions, began) = (ground::manager(MemoryStore::new()), Instant::now());
    let session = sessions.open_or_create("k").await.unwrap();
    let endless = sessions.spawn(std::future::pending::<()>());
    let ended = sessions.acting_for(sessions_domain::Actor::named("ana")).shutdown(Duration::from_secs(5)).await;
    assert_eq!(ended.unwrap().unfinished, 1);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(is_closed(session.append(Message::user("refused")).await));
    endless.abort();
    assert!(endless.await.unwrap_err().is_cancelled());
    assert_eq!(sessions.shutdown(Duration::ZERO).await.unwrap().unfinished, 0);
}

#[tokio::test(start_paused = true)]
async fn what_runs_hears_that_the_last_handle_is_gone() {
    let sessions = ground::manager(MemoryStore::new());
    let stopping = sessions.stopping();
    let work = sessions.spawn(async move { stopping.asked().await });
    let other = sessions.clone();
    drop(sessions);
    tokio::task::yield_now().await;
    assert!(!work.is_finished());
    drop(other);
    due("its end", work).await.unwrap();
}
