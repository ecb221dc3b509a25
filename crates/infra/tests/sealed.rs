//! A sealed store keeps every law that the store beneath it keeps, and lets it see no word.

#[cfg(test)]
mod sealed {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
    use sessions_ports::{SessionLog, StoreError};
    use sessions_testkit::{Capabilities, FixedKey, Fixture, store_laws};

    struct InMemory {
        open: Mutex<Option<SealedStore>>,
    }

    #[async_trait]
    impl Fixture for InMemory {
        fn name(&self) -> &'static str {
            "sealed memory"
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::in_memory()
        }

        async fn open(&self) -> Arc<dyn SessionLog> {
            let store = SealedStore::create(
                Arc::new(MemoryStore::new()),
                Arc::new(MemoryKeyStore::new()),
                &FixedKey(7),
                Arc::new(SystemClock),
            )
            .await
            .unwrap();
            *self.open.lock().unwrap() = Some(store.clone());
            Arc::new(store)
        }

        async fn second(&self) -> Arc<dyn SessionLog> {
            Arc::new(self.open.lock().unwrap().clone().unwrap())
        }

        async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
            None
        }
    }

    store_laws!(
        InMemory { open: Mutex::new(None) },
        skips: [
            "the store promises nothing beyond its process",
            "nobody else could open the store",
            "the store is gone with its process",
            "the store keeps nothing when it is closed",
            "the store has no limit within reach",
        ]
    );

    mod on_disk {
        use std::path::Path;

        use sessions_infra::{
            MAX_COMMIT_BYTES,
            keys::FileKeyStore,
            sled::{Sealing, SledOptions, SledStore},
        };
        use tempfile::TempDir;

        use super::*;

        struct OnDisk {
            folder: TempDir,
            open: Mutex<Option<SealedStore>>,
        }

        impl OnDisk {
            fn new() -> Self {
                Self { folder: TempDir::new().unwrap(), open: Mutex::new(None) }
            }

            async fn opened(&self, name: &str) -> Result<SealedStore, StoreError> {
                let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
                let store = SledStore::open(self.folder.path().join(name), options).await?;
                let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await?;
                SealedStore::open_or_create(Arc::new(store), Arc::new(keys), &FixedKey(7), Arc::new(SystemClock)).await
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
                "sealed sled"
            }

            fn capabilities(&self) -> Capabilities {
                Capabilities { largest_commit: Some(MAX_COMMIT_BYTES), ..Capabilities::on_disk() }
            }

            async fn open(&self) -> Arc<dyn SessionLog> {
                let store = self.opened("store").await.unwrap();
                *self.open.lock().unwrap() = Some(store.clone());
                Arc::new(store)
            }

            async fn second(&self) -> Arc<dyn SessionLog> {
                Arc::new(self.open.lock().unwrap().clone().unwrap())
            }

            async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
                store.close().await.unwrap();
                Some(self.open().await)
            }

            async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
                copy(&self.folder.path().join("store"), &self.folder.path().join("after"));
                Some(Arc::new(self.opened("after").await.unwrap()))
            }

            async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
                Some(self.opened("store").await.map(|store| Arc::new(store) as Arc<dyn SessionLog>))
            }
        }

        store_laws!(
            OnDisk::new(),
            skips: ["the store gives the strongest level there is"]
        );
    }
}
