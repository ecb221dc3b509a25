//! Appends that are in flight together, and one of them that fails.

use std::sync::Arc;

use sessions_app::{Append, NewSession, Session, SessionError};
use sessions_domain::{Message, MessagePart, RuleViolation};
use sessions_infra::MemoryStore;
use sessions_ports::StoreError;
use sessions_testkit::{Call, Fault, FaultyStore, Injected, When};

use crate::ground::{manager, texts};

async fn chat() -> (Session, FaultyStore) {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let sessions = manager(store.clone());
    (sessions.create(NewSession::titled("t")).await.unwrap(), store)
}

#[tokio::test]
async fn what_comes_behind_an_append_that_failed_does_not_take_its_place() {
    let (chat, store) = chat().await;
    let one = chat.enqueue(Message::user("one")).await.unwrap();
    store.fail(Fault { call: Some(Call::Commit), nth: 1, when: When::Before, answer: Injected::NoSpace });
    let two = chat.enqueue(Append::from(Message::user("two")).behind(&one)).await.unwrap();
    assert_eq!((one.place(), two.place()), (Some(2), Some(3)));
    // Nobody has looked at the failure yet, and there is space again.
    let three = chat.enqueue(Append::from(Message::user("three")).behind(&two)).await;
    assert!(matches!(three, Err(SessionError::Conflict { expected: 3, actual: 2 })));
    one.await.unwrap();
    assert!(matches!(two.await, Err(SessionError::Store(StoreError::NoSpace { .. }))));
    assert_eq!(texts(&chat).await, ["one"]);
    chat.append(Message::user("two")).await.unwrap();
    assert_eq!(texts(&chat).await, ["one", "two"]);
}

#[tokio::test]
async fn a_late_result_that_came_while_the_path_was_read_is_not_doubled() {
    let (chat, store) = chat().await;
    let call = MessagePart::tool_call("c", "read", "{}").unwrap();
    chat.append(Message::assistant("one moment").with(call)).await.unwrap();
    chat.append(Message::user("never mind")).await.unwrap();
    let (other, late) = (chat.clone(), || Message::tool_result("c", "late"));
    let (told, hears) = tokio::sync::oneshot::channel();
    let interlude = async move {
        told.send(other.append(late()).await.map(|receipt| receipt.seq)).unwrap();
    };
    store.meanwhile(Call::Read, 1, interlude);
    let second = chat.append(late()).await;
    assert_eq!(hears.await.unwrap().unwrap(), 4);
    let answered = RuleViolation::AlreadyAnswered { call_id: "c".to_owned() };
    assert!(matches!(second, Err(SessionError::Rule(rule)) if rule == answered));
}

#[tokio::test]
async fn behind_one_that_was_written_before_means_behind_the_one_before_it() {
    let (chat, _) = chat().await;
    let keyed = || Append::from(Message::user("one")).idempotency_key("k");
    let one = chat.enqueue(keyed()).await.unwrap();
    let again = chat.enqueue(keyed().behind(&one)).await.unwrap();
    assert_eq!(again.place(), None);
    let two = chat.enqueue(Append::from(Message::user("two")).behind(&one).behind(&again)).await.unwrap();
    two.await.unwrap();
    assert_eq!(texts(&chat).await, ["one", "two"]);
}
