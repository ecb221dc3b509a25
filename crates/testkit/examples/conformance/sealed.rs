//! How the suite makes a sealed store in memory.
//!
//! Must not know: the laws.

#![allow(clippy::expect_used, reason = "a fixture that cannot do what it is asked breaks the law that asks it")]

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
use sessions_ports::SessionLog;
use sessions_testkit::{Capabilities, FixedKey, Fixture};

/// A store that goes with the fixture.
#[derive(Default)]
pub(crate) struct SealedMemory {
    open: Mutex<Option<SealedStore>>,
}

#[async_trait]
impl Fixture for SealedMemory {
    fn name(&self) -> &'static str {
        "sealed memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::in_memory()
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        let (log, keys) = (Arc::new(MemoryStore::new()), Arc::new(MemoryKeyStore::new()));
        let store = SealedStore::create(log, keys, &FixedKey(7), Arc::new(SystemClock)).await.expect("a store is made");
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Arc::new(store)
    }

    async fn second(&self) -> Arc<dyn SessionLog> {
        Arc::new(self.open.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("a store is open"))
    }

    async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        None
    }
}
