//! Counters of what managers do beside what they ask of their store.
//!
//! Must not know: who reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::manager::SessionManager;

/// What managers over one store did since the first of them was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Activity {
    /// Commits that were decided again, because another writer was faster.
    pub conflicts_retried: u64,
    /// Changes that were answered with the outcome that their idempotency key had before.
    pub replays: u64,
    /// Sessions that are kept ready.
    pub live_sessions: u64,
}

/// The counters behind [`Activity`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    conflicts_retried: AtomicU64,
    replays: AtomicU64,
}

impl Counts {
    pub(crate) fn retried(&self) {
        self.conflicts_retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn replayed(&self) {
        self.replays.fetch_add(1, Ordering::Relaxed);
    }
}

impl SessionManager {
    /// What this manager did, together with those for other actors that were made from it.
    pub fn activity(&self) -> Activity {
        let counts = self.counts();
        Activity {
            conflicts_retried: counts.conflicts_retried.load(Ordering::Relaxed),
            replays: counts.replays.load(Ordering::Relaxed),
            live_sessions: self.live_count() as u64,
        }
    }
}
