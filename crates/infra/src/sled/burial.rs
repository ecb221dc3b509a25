//! Removed sessions in the index: what it holds of them goes, and that they were removed comes in its place.
//!
//! The names of their large bodies stay until those are removed, so that none is forgotten.
//!
//! Must not know: segments, who asked for a removal.

use std::sync::PoisonError;

use sessions_domain::SessionId;

use super::{
    changes::Changes,
    core::Core,
    index::{self, BLOB, CLAIM, Index, IndexFailure, LINKS, ROW, RUN, VIEW, WORDS},
    locator,
};

/// What the index has to know of a removed session now.
struct Burial {
    session: SessionId,
    version: u64,
    key: Option<[u8; 32]>,
    old_key: Option<[u8; 32]>,
    /// Records up to this one stay.
    kept: u64,
    new_blobs: Vec<(u64, [u8; 32])>,
    is_swept: bool,
}

/// Takes a removed session out of the index, once its removal is synced.
pub(super) fn bury(core: &Core, session: SessionId) -> Result<(), IndexFailure> {
    let Some(burial) = of(core, session) else { return Ok(()) };
    let slot = core.index.read().unwrap_or_else(PoisonError::into_inner);
    let Some(index) = slot.as_ref() else { return Ok(()) };
    let (mut changes, mut dead) = (Changes::default(), Vec::new());
    for prefix in [WORDS, CLAIM, LINKS] {
        index.about(prefix, session)?.into_iter().for_each(|(key, value)| changes.take_out(key, &value));
    }
    index.about(VIEW, session)?.into_iter().for_each(|(key, _)| changes.forget_view(key));
    if burial.kept == 0 {
        index.about(ROW, session)?.into_iter().for_each(|(key, value)| changes.take_out(key, &value));
        for (key, value) in index.about(RUN, session)? {
            dead.extend(locator::run(&value).unwrap_or_default());
            changes.take_out(key, &value);
        }
    }
    free_key(index, &mut changes, &burial)?;
    let bodies = blobs(index, &mut changes, &burial)?;
    if !index.has_grave(session)? {
        changes.grave(session, burial.version, burial.key.as_ref());
    }
    index.apply(changes, index.position())?;
    index.forget_runs(session);
    drop(slot);
    let mut ledger = core.lock();
    ledger.dead_bodies += bodies;
    for locator in dead {
        *ledger.dead.entry(locator.segment).or_default() += u64::from(locator.length);
    }
    if let Some(grave) = ledger.graves.get_mut(&session) {
        grave.is_buried = grave.is_swept == burial.is_swept;
        grave.old_key = None;
        grave.new_blobs.clear();
    }
    if let Some(log) = ledger.sessions.get_mut(&session) {
        log.indexed_words = None;
    }
    Ok(())
}

/// What is to be done about a removed session; `None`: nothing, or not yet.
fn of(core: &Core, session: SessionId) -> Option<Burial> {
    let ledger = core.lock();
    let is_kept = ledger.sessions.contains_key(&session);
    let kept = if is_kept { ledger.kept_on_disk(session).max(1) } else { 0 };
    let grave = ledger.graves.get(&session).filter(|grave| grave.is_synced && !grave.is_buried)?;
    Some(Burial {
        session,
        version: grave.version,
        key: grave.key.as_deref().copied(),
        old_key: grave.old_key.as_deref().copied(),
        kept,
        new_blobs: grave.new_blobs.clone(),
        is_swept: grave.is_swept,
    })
}

fn free_key(index: &Index, changes: &mut Changes, burial: &Burial) -> Result<(), IndexFailure> {
    let Some(key) = burial.old_key else { return Ok(()) };
    // Another session may have it since.
    if index.holder(&key)? == Some(burial.session) {
        changes.free_key(key, burial.session);
    }
    Ok(())
}

/// How many large bodies are known to be dead now.
fn blobs(index: &Index, changes: &mut Changes, burial: &Burial) -> Result<usize, IndexFailure> {
    let known = index.about(BLOB, burial.session)?;
    if burial.is_swept {
        let is_dead = |key: &[u8]| index::blob_in(key).is_some_and(|(_, seq, _)| seq > burial.kept);
        known.into_iter().filter(|(key, _)| is_dead(key)).for_each(|(key, value)| changes.take_out(key, &value));
        return Ok(0);
    }
    let is_new = |(seq, name): &&(u64, [u8; 32])| {
        !known.iter().any(|(key, _)| index::blob_in(key).is_some_and(|(_, at, known)| (at, known) == (*seq, *name)))
    };
    burial.new_blobs.iter().filter(is_new).for_each(|(seq, name)| changes.blob(*name, burial.session, *seq));
    let is_dead = |key: &[u8]| index::blob_in(key).is_some_and(|(_, seq, _)| seq > burial.kept);
    Ok(known.iter().filter(|(key, _)| is_dead(key)).count())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use sessions_ports::{Commit, Durability, Removal, SessionLog as _, StoreError};
    use sessions_testkit::Script;
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::*;
    use crate::sled::{
        IndexReport, SledOptions, SledStore, checkpoint,
        folder::Folder,
        graves::Removing,
        index::{Contents, CoreRow},
        ledger::Ledger,
        locator::Locator,
        log_state::{Job, Spot},
    };

    async fn open(path: &Path) -> SledStore {
        SledStore::open(path, SledOptions::default()).await.unwrap()
    }

    fn removal(script: &Script, keep_key: bool) -> Removal {
        Removal { session: script.session(), expected: None, keep_key, durability: Durability::Disk }
    }

    /// What an index knows when it is opened again.
    fn known(core: &Core) -> Contents {
        let index = core.index.write().unwrap().take();
        index.map(Index::close).transpose().unwrap();
        let (index, contents) = Index::open(&core.folder.index(), 1 << 20).unwrap();
        *core.index.write().unwrap() = Some(index);
        contents
    }

    #[test]
    fn what_a_removal_that_may_be_lost_concerns_stays_in_the_index() {
        let ground = TempDir::new().unwrap();
        let folder = Folder::open(&ground.path().join("store"), || Ok([7; 16])).unwrap();
        let (index, _) = Index::open(&folder.index(), 1 << 20).unwrap();
        let core = Core::new(folder, Ledger::default(), Some(index), 0, 0, 1 << 20);
        let session = SessionId::from_parts(1, 1);
        let row = CoreRow { version: 1, ..CoreRow::none(1) };
        let spot = Spot { segment: 1, offset: 64, is_synced: false };
        let serve = |queue: fn(&mut Ledger, Job), job: Job| {
            let mut ledger = core.lock();
            queue(&mut ledger, job);
            let mut job = ledger.queue.pop_back().unwrap();
            ledger.written(&mut job, spot);
        };
        let made = Job {
            records: vec![(1, Locator { segment: 1, ..Locator::LOST })],
            words: Some(Bytes::from_static(b"words")),
            key: Some([5; 32]),
            begins: true,
            durability: Durability::Process,
            ..Job::bare(session, Bytes::from_static(b"frames"), row)
        };
        serve(|ledger, job| ledger.enqueue(job, Vec::new()), made);
        core.lock().synced(100);
        let (done, mut answer) = oneshot::channel();
        let removes = Some(Removing::new(false, done));
        let job = Job { removes, durability: Durability::Process, ..Job::bare(session, Bytes::from_static(b"f"), row) };
        serve(Ledger::enqueue_removal, job);
        assert!(core.lock().is_gone(session) && answer.try_recv().is_err(), "the writer answers");
        checkpoint::flush(&core).unwrap();
        let contents = known(&core);
        let words = contents.sessions[0].words.as_deref();
        assert_eq!((contents.graves.len(), words, contents.keys.len()), (0, Some(b"words".as_slice()), 1));
        assert!(!core.lock().is_clean(), "it is to be told later");
        core.lock().synced(200);
        checkpoint::flush(&core).unwrap();
        let contents = known(&core);
        assert_eq!((contents.sessions.len(), contents.keys.len()), (0, 0));
        assert_eq!(contents.graves, [(session, 1, None)]);
        assert!(core.lock().is_clean());
        assert_eq!(core.lock().sessions.len(), 0, "nothing of it is left in memory");
    }

    #[tokio::test]
    async fn a_key_that_is_claimed_again_is_one_entry_of_the_index() {
        for opens_between in [false, true] {
            let ground = TempDir::new().unwrap();
            let path = ground.path().join("store");
            let mut store = open(&path).await;
            let (mut first, mut second, mut third) = (Script::new(9), Script::new(2), Script::new(3));
            let keyed = |commit: Commit| Commit { key: Some([5; 32]), durability: Durability::Disk, ..commit };
            store.commit(keyed(first.say("first"))).await.unwrap();
            if opens_between {
                store.close().await.unwrap();
                drop(store);
                store = open(&path).await;
            }
            store.remove(removal(&first, false)).await.unwrap();
            store.commit(keyed(second.say("second"))).await.unwrap();
            store.remove(removal(&second, false)).await.unwrap();
            store.commit(keyed(third.say("third"))).await.unwrap();
            store.close().await.unwrap();
            drop(store);
            let store = open(&path).await;
            assert_eq!(store.report().index, IndexReport::Opened);
            assert_eq!(store.by_key([5; 32]).await.unwrap(), Some(third.session()));
            store.remove(removal(&third, true)).await.unwrap();
            store.close().await.unwrap();
            drop(store);
            let store = open(&path).await;
            assert_eq!(store.report().index, IndexReport::Opened);
            assert_eq!(store.by_key([5; 32]).await.unwrap(), Some(third.session()), "it was to be kept");
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn removed_sessions_stay_away_when_the_index_is_thrown_away_while_the_store_runs() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let (mut gone, mut left) = (Script::new(1), Script::new(2));
        for script in [&mut gone, &mut left] {
            store
                .commit(Commit { durability: Durability::Disk, ..script.say(&"large ".repeat(20_000)) })
                .await
                .unwrap();
            store.commit(script.say("small")).await.unwrap();
        }
        store.remove(removal(&gone, true)).await.unwrap();
        checkpoint::flush(store.core()).unwrap();
        crate::sled::recovery::set_index_aside(store.core());
        let check = async |store: &SledStore| {
            assert!(matches!(store.head(gone.session()).await, Err(StoreError::Gone { .. })));
            assert_eq!(store.head(left.session()).await.unwrap().unwrap().version, 2);
        };
        check(&store).await;
        assert_eq!(core_blobs(&store), 1, "the name of its large body is not forgotten");
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        assert_eq!(store.report().index, IndexReport::Opened);
        check(&store).await;
        store.close().await.unwrap();
    }

    fn core_blobs(store: &SledStore) -> usize {
        store.core().lock().graves.values().map(|grave| grave.new_blobs.len()).sum()
    }
}
