//! A sealed store in which something was lost: after a repair, with the key or without it, each session is read, written, exported and deleted, whatever became
//! of those that it inherits from, and no check calls anything of it wrong.
//!
//! Must not know: what stands for a lost beginning.

use std::{fs, path::Path, sync::Arc};

use sessions_app::{Append, At, Deletion, Forks, Session, SessionError, SessionManager};
use sessions_domain::{Message, SessionId};
use sessions_infra::{
    sealing::StoreOpener,
    sled::{Severity, repair, repair_sealed, verify_sealed},
};
use sessions_ports::{Durability, SessionLog as _, StoreError};

use crate::{
    damage::lay_checksum,
    folder::{Frame, copy, frames, segments},
    ground::{Host, exported, folder, key_file, open_sealed, run, texts},
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

/// The first session of four, of which each is a fork of the one before, and whose store is closed: their ids.
async fn line(path: &Path, host: &Host, messages: usize) -> [SessionId; 4] {
    let manager = managed(path, host).await;
    let first = begun(&manager, messages).await;
    let second = forked(&first, At::Now, "second").await;
    let third = forked(&second, At::Now, "third").await;
    let fourth = forked(&third, At::Now, "fourth").await;
    manager.close().await.unwrap();
    [first.id(), second.id(), third.id(), fourth.id()]
}

/// Flag of a frame that is another payload for a record (`docs/format.md`).
const REWRITTEN: u8 = 64;

/// Changes the log, in which these are the frames of a session.
fn spoil(path: &Path, session: SessionId, change: impl FnOnce(&mut Vec<u8>, Vec<Frame>)) {
    let segment = segments(path).remove(0);
    let mut log = fs::read(&segment).unwrap();
    let own = frames(&log).into_iter().filter(|frame| frame.session == session).collect();
    change(&mut log, own);
    fs::write(&segment, log).unwrap();
}

/// A bit of each frame of a record is another, of those that are rewritten or of the others.
fn spoil_record(path: &Path, session: SessionId, seq: u64, rewritten: bool) {
    spoil(path, session, |log, own| {
        let is_one = |frame: &&Frame| frame.seq == seq && (log[frame.bytes.start + 6] & REWRITTEN != 0) == rewritten;
        let places: Vec<usize> = own.iter().filter(is_one).map(|frame| frame.bytes.start + 90).collect();
        assert!(!places.is_empty(), "{session} has no such frame of {seq}");
        places.into_iter().for_each(|at| log[at] ^= 1);
    });
}

/// A bit of the frame that a session began with is another.
fn spoil_beginning(path: &Path, session: SessionId) {
    spoil(path, session, |log, own| log[own[0].bytes.start + 60] ^= 1);
}

/// A check with the key calls nothing wrong.
async fn sound(path: &Path) {
    let opener = Arc::new(StoreOpener::unlock(path, &key_file(7)).await.unwrap());
    let witness = opener.witness().unwrap();
    let wrong = verify_sealed(path, Some(&witness), opener).unwrap().findings;
    let wrong: Vec<_> = wrong.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Repairs, and what is left is sound to whoever has the key.
async fn repaired(path: &Path, with_key: bool) {
    if !with_key {
        assert!(!repair(path, false).unwrap().actions.is_empty());
    }
    // It attests the sessions as they stand now, where the one before had no key.
    let opener = Arc::new(StoreOpener::unlock(path, &key_file(7)).await.unwrap());
    repair_sealed(path, false, Arc::new(opener.witness().unwrap()), opener).unwrap();
    sound(path).await;
}

/// The session is read and written, and goes when it is to go.
async fn goes_on(manager: &SessionManager, host: &Host, id: SessionId, expected: &[&str]) {
    let session = manager.load(id).await.unwrap();
    assert_eq!(texts(&session).await, expected, "{id}");
    exported(&session, host).await;
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
            goes_on(&manager, &host, id, &["first 1", "first 2", "third"]).await;
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
            let [_, ids @ ..] = line(&path, &host, 1).await;
            spoil_beginning(&path, ids[1]);
            repaired(&path, with_key).await;
            let manager = managed(&path, &host).await;
            let detached =
                manager.delete(ids[0], Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
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
                    exported(&session, &host).await;
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
        goes_on(&manager, &host, id, &[]).await;
        manager.close().await.unwrap();
    });
}

#[test]
fn a_fork_of_a_fork_goes_on_when_its_parent_whose_beginning_was_lost_is_deleted() {
    let host = Host::drawing(21);
    run(2, async {
        for with_key in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let [first, second, third, fourth] = line(&path, &host, 1).await;
            spoil_beginning(&path, second);
            repaired(&path, with_key).await;
            let manager = managed(&path, &host).await;
            let deleted = manager.delete(second, Deletion::default()).await.unwrap();
            assert_eq!(deleted.heirs.len(), 2, "{deleted:?}");
            manager.close().await.unwrap();
            drop(manager);
            let manager = managed(&path, &host).await;
            goes_on(&manager, &host, third, &["first 1", "second", "third"]).await;
            goes_on(&manager, &host, fourth, &["first 1", "second", "third", "fourth"]).await;
            // Both have of it what they inherit, and of its parent.
            let detached =
                manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
            assert_eq!(detached.detached.len(), 2, "{detached:?}");
            assert!(manager.delete(second, Deletion::shredding()).await.unwrap().erased.is_some());
            manager.close().await.unwrap();
            drop(manager);
            sound(&path).await;
            let manager = managed(&path, &host).await;
            let said = texts(&manager.load(fourth).await.unwrap()).await;
            assert_eq!(said[..4], ["first 1", "second", "third", "fourth"]);
            manager.close().await.unwrap();
        }
    });
}

#[test]
fn forks_go_on_when_what_they_made_their_own_is_lost_and_what_said_that_the_session_was_shredded() {
    let host = Host::drawing(22);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let [first, second, third, _] = line(&path, &host, 2).await;
        let end = fs::read(segments(&path).remove(0)).unwrap().len();
        let manager = managed(&path, &host).await;
        let shredded =
            manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        assert_eq!(shredded.detached.len(), 3, "{shredded:?}");
        manager.close().await.unwrap();
        drop(manager);
        // The log as it was before, and no index that remembers.
        let segment = segments(&path).remove(0);
        fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(end as u64).unwrap();
        fs::remove_dir_all(path.join("index")).unwrap();
        repaired(&path, true).await;
        let manager = managed(&path, &host).await;
        assert!(manager.load(first).await.is_err_and(|error| error.is_unreadable()));
        for (id, expected) in [(second, &["second"][..]), (third, &["second", "third"])] {
            let session = manager.load(id).await.unwrap();
            assert_eq!(texts(&session).await, expected, "{id}");
            let fork = forked(&session, At::Now, "behind").await;
            assert_eq!(texts(&fork).await.last().map(String::as_str), Some("behind"), "{id}");
            session.append(Message::user("and on")).await.unwrap();
            assert_eq!(session.lineage().await.unwrap().ancestors.last().unwrap().session, first, "{id}");
        }
        let again = manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        assert!(again.erased.is_some() && again.kept == 0 && again.detached.len() == 5, "{again:?}");
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, third, &["second", "third", "and on"]).await;
        manager.close().await.unwrap();
    });
}

#[test]
fn a_fork_goes_on_when_a_record_is_lost_of_what_it_made_its_own() {
    let host = Host::drawing(23);
    run(2, async {
        for seq in 1..=5 {
            let ground = folder();
            let path = ground.path().join("store");
            let [first, second, third, _] = line(&path, &host, 2).await;
            let manager = managed(&path, &host).await;
            manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
            manager.delete(second, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
            manager.close().await.unwrap();
            drop(manager);
            spoil_record(&path, third, seq, true);
            repaired(&path, true).await;
            let manager = managed(&path, &host).await;
            let mut expected = vec!["first 1", "first 2", "second", "third"];
            // The session began with the first record, and its fork with the fourth.
            let lost = [None, Some("first 1"), Some("first 2"), None, Some("second")][seq as usize - 1];
            expected.retain(|text| Some(*text) != lost);
            goes_on(&manager, &host, third, &expected).await;
            manager.close().await.unwrap();
        }
    });
}

#[test]
fn a_fork_that_has_all_its_own_is_sound_when_its_beginning_is_lost() {
    let host = Host::drawing(24);
    run(2, async {
        for with_index in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let manager = managed(&path, &host).await;
            let first = begun(&manager, 2).await;
            let second = forked(&first, At::Now, "second").await;
            let texts = (1..=3).map(|number| Message::user(format!("more {number}")));
            second.append(Append::all(texts.collect::<Vec<_>>())).await.unwrap();
            let id = second.id();
            manager.delete(first.id(), Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
            manager.close().await.unwrap();
            drop((manager, first, second));
            spoil_record(&path, id, 4, false);
            if !with_index {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            repaired(&path, true).await;
            let manager = managed(&path, &host).await;
            goes_on(&manager, &host, id, &["first 1", "first 2", "second", "more 1", "more 2", "more 3"]).await;
            manager.close().await.unwrap();
            drop(manager);
            sound(&path).await;
        }
    });
}

#[test]
fn a_fork_reads_around_what_is_damaged_of_a_deleted_session() {
    let host = Host::drawing(25);
    run(2, async {
        for seq in 2..=4 {
            let ground = folder();
            let path = ground.path().join("store");
            let [first, second, third, _] = line(&path, &host, 3).await;
            let manager = managed(&path, &host).await;
            manager.delete(first, Deletion::default()).await.unwrap();
            manager.close().await.unwrap();
            drop(manager);
            spoil_record(&path, first, seq, false);
            let mut expected = vec!["first 1", "first 2", "first 3", "second"];
            expected.remove(seq as usize - 2);
            let manager = managed(&path, &host).await;
            let session = manager.load(second).await.unwrap();
            assert_eq!(texts(&session).await, expected);
            exported(&session, &host).await;
            manager.close().await.unwrap();
            drop((manager, session));
            repaired(&path, true).await;
            let manager = managed(&path, &host).await;
            goes_on(&manager, &host, second, &expected).await;
            expected.push("third");
            goes_on(&manager, &host, third, &expected).await;
            manager.close().await.unwrap();
        }
    });
}

#[test]
fn a_fork_is_read_without_the_keys_of_its_parent_and_goes_on_when_that_is_shredded() {
    let host = Host::drawing(26);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let [first, second, third, _] = line(&path, &host, 2).await;
        let slots = path.join("keys/slots");
        let whole = fs::read(&slots).unwrap();
        let mut damaged = whole.clone();
        damaged[512..1024].fill(0);
        fs::write(&slots, damaged).unwrap();
        let manager = managed(&path, &host).await;
        assert!(manager.load(first).await.is_err_and(|error| error.is_unreadable()));
        for (id, expected) in [(second, &["second"][..]), (third, &["second", "third"])] {
            let session = manager.load(id).await.unwrap();
            assert_eq!(texts(&session).await, expected);
            exported(&session, &host).await;
            // The keys may be put back, and then what is appended would stand behind what was not seen.
            let refused = session.append(Message::user("and on")).await.unwrap_err();
            assert!(matches!(refused, SessionError::Store(StoreError::Corrupt { .. })), "{refused:?}");
        }
        manager.close().await.unwrap();
        drop(manager);
        let without = fs::read(&slots).unwrap();
        fs::write(&slots, &whole).unwrap();
        let manager = managed(&path, &host).await;
        let expected = ["first 1", "first 2", "second", "third"];
        assert_eq!(texts(&manager.load(third).await.unwrap()).await, expected);
        manager.close().await.unwrap();
        drop(manager);
        fs::write(&slots, without).unwrap();
        let manager = managed(&path, &host).await;
        let shredded =
            manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        assert!(shredded.erased.is_some() && shredded.detached.len() == 3, "{shredded:?}");
        goes_on(&manager, &host, second, &["second"]).await;
        goes_on(&manager, &host, third, &["second", "third"]).await;
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
    });
}

/// A byte of a record is another, and its checksum fits.
fn break_seal(path: &Path, session: SessionId, seq: u64) {
    spoil(path, session, |log, own| {
        let frame = own.into_iter().rfind(|frame| frame.seq == seq).unwrap().bytes;
        log[frame.start + 130] ^= 1;
        lay_checksum(log, frame);
    });
}

#[test]
fn a_record_whose_seal_was_broken_is_given_up_by_a_repair_with_the_key() {
    let host = Host::drawing(28);
    run(2, async {
        for seq in 1..=3 {
            for rotated in [false, true] {
                let ground = folder();
                let path = ground.path().join("store");
                let [first, second, third, _] = line(&path, &host, 3).await;
                if rotated {
                    let store = open_sealed(&path, 7).await;
                    store.rotate_data(first, |_| ()).await.unwrap();
                    store.close().await.unwrap();
                }
                break_seal(&path, first, seq);
                repaired(&path, true).await;
                let mut expected = vec!["first 1", "first 2", "first 3"];
                expected.retain(|text| seq == 1 || *text != expected_lost(seq));
                let manager = managed(&path, &host).await;
                goes_on(&manager, &host, first, &expected).await;
                expected.push("second");
                goes_on(&manager, &host, second, &expected).await;
                expected.push("third");
                goes_on(&manager, &host, third, &expected).await;
                manager.close().await.unwrap();
                drop(manager);
                let store = open_sealed(&path, 7).await;
                store.rotate_data(first, |_| ()).await.unwrap();
                store.close().await.unwrap();
                drop(store);
                sound(&path).await;
            }
        }
    });
}

fn expected_lost(seq: u64) -> &'static str {
    if seq == 2 { "first 1" } else { "first 2" }
}

#[test]
fn a_repair_leaves_what_no_key_that_is_there_opens() {
    let host = Host::drawing(29);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let [first, second, ..] = line(&path, &host, 2).await;
        let slots = path.join("keys/slots");
        let whole = fs::read(&slots).unwrap();
        let store = open_sealed(&path, 7).await;
        store.rotate_data(first, |_| ()).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let newest = fs::read(&slots).unwrap();
        // The slot as it was before, without the key that the records are sealed with now.
        let mut older = newest.clone();
        older[512..1024].copy_from_slice(&whole[512..1024]);
        fs::write(&slots, older).unwrap();
        let opener = Arc::new(StoreOpener::unlock(&path, &key_file(7)).await.unwrap());
        let witness = Arc::new(opener.witness().unwrap());
        let did = repair_sealed(&path, false, witness, opener).unwrap().actions;
        assert!(did.iter().all(|did| did.session.is_none()), "{did:?}");
        fs::write(&slots, newest).unwrap();
        sound(&path).await;
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, second, &["first 1", "first 2", "second"]).await;
        manager.close().await.unwrap();
    });
}

#[test]
fn a_repair_leaves_a_session_whose_slot_has_the_keys_of_another() {
    let host = Host::drawing(30);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let slots = path.join("keys/slots");
        let manager = managed(&path, &host).await;
        begun(&manager, 1).await;
        manager.close().await.unwrap();
        drop(manager);
        let older = fs::read(&slots).unwrap();
        let manager = managed(&path, &host).await;
        let second = manager.open_or_create("second").await.unwrap();
        second.append(Message::user("second")).await.unwrap();
        let id = second.id();
        manager.close().await.unwrap();
        drop((manager, second));
        let newest = fs::read(&slots).unwrap();
        // The keys as they were before, so that the next session is given the slot that this one says is its own.
        fs::write(&slots, older).unwrap();
        let manager = managed(&path, &host).await;
        manager.open_or_create("third").await.unwrap().append(Message::user("third")).await.unwrap();
        manager.close().await.unwrap();
        drop(manager);
        let opener = Arc::new(StoreOpener::unlock(&path, &key_file(7)).await.unwrap());
        let witness = Arc::new(opener.witness().unwrap());
        let did = repair_sealed(&path, false, witness, opener).unwrap().actions;
        assert!(did.iter().all(|did| did.session.is_none()), "{did:?}");
        fs::write(&slots, newest).unwrap();
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, id, &["second"]).await;
        manager.close().await.unwrap();
    });
}

#[test]
fn a_session_whose_seal_was_broken_goes_when_it_is_to_go_and_its_forks_go_on() {
    let host = Host::drawing(27);
    run(2, async {
        for seq in [1, 2] {
            let ground = folder();
            let path = ground.path().join("store");
            let [first, second, third, _] = line(&path, &host, 3).await;
            break_seal(&path, first, seq);
            let manager = managed(&path, &host).await;
            // It cannot be read at all without its beginning, and its forks can.
            let said = texts(&manager.load(third).await.unwrap()).await;
            assert_eq!(said.last().map(String::as_str), Some("third"));
            let shredded =
                manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
            assert!(shredded.erased.is_some() && shredded.detached.len() == 3, "{shredded:?}");
            manager.close().await.unwrap();
            drop(manager);
            let manager = managed(&path, &host).await;
            let lost = usize::from(seq == 2);
            goes_on(&manager, &host, second, &["first 1", "first 2", "first 3", "second"][lost..]).await;
            manager.close().await.unwrap();
            drop(manager);
            sound(&path).await;
        }
    });
}

/// Whatever it has of its own is gone, so nothing of that says that it is there.
#[test]
fn what_a_session_took_over_is_looked_at_when_nothing_of_its_own_is_whole() {
    let host = Host::drawing(28);
    run(2, async {
        for keeps_index in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let [first, second, ..] = line(&path, &host, 3).await;
            let store = open_sealed(&path, 7).await;
            let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
            manager.delete(first, Deletion::shredding().forks(Forks::Detach)).await.unwrap();
            store.rotate_data(second, |_| ()).await.unwrap();
            manager.close().await.unwrap();
            drop((manager, store));
            for own in [5, 6] {
                spoil_record(&path, second, own, true);
            }
            break_seal(&path, second, 3);
            if !keeps_index {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            repaired(&path, true).await;
            let manager = managed(&path, &host).await;
            goes_on(&manager, &host, second, &["first 1", "first 3"]).await;
            manager.close().await.unwrap();
            drop(manager);
            sound(&path).await;
        }
    });
}

#[test]
fn a_broken_seal_is_given_up_when_only_the_index_says_whose_keys_these_are() {
    let host = Host::drawing(29);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let manager = managed(&path, &host).await;
        let session = manager.open_or_create("alone").await.unwrap();
        session.append(Message::user("lost")).await.unwrap();
        manager.close().await.unwrap();
        drop(manager);
        spoil_beginning(&path, session.id());
        break_seal(&path, session.id(), 2);
        repaired(&path, true).await;
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, session.id(), &[]).await;
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
    });
}

#[test]
fn a_fork_whose_beginning_nothing_confirms_is_deleted_for_good() {
    let host = Host::drawing(4);
    run(2, async {
        for shreds in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let [_, ids @ ..] = line(&path, &host, 3).await;
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

#[test]
fn a_fork_of_a_fork_goes_on_when_both_their_beginnings_are_lost() {
    let host = Host::drawing(5);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let [first, second, third, _] = line(&path, &host, 1).await;
        [second, third].into_iter().for_each(|session| spoil_beginning(&path, session));
        repaired(&path, true).await;
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, third, &["first 1", "second", "third"]).await;
        let detached =
            manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        assert!(detached.erased.is_some(), "{detached:?}");
        manager.close().await.unwrap();
        drop(manager);
        let manager = managed(&path, &host).await;
        goes_on(&manager, &host, third, &["first 1", "second", "third", "and on"]).await;
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
    });
}

#[test]
fn a_fork_of_a_session_of_one_record_goes_out_and_in_when_both_their_beginnings_are_lost() {
    let host = Host::drawing(31);
    run(2, async {
        for with_key in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let manager = managed(&path, &host).await;
            let first = manager.open_or_create("first").await.unwrap();
            let second = forked(&first, At::Now, "second").await;
            let ids = [first.id(), second.id()];
            manager.close().await.unwrap();
            drop((manager, first, second));
            ids.into_iter().for_each(|session| spoil_beginning(&path, session));
            repaired(&path, with_key).await;
            let manager = managed(&path, &host).await;
            // The file has what stands for the first one's beginning under its name, and the second one follows that.
            goes_on(&manager, &host, ids[1], &["second"]).await;
            manager.close().await.unwrap();
        }
    });
}

#[test]
fn what_only_a_first_frame_said_is_not_lost_with_it_once_its_record_was_sealed_anew() {
    let host = Host::drawing(6);
    run(2, async {
        let ground = folder();
        let (path, base) = (ground.path().join("store"), ground.path().join("base"));
        let store = open_sealed(&path, 7).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        let first = begun(&manager, 3).await;
        let fork = forked(&first, At::Now, "second").await;
        let ids = [first.id(), fork.id()];
        for session in ids {
            store.rotate_data(session, |_| ()).await.unwrap();
        }
        manager.close().await.unwrap();
        drop((store, manager, first, fork));
        copy(&path, &base);
        for with_index in [true, false] {
            for harmed in [&ids[..1], &ids[1..], &ids[..]] {
                fs::remove_dir_all(&path).unwrap();
                copy(&base, &path);
                harmed.iter().for_each(|session| spoil_beginning(&path, *session));
                if !with_index {
                    fs::remove_dir_all(path.join("index")).unwrap();
                }
                let what = format!("with the index: {with_index}, {harmed:?} of {ids:?}");
                repaired(&path, true).await;
                let store = open_sealed(&path, 7).await;
                let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
                assert_eq!(manager.open_or_create("first").await.unwrap().id(), ids[0], "{what}");
                let rows = store.rows(0, 9).await.unwrap().rows;
                assert!(rows.len() == 2 && rows.iter().all(|row| !row.words.is_empty()), "{what}: {rows:?}");
                assert_eq!(store.heirs(ids[0]).await.unwrap().len(), 1, "{what}");
                let refused = manager.delete(ids[0], Deletion::shredding()).await;
                assert!(refused.is_err(), "{what}: a fork inherits from it");
                goes_on(&manager, &host, ids[1], &["first 1", "first 2", "first 3", "second"]).await;
                manager.close().await.unwrap();
            }
        }
    });
}

#[test]
fn a_fork_takes_over_what_stands_for_a_lost_record_and_no_check_calls_that_wrong() {
    let host = Host::drawing(7);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let [first, second, ..] = line(&path, &host, 5).await;
        spoil_record(&path, first, 4, false);
        repaired(&path, true).await;
        let store = open_sealed(&path, 7).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        store.rotate_data(second, |_| ()).await.unwrap();
        let texts = texts(&manager.load(second).await.unwrap()).await;
        assert!(texts.contains(&"first 5".to_owned()) && !texts.contains(&"first 3".to_owned()), "{texts:?}");
        manager.close().await.unwrap();
        drop((store, manager));
        sound(&path).await;
    });
}

#[test]
fn a_fork_that_moved_in_what_it_took_over_is_sound_when_a_record_of_that_is_lost() {
    let host = Host::drawing(8);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let manager = managed(&path, &host).await;
        let first = begun(&manager, 4).await;
        let fork = forked(&first, At::Now, "second").await;
        fork.undo(2).await.unwrap();
        fork.append(Message::user("instead")).await.unwrap();
        let id = fork.id();
        manager.delete(first.id(), Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        manager.close().await.unwrap();
        drop((manager, first, fork));
        spoil_record(&path, id, 3, true);
        repaired(&path, true).await;
        let manager = managed(&path, &host).await;
        manager.load(id).await.unwrap().append(Message::user("and on")).await.unwrap();
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
    });
}

#[test]
fn a_removed_session_that_had_lost_more_than_is_kept_of_it_is_not_held_against_its_slot() {
    let host = Host::drawing(9);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let manager = managed(&path, &host).await;
        let first = begun(&manager, 4).await;
        forked(&first, At::Version(2), "second").await;
        let id = first.id();
        manager.close().await.unwrap();
        drop((manager, first));
        spoil_record(&path, id, 4, false);
        repaired(&path, true).await;
        let store = open_sealed(&path, 7).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        store.rotate_data(id, |_| ()).await.unwrap();
        manager.delete(id, Deletion::default()).await.unwrap();
        manager.close().await.unwrap();
        drop((store, manager));
        sound(&path).await;
    });
}

#[test]
fn a_session_that_a_repair_marked_as_lost_is_shredded_and_then_nobody_s() {
    let host = Host::drawing(10);
    run(2, async {
        for with_index in [true, false] {
            let ground = folder();
            let path = ground.path().join("store");
            let store = open_sealed(&path, 7).await;
            let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
            let id = begun(&manager, 3).await.id();
            for _ in 0..2 {
                store.rotate_data(id, |_| ()).await.unwrap();
            }
            manager.close().await.unwrap();
            drop((store, manager));
            spoil(&path, id, |log, own| {
                let of_first = own.iter().filter(|frame| frame.seq == 1).collect::<Vec<_>>();
                let (again, second) = (of_first[2].bytes.start, own.iter().find(|frame| frame.seq == 2).unwrap());
                log[second.bytes.start + 90] ^= 1;
                log.truncate(again);
            });
            if !with_index {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            repaired(&path, true).await;
            let manager = managed(&path, &host).await;
            assert!(manager.delete(id, Deletion::shredding()).await.unwrap().erased.is_some());
            manager.close().await.unwrap();
            drop(manager);
            sound(&path).await;
        }
    });
}

#[test]
fn a_fork_whose_sealed_beginning_is_lost_still_inherits_what_its_first_frame_says() {
    let host = Host::drawing(11);
    run(2, async {
        let ground = folder();
        let path = ground.path().join("store");
        let store = open_sealed(&path, 7).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        let first = begun(&manager, 2).await;
        let fork = forked(&first, At::Now, "second").await;
        let (first, id) = (first.id(), fork.id());
        drop(fork);
        store.rotate_data(id, |_| ()).await.unwrap();
        manager.close().await.unwrap();
        drop((store, manager));
        [4, 5].into_iter().for_each(|seq| spoil_record(&path, id, seq, true));
        fs::remove_dir_all(path.join("index")).unwrap();
        repaired(&path, true).await;
        let manager = managed(&path, &host).await;
        let before = texts(&manager.load(id).await.unwrap()).await;
        assert_eq!(before[..2], ["first 1", "first 2"]);
        manager.delete(first, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.unwrap();
        assert_eq!(texts(&manager.load(id).await.unwrap()).await, before);
        manager.close().await.unwrap();
        drop(manager);
        sound(&path).await;
    });
}
