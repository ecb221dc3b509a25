//! Nobody waits for ever: not for a runtime that is gone, not for a commit that failed, and not for another's.

use std::sync::Arc;

use sessions_app::{Append, NewSession, Session, SessionError, SessionManager};
use sessions_domain::{Actor, Message};
use sessions_infra::MemoryStore;
use sessions_ports::{SessionLog, StoreError};
use sessions_testkit::{HeldStore, Injected, Started};
use tokio::runtime::{Builder, Runtime};

use crate::ground::{due, manager, texts};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A session in a store that holds back what comes from now on.
async fn scene() -> (HeldStore, SessionManager, Session) {
    let store = HeldStore::over(Arc::new(MemoryStore::new()));
    let manager = manager(store.clone());
    let making = {
        let manager = manager.clone();
        tokio::spawn(async move { manager.create(NewSession::titled("scene")).await })
    };
    store.until_held(1).await;
    store.write_all();
    let session = making.await.unwrap().unwrap();
    (store, manager, session)
}

#[test]
fn a_runtime_that_ends_within_a_commit_takes_nobody_along() {
    let (first, second) = (runtime(), runtime());
    let (store, manager, session) = first.block_on(scene());
    let id = session.id();
    let (one, two) = first.block_on(async {
        (session.enqueue(Message::user("one")).await.unwrap(), session.enqueue(Message::user("two")).await.unwrap())
    });
    assert_eq!(store.held(), 2);
    drop(first);
    second.block_on(async {
        let again = due("loading", manager.load(id)).await.unwrap();
        assert_eq!(texts(&again).await, Vec::<String>::new(), "nothing is through yet");
        let three = tokio::spawn(async move { again.append(Message::user("three")).await });
        let served = store.clone();
        let serving = tokio::spawn(async move {
            loop {
                served.until_held(1).await;
                served.write_one();
            }
        });
        // Who waits on another runtime hears what became of it.
        let (one, two) = (due("the first", one).await.unwrap(), due("the second", two).await.unwrap());
        let three = due("the append", three).await.unwrap().unwrap();
        assert_eq!((one.seq, two.seq, three.seq), (2, 3, 4));
        serving.abort();
        assert_eq!(texts(&session).await, ["one", "two", "three"]);
        let heads = due("what is settled", store.settled(id)).await.unwrap().unwrap();
        assert_eq!((heads.version, heads.commit), (three.version, three.head));
    });
}

#[test]
fn what_a_dropped_runtime_left_and_the_store_refused_is_appended_by_who_still_waits() {
    let (first, second) = (runtime(), runtime());
    let (store, _manager, session) = first.block_on(scene());
    let one = first.block_on(session.enqueue(Message::user("one"))).unwrap();
    drop(first);
    store.fail_all(Injected::NoSpace);
    second.block_on(async {
        let one = tokio::spawn(one);
        due("the second try", store.until_held(1)).await;
        store.write_all();
        assert_eq!(due("the append", one).await.unwrap().unwrap().seq, 2);
        assert_eq!(texts(&session).await, ["one"]);
    });
}

#[test]
fn a_commit_without_any_runtime_is_found_in_the_log() {
    let runtime = runtime();
    let (store, _manager, session) = runtime.block_on(scene());
    let served = {
        let store = store.clone();
        std::thread::spawn(move || {
            futures_block_on(store.until_held(1));
            store.write_all();
        })
    };
    let receipt = futures_block_on(session.append(Message::user("alone"))).unwrap();
    served.join().unwrap();
    assert_eq!(receipt.seq, 2);
}

/// Waits without a runtime.
fn futures_block_on<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        std::thread::park();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_to_a_commit_that_fails_goes_on() {
    let (store, _manager, session) = scene().await;
    let other = manager(store.clone()).load(session.id()).await.unwrap();
    let winner = session.enqueue(Message::user("wins its place and fails")).await.unwrap();
    let loser = tokio::spawn(async move { other.append(Message::user("loses its place")).await });
    store.fail_all(Injected::NoSpace);
    assert!(matches!(due("the winner", winner).await, Err(SessionError::Store(StoreError::NoSpace { .. }))));
    due("the loser's second try", store.until_held(1)).await;
    store.write_all();
    assert_eq!(due("the loser", loser).await.unwrap().unwrap().seq, 2);
    assert_eq!(texts(&session).await, ["loses its place"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_session_that_fails_is_free_again() {
    let store = HeldStore::over(Arc::new(MemoryStore::new()));
    let managers = [manager(store.clone()), manager(store.clone())];
    let open = |manager: SessionManager| tokio::spawn(async move { manager.open_or_create("user-1").await });
    let [one, other] = managers;
    let winner = open(one);
    store.until_held(1).await;
    let loser = open(other);
    // Whichever way: lost and waiting for the winner, or not there yet.
    store.fail_all(Injected::NoSpace);
    assert!(due("the winner", winner).await.unwrap().is_err());
    due("the loser's second try", store.until_held(1)).await;
    store.write_all();
    assert_eq!(due("the loser", loser).await.unwrap().unwrap().version().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_an_append_that_fails_is_free_again() {
    let (store, _manager, session) = scene().await;
    let other = manager(store.clone()).load(session.id()).await.unwrap();
    let append = || Append::from(Message::user("once")).idempotency_key("key");
    let winner = session.enqueue(append()).await.unwrap();
    let loser = tokio::spawn(async move { other.append(append()).await });
    store.fail_all(Injected::NoSpace);
    let winner = tokio::spawn(winner);
    due("the loser's second try", store.until_held(1)).await;
    store.write_all();
    // The winner hears of its failure, or finds that the loser's append stands for its own.
    let winner = due("the winner", winner).await.unwrap();
    assert!(winner.is_err() || winner.is_ok_and(|receipt| receipt.seq == 2));
    assert_eq!(due("the loser", loser).await.unwrap().unwrap().seq, 2);
    assert_eq!(texts(&session).await, ["once"]);
}

#[tokio::test]
async fn what_will_never_come_is_not_waited_for() {
    let (store, manager, session) = scene().await;
    let queued = session.enqueue(Message::user("fails")).await.unwrap();
    let wait = due("the wait", session.wait_durable(2, manager.durability()));
    let (waited, ()) = tokio::join!(biased; wait, async { store.fail_all(Injected::NoSpace) });
    assert!(matches!(waited, Err(SessionError::Store(StoreError::NoSpace { .. }))));
    assert!(due("the append", queued).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_is_appended_though_another_was_faster_and_nobody_waits() {
    let (store, _manager, session) = scene().await;
    let other = manager(store.clone()).load(session.id()).await.unwrap();
    let faster = other.enqueue(Message::user("faster")).await.unwrap();
    let queueing = Started::new(session.enqueue(Message::user("slower")));
    assert!(!queueing.is_done(), "it has no place yet");
    store.write_all();
    let slower = due("the queueing", queueing.finish()).await.unwrap();
    assert_eq!((faster.place(), slower.place()), (Some(2), Some(3)));
    drop(slower);
    store.write_all();
    due("the faster one", faster).await.unwrap();
    assert_eq!(texts(&other).await, ["faster", "slower"]);
}

#[tokio::test]
async fn actors_of_one_manager_queue_behind_each_other() {
    let (store, manager, session) = scene().await;
    let mut queued = Vec::new();
    for (name, place) in [("ada", 2), ("bob", 3), ("ada", 4)] {
        let acting = manager.acting_for(Actor::named(name)).load(session.id()).await.unwrap();
        let append = due("the queueing", acting.enqueue(Message::user(name))).await.unwrap();
        assert_eq!(append.place(), Some(place), "{name} waits for nobody");
        queued.push(append);
    }
    assert_eq!(store.held(), 3);
    store.write_all();
    for append in queued {
        due("an append", append).await.unwrap();
    }
    let actors: Vec<_> = session.last(9).await.unwrap().into_iter().map(|message| message.actor.id).collect();
    assert_eq!(actors, ["ada", "bob", "ada"]);
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_what_is_in_use() {
    let (_store, manager, session) = scene().await;
    let stranger = manager.acting_for(Actor { tenant: "elsewhere".into(), ..Actor::named("ada") });
    for id in [session.id(), sessions_domain::SessionId::from_bytes([1; 16])] {
        assert!(matches!(stranger.load(id).await, Err(SessionError::NotFound { .. })));
    }
    let all = sessions_app::Query::default();
    assert_eq!(stranger.list(&all).await.unwrap().sessions.len(), 0);
    assert_eq!(manager.list(&all).await.unwrap().sessions.len(), 1);
    assert_eq!(manager.acting_for(Actor::named("bob")).list(&all).await.unwrap().sessions.len(), 1);
}

/// The numbers alone do not tell: another's commit stands where the one was to stand that this one was decided behind.
#[tokio::test]
async fn nothing_follows_a_commit_that_failed_when_another_took_its_place() {
    let (store, ours, session) = scene().await;
    let theirs = due("loading", manager(store.clone()).load(session.id())).await.unwrap();
    let one = session.enqueue(Message::user("one")).await.unwrap();
    // Nothing gives way to the task that is to hear of it, so it has not heard yet.
    store.fail_all(Injected::NoSpace);
    let other = theirs.enqueue(Message::user("other")).await.unwrap();
    store.write_all();
    let mut two = Box::pin(session.enqueue(Message::user("two")));
    let serving = {
        let store = store.clone();
        async move {
            loop {
                store.write_all();
                tokio::task::yield_now().await;
            }
        }
    };
    let two = async {
        let two = two.as_mut().await?;
        two.await
    };
    let two = tokio::select! {
        two = due("the second", two) => two,
        () = serving => unreachable!("it never ends"),
    };
    assert!(one.await.is_err());
    assert_eq!((other.await.unwrap().seq, two.unwrap().seq), (2, 3));
    drop(ours);
    let mut export = session.export_jsonl().await.unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend(chunk);
    }
    let there = manager(MemoryStore::new());
    let imported = there.import(std::io::Cursor::new(file), sessions_app::ImportOptions::default()).await;
    assert_eq!(imported.map(|report| report.version).unwrap(), 3, "an import checks the chain");
}
