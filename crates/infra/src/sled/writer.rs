//! The one writer of the log: takes what is queued, writes it in one piece, syncs once, and answers all.
//!
//! **Invariant**: an answer at a level is given only after the system call that makes it true has returned without error.
//! **Invariant**: after a failed sync nothing is answered any more until the store is opened again.
//!
//! Must not know: the index.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sessions_domain::SessionId;
use sessions_ports::{Committed, Durability, StoreError};

use super::{
    core::Core,
    frame,
    log_state::{Job, Spot},
    roots::{self, Attested, Attesting, Root},
    segment::{self, NotMade, SEGMENT_BYTES, SEGMENT_HEADER, Segment},
    trouble::{Trouble, is_full, refused},
};

/// At most so many bytes go out in one write.
const BATCH_BYTES: usize = 8 << 20;
/// Zeros are laid ahead in steps that grow from the first to the last of these.
const FIRST_STEP: u32 = 256 << 10;
const LAST_STEP: u32 = 4 << 20;
/// What was written without a sync is synced after so long at the latest.
pub(crate) const SYNC_WITHIN: Duration = Duration::from_millis(500);
/// A log that nobody wrote to for so long after a sync gets a mark.
const MARK_AFTER: Duration = Duration::from_secs(1);
/// While the disk is full, what is kept in memory is tried again after so long.
const RETRY_WITHIN: Duration = Duration::from_millis(100);

/// Tells everybody that the writer is through, however it ends.
struct Closing<'a>(&'a Core);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut ledger = self.0.lock();
        ledger.poisoned |= std::thread::panicking();
        ledger.closed = true;
        ledger.end_waiting(|| StoreError::Closed);
        ledger.leaves_segment = None;
        drop(ledger);
        self.0.bodies.notify_all();
        self.0.checkpoint.notify_all();
    }
}

/// The end of the log.
pub(crate) struct Writer {
    core: Arc<Core>,
    segment: Segment,
    /// The next byte to write.
    at: u32,
    /// Zeros are there and synced up to here.
    ready: u32,
    step: u32,
    buffer: Vec<u8>,
    /// Since when bytes lie behind the last sync.
    unsynced: Option<Instant>,
    /// When that sync was.
    synced: Instant,
    /// Where a mark could not be written; it is not tried there again.
    unmarked: u32,
    /// Who attests the heads behind each batch, and the last root.
    attesting: Option<Attesting>,
    root: Option<Root>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, segment: Segment, at: u32, ready: u32) -> Self {
        let (buffer, synced) = (Vec::new(), Instant::now());
        core.current_segment.store(segment.number, Ordering::Release);
        let (attesting, root) = (None, core.lock().roots.synced);
        let (step, unsynced, unmarked) = (FIRST_STEP, None, 0);
        Self { core, segment, at, ready, step, buffer, unsynced, synced, unmarked, attesting, root }
    }

    /// Runs until the store is closed and everything is written.
    pub(crate) fn run(mut self) {
        let core = Arc::clone(&self.core);
        let _closing = Closing(&core);
        if panic::catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            // What was on its way may be in the log or not, so nothing more is promised until the store is opened again.
            self.poison(VecDeque::new());
            let mut ledger = core.lock();
            while !ledger.closing {
                ledger = core.wait_for_work(ledger, SYNC_WITHIN).0;
            }
        }
    }

    fn work(&mut self) {
        let mut starving = false;
        while let Some(batch) = self.next_batch(starving) {
            let is_pause = batch.is_empty() && !starving;
            starving = self.serve(batch);
            self.leave_segment();
            let rests = is_pause && self.lacks_mark() && self.synced.elapsed() >= MARK_AFTER;
            if rests && self.mark().map(|_| self.give_back()).is_err() {
                self.poison(VecDeque::new());
            }
        }
        self.finish();
    }

    /// Waits for work; `None` when the store is closing and nothing is left.
    fn next_batch(&self, starving: bool) -> Option<VecDeque<Job>> {
        let core = &self.core;
        let mut ledger = core.lock();
        loop {
            let is_fresh = |job: &Job| !job.visible;
            if !ledger.queue.is_empty() && (!starving || ledger.closing || ledger.queue.iter().any(is_fresh)) {
                break;
            }
            // Another thread poisoned the store, and whoever waits has to hear of it.
            let is_to_refuse = ledger.poisoned && !ledger.all_refused;
            if (ledger.roots.is_waiting() && !starving)
                || is_to_refuse
                || ledger.leaves_segment.is_some()
                || (ledger.closing && ledger.bodies.is_empty())
                || (ledger.sync_wanted && !starving)
            {
                break;
            }
            let patience = if starving {
                RETRY_WITHIN
            } else if let Some(since) = self.unsynced {
                SYNC_WITHIN.saturating_sub(since.elapsed())
            } else if self.lacks_mark() {
                MARK_AFTER.saturating_sub(self.synced.elapsed())
            } else {
                #[cfg(test)]
                core.pass("resting");
                Duration::from_secs(3600)
            };
            let (back, timeout) = core.wait_for_work(ledger, patience);
            ledger = back;
            if timeout && (starving || self.unsynced.is_some() || self.lacks_mark()) {
                break;
            }
        }
        if ledger.queue.is_empty() && ledger.bodies.is_empty() && ledger.closing {
            return None;
        }
        if ledger.queued_bytes <= BATCH_BYTES && ledger.bodies.is_empty() {
            ledger.queued_bytes = 0;
            return Some(std::mem::take(&mut ledger.queue));
        }
        let mut batch = VecDeque::new();
        let mut bytes = 0;
        while let Some(job) = ledger.queue.pop_front() {
            bytes += job.frames.len();
            batch.push_back(job);
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        ledger.queued_bytes = ledger.queued_bytes.saturating_sub(bytes);
        Some(batch)
    }

    /// Writes a batch. `true`: there is no space, and something waits in memory for it.
    fn serve(&mut self, mut batch: VecDeque<Job>) -> bool {
        if self.core.lock().poisoned {
            self.poison(batch);
            return false;
        }
        let mut starving = false;
        let mut owed = self.attest_first();
        while !batch.is_empty() || owed.is_err() {
            let outcome = std::mem::replace(&mut owed, Ok(())).and_then(|()| self.write_piece(&mut batch));
            let left = match outcome {
                Ok(()) => continue,
                Err(Trouble::Fatal) => {
                    self.poison(batch);
                    return false;
                }
                Err(trouble) => (std::mem::take(&mut batch), trouble),
            };
            starving = match left {
                (batch, Trouble::NoSpace(operation)) => self.fail(batch, || StoreError::NoSpace { operation }),
                (batch, Trouble::Refused(why)) => self.fail(batch, || refused(&why)),
                (_, Trouble::Fatal) => false,
            };
        }
        // What was written before the disk was full is synced in time all the same.
        let overdue = self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_WITHIN);
        if (overdue || self.core.lock().sync_wanted) && self.sync().is_err() {
            self.poison(VecDeque::new());
            return false;
        }
        starving
    }

    /// Writes as much of the batch as the segment takes, syncs if somebody waits for it, and answers. What was not written stays in `batch`.
    fn write_piece(&mut self, batch: &mut VecDeque<Job>) -> Result<(), Trouble> {
        #[cfg(test)]
        self.core.pass("writing");
        let room = if self.attesting.is_some() { roots::ROOM } else { 0 };
        let first = batch.front().map_or(0, |job| job.frames.len() + room as usize);
        self.make_room(first)?;
        let capacity = SEGMENT_BYTES.max(self.at.saturating_add(u32::try_from(first).unwrap_or(u32::MAX)));
        let mut end = self.at.saturating_add(room);
        let mut count = 0;
        for job in batch.iter() {
            let length = u32::try_from(job.frames.len()).unwrap_or(u32::MAX);
            match end.checked_add(length).filter(|end| *end <= capacity) {
                Some(after) => end = after,
                None => break,
            }
            count += 1;
        }
        let attested = self.fill(batch, count);
        let end = self.at.saturating_add(u32::try_from(self.buffer.len()).unwrap_or(u32::MAX));
        self.extend(end)?;
        if let Err(error) = self.segment.file.write_all_at(&self.buffer, u64::from(self.at)) {
            let is_clean = is_full(&error) && self.take_back(end).is_ok();
            return Err(if is_clean { Trouble::NoSpace("the log") } else { Trouble::Fatal });
        }
        self.unsynced.get_or_insert_with(Instant::now);
        let mut written: Vec<Job> = batch.drain(..count).collect();
        self.core.count_write(self.buffer.len(), count);
        let start = self.at;
        let mut offset = start;
        self.at = end;
        if let Some(attested) = attested {
            written.iter_mut().take(1).for_each(|job| job.grow(attested.added));
            self.attested(&attested);
        }
        // Below `Disk` the write is the promise: answer before the sync.
        let needs_sync = written.iter().any(|job| !job.visible && job.durability == Durability::Disk);
        let before_sync = |job: &Job| !needs_sync || job.durability < Durability::Disk;
        if written.iter().any(before_sync) {
            let mut ledger = self.core.lock();
            // A record is never visible before one of its session that waits for the sync.
            let mut waiting = HashSet::new();
            for job in &mut written {
                let place = offset;
                offset += job.length();
                if before_sync(job) && !waiting.contains(&job.session) {
                    ledger.written(job, Spot { segment: self.segment.number, offset: place, is_synced: false });
                    answer(job, Durability::Process);
                    job.done = None;
                } else {
                    waiting.insert(job.session);
                }
            }
        }
        if needs_sync {
            return self.sync_and_answer(written, start);
        }
        Ok(())
    }

    /// Lays the frames of the first jobs of a batch one behind the other, and adds the root over what is there when they are.
    fn fill(&mut self, batch: &VecDeque<Job>, count: usize) -> Option<Attested> {
        self.buffer.clear();
        let mut jobs = batch.iter().take(count);
        let first = jobs.next()?;
        self.buffer.extend_from_slice(&first.frames);
        let attested = self.attesting.as_ref().map(|attesting| {
            let last = first.last_frame();
            let place = (last, self.segment.base + u64::from(self.at) + last as u64);
            let behind = jobs.clone().map(Job::length).fold(0, u32::saturating_add);
            let is_removed = |session| self.core.lock().is_removal_written(session);
            attesting.attest(&mut self.buffer, place, batch.iter().take(count), behind, is_removed)
        });
        jobs.for_each(|job| self.buffer.extend_from_slice(&job.frames));
        attested
    }

    /// What was written is what the next root goes on from.
    fn attested(&mut self, attested: &Attested) {
        self.root = Some(attested.root);
        if let Some(attesting) = &mut self.attesting {
            attesting.written(attested);
        }
    }

    /// Takes a new witness in, and writes the mark with a root that has to stand before any batch.
    fn attest_first(&mut self) -> Result<(), Trouble> {
        {
            let mut ledger = self.core.lock();
            if let Some((attesting, root)) = ledger.roots.given.take() {
                self.attesting = Some(attesting);
                (self.root, ledger.roots.synced) = (root, root);
            }
            let is_settling = std::mem::take(&mut ledger.roots.is_settling);
            if let Some(attesting) = self.attesting.as_mut().filter(|_| is_settling) {
                attesting.settle();
            }
        }
        if !self.attesting.as_ref().is_some_and(|attesting| attesting.owes_mark) {
            return Ok(());
        }
        self.sync().map_err(|_| Trouble::Fatal)?;
        if !self.mark().map_err(|_| Trouble::Fatal)? {
            return Err(Trouble::NoSpace("the log"));
        }
        if let Some(attesting) = &mut self.attesting {
            attesting.begun();
        }
        Ok(())
    }

    /// Lays zeros over what a write that failed left behind the end of the log. It may be whole frames, and what was refused must not be
    /// found there after a crash.
    fn take_back(&mut self, end: u32) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.resize((end - self.at) as usize, 0);
        self.segment.file.read_exact_at(&mut self.buffer, u64::from(self.at))?;
        let Some(last) = self.buffer.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        segment::fill(&self.segment.file, self.at, self.at.saturating_add(last).saturating_add(1))?;
        self.segment.file.sync_data()
    }

    /// `offset`: where in the segment the first of them stands.
    fn sync_and_answer(&mut self, mut written: Vec<Job>, mut offset: u32) -> Result<(), Trouble> {
        if self.sync_file().is_err() {
            let mut ledger = self.core.lock();
            ledger.poisoned = true;
            for job in written.iter_mut().filter(|job| !job.visible) {
                ledger.withdraw(job, || StoreError::Poisoned);
                job.refuse(StoreError::Poisoned);
            }
            return Err(Trouble::Fatal);
        }
        let mut ledger = self.core.lock();
        // What was written before comes before in its log.
        ledger.synced(self.segment.base + u64::from(self.at));
        ledger.roots.synced = self.root;
        for job in &mut written {
            if !job.placed {
                ledger.written(job, Spot { segment: self.segment.number, offset, is_synced: true });
            }
            offset += job.length();
        }
        drop(ledger);
        for job in &mut written {
            answer(job, Durability::Disk);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_some() {
            self.sync_file()?;
        }
        let mut ledger = self.core.lock();
        ledger.synced(self.segment.base + u64::from(self.at));
        ledger.roots.synced = self.root;
        Ok(())
    }

    fn sync_file(&mut self) -> io::Result<()> {
        self.segment.file.sync_data()?;
        self.unsynced = None;
        self.synced = Instant::now();
        self.core.synced_position.store(self.segment.base + u64::from(self.at), Ordering::Release);
        self.core.count_sync();
        Ok(())
    }

    /// Moves on to a new segment when the next append does not fit.
    fn make_room(&mut self, length: usize) -> Result<(), Trouble> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let fits = self.at.checked_add(length).is_some_and(|end| end <= SEGMENT_BYTES);
        if fits || self.at == SEGMENT_HEADER {
            return Ok(());
        }
        self.begin_segment(length)
    }

    /// Goes on in another segment when somebody asks for it, so that nothing is written to this one any more.
    fn leave_segment(&mut self) {
        let Some(told) = self.core.lock().leaves_segment.take() else { return };
        let is_poisoned = self.core.lock().poisoned;
        let outcome = match self.at {
            _ if is_poisoned => Err(Trouble::Fatal),
            SEGMENT_HEADER => Ok(()),
            _ => self.begin_segment(0),
        };
        let outcome = outcome.and_then(|()| self.attest_here());
        let _ = told.send(match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::NoSpace(operation)) => Err(StoreError::NoSpace { operation }),
            Err(Trouble::Refused(why)) => Err(refused(&why)),
            Err(Trouble::Fatal) => {
                self.poison(VecDeque::new());
                Err(StoreError::Poisoned)
            }
        });
    }

    /// The last root stands in this segment, so that nobody needs it in another.
    fn attest_here(&mut self) -> Result<(), Trouble> {
        let is_here = self.root.is_some_and(|root| root.position >= self.segment.base);
        match &mut self.attesting {
            Some(attesting) if !is_here => attesting.owes_mark = true,
            _ => return Ok(()),
        }
        self.attest_first()
    }

    fn begin_segment(&mut self, length: u32) -> Result<(), Trouble> {
        // All of a segment is synced before the next one is used, so only the last one can be torn.
        self.sync().map_err(|_| Trouble::Fatal)?;
        let (number, base) = (self.segment.number + 1, self.segment.base + u64::from(self.at));
        let bytes = (SEGMENT_HEADER + length).max(self.step);
        let log = self.core.folder.log();
        let next = Segment::make(&log, number, base, self.core.folder.id, bytes).or_else(|why| match why {
            NotMade::Refused(StoreError::NoSpace { .. }) => {
                Segment::make(&log, number, base, self.core.folder.id, SEGMENT_HEADER + length)
            }
            other => Err(other),
        })?;
        self.ready = SEGMENT_HEADER + length.max(bytes - SEGMENT_HEADER);
        if let Ok(size) = next.file.metadata() {
            self.ready = u32::try_from(size.len()).unwrap_or(self.ready);
        }
        // The old one ends where its frames end.
        let _ = self.segment.file.set_len(u64::from(self.at));
        self.segment = next;
        self.at = SEGMENT_HEADER;
        self.core.current_segment.store(number, Ordering::Release);
        Ok(())
    }

    /// Lays zeros up to `end` at least, and a step further when there is space.
    fn extend(&mut self, end: u32) -> Result<(), Trouble> {
        if end <= self.ready {
            return Ok(());
        }
        let far = self.ready.saturating_add(self.step).min(SEGMENT_BYTES).max(end);
        let mut tried = self.lay_zeros(far);
        match &tried {
            Ok(()) => self.step = (self.step * 2).min(LAST_STEP),
            // Only space may be asked for twice: a second sync does not heal a first one that failed.
            Err(error) if is_full(error) => tried = self.lay_zeros(end),
            Err(_) => {}
        }
        tried.map_err(|error| if is_full(&error) { Trouble::NoSpace("the log") } else { Trouble::Fatal })
    }

    fn lay_zeros(&mut self, to: u32) -> io::Result<()> {
        if let Err(error) = segment::fill(&self.segment.file, self.ready, to) {
            // Give back what a full disk took half of.
            let _ = self.segment.file.set_len(u64::from(self.ready));
            return Err(error);
        }
        // The file holds more than zeros, so whatever the sync's reason, it is no mere want of space.
        self.segment.file.sync_all().map_err(io::Error::other)?;
        self.ready = to;
        Ok(())
    }

    /// Gives back what zeros take beyond a step, since nobody writes for now. A crash may bring them back, and then they are there.
    fn give_back(&mut self) {
        let enough = self.at.saturating_add(FIRST_STEP);
        if enough < self.ready && self.segment.file.set_len(u64::from(enough)).is_ok() {
            (self.ready, self.step) = (enough, FIRST_STEP);
        }
    }

    /// Answers an error to all that is on its way, and keeps what was answered before it was written. `true`: something is kept.
    fn fail(&mut self, batch: VecDeque<Job>, error: impl Fn() -> StoreError) -> bool {
        let mut ledger = self.core.lock();
        let behind = std::mem::take(&mut ledger.queue);
        let (kept, mut failed): (VecDeque<Job>, VecDeque<Job>) =
            batch.into_iter().chain(behind).partition(|job| job.visible);
        // What waits behind them for its large bodies fails with them.
        let sessions: HashSet<SessionId> = failed.iter().map(|job| job.session).collect();
        let is_poisoned = ledger.poisoned;
        failed.extend(ledger.bodies.give_up(|session| is_poisoned || sessions.contains(&session)));
        for job in &kept {
            ledger.refuse_levels(job.session, &error);
        }
        for mut job in failed {
            ledger.withdraw(&mut job, &error);
            job.refuse(error());
        }
        ledger.queued_bytes = kept.iter().map(|job| job.frames.len()).sum::<usize>() + ledger.bodies.frame_bytes();
        let starving = !kept.is_empty() && !ledger.closing;
        if ledger.closing {
            ledger.lost_at_close |= !kept.is_empty();
        } else {
            ledger.queue = kept;
        }
        drop(ledger);
        // Files of theirs may have to go.
        self.core.bodies.notify_one();
        starving
    }

    fn poison(&mut self, batch: VecDeque<Job>) {
        self.unsynced = None;
        self.unmarked = self.at;
        self.core.lock().poisoned = true;
        self.fail(batch, || StoreError::Poisoned);
        let mut ledger = self.core.lock();
        ledger.queue.clear();
        ledger.queued_bytes = 0;
        ledger.sync_wanted = false;
        ledger.all_refused = true;
        ledger.leaves_segment.take().into_iter().for_each(|told| drop(told.send(Err(StoreError::Poisoned))));
        ledger.end_waiting(|| StoreError::Poisoned);
    }

    /// Leaves the log so that damage to its end is told from a torn write: everything before the last mark was synced.
    fn finish(&mut self) {
        if self.core.lock().poisoned {
            return;
        }
        if matches!(self.attest_first(), Err(Trouble::Fatal)) || self.sync().is_err() {
            self.core.lock().poisoned = true;
            return;
        }
        if self.lacks_mark() {
            // Without it the log is whole all the same.
            let _ = self.mark();
        }
        let _ = self.segment.file.set_len(u64::from(self.at));
    }

    /// Whether everything is synced and no mark says so.
    fn lacks_mark(&self) -> bool {
        let end = self.segment.base + u64::from(self.at);
        let is_marked = end <= self.core.marked_position.load(Ordering::Acquire) || self.at == SEGMENT_HEADER;
        self.unsynced.is_none() && !is_marked && self.unmarked != self.at
    }

    /// Writes and syncs a mark, so that damage to what stands before it is told from a torn write. `false`: there is no room. An error: the
    /// log is not known any more.
    fn mark(&mut self) -> io::Result<bool> {
        let position = self.segment.base + u64::from(self.at);
        let mut mark = frame::mark(position);
        let attested = self
            .attesting
            .as_ref()
            .map(|attesting| attesting.attest(&mut mark, (0, position), std::iter::empty(), 0, |_| false));
        let end = self.at + u32::try_from(mark.len()).unwrap_or(0);
        self.unmarked = self.at;
        match self.extend(end) {
            Ok(()) => {}
            Err(Trouble::Fatal) => return Err(ErrorKind::Other.into()),
            Err(_) => return Ok(false),
        }
        match self.segment.file.write_all_at(&mark, u64::from(self.at)) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return self.take_back(end).map(|()| false),
            Err(error) => return Err(error),
        }
        self.segment.file.sync_data()?;
        self.at = end;
        self.synced = Instant::now();
        let position = self.segment.base + u64::from(end);
        self.core.synced_position.store(position, Ordering::Release);
        self.core.marked_position.store(position, Ordering::Release);
        if let Some(attested) = attested {
            self.attested(&attested);
        }
        let mut ledger = self.core.lock();
        ledger.applied = position;
        ledger.roots.synced = self.root;
        Ok(true)
    }
}

fn answer(job: &mut Job, level: Durability) {
    if let Some(done) = job.done.take() {
        let _ = done.send(Ok(Committed { version: job.row.version, durability: level.max(job.durability) }));
    } else {
        job.answer_through();
    }
}

#[cfg(test)]
mod tests {
    use sessions_ports::{Commit, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::*;
    use crate::sled::{SledOptions, SledStore, folder::Folder, recovery};

    /// Waits until the writer has nothing to do any more.
    async fn rests(store: &SledStore) {
        let (told, rests) = oneshot::channel();
        {
            let _ledger = store.core().lock();
            store.core().hook("resting", move |_| told.send(()).unwrap());
            // One that rests already looks around once more.
            store.core().wake_writer();
        }
        let rests = tokio::time::timeout(Duration::from_secs(20), rests).await;
        rests.expect("the writer finds no rest").unwrap();
    }

    #[tokio::test]
    async fn each_pause_is_marked_once() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let marks = || {
            let log = std::fs::read(path.join("log/00000001.seg")).unwrap();
            log.windows(6).filter(|window| *window == b"SSN\x01\x01\xfe").count()
        };
        let mut script = Script::new(1);
        for count in 1..=2 {
            store.commit(Commit { durability: Durability::Disk, ..script.say("and a pause") }).await.unwrap();
            rests(&store).await;
            assert_eq!(marks(), count);
        }
        store.close().await.unwrap();
        assert_eq!(marks(), 2, "nothing was written since the last one");
    }

    #[tokio::test]
    async fn a_log_that_rests_takes_hardly_more_than_what_it_holds() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let length = || std::fs::metadata(path.join("log/00000001.seg")).unwrap().len();
        let mut script = Script::new(1);
        let (mut texts, mut most) = (Vec::new(), 0);
        for _ in 0..2 {
            while store.core().synced_position.load(Ordering::Acquire) < 3_000_000 + u64::from(most > 0) * 3_000_000 {
                texts.push("word ".repeat(10_000));
                store
                    .commit(Commit { durability: Durability::Disk, ..script.say(texts.last().unwrap()) })
                    .await
                    .unwrap();
            }
            most = length();
            rests(&store).await;
            let written = store.core().synced_position.load(Ordering::Acquire);
            assert!(written < length() && length() <= written + u64::from(FIRST_STEP), "{written} of {}", length());
            assert!(length() < most, "it was laid further");
        }
        store.close().await.unwrap();
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, texts.len() as u64);
        assert!(store.report().damaged == 0 && !store.report().shortened, "{}", store.report());
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn the_sync_of_one_session_keeps_no_other_waiting() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        // Only to encode with: its own threads have ended.
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        store.close().await.unwrap();
        let opened = Folder::existing(&path).unwrap();
        let found = recovery::recover(&opened, 1 << 20).unwrap();
        let core = Arc::new(Core::new(opened, found.ledger, found.index, 0, 0, 1 << 20));
        let mut writer = Writer::new(Arc::clone(&core), found.segment, found.at, found.ready);
        let mut scripts = [Script::new(1), Script::new(2)];
        let mut answers = Vec::new();
        for (session, durability) in [(0, Durability::Disk), (1, Durability::Process), (0, Durability::Process)] {
            let mut commit = scripts[session].say("text");
            commit.durability = durability;
            let (mut job, claims) = store.encode(&mut commit).unwrap();
            let (done, answer) = oneshot::channel();
            job.done = Some(done);
            core.lock().enqueue(job, claims);
            answers.push(answer);
        }
        let batch = std::mem::take(&mut core.lock().queue);
        writer.serve(batch);
        let mut levels = Vec::new();
        for answer in answers {
            levels.push(answer.await.unwrap().unwrap().durability);
        }
        // What is answered before the sync has not the level of what is answered behind it.
        assert_eq!(levels, [Durability::Disk, Durability::Process, Durability::Disk]);
    }
}
