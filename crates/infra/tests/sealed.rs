//! A sealed store keeps every law that the store beneath it keeps, and lets it see no word.

#[cfg(test)]
#[path = "shared/copy.rs"]
mod copy;
#[cfg(test)]
#[path = "shared/on_disk.rs"]
mod on_disk;

#[cfg(test)]
mod sealed {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
    use sessions_ports::SessionLog;
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
            keys::FileKeyStore,
            sled::{Sealing, SledOptions, SledStore},
        };
        use sessions_ports::StoreError;

        use super::*;
        use crate::on_disk::{OnDisk, Opens};

        struct Sealed;

        #[async_trait]
        impl Opens for Sealed {
            const NAME: &'static str = "sealed sled";
            type Store = SealedStore;

            async fn open(&self, path: &Path) -> Result<SealedStore, StoreError> {
                let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
                let store = SledStore::open(path, options).await?;
                let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await?;
                SealedStore::open_or_create(Arc::new(store), Arc::new(keys), &FixedKey(7), Arc::new(SystemClock)).await
            }
        }

        store_laws!(
            OnDisk::new(Sealed),
            skips: ["the store gives the strongest level there is"]
        );
    }
}
