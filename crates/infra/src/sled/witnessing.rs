//! The store's side of keyed roots: who attests, what was found at opening, and what settles it.
//!
//! Must not know: how a root is made, or where in the log it stands.

use std::{fmt, path::Path, sync::Arc};

use sessions_ports::{BackendError, BackendErrorKind, HeadWitness, StoreError};

use super::{
    SledOptions, SledStore, folder, recovery,
    roots::{Attesting, Sum},
};
use crate::counted::counted;

const ATTESTING: &str = "attesting the sessions' heads";

fn refused(why: &'static str) -> StoreError {
    BackendError::new(BackendErrorKind::Unavailable, ATTESTING, why).into()
}

impl SledStore {
    /// Gives the store a witness, who attests the heads of all sessions with each batch from here on, and holds the last root in the log
    /// against how the sessions stand now. It comes after opening and before the first commit, once. Takes two keyed hashes for each session, and waits for the
    /// disk only where the last root is not known without reading the log.
    ///
    /// A mismatch refuses nothing, since what was acknowledged has to stay readable. It says that somebody without the key changed the log, or that
    /// damage took the end of a session. All roots from here on say so too, and each later opening reports [`Doubt::Standing`](super::Doubt), until
    /// [`Self::settle_roots`] or a repair with the key ends that. A host shows it to a person, takes no new
    /// words on the strength of what it reads without their consent, and has them compare with a backup or an anchor.
    ///
    /// # Errors
    /// [`StoreError::Closed`] or [`StoreError::Poisoned`], the system's, and one of kind [`BackendErrorKind::Unavailable`] when the store was written to
    /// or has a witness already.
    pub fn witness(&self, witness: Arc<dyn HeadWitness>) -> Result<WitnessReport, StoreError> {
        let core = self.core();
        let (mut trail, sum, mut found) = {
            let mut ledger = core.lock();
            ledger.check_open()?;
            if ledger.roots.has_witness || ledger.roots.has_begun {
                return Err(refused("the witness comes once, and before the first commit; open the store anew"));
            }
            ledger.roots.has_witness = true;
            let trail = ledger.roots.trail.take().unwrap_or_default();
            let sum = Sum::of(&ledger, witness.as_ref());
            let found = trail.judge(&ledger, sum, witness.as_ref());
            (trail, sum, found)
        };
        if trail.is_partial && found != WitnessReport::Confirmed {
            trail = recovery::trail(&core.folder)?;
            found = trail.judge(&core.lock(), sum, witness.as_ref());
        }
        let is_doubted = !found.is_sound();
        let owes_mark = !matches!(found, WitnessReport::Confirmed | WitnessReport::Empty);
        let root = trail.current.filter(|_| found == WitnessReport::Confirmed);
        let attesting = Attesting::new(witness, sum, is_doubted, owes_mark);
        let mut ledger = core.lock();
        if ledger.roots.has_begun {
            return Err(refused("the store was written to before its witness was there; open it anew"));
        }
        (ledger.roots.given, ledger.roots.synced) = (Some((attesting, root)), root);
        drop(ledger);
        core.wake_writer();
        Ok(found)
    }

    /// Takes how the sessions stand for right: from here on roots attest it without a doubt. For a person who looked, for a store that was
    /// written without a key until now, and after a repair. Without a witness nothing happens. It is in the log with the next batch, or at once when nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Poisoned`].
    pub fn settle_roots(&self) -> Result<(), StoreError> {
        let mut ledger = self.core().lock();
        ledger.check_open()?;
        ledger.roots.is_settling = ledger.roots.has_witness;
        drop(ledger);
        self.core().wake_writer();
        Ok(())
    }

    /// Opens a store that was repaired, and attests it as it is.
    pub(super) fn attest_anew(path: &Path, witness: Arc<dyn HeadWitness>) -> Result<(), StoreError> {
        let store =
            Self::open_blocking(path, SledOptions { sealing: folder::sealing_of(path), ..SledOptions::default() })?;
        let settled = store.witness(witness).and_then(|_| store.settle_roots());
        let closed = store.inner.shut();
        settled.and(closed)
    }
}

/// What the heads of all sessions are to the last root in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessReport {
    /// The log is empty, so there is nothing to attest. In a store that is known to have held something, that is a rolled back one.
    Empty,
    /// They are the attested ones. That the whole store was put back to an earlier state, this cannot tell: an anchor or a receipt does.
    Confirmed,
    /// The last batch was cut short by a kill or a power cut: so many of its appends are there, and all before it is as attested. Nobody
    /// was promised the others at `disk`.
    Unfinished {
        /// Appends of that batch that are there.
        appends: u64,
    },
    /// They are not the attested ones.
    Mismatch(Doubt),
    /// The log holds records and no root at all: it was written without the key, or roots were taken out.
    Missing,
}

/// Why heads are not believed to be those that were written with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The last root is over others: sessions were put back or taken out, or damage took the last records of some.
    Heads,
    /// Appends stand behind the last root that it does not count in.
    Unattested {
        /// How many.
        appends: u64,
        /// All of them say that they are a repair's, which then was made without the key.
        by_repair: bool,
    },
    /// An earlier opening found one of the others, or roots that were missing; what was written since is as attested.
    Standing,
}

impl WitnessReport {
    /// Whether nothing is wrong. [`Self::Empty`] is sound where nothing was ever written.
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Empty | Self::Confirmed | Self::Unfinished { .. })
    }
}

impl fmt::Display for WitnessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing is attested, as nothing is written"),
            Self::Confirmed => f.write_str("all sessions stand as they were attested"),
            Self::Unfinished { appends } => {
                let appends = counted(*appends, "append");
                write!(f, "a batch was cut short; {appends} of it stand, and all sessions before it as attested")
            }
            Self::Mismatch(doubt) => doubt.fmt(f),
            Self::Missing => f.write_str("records stand in the log that nothing attests; run `verify`"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heads => f.write_str(
                "sessions do not stand as they were attested: a session was put back or taken out, or is damaged; run `verify`, and \
                 compare with a backup",
            ),
            Self::Unattested { appends, by_repair: true } => {
                let appends = counted(*appends, "append");
                write!(f, "a repair without the key wrote {appends}; run `verify`, then `repair` with the key")
            }
            Self::Unattested { appends, by_repair: false } => {
                write!(f, "{} behind the last attested one were written without the key; run `verify`", counted(*appends, "append"))
            }
            Self::Standing => f.write_str(
                "sessions once did not stand as they were attested, and nobody settled that; run `verify`, then `repair` with the key",
            ),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use sessions_domain::Kind;
    use sessions_ports::{
        Commit, Durability, KindFilter, Link, Order, ReadRange, Record, Removal, Rewrite, SecretKey, SessionLog as _,
        StoreId,
    };
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        sealing::KeyedWitness,
        sled::{
            Anchor, AnchorCheck, AnchorUnknown, BackupProgress, Doubt, changes::Changes, folder::Folder, frame,
            index::Index, ledger::Ledger, repair, repair_with, replay::Replay, restore_backup, roots::Root, segment,
        },
    };

    /// A witness with a key of this byte.
    pub(crate) fn keyed(byte: u8) -> Arc<KeyedWitness> {
        Arc::new(KeyedWitness::new(&SecretKey::take(&mut [byte; 32])).unwrap())
    }

    pub(crate) async fn open(path: &Path) -> SledStore {
        SledStore::open(path, SledOptions::default()).await.unwrap()
    }

    pub(crate) async fn attested(path: &Path) -> (SledStore, WitnessReport) {
        let store = open(path).await;
        let found = store.witness(keyed(7)).unwrap();
        (store, found)
    }

    pub(crate) fn at_disk(commit: Commit) -> Commit {
        Commit { durability: Durability::Disk, ..commit }
    }

    /// What the log alone says, without anything being changed.
    pub(crate) fn of_log(folder: &Folder) -> WitnessReport {
        let witness = keyed(7);
        let mut replay = Replay::new(folder, segment::numbers(&folder.log()).unwrap()).unwrap();
        replay.is_live = true;
        let mut ledger = Ledger::default();
        replay.run(0, &mut ledger).unwrap();
        replay.trail.judge(&ledger, Sum::of(&ledger, witness.as_ref()), witness.as_ref())
    }

    async fn holds(store: &SledStore, script: &Script) {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: 1, to: 9999, order, kinds, max_records: 9999, max_bytes: 64 << 20 };
        assert!(store.read(script.session(), range).await.unwrap().records == script.written());
    }

    /// What is removed, inherited, large, many, at all levels, and side by side.
    async fn lives(store: &SledStore, scripts: &mut [Script; 6]) {
        let [first, second, large, gone, kept, heir] = scripts;
        for count in 0..5 {
            store.commit(first.say("volatile")).await.unwrap();
            store.commit(Commit { durability: Durability::Process, ..second.say("process") }).await.unwrap();
            let (one, other) = (at_disk(first.say_many(3)), at_disk(second.say("disk")));
            let big = at_disk(large.say(&"large ".repeat(20_000 * count)));
            let done = tokio::join!(store.commit(one), store.commit(other), store.commit(big));
            assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok());
        }
        if gone.version() > 0 {
            return;
        }
        for script in [&mut *gone, &mut *kept] {
            store.commit(at_disk(script.say_many(4))).await.unwrap();
        }
        let links = vec![Link { owner: kept.session(), last: 2 }];
        store.commit(Commit { links, ..at_disk(heir.say("inherits")) }).await.unwrap();
        for script in [gone, kept] {
            let removal =
                |durability| Removal { session: script.session(), expected: None, keep_key: false, durability };
            let twice = tokio::join!(
                store.remove(removal(Durability::Volatile)),
                store.remove(removal(Durability::Disk)),
                store.commit(first.say("beside it"))
            );
            assert!(twice.0.unwrap().was_there | twice.1.unwrap().was_there && twice.2.is_ok());
        }
    }

    fn six() -> [Script; 6] {
        [Script::new(1), Script::new(2), Script::new(3), Script::new(4), Script::new(5), Script::starting_at(6, 3)]
    }

    #[tokio::test]
    async fn an_honest_store_is_confirmed_however_it_is_opened() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (mut store, found) = attested(&path).await;
        assert_eq!(found, WitnessReport::Empty);
        let mut scripts = six();
        for round in 0..6 {
            lives(&store, &mut scripts).await;
            let [first, second, large, ..] = &scripts;
            for script in [first, second, large] {
                holds(&store, script).await;
            }
            store.close().await.unwrap();
            drop(store);
            assert_eq!(of_log(&Folder::existing(&path).unwrap()), WitnessReport::Confirmed);
            if round == 2 {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            if round == 3 {
                // Without the key, which leaves a mark that has no root.
                open(&path).await.close().await.unwrap();
            }
            let found;
            (store, found) = attested(&path).await;
            assert_eq!(found, WitnessReport::Confirmed, "round {round}");
            for script in &scripts[..3] {
                holds(&store, script).await;
            }
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_store_without_roots_is_told_from_one_that_has_them_until_that_is_settled() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let mut script = Script::new(1);
        let store = open(&path).await;
        store.commit(at_disk(script.say("without a key"))).await.unwrap();
        assert!(store.witness(keyed(7)).is_err(), "it was written to");
        store.close().await.unwrap();
        drop(store);
        for expected in [WitnessReport::Missing, WitnessReport::Mismatch(Doubt::Standing)] {
            let (store, found) = attested(&path).await;
            assert_eq!(found, expected);
            assert!(store.witness(keyed(7)).is_err(), "it has one");
            store.commit(at_disk(script.say("with it"))).await.unwrap();
            holds(&store, &script).await;
            store.close().await.unwrap();
        }
        let (store, _) = attested(&path).await;
        store.settle_roots().unwrap();
        store.close().await.unwrap();
        drop(store);
        let (store, found) = attested(&path).await;
        assert_eq!(found, WitnessReport::Confirmed);
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        assert_eq!(store.witness(keyed(8)).unwrap(), WitnessReport::Mismatch(Doubt::Heads), "another key");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_without_the_key_is_told() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let mut script = Script::new(1);
        let (store, _) = attested(&path).await;
        store.commit(at_disk(script.say("with the key"))).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        store.commit(at_disk(script.commit(&[(Kind::APPENDED, 0, b"without it")]))).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let (store, found) = attested(&path).await;
        assert_eq!(found, WitnessReport::Mismatch(Doubt::Unattested { appends: 1, by_repair: false }));
        holds(&store, &script).await;
        store.close().await.unwrap();
    }

    /// What a check with the key says of roots and of heads.
    fn about_roots(path: &Path) -> Vec<String> {
        let report = crate::sled::verify_with(path, keyed(7).as_ref()).unwrap();
        let told = report.findings.into_iter().map(|found| found.to_string());
        told.filter(|what| !what.ends_with("does not parse")).collect()
    }

    #[tokio::test]
    async fn space_that_comes_back_takes_no_attested_head_along() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        let (mut gone, mut left, mut filling) = (Script::new(1), Script::new(2), Script::new(3));
        let remove = async |store: &SledStore, script: &Script| {
            let (session, durability) = (script.session(), Durability::Disk);
            store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
        };
        for _ in 0..4 {
            let (one, other) = (gone.say(&"goes ".repeat(10_000)), left.say("stays"));
            let done = tokio::join!(store.commit(at_disk(one)), store.commit(at_disk(other)));
            assert!(done.0.is_ok() && done.1.is_ok());
        }
        let early = store.anchor().unwrap();
        // So much that the log goes on to the next segment.
        for _ in 0..300 {
            store.commit(filling.commit(&[(Kind::APPENDED, 0, &vec![b'y'; 60_000])])).await.unwrap();
        }
        store.commit(at_disk(left.say("at the end"))).await.unwrap();
        remove(&store, &gone).await;
        remove(&store, &filling).await;
        assert!(store.reclaim().await.unwrap().segments > 0);
        assert_eq!(store.check_anchor(&store.anchor().unwrap()).unwrap(), AnchorCheck::Fresh);
        assert_ne!(store.check_anchor(&early).unwrap(), AnchorCheck::RolledBack { end: 0 });
        store.commit(at_disk(left.say("and on"))).await.unwrap();
        store.close().await.unwrap();
        let anchor = store.anchor().unwrap();
        drop(store);
        for is_lost in [false, true] {
            if is_lost {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            let (store, found) = attested(&path).await;
            assert_eq!(found, WitnessReport::Confirmed);
            holds(&store, &left).await;
            assert_eq!(store.check_anchor(&anchor).unwrap(), AnchorCheck::Fresh);
            store.close().await.unwrap();
            drop(store);
            assert_eq!(about_roots(&path), Vec::<String>::new());
        }
        let roots = crate::sled::verify_with(&path, keyed(7).as_ref()).unwrap().roots;
        assert!(roots.unknown > 0 && roots.agreed > 0, "{roots:?}");
        assert_eq!(roots.found, roots.agreed + roots.unknown, "{roots:?}");
    }

    #[tokio::test]
    async fn a_backup_is_attested_as_the_store_was() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        let mut scripts = six();
        lives(&store, &mut scripts).await;
        let file = ground.path().join("backup");
        store.backup(&file, &BackupProgress::default()).await.unwrap();
        let anchor = store.anchor().unwrap();
        store.commit(at_disk(scripts[0].say("behind it"))).await.unwrap();
        let later = store.anchor().unwrap();
        store.close().await.unwrap();
        let restored = ground.path().join("restored");
        restore_backup(&file, &restored, &BackupProgress::default()).unwrap();
        let (store, found) = attested(&restored).await;
        assert_eq!(found, WitnessReport::Confirmed);
        assert_eq!(store.check_anchor(&anchor).unwrap(), AnchorCheck::Fresh);
        assert!(
            matches!(store.check_anchor(&later).unwrap(), AnchorCheck::RolledBack { .. }),
            "a backup is an older state"
        );
        store.close().await.unwrap();
        drop(store);
        assert_eq!(about_roots(&restored), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_repair_with_the_key_attests_what_is_there_and_one_without_it_is_told() {
        for (with_key, whole) in [(true, false), (false, false), (true, true)] {
            let ground = TempDir::new().unwrap();
            let path = ground.path().join("store");
            let (store, _) = attested(&path).await;
            let mut scripts = six();
            lives(&store, &mut scripts).await;
            store.close().await.unwrap();
            drop(store);
            let file = path.join("log/00000001.seg");
            let mut log = fs::read(&file).unwrap();
            if !whole {
                // A record in the middle, and the last one of a session.
                let starts: Vec<usize> =
                    log.windows(4).enumerate().filter(|(_, bytes)| *bytes == frame::MAGIC).map(|(at, _)| at).collect();
                let last =
                    starts.iter().rfind(|at| log[**at + 8..**at + 24] == scripts[1].session().to_bytes()).unwrap();
                for at in [starts[5], *last] {
                    log[at + 60..at + 90].fill(0xee);
                }
                fs::write(&file, &log).unwrap();
                let (store, found) = attested(&path).await;
                // The index knows where the log ended, and nothing before that is read.
                assert_eq!(found, WitnessReport::Confirmed);
                store.close().await.unwrap();
                drop(store);
            }
            let repaired = match with_key {
                true => repair_with(&path, false, keyed(7)).unwrap(),
                false => repair(&path, false).unwrap(),
            };
            assert_eq!(repaired.actions.is_empty(), whole);
            let told = repaired.actions.iter().any(|action| action.what.contains("keyed root"));
            assert_eq!(told, with_key && !whole);
            let findings = about_roots(&path);
            let is_told = findings.iter().any(|what| what.contains("without the key"));
            assert_eq!(is_told, !with_key, "{findings:#?}");
            assert!(!findings.iter().any(|what| what.contains("do not stand")), "{findings:#?}");
            let (store, found) = attested(&path).await;
            let by_repair = WitnessReport::Mismatch(Doubt::Unattested { appends: 2, by_repair: true });
            assert_eq!(found, if with_key { WitnessReport::Confirmed } else { by_repair });
            store.close().await.unwrap();
            drop(store);
            // With the key a repair settles that too.
            repair_with(&path, false, keyed(7)).unwrap();
            let (store, found) = attested(&path).await;
            assert_eq!(found, WitnessReport::Confirmed);
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_anchor_holds_in_whatever_a_power_cut_leaves() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        assert_eq!(store.anchor(), None);
        let mut scripts = six();
        let left = ground.path().join("left");
        for name in ["", "log", "quarantine"] {
            fs::create_dir(left.join(name)).unwrap();
        }
        fs::copy(path.join("FORMAT"), left.join("FORMAT")).unwrap();
        let mut anchors = Vec::new();
        for round in 0_usize..60 {
            let level = [Durability::Volatile, Durability::Process, Durability::Disk][round % 3];
            let script = &mut scripts[round % 5];
            store.commit(Commit { durability: level, ..script.say("some text") }).await.unwrap();
            anchors.extend(store.anchor());
            // All that is not synced is lost, but for some bytes of it.
            let synced =
                usize::try_from(store.core().synced_position.load(std::sync::atomic::Ordering::Acquire)).unwrap();
            let mut log = fs::read(path.join("log/00000001.seg")).unwrap();
            let rest = log.len().min(synced + round);
            log.truncate(rest);
            fs::write(left.join("log/00000001.seg"), &log).unwrap();
            for anchor in &anchors {
                assert_eq!(crate::sled::check_anchor(&left, anchor).unwrap(), AnchorCheck::Fresh, "{round}");
            }
            assert!(of_log(&Folder::existing(&left).unwrap()).is_sound());
        }
        assert!(anchors.len() > 20);
        let other = Anchor { store: StoreId([0; 16]), ..anchors[0] };
        assert_eq!(store.check_anchor(&other).unwrap(), AnchorCheck::Unknown(AnchorUnknown::OtherStore));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn an_older_index_is_no_way_around_the_log() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let mut script = Script::new(1);
        let (store, _) = attested(&path).await;
        store.commit(at_disk(script.say("early"))).await.unwrap();
        store.close().await.unwrap();
        let early = store.core().lock().roots.synced.unwrap();
        drop(store);
        let (index, kept) = (path.join("index"), ground.path().join("kept"));
        fs::rename(&index, &kept).unwrap();
        let (store, _) = attested(&path).await;
        store.commit(at_disk(script.say("late"))).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let end = fs::metadata(path.join("log/00000001.seg")).unwrap().len();
        let moved = Root::closed(end - u64::from(early.length), early.length, early.root);
        for root in [None, Some(early), Some(moved)] {
            fs::remove_dir_all(&index).unwrap();
            let copied = std::process::Command::new("cp").arg("-a").args([&kept, &index]).status();
            assert!(copied.unwrap().success());
            // Whoever puts it back lets it say that it knows the whole log.
            let (forged, _) = Index::open(&index, 1 << 20).unwrap();
            forged.apply_up_to(Changes::default(), end, root).unwrap();
            forged.close().unwrap();
            let store = open(&path).await;
            assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 1);
            assert_eq!(store.witness(keyed(7)).unwrap(), WitnessReport::Mismatch(Doubt::Heads));
            // Nothing of this trial is kept.
            let log = fs::read(path.join("log/00000001.seg")).unwrap();
            store.close().await.unwrap();
            fs::write(path.join("log/00000001.seg"), &log[..usize::try_from(end).unwrap()]).unwrap();
        }
    }

    #[tokio::test]
    async fn rewritten_records_and_their_space_change_no_attested_head() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        let mut scripts = six();
        for _ in 0..3 {
            lives(&store, &mut scripts).await;
        }
        let early = store.anchor().unwrap();
        let mut anchors = vec![early];
        for round in 0..3_u8 {
            for script in &scripts[..3] {
                // Every second record, and the last one.
                let is_meant = |record: &&Record| record.seq.is_multiple_of(2) || record.seq == script.version();
                let sealed_anew = |record: &Record| Record { payload: vec![round; 300].into(), ..record.clone() };
                let records = script.written().iter().filter(is_meant).map(sealed_anew).collect();
                let (session, durability) = (script.session(), Durability::Disk);
                let (expected, words, unlink) = (None, None, Vec::new());
                store.rewrite(Rewrite { session, expected, records, words, unlink, durability }).await.unwrap();
            }
            anchors.extend(store.anchor());
            store.commit(at_disk(scripts[0].say("and on"))).await.unwrap();
            if round > 0 {
                store.reclaim_all().await.unwrap();
            }
            for anchor in &anchors {
                let found = store.check_anchor(anchor).unwrap();
                assert!(!matches!(found, AnchorCheck::RolledBack { .. }), "{found:?}");
            }
        }
        assert_eq!(store.check_anchor(&store.anchor().unwrap()).unwrap(), AnchorCheck::Fresh);
        store.close().await.unwrap();
        drop(store);
        for is_lost in [false, true] {
            assert_eq!(about_roots(&path), Vec::<String>::new());
            if is_lost {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            let (store, found) = attested(&path).await;
            assert_eq!(found, WitnessReport::Confirmed);
            store.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_last_root_is_not_given_back_with_the_append_that_carries_it() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, _) = attested(&path).await;
        let (mut gone, mut left, mut busy) = (Script::new(1), Script::new(2), Script::new(3));
        let (long, durability) = ("x".repeat(60_000), Durability::Disk);
        for script in [&mut gone, &mut left, &mut busy] {
            store.commit(at_disk(script.say("begins"))).await.unwrap();
        }
        // The writer waits with the first one, so that the others are one batch.
        let ((go_on, held), (told, is_held)) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        store.core().hook("writing", move |_| {
            told.send(()).unwrap();
            held.recv().unwrap();
        });
        let removal = Removal { session: gone.session(), expected: None, keep_key: false, durability };
        let done = tokio::join!(
            biased;
            store.commit(at_disk(busy.say("one"))),
            async { is_held.recv().unwrap() },
            store.commit(at_disk(gone.say(&long))),
            store.remove(removal),
            store.commit(at_disk(left.say("stays"))),
            async { go_on.send(()).unwrap() }
        );
        assert!(done.0.is_ok() && done.2.is_ok() && done.3.is_ok() && done.4.is_ok());
        let reclaimed = store.reclaim_all().await.unwrap();
        assert!(reclaimed.bytes > 50_000, "{reclaimed:?}");
        // As a kill leaves it.
        let after = ground.path().join("after");
        fs::create_dir_all(after.join("quarantine")).unwrap();
        fs::create_dir(after.join("log")).unwrap();
        fs::copy(path.join("FORMAT"), after.join("FORMAT")).unwrap();
        for segment in fs::read_dir(path.join("log")).unwrap().map(Result::unwrap) {
            fs::copy(segment.path(), after.join("log").join(segment.file_name())).unwrap();
        }
        assert_eq!(of_log(&Folder::existing(&after).unwrap()), WitnessReport::Confirmed);
        store.close().await.unwrap();
        drop(store);
        assert_eq!(about_roots(&path), Vec::<String>::new());
    }
}
