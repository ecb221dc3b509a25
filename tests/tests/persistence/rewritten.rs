//! The default store against the one in memory: what is rewritten, adopted, unlinked and removed in any order, with the index lost, space
//! given back and the process killed at any point, reads as it does there.
//!
//! Must not know: how the store keeps its promises inside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use sessions_app::{At, NewSession};
use sessions_domain::{Kind, Message, SessionId};
use sessions_infra::{
    MemoryStore,
    sled::{Finding, RepairAction, Severity, SledOptions, SledStore, repair, verify},
};
use sessions_ports::{
    Claim, Commit, Durability, KindFilter, Link, Order, ReadRange, Record, Removal, Rewrite, SessionLog, StoreError,
};
use sessions_testkit::Script;
use sessions_tests::chance::Chance;
use tempfile::TempDir;

use crate::{
    equipment::chance,
    inside::{files, open, runtime},
    removed::{manager, remove, texts},
};

const LABELS: u64 = 6;

fn everything() -> ReadRange {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: usize::MAX, max_bytes: usize::MAX }
}

async fn read(store: &dyn SessionLog, session: SessionId) -> Result<Vec<Record>, StoreError> {
    let (mut range, mut all) = (everything(), Vec::new());
    loop {
        let page = store.read(session, range).await?;
        all.extend(page.records);
        let Some(next) = page.next else { return Ok(all) };
        range.from = next;
    }
}

/// Both stores, and what was done to them.
pub(crate) struct Pair {
    ground: TempDir,
    at: usize,
    sled: SledStore,
    /// What is asked and told: the same store, or one that seals over it.
    pub(crate) log: Arc<dyn SessionLog>,
    memory: MemoryStore,
    scripts: BTreeMap<SessionId, Script>,
    links: BTreeMap<SessionId, Vec<Link>>,
    chance: Chance,
    count: u64,
}

impl Pair {
    pub(crate) async fn new(seed: u64) -> Self {
        let ground = TempDir::new().unwrap();
        let sled = SledStore::open(ground.path().join("0"), SledOptions::default()).await.unwrap();
        let memory = MemoryStore::pretending(Durability::Disk);
        let chance = Chance::of(seed);
        let (scripts, links) = (BTreeMap::new(), BTreeMap::new());
        let log = Arc::new(sled.clone());
        Self { ground, at: 0, sled, log, memory, scripts, links, chance, count: 0 }
    }

    fn some(&mut self) -> Option<SessionId> {
        let at = self.chance.below(self.scripts.len() as u64) as usize;
        self.scripts.keys().nth(at).copied()
    }

    fn level(&mut self) -> Durability {
        [Durability::Volatile, Durability::Process, Durability::Disk][self.chance.below(3) as usize]
    }

    fn payload(&mut self) -> Vec<u8> {
        let size = match self.chance.below(12) {
            0 => 70_000,
            1 => 5_000,
            _ => self.chance.below(200),
        };
        (0..size).map(|_| self.chance.number() as u8).collect()
    }

    async fn commit(&mut self, mut script: Script, links: Vec<Link>) {
        let many = 1 + self.chance.below(3);
        let bodies: Vec<(u64, Vec<u8>)> = (0..many).map(|_| (self.chance.below(LABELS), self.payload())).collect();
        let records: Vec<_> = bodies.iter().map(|(label, body)| (Kind::APPENDED, *label, body.as_slice())).collect();
        let before = script.clone();
        let commit = Commit { links: links.clone(), durability: self.level(), ..script.commit(&records) };
        let session = script.session();
        let done = [self.log.commit(commit.clone()).await, self.memory.commit(commit).await];
        assert_eq!(done[0].is_ok(), done[1].is_ok(), "{done:?}");
        if done[0].is_ok() {
            self.scripts.insert(session, script);
            self.links.entry(session).or_insert(links);
        } else if self.scripts.contains_key(&session) {
            self.scripts.insert(session, before);
        }
    }

    async fn rewrite(&mut self, session: SessionId) {
        let own = read(&self.memory, session).await.unwrap_or_default();
        let head = self.memory.head(session).await.ok().flatten();
        let mut records: Vec<Record> = own.into_iter().filter(|_| self.chance.below(10) < 4).collect();
        let mut unlink = Vec::new();
        if let Some(head) = head {
            let mut low = head.first;
            let links = self.links.get(&session).cloned().unwrap_or_default();
            for _ in 0..self.chance.below(4) {
                let owner = links.iter().filter(|link| link.last + 1 >= low && low > 1).min_by_key(|link| link.last);
                let Some(owner) = owner else { break };
                let inherited = read(&self.memory, owner.owner).await.unwrap_or_default();
                let Some(record) = inherited.into_iter().find(|record| record.seq + 1 == low) else { break };
                low -= 1;
                records.insert(0, record);
            }
            if self.chance.below(10) < 3 {
                let at = self.chance.below(links.len() as u64) as usize;
                unlink.extend(links.get(at).map(|link| link.owner));
            }
        }
        for record in &mut records {
            record.payload = self.payload().into();
        }
        let words = (self.chance.below(10) < 2).then(|| Bytes::from(format!("words {}", self.count)));
        let rewrite = Rewrite { session, expected: None, records, words, unlink, durability: self.level() };
        let done = [self.log.rewrite(rewrite.clone()).await, self.memory.rewrite(rewrite).await];
        let firsts = done.each_ref().map(|done| done.as_ref().map(|done| done.first).map_err(ToString::to_string));
        assert_eq!(firsts[0], firsts[1]);
    }

    async fn remove(&mut self, session: SessionId) {
        let removal = Removal { session, expected: None, keep_key: false, durability: self.level() };
        let [sled, memory] = [self.log.remove(removal).await.unwrap(), self.memory.remove(removal).await.unwrap()];
        assert_eq!(
            (sled.was_there, sled.records, sled.kept, sled.heirs),
            (memory.was_there, memory.records, memory.kept, memory.heirs)
        );
    }

    async fn fork(&mut self, number: u64) {
        let Some(owner) = self.some() else { return };
        let Ok(Some(head)) = self.memory.head(owner).await else { return };
        let lowest = head.first;
        let at = lowest + self.chance.below(head.version + 1 - lowest);
        let mut links: Vec<Link> = self.links.get(&owner).cloned().unwrap_or_default();
        links.retain(|link| link.last < head.first && link.last <= at);
        links.push(Link { owner, last: at });
        self.commit(Script::starting_at(number, at + 1), links).await;
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.ground.path().join(self.at.to_string())
    }

    async fn open(&mut self, loses_index: bool) {
        if loses_index {
            fs::remove_dir_all(self.path().join("index")).unwrap();
        }
        self.sled = SledStore::open(self.path(), SledOptions::default()).await.unwrap();
        self.log = Arc::new(self.sled.clone());
        assert_eq!(self.sled.report().damaged, 0);
    }

    async fn kill(&mut self) {
        for session in self.scripts.keys() {
            if let Ok(Some(head)) = self.sled.head(*session).await {
                self.sled.wait(*session, head.version, Durability::Disk).await.unwrap();
            }
        }
        for session in self.scripts.keys() {
            // Removals too.
            if self.sled.head(*session).await.is_err() {
                let removal =
                    Removal { session: *session, expected: None, keep_key: false, durability: Durability::Disk };
                self.sled.remove(removal).await.unwrap();
            }
        }
        let before = self.path();
        self.at += 1;
        copy(&before, &self.path());
        let loses_index = self.chance.below(10) < 3;
        self.open(loses_index).await;
    }

    pub(crate) async fn compare(&self, why: &str) {
        for session in self.scripts.keys().copied() {
            let heads = [self.log.head(session).await, self.memory.head(session).await];
            assert_eq!(heads[0].as_ref().ok(), heads[1].as_ref().ok(), "{why}");
            let [sled, memory] = [read(self.log.as_ref(), session).await, read(&self.memory, session).await];
            match (sled, memory) {
                (Ok(sled), Ok(memory)) => {
                    let brief = |records: &[Record]| {
                        records.iter().map(|record| (record.seq, record.payload.len())).collect::<Vec<_>>()
                    };
                    assert!(sled == memory, "{why}: {session}: {:?} and {:?}", brief(&sled), brief(&memory));
                }
                (sled, memory) => assert!(sled.is_err() && memory.is_err(), "{why}: {session}: {sled:?} {memory:?}"),
            }
            for label in 1..LABELS {
                let found =
                    [self.log.find(session, label).await.unwrap(), self.memory.find(session, label).await.unwrap()];
                assert_eq!(found[0], found[1], "{why}: {session} label {label}");
            }
            let heirs = [self.log.heirs(session).await.unwrap(), self.memory.heirs(session).await.unwrap()];
            assert_eq!(heirs[0], heirs[1], "{why}: heirs of {session}");
        }
        let rows = async |store: &dyn SessionLog| {
            let mut rows = store.rows(0, 1000).await.unwrap().rows;
            rows.sort_by_key(|row| row.session);
            rows
        };
        assert_eq!(rows(self.log.as_ref()).await, rows(&self.memory).await, "{why}");
    }
}

/// What a kill leaves behind. A file of the index may go meanwhile.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            let _copied = fs::copy(&path, to.join(name));
        }
    }
}

impl Pair {
    /// Something of chance that any store is asked for; `None`: the number stands for what only this one can do.
    async fn step(&mut self, what: u64) -> Option<()> {
        let some = self.some();
        match (what, some) {
            (0..8, _) | (_, None) => self.commit(Script::new(1000 + self.count), Vec::new()).await,
            (8..40, Some(session)) => {
                let script = self.scripts.get(&session).unwrap().clone();
                self.commit(script, Vec::new()).await;
            }
            (40..75, Some(session)) => self.rewrite(session).await,
            (75..82, _) => self.fork(2000 + self.count).await,
            (82..85, Some(session)) => self.remove(session).await,
            _ => return None,
        }
        Some(())
    }

    /// So many steps of chance, on a plain store.
    pub(crate) async fn live(&mut self, seed: u64, steps: u64) {
        for step in 0..steps {
            self.count += 1;
            let what = self.chance.below(100);
            if self.step(what).await.is_none() {
                match what {
                    85..87 => drop(self.sled.reclaim().await.unwrap()),
                    87..91 => drop(self.sled.reclaim_all().await.unwrap()),
                    91..97 => {
                        self.log.close().await.unwrap();
                        self.open(what >= 94).await;
                    }
                    _ => self.kill().await,
                }
            }
            self.compare(&format!("seed {seed}, step {step}: {what}")).await;
        }
    }

    /// So many steps of chance, of those that any store can take.
    pub(crate) async fn go_on(&mut self, seed: u64, steps: u64) {
        for step in 0..steps {
            self.count += 1;
            let what = self.chance.below(85);
            self.step(what).await;
            self.compare(&format!("seed {seed}, step {step} afterwards: {what}")).await;
        }
    }
}

async fn story(seed: u64, steps: u64) {
    let mut pair = Pair::new(seed).await;
    pair.live(seed, steps).await;
    pair.log.close().await.unwrap();
}

#[test]
fn whatever_is_done_in_whatever_order_reads_as_in_memory() {
    let mut chance = chance("whatever_is_done_in_whatever_order_reads_as_in_memory");
    for _ in 0..8 {
        runtime().block_on(story(chance.number(), 120));
    }
}

/// All records of a session anew, with the bytes that they have.
async fn again(store: &SledStore, session: SessionId) -> Rewrite {
    let records = read(store, session).await.unwrap();
    Rewrite { session, expected: None, records, words: None, unlink: Vec::new(), durability: Durability::Disk }
}

fn told(path: &Path) -> Vec<Finding> {
    verify(path).unwrap().findings
}

fn lose_index(path: &Path) {
    fs::remove_dir_all(path.join("index")).unwrap();
}

/// An owner of which a fork inherits, and what both say.
async fn forked(path: &Path) -> (SessionId, SessionId, [Vec<String>; 2]) {
    let host = manager(open(path).await);
    let owner = host.create(NewSession::titled("owner")).await.unwrap();
    let mut places = Vec::new();
    for n in 0..6 {
        let text = if n == 1 { "large ".repeat(20_000) } else { format!("of the owner {n}") };
        places.push(owner.append(Message::user(text)).await.unwrap());
    }
    let fork = owner.fork(At::Message(places[3].message)).await.unwrap();
    fork.append(Message::user("of the fork")).await.unwrap();
    let said = [texts(&owner).await, texts(&fork).await];
    let ids = (owner.id(), fork.id());
    host.close().await.unwrap();
    (ids.0, ids.1, said)
}

async fn ensure_said(path: &Path, sessions: [SessionId; 2], said: &[Vec<String>; 2]) {
    let host = manager(open(path).await);
    for (session, said) in sessions.into_iter().zip(said) {
        assert_eq!(&texts(&host.load(session).await.unwrap()).await, said);
    }
    host.close().await.unwrap();
}

#[test]
fn a_store_that_was_rewritten_is_sound_before_and_behind_giving_space_back() {
    runtime().block_on(async {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (owner, fork, said) = forked(&path).await;
        for round in 0..3 {
            let store = open(&path).await;
            for session in [owner, fork] {
                store.rewrite(again(&store, session).await).await.unwrap();
            }
            if round > 0 {
                store.reclaim_all().await.unwrap();
            }
            store.close().await.unwrap();
            drop(store);
            for _ in 0..2 {
                assert_eq!(told(&path), [], "round {round}");
                assert_eq!(verify(&path).unwrap().records, 9, "round {round}");
                ensure_said(&path, [owner, fork], &said).await;
                lose_index(&path);
            }
        }
    });
}

#[test]
fn who_adopted_all_that_it_inherited_is_sound_without_whom_it_inherited_from() {
    runtime().block_on(async {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (owner, fork, _) = forked(&path).await;
        let store = open(&path).await;
        let inherited: Vec<Record> =
            read(&store, owner).await.unwrap().into_iter().filter(|record| record.seq <= 5).collect();
        let own = read(&store, fork).await.unwrap();
        let (above, below) = (inherited[2..].to_vec(), inherited[..2].to_vec());
        store.rewrite(Rewrite { records: above, ..empty(fork) }).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        assert_eq!(told(&path), [], "half of it");
        let store = open(&path).await;
        store.rewrite(Rewrite { records: below, unlink: vec![owner], ..empty(fork) }).await.unwrap();
        assert_eq!(remove(&store, owner, false).await.kept, 0);
        for _ in 0..2 {
            store.reclaim_all().await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        for _ in 0..2 {
            assert_eq!(told(&path), []);
            let store = open(&path).await;
            assert_eq!(read(&store, fork).await.unwrap(), [inherited.clone(), own.clone()].concat());
            assert!(matches!(read(&store, owner).await, Err(StoreError::Gone { .. })));
            store.close().await.unwrap();
            drop(store);
            lose_index(&path);
        }
    });
}

fn empty(session: SessionId) -> Rewrite {
    let durability = Durability::Disk;
    Rewrite { session, expected: None, records: Vec::new(), words: None, unlink: Vec::new(), durability }
}

/// Places of the log and of large bodies where bytes stand.
fn places(path: &Path, bytes: &[u8]) -> Vec<(PathBuf, usize)> {
    let all = ["log", "blobs"].into_iter().flat_map(|part| files(&path.join(part)));
    let find = |file: PathBuf| {
        let content = fs::read(&file).unwrap();
        let found: Vec<usize> =
            content.windows(bytes.len()).enumerate().filter(|(_, at)| *at == bytes).map(|(at, _)| at).collect();
        found.into_iter().map(move |at| (file.clone(), at)).collect::<Vec<_>>()
    };
    all.flat_map(find).collect()
}

#[test]
fn what_was_rewritten_leaves_the_disk_when_space_is_given_back() {
    const CANARY: &[u8] = b"a yellow canary";
    runtime().block_on(async {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut script = Script::new(1);
        let claims = vec![Claim { key: [3; 32], payload: [4; 32], offset: 1 }];
        let large = CANARY.repeat(6_000);
        let first = script.commit(&[(Kind::CREATED, 0, CANARY), (Kind::APPENDED, 9, CANARY)]);
        let row = sessions_ports::RowChange { words: Some(Bytes::from_static(CANARY)), ..first.row.clone() };
        store.commit(Commit { key: Some([5; 32]), claims, row, ..first }).await.unwrap();
        store.commit(script.commit(&[(Kind::APPENDED, 0, &large), (Kind::APPENDED, 8, CANARY)])).await.unwrap();
        let other = Script::new(2).say("another session");
        store.commit(Commit { durability: Durability::Disk, ..other }).await.unwrap();
        assert!(places(&path, CANARY).len() > 4);
        let sealed =
            |record: &Record| Record { payload: vec![0x5a; record.payload.len() % 90_000].into(), ..record.clone() };
        let records: Vec<Record> = script.written().iter().map(sealed).collect();
        let words = Some(Bytes::from_static(b"sealed words"));
        store
            .rewrite(Rewrite { records: records.clone(), words: words.clone(), ..empty(script.session()) })
            .await
            .unwrap();
        assert!(store.reclaim_all().await.unwrap().segments > 0);
        assert_eq!(places(&path, CANARY), []);
        let check = async |store: &SledStore| {
            let session = script.session();
            assert_eq!(read(store, session).await.unwrap(), records);
            assert_eq!(store.by_key([5; 32]).await.unwrap(), Some(session));
            assert_eq!(store.claim(session, [3; 32]).await.unwrap().unwrap().seq, 2);
            assert_eq!(store.find(session, 9).await.unwrap(), [2]);
            let rows = store.rows(0, 9).await.unwrap().rows;
            let row = rows.into_iter().find(|row| row.session == session).unwrap();
            assert_eq!((Some(row.words), row.messages, row.version), (words.clone(), 4, 4));
        };
        check(&store).await;
        store.close().await.unwrap();
        drop(store);
        for _ in 0..2 {
            let store = open(&path).await;
            check(&store).await;
            assert_eq!(store.reclaim_all().await.unwrap().bytes, 0, "nothing is left to be given back");
            store.close().await.unwrap();
            drop(store);
            lose_index(&path);
        }
    });
}

/// Changes a byte of the log.
fn spoil((file, at): &(PathBuf, usize)) {
    let mut bytes = fs::read(file).unwrap();
    bytes[*at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn damage_of_what_was_rewritten_costs_nothing_and_damage_of_what_counts_can_be_repaired() {
    runtime().block_on(async {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (owner, fork, said) = forked(&path).await;
        let store = open(&path).await;
        store.rewrite(again(&store, owner).await).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let found = places(&path, b"of the owner 2");
        assert_eq!(found.len(), 2);
        let whole = ground.path().join("whole");
        copy(&path, &whole);

        spoil(&found[0]);
        let findings = told(&path);
        let [Finding { severity: Severity::Warning, session: Some(of), .. }] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert_eq!(*of, owner);
        ensure_said(&path, [owner, fork], &said).await;
        repair(&path, false).unwrap();
        assert_eq!(told(&path), []);
        ensure_said(&path, [owner, fork], &said).await;

        fs::remove_dir_all(&path).unwrap();
        copy(&whole, &path);
        spoil(&found[1]);
        assert!(!verify(&path).unwrap().is_sound());
        let store = open(&path).await;
        assert!(
            matches!(read(&store, owner).await, Err(StoreError::Corrupt { .. })),
            "it is not taken for what it was before"
        );
        store.close().await.unwrap();
        drop(store);
        repair(&path, false).unwrap();
        assert_eq!(told(&path), []);
        ensure_said(&path, [owner, fork], &said).await;

        fs::remove_dir_all(&path).unwrap();
        copy(&whole, &path);
        let store = open(&path).await;
        store.reclaim_all().await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let left = places(&path, b"of the owner 2");
        assert_eq!(left.len(), 1, "the one that counts");
        spoil(&left[0]);
        let report = repair(&path, false).unwrap();
        let marked = |action: &RepairAction| action.session == Some(owner) && action.seq == Some(4);
        assert!(report.actions.iter().any(marked), "{:?}", report.actions);
        assert!(verify(&path).unwrap().is_sound(), "{:?}", told(&path));
        let store = open(&path).await;
        assert_eq!(read(&store, owner).await.unwrap().len(), 7);
        store.rewrite(again(&store, owner).await).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        assert!(store.report().is_quiet(), "{:?}", store.report());
        store.close().await.unwrap();
    });
}

#[test]
fn a_rewrite_that_was_cut_short_is_absent() {
    runtime().block_on(async {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut script = Script::new(1);
        for _ in 0..4 {
            store.commit(Commit { durability: Durability::Disk, ..script.say_many(2) }).await.unwrap();
        }
        let segment = Path::new("log/00000001.seg");
        let before = fs::read(path.join(segment)).unwrap();
        let anew = |record: &Record| Record { payload: vec![0x5a; 50 + record.seq as usize].into(), ..record.clone() };
        let records: Vec<Record> = script.written().iter().map(anew).collect();
        store.rewrite(Rewrite { records: records.clone(), ..empty(script.session()) }).await.unwrap();
        let killed = ground.path().join("killed");
        copy(&path, &killed);
        let _ = fs::remove_dir_all(killed.join("index"));
        store.close().await.unwrap();
        let after = fs::read(killed.join(segment)).unwrap();
        let begins = before.iter().rposition(|byte| *byte != 0).unwrap();
        let begins = (begins..).find(|at| before[*at] != after[*at]).unwrap();
        let ends = after.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for cut in (begins..=ends).step_by(11).chain([ends - 1, ends]) {
            let mut log = after.clone();
            log[cut..].fill(0);
            let cut_off = ground.path().join("cut");
            copy(&killed, &cut_off);
            fs::write(cut_off.join(segment), log).unwrap();
            let store = open(&cut_off).await;
            let expected = if cut == ends { records.as_slice() } else { script.written() };
            // What was cut may have been zeros.
            let found = read(&store, script.session()).await.unwrap();
            assert!(
                found == expected || (found == records && after[cut..ends].iter().all(|byte| *byte == 0)),
                "cut at {cut} of {begins} to {ends}"
            );
            store.close().await.unwrap();
            drop(store);
            fs::remove_dir_all(&cut_off).unwrap();
        }
    });
}
