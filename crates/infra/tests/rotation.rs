//! Other keys for a sealed store: the records stay what they were, the old keys are dead, and whatever breaks it off it goes on.

#[cfg(test)]
#[path = "shared/copy.rs"]
mod copy;
#[cfg(test)]
#[path = "shared/keys.rs"]
mod keys;

#[cfg(test)]
mod rotation {
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use async_trait::async_trait;
    use bytes::Bytes;
    use sessions_domain::{Moment, SessionId};
    use sessions_infra::{
        MemoryStore,
        environment::SystemClock,
        keys::{FileKeyStore, MemoryKeyStore},
        sealing::{DataPass, DataStep, InPass, KeyStep, SealedStore},
        sled::{Sealing, SledOptions, SledStore},
    };
    use sessions_ports::{
        Durability, KeyError, KeyStore as _, KindFilter, Order, ReadRange, Record, Removal, SessionLog, SlotChange,
        StoreError,
    };
    use sessions_testkit::{FixedClock, FixedKey, Script, read_all};
    use tempfile::TempDir;

    use super::{
        copy::copy,
        keys::{Around, KeyCall, Keys},
    };

    struct Ground(TempDir);

    impl Ground {
        fn new() -> Self {
            Self(TempDir::new().unwrap())
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("store")
        }

        async fn open(&self, key: u8) -> Result<SealedStore, StoreError> {
            open(&self.path(), key).await
        }
    }

    async fn open(path: &Path, key: u8) -> Result<SealedStore, StoreError> {
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        let store = SledStore::open(path, options).await?;
        let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await?;
        let log: Arc<dyn SessionLog> = Arc::new(store.clone());
        let sealed = SealedStore::open_or_create(log, Arc::new(keys), &FixedKey(key), Arc::new(SystemClock)).await;
        if sealed.is_err() {
            store.close().await.unwrap();
        }
        sealed
    }

    fn everything() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 7, max_bytes: usize::MAX }
    }

    async fn filled(store: &SealedStore, number: u64, records: usize) -> (Script, Vec<Record>) {
        let mut script = Script::new(number);
        for at in 0..records {
            store.commit(script.say(&format!("record {at} of {number}"))).await.unwrap();
        }
        let records = read_all(store, script.session(), everything()).await.unwrap();
        (script, records)
    }

    #[tokio::test]
    async fn with_another_key_everything_is_read_and_the_old_one_opens_nothing() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let mut all = Vec::new();
        for number in 1..=100 {
            all.push(filled(&store, number, 3).await);
        }
        let mut steps = Vec::new();
        let rotated = store.rotate(&FixedKey(2), |step| steps.push(step)).await.unwrap();
        assert!(rotated.slots >= 100 && rotated.damaged == 0, "{rotated:?}");
        assert_eq!((steps.first(), steps.last()), (Some(&KeyStep::Begun), Some(&KeyStep::Finished)));
        for (script, records) in &mut all {
            assert_eq!(&read_all(&store, script.session(), everything()).await.unwrap(), records);
            store.commit(script.say("goes on")).await.unwrap();
        }
        store.close().await.unwrap();
        let refused = ground.open(1).await.err();
        assert!(matches!(refused, Some(StoreError::Key(KeyError::WrongKey { .. }))), "{refused:?}");
        let store = ground.open(2).await.unwrap();
        for (script, records) in &all {
            let now = read_all(&store, script.session(), everything()).await.unwrap();
            assert_eq!(now.get(..3).unwrap(), records.as_slice());
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn with_another_data_key_records_are_what_they_were_and_their_bytes_are_others() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let (mut script, before) = filled(&store, 1, 700).await;
        let (other, others) = filled(&store, 2, 5).await;
        let session = script.session();
        let mut steps = Vec::new();
        let resealed = store.rotate_data(session, |step| steps.push(step)).await.unwrap();
        assert_eq!((resealed.records, resealed.epoch, resealed.resumed), (700, 2, false));
        let closed = resealed.closed.unwrap();
        assert_eq!((closed.epoch, closed.version), (1, 700));
        assert_ne!(closed.old, closed.new);
        assert_eq!((steps.first(), steps.last()), (Some(&DataStep::Begun), Some(&DataStep::Finished)));
        assert_eq!(read_all(&store, session, everything()).await.unwrap(), before);
        store.commit(script.say("goes on")).await.unwrap();
        store.close().await.unwrap();
        let store = ground.open(1).await.unwrap();
        assert_eq!(read_all(&store, session, everything()).await.unwrap().get(..700).unwrap(), before.as_slice());
        assert_eq!(read_all(&store, other.session(), everything()).await.unwrap(), others);
        let again = store.rotate_data(session, |_| ()).await.unwrap();
        assert_eq!((again.records, again.epoch), (701, 3));
        assert_eq!(again.closed.unwrap().version, 701);
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_data_key_changes_beside_writers_and_loses_nothing() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let (mut script, _) = filled(&store, 1, 300).await;
        let session = script.session();
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                for at in 0..500 {
                    store.commit(script.say(&format!("beside {at}"))).await.unwrap();
                }
                script
            }
        });
        let mut epoch = store.rotate_data(session, |_| ()).await.unwrap().epoch;
        while !writer.is_finished() {
            epoch = store.rotate_data(session, |_| ()).await.unwrap().epoch;
        }
        let script = writer.await.unwrap();
        let now = read_all(&store, session, everything()).await.unwrap();
        assert_eq!(now, script.written());
        assert!(epoch > 1);
        store.close().await.unwrap();
        let store = ground.open(1).await.unwrap();
        assert_eq!(read_all(&store, session, everything()).await.unwrap(), script.written());
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_removed_has_no_keys_and_an_owner_keeps_its_own_as_long_as_somebody_inherits() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let (script, _) = filled(&store, 1, 3).await;
        let session = script.session();
        assert_eq!(store.erased(session).await.unwrap(), None);
        let removal = Removal { session, expected: None, keep_key: false, durability: Durability::Disk };
        store.remove(removal).await.unwrap();
        let erased = store.erased(session).await.unwrap().unwrap();
        assert_eq!(erased.how, sessions_ports::Erasure::Overwritten);
        store.close().await.unwrap();
        let store = ground.open(1).await.unwrap();
        assert_eq!(store.erased(session).await.unwrap(), Some(erased));
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keys_that_are_changed_by_several_at_once_stay_those_of_the_last() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let mut all = Vec::new();
        for number in 1..=40 {
            all.push(filled(&store, number, 2).await);
        }
        let changes: Vec<_> = (2..10)
            .map(|key| {
                let store = store.clone();
                tokio::spawn(async move { store.rotate(&FixedKey(key), |_| ()).await })
            })
            .collect();
        for change in changes {
            assert_eq!(change.await.unwrap().unwrap().damaged, 0);
        }
        let last = store.key_facts().wrapped.key;
        store.close().await.unwrap();
        let key = (2..10).find(|key| format!("fixed-{key}") == last).unwrap();
        let store = ground.open(key).await.unwrap();
        for (script, records) in &all {
            assert_eq!(&read_all(&store, script.session(), everything()).await.unwrap(), records);
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_change_that_nobody_waits_for_any_more_leaves_a_store_that_goes_on() {
        for polls in 1..40 {
            let ground = Ground::new();
            let store = ground.open(1).await.unwrap();
            let (mut script, _) = filled(&store, 1, 2).await;
            {
                let mut change = std::pin::pin!(store.rotate(&FixedKey(2), |_| ()));
                for _ in 0..polls {
                    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(change.as_mut().poll(cx))).await;
                    if polled.is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            // The ring is changed again and again: by a session that begins and goes, and by another change of the key.
            store.commit(script.say("goes on")).await.unwrap();
            let (other, _) = filled(&store, 2, 1).await;
            let session = other.session();
            store
                .remove(Removal { session, expected: None, keep_key: false, durability: Durability::Disk })
                .await
                .unwrap();
            store.rotate(&FixedKey(3), |_| ()).await.unwrap();
            store.close().await.unwrap();
            let store = ground.open(3).await.unwrap();
            assert_eq!(read_all(&store, script.session(), everything()).await.unwrap(), script.written(), "{polls}");
            store.close().await.unwrap();
        }
    }

    /// The next change of keys is made, and the answer lost.
    #[derive(Default)]
    struct Forgets(AtomicBool);

    #[async_trait]
    impl Around for Forgets {
        async fn behind(&self, call: KeyCall) -> Result<(), StoreError> {
            let forgets = call == KeyCall::Overwrite && self.0.swap(false, Ordering::SeqCst);
            if forgets { Err(StoreError::Poisoned) } else { Ok(()) }
        }
    }

    type Forgetful = Keys<MemoryKeyStore, Forgets>;

    #[tokio::test]
    async fn a_change_that_cannot_be_finished_keeps_no_other_from_its_end() {
        let keys = Arc::new(Forgetful::default());
        let log: Arc<dyn SessionLog> = Arc::new(MemoryStore::new());
        let store = SealedStore::create(log, keys.clone(), &FixedKey(1), Arc::new(SystemClock)).await.unwrap();
        let (lost, _) = filled(&store, 1, 5).await;
        let (whole, records) = filled(&store, 2, 5).await;
        for script in [&lost, &whole] {
            keys.around.0.store(true, Ordering::SeqCst);
            assert!(store.rotate_data(script.session(), |_| ()).await.is_err());
        }
        let expected = keys.read(0, 1).await.unwrap().remove(0);
        let change = SlotChange { number: 0, expected, new: Bytes::from_static(b"\x01damaged") };
        keys.overwrite(vec![change]).await.unwrap();
        let resumed = store.resume(|_, _| ()).await.unwrap();
        let of = |script: &Script| &resumed.iter().find(|(session, _)| *session == script.session()).unwrap().1;
        assert!(matches!(of(&lost), Err(StoreError::Key(KeyError::Damaged { .. }))), "{resumed:?}");
        assert!(of(&whole).as_ref().is_ok_and(|resealed| resealed.resumed && resealed.epoch == 2), "{resumed:?}");
        assert_eq!(store.unfinished(), [lost.session()]);
        assert_eq!(read_all(&store, whole.session(), everything()).await.unwrap(), records);
    }

    #[tokio::test]
    async fn a_data_key_whose_making_was_made_and_not_answered_seals_what_follows() {
        let keys = Arc::new(Forgetful::default());
        let log: Arc<dyn SessionLog> = Arc::new(MemoryStore::new());
        let store = SealedStore::create(log, keys.clone(), &FixedKey(1), Arc::new(SystemClock)).await.unwrap();
        let (mut script, _) = filled(&store, 1, 5).await;
        let session = script.session();
        keys.around.0.store(true, Ordering::SeqCst);
        assert!(store.rotate_data(session, |_| ()).await.is_err());
        assert_eq!(store.unfinished(), [session]);
        for at in 0..3 {
            store.commit(script.say(&format!("behind {at}"))).await.unwrap();
        }
        // Once more, at the other end.
        let mut lost = false;
        let resumed = store
            .rotate_data(session, |step| {
                if let DataStep::Records { .. } = step
                    && !std::mem::replace(&mut lost, true)
                {
                    keys.around.0.store(true, Ordering::SeqCst);
                }
            })
            .await;
        assert!(resumed.is_err());
        store.commit(script.say("and on")).await.unwrap();
        let resealed = store.rotate_data(session, |_| ()).await.unwrap();
        assert_eq!((resealed.epoch, resealed.resumed), (2, true));
        assert_eq!(store.unfinished(), []);
        assert_eq!(read_all(&store, session, everything()).await.unwrap(), script.written());
    }

    /// What a pass did to a session: its epoch, or why it did nothing.
    fn told(outcome: &InPass) -> String {
        match outcome {
            InPass::Resealed(resealed) => resealed.epoch.to_string(),
            other => format!("{other:?}"),
        }
    }

    async fn passed(store: &SealedStore, pass: DataPass, sessions: &[SessionId]) -> Vec<String> {
        let mut outcomes = Vec::new();
        for session in sessions {
            outcomes.push(told(&store.rotate_data_in(pass, *session, |_| ()).await.unwrap()));
        }
        outcomes
    }

    #[tokio::test]
    async fn a_pass_over_all_sessions_that_a_crash_broke_off_goes_on_with_those_that_are_left() {
        let (ground, image) = (Ground::new(), Ground::new());
        let store = ground.open(1).await.unwrap();
        let (mut all, mut said) = (Vec::new(), Vec::new());
        for number in 1..=5 {
            let (script, records) = filled(&store, number, 3).await;
            all.push(script.session());
            said.push(records);
        }
        let pass = store.begin_pass(false).await.unwrap();
        assert!(!pass.resumed);
        assert_eq!(passed(&store, pass, &all[..2]).await, ["2", "2"]);
        // The third is begun when the power goes.
        let mut crashed = false;
        let third = store.rotate_data_in(pass, all[2], |step| {
            if step == DataStep::Begun {
                copy(&ground.path(), &image.path());
                crashed = true;
            }
        });
        assert_eq!(told(&third.await.unwrap()), "2");
        assert!(crashed);
        store.close().await.unwrap();

        let store = image.open(1).await.unwrap();
        assert_eq!(store.unfinished(), [all[2]]);
        assert_eq!(store.key_status().await.unwrap().pass, Some(pass.since));
        let (new, _) = filled(&store, 6, 1).await;
        all.push(new.session());
        let again = store.begin_pass(false).await.unwrap();
        assert_eq!((again.since, again.resumed), (pass.since, true));
        assert_eq!(passed(&store, again, &all).await, ["Had", "Had", "2", "2", "2", "Had"]);
        for (session, records) in all.iter().zip(&said) {
            assert_eq!(&read_all(&store, *session, everything()).await.unwrap(), records);
        }
        store.end_pass(again).await.unwrap();
        store.close().await.unwrap();

        let store = image.open(1).await.unwrap();
        let next = store.begin_pass(false).await.unwrap();
        assert!(!next.resumed);
        assert_eq!(passed(&store, next, &all).await, ["3", "3", "3", "3", "3", "2"]);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_pass_is_begun_anew_after_a_week_behind_another_key_and_when_asked() {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let clock = FixedClock::at(Moment::from_millis(1000 * DAY));
        let (log, keys): (Arc<dyn SessionLog>, _) = (Arc::new(MemoryStore::new()), Arc::new(MemoryKeyStore::new()));
        let store = SealedStore::create(log, keys, &FixedKey(1), Arc::new(clock.clone())).await.unwrap();
        let mut all = Vec::new();
        for number in 1..=2 {
            all.push(filled(&store, number, 2).await.0.session());
        }
        // The clock stands or goes back: what was there before has an old key all the same, and what was changed has a new one.
        clock.jump(-10 * DAY);
        let pass = store.begin_pass(false).await.unwrap();
        assert_eq!(passed(&store, pass, &all).await, ["2", "2"]);
        assert_eq!(passed(&store, pass, &all).await, ["Had", "Had"]);
        clock.jump(17 * DAY);
        assert!(store.begin_pass(false).await.unwrap().resumed);
        clock.jump(1);
        let pass = store.begin_pass(false).await.unwrap();
        assert!(!pass.resumed, "after a week");
        assert_eq!(passed(&store, pass, &all).await, ["3", "3"]);
        let pass = store.begin_pass(true).await.unwrap();
        assert!(!pass.resumed, "when asked");
        assert_eq!(passed(&store, pass, &all).await, ["4", "4"]);
        store.rotate(&FixedKey(2), |_| ()).await.unwrap();
        let next = store.begin_pass(false).await.unwrap();
        assert!(!next.resumed, "behind another key");
        assert_eq!(passed(&store, next, &all).await, ["5", "5"]);
        // One that is over ends no other.
        store.end_pass(pass).await.unwrap();
        assert!(store.begin_pass(false).await.unwrap().resumed);
        store.end_pass(next).await.unwrap();
        assert!(!store.begin_pass(false).await.unwrap().resumed);
    }

    #[tokio::test]
    async fn a_pass_changes_a_key_that_was_begun_before_it_and_leaves_out_what_is_gone() {
        let keys = Arc::new(Forgetful::default());
        let log: Arc<dyn SessionLog> = Arc::new(MemoryStore::new());
        let store = SealedStore::create(log, keys.clone(), &FixedKey(1), Arc::new(SystemClock)).await.unwrap();
        let (begun, gone) = (filled(&store, 1, 3).await.0.session(), filled(&store, 2, 3).await.0.session());
        for session in [begun, gone] {
            keys.around.0.store(true, Ordering::SeqCst);
            assert!(store.rotate_data(session, |_| ()).await.is_err());
        }
        let removal = Removal { session: gone, expected: None, keep_key: false, durability: Durability::Volatile };
        store.remove(removal).await.unwrap();
        let pass = store.begin_pass(false).await.unwrap();
        assert_eq!(passed(&store, pass, &[begun, gone]).await, ["3", "Gone"]);
        assert_eq!(store.unfinished(), []);
    }

    #[tokio::test]
    async fn no_word_is_in_the_folder() {
        let ground = Ground::new();
        let store = ground.open(1).await.unwrap();
        let mut script = Script::new(1);
        let mut commit = script.say("CANARYBODY");
        commit.row.words = Some(Bytes::from_static(b"CANARYWORDS"));
        commit.snapshot = Some(Bytes::from_static(b"CANARYVIEW"));
        store.commit(commit).await.unwrap();
        store.close().await.unwrap();
        let mut folders = vec![ground.path()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(6).any(|window| window == b"CANARY"), "{}", path.display());
            }
        }
        assert!(files > 5);
    }
}
