//! A store that holds commits back keeps every law while somebody writes them for it, and shows nothing before.

use std::sync::Arc;

use sessions_infra::MemoryStore;
use sessions_ports::{Durability, Removal, SessionLog, StoreError};
use sessions_testkit::{HeldStore, InMemory, Injected, Script, Started};

fn held() -> HeldStore {
    HeldStore::over(Arc::new(MemoryStore::new()))
}

/// With a task that writes what is held back, one commit at a time.
fn served() -> InMemory<HeldStore> {
    let store = held();
    let served = store.clone();
    tokio::spawn(async move {
        loop {
            served.until_held(1).await;
            tokio::task::yield_now().await;
            served.write_one();
        }
    });
    InMemory { name: "held", store, largest_commit: None }
}

mod laws {
    use super::*;

    sessions_testkit::store_laws!(
        served(),
        skips: [
            "nobody else could open the store",
            "the store has no limit within reach",
            "the store is gone with its process",
            "the store keeps nothing when it is closed",
            "the store promises nothing beyond its process",
        ]
    );
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_written() {
    let store = held();
    let mut script = Script::new(1);
    let (one, two) = (script.say("one"), script.say("two"));
    let (one, two) = (Started::new(store.commit(one)), Started::new(store.commit(two)));
    let settled = Started::new(store.settled(script.session()));
    assert!(!one.is_done() && !settled.is_done());
    assert_eq!((store.held(), store.head(script.session()).await.unwrap()), (2, None));
    assert!(store.write_one());
    assert_eq!(one.finish().await.unwrap().version, 1);
    assert!(!two.is_done());
    store.write_all();
    assert_eq!(settled.finish().await.unwrap().unwrap().version, 2);
    assert_eq!(two.finish().await.unwrap().version, 2);
}

#[tokio::test]
async fn what_fails_is_gone_and_settled() {
    let store = held();
    let mut script = Script::new(1);
    let (one, two) = (script.say("one"), script.say("two"));
    let (one, two) = (Started::new(store.commit(one)), Started::new(store.commit(two)));
    let settled = Started::new(store.settled(script.session()));
    let wait = Started::new(store.wait(script.session(), 2, Durability::Volatile));
    store.fail_all(Injected::NoSpace);
    for answer in [one.finish().await, two.finish().await] {
        assert!(matches!(answer, Err(StoreError::NoSpace { .. })));
    }
    assert!(matches!(wait.finish().await, Err(StoreError::NoSpace { .. })));
    assert_eq!(settled.finish().await.unwrap(), None);
}

#[tokio::test]
async fn a_removal_is_held_back_too_and_may_fail() {
    let store = held();
    let mut script = Script::new(1);
    let first = Started::new(store.commit(script.say("one")));
    let removal =
        Removal { session: script.session(), expected: Some(1), keep_key: false, durability: Durability::Volatile };
    let removed = Started::new(store.remove(removal));
    let later = script.clone().say("behind it");
    assert!(matches!(store.commit(later.clone()).await, Err(StoreError::Gone { .. })));
    assert!(store.write_one() && first.finish().await.is_ok());
    assert!(!removed.is_done());
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 1);
    store.fail_all(Injected::NoSpace);
    assert!(matches!(removed.finish().await, Err(StoreError::NoSpace { .. })));
    let later = Started::new(store.commit(later));
    store.write_all();
    assert_eq!(later.finish().await.unwrap().version, 2);
}
