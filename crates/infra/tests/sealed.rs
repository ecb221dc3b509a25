//! A sealed store keeps every law that the store beneath it keeps, and lets it see no word.

#[cfg(test)]
mod sealed {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
    use sessions_ports::{
        KeyContext, KeyError, KeyHealth, KeyProvider, ProviderKind, SecretKey, SessionLog, StoreError, Wrapped,
    };
    use sessions_testkit::{Capabilities, Fixture, store_laws};

    struct Raw(u8);

    #[async_trait]
    impl KeyProvider for Raw {
        fn kind(&self) -> ProviderKind {
            ProviderKind::KeyFile
        }
        async fn current(&self) -> Result<String, KeyError> {
            Ok("raw".into())
        }
        async fn wrap(&self, secret: &SecretKey, _: &KeyContext) -> Result<Wrapped, KeyError> {
            let bytes: Vec<u8> = secret.expose().iter().map(|b| b ^ self.0).collect();
            Ok(Wrapped {
                provider: ProviderKind::KeyFile,
                key: "raw".into(),
                parameters: Default::default(),
                bytes: sessions_domain::chain::to_hex(&bytes),
            })
        }
        async fn unwrap(&self, wrapped: &Wrapped, _: &KeyContext) -> Result<SecretKey, KeyError> {
            let bytes: Vec<u8> =
                sessions_domain::chain::from_hex(&wrapped.bytes).unwrap().iter().map(|b| b ^ self.0).collect();
            Ok(SecretKey::from_slice(&bytes).unwrap())
        }
        async fn health(&self) -> Result<KeyHealth, KeyError> {
            unimplemented!()
        }
    }

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
                &Raw(7),
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
                SealedStore::open_or_create(Arc::new(store), Arc::new(keys), &Raw(7), Arc::new(SystemClock)).await
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
