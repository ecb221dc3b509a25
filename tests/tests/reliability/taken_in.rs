//! Sessions that had made their own what they inherited are imported into a sealed store on disk: broken off at any call, with the index or without it, nothing
//! that a check calls wrong is left, the next import ends it, and what is there then is read, written, sealed anew, forked and shredded like any other.
//!
//! Must not know: how an import puts it into the store.

use std::{fs, io::Cursor, path::Path, sync::Arc};

use sessions_app::{AppendOutcome, At, Deletion, Forks, ImportOptions, Session, SessionManager};
use sessions_domain::{Message, SessionId};
use sessions_infra::{
    sealing::StoreOpener,
    sled::{Severity, repair, verify_sealed},
};
use sessions_ports::Durability;
use sessions_testkit::{Call, Fault, FaultyStore, Injected, When};

use crate::ground::{Host, folder, key_file, open_sealed, run, texts};

/// A session that was exported, and what it says.
struct Exported {
    id: SessionId,
    file: Vec<u8>,
    says: Vec<String>,
}

async fn export(session: &Session) -> Exported {
    let (mut export, mut file) = (session.export_jsonl().await.unwrap(), Vec::new());
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend(chunk);
    }
    assert_eq!(export.lost(), []);
    Exported { id: session.id(), file, says: texts(session).await }
}

/// The child of a shredded session, which has all that it inherited, a fork of it, and a fork of a place that it has from that session.
async fn family(path: &Path, host: &Host) -> [Exported; 3] {
    let manager = host.manager(Arc::new(open_sealed(path, 7).await), Durability::Disk);
    let root = manager.open_or_create("root").await.unwrap();
    for number in 0..300 {
        root.append(Message::user(format!("root {number}"))).await.unwrap();
    }
    let early = root.append(Message::user("early")).await.unwrap();
    root.append(Message::user("late")).await.unwrap();
    let child = root.fork(At::Now).await.unwrap();
    child.append(Message::user("child")).await.unwrap();
    manager.delete(root.id(), Deletion::shredding().forks(Forks::Detach)).await.unwrap();
    let fork = child.fork(At::Now).await.unwrap();
    fork.append(Message::user("fork")).await.unwrap();
    let beside = child.fork(At::Message(early.message)).await.unwrap();
    beside.append(Message::user("beside")).await.unwrap();
    let family = [export(&child).await, export(&fork).await, export(&beside).await];
    manager.close().await.unwrap();
    family
}

/// A check with the key calls nothing wrong, and there is nothing to repair.
fn is_sound(path: &Path, why: &str) {
    let opener = run(0, StoreOpener::unlock(path, &key_file(7))).unwrap();
    let witness = opener.witness().unwrap();
    let findings = verify_sealed(path, Some(&witness), Arc::new(opener)).unwrap().findings;
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{why}: {wrong:?}");
    assert_eq!(repair(path, true).unwrap().actions, [], "{why}");
}

async fn import(manager: &SessionManager, of: &Exported) -> AppendOutcome {
    let report = manager.import(Cursor::new(of.file.clone()), ImportOptions::default()).await.unwrap();
    assert_eq!(report.id, of.id);
    report.outcome
}

/// Begins to import, and fails at a call. False: it came to its end.
async fn broken_off(path: &Path, host: &Host, of: &Exported, fault: Fault) -> bool {
    let store = FaultyStore::over(Arc::new(open_sealed(path, 7).await));
    let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
    store.fail(fault);
    let failed = manager.import(Cursor::new(of.file.clone()), ImportOptions::default()).await.is_err();
    store.heal();
    manager.close().await.unwrap();
    failed
}

async fn is_there(manager: &SessionManager, of: &Exported) {
    let session = manager.load(of.id).await.unwrap();
    assert_eq!(texts(&session).await, of.says);
    assert_eq!(export(&session).await.file, of.file);
}

#[test]
fn an_import_that_breaks_off_at_any_call_leaves_a_sound_store_and_is_ended_by_the_next() {
    let (host, ground) = (Host::drawing(1), folder());
    let family = run(0, family(&ground.path().join("from"), &host));
    let mut count = 0;
    for of in &family[1..] {
        for (call, when) in [
            (Call::Commit, When::Before),
            (Call::Commit, When::After),
            (Call::Rewrite, When::Before),
            (Call::Rewrite, When::After),
        ] {
            for nth in 1.. {
                let path = ground.path().join(format!("{} {call:?} {nth} {when:?}", of.id));
                let fault = Fault { call: Some(call), nth, when, answer: Injected::Io };
                if !run(0, broken_off(&path, &host, of, fault)) {
                    assert!(nth > 2, "{call:?} {nth} {when:?}: two at least");
                    break;
                }
                let why = format!("{call:?} {nth} {when:?}");
                count += 1;
                if nth % 2 == 0 {
                    fs::remove_dir_all(path.join("index")).unwrap();
                }
                is_sound(&path, &why);
                run(0, async {
                    let manager = host.manager(Arc::new(open_sealed(&path, 7).await), Durability::Disk);
                    import(&manager, of).await;
                    is_there(&manager, of).await;
                    manager.close().await.unwrap();
                });
                is_sound(&path, &why);
            }
        }
    }
    println!("broken off {count} times");
    assert!(count >= 16, "{count}");
}

#[test]
fn what_came_in_stands_beside_its_parent_and_is_kept_up_like_any_other() {
    let (host, ground) = (Host::drawing(2), folder());
    let family = run(0, family(&ground.path().join("from"), &host));
    let path = ground.path().join("to");
    let store = || open_sealed(&path, 7);
    run(0, async {
        let manager = host.manager(Arc::new(store().await), Durability::Disk);
        for of in family.iter().rev() {
            assert_eq!(import(&manager, of).await, AppendOutcome::Inserted);
        }
        for of in &family {
            is_there(&manager, of).await;
        }
        manager.close().await.unwrap();
    });
    is_sound(&path, "imported");
    fs::remove_dir_all(path.join("index")).unwrap();
    is_sound(&path, "without the index");
    run(0, async {
        let store = store().await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        for of in &family {
            is_there(&manager, of).await;
            assert_eq!(import(&manager, of).await, AppendOutcome::Replayed);
            store.rotate_data(of.id, |_| ()).await.unwrap();
            let session = manager.load(of.id).await.unwrap();
            session.append(Message::user("and on")).await.unwrap();
            let fork = session.fork(At::Now).await.unwrap();
            assert_eq!(texts(&fork).await, texts(&session).await);
        }
        manager.close().await.unwrap();
    });
    is_sound(&path, "gone on");
    run(0, async {
        let manager = host.manager(Arc::new(store().await), Durability::Disk);
        let [child, fork, beside] = &family;
        let deletion = Deletion::shredding().forks(Forks::Cascade);
        let report = manager.delete(child.id, deletion).await.unwrap();
        assert_eq!(
            (report.erased.is_some(), report.cascaded.len()),
            (true, 1),
            "those that came in inherit nothing of it"
        );
        for of in [fork, beside] {
            let session = manager.load(of.id).await.unwrap();
            assert_eq!(texts(&session).await.last().map(String::as_str), Some("and on"));
            assert_eq!(texts(&session).await.len(), 99.min(of.says.len() + 1));
        }
        manager.close().await.unwrap();
    });
    is_sound(&path, "shredded");
}
