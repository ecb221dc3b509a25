//! A fixture of stores in a folder.
//!
//! Must not know: which store it is.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use sessions_infra::MAX_COMMIT_BYTES;
use sessions_ports::{SessionLog, StoreError};
use sessions_testkit::{Capabilities, Fixture};
use tempfile::TempDir;

use crate::copy::copy;

/// How a store is opened.
#[async_trait]
pub(crate) trait Opens: Send + Sync {
    /// Its name.
    const NAME: &'static str;
    /// A handle to it, of which there may be several.
    type Store: SessionLog + Clone + 'static;

    async fn open(&self, path: &Path) -> Result<Self::Store, StoreError>;
}

/// A store in a folder of its own.
pub(crate) struct OnDisk<O: Opens> {
    folder: TempDir,
    open: Mutex<Option<O::Store>>,
    how: O,
}

impl<O: Opens> OnDisk<O> {
    pub(crate) fn new(how: O) -> Self {
        Self { folder: TempDir::new().unwrap(), open: Mutex::new(None), how }
    }

    async fn opened(&self, name: &str) -> Result<O::Store, StoreError> {
        self.how.open(&self.folder.path().join(name)).await
    }
}

#[async_trait]
impl<O: Opens> Fixture for OnDisk<O> {
    fn name(&self) -> &'static str {
        O::NAME
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
