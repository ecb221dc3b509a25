//! What the parts of an open store share.
//!
//! Locks are taken in one order: the index before the ledger. The ledger's is never held over I/O.
//!
//! Must not know: what each part does with it.

use std::{
    collections::HashMap,
    fs::File,
    ops::Deref,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{backup::KeptFiles, folder::Folder, index::Index, ledger::Ledger};

/// Counters of an open store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Appends that were written.
    pub commits: u64,
    /// Writes that carried them.
    pub writes: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Bytes written to the log.
    pub bytes: u64,
    /// Checkpoints of the index.
    pub checkpoints: u64,
}

/// The shared state of an open store.
pub(crate) struct Core {
    pub(crate) folder: Folder,
    ledger: Mutex<Ledger>,
    work: Condvar,
    /// Wakes the thread that writes large bodies.
    pub(crate) bodies: Condvar,
    /// `None` while there is none that can be used: everything is then known to the ledger.
    pub(crate) index: RwLock<Option<Index>>,
    /// Wakes the thread that keeps the index.
    pub(crate) checkpoint: Condvar,
    /// Counts the times that the index was thrown away: what was looked up before may be elsewhere since.
    pub(crate) generation: AtomicU64,
    /// Counts the times that places changed in the index, so that what was asked of it before may be elsewhere.
    pub(crate) rearranged: AtomicU64,
    /// Counts the times that bytes of the log or large bodies went.
    pub(crate) reclaimed: AtomicU64,
    /// Counts what was done about an index that failed; [`u64::MAX`] when nothing will be any more.
    pub(crate) mended: watch::Sender<u64>,
    pub(crate) synced_position: AtomicU64,
    /// Where the last mark of a clean close ends.
    pub(crate) marked_position: AtomicU64,
    /// Keeps files from going while a backup copies them.
    pub(crate) kept: KeptFiles,
    files: Mutex<HashMap<u32, Arc<File>>>,
    /// The segment that is written. Those before it are not written any more.
    pub(crate) current_segment: AtomicU32,
    /// Nothing of the log was damaged or missing when it was opened.
    pub(crate) is_whole: AtomicBool,
    /// Held by whoever gives space back.
    pub(crate) reclaiming: Mutex<()>,
    commits: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) cache_bytes: u64,
    /// Threads at work.
    present: AtomicUsize,
    /// What a test does where the code passes.
    #[cfg(test)]
    hooks: Mutex<HashMap<&'static str, Hook>>,
}

/// A thread that works in the folder. The last one that ends, in whatever way, lets go of the lock, though handles may live on.
pub(crate) struct Presence(Arc<Core>);

impl Presence {
    /// Counted where the thread is started, so that none ends as the last before all have begun.
    pub(crate) fn of(core: &Arc<Core>) -> Self {
        core.present.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(core))
    }
}

impl Deref for Presence {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    /// Whether no thread works in the folder any more.
    pub(crate) fn is_left(&self) -> bool {
        self.present.load(Ordering::Acquire) == 0
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.0.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.folder.unlock();
        }
    }
}

#[cfg(test)]
type Hook = Box<dyn FnOnce(&Core) + Send>;

/// Segments that are kept open for reading.
const OPEN_FILES: usize = 128;

impl Core {
    pub(crate) fn new(folder: Folder, ledger: Ledger, index: Option<Index>, end: u64, marked: u64, cache: u64) -> Self {
        Self {
            folder,
            ledger: Mutex::new(ledger),
            work: Condvar::new(),
            bodies: Condvar::new(),
            index: RwLock::new(index),
            checkpoint: Condvar::new(),
            generation: AtomicU64::new(0),
            rearranged: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
            mended: watch::Sender::new(0),
            synced_position: AtomicU64::new(end),
            marked_position: AtomicU64::new(marked),
            kept: KeptFiles::default(),
            files: Mutex::new(HashMap::new()),
            current_segment: AtomicU32::new(0),
            is_whole: AtomicBool::new(true),
            reclaiming: Mutex::new(()),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            cache_bytes: cache,
            present: AtomicUsize::new(0),
            #[cfg(test)]
            hooks: Mutex::default(),
        }
    }

    /// Does something once where the code passes next.
    #[cfg(test)]
    pub(crate) fn hook(&self, point: &'static str, hook: impl FnOnce(&Self) + Send + 'static) {
        self.hooks.lock().unwrap().insert(point, Box::new(hook));
    }

    #[cfg(test)]
    pub(crate) fn pass(&self, point: &'static str) {
        let hook = self.hooks.lock().unwrap().remove(point);
        if let Some(hook) = hook {
            hook(self);
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Nothing under this lock panics on data; were it to, a half-taken job would be refused by the versions behind it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake_writer(&self) {
        self.work.notify_one();
    }

    /// Waits for [`Self::wake_writer`]; the flag tells that the patience ended.
    pub(crate) fn wait_for_work<'a>(
        &self,
        ledger: MutexGuard<'a, Ledger>,
        patience: Duration,
    ) -> (MutexGuard<'a, Ledger>, bool) {
        let (ledger, timeout) = self.work.wait_timeout(ledger, patience).unwrap_or_else(PoisonError::into_inner);
        (ledger, timeout.timed_out())
    }

    /// Waits for a large body.
    pub(crate) fn wait_for_bodies<'a>(&self, ledger: MutexGuard<'a, Ledger>) -> MutexGuard<'a, Ledger> {
        self.bodies.wait(ledger).unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the threads that wait for the writer, which is gone.
    pub(crate) fn end(&self) {
        self.lock().closed = true;
        self.bodies.notify_all();
        self.checkpoint.notify_all();
    }

    /// Waits for a reason to look at the index.
    pub(crate) fn wait_for_checkpoint<'a>(
        &self,
        ledger: MutexGuard<'a, Ledger>,
        patience: Duration,
    ) -> MutexGuard<'a, Ledger> {
        self.checkpoint.wait_timeout(ledger, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Says that the index of a generation failed, and waits until something was done about it. That is not done here, because it reads the
    /// whole log.
    pub(crate) async fn mend_index(&self, generation: u64) {
        let mut mended = self.mended.subscribe();
        let before = *mended.borrow_and_update();
        self.lock().failed_index = Some(generation);
        self.checkpoint.notify_all();
        // The sender is part of this, so there is no error.
        let _ = mended.wait_for(|count| *count != before || *count == u64::MAX).await;
    }

    pub(crate) fn count_write(&self, bytes: usize, commits: usize) {
        self.commits.fetch_add(commits as u64, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            commits: self.commits.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
        }
    }

    /// A segment was written anew: its old file is let go of.
    pub(crate) fn forget_segment_file(&self, number: u32) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// A segment, open for reading.
    pub(crate) fn segment_file(&self, number: u32) -> std::io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(super::segment::path_of(&self.folder.log(), number))?);
        if files.len() >= OPEN_FILES {
            files.clear();
        }
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use sessions_ports::StoreError;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_last_thread_to_end_lets_go_of_the_folder_also_when_it_panics() {
        let ground = TempDir::new().unwrap();
        let root = ground.path().join("store");
        let folder = Folder::open(&root, || Ok([7; 16])).unwrap();
        let core = Arc::new(Core::new(folder, Ledger::default(), None, 0, 0, 0));
        let (first, last) = (Presence::of(&core), Presence::of(&core));
        drop(first);
        assert!(matches!(Folder::existing(&root), Err(StoreError::Locked { .. })));
        let panicking = std::thread::spawn(move || {
            let _last = last;
            panic!("for the test");
        });
        assert!(panicking.join().is_err());
        Folder::existing(&root).unwrap();
        drop(core);
    }
}
