//! Several writers, one session: one wins each version, appends try again and all get through, an undo from a stale place says so.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sessions_app::{At, NewSession, Session, SessionError};
use sessions_domain::{Event, Json, Message, MessageRole, codec};
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::FaultyStore;

use crate::{
    ground::{Dice, Host, beside_other_keys, due, folder, open, open_sealed, run, seed},
    usecase::{all_messages, check_chain},
};

const WRITERS: usize = 8;
const APPENDS: usize = 5_000;
/// Changes of any kind by each writer.
const CHANGES: usize = 400;

async fn race(store: Arc<dyn SessionLog>, host: &Host) {
    let managers = [0, 1].map(|_| host.manager(Arc::clone(&store), Durability::Process));
    let id = managers[0].create(NewSession::titled("race")).await.unwrap().id();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let session = managers[writer % managers.len()].load(id).await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut receipts = Vec::with_capacity(APPENDS);
            for number in 0..APPENDS {
                let receipt = session.append(Message::user(format!("{writer} {number}"))).await;
                receipts.push(receipt.unwrap_or_else(|error| panic!("writer {writer}, append {number}: {error}")));
            }
            receipts
        }));
    }
    let (mut versions, mut heads) = (HashSet::new(), HashMap::new());
    for writer in writers {
        for receipt in writer.await.unwrap() {
            assert!(versions.insert(receipt.version), "two won version {}", receipt.version);
            heads.insert(receipt.version, (receipt.head, receipt.message));
        }
    }
    let records = check_chain(store.as_ref(), id).await;
    assert_eq!((records.len(), versions.len()), (WRITERS * APPENDS + 1, WRITERS * APPENDS));
    let mut next = [0; WRITERS];
    for record in &records[1..] {
        let (event, _) = codec::decode(record.kind, &record.payload[32..]).unwrap();
        let Event::Appended(appended) = event else { panic!("a record that nobody wrote") };
        assert_eq!(heads[&record.seq], (record.commit, appended.id), "the receipt of {}", record.seq);
        let text = appended.message.text();
        let (writer, number) = text.split_once(' ').unwrap();
        let writer: usize = writer.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[writer]), "writer {writer} is out of order");
        next[writer] += 1;
    }
    assert_eq!(next, [APPENDS; WRITERS]);
}

#[test]
fn appends_of_two_managers_all_get_through_in_memory() {
    let host = Host::seeded(seed("races"));
    run(2, async { race(Arc::new(MemoryStore::pretending(Durability::Disk)), &host).await });
}

#[test]
fn appends_of_two_managers_all_get_through_on_the_default_store() {
    let host = Host::seeded(seed("races"));
    run(2, async {
        let folder = folder();
        let store = open(folder.path()).await;
        race(Arc::new(store.clone()), &host).await;
        store.close().await.unwrap();
    });
}

#[test]
fn appends_of_two_managers_all_get_through_on_the_sealed_store_while_its_keys_change() {
    let host = Host::seeded(seed("races"));
    run(2, async {
        let folder = folder();
        let store = open_sealed(folder.path(), 1).await;
        beside_other_keys(&store, race(Arc::new(store.clone()), &host)).await;
        store.close().await.unwrap();
    });
}

/// Everything at once on one session: each change comes whole or is refused for a reason that its rules know, and what two managers see in
/// the end is what the log says.
async fn all_at_once(store: Arc<dyn SessionLog>, host: &Host, seed: u64) {
    let managers = [0, 1].map(|_| host.manager(Arc::clone(&store), Durability::Process));
    let id = managers[0].create(NewSession::titled("race")).await.unwrap().id();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let session = managers[writer % managers.len()].load(id).await.unwrap();
        let mut dice = Dice::new(seed.wrapping_add(writer as u64));
        writers.push(tokio::spawn(async move {
            let (mut done, mut refused) = (0_u64, 0_u64);
            for number in 0..CHANGES {
                match change(&session, &mut dice, number).await {
                    Ok(()) => done += 1,
                    Err(SessionError::Rule(_) | SessionError::Conflict { .. }) => refused += 1,
                    Err(error) => panic!("writer {writer}, change {number}: {error}"),
                }
            }
            (done, refused)
        }));
    }
    let (mut done, mut refused) = (0, 0);
    for writer in writers {
        let (some, others) = writer.await.unwrap();
        (done, refused) = (done + some, refused + others);
    }
    store.settled(id).await.unwrap();
    check_chain(store.as_ref(), id).await;
    let fresh = host.manager(Arc::clone(&store), Durability::Process).load(id).await.unwrap();
    // It is still taking messages, and both see them.
    fresh.append(Message::user("the end")).await.unwrap();
    let wanted = (fresh.fresh_view().await.unwrap(), all_messages(&fresh).await.unwrap());
    for manager in managers {
        let session = manager.load(id).await.unwrap();
        let view = session.fresh_view().await.unwrap();
        assert_eq!(
            (view.version(), view.commit(), view.head()),
            (wanted.0.version(), wanted.0.commit(), wanted.0.head())
        );
        assert_eq!(all_messages(&session).await.unwrap(), wanted.1);
    }
    println!("{done} changes, {refused} refused");
    assert!(done > CHANGES as u64 * 3, "{done} of {}", WRITERS * CHANGES);
}

async fn change(session: &Session, dice: &mut Dice, number: usize) -> Result<(), SessionError> {
    match dice.below(12) {
        0..=3 => session.append(Message::user(number.to_string())).await.map(drop),
        4 => session.undo(1).await.map(drop),
        5 => session.redo(1).await.map(drop),
        6 => session.rename(dice.number().to_string()).await.map(drop),
        7 => session.set_state("key", Json::of(&number).unwrap()).await.map(drop),
        8 => session.fork(At::Now).await.map(drop),
        9 => match session.last(1).await?.pop() {
            Some(last) => session.edit(last.id, Message::user("edited")).await.map(drop),
            None => Ok(()),
        },
        10 => session.checkpoint("here", At::Now).await.map(drop),
        _ => {
            let answer = Message { role: MessageRole::Assistant, parts: Vec::new(), metadata: Default::default() };
            let mut stream = session.begin(answer).await?;
            stream.push_text("so far").await?;
            stream.flush().await?;
            stream.finish(None).await.map(drop)
        }
    }
}

#[test]
fn all_changes_at_once_come_whole_or_are_refused_in_memory() {
    let seed = seed("races");
    let store = Arc::new(MemoryStore::pretending(Durability::Disk));
    run(2, async { all_at_once(store, &Host::seeded(seed), seed).await });
}

#[test]
fn all_changes_at_once_come_whole_or_are_refused_on_the_default_store() {
    let seed = seed("races");
    run(2, async {
        let folder = folder();
        let store = open(folder.path()).await;
        all_at_once(Arc::new(store.clone()), &Host::seeded(seed), seed).await;
        store.close().await.unwrap();
    });
}

#[test]
fn all_changes_at_once_come_whole_or_are_refused_on_the_sealed_store_while_its_keys_change() {
    let seed = seed("races");
    run(2, async {
        let folder = folder();
        let store = open_sealed(folder.path(), 1).await;
        let host = Host::seeded(seed);
        beside_other_keys(&store, all_at_once(Arc::new(store.clone()), &host, seed)).await;
        store.close().await.unwrap();
    });
}

/// An undo that looked before another manager appended, at each moment at which that can happen, is a conflict or came first.
async fn stale_undo(raw: Arc<dyn SessionLog>, host: &Host) {
    let slow = host.manager(Arc::new(FaultyStore::hesitating(Arc::clone(&raw))), Durability::Process);
    let quick = host.manager(raw, Durability::Process);
    let (mut conflicts, mut first) = (0, 0);
    for polls in 1.. {
        let here = quick.create(NewSession::default()).await.unwrap();
        for text in ["one", "two", "three"] {
            here.append(Message::user(text)).await.unwrap();
        }
        let there = slow.load(here.id()).await.unwrap();
        let mut undo = Box::pin(there.undo(1));
        let mut seen = 0;
        let early = std::future::poll_fn(|context| {
            use std::task::Poll;
            seen += 1;
            match undo.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if seen >= polls => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let behind = here.append(Message::user("meanwhile")).await.unwrap();
        let was_early = early.is_some();
        let outcome = match early {
            Some(done) => done,
            None => due("the undo", undo).await,
        };
        match outcome {
            Err(SessionError::Conflict { .. }) => {
                conflicts += 1;
                assert_eq!((here.version().await.unwrap(), behind.version), (5, 5), "a conflict changes nothing");
            }
            Ok(moved) => {
                first += 1;
                // It looked before or behind the other: never did it take back what it had not seen.
                let kept = here.last(10).await.unwrap();
                let texts: Vec<String> = kept.iter().map(|message| message.text()).collect();
                let came_first = moved.version == 5 && texts == ["one", "two", "meanwhile"];
                let saw_it = moved.version == 6 && texts == ["one", "two", "three"];
                assert!(came_first || saw_it, "version {}: {texts:?}", moved.version);
            }
            Err(error) => panic!("{error}"),
        }
        check_chain(quick.ports().store.as_ref(), here.id()).await;
        if was_early {
            break;
        }
    }
    println!("{conflicts} conflicts, {first} undos");
    assert!(conflicts > 0 && first > 1);
}

#[test]
fn a_stale_undo_is_a_conflict_in_memory() {
    let host = Host::seeded(seed("races"));
    run(2, async { stale_undo(Arc::new(MemoryStore::pretending(Durability::Disk)), &host).await });
}

#[test]
fn a_stale_undo_is_a_conflict_on_the_default_store() {
    let host = Host::seeded(seed("races"));
    run(2, async {
        let folder = folder();
        let store = open(folder.path()).await;
        stale_undo(Arc::new(store.clone()), &host).await;
        store.close().await.unwrap();
    });
}
