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
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_infra::{
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::{SealedStore, StoreOpener},
    sled::{SledStore, verify, verify_sealed},
};
use sessions_ports::{
    Durability, Erasure, KeyStore, Record, Removal, Rewrite, SessionLog as _, Slot, SlotChange, StoreError, StoredRing,
};
use sessions_testkit::read_all;

use crate::{
    ground::{everything, folder, open, open_log, provider},
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

/// Keys whose next change is made, and the answer lost.
struct Forgetful {
    keys: FileKeyStore,
    forgets: AtomicBool,
}

#[async_trait]
impl KeyStore for Forgetful {
    async fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
        self.keys.ring().await
    }

    async fn put_ring(&self, expected: u64, ring: Bytes) -> Result<(), StoreError> {
        self.keys.put_ring(expected, ring).await
    }

    async fn slots(&self) -> Result<u64, StoreError> {
        self.keys.slots().await
    }

    async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError> {
        self.keys.add(slots).await
    }

    async fn truncate(&self, count: u64) -> Result<(), StoreError> {
        self.keys.truncate(count).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
        self.keys.read(from, limit).await
    }

    async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError> {
        self.keys.overwrite(changes).await?;
        if self.forgets.swap(false, Ordering::SeqCst) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn erasure(&self) -> Erasure {
        self.keys.erasure()
    }
}

async fn open_with_forgetful_keys(path: &Path) -> (SealedStore, Arc<Forgetful>) {
    let log = open_log(path).await.unwrap();
    let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
    let keys = Arc::new(Forgetful { keys, forgets: AtomicBool::new(false) });
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
                keys.forgets.store(true, Ordering::SeqCst);
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
    let removal = Removal { session: owner, expected: None, keep_key: false, durability: Durability::Disk };
    store.remove(removal).await.unwrap();
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
