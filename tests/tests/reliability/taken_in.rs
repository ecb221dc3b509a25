//! Sessions that had made their own what they inherited are imported into a sealed store on disk: broken off at any call, with the index or without it, nothing
//! that a check calls wrong is left, the next import ends it, and what is there then is read, written, sealed anew, forked and shredded like any other.
//!
//! Must not know: how an import puts it into the store.

use std::{fs, io::Cursor, path::Path, sync::Arc};

use sessions_app::{AppendOutcome, At, Deletion, Forks, ImportOptions, Session, SessionManager};
use sessions_domain::{Message, SessionId};
use sessions_infra::{
    sealing::StoreOpener,
    sled::{Severity, repair, verify, verify_sealed},
};
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::{Call, Fault, FaultyStore, Injected, When};

use crate::ground::{Host, folder, key_file, open, open_sealed, run, texts};

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

/// What they come into.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Into {
    Sealed,
    Plain,
}

async fn opened(path: &Path, into: Into) -> Arc<dyn SessionLog> {
    match into {
        Into::Sealed => Arc::new(open_sealed(path, 7).await),
        Into::Plain => Arc::new(open(path).await),
    }
}

/// A check calls nothing wrong, and there is nothing to repair.
fn is_sound(path: &Path, into: Into, why: &str) {
    let findings = match into {
        Into::Sealed => {
            let opener = run(0, StoreOpener::unlock(path, &key_file(7))).unwrap();
            let witness = opener.witness().unwrap();
            verify_sealed(path, Some(&witness), Arc::new(opener)).unwrap().findings
        }
        Into::Plain => verify(path).unwrap().findings,
    };
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{why}: {wrong:?}");
    let actions = repair(path, true).unwrap().actions;
    assert_eq!(actions, [], "{why}");
}

async fn import(manager: &SessionManager, of: &Exported) -> AppendOutcome {
    let report = manager.import(Cursor::new(of.file.clone()), ImportOptions::default()).await.unwrap();
    assert_eq!(report.id, of.id);
    report.outcome
}

/// Begins to import, and fails at a call. False: it came to its end.
async fn broken_off(path: &Path, into: Into, host: &Host, of: &Exported, fault: Fault) -> bool {
    let store = FaultyStore::over(opened(path, into).await);
    let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
    store.fail(fault);
    let failed = manager.import(Cursor::new(of.file.clone()), ImportOptions::default()).await.is_err();
    store.heal();
    manager.close().await.unwrap();
    failed
}

/// Breaks an import off at each call there is, and ends it. Gives how often that was.
fn at_any_call(into: Into, keeps_index: bool) -> u32 {
    let (host, ground) = (Host::drawing(1), folder());
    let family = run(0, family(&ground.path().join("from"), &host));
    let mut count = 0;
    for of in &family[1..] {
        for (call, when) in
            [Call::Commit, Call::Rewrite].into_iter().flat_map(|call| [(call, When::Before), (call, When::After)])
        {
            for nth in 1.. {
                let why = format!("{into:?} {call:?} {nth} {when:?}, index {keeps_index}");
                let path = ground.path().join(format!("{} {call:?} {nth} {when:?}", of.id));
                let fault = Fault { call: Some(call), nth, when, answer: Injected::Io };
                if !run(0, broken_off(&path, into, &host, of, fault)) {
                    assert!(nth > 2, "{why}: two at least");
                    break;
                }
                count += 1;
                if !keeps_index {
                    fs::remove_dir_all(path.join("index")).unwrap();
                }
                is_sound(&path, into, &why);
                run(0, async {
                    let store = opened(&path, into).await;
                    let manager = host.manager(Arc::clone(&store), Durability::Disk);
                    import(&manager, of).await;
                    import(&manager, &family[0]).await;
                    is_there(&manager, of).await;
                    assert_eq!(store.heirs(family[0].id).await.unwrap(), [], "{why}");
                    manager.close().await.unwrap();
                });
                is_sound(&path, into, &why);
            }
        }
    }
    count
}

async fn is_there(manager: &SessionManager, of: &Exported) {
    let session = manager.load(of.id).await.unwrap();
    assert_eq!(texts(&session).await, of.says);
    assert_eq!(export(&session).await.file, of.file);
}

#[test]
fn an_import_that_breaks_off_at_any_call_leaves_a_sound_store_and_is_ended_by_the_next() {
    for into in [Into::Sealed, Into::Plain] {
        for keeps_index in [true, false] {
            let count = at_any_call(into, keeps_index);
            println!("{into:?}: broken off {count} times");
            assert!(count >= 16, "{count}");
        }
    }
}

#[test]
fn what_came_into_a_sealed_store_stands_beside_its_parent_and_is_kept_up_like_any_other() {
    stands_beside_its_parent(Into::Sealed, [0, 1, 2]);
    stands_beside_its_parent(Into::Sealed, [2, 1, 0]);
}

#[test]
fn what_came_into_a_plain_store_stands_beside_its_parent_and_is_kept_up_like_any_other() {
    stands_beside_its_parent(Into::Plain, [0, 1, 2]);
    stands_beside_its_parent(Into::Plain, [2, 1, 0]);
}

fn stands_beside_its_parent(into: Into, order: [usize; 3]) {
    let (host, ground) = (Host::drawing(2), folder());
    let family = run(0, family(&ground.path().join("from"), &host));
    let path = ground.path().join("to");
    let without_index = |why: &str| {
        is_sound(&path, into, why);
        fs::remove_dir_all(path.join("index")).unwrap();
        is_sound(&path, into, &format!("{why}, without the index"));
    };
    run(0, async {
        let manager = host.manager(opened(&path, into).await, Durability::Disk);
        for at in order {
            assert_eq!(import(&manager, &family[at]).await, AppendOutcome::Inserted);
        }
        for of in &family {
            is_there(&manager, of).await;
        }
        manager.close().await.unwrap();
    });
    without_index("imported");
    if into == Into::Sealed {
        run(0, async {
            let store = open_sealed(&path, 7).await;
            for of in &family {
                store.rotate_data(of.id, |_| ()).await.unwrap();
            }
            store.close().await.unwrap();
        });
        without_index("sealed anew");
    }
    run(0, async {
        let manager = host.manager(opened(&path, into).await, Durability::Disk);
        for of in &family {
            is_there(&manager, of).await;
            assert_eq!(import(&manager, of).await, AppendOutcome::Replayed);
            let session = manager.load(of.id).await.unwrap();
            session.append(Message::user("and on")).await.unwrap();
            let fork = session.fork(At::Now).await.unwrap();
            assert_eq!(texts(&fork).await, texts(&session).await);
        }
        manager.close().await.unwrap();
    });
    without_index("gone on");
    run(0, async {
        let manager = host.manager(opened(&path, into).await, Durability::Disk);
        let [child, fork, beside] = &family;
        let deletion = if into == Into::Sealed { Deletion::shredding() } else { Deletion::default() };
        let report = manager.delete(child.id, deletion.forks(Forks::Cascade)).await.unwrap();
        assert_eq!(report.erased.is_some(), into == Into::Sealed);
        assert_eq!(report.cascaded.len(), 1, "those that came in inherit nothing of it");
        for of in [fork, beside] {
            let session = manager.load(of.id).await.unwrap();
            assert_eq!(texts(&session).await.last().map(String::as_str), Some("and on"));
        }
        manager.close().await.unwrap();
    });
    without_index("its parent is gone");
}
