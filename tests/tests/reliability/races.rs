//! Several writers, one session: one wins each version, appends try again and all get through, an undo from a stale place says so.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sessions_app::{NewSession, SessionError};
use sessions_domain::{Event, Message, codec};
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::FaultyStore;

use crate::{
    ground::{Host, due, folder, open, run, seed},
    usecase::check_chain,
};

const WRITERS: usize = 8;
const APPENDS: usize = 5_000;

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
