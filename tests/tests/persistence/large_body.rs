//! Large bodies on a full disk: an append whose body has no room is refused, no other is, and nothing of it stays.
//!
//! Must not know: the store's inside, beyond which folder is the log and which holds large bodies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sessions_ports::{Commit, Durability, SessionLog as _, StoreError};
use sessions_testkit::Script;

use crate::{
    disk::Space,
    equipment::{folder, with_own_mounts},
    inside::{self, begin, files, open, runtime},
};

const LARGE: usize = 1 << 20;

fn say(script: &mut Script, text: &str) -> Commit {
    inside::say(script, text, Durability::Disk)
}

/// All large bodies, finished or not.
fn bodies(store: &Path) -> Vec<PathBuf> {
    files(&store.join("blobs"))
}

#[test]
fn without_space_for_large_bodies_all_others_are_written() {
    let test = "large_body::without_space_for_large_bodies_all_others_are_written";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let store = open(&path).await;
        let space = Space::over(&path.join("blobs"), LARGE as u64 / 2);
        let mut hungry = Script::new(0);
        let begun = say(&mut hungry, "begun");
        store.commit(begun).await.unwrap();
        let large = say(&mut hungry, &"x".repeat(LARGE));
        let behind = say(&mut hungry, "behind it");
        let mut others: Vec<_> = (1..=16).map(|number| begin(&store, say(&mut Script::new(number), "small"))).collect();
        let refused = [begin(&store, large), begin(&store, behind)];
        others.extend((17..=32).map(|number| begin(&store, say(&mut Script::new(number), "small"))));
        for other in others {
            assert_eq!(other.await.unwrap().unwrap().durability, Durability::Disk);
        }
        let [large, behind] = refused;
        let outcome = large.await.unwrap();
        assert!(matches!(outcome, Err(StoreError::NoSpace { .. })), "{outcome:?}");
        // It may have failed before the one behind it was queued.
        let outcome = behind.await.unwrap();
        assert!(
            matches!(outcome, Err(StoreError::NoSpace { .. } | StoreError::Conflict { actual: 1, .. })),
            "{outcome:?}"
        );
        assert_eq!(bodies(&path), Vec::<PathBuf>::new());
        space.grow(64 << 20);
        let mut hungry = Script::new(100);
        store.commit(say(&mut hungry, &"x".repeat(LARGE))).await.unwrap();
        assert_eq!(bodies(&path).len(), 1);
        store.close().await.unwrap();
        drop((store, space));
    });
    println!("{test}: 32 appends beside one without space, all written");
}

#[test]
fn without_space_for_the_record_its_large_body_goes_too() {
    let test = "large_body::without_space_for_the_record_its_large_body_goes_too";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let path = folder.path().join("store");
    runtime().block_on(async {
        open(&path).await.close().await.unwrap();
        let log = path.join("log");
        let segment = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
        let begun = fs::read(&segment).unwrap();
        let space = Space::over(&log, 1 << 20);
        fs::write(&segment, begun).unwrap();
        let store = open(&path).await;
        let mut filling = Script::new(1);
        let mut appends = 0;
        let full = loop {
            match store.commit(say(&mut filling, &"y".repeat(40))).await {
                Ok(_) => appends += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StoreError::NoSpace { .. }), "{full:?}");
        let outcome = store.commit(say(&mut Script::new(2), &"x".repeat(LARGE))).await;
        assert!(matches!(outcome, Err(StoreError::NoSpace { .. })), "{outcome:?}");
        store.close().await.unwrap();
        assert_eq!(bodies(&path), Vec::<PathBuf>::new());
        drop((store, space));
        println!("{test}: after {appends} appends");
    });
}
