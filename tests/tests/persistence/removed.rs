//! Removed sessions: they stay away whatever becomes of the index, are no loss to anybody, and survive damage and its repair.
//!
//! Must not know: how the store keeps its promises inside.

use std::{fs, path::Path, sync::Arc};

use sessions_app::{At, NewSession, Ports, Session, SessionManager, Settings};
use sessions_domain::{Message, SessionId, SessionKey};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    sled::{Severity, SledStore, repair, verify},
    tokens::BuiltInEncodings,
};
use sessions_ports::{Durability, Removal, Removed, SessionLog, StoreError};
use tempfile::TempDir;

use crate::{
    equipment::{chance, folder},
    inside::{copy, open, runtime},
};

pub(crate) fn manager(store: impl SessionLog + 'static) -> SessionManager {
    let ports = Ports {
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings::default()).unwrap()
}

pub(crate) async fn remove(store: &SledStore, session: SessionId, keep_key: bool) -> Removed {
    store.remove(Removal { session, expected: None, keep_key, durability: Durability::Disk }).await.unwrap()
}

pub(crate) async fn texts(session: &Session) -> Vec<String> {
    session.last(10_000).await.unwrap().iter().map(|message| message.text()).collect()
}

/// A store in which an owner and two others were removed, and what is left of it.
struct Ground {
    owner: SessionId,
    keyed: SessionId,
    fork: SessionId,
    left: SessionId,
    texts: [Vec<String>; 2],
}

async fn filled(store: &SledStore) -> Ground {
    let host = manager(store.clone());
    let owner = host.create(NewSession::titled("owner")).await.unwrap();
    let mut places = Vec::new();
    for n in 0..6 {
        places.push(owner.append(Message::user(format!("of the owner {n}"))).await.unwrap());
    }
    let fork = owner.fork(At::Message(places[2].message)).await.unwrap();
    fork.append(Message::user("of the fork")).await.unwrap();
    let keyed = host.create(NewSession::titled("keyed").key(SessionKey::new("kept").unwrap())).await.unwrap();
    keyed.append(Message::user("large ".repeat(20_000))).await.unwrap();
    let left = host.create(NewSession::titled("left")).await.unwrap();
    left.append(Message::user("also large ".repeat(20_000))).await.unwrap();
    let texts = [texts(&fork).await, texts(&left).await];
    assert_eq!(texts[0].len(), 4);
    let removed = remove(store, owner.id(), false).await;
    assert_eq!((removed.records, removed.kept, removed.heirs), (3, 4, vec![fork.id()]));
    assert!(remove(store, keyed.id(), true).await.was_there);
    Ground { owner: owner.id(), keyed: keyed.id(), fork: fork.id(), left: left.id(), texts }
}

async fn check(path: &Path, ground: &Ground, case: &str) {
    let store = open(path).await;
    for gone in [ground.owner, ground.keyed] {
        let head = store.head(gone).await;
        assert!(matches!(head, Err(StoreError::Gone { session }) if session == gone), "{case}: {head:?}");
    }
    let host = manager(store.clone());
    for (id, texts) in [ground.fork, ground.left].into_iter().zip(&ground.texts) {
        assert_eq!(self::texts(&host.load(id).await.unwrap()).await, *texts, "{case}");
    }
    let again = NewSession::titled("again").key(SessionKey::new("kept").unwrap());
    assert!(host.create(again).await.is_err(), "{case}: the key was to be kept");
    let listed: Vec<SessionId> = store.rows(0, 100).await.unwrap().rows.iter().map(|row| row.session).collect();
    assert!(listed.len() == 2 && listed.contains(&ground.fork) && listed.contains(&ground.left), "{case}: {listed:?}");
    store.close().await.unwrap();
    drop((store, host));
    let report = verify(path).unwrap();
    assert_eq!((report.findings.as_slice(), report.sessions, report.removed), (&[][..], 2, 2), "{case}");
}

#[test]
fn a_removed_session_stays_away_with_and_without_the_index_after_a_close_and_after_a_kill() {
    runtime().block_on(async {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let store = open(&path).await;
        let ground = filled(&store).await;
        let killed = folder.path().join("killed");
        copy(&path, &killed);
        store.close().await.unwrap();
        drop(store);
        for (from, name) in [(&path, "closed"), (&killed, "killed")] {
            let bare = folder.path().join(format!("{name} without an index"));
            copy(from, &bare);
            fs::remove_dir_all(bare.join("index")).unwrap();
            for round in 1..=2 {
                check(from, &ground, &format!("{name}, opening {round}")).await;
                check(&bare, &ground, &format!("{name} without an index, opening {round}")).await;
            }
        }
        // The last heir takes along what was kept for it.
        let store = open(&path).await;
        remove(&store, ground.fork, false).await;
        let everything = store.read(ground.owner, crate::removed::all()).await;
        assert!(matches!(everything, Err(StoreError::Gone { .. })), "{everything:?}");
        store.close().await.unwrap();
        drop(store);
        for round in 1..=2 {
            let store = open(&path).await;
            assert!(matches!(store.read(ground.owner, all()).await, Err(StoreError::Gone { .. })), "opening {round}");
            store.close().await.unwrap();
        }
    });
}

pub(crate) fn all() -> sessions_ports::ReadRange {
    let (order, kinds) = (sessions_ports::Order::OldestFirst, sessions_ports::KindFilter::All);
    sessions_ports::ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 1000, max_bytes: 1 << 30 }
}

/// Where the frames stand that say that a session was removed.
fn removals(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path.join("log/00000001.seg")).unwrap();
    bytes.windows(6).enumerate().filter(|(_, window)| *window == b"SSN\x01\x01\xfc").map(|(at, _)| at).collect()
}

#[test]
fn a_damaged_removal_is_written_again_from_the_index_and_told_without_it() {
    runtime().block_on(async {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let store = open(&path).await;
        let ground = filled(&store).await;
        store.close().await.unwrap();
        drop(store);
        let places = removals(&path);
        assert_eq!(places.len(), 2);
        let segment = path.join("log/00000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[places[0] + 50] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let bare = folder.path().join("bare");
        copy(&path, &bare);
        fs::remove_dir_all(bare.join("index")).unwrap();

        let report = verify(&path).unwrap();
        let about: Vec<_> = report.findings.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(about.iter().any(|found| found.session == Some(ground.owner) && found.seq.is_none()), "{about:?}");
        repair(&path, false).unwrap();
        assert!(verify(&path).unwrap().is_sound());
        check_gone(&path, &ground).await;
        fs::remove_dir_all(path.join("index")).unwrap();
        check_gone(&path, &ground).await;

        // Nobody knows of it any more but the damaged bytes, and these are not believed: nothing is destroyed, and it is said.
        let told = |findings: &[sessions_infra::sled::Finding]| {
            findings.iter().any(|found| found.session == Some(ground.owner) && found.what.contains("deleted"))
        };
        assert!(told(&verify(&bare).unwrap().findings));
        let store = open(&bare).await;
        assert_eq!(store.report().damaged, 1);
        assert_eq!(store.head(ground.owner).await.unwrap().unwrap().version, 7);
        assert!(remove(&store, ground.owner, false).await.was_there);
        store.close().await.unwrap();
        drop(store);
        repair(&bare, false).unwrap();
        check(&bare, &ground, "removed again").await;
    });
}

async fn check_gone(path: &Path, ground: &Ground) {
    let store = open(path).await;
    assert!(matches!(store.head(ground.owner).await, Err(StoreError::Gone { .. })));
    let host = manager(store.clone());
    assert_eq!(texts(&host.load(ground.fork).await.unwrap()).await, ground.texts[0]);
    store.close().await.unwrap();
}

/// Whatever byte is damaged: with the index no removed session comes back, and a repair makes the store healthy for good.
#[test]
fn no_damaged_byte_brings_a_removed_session_back_beside_an_index() {
    let mut chance = chance("removed::no_damaged_byte_brings_a_removed_session_back_beside_an_index");
    runtime().block_on(async {
        let folder = folder();
        let path = folder.path().join("store");
        let store = open(&path).await;
        let ground = filled(&store).await;
        store.close().await.unwrap();
        drop(store);
        let whole = fs::read(path.join("log/00000001.seg")).unwrap();
        let removals = removals(&path);
        for round in 0..120 {
            let hit = folder.path().join(format!("hit-{round}"));
            copy(&path, &hit);
            let has_index = round % 3 != 0;
            if !has_index {
                fs::remove_dir_all(hit.join("index")).unwrap();
            }
            // Every fourth hits a removal.
            let length = u64::try_from(whole.len()).unwrap();
            let at = match round % 4 {
                0 => removals[round / 4 % 2] + usize::try_from(chance.below(92)).unwrap(),
                _ => usize::try_from(chance.below(length)).unwrap(),
            };
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << chance.below(8);
            fs::write(hit.join("log/00000001.seg"), bytes).unwrap();
            let case = format!("byte {at}, {}", if has_index { "with the index" } else { "without it" });
            for opens_first in [true, false] {
                if opens_first == (round % 2 == 0) {
                    open(&hit).await.close().await.unwrap();
                } else {
                    repair(&hit, false).unwrap();
                }
            }
            repair(&hit, false).unwrap();
            let report = verify(&hit).unwrap();
            assert!(report.is_sound(), "{case}: {:?}", report.findings);
            assert!(repair(&hit, false).unwrap().actions.is_empty(), "{case}");
            let store = open(&hit).await;
            for gone in [ground.owner, ground.keyed] {
                let is_back = store.head(gone).await.is_ok();
                assert!(!is_back || !has_index, "{case}: {gone} is back");
            }
            for there in [ground.fork, ground.left] {
                assert!(store.head(there).await.unwrap().is_some(), "{case}: {there} is gone");
            }
            store.close().await.unwrap();
            drop(store);
            fs::remove_dir_all(&hit).unwrap();
        }
    });
}
