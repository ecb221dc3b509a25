//! A store before another one that remembers commits, and can make every call wait once before it happens and once after.
//!
//! Must not know: what it is used for.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{
    Commit, Committed, Digest, Durability, Head, Page, ReadRange, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};

pub(crate) struct Watched {
    inner: Arc<dyn SessionLog>,
    hesitates: bool,
    pub(crate) commits: Mutex<Vec<Commit>>,
}

impl Watched {
    /// Remembers commits, without their payloads' weight: they share them.
    pub(crate) fn over(inner: Arc<dyn SessionLog>) -> Self {
        Self { inner, hesitates: false, commits: Mutex::default() }
    }

    /// Every call gives way once before it happens and once after, so that a future can be dropped at each.
    pub(crate) fn hesitating(inner: Arc<dyn SessionLog>) -> Self {
        Self { hesitates: true, ..Self::over(inner) }
    }

    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        if !self.hesitates {
            return call.await;
        }
        tokio::task::yield_now().await;
        let answer = call.await;
        tokio::task::yield_now().await;
        answer
    }
}

#[async_trait]
impl SessionLog for Watched {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if !self.hesitates {
            self.commits.lock().unwrap().push(commit.clone());
            return self.inner.commit(commit).await;
        }
        // The place is taken at the first poll, as the port promises.
        let mut call = self.inner.commit(commit);
        let first = first_poll(&mut call);
        tokio::task::yield_now().await;
        let answer = match first {
            Some(answer) => answer,
            None => call.await,
        };
        tokio::task::yield_now().await;
        answer
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around(self.inner.head(session)).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.around(self.inner.read(session, range)).await
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.around(self.inner.find(session, label)).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.around(self.inner.snapshot(session)).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.around(self.inner.by_key(key)).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.around(self.inner.claim(session, key)).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.around(self.inner.rows(since, limit)).await
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.around(self.inner.wait(session, version, level)).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around(self.inner.settled(session)).await
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.around(self.inner.close()).await
    }
}

/// Polls once; the answer, if it came.
fn first_poll<T>(call: &mut std::pin::Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    use std::task::{Context, Poll, Waker};
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
