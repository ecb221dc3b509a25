//! Forks of a sealed store whose beginnings are lost: after a repair, with the key or without it, each is read, written, exported and deleted, whatever became
//! of those that it inherits from.
//!
//! Must not know: what stands for a lost beginning.

use std::{fs, path::Path, sync::Arc};

use sessions_app::{Append, At, Deletion, Forks, Session, SessionManager};
use sessions_domain::{Message, SessionId};
use sessions_infra::{
    sealing::StoreOpener,
    sled::{Severity, repair, repair_with, verify_sealed},
};
use sessions_ports::Durability;

use crate::{
    folder::{frames, segments},
    ground::{Host, folder, key_file, open_sealed, run},
};

async fn managed(path: &Path, host: &Host) -> SessionManager {
    host.manager(Arc::new(open_sealed(path, 7).await), Durability::Disk)
}

/// A session with so many messages that are told apart.
async fn begun(manager: &SessionManager, messages: usize) -> Session {
    let session = manager.open_or_create("first").await.unwrap();
    let texts = (1..=messages).map(|number| Message::user(format!("first {number}")));
    session.append(Append::all(texts.collect::<Vec<_>>())).await.unwrap();
    session
}

async fn forked(from: &Session, at: At, text: &str) -> Session {
    let fork = from.fork(at).await.unwrap();
    fork.append(Message::user(text)).await.unwrap();
    fork
}

/// A bit of the frame that a session began with is another.
fn spoil_beginning(path: &Path, session: SessionId) {
    let segment = segments(path).remove(0);
    let mut log = fs::read(&segment).unwrap();
    let beginning = frames(&log).into_iter().find(|frame| frame.session == session).unwrap();
    log[beginning.bytes.start + 60] ^= 1;
    fs::write(&segment, log).unwrap();
}

/// Repairs, and what is left is sound to whoever has the key.
async fn repaired(path: &Path, with_key: bool) {
    let opener = Arc::new(StoreOpener::unlock(path, &key_file(7)).await.unwrap());
    if !with_key {
        assert!(!repair(path, false).unwrap().actions.is_empty());
    }
    // It attests the sessions as they stand now, where the one before had no key.
    repair_with(path, false, Arc::new(opener.witness().unwrap())).unwrap();
    let witness = opener.witness().unwrap();
    let wrong = verify_sealed(path, Some(&witness), opener).unwrap().findings;
    let wrong: Vec<_> = wrong.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

async fn texts(session: &Session) -> Vec<String> {
    session.last(99).await.unwrap().iter().map(|message| message.text()).collect()
}

async fn exported(session: &Session) {
    let mut export = session.export_json().await.unwrap();
    while export.next_chunk().await.unwrap().is_some() {}
}

/// The session is read and written, and goes when it is to go.
async fn goes_on(manager: &SessionManager, id: SessionId, expected: &[&str]) {
    let session = manager.load(id).await.unwrap();
    assert_eq!(texts(&session).await, expected, "{id}");
    exported(&session).await;
    session.append(Message::user("and on")).await.unwrap();
    assert_eq!(texts(&session).await.last().map(String::as_str), Some("and on"), "{id}");
    session.entries(0).await.unwrap();
}

#[test]
fn a_fork_whose_place_is_in_its_grandparent_goes_on_when_its_beginning_is_lost() {
    let host = Host::drawing(1);
    run(2, async {
        for with_key in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let manager = managed(&path, &host).await;
            let first = begun(&manager, 3).await;
            let second = forked(&first, At::Now, "second").await;
            let third = forked(&second, At::Version(3), "third").await;
            let id = third.id();
            manager.close().await.unwrap();
            drop((manager, first, second, third));
            spoil_beginning(&path, id);
            repaired(&path, with_key).await;
            let manager = managed(&path, &host).await;
            goes_on(&manager, id, &["first 1", "first 2", "third"]).await;
            assert!(manager.delete(id, Deletion::shredding()).await.unwrap().erased.is_some());
            manager.close().await.unwrap();
        }
    });
}

#[test]
fn a_fork_without_its_parent_goes_on_when_its_beginning_is_lost() {
    let host = Host::drawing(2);
    run(2, async {
        for with_key in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let manager = managed(&path, &host).await;
            let first = begun(&manager, 1).await;
            let second = forked(&first, At::Now, "second").await;
            let third = forked(&second, At::Now, "third").await;
            let fourth = forked(&third, At::Now, "fourth").await;
            let ids = [second.id(), third.id(), fourth.id()];
            manager.close().await.unwrap();
            drop((manager, first, second, third, fourth));
            spoil_beginning(&path, ids[1]);
            repaired(&path, with_key).await;
            let manager = managed(&path, &host).await;
            let detached = manager.delete(ids[0], Deletion::shredding().forks(Forks::Detach)).await.unwrap();
            assert!(detached.erased.is_some(), "{detached:?}");
            manager.close().await.unwrap();
            drop(manager);
            for _ in 0..2 {
                let manager = managed(&path, &host).await;
                let third = texts(&manager.load(ids[1]).await.unwrap()).await;
                assert_eq!(third[..3], ["first 1", "second", "third"]);
                let fourth = texts(&manager.load(ids[2]).await.unwrap()).await;
                assert_eq!(fourth[..4], ["first 1", "second", "third", "fourth"]);
                for id in &ids[1..] {
                    let session = manager.load(*id).await.unwrap();
                    session.append(Message::user("and on")).await.unwrap();
                    exported(&session).await;
                    session.entries(0).await.unwrap();
                }
                manager.close().await.unwrap();
            }
            repaired(&path, true).await;
        }
    });
}

#[test]
fn a_fork_goes_on_when_all_that_a_removed_session_left_it_is_lost() {
    let host = Host::drawing(3);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let manager = managed(&path, &host).await;
        let first = begun(&manager, 3).await;
        let second = forked(&first, At::Now, "second").await;
        let id = second.id();
        manager.delete(first.id(), Deletion::default()).await.unwrap();
        manager.close().await.unwrap();
        drop((manager, first, second));
        let segment = segments(&path).remove(0);
        fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(64).unwrap();
        repaired(&path, false).await;
        let manager = managed(&path, &host).await;
        goes_on(&manager, id, &[]).await;
        manager.close().await.unwrap();
    });
}

#[test]
fn a_fork_whose_beginning_nothing_confirms_is_deleted_for_good() {
    let host = Host::drawing(4);
    run(2, async {
        for shreds in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let manager = managed(&path, &host).await;
            let first = begun(&manager, 3).await;
            let second = forked(&first, At::Now, "second").await;
            let third = forked(&second, At::Now, "third").await;
            let fourth = forked(&third, At::Now, "fourth").await;
            let ids = [second.id(), third.id(), fourth.id()];
            manager.close().await.unwrap();
            drop((manager, first, second, third, fourth));
            spoil_beginning(&path, ids[1]);
            repaired(&path, false).await;
            // Its parent cannot be asked any more whom that inherits from.
            spoil_beginning(&path, ids[0]);
            let manager = managed(&path, &host).await;
            let refused = manager.load(ids[1]).await.map(|_| ()).unwrap_err().to_string();
            assert!(refused.contains("not confirmed"), "{refused}");
            let deletion = if shreds { Deletion::shredding().forks(Forks::Cascade) } else { Deletion::default() };
            let deleted = manager.delete(ids[1], deletion).await.unwrap();
            assert_eq!(deleted.erased.is_some(), shreds, "{deleted:?}");
            manager.close().await.unwrap();
        }
    });
}
