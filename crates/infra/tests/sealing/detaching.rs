//! A fork takes over what it inherits in several steps, and data keys change between them: whatever the order is, all is read, and a check finds nothing.
//!
//! Must not know: how anything is sealed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use sessions_domain::SessionId;
use sessions_infra::{
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::{DataStep, SealedStore, StoreOpener},
    sled::{SledStore, verify, verify_sealed},
};
use sessions_ports::{Durability, Record, Removal, Rewrite, SessionLog as _, StoreError};
use sessions_testkit::read_all;

use crate::{
    ground::{everything, folder, open, open_log, provider},
    keys::{Around, KeyCall, Keys},
    talk::{Talk, say},
};

const KEY: u8 = 7;

/// What is done between the beginning and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The fork takes over the end of what it inherits.
    TakesSome,
    /// And the rest.
    TakesAll,
    /// Another data key of the fork is begun, and broken off.
    Begins,
    /// The same, to its end.
    Ends,
    /// Another data key of the parent.
    Parent,
}

const STEPS: [Step; 5] = [Step::TakesSome, Step::TakesAll, Step::Begins, Step::Ends, Step::Parent];

/// All orders in which the rest follows what it is the rest of.
fn orders() -> Vec<Vec<Step>> {
    let mut orders = vec![Vec::new()];
    for _ in STEPS {
        let longer = |order: Vec<Step>| {
            let next = STEPS.into_iter().filter(|step| !order.contains(step)).collect::<Vec<_>>();
            next.into_iter().map(move |step| [order.as_slice(), &[step]].concat())
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    let is_before = |order: &[Step], one, other| {
        order.iter().position(|step| *step == one) < order.iter().position(|step| *step == other)
    };
    orders.retain(|order| is_before(order, Step::TakesSome, Step::TakesAll));
    orders.retain(|order| is_before(order, Step::Begins, Step::Ends));
    orders
}

async fn take(store: &SealedStore, session: SessionId, records: &[Record], unlink: Vec<SessionId>) {
    let (records, durability) = (records.to_vec(), Durability::Disk);
    store.rewrite(Rewrite { session, expected: None, records, words: None, unlink, durability }).await.unwrap();
}

/// The next change of keys is made and the answer lost, or else refused.
#[derive(Default)]
struct Forgets {
    forgets: AtomicBool,
    refuses: AtomicBool,
}

#[async_trait]
impl Around for Forgets {
    async fn before(&self, call: KeyCall) -> Result<(), StoreError> {
        let refuses = call == KeyCall::Overwrite && self.refuses.swap(false, Ordering::SeqCst);
        if refuses { Err(StoreError::NoSpace { operation: "a test" }) } else { Ok(()) }
    }

    async fn behind(&self, call: KeyCall) -> Result<(), StoreError> {
        let forgets = call == KeyCall::Overwrite && self.forgets.swap(false, Ordering::SeqCst);
        if forgets { Err(StoreError::Poisoned) } else { Ok(()) }
    }
}

type Forgetful = Keys<FileKeyStore, Forgets>;

async fn open_with_forgetful_keys(path: &Path) -> (SealedStore, Arc<Forgetful>) {
    let log = open_log(path).await.unwrap();
    let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
    let keys = Arc::new(Forgetful { keys, around: Forgets::default() });
    let (log, clock) = (Arc::new(log), Arc::new(SystemClock));
    (SealedStore::open_or_create(log, keys.clone(), &provider(KEY), clock).await.unwrap(), keys)
}

async fn assert_sound(path: &Path, why: &str) {
    let opener = StoreOpener::unlock(path, &provider(KEY)).await.unwrap();
    for report in [verify(path).unwrap(), verify_sealed(path, None, Arc::new(opener)).unwrap()] {
        assert_eq!(report.findings, [], "{why}");
    }
}

async fn try_order(order: &[Step]) {
    let (ground, why) = (folder(), format!("{order:?}"));
    let path = ground.path().join("store");
    let (store, keys) = open_with_forgetful_keys(&path).await;
    let mut parent = Talk::new(1);
    say(&store, &mut parent, &["", "b", "c", "d", "e"]).await;
    let (mut fork, commit) = Talk::forked(2, &parent);
    store.commit(commit).await.unwrap();
    say(&store, &mut fork, &["f", "g"]).await;
    let (owner, session) = (parent.session(), fork.session());
    let inherited = parent.script.written().to_vec();
    for step in order {
        match step {
            Step::TakesSome => {
                take(&store, session, &inherited[4..], Vec::new()).await;
                take(&store, session, &inherited[2..4], Vec::new()).await;
            }
            Step::TakesAll => take(&store, session, &inherited[..2], vec![owner]).await,
            Step::Begins => {
                keys.around.forgets.store(true, Ordering::SeqCst);
                assert!(store.rotate_data(session, |_| ()).await.is_err(), "{why}");
            }
            Step::Ends => {
                assert_eq!(store.unfinished(), [session], "{why}");
                let ended = store.rotate_data(session, |_| ()).await.unwrap();
                assert!(ended.resumed && ended.epoch == 2, "{why}: {ended:?}");
            }
            Step::Parent => assert_eq!(store.rotate_data(owner, |_| ()).await.unwrap().records, 5, "{why}"),
        }
        say(&store, &mut fork, &["it goes on"]).await;
    }
    let all = [&inherited, fork.script.written()].concat();
    assert_eq!(read_all(&store, session, everything()).await.unwrap(), all, "{why}");
    store.close().await.unwrap();
    assert_sound(&path, &why).await;

    let store = open(&path, KEY).await.unwrap();
    removed(&store, owner).await;
    assert!(store.erased(owner).await.unwrap().is_some(), "{why}");
    store.close().await.unwrap();
    let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
    upkeep.reclaim_all().await.unwrap();
    upkeep.close().await.unwrap();
    assert_sound(&path, &why).await;
    let store = open(&path, KEY).await.unwrap();
    assert_eq!(read_all(&store, session, everything()).await.unwrap(), all, "{why}");
    let again = store.rotate_data(session, |_| ()).await.unwrap();
    assert_eq!((again.epoch, again.records), (3, all.len() as u64), "{why}");
    store.close().await.unwrap();
    assert_sound(&path, &why).await;
}

#[tokio::test]
async fn data_keys_that_change_while_a_fork_takes_over_what_it_inherits_leave_a_sound_store() {
    let orders = orders();
    assert_eq!(orders.len(), 30);
    for order in orders {
        try_order(&order).await;
    }
}

#[tokio::test]
async fn a_part_that_is_taken_over_twice_changes_nothing_of_what_a_slot_attests() {
    let ground = folder();
    let path = ground.path().join("store");
    let store = open(&path, KEY).await.unwrap();
    let (parent, fork) = parent_and_fork(&store).await;
    let (inherited, session) = (&parent.script.written()[..5], fork.session());
    take(&store, session, &inherited[2..], Vec::new()).await;
    store.rotate_data(session, |_| ()).await.unwrap();
    // It stands behind all that was sealed anew, as if it had been taken over since.
    take(&store, session, &inherited[2..3], Vec::new()).await;
    take(&store, session, &inherited[..2], vec![parent.session()]).await;
    store.close().await.unwrap();
    assert_sound(&path, "taken twice").await;
}

async fn removed(store: &SealedStore, session: SessionId) {
    let removal = Removal { session, expected: None, keep_key: false, durability: Durability::Disk };
    store.remove(removal).await.unwrap();
}

/// A session of eight records, and a fork that inherits five of them and says one.
async fn parent_and_fork(store: &SealedStore) -> (Talk, Talk) {
    let mut parent = Talk::new(1);
    say(store, &mut parent, &["", "b", "c", "d", "e"]).await;
    let (mut fork, commit) = Talk::forked(2, &parent);
    store.commit(commit).await.unwrap();
    say(store, &mut fork, &["it goes on"]).await;
    say(store, &mut parent, &["f", "g", "h"]).await;
    (parent, fork)
}

async fn assert_kept(store: &SealedStore, parent: &Talk, fork: &Talk) {
    let kept = read_all(store, parent.session(), everything()).await.unwrap();
    assert_eq!(kept, parent.script.written()[..5]);
    assert_eq!(read_all(store, fork.session(), everything()).await.unwrap(), fork.script.written());
}

#[tokio::test]
async fn the_data_key_of_a_removed_session_is_changed_as_long_as_others_inherit_from_it() {
    let ground = folder();
    let path = ground.path().join("store");
    let store = open(&path, KEY).await.unwrap();
    let (parent, fork) = parent_and_fork(&store).await;
    let owner = parent.session();
    assert_eq!(store.removed_with_heirs().await.unwrap(), []);
    removed(&store, owner).await;
    assert_eq!(store.removed_with_heirs().await.unwrap(), [owner]);
    let resealed = store.rotate_data(owner, |_| ()).await.unwrap();
    assert_eq!((resealed.records, resealed.epoch, resealed.resumed), (5, 2, false));
    assert_eq!(resealed.closed.map(|closed| closed.version), Some(5));
    assert_kept(&store, &parent, &fork).await;
    store.close().await.unwrap();
    assert_sound(&path, "changed").await;
    let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
    upkeep.reclaim_all().await.unwrap();
    upkeep.close().await.unwrap();
    assert_sound(&path, "its old bytes are gone").await;
    let store = open(&path, KEY).await.unwrap();
    assert_kept(&store, &parent, &fork).await;
    removed(&store, fork.session()).await;
    assert!(store.erased(owner).await.unwrap().is_some());
    let gone = store.rotate_data(owner, |_| ()).await;
    assert!(matches!(gone, Err(StoreError::Gone { .. })), "{gone:?}");
    assert_eq!(store.removed_with_heirs().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_change_of_a_data_key_that_was_broken_off_goes_on_when_its_session_was_removed() {
    // The answer is lost when the new key is put beside the old one, or when the old one is taken away; or that is refused.
    for (place, records) in [("put", 5), ("taken", 0), ("refused", 0)] {
        let (ground, why) = (folder(), place);
        let path = ground.path().join("store");
        let (store, keys) = open_with_forgetful_keys(&path).await;
        let (parent, fork) = parent_and_fork(&store).await;
        let owner = parent.session();
        keys.around.forgets.store(place == "put", Ordering::SeqCst);
        let changed = store.rotate_data(owner, |step| {
            keys.around.forgets.fetch_or(place == "taken" && step == DataStep::Begun, Ordering::SeqCst);
            keys.around.refuses.fetch_or(place == "refused" && step == DataStep::Begun, Ordering::SeqCst);
        });
        assert!(changed.await.is_err(), "{why}");
        removed(&store, owner).await;
        let resumed = store.resume(|_, _| ()).await.unwrap();
        let [(session, Ok(resealed))] = resumed.as_slice() else { panic!("{why}: {resumed:?}") };
        assert_eq!((*session, resealed.records, resealed.epoch, resealed.resumed), (owner, records, 2, true), "{why}");
        assert_eq!(store.unfinished(), [], "{why}");
        assert_kept(&store, &parent, &fork).await;
        store.close().await.unwrap();
        assert_sound(&path, why).await;
        let store = open(&path, KEY).await.unwrap();
        let again = store.rotate_data(owner, |_| ()).await.unwrap();
        assert_eq!((again.records, again.epoch, again.resumed), (5, 3, false), "{why}");
        store.close().await.unwrap();
        assert_sound(&path, why).await;
    }
}

#[tokio::test]
async fn a_change_of_a_data_key_that_was_broken_off_is_forgotten_when_nobody_inherits_any_more() {
    let ground = folder();
    let path = ground.path().join("store");
    let (store, keys) = open_with_forgetful_keys(&path).await;
    let (parent, fork) = parent_and_fork(&store).await;
    keys.around.forgets.store(true, Ordering::SeqCst);
    assert!(store.rotate_data(parent.session(), |_| ()).await.is_err());
    removed(&store, parent.session()).await;
    removed(&store, fork.session()).await;
    assert_eq!(store.unfinished(), [parent.session()]);
    assert!(store.resume(|_, _| ()).await.unwrap().is_empty());
    assert_eq!(store.unfinished(), []);
    store.close().await.unwrap();
    assert_sound(&path, "removed").await;
}
