//! A faulty store fails the call it was told to, before or after it happened, and nothing else.

use std::sync::Arc;

use sessions_infra::MemoryStore;
use sessions_ports::{Durability, Removal, SessionLog, StoreError};
use sessions_testkit::{Call, Fault, FaultyStore, Injected, Script, Started, When};

fn faulty() -> FaultyStore {
    FaultyStore::over(Arc::new(MemoryStore::new()))
}

fn fault(call: Option<Call>, nth: u64, when: When, answer: Injected) -> Fault {
    Fault { call, nth, when, answer }
}

#[tokio::test]
async fn before_means_that_nothing_happened() {
    let store = faulty();
    store.fail(fault(Some(Call::Commit), 2, When::Before, Injected::NoSpace));
    let mut script = Script::new(1);
    store.commit(script.say("one")).await.unwrap();
    let second = script.say("two");
    assert!(matches!(store.commit(second.clone()).await, Err(StoreError::NoSpace { .. })));
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 1);
    store.commit(second).await.unwrap();
    assert_eq!((store.calls(Call::Commit), store.calls(Call::Head), store.total(), store.struck()), (3, 1, 4, 1));
}

#[tokio::test]
async fn after_means_that_it_happened_and_the_answer_is_lost() {
    let store = faulty();
    let mut script = Script::new(1);
    store.fail(fault(Some(Call::Commit), 1, When::After, Injected::Poisoned));
    assert!(matches!(store.commit(script.say("one")).await, Err(StoreError::Poisoned)));
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn what_fails_by_itself_keeps_its_own_error() {
    let store = faulty();
    store.fail(fault(Some(Call::Read), 1, When::After, Injected::Io));
    let missing = store.read(Script::new(1).session(), nine()).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

fn nine() -> sessions_ports::ReadRange {
    sessions_ports::ReadRange {
        from: 1,
        to: 9,
        order: sessions_ports::Order::OldestFirst,
        kinds: sessions_ports::KindFilter::All,
        max_records: 9,
        max_bytes: 9,
    }
}

#[tokio::test]
async fn any_call_counts_and_each_method_can_fail() {
    let session = Script::new(1).session();
    for nth in 1..=12 {
        let store = faulty();
        store.commit(Script::new(1).say("one")).await.unwrap();
        store.fail(fault(None, nth, When::Before, Injected::Unavailable));
        let failed = [
            store.commit(Script::new(2).say("one")).await.is_err(),
            store.head(session).await.is_err(),
            store.read(session, nine()).await.is_err(),
            store.find(session, 1).await.is_err(),
            store.snapshot(session).await.is_err(),
            store.by_key([0; 32]).await.is_err(),
            store.claim(session, [0; 32]).await.is_err(),
            store.rows(0, 1).await.is_err(),
            store.wait(session, 1, Durability::Volatile).await.is_err(),
            store.settled(session).await.is_err(),
            store.heirs(session).await.is_err(),
            store.remove(removal(session)).await.is_err(),
        ];
        let which: Vec<usize> = (0..12).filter(|at| failed[*at]).collect();
        assert_eq!(which, [nth as usize - 1]);
        assert_eq!(store.struck(), 1);
    }
}

fn removal(session: sessions_domain::SessionId) -> Removal {
    Removal { session, expected: None, keep_key: false, durability: Durability::Volatile }
}

#[tokio::test]
async fn a_removal_fails_before_or_after_it_happened() {
    for (when, was_removed) in [(When::Before, false), (When::After, true)] {
        let store = faulty();
        let mut script = Script::new(1);
        store.commit(script.say("one")).await.unwrap();
        store.fail(fault(Some(Call::Remove), 1, when, Injected::NoSpace));
        assert!(matches!(store.remove(removal(script.session())).await, Err(StoreError::NoSpace { .. })));
        assert_eq!(matches!(store.head(script.session()).await, Err(StoreError::Gone { .. })), was_removed);
        assert_eq!(store.remove(removal(script.session())).await.unwrap().was_there, !was_removed);
    }
}

#[tokio::test]
async fn a_fault_that_is_healed_does_not_strike() {
    let store = faulty();
    store.fail(fault(None, 1, When::Before, Injected::Closed));
    store.heal();
    store.close().await.unwrap();
    assert_eq!((store.calls(Call::Close), store.struck()), (1, 0));
}

#[tokio::test]
async fn a_store_that_hesitates_can_be_left_at_each_call_and_keeps_the_place_of_a_commit() {
    let memory = MemoryStore::new();
    let store = FaultyStore::hesitating(Arc::new(memory.clone()));
    let mut script = Script::new(1);
    let commit = Started::new(store.commit(script.say("one")));
    assert!(!commit.is_done());
    assert_eq!(memory.head(script.session()).await.unwrap().unwrap().version, 1, "it has its place already");
    drop(commit);
    let head = Started::new(store.head(script.session()));
    assert!(!head.is_done());
    memory.commit(script.say("two")).await.unwrap();
    assert_eq!(head.finish().await.unwrap().unwrap().version, 2, "it looks only after it gave way");
}

#[tokio::test]
async fn a_watcher_sees_each_commit_before_it_happens() {
    let store = faulty();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    store.watch(move |commit| sees.lock().unwrap().push(commit.clone()));
    let mut script = Script::new(1);
    let commits = [script.say("one"), script.say("two")];
    store.commit(commits[0].clone()).await.unwrap();
    store.fail(fault(Some(Call::Commit), 1, When::Before, Injected::Io));
    store.commit(commits[1].clone()).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), commits);
}
