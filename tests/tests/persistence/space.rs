//! Space of removed sessions comes back, and whatever breaks that off loses nothing that is there and brings nothing back that is not.
//!
//! Must not know: how the store gives space back.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use sessions_app::{Append, NewSession, SessionError};
use sessions_domain::{Message, SessionId};
use sessions_infra::sled::{IndexReport, SledStore, verify};
use sessions_ports::{Durability, SessionLog as _, StoreError};
use sessions_tests::{content::Content, line::Line};
use tempfile::TempDir;

use crate::{
    child::Child,
    disk::Disk,
    equipment::{chance, folder, has, tampered, with_own_mounts},
    inside::{copy, files, open, runtime},
    removed::{all, manager, remove},
};

/// Bytes that a store takes on the disk.
fn taken(path: &Path) -> u64 {
    let parts = ["log", "blobs"].map(|part| path.join(part));
    let files = parts.iter().filter(|part| part.exists()).flat_map(|part| files(part));
    let blocks = |file| match fs::metadata(file) {
        Ok(found) => found.blocks(),
        // It was given back while it was looked for.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => panic!("{error}"),
    };
    files.map(|file| blocks(file) * 512).sum()
}

fn content(writer: u64, seq: u64, length: usize) -> Content {
    Content { writer, first: seq, last: seq, seq, length }
}

/// Sessions of 100 KiB: most of ten messages, every tenth of a single large one.
async fn made(store: &SledStore, count: u64) -> Vec<SessionId> {
    let host = manager(store.clone());
    let mut ids = Vec::new();
    for number in 0..count {
        let session = host.create(NewSession::default()).await.unwrap();
        let (messages, length) = if number % 10 == 0 { (1, 100 << 10) } else { (10, 10 << 10) };
        let messages: Vec<Message> =
            (2..2 + messages).map(|seq| Message::user(content(number, seq, length).text())).collect();
        session.append(Append::all(messages).durability(Durability::Process)).await.unwrap();
        ids.push(session.id());
    }
    ids
}

/// Whether sessions of `made` are all there to the letter, or gone.
async fn check(store: &SledStore, ids: &[SessionId], is_gone: impl Fn(usize) -> bool) {
    let host = manager(store.clone());
    for (number, id) in ids.iter().enumerate() {
        if is_gone(number) {
            assert!(matches!(store.head(*id).await, Err(StoreError::Gone { .. })), "session {number}");
            continue;
        }
        let messages = host.load(*id).await.unwrap().last(100).await.unwrap();
        assert_eq!(messages.len(), if number % 10 == 0 { 1 } else { 10 });
        for message in messages {
            let content = Content::of(&message.text()).unwrap();
            assert_eq!((content.writer, content.seq), (number as u64, message.seq));
        }
    }
}

#[test]
fn half_of_two_thousand_sessions_gives_two_fifths_of_the_disk_back() {
    const COUNT: u64 = 2_000;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let store = open(&path).await;
        let ids = made(&store, COUNT).await;
        let before = taken(&path);
        let is_gone = |number: usize| (number / 10).is_multiple_of(2);
        for (number, id) in ids.iter().enumerate().filter(|(number, _)| is_gone(*number)) {
            // The last one brings the others to the disk.
            let removed =
                if number as u64 + 20 > COUNT { remove(&store, *id, false).await } else { weakly(&store, *id).await };
            assert!(removed.was_there);
        }
        let reclaimed = store.reclaim().await.unwrap();
        let after = taken(&path);
        println!("{before} bytes on the disk before, {after} after: {reclaimed:?}");
        assert!(after * 10 <= before * 6, "{before} bytes on the disk before, {after} after: {reclaimed:?}");
        assert!(reclaimed.bodies == COUNT / 20 && reclaimed.segments > 5, "{reclaimed:?}");
        check(&store, &ids, is_gone).await;
        assert_eq!(store.reclaim().await.unwrap().bytes, 0, "once is enough");
        store.close().await.unwrap();
        drop(store);
        let report = verify(&path).unwrap();
        assert_eq!((report.findings.as_slice(), report.sessions, report.removed), (&[][..], COUNT / 2, COUNT / 2));

        let bare = folder.path().join("bare");
        copy(&path, &bare);
        fs::remove_dir_all(bare.join("index")).unwrap();
        for path in [&path, &bare] {
            let store = open(path).await;
            assert_eq!(store.report().index == IndexReport::Opened, path != &bare);
            check(&store, &ids, is_gone).await;
            store.close().await.unwrap();
            drop(store);
            assert_eq!(verify(path).unwrap().findings, []);
            assert!(!path.join("quarantine").exists() || files(&path.join("quarantine")).is_empty());
        }
    });
}

async fn weakly(store: &SledStore, session: SessionId) -> sessions_ports::Removed {
    let (expected, keep_key, durability) = (None, false, Durability::Volatile);
    store.remove(sessions_ports::Removal { session, expected, keep_key, durability }).await.unwrap()
}

#[test]
fn a_large_body_that_another_session_names_stays() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let store = open(&path).await;
        // The same record in two logs, as an import makes it.
        let mut script = sessions_testkit::Script::new(1);
        let first = script.say(&"large ".repeat(20_000));
        let other = sessions_ports::Commit { session: sessions_testkit::Script::new(2).session(), ..first.clone() };
        let (gone, left) = (first.session, other.session);
        store.commit(first.clone()).await.unwrap();
        store.commit(other).await.unwrap();
        remove(&store, gone, false).await;
        assert_eq!(store.reclaim().await.unwrap().bodies, 0);
        assert_eq!(store.read(left, all()).await.unwrap().records, first.records);
        remove(&store, left, false).await;
        // One that comes while nobody has it any more makes it again.
        let third = sessions_ports::Commit { session: sessions_testkit::Script::new(3).session(), ..first.clone() };
        let coming =
            crate::inside::begin(&store, sessions_ports::Commit { durability: Durability::Disk, ..third.clone() });
        let reclaimed = store.reclaim().await.unwrap();
        coming.await.unwrap().unwrap();
        assert_eq!(store.read(third.session, all()).await.unwrap().records, first.records, "{reclaimed:?}");
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        assert_eq!(store.read(third.session, all()).await.unwrap().records, first.records);
        remove(&store, third.session, false).await;
        assert_eq!(store.reclaim().await.unwrap().bodies, 1);
        assert_eq!(files(&path.join("blobs")), Vec::<std::path::PathBuf>::new());
        store.close().await.unwrap();
    });
}

#[test]
fn a_mostly_dead_segment_is_given_back_without_anybody_asking() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let store = open(&path).await;
        let ids = made(&store, 400).await;
        let before = taken(&path);
        for id in ids.iter().skip(40) {
            weakly(&store, *id).await;
        }
        let mut after = before;
        // Nothing tells of it but the disk.
        for _ in 0..600 {
            after = taken(&path);
            if after * 2 < before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(after * 2 < before, "{before} bytes on the disk before, {after} after");
        check(&store, &ids, |number| number >= 40).await;
        store.close().await.unwrap();
        drop(store);
        assert_eq!(verify(&path).unwrap().findings, []);
    });
}

/// What processes that were cut off said of a store.
#[derive(Default)]
struct Said {
    /// Whose each session is, and its last record that was acknowledged.
    made: BTreeMap<SessionId, (u64, u64)>,
    gone: Vec<SessionId>,
}

impl Said {
    fn add(&mut self, lines: &[Line]) {
        let mut owner = None;
        for line in lines {
            match line {
                Line::Made(number, session) => {
                    let is_fork = owner.is_some_and(|(of, _)| of == *number);
                    self.made.insert(*session, (*number, if is_fork { 9 } else { 0 }));
                    owner = owner.filter(|_| is_fork).or(Some((*number, *session)));
                }
                Line::Acked(ack) => {
                    let made = owner.and_then(|(_, session)| self.made.get_mut(&session)).unwrap();
                    made.1 = ack.last.seq;
                }
                Line::Gone(session) => self.gone.push(*session),
                Line::Opened(..) | Line::Still | Line::Done => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything acknowledged is there, and nothing that was removed.
    fn check(&self, path: &Path, case: &str) {
        runtime().block_on(async {
            let store = open(path).await;
            let host = manager(store.clone());
            let mut unsaid = 0;
            for gone in &self.gone {
                let head = store.head(*gone).await;
                assert!(matches!(head, Err(StoreError::Gone { .. })), "{case}: {gone} is back: {head:?}");
            }
            for (session, (number, last)) in self.made.iter().filter(|(session, _)| !self.gone.contains(session)) {
                let session = match host.load(*session).await {
                    Ok(session) => session,
                    Err(SessionError::Gone { .. }) => {
                        unsaid += 1;
                        continue;
                    }
                    Err(error) => panic!("{case}: {session}: {error}"),
                };
                let messages = session.last(100).await.unwrap();
                let found = messages.last().map_or(0, |message| message.seq);
                assert!(found >= *last, "{case}: {} ends at {found} and {last} was acknowledged", session.id());
                for message in messages {
                    let content = Content::of(&message.text()).unwrap();
                    assert_eq!((content.writer, content.seq), (*number, message.seq), "{case}");
                }
            }
            assert!(unsaid <= 1, "{case}: {unsaid} sessions are gone that nobody said so of");
            store.close().await.unwrap();
        });
        assert_eq!(verify(path).unwrap().findings, [], "{case}");
    }

    /// Forgets a session whose removal was done when the process ended, and not said.
    fn settle(&mut self, path: &Path) {
        runtime().block_on(async {
            let store = open(path).await;
            for session in self.made.keys() {
                if matches!(store.head(*session).await, Err(StoreError::Gone { .. })) && !self.gone.contains(session) {
                    self.gone.push(*session);
                }
            }
            store.close().await.unwrap();
        });
    }
}

#[test]
fn kills_while_space_is_given_back_lose_nothing_and_bring_nothing_back() {
    let mut chance = chance("space::kills_while_space_is_given_back_lose_nothing_and_bring_nothing_back");
    let (mut gone, mut reclaims) = (0, 0);
    for store in 0..3 {
        let folder = folder();
        let path = folder.path().join("store");
        let mut said = Said::default();
        for kill in 0..6 {
            let mut child = Child::start(&[], "churn", &[&path], &[]);
            assert!(child.hear_until(|line| matches!(line, Line::Gone(_))), "{:?}", child.said);
            child.kill_after(chance.time(Duration::from_millis(900)));
            reclaims += child.said.iter().filter(|line| **line == Line::Still).count();
            said.add(&child.said);
            if kill % 3 == 2 {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            said.check(&path, &format!("store {store}, kill {kill}"));
            said.settle(&path);
        }
        gone += said.gone.len();
    }
    println!("18 kills: {gone} removed sessions stay away; space was given back {reclaims} times");
    assert!(gone > 30, "hardly anything was removed: {gone}");
}

#[test]
fn a_kill_at_each_step_of_giving_space_back_loses_nothing() {
    if !has("space::a_kill_at_each_step_of_giving_space_back_loses_nothing", &["strace"], false) {
        return;
    }
    let mut killed = 0;
    for call in ["rename", "ftruncate", "unlink"] {
        for nth in 1..=60 {
            let folder = folder();
            let path = folder.path().join("store");
            let under = tampered(call, &format!("signal=SIGKILL:when={nth}"));
            let mut child = Child::start(&under, "churn", &[&path], &["count=48"]);
            let died = !child.end();
            let mut said = Said::default();
            said.add(&child.said);
            said.check(&path, &format!("{call} number {nth}"));
            killed += usize::from(died);
            if !died {
                break;
            }
        }
    }
    println!("a store is as it was promised after each of {killed} kills at a system call");
    assert!(killed > 20, "strace did not kill: {killed}");
}

#[test]
fn power_cuts_while_space_is_given_back_lose_nothing_and_bring_nothing_back() {
    let test = "space::power_cuts_while_space_is_given_back_lose_nothing_and_bring_nothing_back";
    if !with_own_mounts(test, &["mkfs.ext4", "perl"]) {
        return;
    }
    let mut chance = chance(test);
    let mut gone = 0;
    for store in 0..3 {
        let folder = folder();
        let disk = Disk::make(folder.path(), 512);
        let path = disk.root.join("store");
        let mut said = Said::default();
        for cut in 0..6 {
            let knife = disk.knife();
            let mut child = Child::start(&[], "churn", &[&path], &[]);
            assert!(child.hear_until(|line| matches!(line, Line::Gone(_))), "{:?}", child.said);
            // This pause is the fault itself: the instant of the cut.
            std::thread::sleep(chance.time(Duration::from_millis(900)));
            knife.cut();
            child.kill();
            disk.start();
            let lines: Vec<Line> =
                child.said.iter().filter(|line| !matches!(line, Line::Refused(..))).cloned().collect();
            said.add(&lines);
            said.check(&path, &format!("store {store}, cut {cut}"));
            said.settle(&path);
        }
        gone += said.gone.len();
    }
    println!("{test}: 18 cuts: {gone} removed sessions stay away");
    assert!(gone > 20, "hardly anything was removed: {gone}");
}
