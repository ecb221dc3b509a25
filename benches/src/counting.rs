//! Counts the bytes that a store is handed.
//!
//! Must not know: who hands them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sessions_ports::{Commit, SessionLog};
use sessions_testkit::FaultyStore;

/// The bytes of all commits since somebody asked.
#[derive(Default)]
pub(crate) struct Counting(Arc<AtomicU64>);

impl Counting {
    /// Something to stand before a store, which shows this what goes through. It is told of no faults, so it has none.
    pub(crate) fn before(&self, store: Arc<dyn SessionLog>) -> FaultyStore {
        let (before, bytes) = (FaultyStore::over(store), Arc::clone(&self.0));
        before.watch(move |commit| {
            bytes.fetch_add(size_of(commit), Ordering::Relaxed);
        });
        before
    }

    /// Bytes since the last time it was asked: payloads, words, snapshots.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn size_of(commit: &Commit) -> u64 {
    let records = commit.records.iter().map(|record| &record.payload);
    records.chain(&commit.row.words).chain(&commit.snapshot).map(|bytes| bytes.len() as u64).sum()
}
