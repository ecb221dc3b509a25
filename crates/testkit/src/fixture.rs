//! What a store's author hands to the suite.
//!
//! Must not know: any store.

use std::sync::Arc;

use async_trait::async_trait;
use sessions_ports::{Durability, SessionLog, StoreError};

/// Makes the stores that a law is tried on. Each law gets a fixture of its own and opens one store with it.
///
/// A fixture may panic: then its law is broken.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// What the store is called in a report.
    fn name(&self) -> &'static str;

    /// What the store is said to be able to. What is said and is not so breaks a law; laws that need more do not apply.
    fn capabilities(&self) -> Capabilities;

    /// Opens an *empty* store. Called once, before the others.
    async fn open(&self) -> Arc<dyn SessionLog>;

    /// Another handle to the store that is open: a clone, or a second open where a store takes many.
    async fn second(&self) -> Arc<dyn SessionLog>;

    /// Closes the store and opens it again with what it kept; `None` for a store that keeps nothing.
    async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>>;

    /// What another process would open if this one were killed now: a copy of the files as they are, say, or the files themselves
    /// when the store is only dropped by this. `store` is still open and is not closed. `None` for a store that dies with its process.
    async fn killed(&self, _store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        None
    }

    /// Opens once more the place that is open, as another process would; `None` for a store without a place.
    async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
        None
    }
}

/// What a store is said to be able to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The strongest level that it gives.
    pub strongest: Durability,
    /// It has all that it had when it is closed and opened again: [`Fixture::reopen`].
    pub reopens: bool,
    /// It has all that was acknowledged at [`Durability::Process`] when its process is killed: [`Fixture::killed`].
    pub survives_kill: bool,
    /// Who may have it open at the same time: [`Fixture::again`].
    pub owners: Owners,
    /// The most bytes of one commit that it takes; `None` when it has no limit that a test could reach.
    pub largest_commit: Option<u64>,
}

/// Who may have a store open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// It has no place that anybody else could open.
    Apart,
    /// One process; another is refused as long as it is open.
    One,
    /// Several, each of which sees what the others write.
    Many,
}

impl Capabilities {
    /// Of a store that lives in the memory of one process.
    pub const fn in_memory() -> Self {
        Self {
            strongest: Durability::Volatile,
            reopens: false,
            survives_kill: false,
            owners: Owners::Apart,
            largest_commit: None,
        }
    }

    /// Of a store on disk that one process owns.
    pub const fn on_disk() -> Self {
        Self {
            strongest: Durability::Disk,
            reopens: true,
            survives_kill: true,
            owners: Owners::One,
            largest_commit: None,
        }
    }
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

    fn capabilities(&self) -> Capabilities {
        let largest_commit = self.largest_commit;
        Capabilities { strongest: self.store.strongest(), largest_commit, ..Capabilities::in_memory() }
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
}
