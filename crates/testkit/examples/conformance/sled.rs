//! How the suite makes, opens and kills the default store.
//!
//! Must not know: the laws.

#![allow(clippy::expect_used, reason = "a fixture that cannot do what it is asked breaks the law that asks it")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use sessions_infra::{
    MAX_COMMIT_BYTES,
    sled::{SledOptions, SledStore},
};
use sessions_ports::{SessionLog, StoreError};
use sessions_testkit::{Capabilities, Fixture};
use tempfile::TempDir;

/// A store in a folder that goes with the fixture.
pub(crate) struct SledFixture {
    folder: TempDir,
    open: Mutex<Option<SledStore>>,
}

impl SledFixture {
    /// A new folder, and nothing in it.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), open: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn opened(&self) -> Arc<dyn SessionLog> {
        let store = SledStore::open(self.path(), SledOptions::default()).await.expect("the store opens");
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Arc::new(store)
    }
}

/// What a kill leaves behind: the files as they are.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        match if entry.is_dir() { copy(&entry, &to) } else { fs::copy(&entry, &to).map(drop) } {
            // A file that the store is done with may go meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

#[async_trait]
impl Fixture for SledFixture {
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
        Arc::new(self.open.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("a store is open"))
    }

    async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        store.close().await.expect("the store closes");
        Some(self.opened().await)
    }

    async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        let after = self.folder.path().join("after");
        copy(&self.path(), &after).expect("a copy of the store");
        Some(Arc::new(SledStore::open(after, SledOptions::default()).await.expect("the store opens after a kill")))
    }

    async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
        let again = SledStore::open(self.path(), SledOptions::default()).await;
        Some(again.map(|store| Arc::new(store) as Arc<dyn SessionLog>))
    }
}
