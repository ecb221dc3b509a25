//! Use cases over a sealed store: what is shredded is gone, forks that were detached live on, and one session without keys harms no other.

use std::sync::Arc;

use sessions_app::{
    At, Deletion, DeletionStep, ErrorKind, Forks, ImportOptions, LostToFork, NewSession, Query, Session, SessionError,
    SessionManager,
};
use sessions_domain::{Actor, Message, SessionId};
use sessions_infra::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};
use sessions_ports::{KeyError, KeyStore as _, Rewrite, SessionLog as _, SlotChange, StoreError};
use sessions_testkit::{Call, Fault, FaultyStore, FixedKey, Injected, When};

use crate::ground::{self, texts};

struct Ground {
    store: SealedStore,
    sessions: SessionManager,
}

async fn sealed() -> Ground {
    let store = open(MemoryStore::new(), MemoryKeyStore::new()).await;
    let sessions = ground::manager(store.clone());
    Ground { store, sessions }
}

async fn open(log: MemoryStore, keys: MemoryKeyStore) -> SealedStore {
    SealedStore::open_or_create(Arc::new(log), Arc::new(keys), &FixedKey(1), Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test]
async fn a_session_with_forks_is_shredded_only_when_they_go_too_or_are_detached() {
    let Ground { store, sessions } = sealed().await;
    let parent = sessions.create(NewSession::titled("parent")).await.unwrap();
    let mut receipts = Vec::new();
    for at in 0..600 {
        receipts.push(parent.append(Message::user(format!("message {at}"))).await.unwrap());
    }
    let fork = parent.fork(At::Now).await.unwrap();
    fork.append(Message::user("of the fork")).await.unwrap();
    let inner = fork.fork(At::Now).await.unwrap();
    inner.append(Message::user("of its fork")).await.unwrap();
    let seen = [texts(&fork).await, texts(&inner).await];
    let refused = sessions.delete(parent.id(), Deletion::shredding()).await.unwrap_err();
    let SessionError::HasForks { forks, .. } = &refused else { panic!("{refused}") };
    assert_eq!((forks.len(), refused.kind()), (2, ErrorKind::Conflict));
    let deletion = Deletion::shredding().forks(Forks::Detach);
    let report = sessions.delete(parent.id(), deletion).await.unwrap();
    assert_eq!((report.kept, report.detached.len()), (0, 2));
    let erased = report.erased.unwrap();
    assert!(sessions.delete(parent.id(), Deletion::shredding()).await.unwrap().erased == Some(erased), "told again");
    // A manager that has seen nothing reads them from their own logs.
    let later = ground::manager(store.clone());
    for (session, seen) in [(fork.id(), &seen[0]), (inner.id(), &seen[1])] {
        let session = later.load(session).await.unwrap();
        assert_eq!(&texts(&session).await, seen);
        assert_eq!(session.summary().await.unwrap().messages, 600 + if session.id() == fork.id() { 1 } else { 2 });
        let old = receipts[10].message;
        assert!(session.messages().await.unwrap().next_page().await.unwrap().unwrap().iter().any(|m| m.id == old));
        session.fork(At::Message(old)).await.unwrap();
        session.undo(3).await.unwrap();
        session.append(Message::user("and on")).await.unwrap();
        let mut bytes = Vec::new();
        let mut export = session.export_json().await.unwrap();
        while let Some(chunk) = export.next_chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        let elsewhere = ground::manager(MemoryStore::new());
        let imported = elsewhere.import(std::io::Cursor::new(bytes), ImportOptions::default()).await.unwrap();
        assert_eq!(texts(&elsewhere.load(imported.id).await.unwrap()).await, texts(&session).await);
    }
    let gone = later.load(parent.id()).await.err().unwrap();
    assert!(matches!(gone, SessionError::Gone { .. }), "{gone}");
}

#[tokio::test]
async fn a_plain_store_shreds_nothing() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    let refused = sessions.delete(session.id(), Deletion::shredding()).await.unwrap_err();
    assert!(matches!(refused, SessionError::Store(StoreError::Key(KeyError::Plain))), "{refused}");
    assert!(sessions.load(session.id()).await.is_ok());
}

#[tokio::test]
async fn a_session_without_keys_answers_so_and_harms_no_other() {
    let log = MemoryStore::new();
    let keys = MemoryKeyStore::new();
    let sessions = ground::manager(open(log.clone(), keys.clone()).await);
    let lost = sessions.create(NewSession::titled("lost")).await.unwrap();
    lost.append(Message::user("a")).await.unwrap();
    let kept = sessions.create(NewSession::titled("kept")).await.unwrap();
    kept.append(Message::user("b")).await.unwrap();
    // The slot of the first session becomes what the slot of a shredded one is.
    let other = sessions.create(NewSession::default()).await.unwrap();
    sessions.delete(other.id(), Deletion::default()).await.unwrap();
    let slots = keys.read(0, 100).await.unwrap();
    let mut tombstone = slots.iter().min_by_key(|slot| slot.len()).unwrap().to_vec();
    tombstone[2..18].copy_from_slice(&lost.id().to_bytes());
    let new = tombstone.into();
    keys.overwrite(vec![SlotChange { number: 0, expected: slots[0].clone(), new }]).await.unwrap();
    let later = ground::manager(open(log, keys).await);
    let destroyed = later.load(lost.id()).await.err().unwrap();
    assert!(
        matches!(destroyed, SessionError::Store(StoreError::Key(KeyError::SessionDestroyed { .. }))),
        "{destroyed}"
    );
    assert_eq!(destroyed.kind(), ErrorKind::KeyDestroyed);
    assert_eq!(texts(&later.load(kept.id()).await.unwrap()).await, ["b"]);
    let listed = later.list(&Query::default()).await.unwrap().sessions;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|row| row.id == lost.id() && row.title.is_none()));
    assert_eq!(later.delete(lost.id(), Deletion::default()).await.unwrap().records, 2);
    assert_eq!(later.list(&Query::default()).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn a_session_whose_slot_is_damaged_is_shredded_and_keeps_no_parent_from_it() {
    let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
    let sessions = ground::manager(open(log.clone(), keys.clone()).await);
    let alone = sessions.create(NewSession::titled("alone")).await.unwrap();
    let parent = sessions.create(NewSession::titled("parent")).await.unwrap();
    parent.append(Message::user("a")).await.unwrap();
    let fork = parent.fork(At::Now).await.unwrap();
    let kept = sessions.create(NewSession::titled("kept")).await.unwrap();
    kept.append(Message::user("b")).await.unwrap();
    for number in [0, 2] {
        let expected = keys.read(number, 1).await.unwrap().remove(0);
        let new = b"\x01damaged".to_vec().into();
        keys.overwrite(vec![SlotChange { number, expected, new }]).await.unwrap();
    }
    let later = ground::manager(open(log, keys).await);
    for id in [alone.id(), fork.id()] {
        let unread = later.load(id).await.err().unwrap();
        assert!(matches!(unread, SessionError::Store(StoreError::Key(KeyError::Damaged { .. }))), "{unread}");
    }
    assert!(later.delete(alone.id(), Deletion::shredding()).await.unwrap().erased.is_some());
    assert!(matches!(later.load(alone.id()).await.err().unwrap(), SessionError::Gone { .. }));
    let refused = later.delete(parent.id(), Deletion::shredding()).await.unwrap_err();
    assert!(matches!(&refused, SessionError::HasForks { forks, .. } if *forks == [fork.id()]), "{refused}");
    let report = later.delete(parent.id(), Deletion::shredding().forks(Forks::Cascade)).await.unwrap();
    assert_eq!((report.cascaded.as_slice(), report.erased.is_some()), ([fork.id()].as_slice(), true));
    assert!(matches!(later.load(parent.id()).await.err().unwrap(), SessionError::Gone { .. }));
    assert_eq!(texts(&later.load(kept.id()).await.unwrap()).await, ["b"]);
}

/// How the slot of a session may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// As it was before the store got another key.
    BeforeRotation,
    /// As it was before the session got another data key.
    BeforeDataKey,
    Empty,
    Zeros,
    Noise,
    OfAnother,
    OfAShredded,
    /// It was cut off.
    Missing,
    /// It was cut off, and a newer session has its number.
    TakenByAnother,
}

/// Each way, what the session answers then, and whether what lies there is destroyed with it.
const WRONG: [(Wrong, ErrorKind, bool); 9] = [
    (Wrong::BeforeRotation, ErrorKind::KeyRetired, true),
    (Wrong::BeforeDataKey, ErrorKind::KeyRetired, true),
    (Wrong::Empty, ErrorKind::Damaged, true),
    (Wrong::Zeros, ErrorKind::Damaged, true),
    (Wrong::Noise, ErrorKind::Damaged, true),
    (Wrong::OfAnother, ErrorKind::Damaged, false),
    (Wrong::OfAShredded, ErrorKind::KeyRetired, false),
    (Wrong::Missing, ErrorKind::Damaged, false),
    (Wrong::TakenByAnother, ErrorKind::KeyRetired, false),
];

/// A store with two sessions of a tenant, and one that was shredded.
struct Harmed {
    log: MemoryStore,
    keys: MemoryKeyStore,
    key: u8,
    lost: SessionId,
    kept: SessionId,
}

fn ours() -> Actor {
    Actor { tenant: "ours".into(), id: "x".into() }
}

impl Harmed {
    /// The first session's slot is wrong.
    async fn by(wrong: Wrong) -> Self {
        let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
        let store = open(log.clone(), keys.clone()).await;
        let sessions = ground::manager(store.clone()).acting_for(ours());
        let lost = sessions.create(NewSession::titled("lost")).await.unwrap();
        lost.append(Message::user("a")).await.unwrap();
        let kept = sessions.create(NewSession::titled("kept")).await.unwrap();
        kept.append(Message::user("b")).await.unwrap();
        let shredded = sessions.create(NewSession::default()).await.unwrap();
        sessions.delete(shredded.id(), Deletion::shredding()).await.unwrap();
        let (lost, kept) = (lost.id(), kept.id());
        let mut harmed = Self { log, keys, key: 1, lost, kept };
        let before = harmed.keys.read(0, 9).await.unwrap();
        let new = match wrong {
            Wrong::BeforeRotation => {
                store.rotate(&FixedKey(2), |_| ()).await.unwrap();
                harmed.key = 2;
                before[0].clone()
            }
            Wrong::BeforeDataKey => {
                store.rotate_data(lost, |_| ()).await.unwrap();
                before[0].clone()
            }
            Wrong::Empty => b"".to_vec().into(),
            Wrong::Zeros => vec![0; before[0].len()].into(),
            Wrong::Noise => b"\x01damaged".to_vec().into(),
            Wrong::OfAnother => before[1].clone(),
            Wrong::OfAShredded => before.iter().find(|slot| slot.get(1) == Some(&2)).unwrap().clone(),
            Wrong::Missing | Wrong::TakenByAnother => {
                harmed.keys.truncate(0).await.unwrap();
                if wrong == Wrong::TakenByAnother {
                    let newer = harmed.open().await.create(NewSession::default()).await.unwrap();
                    newer.append(Message::user("c")).await.unwrap();
                }
                return harmed;
            }
        };
        let expected = harmed.keys.read(0, 1).await.unwrap().remove(0);
        harmed.keys.overwrite(vec![SlotChange { number: 0, expected, new }]).await.unwrap();
        harmed
    }

    /// Whoever opens it anew, for no tenant.
    async fn open(&self) -> SessionManager {
        let (log, keys) = (Arc::new(self.log.clone()), Arc::new(self.keys.clone()));
        ground::manager(SealedStore::open(log, keys, &FixedKey(self.key), Arc::new(SystemClock)).await.unwrap())
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_slot_its_session_says_what_to_do_and_can_be_deleted() {
    for ((wrong, kind, is_destroyed), shreds) in WRONG.into_iter().flat_map(|wrong| [(wrong, false), (wrong, true)]) {
        let harmed = Harmed::by(wrong).await;
        let mut sessions = harmed.open().await;
        if wrong == Wrong::BeforeDataKey {
            sessions = sessions.acting_for(ours());
        }
        let refused = sessions.load(harmed.lost).await.err().unwrap();
        assert_eq!(refused.kind(), kind, "{wrong:?}: {refused}");
        assert!(refused.to_string().contains("put the "), "{wrong:?}: {refused}");
        let refused = sessions.trash(harmed.lost).await.err().unwrap();
        assert_eq!(refused.kind(), kind, "{wrong:?}: {refused}");
        let deletion = if shreds { Deletion::shredding() } else { Deletion::default() };
        let report = sessions.delete(harmed.lost, deletion).await.unwrap();
        assert_eq!((report.was_gone, report.erased.is_some()), (false, is_destroyed), "{wrong:?}: {report:?}");
        let again = sessions.delete(harmed.lost, deletion).await.unwrap();
        assert_eq!((again.was_gone, again.erased), (true, report.erased), "{wrong:?}");
        let later = harmed.open().await;
        assert!(matches!(later.load(harmed.lost).await.err().unwrap(), SessionError::Gone { .. }), "{wrong:?}");
        // Whoever has its number now keeps it, and so do all others.
        let is_cut = matches!(wrong, Wrong::Missing | Wrong::TakenByAnother);
        let others: Vec<_> = later.list(&Query::default()).await.unwrap().sessions.iter().map(|row| row.id).collect();
        assert_eq!(
            others.len(),
            match wrong {
                Wrong::Missing => 1,
                Wrong::TakenByAnother => 2,
                _ => 0,
            }
        );
        if wrong == Wrong::TakenByAnother {
            let newer = others.into_iter().find(|id| *id != harmed.kept).unwrap();
            assert_eq!(texts(&later.load(newer).await.unwrap()).await, ["c"]);
        }
        let kept = later.acting_for(ours()).load(harmed.kept).await;
        assert_eq!(kept.is_err(), is_cut, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_session_that_nobody_can_read_is_nobodys_and_no_tenant_lists_or_deletes_it() {
    for (wrong, kind, _) in WRONG {
        let harmed = Harmed::by(wrong).await;
        let sessions = harmed.open().await;
        // Its root lies there still, and opens what its row says.
        let is_known = wrong == Wrong::BeforeDataKey;
        let is_listed = async |sessions: &SessionManager| {
            sessions.list(&Query::default()).await.unwrap().sessions.iter().any(|row| row.id == harmed.lost)
        };
        assert_eq!(is_listed(&sessions).await, !is_known, "{wrong:?}");
        for tenant in ["theirs", if is_known { "" } else { "ours" }] {
            let sessions = sessions.acting_for(Actor { tenant: tenant.into(), id: "x".into() });
            assert!(!is_listed(&sessions).await, "{wrong:?} {tenant}");
            for deletion in [Deletion::default(), Deletion::shredding(), Deletion::default().forks(Forks::Cascade)] {
                let refused = sessions.delete(harmed.lost, deletion).await.unwrap_err();
                assert_eq!(refused.kind(), kind, "{wrong:?} {tenant}: {refused}");
            }
            assert!(sessions.trash(harmed.lost).await.is_err(), "{wrong:?} {tenant}");
        }
        let whose = if is_known { sessions.acting_for(ours()) } else { sessions };
        assert!(is_listed(&whose).await, "{wrong:?}");
        whose.delete(harmed.lost, Deletion::shredding()).await.unwrap();
        assert!(!is_listed(&whose).await, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_fork_that_nobody_can_read_is_not_deleted_with_what_it_was_forked_from_by_a_tenant() {
    let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
    let sessions = ground::manager(open(log.clone(), keys.clone()).await).acting_for(ours());
    let parent = sessions.create(NewSession::default()).await.unwrap();
    parent.append(Message::user("a")).await.unwrap();
    let fork = parent.fork(At::Now).await.unwrap();
    let expected = keys.read(1, 1).await.unwrap().remove(0);
    keys.overwrite(vec![SlotChange { number: 1, expected, new: b"\x01damaged".to_vec().into() }]).await.unwrap();
    let later = ground::manager(open(log, keys).await);
    let cascade = Deletion::shredding().forks(Forks::Cascade);
    let refused = later.acting_for(ours()).delete(parent.id(), cascade).await.unwrap_err();
    assert!(matches!(&refused, SessionError::HasForks { forks, .. } if forks.is_empty()), "{refused}");
    assert_eq!(texts(&later.acting_for(ours()).load(parent.id()).await.unwrap()).await, ["a"]);
    assert!(later.delete(fork.id(), Deletion::shredding()).await.unwrap().erased.is_some());
    assert!(later.acting_for(ours()).delete(parent.id(), cascade).await.unwrap().erased.is_some());
}

#[tokio::test]
async fn a_session_whose_row_lost_its_words_is_still_listed_to_its_tenant_alone() {
    let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
    let sessions = ground::manager(open(log.clone(), keys.clone()).await).acting_for(ours());
    let session = sessions.create(NewSession::titled("ours")).await.unwrap();
    let durability = log.strongest();
    let (records, words) = (Vec::new(), Some(b"noise".to_vec().into()));
    let lost = Rewrite { session: session.id(), expected: None, records, words, unlink: Vec::new(), durability };
    log.rewrite(lost).await.unwrap();
    let later = ground::manager(open(log, keys).await);
    let titles = async |sessions: &SessionManager| {
        let listed = sessions.list(&Query::default()).await.unwrap().sessions;
        listed.into_iter().map(|row| row.title).collect::<Vec<_>>()
    };
    assert_eq!(titles(&later).await, []);
    assert_eq!(titles(&later.acting_for(ours())).await, [Some("ours".to_owned())]);
    assert!(matches!(later.delete(session.id(), Deletion::default()).await, Err(SessionError::NotFound { .. })));
}

/// A parent with more than one lot of what is taken over, and a fork of a fork.
struct Family {
    parent: SessionId,
    fork: SessionId,
    inner: SessionId,
}

impl Family {
    async fn grow(sessions: &SessionManager) -> Self {
        let long = |name: &str| Message::user(format!("{name} {}", "of a long talk ".repeat(40_000)));
        let parent = sessions.create(NewSession::titled("parent")).await.unwrap();
        for name in ["first", "second", "third"] {
            parent.append(long(name)).await.unwrap();
        }
        let fork = parent.fork(At::Now).await.unwrap();
        for name in ["fourth", "fifth"] {
            fork.append(long(name)).await.unwrap();
        }
        let inner = fork.fork(At::Now).await.unwrap();
        inner.append(Message::user("of its fork")).await.unwrap();
        Self { parent: parent.id(), fork: fork.id(), inner: inner.id() }
    }

    /// Both forks have all that they had and go on, for whoever has seen nothing of them.
    async fn assert_whole(&self, sessions: &SessionManager, said: &[Vec<String>; 2], why: &str) {
        for (id, said) in [self.fork, self.inner].into_iter().zip(said) {
            let session = sessions.load(id).await.unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(&texts(&session).await, said, "{why}");
            let mut bytes = Vec::new();
            let mut export = session.export_jsonl().await.unwrap_or_else(|error| panic!("{why}: {error}"));
            while let Some(chunk) = export.next_chunk().await.unwrap() {
                bytes.extend_from_slice(&chunk);
            }
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(lines > said.len(), "{why}: {lines} lines");
            let late = session.fork(At::Now).await.unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(&texts(&late).await, said, "{why}");
            sessions.delete(late.id(), Deletion::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn detaching_that_fails_at_any_call_leaves_forks_whole_and_is_gone_on_with() {
    for when in [When::Before, When::After] {
        for nth in 1.. {
            let why = format!("call {nth} failed {when:?}");
            let Ground { store, sessions } = sealed().await;
            let family = Family::grow(&sessions).await;
            let said = [
                texts(&sessions.load(family.fork).await.unwrap()).await,
                texts(&sessions.load(family.inner).await.unwrap()).await,
            ];
            let faulty = FaultyStore::over(Arc::new(store.clone()));
            let deletion = || Deletion::shredding().forks(Forks::Detach);
            faulty.fail(Fault { call: None, nth, when, answer: Injected::Unavailable });
            let outcome = ground::manager(faulty.clone()).delete(family.parent, deletion()).await;
            if faulty.struck() == 0 {
                assert!(nth > 20 && outcome.is_ok(), "{nth} calls: {outcome:?}");
                break;
            }
            family.assert_whole(&ground::manager(store.clone()), &said, &why).await;
            let again = ground::manager(store.clone()).delete(family.parent, deletion()).await;
            let again = again.unwrap_or_else(|error| panic!("{why}, again: {error}"));
            assert!(again.erased.is_some(), "{why}: {again:?}");
            let later = ground::manager(store);
            family.assert_whole(&later, &said, &format!("{why}, and again")).await;
            for id in [family.fork, family.inner] {
                later.load(id).await.unwrap().append(Message::user("and on")).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_fork_that_is_deleted_while_it_is_detached_keeps_its_parent_from_nothing() {
    for (call, nth) in [(Call::Heirs, 1), (Call::Head, 5), (Call::Read, 4), (Call::Rewrite, 1), (Call::Rewrite, 2)] {
        let Ground { store, sessions } = sealed().await;
        let family = Family::grow(&sessions).await;
        let faulty = FaultyStore::over(Arc::new(store.clone()));
        let (other, fork) = (ground::manager(store.clone()), family.fork);
        faulty.meanwhile(call, nth, async move {
            other.delete(fork, Deletion::default()).await.unwrap();
        });
        let deletion = Deletion::shredding().forks(Forks::Detach);
        let report = ground::manager(faulty.clone()).delete(family.parent, deletion).await;
        let report = report.unwrap_or_else(|error| panic!("{call:?} {nth}: {error}"));
        assert!(!report.was_gone, "{call:?} {nth}");
        let later = ground::manager(store);
        for id in [family.parent, fork] {
            let gone = later.load(id).await.err().unwrap();
            assert!(matches!(gone, SessionError::Gone { session } if session == id), "{call:?} {nth}: {gone}");
        }
        later.load(family.inner).await.unwrap().append(Message::user("and on")).await.unwrap();
        let again = later.delete(family.parent, deletion).await.unwrap();
        assert!(again.was_gone && again.erased.is_some(), "{call:?} {nth}: {again:?}");
    }
}

#[tokio::test]
async fn a_fork_that_is_detached_while_it_is_loaded_is_whole() {
    for (call, nth) in
        [Call::Head, Call::Read, Call::Snapshot].into_iter().flat_map(|call| (1..=8).map(move |nth| (call, nth)))
    {
        for of_grandparent in [true, false] {
            let Ground { store, sessions } = sealed().await;
            let grandparent = sessions.create(NewSession::default()).await.unwrap();
            grandparent.append(Message::user("first")).await.unwrap();
            let parent = grandparent.fork(At::Now).await.unwrap();
            parent.append(Message::user("second")).await.unwrap();
            let fork = parent.fork(At::Now).await.unwrap();
            fork.append(Message::user("third")).await.unwrap();
            let faulty = FaultyStore::over(Arc::new(store));
            let deletion = Deletion::shredding().forks(Forks::Detach);
            let gone = if of_grandparent { grandparent.id() } else { parent.id() };
            let fork = fork.id();
            faulty.meanwhile(call, nth, async move {
                sessions.delete(gone, deletion).await.unwrap();
            });
            let why = format!("{call:?} {nth}, of the grandparent {of_grandparent}");
            let loaded = ground::manager(faulty.clone()).load(fork).await;
            let loaded = loaded.unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(texts(&loaded).await, ["first", "second", "third"], "{why}");
            loaded.append(Message::user("and on")).await.unwrap();
            assert_eq!(texts(&loaded).await, ["first", "second", "third", "and on"], "{why}");
        }
    }
}

#[tokio::test]
async fn a_fork_that_was_read_without_the_keys_of_its_parent_goes_on_once_it_is_detached() {
    let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
    let sessions = ground::manager(open(log.clone(), keys.clone()).await);
    let parent = sessions.create(NewSession::default()).await.unwrap();
    parent.append(Message::user("inherited")).await.unwrap();
    let fork = parent.fork(At::Now).await.unwrap();
    fork.append(Message::user("its own")).await.unwrap();
    let expected = keys.read(0, 1).await.unwrap().remove(0);
    keys.overwrite(vec![SlotChange { number: 0, expected, new: b"\x01damaged".to_vec().into() }]).await.unwrap();
    let later = ground::manager(open(log, keys).await);
    let loaded = later.load(fork.id()).await.unwrap();
    assert_eq!(texts(&loaded).await, ["its own"]);
    let refused = loaded.append(Message::user("and on")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    // Whoever puts the slot back finds it again, so it is given up only by who says so.
    let deletion = Deletion::shredding().forks(Forks::Detach);
    let refused = later.delete(parent.id(), deletion).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    let report = later.delete(parent.id(), deletion.accepting_loss()).await.unwrap();
    assert_eq!(report.detached, [fork.id()]);
    assert_eq!(report.lost, [LostToFork { fork: fork.id(), records: 2 }]);
    // Also whoever had it all the while.
    loaded.append(Message::user("and on")).await.unwrap();
    assert_eq!(texts(&loaded).await, ["its own", "and on"]);
}

#[tokio::test]
async fn keys_that_only_forks_needed_go_when_the_last_of_them_is_detached() {
    let Ground { sessions, .. } = sealed().await;
    let parent = sessions.create(NewSession::titled("parent")).await.unwrap();
    parent.append(Message::user("inherited")).await.unwrap();
    let forks = [parent.fork(At::Now).await.unwrap(), parent.fork(At::Now).await.unwrap()];
    let report = sessions.delete(parent.id(), Deletion::default()).await.unwrap();
    assert_eq!((report.heirs.len(), report.erased), (2, None), "the forks need them");
    let mut steps = Vec::new();
    let deletion = Deletion::shredding().forks(Forks::Detach);
    let report = sessions.delete_told(parent.id(), deletion, |step| steps.push(step)).await.unwrap();
    assert!(report.was_gone && report.detached.len() == 2, "{report:?}");
    let step = |fork: &Session, done| DeletionStep::Detaching { fork: fork.id(), done, of: 2 };
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(forks.iter().all(|fork| steps.contains(&step(fork, 0)) && steps.contains(&step(fork, 2))), "{steps:?}");
    assert!(report.erased.is_some(), "nobody needs them any more");
    for fork in forks {
        assert_eq!(texts(&fork).await, ["inherited"]);
    }
}

#[tokio::test]
async fn what_an_import_brought_along_is_shredded_with_the_last_that_needs_it() {
    let Ground { sessions, .. } = sealed().await;
    let root = sessions.create(NewSession::default()).await.unwrap();
    root.append(Message::user("of the root")).await.unwrap();
    let parent = root.fork(At::Now).await.unwrap();
    parent.append(Message::user("of the parent")).await.unwrap();
    let mut forks = Vec::new();
    for text in ["one", "other"] {
        let fork = parent.fork(At::Now).await.unwrap();
        fork.append(Message::user(text)).await.unwrap();
        let mut export = fork.export_jsonl().await.unwrap();
        let mut file = Vec::new();
        while let Some(chunk) = export.next_chunk().await.unwrap() {
            file.extend(chunk);
        }
        forks.push((fork.id(), file));
    }
    let Ground { store, sessions } = sealed().await;
    for (_, file) in &forks {
        sessions.import(std::io::Cursor::new(file.clone()), ImportOptions::default()).await.unwrap();
    }
    let shred = async |id| sessions.delete(id, Deletion::shredding()).await.unwrap();
    let report = shred(forks[0].0).await;
    assert_eq!((report.erased.is_some(), report.grounds.len()), (true, 0), "the other needs it");
    let other = sessions.load(forks[1].0).await.unwrap();
    assert_eq!(texts(&other).await, ["of the root", "of the parent", "other"]);
    let report = shred(forks[1].0).await;
    assert_eq!((report.erased.is_some(), &report.grounds), (true, &vec![parent.id(), root.id()]));
    for id in [root.id(), parent.id(), forks[1].0] {
        assert!(store.erased(id).await.unwrap().is_some(), "{id}: its keys are destroyed");
    }
    assert_eq!(store.key_status().await.unwrap().destroyed, 4);
    // A session that is in a list is nobody's ground.
    let root = sessions.create(NewSession::default()).await.unwrap();
    let fork = root.fork(At::Now).await.unwrap();
    assert_eq!(shred(fork.id()).await.grounds, []);
    assert!(sessions.load(root.id()).await.is_ok());
    let fork = root.fork(At::Now).await.unwrap();
    root.trash().await.unwrap();
    assert_eq!(shred(fork.id()).await.grounds, [], "nor one in the trash");
    assert!(sessions.restore_from_trash(root.id()).await.is_ok());
}
