//! The default store: append-only segment files hold every record, and sled is an index that can be built anew from them.
//!
//! Why not sled alone: its flush is no fsync, a flipped bit can keep it from opening, and a full disk sticks to it. So nothing of it counts
//! here; see `docs/durability.md`. The folder:
//!
//! ```text
//! FORMAT  LOCK  log/*.seg (the truth)  blobs/ (bodies above 64 KiB)  index/ (sled)  quarantine/ (what was set aside)
//! ```
//!
//! Must not know: what records say.

mod anchor;
mod attested;
mod backup;
mod backup_file;
mod backup_schedule;
mod bodies;
mod burial;
mod changes;
mod checked;
mod checking;
mod checkpoint;
mod core;
#[cfg(test)]
mod documented;
mod enciphered;
pub(crate) mod enciphering;
pub(crate) mod folder;
mod frame;
mod graves;
mod index;
mod inspection;
mod key_look;
mod last_backup;
mod ledger;
mod locator;
mod log_state;
mod newest;
mod reader;
mod rearranged;
mod rechecked;
mod reclaim;
mod recovery;
mod remembered;
mod repair;
mod replay;
mod restoring;
mod rewrite;
mod rewriting;
mod roots;
mod segment;
mod stand_ins;
mod stood_for;
mod superseded;
pub(crate) mod takeover;
#[cfg(test)]
mod tampered;
#[cfg(test)]
mod torn;
mod trouble;
mod unsealing;
mod witnessing;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    task::{Context, Poll, Waker},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use ring::{hmac, rand::SecureRandom as _};
use sessions_domain::{Moment, SessionId};
use sessions_ports::{
    BackendError, BackendErrorKind, Commit, Committed, Digest, Durability, EntropyError, Erased, Erasure, Expected,
    Head, Heir, KindFilter, Order, Page, ReadRange, Removal, Removed, Rewrite, Rewritten, Row, RowPage, SessionLog,
    StoreError, StoreId, StoredClaim,
};
use tokio::sync::oneshot;

pub use self::{
    anchor::{Anchor, AnchorCheck, AnchorUnknown, NoAnchor, check_anchor},
    attested::RootsLook,
    backup::{BackupReport, remove_partial_backups, verify_backup},
    backup_file::{BackupHead, BackupInfo, BackupProgress, check_backup},
    backup_schedule::{BackupSchedule, InvalidSchedule, ScheduledBackups},
    core::Figures,
    folder::Sealing,
    inspection::{Finding, IndexLook, Named, Severity, VerifyReport, verify, verify_sealed, verify_with},
    key_look::{KeyLook, KeysAt, keys_at, look_at_keys},
    last_backup::{LastBackup, LastOutcome, last_backup},
    reclaim::Reclaimed,
    recovery::{IndexReport, OpenReport, TornTail},
    repair::{RepairAction, RepairReport, repair, repair_sealed, repair_with},
    restoring::{RestoreReport, restore_backup},
    unsealing::{EpochChain, RecordOpener, SealingLook, Unopened},
    witnessing::{Doubt, WitnessReport},
};
use self::{
    core::{Core, Presence},
    folder::Folder,
    frame::{FrameHeader, Trailer},
    graves::Removing,
    index::CoreRow,
    ledger::Ledger,
    locator::Locator,
    log_state::{Job, LogState},
    reclaim::Extent,
    writer::Writer,
};

/// Bodies above this size stand in files of their own.
const INLINE_BODY: usize = 64 << 10;
/// How long a close waits for the index, which nothing that was acknowledged depends on.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });
/// The most that one append may hold.
const MAX_COMMIT_BYTES: u64 = 1 << 30;
/// The most that may wait to be written, in frames and again in large bodies.
const MAX_QUEUED_BYTES: usize = 256 << 20;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct SledOptions {
    /// Memory for the index's cache, in bytes.
    pub cache_bytes: u64,
    /// Whether what it is given is sealed. A new folder is marked so; one that is marked otherwise is refused.
    pub sealing: Sealing,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, sealing: Sealing::Plain }
    }
}

/// The default store. Clones are handles to the same one.
///
/// It gives every level up to [`Durability::Disk`]. What is appended at [`Durability::Volatile`] is written within milliseconds, and synced
/// within half a second, when the process lives that long.
///
/// A commit with claims that comes while the index fails takes its place only when the index is thrown away: one that is polled after it
/// may be before it in the log.
#[derive(Clone)]
pub struct SledStore {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    report: OpenReport,
    /// Opened to look after its files: nothing is committed, since nobody would seal it.
    is_upkeep: bool,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    bodies: JoinHandle<()>,
    checkpoint: JoinHandle<()>,
    /// Says nothing; its other end goes with the checkpoint's thread.
    checkpoint_lives: mpsc::Receiver<()>,
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("path", &self.inner.core.folder.root).finish_non_exhaustive()
    }
}

/// The name of a large body: a keyed hash, so that a name tells nothing to who does not know the store's id.
pub(crate) fn blob_name(store: StoreId, payload: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &store.0);
    let mut name = [0; 32];
    name.copy_from_slice(hmac::sign(&key, payload).as_ref());
    name
}

impl SledStore {
    /// Opens the store in a folder, or makes one where there is nothing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it, [`StoreError::ForeignFormat`], [`StoreError::NoSpace`], or what the system says.
    pub async fn open(path: impl AsRef<Path> + Send, options: SledOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        Self::opened(move || Self::open_blocking(&path, options)).await
    }

    /// Opens the store in a folder, and makes nothing where there is none.
    ///
    /// # Errors
    /// [`StoreError::NoStore`] when there is none, and as [`Self::open`].
    pub async fn open_existing(path: impl AsRef<Path> + Send, options: SledOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let open = move || folder::must_exist(&path).and_then(|()| Self::open_blocking(&path, options));
        Self::opened(open).await
    }

    /// Opens a store that is there, plain or sealed, to look after its files: to give back space, to back up, to see how it opens. It needs no key and
    /// takes no commit, because nothing would seal that.
    ///
    /// # Errors
    /// As [`Self::open_existing`].
    pub async fn open_for_upkeep(path: impl AsRef<Path> + Send) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let open = move || {
            folder::must_exist(&path)?;
            let options = SledOptions { sealing: folder::sealing_of(&path), ..SledOptions::default() };
            Self::open_to(true, &path, options)
        };
        Self::opened(open).await
    }

    /// Opens where waiting for a disk holds up nobody.
    async fn opened(open: impl FnOnce() -> Result<Self, StoreError> + Send + 'static) -> Result<Self, StoreError> {
        tokio::task::spawn_blocking(open).await.unwrap_or_else(|error| {
            Err(BackendError::new(BackendErrorKind::Internal, "opening the store", error).into())
        })
    }

    fn open_blocking(path: &Path, options: SledOptions) -> Result<Self, StoreError> {
        Self::open_to(false, path, options)
    }

    fn open_to(is_upkeep: bool, path: &Path, options: SledOptions) -> Result<Self, StoreError> {
        let folder = Folder::open_as(options.sealing, path, || {
            let mut id = [0; 16];
            let filled = ring::rand::SystemRandom::new().fill(&mut id);
            let failed = |_| BackendError::new(BackendErrorKind::Internal, "naming the store", EntropyError);
            filled.map_err(failed)?;
            Ok(id)
        })?;
        let recovered = recovery::recover(&folder, options.cache_bytes)?;
        let end = recovered.ledger.applied;
        let core = Core::new(folder, recovered.ledger, recovered.index, end, recovered.marked, options.cache_bytes);
        let core = Arc::new(core);
        let is_whole = recovered.report.damaged == 0 && !recovered.report.shortened;
        core.is_whole.store(is_whole, Ordering::Release);
        let writer = Writer::new(Arc::clone(&core), recovered.segment, recovered.at, recovered.ready);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
                StoreError::from(BackendError::new(BackendErrorKind::Unavailable, "starting a thread", error))
            })
        };
        let [of_index, of_bodies, of_writer] = [(); 3].map(|()| Presence::of(&core));
        let (lives, checkpoint_lives) = mpsc::channel();
        let begin = || {
            Ok((
                spawn(
                    "sessions-index",
                    Box::new(move || {
                        checkpoint::run(&of_index);
                        drop((of_index, lives));
                    }),
                )?,
                spawn("sessions-bodies", Box::new(move || bodies::run(&of_bodies)))?,
                spawn(
                    "sessions-writer",
                    Box::new(move || {
                        writer.run();
                        drop(of_writer);
                    }),
                )?,
            ))
        };
        let (checkpoint, bodies, writer) = begin().inspect_err(|_: &StoreError| core.end())?;
        let threads = Mutex::new(Some(Threads { writer, bodies, checkpoint, checkpoint_lives }));
        Ok(Self { inner: Arc::new(Inner { core, report: recovered.report, is_upkeep, threads }) })
    }

    /// What was found and done when the store was opened.
    pub fn report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// All logs that are there, in the order of their ids: sessions whoever they belong to, those in the trash, and logs without a row, as those of
    /// the state of users and of the application.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn logs(&self) -> Result<Vec<SessionId>, StoreError> {
        let ledger = self.core().lock();
        ledger.check_not_closed()?;
        let mut logs: Vec<SessionId> = ledger.there().collect();
        drop(ledger);
        logs.sort_unstable();
        Ok(logs)
    }

    /// Counters since the store was opened.
    pub fn figures(&self) -> Figures {
        self.inner.core.figures()
    }

    /// Takes off the disk what only removed sessions had. Nobody waits for it meanwhile; what is written last stays until the log has gone on.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] when there is no room to write a part of the log anew; what came back until then did. An error of kind
    /// [`BackendErrorKind::Unavailable`] when the log is damaged: a repair comes first.
    pub async fn reclaim(&self) -> Result<Reclaimed, StoreError> {
        let core = Arc::clone(self.core());
        let reclaimed = tokio::task::spawn_blocking(move || reclaim::reclaim(&core, Extent::Worthwhile)).await;
        reclaimed.unwrap_or_else(|error| {
            Err(BackendError::new(BackendErrorKind::Internal, "giving space back", error).into())
        })
    }

    /// The same, and leaves nothing of it however small it is: the log goes on in another segment first. What was rewritten is then in no
    /// segment and no large body any more, but for what a repair wrote.
    ///
    /// The index may have the old words of rows and old snapshots in its file still. It may be removed when the store is closed.
    ///
    /// # Errors
    /// As [`Self::reclaim`], and [`StoreError::Closed`] when the store is closed meanwhile.
    pub async fn reclaim_all(&self) -> Result<Reclaimed, StoreError> {
        let core = Arc::clone(self.core());
        let reclaimed = tokio::task::spawn_blocking(move || reclaim::reclaim(&core, Extent::All)).await;
        reclaimed.unwrap_or_else(|error| {
            Err(BackendError::new(BackendErrorKind::Internal, "giving space back", error).into())
        })
    }

    /// How many sessions there are, and how many records of their own.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let ledger = self.core().lock();
        let there = ledger.sessions.iter().filter(|(session, log)| log.exists() && !ledger.is_gone(**session));
        there.fold((0, 0), |(sessions, records), (_, log)| {
            (sessions + 1, records + (log.row.version + 1).saturating_sub(log.row.first))
        })
    }

    /// Where the keys of the store lie when it is sealed: in its own folder, whose lock it holds.
    pub fn keys_folder(&self) -> PathBuf {
        self.core().folder.keys()
    }

    /// A store that was opened for upkeep takes nothing.
    fn check_takes(&self) -> Result<(), StoreError> {
        match self.inner.is_upkeep {
            true => Err(StoreError::Malformed { what: "the store was opened for upkeep, and takes nothing" }),
            false => Ok(()),
        }
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Encodes a commit's frames, which needs nothing that others change.
    fn encode(&self, commit: &mut Commit) -> Result<(Job, Vec<(Digest, StoredClaim)>), StoreError> {
        let first = commit.records.first().map_or(0, |record| record.seq);
        let begins = commit.expected == Expected::NoStream;
        let (mut extra, mut claims) = (Vec::new(), Vec::new());
        let version = first + commit.records.len() as u64 - 1;
        if let Some(words) = &commit.row.words {
            frame::write_field(&mut extra, frame::WORDS, &[words]);
        }
        if let Some(key) = &commit.key {
            frame::write_field(&mut extra, frame::KEY, &[key]);
        }
        for claim in &commit.claims {
            let stored = StoredClaim { payload: claim.payload, seq: first + u64::from(claim.offset), version };
            let (seq, end) = (stored.seq.to_le_bytes(), version.to_le_bytes());
            frame::write_field(&mut extra, frame::CLAIM, &[&claim.key, &claim.payload, &seq, &end]);
            claims.push((claim.key, stored));
        }
        let bytes: usize = commit.records.iter().map(|record| record.payload.len()).sum();
        let mut frames = Vec::with_capacity(bytes.min(1 << 20) + commit.records.len() * 104 + extra.len());
        let mut records = Vec::with_capacity(commit.records.len());
        let (mut blobs, mut bodies) = (Vec::new(), Vec::new());
        let trailer = Trailer {
            updated: commit.row.updated.as_millis(),
            messages: u32::try_from(commit.row.messages).unwrap_or(u32::MAX),
            synced: self.core().synced_position.load(Ordering::Acquire),
        };
        for link in &commit.links {
            frame::write_field(&mut extra, frame::LINK, &[&link.owner.to_bytes(), &link.last.to_le_bytes()]);
        }
        let mut head = sessions_domain::CommitHash::ZERO;
        for (at, record) in std::mem::take(&mut commit.records).into_iter().enumerate() {
            let offset = frames.len();
            let is_last = record.seq == version;
            let mut flags = if begins && at == 0 { frame::FIRST } else { 0 };
            let mut named = Vec::new();
            let body: &[u8] = if record.payload.len() > INLINE_BODY {
                flags |= frame::BLOB;
                let name = blob_name(self.core().folder.id, &record.payload);
                named.extend_from_slice(&name);
                named.extend_from_slice(&(record.payload.len() as u64).to_le_bytes());
                blobs.push((record.seq, name));
                bodies.push(record.payload.clone());
                &named
            } else {
                &record.payload
            };
            let (kind, label, seq) = (record.kind, record.label, record.seq);
            let header = FrameHeader { kind, flags, session: commit.session, seq, label, commit: record.commit };
            head = record.commit;
            let extra: &[u8] = if is_last { &extra } else { &[] };
            frame::write(&mut frames, &header, body, is_last.then_some(trailer), extra);
            let within = Locator {
                segment: u32::MAX,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                length: u32::try_from(frames.len() - offset).unwrap_or(u32::MAX),
                kind,
                label,
            };
            records.push((seq, within));
        }
        let updated = trailer.updated;
        let messages = commit.row.messages;
        let row = CoreRow { first, version, commit: head, created: updated, updated, messages, bytes: bytes as u64 };
        let job = Job {
            records,
            blobs,
            bodies,
            words: commit.row.words.take(),
            snapshot: commit.snapshot.take(),
            key: commit.key,
            durability: commit.durability,
            begins,
            links: commit.links.clone(),
            ..Job::bare(commit.session, Bytes::from(frames), row)
        };
        Ok((job, claims))
    }

    /// Encodes the frame that says that a session was removed.
    fn encode_removal(&self, ledger: &Ledger, removal: &Removal, removes: Removing) -> Job {
        let session = removal.session;
        let log = ledger.sessions.get(&session);
        let row = log.map_or_else(|| CoreRow::none(0), |log| CoreRow { version: log.queued, ..log.row });
        let commit = log.map_or(sessions_domain::CommitHash::ZERO, LogState::tail);
        let key = log.and_then(|log| log.key.as_deref()).filter(|_| removal.keep_key);
        let synced = self.core().synced_position.load(Ordering::Acquire);
        let frames = Bytes::from(frame::removal(session, row.version, commit, key, synced));
        Job { removes: Some(removes), durability: removal.durability, ..Job::bare(session, frames, row) }
    }

    /// Bytes of the payloads of a session's records up to one.
    async fn payload_bytes(&self, session: SessionId, to: u64) -> u64 {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let mut range = ReadRange { from: 0, to, order, kinds, max_records: 4096, max_bytes: 8 << 20 };
        let mut bytes = 0;
        // What is damaged is not counted, and neither is what comes behind it.
        while let Ok(page) = self.read(session, range).await {
            bytes += page.records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
            let Some(next) = page.next else { break };
            range.from = next;
        }
        bytes
    }

    /// Commits when the index, which failed, is thrown away. Only then is it known whether the claims are free, so another commit may take
    /// the place meanwhile; but like any other it goes on when nobody waits for it any more.
    async fn commit_behind_the_index(&self, commit: Commit) -> Result<Committed, StoreError> {
        let store = self.clone();
        let late = async move {
            store.check_claims(&commit).await?;
            store.place(commit).await
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return late.await };
        let failed = |error| BackendError::new(BackendErrorKind::Internal, "committing", error).into();
        runtime.spawn(late).await.unwrap_or_else(|error| Err(failed(error)))
    }

    /// Gives a commit its place, and waits until it is through.
    async fn place(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let (mut job, claims) = self.encode(&mut commit)?;
        let (done, outcome) = oneshot::channel();
        job.done = Some(done);
        let waits = {
            let mut ledger = self.core().lock();
            // Others may have come between: the place is taken only when the tail is still where it was.
            ledger.admit(&commit)?;
            if !ledger.has_room(&job) {
                return Err(StoreError::NoSpace { operation: "what waits to be written" });
            }
            ledger.enqueue(job, claims);
            !ledger.bodies.is_empty()
        };
        if waits {
            self.core().bodies.notify_one();
        }
        self.core().wake_writer();
        // Only a writer that was torn out of its work does not answer.
        outcome.await.unwrap_or(Err(StoreError::Poisoned))
    }

    async fn read_range(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        let selection = reader::look_up(self.core(), |core| reader::select(core, session, &range)).await?;
        if selection.bytes <= reader::INLINE_BYTES
            && let Some(page) = reader::read(self.core(), &selection, reader::Large::Leave)?
        {
            return Ok(page);
        }
        let core = Arc::clone(self.core());
        let read = move || reader::read(&core, &selection, reader::Large::Read).map(Option::unwrap_or_default);
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(BackendError::new(BackendErrorKind::Internal, "reading", error).into()))
    }

    /// Reads a range, and once more what was replaced meanwhile and whose space came back.
    async fn read_unmoved(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        loop {
            let reclaimed = self.core().reclaimed.load(Ordering::Acquire);
            match self.read_range(session, range).await {
                Err(StoreError::Corrupt { .. }) if self.core().reclaimed.load(Ordering::Acquire) != reclaimed => {}
                outcome => return outcome,
            }
        }
    }

    /// What damage is to who reads a removed session: only what others inherit can be damaged.
    fn lost_or_gone(&self, session: SessionId, error: StoreError) -> StoreError {
        match error {
            StoreError::Corrupt { seq, .. } if seq > self.core().lock().kept(session) => StoreError::Gone { session },
            error => error,
        }
    }

    async fn check_claims(&self, commit: &Commit) -> Result<(), StoreError> {
        #[cfg(test)]
        self.core().pass("checking claims");
        for claim in &commit.claims {
            let known = reader::look_up(self.core(), |core| reader::claim(core, commit.session, claim.key)).await?;
            if known.is_some() {
                // Another commit may have come with it since the tail was looked at; then it is the place that is taken.
                self.core().lock().admit(commit)?;
                return Err(StoreError::Malformed { what: "an idempotency key is claimed twice" });
            }
        }
        Ok(())
    }
}

/// Refuses what no store takes.
fn check(commit: &Commit) -> Result<(), StoreError> {
    // Each record has a frame around it.
    let frames = (commit.records.len() as u64).saturating_mul(128);
    let last = commit.check(MAX_COMMIT_BYTES.saturating_sub(frames))?;
    if last >= frame::SEQ_BOUND {
        return Err(StoreError::Malformed { what: "its numbers are beyond all bounds" });
    }
    Ok(())
}

#[async_trait]
impl SessionLog for SledStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.check_takes()?;
        check(&commit)?;
        // The ledger is asked before the index: a claim only ever moves from the first to the second.
        if !commit.claims.is_empty() {
            self.core().lock().admit(&commit)?;
            let asked = {
                let mut asking = std::pin::pin!(self.check_claims(&commit));
                asking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            match asked {
                Poll::Ready(free) => free?,
                Poll::Pending => return self.commit_behind_the_index(commit).await,
            }
        }
        self.place(commit).await
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.check_takes()?;
        let session = removal.session;
        let (done, outcome) = oneshot::channel();
        {
            let mut ledger = self.core().lock();
            if let Some(removed) = ledger.admit_removal(&removal)? {
                return Ok(removed);
            }
            let job = self.encode_removal(&ledger, &removal, Removing::new(removal.keep_key, done));
            ledger.enqueue_removal(job);
        }
        self.core().wake_writer();
        let mut removed = outcome.await.unwrap_or(Err(StoreError::Poisoned))?;
        if removed.was_there && removed.kept > 0 {
            // What is kept can be read as before, so it is simply counted.
            let kept = self.payload_bytes(session, removed.kept).await;
            removed.bytes = removed.bytes.saturating_sub(kept);
        }
        Ok(removed)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        self.check_takes()?;
        self.rewrite_records(rewrite).await
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        let ledger = self.core().lock();
        ledger.check_not_closed()?;
        if !ledger.is_gone(session) && !ledger.sessions.contains_key(&session) {
            return Err(StoreError::NotFound { session });
        }
        Ok(ledger.heirs_of(session))
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        let ledger = self.core().lock();
        ledger.check_not_closed()?;
        if ledger.is_gone(session) {
            return Err(StoreError::Gone { session });
        }
        Ok(ledger.sessions.get(&session).filter(|log| log.exists()).map(|log| log.head()))
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.read_unmoved(session, range).await.map_err(|error| match error {
            // It was removed while it was read.
            StoreError::Corrupt { .. } if self.core().lock().is_gone(session) => self.lost_or_gone(session, error),
            error => error,
        })
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        reader::look_up(self.core(), |core| reader::find(core, session, label)).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        let snapshot = |core: &Core| {
            let recent = {
                let ledger = core.lock();
                ledger.check_not_closed()?;
                if ledger.is_gone(session) {
                    return Ok(None);
                }
                ledger.sessions.get(&session).and_then(|log| log.snapshot.clone())
            };
            if recent.is_some() { Ok(recent) } else { reader::ask(core, |index| index.view(session)) }
        };
        reader::look_up(self.core(), snapshot).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        let ledger = self.core().lock();
        ledger.check_not_closed()?;
        let session = ledger.keys.get(&key).copied();
        let is_seen = |session: &SessionId| {
            ledger.is_gone(*session) || ledger.sessions.get(session).is_some_and(|log| log.exists())
        };
        Ok(session.filter(is_seen))
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        reader::look_up(self.core(), |core| reader::claim(core, session, key)).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        let ledger = self.core().lock();
        ledger.check_not_closed()?;
        let (mut rows, mut removed, mut next, mut more) = (Vec::new(), Vec::new(), since, false);
        for (tick, session, log) in ledger.changed(since) {
            if rows.len() + removed.len() >= limit.max(1) {
                more = true;
                break;
            }
            next = tick;
            let Some(log) = log else {
                removed.push(session);
                continue;
            };
            rows.push(Row {
                session,
                version: log.row.version,
                created: Moment::from_millis(log.row.created),
                updated: Moment::from_millis(log.row.updated),
                messages: log.row.messages,
                words: log.words.clone().unwrap_or_default(),
            });
        }
        Ok(RowPage { rows, removed, next, more })
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        let waiting = self.core().lock().wait(session, version, level)?;
        match waiting {
            Ok(head) => Ok(head),
            Err(heard) => {
                self.core().wake_writer();
                heard.await.unwrap_or(Err(StoreError::Closed))
            }
        }
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        let waiting = self.core().lock().settling(session)?;
        if let Some(heard) = waiting {
            // That it failed is as good an answer: then it is not on its way any more.
            let _ = heard.await;
        }
        self.head(session).await
    }

    async fn erased(&self, _: SessionId) -> Result<Option<Erased>, StoreError> {
        Ok(None)
    }

    fn erasure(&self) -> Option<Erasure> {
        None
    }

    fn strongest(&self) -> Durability {
        Durability::Disk
    }

    fn id(&self) -> StoreId {
        self.core().folder.id
    }

    async fn close(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let closed = tokio::task::spawn_blocking(move || inner.shut()).await;
        closed.unwrap_or_else(|error| Err(BackendError::new(BackendErrorKind::Internal, "closing", error).into()))
    }
}

impl Inner {
    /// Tells the threads to write out everything and end. The last of them lets go of the lock.
    fn begin_closing(&self) {
        self.core.lock().closing = true;
        self.core.kept.close();
        self.core.wake_writer();
    }

    fn shut(&self) -> Result<(), StoreError> {
        self.begin_closing();
        self.core.kept.wait();
        // Held while the threads end, so that a second caller waits too.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Threads { writer, bodies, checkpoint, checkpoint_lives }) = threads.take() {
            if writer.join().is_err() {
                self.core.end();
            }
            let _ = bodies.join();
            // What the index did not take is read from the log the next time. On a disk that failed it may wait for ever, and keeps the lock then.
            match checkpoint_lives.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("the index does not come to its end; it keeps the store's lock")
                }
                _ => drop(checkpoint.join()),
            }
        }
        // Who gives space back ends with what is in hand.
        drop(self.core.reclaiming.lock().unwrap_or_else(PoisonError::into_inner));
        let ledger = self.core.lock();
        if ledger.lost_at_close {
            Err(StoreError::NoSpace { operation: "what was appended below `process`, and never reached the disk" })
        } else if ledger.poisoned {
            Err(StoreError::Poisoned)
        } else {
            Ok(())
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping does not wait: the threads finish on their own, and a new owner waits for the lock.
        self.begin_closing();
    }
}
