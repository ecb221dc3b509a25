//! A future may be dropped at any await, and a call of a port may fail before or after it happened: what it wanted is then done whole or
//! not at all, nothing is locked, and the next call works.

use std::sync::Arc;

use sessions_app::NewSession;
use sessions_domain::Message;
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::{Fault, FaultyStore, Injected, When};

use crate::{
    ground::{Host, due, folder, open, open_sealed, polled, run, seed},
    usecase::{Scene, UseCase, check_all},
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
        assert!(dropped > 3, "{dropped}");
        manager.close().await.unwrap();
    });
}
