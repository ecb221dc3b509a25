//! What holds when a part of an open store fails under it: the index while it is asked, or one of the store's threads.
//!
//! Must not know: what records say.

use std::{fs, sync::atomic::Ordering, time::Duration};

use sessions_domain::Kind;
use sessions_ports::{
    Claim, Commit, Durability, KindFilter, Order, ReadRange, SessionLog as _, StoreError, StoredClaim,
};
use sessions_testkit::{Script, Started};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{SledOptions, SledStore, core::Core, frame};

const KEY: [u8; 32] = [9; 32];
const LABEL: u64 = 50;
const MADE: StoredClaim = StoredClaim { payload: [8; 32], seq: 2, version: 2 };

async fn due<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what}: never answered"))
}

async fn open(folder: &TempDir) -> SledStore {
    SledStore::open(folder.path().join("store"), SledOptions::default()).await.unwrap()
}

fn claiming(mut commit: Commit) -> Commit {
    commit.claims = vec![Claim { key: KEY, payload: MADE.payload, offset: 1 }];
    commit.durability = Durability::Disk;
    commit
}

/// A store with a claim and a label that only its index knows.
async fn scene() -> (TempDir, SledStore, Script) {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut script = Script::new(1);
    store.commit(claiming(script.commit(&[(Kind::CREATED, 0, b"a"), (Kind::APPENDED, LABEL, b"b")]))).await.unwrap();
    store.close().await.unwrap();
    let store = open(&folder).await;
    let known = store.core().lock().sessions.values().map(|log| log.claims.len() + log.recent.len()).sum::<usize>();
    assert_eq!(known, 0, "the ledger handed everything to the index");
    (folder, store, script)
}

fn spoil(core: &Core) {
    core.index.read().unwrap().as_ref().unwrap().spoil();
}

#[tokio::test]
async fn a_question_that_the_index_and_the_log_fail_is_not_answered() {
    let (folder, store, mut script) = scene().await;
    spoil(store.core());
    let (log, away) = (folder.path().join("store/log"), folder.path().join("store/away"));
    fs::rename(&log, &away).unwrap();
    assert!(matches!(store.claim(script.session(), KEY).await, Err(StoreError::Backend(_))));
    assert!(matches!(store.commit(claiming(script.clone().say_many(2))).await, Err(StoreError::Backend(_))));
    fs::rename(&away, &log).unwrap();
    assert_eq!(store.claim(script.session(), KEY).await.unwrap(), Some(MADE));
    store.commit(script.say("on")).await.unwrap();
}

/// Lets the thread that keeps the index throw it away.
fn lose(core: &Core) {
    let generation = core.generation.load(Ordering::Acquire);
    core.lock().failed_index = Some(generation);
    core.checkpoint.notify_all();
    while core.generation.load(Ordering::Acquire) == generation {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_question_that_spans_the_loss_of_the_index_is_asked_again() {
    for question in 0..3 {
        let (_folder, store, mut script) = scene().await;
        store.core().hook("asking the index", lose);
        match question {
            0 => assert_eq!(store.claim(script.session(), KEY).await.unwrap(), Some(MADE)),
            1 => assert_eq!(store.find(script.session(), LABEL).await.unwrap(), [2]),
            _ => {
                let again = claiming(script.say_many(2));
                assert!(matches!(store.commit(again).await, Err(StoreError::Malformed { .. })));
            }
        }
        assert_eq!(store.core().generation.load(Ordering::Acquire), 1, "it was lost between the two");
    }
}

#[tokio::test]
async fn who_claims_a_key_that_another_took_with_the_place_has_lost_the_place() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut script = Script::new(1);
    store.commit(script.say("the beginning")).await.unwrap();
    let claiming = |text| Commit {
        claims: vec![Claim { key: KEY, payload: MADE.payload, offset: 0 }],
        ..script.clone().say(text)
    };
    let (other, theirs) = (store.clone(), claiming("theirs"));
    store.core().hook("checking claims", move |_| {
        Started::new(other.commit(theirs));
    });
    let ours = store.commit(claiming("ours")).await;
    assert!(matches!(ours, Err(StoreError::Conflict { .. })), "{ours:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_claims_while_the_index_fails_goes_on_when_nobody_waits_for_it() {
    let (_folder, store, mut script) = scene().await;
    let claim = Claim { key: [7; 32], payload: [6; 32], offset: 0 };
    store.core().index.read().unwrap().as_ref().unwrap().spoil_claim(script.session(), claim.key);
    let commit = Started::new(store.commit(Commit { claims: vec![claim], ..script.say("claims") }));
    assert!(!commit.is_done(), "whether its key is free is not known yet");
    drop(commit);
    let head = due("the commit", store.wait(script.session(), 3, Durability::Disk)).await.unwrap();
    assert_eq!(head.version, 3);
    let made = StoredClaim { payload: [6; 32], seq: 3, version: 3 };
    assert_eq!(store.claim(script.session(), [7; 32]).await.unwrap(), Some(made));
    assert_eq!(store.core().generation.load(Ordering::Acquire), 1, "the index was thrown away");
}

/// Closes the store as far as its index.
fn close(core: &Core) {
    core.lock().closing = true;
    core.wake_writer();
    while core.index.read().unwrap().is_some() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn what_only_the_index_knows_is_not_absent_because_the_store_closes() {
    for question in 0..3 {
        let (_folder, store, mut script) = scene().await;
        store.core().hook("asking the index", close);
        let refused = match question {
            0 => store.claim(script.session(), KEY).await.err(),
            1 => store.find(script.session(), LABEL).await.err(),
            _ => store.commit(claiming(script.say_many(2))).await.err(),
        };
        assert!(matches!(refused, Some(StoreError::Closed)), "{question}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_settled_under_another_threads_poison_does_not_come_later() {
    let (_folder, store, mut script) = scene().await;
    let ((heard, stands), (go, goes)) = (oneshot::channel(), std::sync::mpsc::channel::<()>());
    store.core().hook("writing", move |_| {
        let _ = heard.send(());
        let _ = goes.recv();
    });
    let next = Commit { durability: Durability::Disk, ..script.say("in the writer's hands") };
    let pending = Started::new(store.commit(next));
    due("the writer", stands).await.unwrap();
    // As the thread of the large bodies does when a folder's sync fails.
    store.core().lock().poisoned = true;
    let settled = Started::new(store.settled(script.session()));
    let waits = [3, 4].map(|version| Started::new(store.wait(script.session(), version, Durability::Disk)));
    go.send(()).unwrap();
    due("the commit", pending.finish()).await.unwrap();
    assert_eq!(due("what was queued", settled.finish()).await.unwrap().unwrap().version, 3);
    let [reached, beyond] = waits;
    assert_eq!(due("a wait", reached.finish()).await.unwrap().version, 3);
    assert!(matches!(due("a wait beyond it", beyond.finish()).await, Err(StoreError::Poisoned)));
    assert!(matches!(store.close().await, Err(StoreError::Poisoned)));
}

/// Where a frame of a segment begins.
fn frame_at(log: &[u8], number: usize) -> usize {
    log.windows(4).enumerate().filter(|(_, bytes)| *bytes == frame::MAGIC).nth(number).unwrap().0
}

#[tokio::test]
async fn a_record_that_is_damaged_while_the_index_is_lost_keeps_its_place() {
    let (folder, store, mut script) = scene().await;
    let file = folder.path().join("store/log/00000001.seg");
    let mut log = fs::read(&file).unwrap();
    let damaged = frame_at(&log, 1);
    log[damaged..damaged + frame::HEADER].fill(0xee);
    fs::write(&file, log).unwrap();
    lose(store.core());
    store.commit(Commit { durability: Durability::Disk, ..script.say("behind it") }).await.unwrap();
    let range = |seq| ReadRange {
        from: seq,
        to: seq,
        order: Order::OldestFirst,
        kinds: KindFilter::All,
        max_records: 1,
        max_bytes: 1,
    };
    let session = script.session();
    assert!(matches!(store.read(session, range(2)).await, Err(StoreError::Corrupt { seq: 2, .. })));
    for seq in [1, 3] {
        assert_eq!(store.read(session, range(seq)).await.unwrap().records, script.written()[seq as usize - 1..][..1]);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_writer_that_panics_keeps_nobody_waiting() {
    let (folder, store, mut script) = scene().await;
    store.core().hook("writing", |_| panic!("a test tears the writer out of its work"));
    let queue = |commit: Commit| Started::new(store.commit(Commit { durability: Durability::Disk, ..commit }));
    let queued = [queue(script.say("torn")), queue(script.say("behind it"))];
    let waits = [3, 4, 9].map(|version| Started::new(store.wait(script.session(), version, Durability::Volatile)));
    let settled = Started::new(store.settled(script.session()));
    for commit in queued {
        assert!(matches!(due("a commit", commit.finish()).await, Err(StoreError::Poisoned)));
    }
    for wait in waits {
        assert!(matches!(due("a wait", wait.finish()).await, Err(StoreError::Poisoned)));
    }
    assert_eq!(due("what was queued", settled.finish()).await.unwrap().unwrap().version, 2);
    assert_eq!(store.find(script.session(), LABEL).await.unwrap(), [2], "what is there is read");
    let refused = store.commit(Script::new(2).say("later")).await;
    assert!(matches!(refused, Err(StoreError::Poisoned)));
    assert!(matches!(due("closing", store.close()).await, Err(StoreError::Poisoned)));
    let store = open(&folder).await;
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_whose_writer_panicked_lets_go_of_its_folder_when_it_is_dropped() {
    let (folder, store, mut script) = scene().await;
    store.core().hook("writing", |_| panic!("a test tears the writer out of its work"));
    assert!(store.commit(Commit { durability: Durability::Disk, ..script.say("torn") }).await.is_err());
    drop(store);
    let store = open(&folder).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_panic_beside_the_index_costs_the_index_and_nothing_else() {
    let (folder, store, mut script) = scene().await;
    let (heard, torn) = oneshot::channel();
    store.core().hook("keeping the index", |_| {
        let _ = heard.send(());
        panic!("a test tears the index's thread out of its work");
    });
    store.commit(script.say("a reason to look at the index")).await.unwrap();
    due("the panic", torn).await.unwrap();
    store.commit(Commit { durability: Durability::Disk, ..script.say("after it") }).await.unwrap();
    assert_eq!(store.claim(script.session(), KEY).await.unwrap(), Some(MADE));
    assert_eq!(store.find(script.session(), LABEL).await.unwrap(), [2]);
    due("closing", store.close()).await.unwrap();
    let store = open(&folder).await;
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 4);
    assert_eq!(store.claim(script.session(), KEY).await.unwrap(), Some(MADE));
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_hangs_holds_up_no_close_for_ever_and_keeps_the_lock() {
    let (folder, store, mut script) = scene().await;
    let (hangs, hung) = oneshot::channel();
    let (ends, end) = std::sync::mpsc::channel::<()>();
    store.core().hook("keeping the index", move |_| {
        let _ = hangs.send(());
        // As sled does when its disk failed while it flushed.
        let _ = end.recv();
    });
    store.commit(Commit { durability: Durability::Disk, ..script.say("a reason to look at the index") }).await.unwrap();
    due("the index", hung).await.unwrap();
    due("closing", store.close()).await.unwrap();
    let path = folder.path().join("store");
    let second = SledStore::open(&path, SledOptions::default()).await;
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
    drop(ends);
    let store = open(&folder).await;
    assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, script.version());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_without_its_log_and_its_index_says_so_and_keeps_its_large_bodies() {
    let (folder, store, mut script) = scene().await;
    let mut large = script.say("large");
    large.records[0].payload = vec![b'x'; 100_000].into();
    store.commit(large).await.unwrap();
    store.close().await.unwrap();
    let root = folder.path().join("store");
    for part in ["log", "index"] {
        fs::remove_dir_all(root.join(part)).unwrap();
    }
    let store = open(&folder).await;
    assert!(store.report().shortened && !store.report().is_quiet());
    store.close().await.unwrap();
    assert_eq!(fs::read_dir(root.join("blobs")).unwrap().count(), 1);
    assert_eq!(
        fs::read_dir(root.join("blobs")).unwrap().next().unwrap().unwrap().path().read_dir().unwrap().count(),
        1
    );
}

/// Where the test below finds the store when it is run by itself.
const STORE: &str = "SESSIONS_TEST_STORE_WITH_FEW_FILES";

/// Says what the opening said, and ends.
async fn open_with_few_files(path: &std::ffi::OsStr) -> ! {
    let opened = SledStore::open(path, SledOptions::default()).await;
    let said = match &opened {
        Ok(store) => i32::from(store.report().index != super::IndexReport::Opened),
        Err(StoreError::Backend(_)) => 2,
        Err(_) => 3,
    };
    if let Ok(store) = opened {
        let _ = store.close().await;
    }
    std::process::exit(110 + said)
}

#[tokio::test]
async fn an_index_that_the_system_does_not_let_open_is_left_where_it_is() {
    if let Some(store) = std::env::var_os(STORE) {
        open_with_few_files(&store).await;
    }
    let (folder, store, _) = scene().await;
    store.close().await.unwrap();
    drop(store);
    let root = folder.path().join("store");
    let name = "sled::torn::an_index_that_the_system_does_not_let_open_is_left_where_it_is";
    let (mut refused, mut opened) = (0, 0);
    for files in 4..40 {
        let run = std::process::Command::new("sh")
            .args(["-c", "ulimit -n $0; exec \"$@\"", &files.to_string()])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(STORE, &root)
            .output()
            .unwrap();
        let aside: Vec<_> = fs::read_dir(root.join("quarantine")).unwrap().flatten().map(|kept| kept.path()).collect();
        assert_eq!(aside, [] as [std::path::PathBuf; 0], "{files} files: {run:?}");
        match run.status.code() {
            Some(110) => opened += 1,
            Some(112) => refused += 1,
            // The runtime or the test's own harness lacked them.
            Some(1 | 101) | None => {}
            Some(other) => panic!("{files} files: {other}, {run:?}"),
        }
    }
    assert!(refused > 2 && opened > 2, "{refused} times refused, {opened} times opened");
}

#[tokio::test]
async fn a_host_key_survives_the_damage_of_its_record_and_the_loss_of_the_index() {
    const HOST: [u8; 32] = [5; 32];
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut script = Script::new(1);
    let mut first = script.say("the key stands in this one");
    first.key = Some(HOST);
    store.commit(Commit { durability: Durability::Disk, ..first }).await.unwrap();
    store.commit(Commit { durability: Durability::Disk, ..script.say("another") }).await.unwrap();
    store.close().await.unwrap();
    let store = open(&folder).await;
    let file = folder.path().join("store/log/00000001.seg");
    let mut log = fs::read(&file).unwrap();
    let at = frame_at(&log, 0);
    log[at..at + frame::HEADER].fill(0xee);
    fs::write(&file, log).unwrap();
    lose(store.core());
    assert_eq!(store.by_key(HOST).await.unwrap(), Some(script.session()));
    store.close().await.unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(&folder).await;
        assert_eq!(store.by_key(HOST).await.unwrap(), Some(script.session()));
        store.close().await.unwrap();
    }
}
