//! How the suite makes, opens and kills the default store, plain and sealed.
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
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
};
use sessions_ports::{SessionLog, StoreError};
use sessions_testkit::{Capabilities, FixedKey, Fixture};
use tempfile::TempDir;

/// A store in a folder that goes with the fixture.
pub(crate) struct SledFixture {
    folder: TempDir,
    sealing: Sealing,
    open: Mutex<Option<Arc<dyn SessionLog>>>,
}

impl SledFixture {
    /// A new folder, and nothing in it.
    pub(crate) fn new(sealing: Sealing) -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), sealing, open: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn store_at(&self, path: &Path) -> Result<Arc<dyn SessionLog>, StoreError> {
        let options = SledOptions { sealing: self.sealing, ..SledOptions::default() };
        let store = SledStore::open(path, options).await?;
        if self.sealing == Sealing::Plain {
            return Ok(Arc::new(store));
        }
        let keys = Arc::new(FileKeyStore::open(&store.keys_folder(), store.id()).await?);
        let sealed = SealedStore::open_or_create(Arc::new(store), keys, &FixedKey(7), Arc::new(SystemClock)).await?;
        Ok(Arc::new(sealed))
    }

    async fn opened(&self) -> Arc<dyn SessionLog> {
        let store = self.store_at(&self.path()).await.expect("the store opens");
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&store));
        store
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
        if self.sealing == Sealing::Plain { "sled" } else { "sealed sled" }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { largest_commit: Some(MAX_COMMIT_BYTES), ..Capabilities::on_disk() }
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        self.opened().await
    }

    async fn second(&self) -> Arc<dyn SessionLog> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("a store is open")
    }

    async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        store.close().await.expect("the store closes");
        Some(self.opened().await)
    }

    async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        let after = self.folder.path().join("after");
        copy(&self.path(), &after).expect("a copy of the store");
        Some(self.store_at(&after).await.expect("the store opens after a kill"))
    }

    async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
        Some(self.store_at(&self.path()).await)
    }
}
