//! The default store keeps every law of a store.

#[cfg(test)]
mod persistence {
    use std::{
        path::Path,
        sync::{Arc, Mutex},
    };

    use async_trait::async_trait;
    use sessions_infra::{
        MAX_COMMIT_BYTES,
        sealing::KeyedWitness,
        sled::{SledOptions, SledStore},
    };
    use sessions_ports::{Commit, Durability, SecretKey, SessionLog, StoreError};
    use sessions_testkit::{Capabilities, Fixture, LAWS, Script, report, store_laws};
    use tempfile::TempDir;

    struct OnDisk {
        folder: TempDir,
        open: Mutex<Option<SledStore>>,
        /// Whether the heads of all sessions are attested.
        is_witnessed: bool,
    }

    impl OnDisk {
        fn new() -> Self {
            Self { folder: TempDir::new().unwrap(), open: Mutex::new(None), is_witnessed: false }
        }

        fn witnessed() -> Self {
            Self { is_witnessed: true, ..Self::new() }
        }

        /// Opens a store, whose sessions stand as they were attested.
        async fn open_at(&self, path: &Path) -> SledStore {
            let store = SledStore::open(path, SledOptions::default()).await.unwrap();
            if self.is_witnessed {
                let witness = KeyedWitness::new(&SecretKey::take(&mut [7; 32])).unwrap();
                let found = store.witness(Arc::new(witness)).unwrap();
                assert!(found.is_sound(), "{found}");
            }
            store
        }

        async fn opened(&self) -> Arc<dyn SessionLog> {
            let store = self.open_at(&self.folder.path().join("store")).await;
            *self.open.lock().unwrap() = Some(store.clone());
            Arc::new(store)
        }
    }

    /// What a kill leaves behind: the files as they are.
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                // A file that its owner is done with may go meanwhile.
                let _copied = std::fs::copy(entry.path(), to);
            }
        }
    }

    #[async_trait]
    impl Fixture for OnDisk {
        fn name(&self) -> &'static str {
            "sled"
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { largest_commit: Some(MAX_COMMIT_BYTES), ..Capabilities::on_disk() }
        }

        async fn open(&self) -> Arc<dyn SessionLog> {
            self.opened().await
        }

        async fn second(&self) -> Arc<dyn SessionLog> {
            Arc::new(self.open.lock().unwrap().clone().unwrap())
        }

        async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
            store.close().await.unwrap();
            Some(self.opened().await)
        }

        async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
            let after = self.folder.path().join("after");
            copy(&self.folder.path().join("store"), &after);
            Some(Arc::new(self.open_at(&after).await))
        }

        async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
            let again = SledStore::open(self.folder.path().join("store"), SledOptions::default()).await;
            Some(again.map(|store| Arc::new(store) as Arc<dyn SessionLog>))
        }
    }

    store_laws!(
        OnDisk::new(),
        skips: ["the store gives the strongest level there is"]
    );

    /// The laws with a root in each batch.
    mod witnessed {
        use super::*;

        store_laws!(
            OnDisk::witnessed(),
            skips: ["the store gives the strongest level there is"]
        );
    }

    #[test]
    fn all_laws_ran() {
        let report = report(async || OnDisk::new());
        assert_eq!(report.violations, []);
        assert_eq!((report.store.as_str(), report.kept.len(), report.skipped.len()), ("sled", LAWS.len() - 2, 2));
    }

    fn log_bytes(store: &Path) -> u64 {
        std::fs::read_dir(store.join("log")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    #[tokio::test]
    async fn opening_and_closing_alone_writes_nothing_to_the_log() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let mut sizes = Vec::new();
        for round in 0..4 {
            let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
            if round == 0 {
                store.commit(Script::new(1).say("one")).await.unwrap();
            }
            store.close().await.unwrap();
            sizes.push(log_bytes(&path));
        }
        assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
    }

    #[tokio::test]
    async fn a_store_in_a_folder_that_others_may_enter_lets_them_read_nothing() {
        use std::{fs, os::unix::fs::PermissionsExt as _};
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        fs::create_dir(&path).unwrap();
        let open_to_others = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, open_to_others.clone()).unwrap();
        for round in ["made", "found open"] {
            let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
            store.commit(Script::new(if round == "made" { 1 } else { 2 }).say("one")).await.unwrap();
            store.close().await.unwrap();
            assert!(path.join("index/db").exists());
            for entry in fs::read_dir(&path).unwrap() {
                let (name, about) = entry.map(|entry| (entry.file_name(), entry.metadata().unwrap())).unwrap();
                assert_eq!(about.permissions().mode() & 0o077, 0, "{round}: {name:?}");
            }
            fs::set_permissions(path.join("index"), open_to_others.clone()).unwrap();
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755, "a folder that was there keeps its owner's rights");
    }

    #[tokio::test]
    async fn a_large_body_that_no_record_names_is_set_aside_and_not_deleted() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        SledStore::open(&path, SledOptions::default()).await.unwrap().close().await.unwrap();
        let name = "ab".repeat(32);
        std::fs::create_dir(path.join("blobs/ab")).unwrap();
        std::fs::write(path.join("blobs/ab").join(&name), b"body").unwrap();
        SledStore::open(&path, SledOptions::default()).await.unwrap().close().await.unwrap();
        assert!(!path.join("blobs/ab").join(&name).exists());
        assert_eq!(std::fs::read(path.join("quarantine").join(&name)).unwrap(), b"body");
    }

    /// Where marks stand in the first segment: frames of kind 254.
    fn marks(store: &Path) -> Vec<usize> {
        let bytes = std::fs::read(store.join("log/00000001.seg")).unwrap();
        bytes.windows(6).enumerate().filter(|(_, window)| *window == b"SSN\x01\x01\xfe").map(|(at, _)| at).collect()
    }

    /// Waits for the mark of a pause. Nobody is told of it, so it can only be looked for.
    async fn pause(store: &Path, count: usize) {
        for _ in 0..6_000 {
            if marks(store).len() == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} pauses, and marks at {:?}", marks(store));
    }

    #[tokio::test]
    async fn damage_before_a_pause_is_no_torn_end_after_a_kill() {
        let folder = TempDir::new().unwrap();
        let (path, after) = (folder.path().join("store"), folder.path().join("after"));
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        store.commit(Commit { durability: Durability::Disk, ..Script::new(1).say("acknowledged") }).await.unwrap();
        pause(&path, 1).await;
        // What a kill now would leave behind, without its index.
        std::fs::create_dir_all(after.join("log")).unwrap();
        for file in ["FORMAT", "log/00000001.seg"] {
            std::fs::copy(path.join(file), after.join(file)).unwrap();
        }
        store.close().await.unwrap();
        let segment = after.join("log/00000001.seg");
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[64 + 90] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let store = SledStore::open(&after, SledOptions::default()).await.unwrap();
        let report = store.report();
        assert!(report.torn_tail.is_none() && report.damaged == 1, "{report:?}");
        store.close().await.unwrap();
    }
}
