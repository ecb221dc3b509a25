//! The default store keeps every law of a store.

#[cfg(test)]
#[path = "shared/copy.rs"]
mod copy;
#[cfg(test)]
#[path = "shared/on_disk.rs"]
mod on_disk;

#[cfg(test)]
mod persistence {
    use std::{path::Path, sync::Arc};

    use async_trait::async_trait;
    use sessions_infra::{
        sealing::KeyedWitness,
        sled::{SledOptions, SledStore},
    };
    use sessions_ports::{Commit, Durability, SecretKey, SessionLog as _, StoreError};
    use sessions_testkit::{LAWS, Script, report, store_laws};
    use tempfile::TempDir;

    use crate::on_disk::{OnDisk, Opens};

    /// The default store, with the heads of all sessions attested or not.
    struct Plain {
        is_witnessed: bool,
    }

    #[async_trait]
    impl Opens for Plain {
        const NAME: &'static str = "sled";
        type Store = SledStore;

        /// Opens a store, whose sessions stand as they were attested.
        async fn open(&self, path: &Path) -> Result<SledStore, StoreError> {
            let store = SledStore::open(path, SledOptions::default()).await?;
            if self.is_witnessed {
                let witness = KeyedWitness::new(&SecretKey::take(&mut [7; 32])).unwrap();
                let found = store.witness(Arc::new(witness)).unwrap();
                assert!(found.is_sound(), "{found}");
            }
            Ok(store)
        }
    }

    fn fixture(is_witnessed: bool) -> OnDisk<Plain> {
        OnDisk::new(Plain { is_witnessed })
    }

    store_laws!(
        fixture(false),
        skips: ["the store gives the strongest level there is"]
    );

    /// The laws with a root in each batch.
    mod witnessed {
        use super::*;

        store_laws!(
            fixture(true),
            skips: ["the store gives the strongest level there is"]
        );
    }

    #[test]
    fn all_laws_ran() {
        let report = report(async || fixture(false));
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
