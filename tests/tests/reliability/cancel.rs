//! A future may be dropped at any await, and a call of a port may fail before or after it happened: what it wanted is then done whole or
//! not at all, nothing is locked, and the next call works.

use std::sync::Arc;

use sessions_app::{Append, At, Deletion, Forks, NewSession, Session, SessionError, SessionManager};
use sessions_domain::{Message, SessionId, StoredMessage};
use sessions_infra::{
    MemoryStore,
    sealing::{SealedStore, StoreOpener},
    sled::verify_sealed,
};
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::{Fault, FaultyStore, Injected, When};

use crate::{
    ground::{Host, due, folder, key_file, open, open_sealed, polled, run, seed},
    usecase::{Scene, UseCase, all_messages, check_all, check_chain},
};

/// Drops every use case at every await. Gives how often one was dropped.
async fn drop_everywhere(
    raw: Arc<dyn SessionLog>,
    tried: Arc<dyn SessionLog>,
    host: &Host,
    durability: Durability,
) -> u64 {
    let (mut scenes, mut dropped) = (0, 0);
    for case in UseCase::ALL {
        for polls in 1.. {
            assert!(polls < 400, "{case:?} does not come to an end");
            scenes += 1;
            let scene = Scene::set(&raw, host, scenes).await;
            let manager = host.manager(Arc::clone(&tried), durability);
            let outcome = polled(polls, scene.play(case, &manager)).await;
            let what = format!("{case:?} dropped after {polls} polls");
            scene.check(case, &manager, outcome.as_ref().is_some_and(Result::is_ok), &what).await;
            match outcome {
                None => dropped += 1,
                Some(outcome) => {
                    outcome.unwrap_or_else(|error| panic!("{case:?}, undisturbed: {error}"));
                    break;
                }
            }
        }
    }
    check_all(&raw, host).await;
    dropped
}

#[test]
fn dropped_at_any_await_in_memory() {
    let host = Host::seeded(seed("cancel"));
    run(0, async {
        let raw: Arc<dyn SessionLog> = Arc::new(MemoryStore::pretending(Durability::Disk));
        let tried = Arc::new(FaultyStore::hesitating(Arc::clone(&raw)));
        let dropped = drop_everywhere(raw, tried, &host, Durability::Process).await;
        println!("dropped {dropped} times");
        assert!(dropped > 200, "{dropped}");
    });
}

#[test]
fn dropped_at_any_await_on_the_default_store() {
    let host = Host::seeded(seed("cancel"));
    run(2, async {
        // On a real disk a sync takes long enough to go away meanwhile.
        let (one, other) = (tempfile::TempDir::new().unwrap(), folder());
        let raw: Arc<dyn SessionLog> = Arc::new(open(one.path()).await);
        let dropped = drop_everywhere(Arc::clone(&raw), Arc::clone(&raw), &host, Durability::Disk).await;
        raw.close().await.unwrap();
        let raw: Arc<dyn SessionLog> = Arc::new(open(other.path()).await);
        let tried = Arc::new(FaultyStore::hesitating(Arc::clone(&raw)));
        let more = drop_everywhere(Arc::clone(&raw), tried, &host, Durability::Process).await;
        raw.close().await.unwrap();
        println!("dropped {dropped} and {more} times");
        assert!(dropped > 10 && more > 200, "{dropped} and {more}");
    });
}

/// Fails each call of a port once in every use case. Gives how many failures struck.
async fn fail_everywhere(raw: Arc<dyn SessionLog>, host: &Host) -> u64 {
    let answers = [Injected::Unavailable, Injected::Io, Injected::NoSpace, Injected::Poisoned, Injected::Closed];
    let (mut scenes, mut struck) = (1_000_000, 0);
    for (case, when) in UseCase::ALL.into_iter().flat_map(|case| [(case, When::Before), (case, When::After)]) {
        for nth in 1_u64.. {
            assert!(nth < 200, "{case:?} does not come to an end");
            scenes += 1;
            let scene = Scene::set(&raw, host, scenes).await;
            let faulty = FaultyStore::over(Arc::clone(&raw));
            let manager = host.manager(Arc::new(faulty.clone()), Durability::Process);
            let answer = answers[nth as usize % answers.len()];
            faulty.fail(Fault { call: None, nth, when, answer });
            let outcome = scene.play(case, &manager).await;
            let did_strike = faulty.struck() > 0;
            faulty.heal();
            let what = format!("{case:?} with call {nth} failed {when:?} ({answer:?})");
            scene.check(case, &manager, !did_strike && outcome.is_ok(), &what).await;
            if !did_strike {
                outcome.unwrap_or_else(|error| panic!("{case:?}, undisturbed: {error}"));
                break;
            }
            // Only what has a key can find out by itself that its lost answer was a yes, and of what is dropped nobody asks.
            let unasked = [UseCase::EnqueueDropped, UseCase::StreamDropped];
            let may_be_unnoticed = case == UseCase::AppendWithKey || unasked.contains(&case);
            assert!(outcome.is_err() || may_be_unnoticed, "{what}: it went unnoticed");
            struck += 1;
        }
    }
    check_all(&raw, host).await;
    struck
}

#[test]
fn a_failed_call_leaves_all_or_nothing_in_memory() {
    let host = Host::seeded(seed("cancel"));
    let struck = run(2, async { fail_everywhere(Arc::new(MemoryStore::pretending(Durability::Disk)), &host).await });
    println!("{struck} failures");
    assert!(struck > 150, "{struck}");
}

#[test]
fn a_failed_call_leaves_all_or_nothing_on_the_default_store() {
    let host = Host::seeded(seed("cancel"));
    let struck = run(2, async {
        let folder = folder();
        let raw: Arc<dyn SessionLog> = Arc::new(open(folder.path()).await);
        let struck = fail_everywhere(Arc::clone(&raw), &host).await;
        raw.close().await.unwrap();
        struck
    });
    println!("{struck} failures");
    assert!(struck > 150, "{struck}");
}

#[test]
fn a_change_of_a_data_key_that_is_dropped_at_any_await_is_gone_on_with_by_the_next() {
    let host = Host::seeded(seed("cancel"));
    run(0, async {
        let folder = folder();
        let store = open_sealed(folder.path(), 1).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Volatile);
        let session = manager.create(NewSession::titled("kept")).await.unwrap();
        for number in 0..20 {
            session.append(Message::user(format!("{number}"))).await.unwrap();
        }
        let said = session.last(30).await.unwrap();
        let mut dropped = 0;
        for polls in 1.. {
            if polled(polls, store.rotate_data(session.id(), |_| ())).await.is_some() {
                break;
            }
            dropped += 1;
            // What was dropped may be under way still.
            let changed = due("the next change", store.rotate_data(session.id(), |_| ())).await;
            assert!(changed.is_ok(), "dropped behind {polls} polls: {changed:?}");
            assert_eq!(store.unfinished(), []);
            assert_eq!(session.last(30).await.unwrap(), said);
        }
        // How many there are depends on how fast what runs beside it is.
        assert!(dropped > 1, "{dropped}");
        manager.close().await.unwrap();
    });
}

/// A parent with more than one lot of what its forks take over, its fork, and that one's fork.
async fn family(manager: &SessionManager) -> (SessionId, [(SessionId, Vec<StoredMessage>); 2]) {
    let parent = manager.create(NewSession::titled("parent")).await.unwrap();
    parent.append(Append::all((0..300).map(|n| Message::user(format!("of the parent {n}"))))).await.unwrap();
    let fork = parent.fork(At::Now).await.unwrap();
    fork.append(Message::user("of the fork, and large ".repeat(3_000))).await.unwrap();
    let its_fork = fork.fork(At::Now).await.unwrap();
    its_fork.append(Message::user("of its fork")).await.unwrap();
    let said = async |session: &Session| (session.id(), all_messages(session).await.unwrap());
    (parent.id(), [said(&fork).await, said(&its_fork).await])
}

/// A fork that is there is whole and goes on. `None`: it is gone.
async fn whole_or_gone(manager: &SessionManager, fork: &(SessionId, Vec<StoredMessage>), what: &str) -> Option<()> {
    let (id, said) = fork;
    let session = match due(what, manager.load(*id)).await {
        Ok(session) => session,
        Err(SessionError::Gone { .. }) => return None,
        Err(error) => panic!("{what}: {id}: {error}"),
    };
    let now = due(what, all_messages(&session)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(now.starts_with(said), "{what}: {id} says {} messages of {}, or others", now.len(), said.len());
    due(what, session.append(Message::user("and on"))).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    Some(())
}

/// Shreds families and is dropped at each await; the next call ends it. Gives how often it was dropped, and how many sessions are left.
async fn drop_shreddings(store: &SealedStore, host: &Host, forks: Forks) -> (usize, u64) {
    let shredding = || Deletion::shredding().forks(forks);
    let slow: Arc<dyn SessionLog> = Arc::new(FaultyStore::hesitating(Arc::new(store.clone())));
    let goes = forks == Forks::Cascade;
    let (mut dropped, mut left) = (0, 0);
    for polls in 1.. {
        assert!(polls < 400, "it does not come to an end");
        let what = format!("{forks:?} dropped after {polls} polls");
        let manager = host.manager(Arc::new(store.clone()), Durability::Process);
        let (parent, heirs) = family(&manager).await;
        let hesitating = host.manager(Arc::clone(&slow), Durability::Process);
        let outcome = polled(polls, hesitating.delete(parent, shredding())).await;
        let outcome = outcome.map(|outcome| outcome.unwrap_or_else(|error| panic!("undisturbed: {error}")));
        // What was dropped may be under way still.
        for session in [parent, heirs[0].0, heirs[1].0] {
            let _gone = due(&what, store.settled(session)).await;
        }
        for heir in &heirs {
            let is_there = whole_or_gone(&manager, heir, &what).await.is_some();
            assert!(is_there || goes, "{what}: it was to stay");
            assert!(!(is_there && goes) || outcome.is_none(), "{what}: it was to go");
        }
        let again = due(&what, manager.delete(parent, shredding())).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(again.erased.is_some(), "{what}: its keys are there");
        assert!(outcome.as_ref().is_none_or(|first| first.erased == again.erased && again.was_gone), "{what}");
        let later = host.manager(Arc::new(store.clone()), Durability::Process);
        assert!(matches!(later.load(parent).await, Err(SessionError::Gone { .. })), "{what}");
        for heir in &heirs {
            let is_gone = whole_or_gone(&later, heir, &what).await.is_none();
            assert_eq!((is_gone, store.erased(heir.0).await.unwrap().is_some()), (goes, goes), "{what}");
            if !goes {
                assert_eq!(check_chain(store, heir.0).await[0].seq, 1, "{what}: all is its own");
                left += 1;
            }
        }
        match outcome {
            None => dropped += 1,
            Some(_) => break,
        }
    }
    (dropped, left)
}

#[test]
fn a_shredding_with_forks_that_is_dropped_at_any_await_is_ended_by_the_next() {
    let host = Host::seeded(seed("cancel"));
    for (threads, forks) in [(0, Forks::Detach), (2, Forks::Detach), (0, Forks::Cascade), (2, Forks::Cascade)] {
        run(threads, async {
            let folder = folder();
            let path = folder.path().join("store");
            let store = open_sealed(&path, 1).await;
            let (dropped, left) = drop_shreddings(&store, &host, forks).await;
            println!("{forks:?}: dropped {dropped} times");
            assert!(dropped > 20, "{dropped}");
            store.close().await.unwrap();
            let status = store.key_status().await.unwrap();
            assert_eq!((status.live, status.damaged), (left, 0));
            drop(store);
            let opener = Arc::new(StoreOpener::unlock(&path, &key_file(1)).await.unwrap());
            let witness = opener.witness().unwrap();
            assert_eq!(verify_sealed(&path, Some(&witness), opener).unwrap().findings, []);
        });
    }
}
