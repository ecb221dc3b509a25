//! Backups again and again, of which the newest are kept.
//!
//! Must not know: how a backup is made.

use std::{
    collections::HashMap,
    fmt, fs,
    future::poll_fn,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Weak,
    task::Poll,
    time::{Duration, SystemTime},
};

use sessions_domain::Moment;
use sessions_ports::{BackendError, BackendErrorKind, BackupError, Clock as _, StoreError, StoreId};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    Inner, SledStore,
    backup::{remove_partial_backups, verify_backup},
    backup_file::BackupProgress,
    folder,
    last_backup::LastBackup,
};
use crate::environment::SystemClock;

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".sessions";

/// When backups are made, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSchedule {
    /// From the beginning of one to that of the next; a second at least. The first is made when the newest in the folder is older, so that
    /// a program which is started often makes no more of them.
    pub interval: Duration,
    /// The folder that they are written to; it is made. A file is named `backup-20261121T120000.000Z.sessions`, so that names sort by time.
    pub folder: PathBuf,
    /// So many are kept; one at least. Only whole backups of this store count, and only such are removed.
    pub keep: usize,
}

/// A schedule that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "backups are made a second apart at least, and one at least is kept; give a longer interval or a larger number"
)]
pub struct InvalidSchedule;

/// Backups that are made in the background until this is dropped or stopped, or the store is closed.
#[must_use = "backups end when this is dropped"]
pub struct ScheduledBackups {
    stop: watch::Sender<bool>,
    progress: BackupProgress,
    last: watch::Receiver<Option<LastBackup>>,
    task: Option<JoinHandle<()>>,
}

impl ScheduledBackups {
    /// How the last one went; `None` before the first.
    pub fn last(&self) -> Option<LastBackup> {
        self.last.borrow().clone()
    }

    /// Waits for the next one to end, and gives how it went; `None` when no more are made.
    pub async fn next(&mut self) -> Option<LastBackup> {
        self.last.changed().await.ok()?;
        self.last.borrow_and_update().clone()
    }

    /// Ends them. One that is at work is stopped, and nothing is left of it.
    pub async fn stop(mut self) {
        self.end();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }

    /// Ends them when something else does, and is over when they have ended, whoever ended them: for whoever has to wait for all that runs.
    pub fn ended_with<F: Future<Output = ()> + Send + 'static>(
        &self,
        other: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let (stop, progress, mut last) = (self.stop.clone(), self.progress.clone(), self.last.clone());
        let other: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(other);
        async move {
            let mut other = Some(other);
            // The sender goes with the task.
            let mut ended = pin!(async move { while last.changed().await.is_ok() {} });
            poll_fn(|cx| {
                if other.as_mut().is_some_and(|other| other.as_mut().poll(cx).is_ready()) {
                    other = None;
                    progress.stop();
                    stop.send_replace(true);
                }
                ended.as_mut().poll(cx)
            })
            .await;
        }
    }

    fn end(&self) {
        self.progress.stop();
        self.stop.send_replace(true);
    }
}

impl Drop for ScheduledBackups {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for ScheduledBackups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledBackups").field("last", &self.last()).finish_non_exhaustive()
    }
}

impl SledStore {
    /// Makes backups in the background, on the runtime that this is called in. One that fails is told by [`ScheduledBackups::last`] and by
    /// [`last_backup`](super::last_backup), and the next is made at its time.
    ///
    /// # Errors
    /// [`InvalidSchedule`].
    pub fn schedule_backups(&self, schedule: BackupSchedule) -> Result<ScheduledBackups, InvalidSchedule> {
        if schedule.interval < Duration::from_secs(1) || schedule.keep == 0 {
            return Err(InvalidSchedule);
        }
        let (stop, stopped) = watch::channel(false);
        let (told, last) = watch::channel(None);
        let progress = BackupProgress::default();
        let rounds = Rounds {
            store: std::sync::Arc::downgrade(&self.inner),
            schedule,
            progress: progress.clone(),
            known: HashMap::new(),
        };
        let task = tokio::spawn(rounds.run(self.closing(), stopped, told));
        Ok(ScheduledBackups { stop, progress, last, task: Some(task) })
    }
}

/// A file as it was when it was found whole: its size, and when it was written.
type Seen = (u64, Option<SystemTime>);

struct Rounds {
    store: Weak<Inner>,
    schedule: BackupSchedule,
    progress: BackupProgress,
    /// Backups that were found whole, and of which store they are.
    known: HashMap<PathBuf, (Seen, StoreId)>,
}

impl Rounds {
    async fn run(
        mut self,
        closing: impl Future<Output = ()>,
        mut stopped: watch::Receiver<bool>,
        told: watch::Sender<Option<LastBackup>>,
    ) {
        let mut closing = pin!(closing);
        let mut next = Instant::now() + self.schedule.first_wait();
        loop {
            let mut stopping = pin!(stopped.wait_for(|stopped| *stopped));
            let ended = poll_fn(|cx| {
                let is_over = closing.as_mut().poll(cx).is_ready() || stopping.as_mut().poll(cx).is_ready();
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            });
            if timeout_at(next, ended).await.is_ok() {
                return;
            }
            next = Instant::now() + self.schedule.interval;
            let Some(inner) = self.store.upgrade() else { return };
            let Some(last) = self.round(SledStore { inner }).await else { return };
            told.send_replace(Some(last));
        }
    }

    /// Makes one, and removes what is too many; `None` when there are to be no more.
    async fn round(&mut self, store: SledStore) -> Option<LastBackup> {
        let Self { schedule, progress, .. } = &*self;
        let at = SystemClock.now();
        let made = schedule.prepared(at).await;
        let (path, outcome) = match made {
            Ok(path) => {
                let outcome = store.backup_at(at, &path, progress).await;
                (path, outcome)
            }
            Err(error) => (schedule.folder.clone(), Err(error)),
        };
        let last = LastBackup::of(at, &path, &outcome);
        match &outcome {
            Ok(report) => {
                let seen = seen(&path);
                self.known.extend(seen.map(|seen| (path, (seen, report.info.head.store))));
                self.remove_old(store).await;
            }
            Err(StoreError::Closed | StoreError::Backup(BackupError::Stopped)) => return None,
            Err(_) => {
                let root = store.core().folder.root.clone();
                // Where it cannot be kept, the host hears it all the same.
                let kept = last.clone();
                let _ = tokio::task::spawn_blocking(move || kept.write(&root)).await;
            }
        }
        Some(last)
    }

    /// Removes backups of this store that are whole, and older than the newest ones that are to be kept.
    async fn remove_old(&mut self, store: SledStore) {
        let (schedule, progress, id) = (self.schedule.clone(), self.progress.clone(), store.core().folder.id);
        let mut known = std::mem::take(&mut self.known);
        drop(store);
        let removed = tokio::task::spawn_blocking(move || {
            let mut kept = 0;
            known.retain(|path, _| path.exists());
            for (_, path) in schedule.own().into_iter().rev() {
                if !is_whole(&path, id, &mut known, &progress) {
                    continue;
                }
                kept += 1;
                if kept > schedule.keep {
                    let _ = fs::remove_file(&path);
                }
            }
            known
        });
        self.known = removed.await.unwrap_or_default();
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let about = fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()))
}

/// Whether a file is a whole backup of this store. What was read once and did not change since is not read again.
fn is_whole(
    path: &Path,
    store: StoreId,
    known: &mut HashMap<PathBuf, (Seen, StoreId)>,
    progress: &BackupProgress,
) -> bool {
    let Some(seen) = seen(path) else { return false };
    if let Some((_, of)) = known.get(path).filter(|(before, _)| *before == seen) {
        return *of == store;
    }
    let Ok(info) = verify_backup(path, progress) else { return false };
    known.insert(path.to_owned(), (seen, info.head.store));
    info.head.store == store
}

impl BackupSchedule {
    /// The name of a backup that is begun then.
    fn name_of(at: Moment) -> String {
        format!("{PREFIX}{}{SUFFIX}", at.to_string().replace(['-', ':'], ""))
    }

    /// When a backup of this name was begun; `None`: the name is not one of ours.
    fn begun(name: &str) -> Option<Moment> {
        let basic = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let part = |from: usize, to: usize| basic.get(from..to);
        let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
        let (hour, minute, rest) = (part(8, 11)?, part(11, 13)?, part(13, basic.len())?);
        let at = Moment::parse(&format!("{year}-{month}-{day}{hour}:{minute}:{rest}"))?;
        (Self::name_of(at) == name).then_some(at)
    }

    /// The files that are named as ours are, the oldest first.
    fn own(&self) -> Vec<(Moment, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let own = |entry: fs::DirEntry| Some((Self::begun(entry.file_name().to_str()?)?, entry.path()));
        let mut found: Vec<_> = entries.filter_map(own).collect();
        found.sort();
        found
    }

    /// How long the first one is waited for.
    fn first_wait(&self) -> Duration {
        let Some((newest, _)) = self.own().pop() else { return Duration::ZERO };
        let age = SystemClock.now().as_millis().saturating_sub(newest.as_millis());
        // Where the clock went back, the newest is taken for one of now.
        self.interval.saturating_sub(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// Makes the folder, removes what was broken off in it, and gives the name of a new file.
    async fn prepared(&self, at: Moment) -> Result<PathBuf, StoreError> {
        let schedule = self.clone();
        let prepare = move || {
            folder::make(&schedule.folder)?;
            remove_partial_backups(&schedule.folder, |name| Self::begun(name).is_some());
            let mut at = at.as_millis();
            loop {
                let path = schedule.folder.join(Self::name_of(Moment::from_millis(at)));
                if fs::symlink_metadata(&path).is_err() {
                    return Ok(path);
                }
                at += 1;
            }
        };
        let lost = |error| BackendError::new(BackendErrorKind::Internal, "preparing a backup", error);
        tokio::task::spawn_blocking(prepare).await.map_err(lost)?
    }
}

#[cfg(test)]
mod tests {
    use sessions_ports::SessionLog as _;
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{LastOutcome, SledOptions, last_backup};

    async fn opened(ground: &TempDir, name: &str) -> SledStore {
        let store = SledStore::open(ground.path().join(name), SledOptions::default()).await.unwrap();
        store.commit(Script::new(1).say("hi")).await.unwrap();
        store
    }

    fn schedule(ground: &TempDir) -> BackupSchedule {
        BackupSchedule { interval: Duration::from_secs(3600), folder: ground.path().join("backups"), keep: 2 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_verified(last: &LastBackup) -> bool {
        matches!(last.outcome, LastOutcome::Verified { .. })
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_are_kept_and_nothing_else_is_removed() {
        let ground = TempDir::new().unwrap();
        let (store, other) = (opened(&ground, "store").await, opened(&ground, "other").await);
        let schedule = schedule(&ground);
        fs::create_dir(&schedule.folder).unwrap();
        // Of another store, damaged, of another name, and broken off.
        let of_another = schedule.folder.join("backup-20200101T000000.000Z.sessions");
        other.backup(&of_another, &BackupProgress::default()).await.unwrap();
        let beside = ["backup-20200102T000000.000Z.sessions", "backup-mine.sessions", "mine"];
        beside.iter().for_each(|name| fs::write(schedule.folder.join(name), "mine").unwrap());
        fs::write(schedule.folder.join("backup-20200103T000000.000Z.sessions.partial"), "half").unwrap();

        let mut backups = store.schedule_backups(schedule.clone()).unwrap();
        let mut made = Vec::new();
        for _ in 0..4 {
            let last = backups.next().await.unwrap();
            assert!(is_verified(&last), "{last:?}");
            assert_eq!(last_backup(&ground.path().join("store")), Some(last.clone()));
            made.push(Path::new(&last.file).file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(made.is_sorted());
        // What is too many goes before the outcome is told.
        let mut kept: Vec<String> = made.split_off(2);
        kept.extend(beside.map(str::to_owned));
        kept.push("backup-20200101T000000.000Z.sessions".to_owned());
        kept.sort();
        assert_eq!(names(&schedule.folder), kept);
        backups.stop().await;
        assert_eq!(names(&schedule.folder), kept);
        store.close().await.unwrap();
        other.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_told_and_the_next_is_made() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground, "store").await;
        let schedule = schedule(&ground);
        fs::write(&schedule.folder, "a file in the way").unwrap();
        let mut backups = store.schedule_backups(schedule.clone()).unwrap();
        let failed = backups.next().await.unwrap();
        assert!(!is_verified(&failed), "{failed:?}");
        assert_eq!(last_backup(&ground.path().join("store")), Some(failed));
        fs::remove_file(&schedule.folder).unwrap();
        assert!(is_verified(&backups.next().await.unwrap()));
        // It ends with the store, and waits for nobody.
        store.close().await.unwrap();
        assert_eq!(backups.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_opened_again_goes_on_in_the_same_beat() {
        let ground = TempDir::new().unwrap();
        let store = opened(&ground, "store").await;
        let schedule = schedule(&ground);
        assert_eq!(schedule.first_wait(), Duration::ZERO);
        let mut backups = store.schedule_backups(schedule.clone()).unwrap();
        backups.next().await.unwrap();
        drop(backups);
        assert!(schedule.first_wait() > Duration::from_secs(3500), "{:?}", schedule.first_wait());
        for (interval, keep) in [(Duration::from_millis(999), 1), (Duration::from_secs(1), 0)] {
            let never = BackupSchedule { interval, keep, ..schedule.clone() };
            assert_eq!(store.schedule_backups(never).err(), Some(InvalidSchedule));
        }
        store.close().await.unwrap();
    }

    #[test]
    fn names_sort_by_time_and_are_read_back() {
        let moments = [0, 1_763_690_000_000, 1_763_690_000_001, 1_763_699_999_999, 2_000_000_000_000];
        let names = moments.map(|at| BackupSchedule::name_of(Moment::from_millis(at)));
        assert!(names.is_sorted());
        for (at, name) in moments.iter().zip(&names) {
            assert_eq!(BackupSchedule::begun(name), Some(Moment::from_millis(*at)), "{name}");
        }
        for name in ["", "backup-.sessions", "backup-20200101.sessions", "backup-20209901T000000.000Z.sessions"] {
            assert_eq!(BackupSchedule::begun(name), None, "{name}");
        }
    }
}
