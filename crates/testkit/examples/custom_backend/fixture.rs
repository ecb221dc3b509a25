//! How the suite makes, opens and kills the example's store.
//!
//! Must not know: the laws.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use sessions_infra::environment::SystemEntropy;
use sessions_ports::{Entropy as _, SessionLog, StoreError, StoreId};
use sessions_testkit::{Capabilities, Fixture};
use tempfile::TempDir;

use crate::store::{MAX_COMMIT_BYTES, RedbStore};

/// A store in a folder that goes with the fixture.
pub(crate) struct RedbFixture {
    folder: TempDir,
    open: Mutex<Option<RedbStore>>,
}

impl RedbFixture {
    /// A new folder, and nothing in it.
    #[allow(clippy::expect_used, reason = "a fixture that cannot be made breaks its law")]
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), open: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("sessions.redb")
    }

    #[allow(clippy::expect_used, reason = "a store that cannot be opened breaks the law that opens it")]
    fn opened(&self) -> Arc<dyn SessionLog> {
        let store = RedbStore::open(&self.path(), fresh()).expect("the store opens");
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Arc::new(store)
    }
}

/// An id for a new store.
#[allow(clippy::expect_used, reason = "without random bytes there is nothing to try")]
fn fresh() -> StoreId {
    let mut id = [0; 16];
    SystemEntropy::new().fill(&mut id).expect("random bytes");
    StoreId(id)
}

#[async_trait]
impl Fixture for RedbFixture {
    fn name(&self) -> &'static str {
        "redb (example)"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { largest_commit: Some(MAX_COMMIT_BYTES), ..Capabilities::on_disk() }
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        self.opened()
    }

    #[allow(clippy::expect_used, reason = "the suite opens a store before it asks for another handle")]
    async fn second(&self) -> Arc<dyn SessionLog> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(open.clone().expect("a store is open"))
    }

    #[allow(clippy::expect_used, reason = "a store that cannot be closed breaks the law that closes it")]
    async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        store.close().await.expect("the store closes");
        Some(self.opened())
    }

    #[allow(clippy::expect_used, reason = "a store that cannot be opened after a kill breaks the law that kills it")]
    async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        // What a killed process leaves behind is the file as the system has it at that moment.
        let after = self.folder.path().join("after.redb");
        std::fs::copy(self.path(), &after).expect("a copy of the file");
        Some(Arc::new(RedbStore::open(&after, fresh()).expect("the store opens after a kill")))
    }

    async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
        let again = RedbStore::open(&self.path(), fresh());
        Some(again.map(|store| Arc::new(store) as Arc<dyn SessionLog>))
    }
}
