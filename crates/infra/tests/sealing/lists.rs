//! The words of a list: each row has its own or none, however many are asked for, and whatever became of slots beside its own.
//!
//! Must not know: how words are opened.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
use sessions_ports::{KeyStore as _, Slot, SlotChange};
use sessions_testkit::FixedKey;

use crate::{
    ground::fill,
    keys::{Around, Keys},
};

/// More than are opened where they are asked for.
const MANY: u64 = 200;

/// What a lot of slots is read as: as it was before somebody wrapped it anew.
#[derive(Clone, Default)]
struct Before(Arc<Mutex<Option<Vec<Slot>>>>);

impl Around for Before {
    fn read_instead(&self, from: u64, limit: usize) -> Option<Vec<Slot>> {
        let before = self.0.lock().unwrap().clone().filter(|_| limit > 1)?;
        Some(before.into_iter().skip(usize::try_from(from).unwrap()).take(limit).collect())
    }
}

type Late = Keys<MemoryKeyStore, Before>;

async fn open(log: &MemoryStore, keys: &Late) -> SealedStore {
    let (log, keys) = (Arc::new(log.clone()), Arc::new(keys.clone()));
    SealedStore::open_or_create(log, keys, &FixedKey(1), Arc::new(SystemClock)).await.unwrap()
}

/// What a store that was opened just now says of each session, in pages of so many rows.
async fn listed(log: &MemoryStore, keys: &Late, page: usize) -> Vec<(SessionId, Bytes)> {
    use sessions_ports::SessionLog as _;
    let store = open(log, keys).await;
    let (mut rows, mut since) = (Vec::new(), 0);
    loop {
        let page = store.rows(since, page).await.unwrap();
        rows.extend(page.rows.into_iter().map(|row| (row.session, row.words)));
        since = page.next;
        if !page.more {
            return rows;
        }
    }
}

fn own(session: SessionId) -> Bytes {
    format!("words of {session}").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_has_its_own_words_or_none_whatever_became_of_the_slots_beside_it() {
    let (log, keys) = (MemoryStore::new(), Late::default());
    let store = open(&log, &keys).await;
    let said = fill(&store, MANY, 1).await;
    let slots = keys.read(0, 1_000).await.unwrap();
    // What a destroyed slot looks like.
    let gone = *said.keys().last().unwrap();
    use sessions_ports::SessionLog as _;
    let removal = sessions_ports::Removal {
        session: gone,
        expected: None,
        keep_key: false,
        durability: sessions_ports::Durability::Volatile,
    };
    store.remove(removal).await.unwrap();
    drop(store);
    let now = keys.read(0, 1_000).await.unwrap();
    let tombstone = now.iter().zip(&slots).find(|(now, before)| now != before).unwrap().0.clone();
    let order: Vec<SessionId> = said.keys().copied().filter(|session| *session != gone).collect();
    let mut all = listed(&log, &keys, 1_000).await;
    all.sort();
    assert_eq!(all, order.iter().map(|session| (*session, own(*session))).collect::<Vec<_>>());
    // Slots that became each other's, another's tombstone, bytes of nobody, and nothing.
    let spoilt =
        [(10, slots[11].clone()), (11, slots[10].clone()), (40, tombstone), (90, Slot::from_static(b"\x01\x01"))];
    let spoilt = [spoilt.as_slice(), &[(91, Slot::new())]].concat();
    let change = |(number, new): &(u64, Slot)| SlotChange {
        number: *number,
        expected: now[usize::try_from(*number).unwrap()].clone(),
        new: new.clone(),
    };
    keys.overwrite(spoilt.iter().map(change).collect()).await.unwrap();
    for page in [1, 8, 64, 1_000] {
        let rows = listed(&log, &keys, page).await;
        assert_eq!(rows.len(), order.len(), "pages of {page}");
        let (full, empty): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, words)| !words.is_empty());
        assert!(full.iter().all(|(session, words)| *words == own(*session)), "pages of {page}");
        assert_eq!(empty.len(), spoilt.len(), "pages of {page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_meets_the_end_of_a_rotation_has_all_words() {
    let (log, keys) = (MemoryStore::new(), Late::default());
    let store = open(&log, &keys).await;
    let said = fill(&store, MANY, 1).await;
    let before = keys.read(0, 1_000).await.unwrap();
    store.rotate(&FixedKey(1), |_| ()).await.unwrap();
    drop(store);
    *keys.around.0.lock().unwrap() = Some(before);
    for page in [16, 1_000] {
        let rows = listed(&log, &keys, page).await;
        assert_eq!(rows.len(), said.len());
        assert!(rows.iter().all(|(session, words)| *words == own(*session)), "pages of {page}");
    }
}
