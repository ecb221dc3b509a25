//! A log that is full, seen from within the process: what was refused does not come back, and what was written is synced all the same.
//!
//! Must not know: the store's inside, beyond which folder is the log.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use sessions_infra::sled::SledStore;
use sessions_ports::{Durability, SessionLog as _, StoreError};
use sessions_testkit::Script;

use crate::{
    disk::Space,
    equipment::{folder, run, with_own_mounts},
    inside::{begin, copy, files, open, runtime, say},
};

const PAGE: u64 = 4096;

/// A store whose log is a file system of its own, and its first segment.
async fn with_log(path: &Path) -> (SledStore, Space, PathBuf) {
    open(path).await.close().await.unwrap();
    let log = path.join("log");
    let segment = files(&log).remove(0);
    let begun = std::fs::read(&segment).unwrap();
    let space = Space::over(&log, 1 << 20);
    std::fs::write(&segment, begun).unwrap();
    (open(path).await, space, segment)
}

/// Takes all space but so many pages.
fn take_space(log: &Path, pages: u64) {
    let mut ballast = OpenOptions::new().append(true).create(true).open(log.join("ballast")).unwrap();
    let full = loop {
        if let Err(error) = ballast.write_all(&[1; PAGE as usize]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let length = ballast.metadata().unwrap().len();
    ballast.set_len(length / PAGE * PAGE - pages * PAGE).unwrap();
}

#[test]
fn what_was_refused_for_want_of_space_does_not_come_back() {
    let test = "full_log::what_was_refused_for_want_of_space_does_not_come_back";
    if !with_own_mounts(test, &["fallocate"]) {
        return;
    }
    let folder = folder();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let (store, space, segment) = with_log(&path).await;
        store.commit(say(&mut Script::new(0), "room is laid ahead", Durability::Disk)).await.unwrap();
        // On a file system that copies on write, even what was laid ahead takes space when it is written over.
        let end = File::open(&segment).unwrap().metadata().unwrap().len() / PAGE * PAGE;
        let (from, length) = (PAGE.to_string(), (end - PAGE).to_string());
        run("fallocate", &["--punch-hole", "--offset", &from, "--length", &length, segment.to_str().unwrap()]);
        take_space(&path.join("log"), 2);
        let scripts: Vec<Script> = (1..=64).map(Script::new).collect();
        let appends: Vec<_> = scripts
            .iter()
            .map(|script| begin(&store, say(&mut script.clone(), &"x".repeat(400), Durability::Disk)))
            .collect();
        let mut refused = Vec::new();
        for (script, append) in scripts.iter().zip(appends) {
            match append.await.unwrap() {
                Ok(_) => {}
                Err(StoreError::NoSpace { .. }) => refused.push(script.session()),
                Err(other) => panic!("{other}"),
            }
        }
        assert!(!refused.is_empty());
        let after = folder.path().join("after");
        copy(&path, &after);
        let found = open(&after).await;
        for script in &scripts {
            let is_there = found.head(script.session()).await.unwrap().is_some();
            assert_eq!(is_there, !refused.contains(&script.session()), "of {} refused", refused.len());
        }
        found.close().await.unwrap();
        space.grow(64 << 20);
        store.commit(say(&mut Script::new(100), "there is space", Durability::Disk)).await.unwrap();
        store.close().await.unwrap();
        drop((found, store, space));
        println!("{test}: {} of 64 appends were refused", refused.len());
    });
}

#[test]
fn what_was_written_is_synced_while_others_wait_for_space() {
    let test = "full_log::what_was_written_is_synced_while_others_wait_for_space";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let (store, space, _) = with_log(&path).await;
        let mut written = Script::new(1);
        store.commit(say(&mut written, "room is laid ahead", Durability::Disk)).await.unwrap();
        take_space(&path.join("log"), 0);
        store.commit(say(&mut written, "written", Durability::Process)).await.unwrap();
        let mut waiting = Script::new(2);
        for _ in 0..20 {
            store.commit(say(&mut waiting, &"x".repeat(60 << 10), Durability::Volatile)).await.unwrap();
        }
        let head = store.wait(written.session(), 2, Durability::Disk).await.unwrap();
        assert_eq!(head.version, 2);
        space.grow(64 << 20);
        let head = store.wait(waiting.session(), 20, Durability::Disk).await.unwrap();
        assert_eq!(head.version, 20);
        store.close().await.unwrap();
        drop((store, space));
        println!("{test}: synced");
    });
}
