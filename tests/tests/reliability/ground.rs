//! What the proofs stand on: seeds, dice, folders that are fast, and managers that are the same in every run.
//!
//! Must not know: what is proved.

use std::{
    io::Cursor,
    panic,
    path::Path,
    sync::{Arc, Once},
    time::{Duration, SystemTime},
};

use sessions_app::{ImportOptions, Ports, Session, SessionManager, Settings};
use sessions_domain::{LineageId, Message, MessageId, Moment, SessionId};
use sessions_infra::{
    MemoryStore,
    environment::{EstimateCounter, SystemClock},
    keys::{FileKeyStore, KeyFileProvider},
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
    tokens::BuiltInEncodings,
};
use sessions_ports::{Durability, Entropy as _, IdGenerator, SecretKey, SessionLog};
use sessions_testkit::{FixedClock, FixedEntropy, SequentialIds};
use tempfile::TempDir;

/// The seed of a run, which it prints.
pub(crate) fn seed(proof: &str) -> u64 {
    let given = std::env::var("SESSIONS_SEED").ok().and_then(|seed| seed.parse().ok());
    let drawn = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
    let seed = given.unwrap_or_else(drawn);
    println!("{proof}: SESSIONS_SEED={seed}");
    seed
}

/// Numbers that follow from a seed.
pub(crate) struct Dice(FixedEntropy);

impl Dice {
    /// Streams of seeds beside each other have nothing in common: the generator's own seeds only say where in its one cycle to begin.
    pub(crate) fn new(seed: u64) -> Self {
        let mut begin = [0; 8];
        FixedEntropy::seeded(seed).fill(&mut begin).unwrap();
        Self(FixedEntropy::seeded(u64::from_le_bytes(begin)))
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn dice_of_neighbouring_seeds_share_nothing() {
    let throws = |seed| {
        let mut dice = Dice::new(seed);
        (0..1_000).map(|_| dice.number()).collect::<Vec<_>>()
    };
    let all: std::collections::HashSet<u64> = (0..100).flat_map(throws).collect();
    assert_eq!(all.len(), 100_000);
}

/// A folder in memory where the system has one: what is proved here is what happens to bytes, and syncs of a disk would only take time.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap() } else { TempDir::new().unwrap() }
}

pub(crate) async fn open(path: &Path) -> SledStore {
    SledStore::open(path, SledOptions { cache_bytes: 1 << 20, ..SledOptions::default() }).await.unwrap()
}

/// A key file of this byte.
pub(crate) fn key_file(byte: u8) -> KeyFileProvider {
    KeyFileProvider::of(SecretKey::take(&mut [byte; 32]))
}

/// The default store in a folder, sealed and attested as the facade does it. Its sessions must stand as they were attested.
pub(crate) async fn open_sealed(path: &Path, key: u8) -> SealedStore {
    let options = SledOptions { cache_bytes: 1 << 20, sealing: Sealing::Sealed };
    let sled = SledStore::open(path, options).await.unwrap();
    let keys = FileKeyStore::open(&sled.keys_folder(), sled.id()).await.unwrap();
    let (log, keys): (Arc<dyn SessionLog>, _) = (Arc::new(sled.clone()), Arc::new(keys));
    let store = SealedStore::open_or_create(log, keys, &key_file(key), Arc::new(SystemClock)).await.unwrap();
    let attested = sled.witness(Arc::new(store.witness().unwrap())).unwrap();
    assert!(attested.is_sound(), "{attested}");
    store
}

/// Does work while the keys of a sealed store and of all its sessions change, over and over; the last change may be broken off.
pub(crate) async fn beside_other_keys<T>(store: &SealedStore, work: impl Future<Output = T>) -> T {
    let (mut work, mut changes) = (std::pin::pin!(work), 0_u64);
    loop {
        let change = async {
            let key = u8::try_from(2 + changes % 200).unwrap();
            store.rotate(&key_file(key), |_| ()).await.unwrap();
            for row in store.rows(0, 16).await.unwrap().rows {
                store.rotate_data(row.session, |_| ()).await.unwrap();
            }
        };
        tokio::select! {
            done = &mut work => {
                println!("beside {changes} changes of all keys");
                assert!(changes > 0, "the work was over before keys changed");
                return done;
            }
            () = change => changes += 1,
        }
    }
}

/// The default store in a folder, or another handle to the one in memory.
pub(crate) async fn opened(path: Option<&Path>, memory: &MemoryStore) -> Arc<dyn SessionLog> {
    match path {
        Some(path) => Arc::new(open(path).await),
        None => Arc::new(memory.clone()),
    }
}

/// Everything of a manager but its store. A clone goes on with the same numbers.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) clock: FixedClock,
    pub(crate) ids: Arc<dyn IdGenerator>,
    pub(crate) entropy: FixedEntropy,
}

impl Host {
    pub(crate) fn seeded(seed: u64) -> Self {
        let clock = FixedClock::at(Moment::from_millis(1_700_000_000_000));
        Self { clock, ids: Arc::new(SequentialIds::new()), entropy: FixedEntropy::seeded(seed) }
    }

    /// With ids of which no two differ by a bit: a damaged header can then not speak of another session by chance.
    pub(crate) fn drawing(seed: u64) -> Self {
        Self { ids: Arc::new(DrawnIds(FixedEntropy::seeded(seed.wrapping_add(1)))), ..Self::seeded(seed) }
    }

    pub(crate) fn manager(&self, store: Arc<dyn SessionLog>, durability: Durability) -> SessionManager {
        let ports = Ports {
            store,
            clock: Arc::new(self.clock.clone()),
            ids: Arc::clone(&self.ids),
            entropy: Arc::new(self.entropy.clone()),
            counter: Arc::new(EstimateCounter),
            encodings: Arc::new(BuiltInEncodings::new()),
        };
        SessionManager::with(ports, Settings { durability: Some(durability), ..Settings::default() }).unwrap()
    }
}

struct DrawnIds(FixedEntropy);

impl DrawnIds {
    fn draw(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes).unwrap();
        bytes
    }
}

impl IdGenerator for DrawnIds {
    fn session(&self, _now: Moment) -> SessionId {
        SessionId::from_bytes(self.draw())
    }

    fn message(&self, _now: Moment) -> MessageId {
        MessageId::from_bytes(self.draw())
    }

    fn lineage(&self, _now: Moment) -> LineageId {
        LineageId::from_bytes(self.draw())
    }
}

/// Runs a proof in a runtime of its own; without threads, nothing happens beside the proof but where it waits.
pub(crate) fn run<T>(threads: usize, proof: impl Future<Output = T>) -> T {
    quiet();
    let mut builder = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads.max(1)).enable_all().build().unwrap();
    let outcome = runtime.block_on(proof);
    runtime.shutdown_background();
    outcome
}

/// The answer of something that nothing stands in the way of; when it does not come, something is locked.
pub(crate) async fn due<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what} was never answered: something is locked"),
    }
}

/// Panics within the index's engine are expected where its files were damaged; they are contained, and would only fill the screen.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_engine = info.location().is_some_and(|at| at.file().contains("sled-0.34"));
            if !is_engine {
                loud(info);
            }
        }));
    });
}

/// Polls a future at most so many times, waiting for its wakes in between, and drops it. `None`: it had not finished.
pub(crate) async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        use std::task::Poll;
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polls >= times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The texts of the last messages that are visible.
pub(crate) async fn texts(session: &Session) -> Vec<String> {
    session.last(99).await.unwrap().iter().map(|message| message.text()).collect()
}

/// The session goes out, and what goes in elsewhere says the same.
pub(crate) async fn exported(session: &Session, host: &Host) {
    for is_document in [true, false] {
        let export = if is_document { session.export_json().await } else { session.export_jsonl().await };
        let (mut export, mut file) = (export.unwrap(), Vec::new());
        while let Some(chunk) = export.next_chunk().await.unwrap() {
            file.extend(chunk);
        }
        let elsewhere = host.manager(Arc::new(MemoryStore::pretending(Durability::Disk)), Durability::Disk);
        let report = elsewhere.import(Cursor::new(file), ImportOptions::default()).await.unwrap();
        let imported = elsewhere.load(report.id).await.unwrap();
        assert_eq!(texts(&imported).await, texts(session).await, "{}", session.id());
        imported.append(Message::user("and on")).await.unwrap();
    }
}
