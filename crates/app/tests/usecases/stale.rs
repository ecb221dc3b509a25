//! A handle whose view is behind, because another manager wrote: it asks nobody while it goes well, and is right all the same.

use std::sync::Arc;

use sessions_app::{Append, NewSession, Session, SessionError};
use sessions_domain::{Message, MessagePart, MessageRole, RuleViolation};
use sessions_infra::MemoryStore;
use sessions_testkit::{Call, FaultyStore};

use crate::ground::{manager, texts};

/// Two handles to one session, each of a manager of its own.
async fn two() -> (Session, Session, FaultyStore) {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let [one, other] = [store.clone(), store.clone()].map(manager);
    let here = one.create(NewSession::titled("t")).await.unwrap();
    let there = other.load(here.id()).await.unwrap();
    (here, there, store)
}

fn call(id: &str) -> Message {
    let call = MessagePart::tool_call(id, "tool", "{}").unwrap();
    Message::text_of(MessageRole::Assistant, "calls").with(call)
}

#[tokio::test]
async fn an_append_asks_the_store_nothing_before_it_commits() {
    let (here, _, store) = two().await;
    here.append(Message::user("zero")).await.unwrap();
    let before = (store.total(), store.calls(Call::Commit));
    for text in ["one", "two", "three"] {
        here.append(Message::user(text)).await.unwrap();
    }
    assert_eq!((store.total() - before.0, store.calls(Call::Commit) - before.1), (3, 3));
}

#[tokio::test]
async fn what_another_wrote_is_found_by_the_commit_and_read_once() {
    let (here, there, store) = two().await;
    for round in 0..5 {
        there.append(Message::user(format!("there {round}"))).await.unwrap();
        let snapshots = store.calls(Call::Snapshot);
        here.append(Message::user(format!("here {round}"))).await.unwrap();
        assert_eq!(store.calls(Call::Snapshot), snapshots, "only what is missing is read");
    }
    assert_eq!(texts(&here).await, texts(&there).await);
    assert_eq!(here.fresh_view().await.unwrap().depth(), 10);
}

#[tokio::test]
async fn a_rule_is_broken_only_when_it_is_with_what_the_store_has() {
    let (here, there, _) = two().await;
    let asked = there.append(call("c1")).await.unwrap();
    here.append(Message::tool_result("c1", "answers a call that it had not heard of")).await.unwrap();
    let receipt = there.append(Append::from(Message::user("on")).after(asked.message)).await;
    assert!(matches!(receipt, Err(SessionError::Conflict { .. })), "the answer came between: {receipt:?}");
    let twice = there.append(Message::tool_result("c1", "again")).await;
    assert!(matches!(twice, Err(SessionError::Rule(RuleViolation::AlreadyAnswered { .. }))), "{twice:?}");
}

#[tokio::test]
async fn what_is_refused_by_a_view_that_is_behind_is_decided_again() {
    let (here, there, _) = two().await;
    let theirs = there.enqueue(Message::user("theirs")).await.unwrap();
    let ours = here.append(Append::from(Message::user("ours")).behind(&theirs)).await;
    assert_eq!(ours.unwrap().seq, 3, "what it is to stand behind is in the store");
    theirs.await.unwrap();
    assert_eq!(texts(&here).await, ["theirs", "ours"]);
}

#[tokio::test]
async fn a_second_refusal_holds() {
    let (here, there, store) = two().await;
    let theirs = there.enqueue(Message::user("theirs")).await.unwrap();
    there.append(Message::user("and more")).await.unwrap();
    let heads = store.calls(Call::Head);
    let ours = here.append(Append::from(Message::user("ours")).behind(&theirs)).await;
    assert!(matches!(ours, Err(SessionError::Conflict { expected: 2, actual: 3 })), "{ours:?}");
    assert_eq!(store.calls(Call::Head) - heads, 1, "the store is asked once");
    assert_eq!(texts(&here).await, ["theirs", "and more"]);
}

#[tokio::test]
async fn words_that_another_changed_are_changed_back() {
    let (here, there, _) = two().await;
    there.rename("theirs").await.unwrap();
    assert!(here.rename("t").await.unwrap(), "the view that is behind has that title still");
    assert_eq!(there.summary().await.unwrap().title.as_deref(), Some("t"));
}
