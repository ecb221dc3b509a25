//! A store that counts the bytes it is handed, in front of another.
//!
//! Must not know: who hands them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    Commit, Committed, Digest, Durability, Head, Page, ReadRange, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};

/// Counts, and hands on.
pub(crate) struct CountingStore {
    inner: Arc<dyn SessionLog>,
    bytes: AtomicU64,
}

impl CountingStore {
    pub(crate) fn before(inner: Arc<dyn SessionLog>) -> Self {
        Self { inner, bytes: AtomicU64::new(0) }
    }

    /// Bytes since the last time it was asked: payloads, words, snapshots.
    pub(crate) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

fn size_of(commit: &Commit) -> u64 {
    let records: usize = commit.records.iter().map(|record| record.payload.len()).sum();
    let words = commit.row.words.as_ref().map_or(0, Bytes::len);
    let snapshot = commit.snapshot.as_ref().map_or(0, Bytes::len);
    (records + words + snapshot) as u64
}

#[async_trait]
impl SessionLog for CountingStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.bytes.fetch_add(size_of(&commit), Ordering::Relaxed);
        self.inner.commit(commit).await
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.inner.head(session).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.inner.read(session, range).await
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.inner.find(session, label).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.inner.snapshot(session).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.inner.by_key(key).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.inner.claim(session, key).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.inner.rows(since, limit).await
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.inner.wait(session, version, level).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.inner.settled(session).await
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
