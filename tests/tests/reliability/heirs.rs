//! Who inherits from a session that is there, through one that is gone, is as sound as before.
//!
//! Must not know: the store's inside.

use std::{fs, path::PathBuf, sync::Arc};

use sessions_app::{At, Deletion, NewSession, Session};
use sessions_domain::Message;
use sessions_infra::{
    sealing::StoreOpener,
    sled::{VerifyReport, repair, verify, verify_sealed},
};
use sessions_ports::{Durability, SessionLog};

use crate::ground::{Host, folder, key_file, open, open_sealed, run};

/// A session, and a fork of its fork that has nothing of that fork. The fork between is gone for good.
async fn grandchild(store: Arc<dyn SessionLog>, deletion: Deletion) -> Session {
    let manager = Host::seeded(1).manager(store, Durability::Disk);
    let first = manager.create(NewSession::titled("first")).await.unwrap();
    for text in ["one", "two", "three"] {
        first.append(Message::user(text)).await.unwrap();
    }
    let between = first.fork(At::Now).await.unwrap();
    between.append(Message::user("of the fork alone")).await.unwrap();
    let last = between.fork(At::Version(3)).await.unwrap();
    last.append(Message::user("of the last")).await.unwrap();
    last.undo(2).await.unwrap();
    last.redo(1).await.unwrap();
    let report = manager.delete(between.id(), deletion).await.unwrap();
    assert_eq!(report.kept, 0, "nobody inherits its own records");
    last
}

fn assert_sound(how: &str, report: &VerifyReport) {
    assert!(report.is_sound(), "{how}: {:#?}", report.findings);
}

#[test]
fn a_fork_of_a_fork_that_is_gone_is_sound_when_its_space_came_back() {
    run(2, async {
        let (folder, path) = (folder(), "store");
        let path = folder.path().join(path);
        let store = open(&path).await;
        let last = grandchild(Arc::new(store.clone()), Deletion::default()).await;
        assert_eq!(last.last(9).await.unwrap().len(), 2);
        store.reclaim_all().await.unwrap();
        store.close().await.unwrap();
        let words = b"of the fork alone";
        let has_words = |file: PathBuf| fs::read(file).unwrap().windows(words.len()).any(|window| window == words);
        let segments = fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(segments.filter(|file| has_words(file.clone())).count(), 0, "its records are gone");
        assert_sound("of a plain store", &verify(&path).unwrap());
        assert_eq!(repair(&path, true).unwrap().actions, []);
    });
}

#[test]
fn a_fork_of_a_fork_that_was_shredded_is_sound() {
    run(2, async {
        let folder = folder();
        let path = folder.path().join("store");
        let store = open_sealed(&path, 1).await;
        let last = grandchild(Arc::new(store.clone()), Deletion::shredding()).await;
        assert_eq!(last.last(9).await.unwrap().len(), 2);
        store.close().await.unwrap();
        let opener = Arc::new(StoreOpener::unlock(&path, &key_file(1)).await.unwrap());
        let witness = opener.witness().unwrap();
        assert_sound("without the key", &verify(&path).unwrap());
        assert_sound("with the key", &verify_sealed(&path, Some(&witness), opener).unwrap());
        assert_eq!(repair(&path, true).unwrap().actions, []);
    });
}
