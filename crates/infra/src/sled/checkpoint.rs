//! Hands what the ledger holds to the index, in the background and in small pieces.
//!
//! The index may lag, fail or be lost at any time; nothing that was acknowledged depends on it.
//!
//! Must not know: segments.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{Digest, Link, StoredClaim};

use super::{
    burial,
    changes::Changes,
    core::Core,
    index::{CoreRow, Index, IndexFailure, Loaded},
    ledger::Ledger,
    locator::{Locator, RunBuilder},
    rearranged::Rearranged,
    reclaim,
};

/// So many records in memory are worth a checkpoint. Many at once are cheaper: a busy session's row is written once for all of them.
const RECORDS: usize = 1 << 17;
/// So many of each session, because with many sessions it is their rows that cost.
const EACH: usize = 32;
/// However many sessions there are, so many records are enough: they are in memory, and are read again when the process is killed.
const MOST_RECORDS: usize = 1 << 19;
/// So is a pause of the writers, and so long without one.
const PAUSE: Duration = Duration::from_millis(500);
const AGE: Duration = Duration::from_secs(5);
/// Operations of one batch: the engine holds a lock for as long as it applies one.
const OPERATIONS: usize = 1_000;
/// Sessions that are looked after under one hold of the ledger's lock, for which appends wait.
const AT_ONCE: usize = 16;
/// Syncs of the index are that far apart: they only bound how much log is read again after a power cut.
const SYNC_EVERY: Duration = Duration::from_secs(10);
/// A failed index is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);

/// What one session has for the index.
struct Part {
    session: SessionId,
    row: CoreRow,
    old_row: Option<CoreRow>,
    first: u64,
    locators: Vec<Locator>,
    words: Option<Bytes>,
    old_words: Option<Bytes>,
    snapshot: Option<Bytes>,
    claims: Vec<(Digest, StoredClaim)>,
    key: Option<Digest>,
    /// Who has the key in the index, because it was free again since.
    holder: Option<SessionId>,
    links: Vec<Link>,
    blobs: Vec<(u64, [u8; 32])>,
    rearranged: Option<Box<Rearranged>>,
}

/// Lets nobody wait for what will not happen any more, however the thread ends.
struct Ending<'a>(&'a Core);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.mended.send_replace(u64::MAX);
        self.0.lock().wanted_checkpoints.clear();
    }
}

/// Throws the index away that failed somebody who read, unless that has happened. `true`: there is none now.
fn answer_failure(core: &Core) -> bool {
    let Some(failed) = core.lock().failed_index.take() else { return false };
    let is_this = failed == core.generation.load(Ordering::Acquire);
    if is_this {
        super::recovery::set_index_aside(core);
    }
    core.mended.send_modify(|count| *count = count.wrapping_add(1));
    is_this
}

/// Keeps the index until the store is closed.
pub(crate) fn run(core: &Arc<Core>) {
    let ending = Ending(core);
    if contained(|| keep(core)).is_none() {
        tracing::warn!("the index is set aside until the store is opened again; the log goes on without it");
        if contained(|| super::recovery::set_index_aside(core)).is_none() {
            // The index may have taken what the ledger gave up, or not: nothing that is asked of the two can be answered any more.
            let mut ledger = core.lock();
            (ledger.poisoned, ledger.sync_wanted) = (true, true);
            drop(ledger);
            core.wake_writer();
        }
        drop(ending);
        let mut ledger = core.lock();
        while !ledger.closed {
            ledger = core.wait_for_checkpoint(ledger, AGE);
        }
    }
    // Who looked something up meanwhile does so again, and hears that the store is closed.
    core.generation.fetch_add(1, Ordering::AcqRel);
    let index = core.index.write().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Some(Err(failure))) = contained(|| index.map(Index::close)) {
        tracing::warn!(%failure, "the index did not close; it will be checked when it is opened");
    }
}

/// `None`: it panicked.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

fn keep(core: &Arc<Core>) {
    let (mut synced, mut tried) = (Instant::now(), Instant::now());
    let mut taken = 0;
    loop {
        let has_index = core.index.read().unwrap_or_else(PoisonError::into_inner).is_some();
        let closing = wait(core, has_index, taken);
        if answer_failure(core) {
            tried = Instant::now();
        }
        taken = core.lock().applied;
        let has_index = core.index.read().unwrap_or_else(PoisonError::into_inner).is_some();
        // What the log lost is known here, and without an index it is forgotten with the end of the process.
        if !has_index && (closing || tried.elapsed() >= RETRY) {
            tried = Instant::now();
            reopen(core);
        }
        #[cfg(test)]
        core.pass("keeping the index");
        let wanted = std::mem::take(&mut core.lock().wanted_checkpoints);
        let mut outcome = flush(core);
        drop(wanted);
        if closing || (outcome.is_ok() && synced.elapsed() > SYNC_EVERY) {
            outcome = outcome.and_then(|()| sync(core));
            synced = Instant::now();
        }
        if let Err(failure) = outcome {
            tracing::warn!(%failure, "the index is set aside; the log goes on without it");
            super::recovery::set_index_aside(core);
            tried = Instant::now();
        }
        if closing {
            return;
        }
        if reclaim::is_due(core)
            && let Err(error) = reclaim::reclaim(core, reclaim::Extent::Much)
        {
            tracing::warn!(%error, "the space of removed sessions is given back later");
            let mut ledger = core.lock();
            ledger.dead.clear();
            ledger.dead_bodies = 0;
        }
    }
}

/// Whether memory holds so much that the index has to take some of it. `taken`: how far the log was synced when it last did; what is not
/// synced does not go there, so without a sync since then there is nothing to take.
fn is_full(ledger: &Ledger, taken: u64) -> bool {
    let enough = (ledger.marked_count() * EACH).clamp(RECORDS, MOST_RECORDS);
    ledger.recent_records + ledger.rewrites.len() >= enough && ledger.applied > taken
}

/// Waits for something to do; `true`: the writer is through and the store closes.
fn wait(core: &Core, has_index: bool, taken: u64) -> bool {
    let mut ledger = core.lock();
    let begun = Instant::now();
    let mut seen = ledger.changes_made();
    loop {
        if ledger.closed {
            return true;
        }
        if ledger.failed_index.is_some() || !ledger.wanted_checkpoints.is_empty() {
            return false;
        }
        if (has_index && is_full(&ledger, taken)) || (begun.elapsed() >= AGE && !ledger.is_clean()) {
            return false;
        }
        ledger = core.wait_for_checkpoint(ledger, PAUSE);
        let now = ledger.changes_made();
        if now == std::mem::replace(&mut seen, now) && !ledger.is_clean() && !ledger.closed {
            return false;
        }
    }
}

fn sync(core: &Core) -> Result<(), IndexFailure> {
    core.index.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Ok(()), Index::sync)
}

/// Applies everything that the ledger has, session by session.
pub(crate) fn flush(core: &Core) -> Result<(), IndexFailure> {
    if core.index.read().unwrap_or_else(PoisonError::into_inner).is_none() {
        return Ok(());
    }
    let (mut left, position, root) = {
        let mut ledger = core.lock();
        (ledger.marked(), ledger.applied, ledger.roots.synced)
    };
    // Removed ones come first: what they leave may be claimed by others, which come behind them.
    let gone: Vec<SessionId> = {
        let ledger = core.lock();
        left.iter().copied().filter(|session| ledger.is_gone(*session)).collect()
    };
    for session in gone {
        if let Err(failure) = burial::bury(core, session) {
            core.lock().mark_again(left);
            return Err(failure);
        }
    }
    // The last one is taken first. In the order of their keys neighbours lie in one page of the engine.
    left.sort_unstable_by(|one, other| other.cmp(one));
    loop {
        let mut changes = Changes::default();
        let mut parts = Vec::new();
        while changes.operations < OPERATIONS {
            let Some(session) = left.pop() else { break };
            let part = taken(&mut core.lock(), session);
            if let Some(mut part) = part {
                if let Err(failure) = find_holder(core, &mut part).and_then(|()| rearrange(core, &mut changes, &part)) {
                    let mut ledger = core.lock();
                    ledger.mark_again(parts.iter().chain([&part]).map(|part: &Part| part.session).chain(left));
                    return Err(failure);
                }
                collect(&mut changes, &part);
                parts.push(part);
            }
        }
        let last = left.is_empty();
        let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.as_ref() else { return Ok(()) };
        // Only the last batch covers all that the position promises; before it the position stays where it was.
        let applied =
            if last { index.apply_up_to(changes, position, root) } else { index.apply(changes, index.position()) };
        let rearranged: Vec<SessionId> =
            parts.iter().filter(|part| part.rearranged.is_some()).map(|part| part.session).collect();
        if !rearranged.is_empty() {
            // Before the ledger forgets where they are: who asks the index from here on gets the new places.
            rearranged.into_iter().for_each(|session| index.forget_runs(session));
            core.rearranged.fetch_add(1, Ordering::AcqRel);
        }
        drop(slot);
        if let Err(failure) = applied {
            let mut ledger = core.lock();
            ledger.mark_again(parts.iter().map(|part| part.session).chain(left));
            return Err(failure);
        }
        for parts in parts.chunks(AT_ONCE) {
            let mut ledger = core.lock();
            parts.iter().for_each(|part| release(&mut ledger, part));
        }
        if last {
            core.checkpoints.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }
}

/// Who has the key of a session in the index.
fn find_holder(core: &Core, part: &mut Part) -> Result<(), IndexFailure> {
    let Some(key) = part.key else { return Ok(()) };
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    part.holder = slot.as_ref().map_or(Ok(None), |index| index.holder(&key))?;
    Ok(())
}

/// What was rewritten of a session changes what the index has of it.
fn rearrange(core: &Core, changes: &mut Changes, part: &Part) -> Result<(), IndexFailure> {
    let Some(rearranged) = &part.rearranged else { return Ok(()) };
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().map_or(Ok(()), |index| rearranged.collect(index, changes, part.session, part.first))
}

/// Takes a session's turn: what it has for the index now. What is not synced marks it anew.
fn taken(ledger: &mut Ledger, session: SessionId) -> Option<Part> {
    ledger.unmark(session);
    let part = take(ledger, session);
    let is_behind = ledger.sessions.get(&session).is_some_and(|log| log.synced < log.row.version);
    // Its turn among the removed ones comes the next time, when it was not one of them before.
    if is_behind || ledger.graves.get(&session).is_some_and(|grave| !grave.is_buried) {
        ledger.mark(session);
    }
    part
}

/// Copies what a session has for the index. Records that are not in a segment yet wait for the next time.
fn take(ledger: &Ledger, session: SessionId) -> Option<Part> {
    let log = ledger.sessions.get(&session)?;
    if !log.exists() {
        return None;
    }
    // An index never knows more than the disk, so what may still be lost waits for the next time.
    let synced = log.synced;
    if synced < log.row.first {
        return None;
    }
    let words_changed = log.synced_words != log.indexed_words;
    let count = usize::try_from(synced - log.flushed).unwrap_or(0);
    let rearranged = Rearranged::of(ledger, session);
    let moved = |seq| rearranged.as_ref().and_then(|rearranged| rearranged.moved.get(&seq)).map(|moved| moved.locator);
    let places = (log.flushed + 1..).zip(log.recent.iter().take(count));
    Some(Part {
        session,
        row: log.synced_row(),
        old_row: log.indexed,
        first: log.flushed + 1,
        locators: places.map(|(seq, place)| moved(seq).unwrap_or_else(|| place.locator())).collect(),
        words: log.synced_words.clone().filter(|_| words_changed),
        old_words: log.indexed_words.clone(),
        snapshot: log.snapshot.clone(),
        claims: log.claims.iter().filter(|(_, claim)| claim.version <= synced).copied().collect(),
        key: log.new_key,
        holder: None,
        links: log.links.clone(),
        blobs: log.new_blobs.iter().filter(|(seq, _)| *seq <= synced).copied().collect(),
        rearranged,
    })
}

fn collect(changes: &mut Changes, part: &Part) {
    let session = part.session;
    if part.old_row != Some(part.row) {
        changes.row(session, part.row, part.old_row);
    }
    let has_links = part.rearranged.as_ref().is_some_and(|rearranged| rearranged.has_links());
    if part.old_row.is_none() && !part.links.is_empty() && !has_links {
        changes.links(session, &part.links);
    }
    let mut run = RunBuilder::default();
    let mut first = part.first;
    for (seq, locator) in (part.first..).zip(&part.locators) {
        run.push(*locator);
        if run.is_full() {
            changes.run(session, first, &std::mem::take(&mut run).finish());
            first = seq + 1;
        }
    }
    if first < part.first + part.locators.len() as u64 {
        changes.run(session, first, &run.finish());
    }
    if let Some(words) = &part.words {
        changes.words(session, words, part.old_words.as_deref());
    }
    if let Some(snapshot) = &part.snapshot {
        changes.view(session, snapshot);
    }
    part.claims.iter().for_each(|(digest, claim)| changes.claim(session, *digest, *claim));
    part.key.iter().for_each(|key| changes.host_key(*key, session, part.holder));
    part.blobs.iter().for_each(|(seq, hash)| changes.blob(*hash, session, *seq));
}

/// Forgets what the index holds now.
fn release(ledger: &mut Ledger, part: &Part) {
    let Some(log) = ledger.sessions.get_mut(&part.session) else { return };
    let count = part.locators.len();
    log.recent.drain(..count);
    log.flushed += count as u64;
    log.runs = None;
    log.indexed = Some(part.row);
    if part.words.is_some() {
        log.indexed_words.clone_from(&part.words);
    }
    if log.snapshot == part.snapshot {
        log.snapshot = None;
    }
    log.claims.retain(|claim| !part.claims.contains(claim));
    log.new_key = None;
    log.new_blobs.retain(|blob| !part.blobs.contains(blob));
    ledger.recent_records = ledger.recent_records.saturating_sub(count);
    if let Some(rearranged) = &part.rearranged {
        rearranged.release(ledger, part.session);
    }
}

/// Begins a new index where there is none that can be used. Everything goes into it with the checkpoints to come.
pub(super) fn reopen(core: &Core) {
    if core.lock().left_index {
        if !is_known(core) {
            return;
        }
        core.lock().left_index = false;
    }
    if super::recovery::move_index(&core.folder).is_none() {
        return;
    }
    let Ok((index, _)) = Index::open(&core.folder.index(), core.cache_bytes) else { return };
    *core.index.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
    let mut ledger = core.lock();
    ledger.mark_all();
}

/// Whether the index that was left for want of space holds nothing that the store does not know without it.
fn is_known(core: &Core) -> bool {
    let (index, contents) = match Index::open(&core.folder.index(), core.cache_bytes) {
        Ok(opened) => opened,
        Err(failure) => return failure.refused().is_none(),
    };
    let ledger = core.lock();
    let knows = |loaded: &Loaded| {
        if ledger.is_gone(loaded.session) {
            return true;
        }
        let log = ledger.sessions.get(&loaded.session);
        log.is_some_and(|log| log.row.first == loaded.row.first && loaded.row.version <= log.row.version)
    };
    let is_known = index.position() <= ledger.applied
        && contents.sessions.iter().all(knows)
        && contents.graves.iter().all(|(session, ..)| ledger.is_gone(*session))
        && contents.keys.iter().all(|(key, holder)| ledger.is_gone(*holder) || ledger.keys.contains_key(key));
    drop(ledger);
    // The engine may be beyond closing; what it holds is thrown away all the same, or asked again.
    let _ = index.close();
    is_known
}

#[cfg(test)]
mod tests {
    use sessions_domain::CommitHash;
    use sessions_ports::Durability;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{
        folder::Folder,
        locator::Locator,
        log_state::{Job, Spot},
    };

    /// A store's parts without its threads.
    fn core() -> (TempDir, Core) {
        let ground = TempDir::new().unwrap();
        let folder = Folder::open(&ground.path().join("store"), || Ok([7; 16])).unwrap();
        let (index, _) = Index::open(&folder.index(), 1 << 20).unwrap();
        (ground, Core::new(folder, Ledger::default(), Some(index), 0, 0, 1 << 20))
    }

    /// An append of `count` records behind `before`, with these words.
    fn job(before: u64, count: u64, words: Option<&str>) -> Job {
        let place = Locator { segment: 1, ..Locator::LOST };
        let version = before + count;
        Job {
            session: SessionId::from_parts(1, 1),
            frames: Bytes::from_static(b"frames"),
            records: (before + 1..=version).map(|seq| (seq, place)).collect(),
            blobs: Vec::new(),
            bodies: Vec::new(),
            files: Vec::new(),
            behind: CommitHash::ZERO,
            row: CoreRow {
                first: 1,
                version,
                commit: CommitHash::ZERO,
                created: 1,
                updated: 1,
                messages: version,
                bytes: 0,
            },
            words: words.map(|words| Bytes::copy_from_slice(words.as_bytes())),
            snapshot: None,
            key: None,
            durability: Durability::Process,
            begins: before == 0,
            links: Vec::new(),
            removes: None,
            rewrites: None,
            done: None,
            visible: false,
            placed: false,
            added: 0,
        }
    }

    /// Queues a job and writes it.
    fn write(core: &Core, job: Job) {
        let mut ledger = core.lock();
        ledger.enqueue(job, Vec::new());
        let mut job = ledger.queue.pop_back().unwrap();
        ledger.written(&mut job, Spot { segment: 1, offset: 0, is_synced: false });
    }

    fn position(core: &Core) -> u64 {
        core.index.read().unwrap().as_ref().unwrap().position()
    }

    #[test]
    fn what_no_sync_has_reached_asks_for_no_checkpoint() {
        let (_ground, core) = core();
        write(&core, job(0, RECORDS as u64, None));
        assert!(!is_full(&core.lock(), 0), "nothing of it could go into the index");
        flush(&core).unwrap();
        assert!(!is_full(&core.lock(), 0));
        core.lock().synced(100);
        assert!(is_full(&core.lock(), 0));
        flush(&core).unwrap();
        assert_eq!(core.lock().recent_records, 0);
        write(&core, job(RECORDS as u64, RECORDS as u64, None));
        assert!(!is_full(&core.lock(), 100), "the same position is taken once");
    }

    #[test]
    fn nothing_is_written_beside_an_index_that_could_not_be_looked_at_until_it_is_known() {
        let (_ground, core) = core();
        write(&core, job(0, 2, None));
        core.lock().synced(100);
        flush(&core).unwrap();
        let (session, commit) = (SessionId::from_parts(1, 1), sessions_testkit::Script::new(7).say("another session"));
        for is_known in [false, true] {
            let index = core.index.write().unwrap().take();
            index.map(Index::close).transpose().unwrap();
            {
                let mut ledger = core.lock();
                ledger.left_index = true;
                // The log lost the second record, or did not.
                ledger.sessions.get_mut(&session).unwrap().row.version = if is_known { 2 } else { 1 };
            }
            assert!(matches!(core.lock().admit(&commit), Err(sessions_ports::StoreError::NoSpace { .. })));
            reopen(&core);
            assert_eq!(core.lock().admit(&commit).is_ok(), is_known);
            assert_eq!(core.index.read().unwrap().is_some(), is_known);
            assert_eq!(core.folder.quarantine().join("index").exists(), is_known);
        }
    }

    #[test]
    fn words_that_are_not_synced_hold_the_index_back_no_more() {
        let (_ground, core) = core();
        let session = SessionId::from_parts(1, 1);
        let mut version = 0;
        for round in 1..=20 {
            write(&core, job(version, 1, Some(&format!("words {round}"))));
            core.lock().synced(100 * round);
            // Somebody is always a step ahead of the sync.
            write(&core, job(version + 1, 1, Some(&format!("more words {round}"))));
            version += 2;
            flush(&core).unwrap();
            assert_eq!(
                position(&core),
                100 * round,
                "the index stays behind, and the next opening reads the log from there"
            );
            assert_eq!(
                core.lock().sessions[&session].indexed_words.as_deref(),
                Some(format!("words {round}").as_bytes())
            );
        }
    }

    #[test]
    fn the_index_gets_the_row_that_is_synced() {
        let (_ground, core) = core();
        let session = SessionId::from_parts(1, 1);
        let versions = |core: &Core| {
            let ledger = core.lock();
            let log = &ledger.sessions[&session];
            (log.row.version, log.synced_row().version, log.indexed.map(|row| row.version))
        };
        write(&core, job(0, 1, None));
        core.lock().synced(100);
        write(&core, job(1, 1, None));
        write(&core, job(2, 1, None));
        flush(&core).unwrap();
        assert_eq!(versions(&core), (3, 1, Some(1)));
        core.lock().synced(200);
        // Written and synced in one.
        let mut ledger = core.lock();
        ledger.enqueue(job(3, 2, None), Vec::new());
        let mut last = ledger.queue.pop_back().unwrap();
        ledger.written(&mut last, Spot { segment: 1, offset: 0, is_synced: true });
        drop(ledger);
        assert_eq!(versions(&core), (5, 5, Some(1)));
        flush(&core).unwrap();
        assert_eq!(versions(&core), (5, 5, Some(5)));
        assert_eq!(core.lock().recent_records, 0);
    }

    #[test]
    fn what_changes_while_a_session_is_taken_marks_it_anew() {
        let (_ground, core) = core();
        let session = SessionId::from_parts(1, 1);
        write(&core, job(0, 1, None));
        assert_eq!(core.lock().marked(), [session]);
        write(&core, job(1, 1, None));
        assert!(core.lock().is_clean(), "it is still to be taken, with what came now");
        core.lock().unmark(session);
        write(&core, job(2, 1, None));
        assert_eq!(core.lock().marked(), [session]);
        core.lock().mark_again([session]);
        write(&core, job(3, 1, None));
        assert_eq!(core.lock().marked(), [session], "once");
    }

    #[test]
    fn with_many_sessions_a_checkpoint_waits_for_more_of_each() {
        let (_ground, core) = core();
        let mut ledger = core.lock();
        let fill = |ledger: &mut Ledger, sessions: u128| {
            for number in 0..sessions {
                let mut job = job(0, 8, None);
                job.session = SessionId::from_parts(2, number);
                ledger.enqueue(job, Vec::new());
                let mut job = ledger.queue.pop_back().unwrap();
                ledger.written(&mut job, Spot { segment: 1, offset: 0, is_synced: true });
            }
            ledger.synced(100);
        };
        fill(&mut ledger, RECORDS as u128 / 8);
        assert_eq!(ledger.recent_records, RECORDS);
        assert!(!is_full(&ledger, 0), "eight of each session");
        ledger.recent_records = MOST_RECORDS - 1;
        assert!(!is_full(&ledger, 0));
        ledger.recent_records = MOST_RECORDS;
        assert!(is_full(&ledger, 0), "there is an end to it");
    }
}
