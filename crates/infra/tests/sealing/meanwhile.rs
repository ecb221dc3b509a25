//! What happens within a step of a change of keys, or a change of keys within a step of something else: each at its worst moment, however threads run.
//!
//! Must not know: how anything is sealed, but for the number of the data key that stands before each record (`docs/format.md`).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Poll,
};

use async_trait::async_trait;
use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
use sessions_ports::{KeyError, KeyStore as _, Record, Rewrite, SessionLog, SlotChange, StoreError};
use sessions_testkit::{Call, FaultyStore, FixedKey, Script, read_all};
use tokio::sync::oneshot;

use crate::{
    ground::everything,
    keys::{Around, KeyCall, Keys},
};

type Running<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// What happens within a call, and which: behind a read, and before who reads hears of it; before slots are added.
type Interlude = Option<(KeyCall, Running<()>)>;

/// What happens within the next call of keys.
#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Interlude>>);

impl Meanwhile {
    fn meanwhile(&self, call: KeyCall, what: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap() = Some((call, Box::pin(what)));
    }

    fn is_waiting(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    async fn within(&self, now: KeyCall) {
        let due = self.0.lock().unwrap().take_if(|(call, _)| *call == now);
        if let Some((_, what)) = due {
            what.await;
        }
    }
}

#[async_trait]
impl Around for Meanwhile {
    async fn before(&self, call: KeyCall) -> Result<(), StoreError> {
        if call == KeyCall::Add {
            self.within(call).await;
        }
        Ok(())
    }

    async fn behind(&self, call: KeyCall) -> Result<(), StoreError> {
        if call == KeyCall::Read {
            self.within(call).await;
        }
        Ok(())
    }
}

type Interrupted = Keys<MemoryKeyStore, Meanwhile>;

/// A store that is sealed over one in memory, both of which can be interrupted.
struct Ground {
    raw: MemoryStore,
    log: FaultyStore,
    keys: Interrupted,
}

impl Ground {
    fn new() -> Self {
        let keys = Interrupted::default();
        let raw = MemoryStore::new();
        Self { log: FaultyStore::over(Arc::new(raw.clone())), raw, keys }
    }

    async fn open(&self, key: u8) -> SealedStore {
        let (log, keys) = (Arc::new(self.log.clone()), Arc::new(self.keys.clone()));
        SealedStore::open_or_create(log, keys, &FixedKey(key), Arc::new(SystemClock)).await.unwrap()
    }
}

async fn filled(store: &SealedStore, number: u64) -> Script {
    let mut script = Script::new(number);
    for at in 0..5 {
        store.commit(script.say(&format!("record {at} of {number}"))).await.unwrap();
    }
    script
}

async fn says(store: &SealedStore, script: &Script) -> Vec<Record> {
    let said = read_all(store, script.session(), everything()).await.unwrap();
    assert_eq!(said, script.written());
    said
}

/// Lets something go on as far as it comes while something else is held.
async fn as_far_as_it_comes<T>(work: &mut Running<T>) -> Option<T> {
    for _ in 0..5_000 {
        let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(done) = polled {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn keys_that_are_read_while_another_key_takes_over_open() {
    for what in ["reading", "appending", "listing", "another data key", "looking at the keys"] {
        let ground = Ground::new();
        let mut script = filled(&ground.open(1).await, 1).await;
        // Whoever opens it anew has no session's keys at hand.
        let store = ground.open(1).await;
        let other = store.clone();
        ground.keys.around.meanwhile(KeyCall::Read, async move {
            other.rotate(&FixedKey(2), |_| ()).await.unwrap();
        });
        match what {
            "reading" => drop(says(&store, &script).await),
            "appending" => drop(store.commit(script.say("meanwhile")).await.unwrap()),
            "listing" => assert!(!store.rows(0, 9).await.unwrap().rows[0].words.is_empty()),
            "another data key" => drop(store.rotate_data(script.session(), |_| ()).await.unwrap()),
            _ => assert_eq!(store.key_status().await.unwrap().damaged, 0),
        }
        assert!(!ground.keys.around.is_waiting(), "{what} did not read any keys");
        assert_eq!(store.key_facts().wrapped.key, "fixed-2", "{what}");
        says(&store, &script).await;
    }
}

#[tokio::test]
async fn keys_that_another_handle_changes_are_not_taken_for_lost_ones() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    let scripts = [filled(&store, 1).await, filled(&store, 2).await];
    let other = ground.open(1).await;
    says(&other, &scripts[0]).await;
    store.rotate_data(scripts[0].session(), |_| ()).await.unwrap();
    // It has the data key of before at hand.
    says(&other, &scripts[0]).await;
    // And of the other one none, which is under a key that it does not know.
    store.rotate(&FixedKey(2), |_| ()).await.unwrap();
    let read = other.read(scripts[1].session(), everything()).await;
    assert!(matches!(read, Err(StoreError::Key(KeyError::Retired { .. }))), "{read:?}");
    let later = ground.open(2).await;
    for script in &scripts {
        says(&later, script).await;
    }
    // Nobody changes them any more, and they are of before all the same.
    let old = ground.keys.keys.read(1, 1).await.unwrap().remove(0);
    store.rotate(&FixedKey(3), |_| ()).await.unwrap();
    let expected = ground.keys.keys.read(1, 1).await.unwrap().remove(0);
    ground.keys.keys.overwrite(vec![SlotChange { number: 1, expected, new: old }]).await.unwrap();
    let read = ground.open(3).await.read(scripts[1].session(), everything()).await;
    assert!(matches!(read, Err(StoreError::Key(KeyError::SessionRetired { .. }))), "{read:?}");
}

#[tokio::test]
async fn a_page_that_was_read_before_its_data_key_went_is_read_again() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    let script = filled(&store, 1).await;
    let (other, session) = (store.clone(), script.session());
    ground.log.meanwhile(Call::Read, 1, async move {
        other.rotate_data(session, |_| ()).await.unwrap();
    });
    says(&store, &script).await;
    assert_eq!(store.rotate_data(session, |_| ()).await.unwrap().epoch, 3, "it was changed meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_while_another_key_takes_over_has_its_keys() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    filled(&store, 1).await;
    let (entered, is_entered) = oneshot::channel();
    let (release, released) = oneshot::channel();
    ground.keys.around.meanwhile(KeyCall::Add, async move {
        entered.send(()).unwrap();
        released.await.unwrap();
    });
    let begins = tokio::spawn({
        let store = store.clone();
        async move { filled(&store, 2).await }
    });
    is_entered.await.unwrap();
    let other = store.clone();
    let mut change: Running<_> = Box::pin(async move { other.rotate(&FixedKey(2), |_| ()).await });
    let early = as_far_as_it_comes(&mut change).await;
    release.send(()).unwrap();
    let script = begins.await.unwrap();
    match early {
        Some(early) => early.unwrap(),
        None => change.await.unwrap(),
    };
    let later = ground.open(2).await;
    says(&later, &script).await;
    assert_eq!(later.key_status().await.unwrap().damaged, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_and_has_no_place_yet_is_not_left_behind_with_the_old_data_key() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    let mut script = filled(&store, 1).await;
    let (entered, is_entered) = oneshot::channel();
    let (release, released) = mpsc::channel();
    let held = Mutex::new(Some((entered, released)));
    ground.log.watch(move |_| {
        let held = held.lock().unwrap().take();
        if let Some((entered, released)) = held {
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
    });
    let commit = script.say("held up before it has its place");
    let appending = tokio::spawn({
        let store = store.clone();
        async move { store.commit(commit).await }
    });
    is_entered.await.unwrap();
    let (other, session) = (store.clone(), script.session());
    let mut change: Running<_> = Box::pin(async move { other.rotate_data(session, |_| ()).await });
    let early = as_far_as_it_comes(&mut change).await;
    release.send(()).unwrap();
    appending.await.unwrap().unwrap();
    let changed = match early {
        Some(early) => early.unwrap(),
        None => change.await.unwrap(),
    };
    assert_eq!(changed.closed.unwrap().version, 6, "the old key's last record is counted");
    says(&store, &script).await;
    says(&ground.open(1).await, &script).await;
}

#[tokio::test]
async fn what_is_asked_while_another_data_key_takes_over_is_sealed_with_that_one() {
    for is_known in [true, false] {
        let ground = Ground::new();
        let mut script = filled(&ground.open(1).await, 1).await;
        let store = ground.open(1).await;
        if is_known {
            says(&store, &script).await;
        }
        let (placed, was_asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        ground.log.watch({
            let placed = Arc::clone(&placed);
            move |commit| {
                let epoch = commit.records.iter().map(|record| (record.seq, [record.payload[1], record.payload[2]]));
                placed.lock().unwrap().extend(epoch.map(|(seq, epoch)| (seq, u16::from_le_bytes(epoch))));
            }
        });
        let (commit, other) = (script.say("asked meanwhile"), store.clone());
        let mut asked: Running<_> = Box::pin(async move { other.commit(commit).await });
        let (hand_back, handed_back) = oneshot::channel();
        let asking = Arc::clone(&was_asked);
        // Where the old key ends is known by now.
        ground.log.meanwhile(Call::Settled, 1, async move {
            let early = std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
            asking.store(true, Ordering::SeqCst);
            let _ = hand_back.send((asked, early.is_ready()));
        });
        let changed = store.rotate_data(script.session(), |_| ()).await.unwrap();
        assert!(was_asked.load(Ordering::SeqCst), "nobody asked how the log stands");
        let (asked, was_early) = handed_back.await.unwrap_or_else(|_| panic!("it was dropped"));
        if !was_early {
            asked.await.unwrap();
        }
        let version = changed.closed.unwrap().version;
        let placed = placed.lock().unwrap().clone();
        assert_eq!(placed.len(), 1);
        assert!(placed.iter().all(|(seq, epoch)| (*seq > version) == (*epoch == 2)), "{version}: {placed:?}");
        says(&store, &script).await;
    }
}

#[tokio::test]
async fn a_data_key_with_which_another_seals_meanwhile_stays_until_that_is_sealed_anew() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    let mut script = filled(&store, 1).await;
    let session = script.session();
    // Another handle, as another process has it, knows nothing of the change.
    let other = ground.open(1).await;
    says(&other, &script).await;
    let commit = script.say("sealed with the old one");
    ground.log.meanwhile(Call::Rewrite, 1, async move {
        other.commit(commit).await.unwrap();
    });
    let changed = store.rotate_data(session, |_| ()).await;
    assert!(matches!(changed, Err(StoreError::Key(KeyError::Unfinished))), "{changed:?}");
    says(&store, &script).await;
    says(&ground.open(1).await, &script).await;
    assert!(store.rotate_data(session, |_| ()).await.unwrap().resumed);
    says(&store, &script).await;
    says(&ground.open(1).await, &script).await;
}

#[tokio::test]
async fn who_changed_a_data_key_opens_nothing_with_the_old_one_any_more() {
    let ground = Ground::new();
    let store = ground.open(1).await;
    let script = filled(&store, 1).await;
    let session = script.session();
    let old = ground.raw.read(session, everything()).await.unwrap().records;
    store.rotate_data(session, |_| ()).await.unwrap();
    says(&store, &script).await;
    let durability = ground.raw.strongest();
    let (records, unlink) = (old, Vec::new());
    let put_back = Rewrite { session, expected: None, records, words: None, unlink, durability };
    ground.raw.rewrite(put_back).await.unwrap();
    let read = store.read(session, everything()).await;
    assert!(matches!(read, Err(StoreError::Key(KeyError::EpochRetired { epoch: 1, .. }))), "{read:?}");
}
