//! The store in the test's own process, for faults that need no end of a process.
//!
//! Must not know: which faults.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sessions_infra::sled::{SledOptions, SledStore};
use sessions_ports::{Commit, Committed, Durability, SessionLog as _, StoreError};
use sessions_testkit::Script;
use tokio::{runtime::Runtime, task::JoinHandle};

/// Runs on one thread.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) async fn open(path: &Path) -> SledStore {
    SledStore::open(path, SledOptions { cache_bytes: 8 << 20, ..SledOptions::default() }).await.unwrap()
}

/// The next message of a session.
pub(crate) fn say(script: &mut Script, text: &str, durability: Durability) -> Commit {
    Commit { durability, ..script.say(text) }
}

/// Sends an append on its way.
pub(crate) fn begin(store: &SledStore, commit: Commit) -> JoinHandle<Result<Committed, StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.commit(commit).await })
}

/// The files in a folder and in those within it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a process that is killed now would leave behind.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
