//! A process that changes keys is killed before and after every call that it makes to the keys and to the log, and at every step that it tells. The store opens
//! with the key that is right then, nothing that was acknowledged is lost, the change is finished, and the old keys are dead.
//!
//! The process is this test's program, started again with `SESSIONS_CRASH`; it says where it is, and the test kills it there (SIGKILL).
//!
//! Must not know: how anything is sealed.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_infra::{
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::{Resealed, SealedStore},
};
use sessions_ports::{
    Commit, Committed, Digest, Durability, Erased, Erasure, Expected, Head, Heir, KeyError, Page, ReadRange, Removal,
    Removed, Rewrite, Rewritten, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};
use sessions_testkit::{Script, read_all};

use crate::{
    copy::copy,
    ground::{Dice, Said, assert_says, everything, fill, folder, key_of, open, open_log, provider, segment},
    keys::{Around, KeyCall, Keys},
    reader::{Ring, SlotKeys, frames, halves, ring_text},
};

/// What became of each change of a data key that had been broken off.
type Resumed = Vec<(SessionId, Result<Resealed, StoreError>)>;

/// All changes that were broken off are finished.
fn all_finished(resumed: Result<Resumed, StoreError>) {
    assert!(resumed.unwrap().iter().all(|(_, resumed)| resumed.is_ok()));
}

const SESSIONS: u64 = 100;
/// The session whose keys are changed or destroyed.
const VICTIM: u64 = 37;
const OLD: u8 = 5;
const NEW: u8 = 6;
/// Places between the slots of one change of many.
const SLOT: &str = "before slot";

/// Where the process is; at one of these places it stops.
struct Course {
    /// 0: nowhere.
    stops_at: u64,
    place: AtomicU64,
    is_armed: AtomicBool,
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}

impl Course {
    fn pass(&self, name: &str) {
        if !self.is_armed.load(Ordering::SeqCst) {
            return;
        }
        let place = self.place.fetch_add(1, Ordering::SeqCst) + 1;
        if place > self.stops_at && self.stops_at > 0 {
            // The one that stopped is about to be killed.
            stop();
        }
        say(&format!("at {place} {name}"));
        if place == self.stops_at {
            say("killed");
            stop();
        }
    }
}

fn stop() -> ! {
    loop {
        std::thread::park();
    }
}

struct Watched<T> {
    inner: T,
    course: Arc<Course>,
}

impl<T> Watched<T> {
    async fn around<R>(&self, name: &str, call: impl Future<Output = R>) -> R {
        self.course.pass(&format!("before {name}"));
        let answer = call.await;
        self.course.pass(&format!("after {name}"));
        answer
    }
}

#[async_trait]
impl Around for Arc<Course> {
    async fn before(&self, call: KeyCall) -> Result<(), StoreError> {
        self.pass(&format!("before {}", name_of(call)));
        Ok(())
    }

    async fn behind(&self, call: KeyCall) -> Result<(), StoreError> {
        self.pass(&format!("after {}", name_of(call)));
        Ok(())
    }

    /// Each slot is whole, and a kill can come between any two.
    fn before_slot(&self, number: u64) -> bool {
        self.pass(&format!("{SLOT} {number}"));
        true
    }
}

fn name_of(call: KeyCall) -> &'static str {
    match call {
        KeyCall::Ring => "keys.ring",
        KeyCall::PutRing => "keys.put_ring",
        KeyCall::Slots => "keys.slots",
        KeyCall::Add => "keys.add",
        KeyCall::Truncate => "keys.truncate",
        KeyCall::Read => "keys.read",
        KeyCall::Overwrite => "keys.overwrite",
    }
}

#[async_trait]
impl SessionLog for Watched<Arc<dyn SessionLog>> {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.around("log.commit", self.inner.commit(commit)).await
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.around("log.remove", self.inner.remove(removal)).await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        self.around("log.rewrite", self.inner.rewrite(rewrite)).await
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        self.around("log.heirs", self.inner.heirs(session)).await
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around("log.head", self.inner.head(session)).await
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.around("log.read", self.inner.read(session, range)).await
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.around("log.find", self.inner.find(session, label)).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.around("log.snapshot", self.inner.snapshot(session)).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.around("log.by_key", self.inner.by_key(key)).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.around("log.claim", self.inner.claim(session, key)).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.around("log.rows", self.inner.rows(since, limit)).await
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        self.around("log.wait", self.inner.wait(session, version, level)).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.around("log.settled", self.inner.settled(session)).await
    }

    async fn erased(&self, session: SessionId) -> Result<Option<Erased>, StoreError> {
        self.around("log.erased", self.inner.erased(session)).await
    }

    fn erasure(&self) -> Option<Erasure> {
        self.inner.erasure()
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.around("log.close", self.inner.close()).await
    }
}

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Makes a sealed store.
    Create,
    /// Begins the first session of one.
    Begin,
    /// Another key of the store.
    Rotate,
    /// Another data key of a session.
    RotateData,
    /// Removes a session with its keys.
    Shred,
    /// Opens, and finishes what was broken off.
    Finish,
}

const DEEDS: [Deed; 6] = [Deed::Create, Deed::Begin, Deed::Rotate, Deed::RotateData, Deed::Shred, Deed::Finish];

fn session(number: u64) -> SessionId {
    Script::new(number).session()
}

fn removal(number: u64) -> Removal {
    Removal { session: session(number), expected: None, keep_key: false, durability: Durability::Disk }
}

fn first_commit() -> Commit {
    let commit = Script::new(1).say("the first words");
    Commit { durability: Durability::Disk, ..commit }
}

/// The process that is to be killed. Without the variable it is a test that has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(order) = env::var_os("SESSIONS_CRASH") else { return };
    let order = order.into_string().unwrap();
    let [deed, number, key, stops_at, path] = order.splitn(5, ' ').collect::<Vec<_>>().try_into().unwrap();
    let number = number.parse().unwrap();
    // The harness has begun a line.
    say("");
    let deed = DEEDS.into_iter().find(|known| format!("{known:?}") == deed).unwrap();
    let course =
        Course { stops_at: stops_at.parse().unwrap(), place: AtomicU64::new(0), is_armed: AtomicBool::new(false) };
    let course = Arc::new(course);
    let arm = || course.is_armed.store(true, Ordering::SeqCst);
    if matches!(deed, Deed::Create | Deed::Finish) {
        arm();
    }
    let log = open_log(Path::new(path)).await.unwrap();
    let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
    let keys = Keys { keys, around: Arc::clone(&course) };
    let log: Arc<dyn SessionLog> = Arc::new(log);
    let log = Watched { inner: log, course: Arc::clone(&course) };
    let provider = provider(key.parse().unwrap());
    let opened = SealedStore::open_or_create(Arc::new(log), Arc::new(keys), &provider, Arc::new(SystemClock)).await;
    let store = opened.unwrap();
    if deed == Deed::RotateData {
        // What the process before this one left.
        all_finished(store.resume(|_, _| ()).await);
    }
    arm();
    let told = |step: &dyn std::fmt::Debug| course.pass(&format!("told {step:?}"));
    match deed {
        Deed::Create => {}
        Deed::Begin => drop(store.commit(first_commit()).await.unwrap()),
        Deed::Rotate => drop(store.rotate(&crate::ground::provider(NEW), |step| told(&step)).await.unwrap()),
        Deed::RotateData => drop(store.rotate_data(session(number), |step| told(&step)).await.unwrap()),
        Deed::Shred => drop(store.remove(removal(number)).await.unwrap()),
        Deed::Finish => all_finished(store.resume(|_, step| told(&step)).await),
    }
    course.pass("acknowledged");
    store.close().await.unwrap();
    say("ended");
}

/// Where a process was before it was killed or ended, with this session's keys.
fn run_on(number: u64, deed: Deed, key: u8, stops_at: u64, path: &Path) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crashes::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env("SESSIONS_CRASH", format!("{deed:?} {number} {key} {stops_at} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "killed" {
            child.kill().unwrap();
            break;
        }
        lines.push(line);
    }
    let output = child.wait_with_output().unwrap();
    let is_over = !output.status.success() || lines.iter().any(|line| line == "ended");
    let was_stopped = lines.iter().any(|line| line.starts_with(&format!("at {stops_at} ")));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(is_over && (output.status.success() || was_stopped), "{deed:?} at {stops_at}: {lines:?}\n{said}");
    lines.into_iter().filter(|line| line.starts_with("at ")).collect()
}

/// Whether a place was come by.
fn passed(lines: &[String], place: &str) -> bool {
    lines.iter().any(|line| line.ends_with(place))
}

/// A store from which each try begins, and where the tries are.
struct Scene {
    ground: tempfile::TempDir,
    said: Said,
    dice: Dice,
    /// Places at which a process can be killed, and how many were.
    steps: usize,
    kills: u64,
}

impl Scene {
    async fn new(proof: &str, sessions: u64) -> Self {
        let (ground, dice) = (folder(), Dice::new(proof));
        let store = open(&ground.path().join("before"), OLD).await.unwrap();
        let said = fill(&store, sessions, 3).await;
        store.close().await.unwrap();
        Self { ground, said, dice, steps: 0, kills: 0 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.ground.path().join(name)
    }

    /// A copy to try something with.
    fn fresh(&self, from: &str, to: &str) -> PathBuf {
        let _absent = fs::remove_dir_all(self.at(to));
        let path = self.at(to);
        if self.at(from).exists() {
            copy(&self.at(from), &path);
        }
        path
    }

    /// Where a process was before it was killed or ended, with the victim's keys.
    fn run(&mut self, deed: Deed, key: u8, stops_at: u64, path: &Path) -> Vec<String> {
        self.run_on(VICTIM, deed, key, stops_at, path)
    }

    /// The same, with this session's.
    fn run_on(&mut self, number: u64, deed: Deed, key: u8, stops_at: u64, path: &Path) -> Vec<String> {
        let lines = run_on(number, deed, key, stops_at, path);
        self.kills += u64::from(lines.iter().any(|line| line.starts_with(&format!("at {stops_at} "))));
        lines
    }

    /// The places of a deed in an order of chance. Of those between the slots of one change a usual run takes a part.
    fn places(&mut self, deed: Deed, from: &str) -> Vec<u64> {
        let path = self.fresh(from, "counting");
        let lines = self.run(deed, OLD, 0, &path);
        let count = lines.len();
        let (mut slots, mut places): (Vec<u64>, Vec<u64>) =
            (1..=count as u64).partition(|place| lines[*place as usize - 1].contains(SLOT));
        self.dice.shuffle(&mut slots);
        places.extend(&slots[..rounds(10, &slots)]);
        self.dice.shuffle(&mut places);
        println!("{deed:?}: {count} places, {} of them between slots", slots.len());
        self.steps += count;
        assert!(count > 3);
        places
    }

    /// What was done, when all of it held.
    fn figure(&self, what: &str, holds: &str) {
        let Self { steps, kills, said, .. } = self;
        println!("figure: {what}: {steps} steps, {kills} kills, {} sessions; {holds}", said.len());
    }

    /// The places of a deed from one on and before another.
    fn between(&self, deed: Deed, from: &str, to: &str) -> Vec<u64> {
        let lines = run_on(VICTIM, deed, OLD, 0, &self.fresh("before", "counting"));
        let at = |place: &str| lines.iter().position(|line| line.ends_with(place)).unwrap() as u64 + 1;
        (at(from)..at(to)).collect()
    }

    /// Now and then the process that finishes is killed too.
    fn break_again(&mut self, key: u8, path: &Path) {
        while self.dice.below(3) == 0 {
            let at = 1 + self.dice.below(24) as u64;
            self.run(Deed::Finish, key, at, path);
        }
    }

    /// Another store's keys in place of its own.
    fn with_keys(&self, base: &str, names: &[&str], from: &str) -> PathBuf {
        let path = self.fresh(base, "mixed");
        for name in names {
            fs::copy(self.at(from).join("keys").join(name), path.join("keys").join(name)).unwrap();
        }
        path
    }
}

const RINGS: [&str; 2] = ["ring", "ring.copy"];

/// No session of a store says anything, typed.
async fn assert_mute(path: &Path, key: u8, said: &Said, why: &str) {
    let store = match open(path, key).await {
        Ok(store) => store,
        Err(StoreError::Key(_)) => return,
        Err(other) => panic!("{why}: {other}"),
    };
    for session in said.keys() {
        let answer = read_all(&store, *session, everything()).await;
        assert!(matches!(answer, Err(StoreError::Key(_) | StoreError::Corrupt { .. })), "{why}: {answer:?}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_of_the_store_survives_a_kill_at_every_step() {
    let mut scene = Scene::new("another key", SESSIONS).await;
    for place in scene.places(Deed::Rotate, "before") {
        let path = scene.fresh("before", "store");
        let lines = scene.run(Deed::Rotate, OLD, place, &path);
        let why = lines.last().cloned().unwrap();
        let (right, wrong) = if passed(&lines, "after keys.put_ring") { (NEW, OLD) } else { (OLD, NEW) };
        scene.break_again(right, &path);
        let refused = open(&path, wrong).await.err();
        assert!(matches!(refused, Some(StoreError::Key(KeyError::WrongKey { .. }))), "{why}: {refused:?}");
        let store = open(&path, right).await.unwrap();
        assert!(!store.key_facts().is_changing, "{why}: opening finishes it");
        assert_says(&store, &scene.said, &why).await;
        if right == OLD {
            store.rotate(&provider(NEW), |_| ()).await.unwrap();
            assert_says(&store, &scene.said, &why).await;
        }
        store.close().await.unwrap();
        // The old key is dead: with the ring of now, with that of before, and the slots of before under the ring of now.
        let refused = open(&path, OLD).await.err();
        assert!(matches!(refused, Some(StoreError::Key(KeyError::WrongKey { .. }))), "{why}: {refused:?}");
        assert_mute(&scene.with_keys("store", &RINGS, "before"), OLD, &scene.said, &why).await;
        assert_mute(&scene.with_keys("store", &["slots"], "before"), NEW, &scene.said, &why).await;
        let ring = Ring::read(&ring_text(&fs::read(path.join("keys/ring")).unwrap()), &key_of(NEW)).unwrap();
        assert!(ring.retiring.is_none(), "{why}: the old key is in the ring");
    }
    scene.figure("another key of the store", "every session whole, the old key opens nothing");
}

/// The keys of a session that anybody gets out of a folder.
fn keys_in(path: &Path, key: u8) -> Vec<SlotKeys> {
    let ring = Ring::read(&ring_text(&fs::read(path.join("keys/ring")).unwrap()), &key_of(key)).unwrap();
    let halves = halves(&fs::read(path.join("keys/slots")).unwrap());
    let keks: Vec<_> = [Some(&ring.kek), ring.retiring.as_ref()].into_iter().flatten().collect();
    let read = |(place, _, bytes): (u64, u64, Vec<u8>)| {
        keks.iter().find_map(|kek| SlotKeys::read(&bytes, &ring.store, place, kek))
    };
    halves.into_iter().filter_map(read).collect()
}

/// The keys of the session whose keys are changed or destroyed.
fn victims_keys(path: &Path) -> SlotKeys {
    let frames = frames(path, &fs::read(segment(path)).unwrap());
    let mine: Vec<_> = frames.iter().filter(|frame| frame.record.session == session(VICTIM).to_bytes()).collect();
    let opens =
        |keys: &SlotKeys| keys.data.iter().any(|data| mine.iter().any(|frame| frame.record.open(&data.key).is_some()));
    keys_in(path, OLD).into_iter().find(opens).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_data_key_survives_a_kill_at_every_step() {
    let mut scene = Scene::new("another data key", SESSIONS).await;
    let old = victims_keys(&scene.at("before"));
    let victim: Said =
        scene.said.iter().filter(|(id, _)| **id == session(VICTIM)).map(|(a, b)| (*a, b.clone())).collect();
    for place in scene.places(Deed::RotateData, "before") {
        let path = scene.fresh("before", "store");
        let lines = scene.run(Deed::RotateData, OLD, place, &path);
        let why = lines.last().cloned().unwrap();
        scene.break_again(OLD, &path);
        let store = open(&path, OLD).await.unwrap();
        assert_says(&store, &scene.said, &why).await;
        all_finished(store.resume(|_, _| ()).await);
        assert!(store.unfinished().is_empty(), "{why}");
        assert_says(&store, &scene.said, &why).await;
        if keys_in(&path, OLD).iter().any(|keys| keys.root == old.root && keys.of(1).is_some()) {
            assert!(!passed(&lines, "after keys.put_ring"), "{why}: what the ring knew of is finished");
            store.rotate_data(session(VICTIM), |_| ()).await.unwrap();
        }
        // Whoever goes on goes on under the new key.
        let records = &scene.said[&session(VICTIM)];
        let (version, tip) = records.last().map(|record| (record.seq, record.commit)).unwrap();
        let more = Script::new(VICTIM).behind(version, tip, b"goes on", Durability::Disk);
        let expected = [records.as_slice(), &more.records].concat();
        store.commit(more).await.unwrap();
        store.close().await.unwrap();
        let left = keys_in(&path, OLD);
        assert!(left.iter().all(|keys| keys.data.iter().all(|data| data.key != old.data[0].key)), "{why}: the old key");
        let mine = left.iter().find(|keys| keys.root == old.root).unwrap();
        assert_eq!(mine.data.len(), 1, "{why}: one key is left");
        // The slots of before open nothing of what is there now.
        assert_mute(&scene.with_keys("store", &["slots"], "before"), OLD, &victim, &why).await;
        let store = open(&path, OLD).await.unwrap();
        assert_eq!(read_all(&store, session(VICTIM), everything()).await.unwrap(), expected, "{why}");
        store.close().await.unwrap();
    }
    scene.figure("another data key", "every session whole, the old key gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shredding_survives_a_kill_at_every_step() {
    let mut scene = Scene::new("shredding", SESSIONS).await;
    let old = victims_keys(&scene.at("before"));
    let others: Said =
        scene.said.iter().filter(|(id, _)| **id != session(VICTIM)).map(|(a, b)| (*a, b.clone())).collect();
    for place in scene.places(Deed::Shred, "before") {
        let path = scene.fresh("before", "store");
        let lines = scene.run(Deed::Shred, OLD, place, &path);
        let why = lines.last().cloned().unwrap();
        scene.break_again(OLD, &path);
        let store = open(&path, OLD).await.unwrap();
        assert_says(&store, &others, &why).await;
        match read_all(&store, session(VICTIM), everything()).await {
            Ok(records) => {
                assert!(!passed(&lines, "after log.remove"), "{why}: it was removed");
                assert_eq!(records, scene.said[&session(VICTIM)], "{why}");
                assert_eq!(store.erased(session(VICTIM)).await.unwrap(), None, "{why}");
                store.remove(removal(VICTIM)).await.unwrap();
            }
            Err(StoreError::Gone { .. }) => {}
            Err(other) => panic!("{why}: {other}"),
        }
        let receipt = store.erased(session(VICTIM)).await.unwrap();
        assert_eq!(receipt.map(|receipt| receipt.how), Some(Erasure::Overwritten), "{why}");
        store.close().await.unwrap();
        let left = keys_in(&path, OLD);
        assert!(left.iter().all(|keys| keys.root != old.root), "{why}: its keys are there");
        let store = open(&path, OLD).await.unwrap();
        assert_says(&store, &others, &why).await;
        store.close().await.unwrap();
    }
    scene.figure("shredding", "the others whole, no key of it left");
}

/// How often each of the hundred sessions is in hand when the process is killed, each time at another step. As many as there are steps are all pairs,
/// which `SESSIONS_CRASH_ROUNDS=all` asks for where the time is.
fn rounds(usual: usize, steps: &[u64]) -> usize {
    let asked = env::var("SESSIONS_CRASH_ROUNDS").ok();
    let asked = asked.map(|rounds| if rounds == "all" { usize::MAX } else { rounds.parse().unwrap() });
    asked.unwrap_or(usual).min(steps.len())
}

impl Scene {
    /// A store in which each session had its turn: whoever did it was killed, at another step than in any other round, and the next process went on with
    /// the next session. Gives where each of them was.
    fn each_in_turn(&mut self, deed: Deed, steps: &[u64], round: usize) -> (PathBuf, Vec<(u64, Vec<String>)>) {
        let path = self.fresh("before", "store");
        let mut turns: Vec<u64> = (1..=SESSIONS).collect();
        self.dice.shuffle(&mut turns);
        let at = |number: u64| steps[(number as usize + round) % steps.len()];
        let turns: Vec<_> =
            turns.into_iter().map(|number| (number, self.run_on(number, deed, OLD, at(number), &path))).collect();
        let ended = turns.iter().filter(|(_, lines)| passed(lines, "acknowledged")).count();
        assert!(ended <= turns.len() / 4, "{deed:?}: {ended} were not killed on the way");
        (path, turns)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_data_keys_of_a_hundred_sessions_survive_a_kill_at_every_step_of_each_other() {
    let mut scene = Scene::new("other data keys", SESSIONS).await;
    let old = keys_in(&scene.at("before"), OLD);
    assert_eq!(old.len() as u64, SESSIONS);
    let steps = scene.places(Deed::RotateData, "before");
    for round in 0..rounds(12, &steps) {
        let (path, turns) = scene.each_in_turn(Deed::RotateData, &steps, round);
        let store = open(&path, OLD).await.unwrap();
        let why = format!("round {round}");
        all_finished(store.resume(|_, _| ()).await);
        assert!(store.unfinished().is_empty(), "{why}");
        assert_says(&store, &scene.said, &why).await;
        for (number, _) in turns.iter().filter(|(_, lines)| !passed(lines, "after keys.put_ring")) {
            store.rotate_data(session(*number), |_| ()).await.unwrap();
        }
        assert_says(&store, &scene.said, &why).await;
        store.close().await.unwrap();
        // What the ring knew of was finished by whoever came next, so no old data key is left of any session.
        let left = keys_in(&path, OLD);
        for before in &old {
            let now: Vec<_> = left.iter().filter(|keys| keys.root == before.root).collect();
            let is_changed = |now: &&SlotKeys| now.data.len() == 1 && now.data[0].key != before.data[0].key;
            assert!(!now.is_empty() && now.iter().all(is_changed), "{why}: an old data key is there");
        }
        assert_mute(&scene.with_keys("store", &["slots"], "before"), OLD, &scene.said, &why).await;
    }
    scene.figure("another data key for each", "every session whole, every old key gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shredding_a_hundred_sessions_survives_a_kill_at_every_step_of_each_other() {
    let mut scene = Scene::new("shredding all", SESSIONS).await;
    let old = keys_in(&scene.at("before"), OLD);
    assert_eq!(old.len() as u64, SESSIONS);
    let steps = scene.places(Deed::Shred, "before");
    let behind_removal = scene.between(Deed::Shred, "after log.remove", "after keys.overwrite");
    for round in 0..rounds(10, &steps) {
        let (path, mut turns) = scene.each_in_turn(Deed::Shred, &steps, round);
        // Nobody comes behind the last one who would sweep up its keys with those of another.
        let last = turns.iter().position(|(_, lines)| !passed(lines, "after log.remove")).unwrap();
        let (number, _) = turns.remove(last);
        let at = behind_removal[round % behind_removal.len()];
        turns.push((number, scene.run_on(number, Deed::Shred, OLD, at, &path)));
        assert!(passed(&turns[turns.len() - 1].1, "after log.remove"));
        let store = open(&path, OLD).await.unwrap();
        // Opening is enough to end what was begun: no other removal comes to its help.
        let removed = turns.iter().filter(|(_, lines)| passed(lines, "after log.remove"));
        for (number, lines) in removed {
            let receipt = store.erased(session(*number)).await.unwrap();
            let how = receipt.map(|receipt| receipt.how);
            assert_eq!(how, Some(Erasure::Overwritten), "round {round}, session {number}: {:?}", lines.last());
        }
        let mut whole = 0;
        for (number, lines) in &turns {
            let why = format!("round {round}, session {number}: {:?}", lines.last());
            match read_all(&store, session(*number), everything()).await {
                Ok(records) => {
                    assert!(!passed(lines, "after log.remove"), "{why}: it was removed");
                    assert_eq!(records, scene.said[&session(*number)], "{why}");
                    store.remove(removal(*number)).await.unwrap();
                    whole += 1;
                }
                Err(StoreError::Gone { .. }) => {}
                Err(other) => panic!("{why}: {other}"),
            }
            let receipt = store.erased(session(*number)).await.unwrap();
            assert_eq!(receipt.map(|receipt| receipt.how), Some(Erasure::Overwritten), "{why}");
        }
        assert!(whole > 0 && whole < SESSIONS, "kills before and behind the removal: {whole}");
        store.close().await.unwrap();
        let left = keys_in(&path, OLD);
        assert!(left.iter().all(|keys| old.iter().all(|before| before.root != keys.root)), "keys are there still");
    }
    scene.figure("shredding each", "whole or gone, no key left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn making_a_store_and_its_first_session_survives_a_kill_at_every_step() {
    let mut scene = Scene::new("first steps", 0).await;
    for (deed, from) in [(Deed::Create, "nothing"), (Deed::Begin, "before")] {
        for place in scene.places(deed, from) {
            let path = scene.fresh(from, "store");
            let lines = scene.run(deed, OLD, place, &path);
            let why = format!("{deed:?} {}", lines.last().cloned().unwrap());
            scene.break_again(OLD, &path);
            let wrong = open(&path, NEW).await;
            assert!(!passed(&lines, "after keys.put_ring") || wrong.is_err(), "{why}");
            let right = if let Ok(store) = wrong {
                // It had no key until now.
                store.close().await.unwrap();
                NEW
            } else {
                OLD
            };
            let store = open(&path, right).await.unwrap();
            let first = first_commit();
            match read_all(&store, first.session, everything()).await {
                Ok(records) => assert_eq!(records, first.records, "{why}: whole"),
                Err(StoreError::NotFound { .. }) => {
                    assert!(!passed(&lines, "after log.commit"), "{why}: it was acknowledged");
                    store.commit(first.clone()).await.unwrap();
                }
                Err(other) => panic!("{why}: {other}"),
            }
            let second = Commit {
                expected: Expected::NoStream,
                durability: Durability::Disk,
                ..Script::new(2).say("a second one")
            };
            store.commit(second.clone()).await.unwrap();
            store.close().await.unwrap();
            let store = open(&path, right).await.unwrap();
            let said = [first, second].map(|commit| (commit.session, commit.records));
            assert_says(&store, &said.into(), &why).await;
            store.close().await.unwrap();
        }
    }
    scene.figure("a store and its first session", "whole or absent, and it goes on");
}
