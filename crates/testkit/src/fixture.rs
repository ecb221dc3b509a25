//! What a store's author hands to the suite.
//!
//! Must not know: any store.

use std::sync::Arc;

use async_trait::async_trait;
use sessions_ports::SessionLog;

/// Makes the stores that a law is tried on. Each law gets a fixture of its own and opens one store with it.
///
/// A fixture may panic: then its law is broken.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// What the store is called in a report.
    fn name(&self) -> &'static str;

    /// Opens an *empty* store. Called once, before the others.
    async fn open(&self) -> Arc<dyn SessionLog>;

    /// Another handle to the store that is open: a clone, or a second open where a store takes many.
    async fn second(&self) -> Arc<dyn SessionLog>;

    /// Closes the store and opens it again with what it kept; `None` for a store that keeps nothing.
    async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>>;

    /// The most bytes of one commit that the store takes; `None` when it has no limit that a test could reach.
    fn largest_commit(&self) -> Option<u64>;
}

/// A fixture of a store in memory: a clone is another handle to it, and it keeps nothing when it is closed.
#[derive(Clone, Debug)]
pub struct InMemory<S> {
    /// What the store is called in a report.
    pub name: &'static str,
    /// An empty store.
    pub store: S,
    /// The most bytes of one commit that it takes.
    pub largest_commit: Option<u64>,
}

#[async_trait]
impl<S: SessionLog + Clone + 'static> Fixture for InMemory<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        Arc::new(self.store.clone())
    }

    async fn second(&self) -> Arc<dyn SessionLog> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        None
    }

    fn largest_commit(&self) -> Option<u64> {
        self.largest_commit
    }
}
