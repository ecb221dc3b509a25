//! A sealed store keeps every law that the store beneath it keeps, and lets it see no word.

#[cfg(test)]
mod sealed {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use sessions_infra::{MemoryStore, environment::SystemClock, sealing::SealedStore};
    use sessions_ports::{
        Durability, Erasure, KeyContext, KeyError, KeyHealth, KeyProvider, KeyStore, ProviderKind, SecretKey,
        SessionLog, Slot, SlotChange, StoreError, StoredRing, Wrapped,
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

    #[derive(Default)]
    struct Keys(Mutex<(Option<StoredRing>, Vec<Slot>)>);

    #[async_trait]
    impl KeyStore for Keys {
        async fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
            Ok(self.0.lock().unwrap().0.clone())
        }
        async fn put_ring(&self, expected: u64, bytes: Bytes) -> Result<(), StoreError> {
            self.0.lock().unwrap().0 = Some(StoredRing { version: expected + 1, bytes });
            Ok(())
        }
        async fn slots(&self) -> Result<u64, StoreError> {
            Ok(self.0.lock().unwrap().1.len() as u64)
        }
        async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError> {
            let mut all = self.0.lock().unwrap();
            let first = all.1.len() as u64;
            all.1.extend(slots);
            Ok(first)
        }
        async fn truncate(&self, count: u64) -> Result<(), StoreError> {
            self.0.lock().unwrap().1.truncate(count as usize);
            Ok(())
        }
        async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
            Ok(self.0.lock().unwrap().1.iter().skip(from as usize).take(limit).cloned().collect())
        }
        async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError> {
            let mut all = self.0.lock().unwrap();
            for change in changes {
                all.1[change.number as usize] = change.new;
            }
            Ok(())
        }
        fn erasure(&self) -> Erasure {
            Erasure::Overwritten
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
                Arc::new(Keys::default()),
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

    store_laws!(InMemory { open: Mutex::new(None) });
}
