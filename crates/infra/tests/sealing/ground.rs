//! What the proofs stand on: stores in folders, images of them, and dice.
//!
//! Must not know: what is proved.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sessions_domain::SessionId;
use sessions_infra::{
    environment::SystemClock,
    keys::{FileKeyStore, KeyFileProvider},
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
};
use sessions_ports::{KindFilter, Order, ReadRange, Record, SecretKey, SessionLog, StoreError};
use sessions_testkit::{Script, read_all};
use tempfile::TempDir;

/// The key of a key file.
pub(crate) fn key_of(byte: u8) -> [u8; 32] {
    [byte; 32]
}

pub(crate) fn provider(byte: u8) -> KeyFileProvider {
    KeyFileProvider::of(SecretKey::take(&mut key_of(byte)))
}

/// A folder in memory where the system has one: what is proved here is what happens to bytes, and syncs of a disk would only take time.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap() } else { TempDir::new().unwrap() }
}

pub(crate) async fn open_log(path: &Path) -> Result<SledStore, StoreError> {
    let options = SledOptions { cache_bytes: 1 << 20, sealing: Sealing::Sealed };
    SledStore::open(path, options).await
}

pub(crate) async fn open(path: &Path, key: u8) -> Result<SealedStore, StoreError> {
    open_both(path, key).await.map(|(sealed, _)| sealed)
}

/// A sealed store, and the one beneath it.
pub(crate) async fn open_both(path: &Path, key: u8) -> Result<(SealedStore, SledStore), StoreError> {
    let store = open_log(path).await?;
    let log: Arc<dyn SessionLog> = Arc::new(store.clone());
    let opened = async {
        let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await?;
        SealedStore::open_or_create(log, Arc::new(keys), &provider(key), Arc::new(SystemClock)).await
    };
    match opened.await {
        Ok(sealed) => Ok((sealed, store)),
        Err(error) => {
            store.close().await.unwrap();
            Err(error)
        }
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Whether bytes stand anywhere in any file of a folder; the first one's name.
pub(crate) fn holds(folder: &Path, wanted: &[u8]) -> Option<PathBuf> {
    let first = *wanted.first().unwrap();
    let is_in = |bytes: &[u8]| {
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
            if bytes[from + at..].starts_with(wanted) {
                return true;
            }
            from += at + 1;
        }
        false
    };
    files(folder).into_iter().find(|path| is_in(&fs::read(path).unwrap()))
}

pub(crate) fn forget_index(path: &Path) {
    let _absent = fs::remove_dir_all(path.join("index"));
}

pub(crate) fn segment(path: &Path) -> PathBuf {
    path.join("log/00000001.seg")
}

pub(crate) fn everything() -> ReadRange {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 100, max_bytes: usize::MAX }
}

pub(crate) fn only(seq: u64) -> ReadRange {
    ReadRange { from: seq, to: seq, max_records: 1, ..everything() }
}

/// What each session says.
pub(crate) type Said = BTreeMap<SessionId, Vec<Record>>;

/// Sessions of so many records each, all on the disk.
pub(crate) async fn fill(store: &SealedStore, sessions: u64, records: usize) -> Said {
    let mut said = Said::new();
    for number in 1..=sessions {
        let mut script = Script::new(number);
        for at in 0..records {
            let commit = script.say(&format!("record {at} of session {number}"));
            let durability = if at + 1 == records { store.strongest() } else { commit.durability };
            store.commit(sessions_ports::Commit { durability, ..commit }).await.unwrap();
        }
        said.insert(script.session(), script.written().to_vec());
    }
    said
}

pub(crate) async fn assert_says(store: &SealedStore, said: &Said, why: &str) {
    for (session, records) in said {
        let now = read_all(store, *session, everything()).await;
        assert_eq!(now.as_ref().ok(), Some(records), "{why}: {session}: {:?}", now.as_ref().err());
    }
}

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    /// Prints its seed.
    pub(crate) fn new(proof: &str) -> Self {
        let given = std::env::var("SESSIONS_SEED").ok().and_then(|seed| seed.parse().ok());
        let drawn = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
        let seed = given.unwrap_or_else(drawn);
        println!("{proof}: SESSIONS_SEED={seed}");
        Self(seed)
    }

    /// The same each time.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.number() as u8)
    }
}
