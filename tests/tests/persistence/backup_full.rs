//! A backup onto a disk that is full: a typed error, no file, and the store goes on.
//!
//! Must not know: how a backup is laid out.

use std::{fs, path::Path};

use sessions_app::{NewSession, Ports, SessionManager, Settings};
use sessions_domain::Message;
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    sled::{BackupProgress, SledOptions, SledStore, restore_backup},
    tokens::BuiltInEncodings,
};
use sessions_ports::{SessionLog as _, StoreError};

use crate::{
    disk::Space,
    equipment::{folder, with_own_mounts},
};
use std::sync::Arc;

fn manager(store: &SledStore) -> SessionManager {
    let ports = Ports {
        store: Arc::new(store.clone()),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings::default()).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_backup_without_space_is_refused_and_leaves_no_file() {
    let test = "backup_full::a_backup_without_space_is_refused_and_leaves_no_file";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let ground = folder();
    let (small, path) = (ground.path().join("small"), ground.path().join("store"));
    fs::create_dir(&small).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let session = manager(&store).create(NewSession::default()).await.unwrap();
        for number in 0..40 {
            let text: String = (0..8_000).map(|at| char::from(b'a' + ((at * number + at) % 26) as u8)).collect();
            session.append(Message::user(text)).await.unwrap();
        }
        let mut refused = 0;
        // From no room at all to nearly enough.
        for kib in (4..=320).step_by(16) {
            let _space = Space::over(&small, kib << 10);
            match store.backup(&small.join("a.sessions"), &BackupProgress::default()).await {
                Err(StoreError::NoSpace { .. }) => refused += 1,
                other => panic!("{kib} KiB: {other:?}"),
            }
            assert!(is_empty(&small), "{kib} KiB");
            session.append(Message::user("and on")).await.unwrap();
        }
        println!("{test}: {refused} sizes");
        let space = Space::over(&small, 4 << 20);
        let file = small.join("a.sessions");
        store.backup(&file, &BackupProgress::default()).await.unwrap();
        store.close().await.unwrap();
        // A restore that finds no room leaves nothing either.
        let copy = ground.path().join("a.sessions");
        fs::copy(&file, &copy).unwrap();
        drop(space);
        for kib in [16, 64, 200, 320] {
            let _space = Space::over(&small, kib << 10);
            let restored = restore_backup(&copy, &small.join("store"), &BackupProgress::default());
            assert!(matches!(restored, Err(StoreError::NoSpace { .. })), "{kib} KiB: {restored:?}");
            assert!(is_empty(&small), "{kib} KiB");
        }
    });
}
