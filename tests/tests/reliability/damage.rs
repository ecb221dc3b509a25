//! Damage in segment files and large bodies is never given as data and never a panic; `verify` names it, the other sessions work, and `repair` keeps every
//! whole record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
    sync::Arc,
};

use sessions_app::{At, ImportOptions, NewSession};
use sessions_domain::{Kind, Message, SessionId};
use sessions_infra::{
    MemoryStore,
    sled::{Finding, IndexReport, Severity, SledStore, VerifyReport, repair, verify},
};
use sessions_ports::{Durability, KindFilter, Order, ReadRange, SessionLog, StoreError};

use crate::{
    folder::{contents, copy, frames, segments},
    ground::{Dice, Host, folder, open, run, seed},
    truth::{Asks, Truth, populate, watched},
    usecase::all_messages,
};

const WAYS: usize = 1_000;

/// Lays the one segment of a closed store out as three, after `docs/format.md`.
fn split(store: &Path) {
    let path = segments(store).remove(0);
    let bytes = fs::read(&path).unwrap();
    let frames = frames(&bytes);
    let third = bytes.len() / 3;
    let cut_behind =
        |at: usize| frames.iter().find(|frame| frame.ends_append && frame.bytes.end > at).unwrap().bytes.end;
    let (first, second) = (cut_behind(third), cut_behind(2 * third));
    let mut base = 0_u64;
    for (number, part) in [64..first, first..second, second..bytes.len()].into_iter().enumerate() {
        let number = number as u32 + 1;
        let mut segment = b"SESSSEG\x01".to_vec();
        segment.extend_from_slice(&1_u32.to_le_bytes());
        segment.extend_from_slice(&number.to_le_bytes());
        segment.extend_from_slice(&bytes[16..32]);
        segment.extend_from_slice(&base.to_le_bytes());
        segment.resize(60, 0);
        segment.extend_from_slice(&crc32c::crc32c(&segment).to_le_bytes());
        segment.extend_from_slice(&bytes[part]);
        base += segment.len() as u64;
        fs::write(store.join(format!("log/{number:08}.seg")), segment).unwrap();
    }
    fs::remove_dir_all(store.join("index")).unwrap();
}

/// A closed store of three segments.
async fn prepare(at: &Path, host: &Host, dice: &mut Dice) -> Truth {
    let asks = Asks::default();
    let (store, watching) = watched(at, &asks).await;
    let manager = host.manager(Arc::new(watching), Durability::Process);
    populate(&manager, dice).await;
    store.close().await.unwrap();
    split(at);
    let (store, watching) = watched(at, &asks).await;
    let manager = host.manager(Arc::new(watching), Durability::Process);
    for key in ["key 0", "key 3", "key 6"] {
        let session = manager.open_or_create(key).await.unwrap();
        session.append(Message::user("in the last segment")).await.unwrap();
    }
    let log: Arc<dyn SessionLog> = Arc::new(store.clone());
    let truth = Truth::of(&log, host, &asks).await;
    store.close().await.unwrap();
    assert_eq!((segments(at).len(), verify(at).unwrap().findings), (3, Vec::new()));
    truth
}

/// What was damaged.
#[derive(Debug)]
struct Damage {
    what: String,
    /// Records whose bytes are not as they were.
    touched: BTreeSet<(SessionId, u64)>,
    /// The end of the log was taken away with the mark that would tell.
    end_is_gone: bool,
}

/// Spoils one place of one segment. `None`: by chance nothing changed.
fn spoil(dice: &mut Dice, store: &Path, with_index: bool) -> Option<Damage> {
    if dice.chance(8) {
        return spoil_body(dice, store);
    }
    let paths = segments(store);
    let at = dice.below(paths.len());
    let is_last = at + 1 == paths.len();
    let whole = fs::read(&paths[at]).unwrap();
    let frames = frames(&whole);
    let mut bytes = whole.clone();
    let from = dice.below(bytes.len());
    let to_of = |length: usize| (from + 1 + length).min(whole.len());
    let what = match dice.below(20) {
        0..=9 => {
            bytes[from] ^= 1 << dice.below(8);
            "a flipped bit"
        }
        10..=12 => {
            for _ in 0..=dice.below(8) {
                let at = (from + dice.below(200)).min(bytes.len() - 1);
                bytes[at] ^= 1 << dice.below(8);
            }
            "flipped bits"
        }
        13..=14 => {
            let to = to_of(dice.below(300));
            bytes[from..to].fill(0);
            "zeros"
        }
        15..=16 => {
            let to = to_of(dice.below(2_000));
            let noise = dice.bytes(to - from);
            bytes[from..to].copy_from_slice(&noise);
            "noise"
        }
        17..=18 => {
            bytes.truncate(from);
            "a cut"
        }
        _ => {
            bytes[from..].fill(0);
            "zeros to the end"
        }
    };
    let first = (0..whole.len()).find(|at| bytes.get(*at) != Some(&whole[*at]))?;
    let last = (0..whole.len()).rfind(|at| bytes.get(*at) != Some(&whole[*at]))?;
    let changed: Range<usize> = first..last + 1;
    let is_touched = |range: &Range<usize>| range.start < changed.end && changed.start < range.end;
    let end_is_gone = is_last && frames.last().is_some_and(|mark| is_touched(&mark.bytes));
    let mut gone: Vec<bool> = frames.iter().map(|frame| is_touched(&frame.bytes)).collect();
    for at in (1..frames.len()).rev().filter(|_| end_is_gone && !with_index) {
        // Without its end an append is taken for one that was never finished, unless the index remembers it.
        gone[at - 1] |= gone[at] && !frames[at - 1].ends_append;
    }
    let touched = frames.iter().zip(gone).filter(|(frame, gone)| *gone && frame.seq > 0);
    let touched = touched.map(|(frame, _)| (frame.session, frame.seq)).collect();
    fs::write(&paths[at], &bytes).unwrap();
    let records: &BTreeSet<(SessionId, u64)> = &touched;
    let what = format!("{what} at {changed:?} of segment {} {:?}", at + 1, records.iter().take(2).collect::<Vec<_>>());
    Some(Damage { what, touched, end_is_gone })
}

/// Spoils the file of one large body: flips a bit of it, cuts it, or takes it away.
fn spoil_body(dice: &mut Dice, store: &Path) -> Option<Damage> {
    let frames: Vec<_> = segments(store).iter().flat_map(|path| frames(&fs::read(path).unwrap())).collect();
    let large: Vec<_> = frames.iter().filter(|frame| frame.large_body.is_some()).collect();
    let frame = dice.pick(&large)?;
    let path = store.join(frame.large_body.as_ref()?);
    let mut bytes = fs::read(&path).unwrap();
    let at = dice.below(bytes.len());
    let what = match dice.below(3) {
        0 => {
            bytes[at] ^= 1 << dice.below(8);
            fs::write(&path, bytes).unwrap();
            "a flipped bit"
        }
        1 => {
            fs::write(&path, &bytes[..at]).unwrap();
            "a cut"
        }
        _ => {
            fs::remove_file(&path).unwrap();
            "the loss"
        }
    };
    let what = format!("{what} of the large body of record {} of {}", frame.seq, frame.session);
    Some(Damage { what, touched: BTreeSet::from([(frame.session, frame.seq)]), end_is_gone: false })
}

/// Every record that was touched is told of: named alone, or in a row of missing ones.
fn assert_named(found: &VerifyReport, damage: &Damage) {
    for (session, seq) in &damage.touched {
        let names = |finding: &Finding| {
            let first =
                finding.seq.filter(|_| finding.session == Some(*session) && finding.severity == Severity::Error);
            first.is_some_and(|first| (first..=finding.last.unwrap_or(first)).contains(seq))
        };
        assert!(found.findings.iter().any(names), "{}: {seq} of {session} is not named: {found:?}", damage.what);
    }
}

fn one(seq: u64) -> ReadRange {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    ReadRange { from: seq, to: seq, order, kinds, max_records: 1, max_bytes: usize::MAX }
}

/// Every record reads as it was, or not at all; those that were not touched read as they were.
async fn check_reads(store: &SledStore, truth: &Truth, damage: &Damage, repaired: bool) -> usize {
    let mut corrupt = 0;
    let what = &damage.what;
    for (id, session) in &truth.sessions {
        for record in &session.records {
            let whole = !damage.touched.contains(&(*id, record.seq));
            match store.read(*id, one(record.seq)).await {
                Ok(page) => match page.records.as_slice() {
                    [found] if found == record => {}
                    [found] if repaired && !whole && [Kind::LOST, Kind::CREATED].contains(&found.kind) => corrupt += 1,
                    // The end of a log is not known any more.
                    [] if !whole => corrupt += 1,
                    found => panic!("{what}: record {} of {id} reads as {} others", record.seq, found.len()),
                },
                Err(StoreError::Corrupt { session, seq, .. }) if !whole => {
                    assert_eq!((session, seq), (*id, record.seq), "{what}");
                    corrupt += 1;
                }
                Err(StoreError::NotFound { .. }) if !whole => corrupt += 1,
                Err(error) => panic!("{what}: whole record {} of {id}: {error}", record.seq),
            }
        }
        let touched = damage.touched.iter().any(|(session, _)| session == id);
        if !touched {
            assert_eq!(store.head(*id).await.unwrap(), Some(session.head), "{what}: {id}");
        }
    }
    corrupt
}

/// Sessions that neither are touched nor inherit from one that is read as they did.
async fn check_others(store: &SledStore, host: &Host, truth: &Truth, damage: &Damage) {
    let manager = host.manager(Arc::new(store.clone()), Durability::Process);
    for (id, session) in &truth.sessions {
        let loaded = manager.load(*id).await;
        let is_concerned = |other: &SessionId| other == id || session.owners.contains(other);
        if damage.touched.iter().any(|(session, _)| is_concerned(session)) {
            // What is left of it reads, unless it is the beginning that is gone.
            if let Ok(loaded) = loaded {
                let read = all_messages(&loaded).await;
                assert!(read.is_ok(), "{}: {id} does not read: {:?}", damage.what, read.err());
            }
            continue;
        }
        let messages = all_messages(&loaded.unwrap()).await.unwrap();
        let texts: Vec<(u64, String)> = messages.iter().map(|message| (message.seq, message.text())).collect();
        assert_eq!(texts, session.texts, "{}: {id}", damage.what);
    }
}

/// After a repair every session reads and takes new messages.
async fn check_writable(store: &SledStore, host: &Host, truth: &Truth, damage: &Damage) {
    let manager = host.manager(Arc::new(store.clone()), Durability::Process);
    let touched: BTreeSet<SessionId> = damage.touched.iter().map(|(id, _)| *id).collect();
    for id in touched {
        let what = format!("{}: {id} after the repair", damage.what);
        let left = truth.sessions[&id].records.iter().any(|record| !damage.touched.contains(&(id, record.seq)));
        if !left && store.head(id).await.unwrap().is_none() {
            continue;
        }
        let session = manager.load(id).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        session.append(Message::user("goes on")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let messages = all_messages(&session).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(messages.last().unwrap().text(), "goes on", "{what}");
    }
}

async fn damage_once(
    at: &Path,
    host: &Host,
    truth: &Truth,
    damage: &Damage,
    (with_index, open_first): (bool, bool),
) -> (bool, usize) {
    let what = &damage.what;
    let found = verify(at).unwrap_or_else(|error| panic!("{what}: verify: {error}"));
    if with_index || !damage.end_is_gone {
        assert!(found.findings.iter().any(|f| f.severity == Severity::Error), "{what}: not named: {found:?}");
    }
    if with_index {
        assert_named(&found, damage);
    }
    let before = contents(at);
    let dry = repair(at, true).unwrap_or_else(|error| panic!("{what}: repair: {error}"));
    assert!(dry.dry_run && contents(at) == before, "{what}: a dry run changed something");
    assert!(found.is_sound() || !dry.actions.is_empty(), "{what}: nothing to repair");
    let mut corrupt = 0;
    if open_first {
        let store = open(at).await;
        let report = store.report().clone();
        if with_index {
            // What the index remembers is not forgotten, and no number is given twice.
            for (id, session) in &truth.sessions {
                assert_eq!(store.head(*id).await.unwrap(), Some(session.head), "{what}: {id}");
            }
        }
        if damage.end_is_gone && !damage.touched.is_empty() && report.is_quiet() {
            // The index knows where they should be: then reading says so.
            assert!(check_reads(&store, truth, damage, false).await > 0, "{what}: no word of it: {report:?}");
        }
        if matches!(report.index, IndexReport::Rebuilt { .. }) {
            assert!(!report.to_string().is_empty());
        }
        corrupt = check_reads(&store, truth, damage, false).await;
        check_others(&store, host, truth, damage).await;
        store.close().await.unwrap();
        let again = verify(at).unwrap();
        if with_index {
            assert!(!again.is_sound(), "{what}: forgotten by opening it: {again:?}");
            assert_named(&again, damage);
        }
    }
    repair(at, false).unwrap_or_else(|error| panic!("{what}: repair: {error}"));
    let left = verify(at).unwrap();
    assert!(left.is_sound(), "{what}: after the repair: {:?}", left.findings);
    let store = open(at).await;
    check_reads(&store, truth, damage, true).await;
    check_writable(&store, host, truth, damage).await;
    check_others(&store, host, truth, damage).await;
    store.close().await.unwrap();
    let left = verify(at).unwrap();
    assert!(left.is_sound(), "{what}: after writing on: {:?}", left.findings);
    (found.is_sound(), corrupt)
}

fn damage(with_index: bool) {
    let seed = seed("damage");
    let host = Host::drawing(seed);
    run(2, async {
        let ground = folder();
        let base = ground.path().join("base");
        let mut dice = Dice::new(seed.wrapping_add(u64::from(with_index)));
        let truth = prepare(&base, &host, &mut dice).await;
        println!("{} sessions, {} records", truth.sessions.len(), truth.records());
        let mut ways: BTreeMap<String, usize> = BTreeMap::new();
        let (mut way, mut corrupt) = (0, 0);
        while way < WAYS {
            let at = ground.path().join("way");
            copy(&base, &at);
            if let Some(mut damage) = spoil(&mut dice, &at, with_index) {
                way += 1;
                damage.what = format!("way {way} of SESSIONS_SEED={seed}: {}", damage.what);
                if !with_index {
                    fs::remove_dir_all(at.join("index")).unwrap();
                }
                let (quiet, more) = damage_once(&at, &host, &truth, &damage, (with_index, dice.chance(50))).await;
                corrupt += more;
                let sort = if quiet { "the end was gone" } else { "named" };
                *ways.entry(sort.to_owned()).or_default() += 1;
            }
            fs::remove_dir_all(&at).unwrap();
        }
        println!("{WAYS} ways, {ways:?}, {corrupt} records refused");
        assert!(ways["named"] > WAYS / 2 && corrupt > WAYS / 10);
    });
}

#[test]
fn damage_is_named_and_repaired_beside_an_index() {
    damage(true);
}

#[test]
fn damage_is_named_and_repaired_without_an_index() {
    damage(false);
}

/// Lays the checksum of a frame anew.
#[test]
fn a_fork_whose_beginning_is_lost_with_what_it_inherits_goes_on() {
    for is_parent_known in [true, false] {
        lose_a_fork_and_its_parent(is_parent_known);
    }
}

fn lose_a_fork_and_its_parent(is_parent_known: bool) {
    let host = Host::drawing(seed("forks"));
    run(2, async {
        let ground = folder();
        let at = ground.path().join("store");
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        let parent = manager.create(NewSession::titled("parent")).await.unwrap();
        parent.append(Message::user("inherited")).await.unwrap();
        let forks = [parent.fork(At::Now).await.unwrap(), parent.fork(At::Version(1)).await.unwrap()];
        for fork in &forks {
            fork.append(Message::user("its own")).await.unwrap();
        }
        forks[0].undo(1).await.unwrap();
        let (parent, ids) = (parent.id(), forks.each_ref().map(sessions_app::Session::id));
        store.close().await.unwrap();
        drop((store, manager, forks));
        // All that is left whole: that the first fork went back to what it inherits, and perhaps how the parent begins.
        let path = segments(&at).remove(0);
        let mut log = fs::read(&path).unwrap();
        let is_left =
            |session, seq| (is_parent_known && (session, seq) == (parent, 1)) || (session, seq) == (ids[0], 5);
        let touched = |session| session == parent || ids.contains(&session);
        for frame in frames(&log.clone()).iter().filter(|frame| touched(frame.session)) {
            if !is_left(frame.session, frame.seq) {
                log[frame.bytes.start + 80..frame.bytes.end].fill(0xee);
            }
        }
        fs::write(&path, &log).unwrap();
        repair(&at, false).unwrap();
        let left = verify(&at).unwrap();
        assert!(left.is_sound(), "{:?}", left.findings);
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        for id in ids {
            let fork = manager.load(id).await.unwrap();
            fork.append(Message::user("goes on")).await.unwrap();
            assert_eq!(all_messages(&fork).await.unwrap().last().unwrap().text(), "goes on");
        }
        store.close().await.unwrap();
        assert!(verify(&at).unwrap().is_sound());
    });
}

#[test]
fn a_fork_whose_own_beginning_is_lost_keeps_what_it_inherits() {
    let host = Host::drawing(seed("forks"));
    run(2, async {
        let ground = folder();
        let at = ground.path().join("store");
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        let parent = manager.create(NewSession::titled("parent")).await.unwrap();
        for text in ["one", "two", "three", "four"] {
            parent.append(Message::user(text)).await.unwrap();
        }
        parent.undo(1).await.unwrap();
        let second = all_messages(&parent).await.unwrap()[1].id;
        let mut forks = vec![parent.fork(At::Now).await.unwrap(), parent.fork(At::Message(second)).await.unwrap()];
        forks[1].append(Message::user("in the fork")).await.unwrap();
        forks.push(forks[1].fork(At::Now).await.unwrap());
        forks[2].rename("a fork of a fork").await.unwrap();
        forks[2].append(Message::user("in the fork of the fork")).await.unwrap();
        forks.push(parent.fork(At::Now).await.unwrap());
        forks[3].append(Message::user("in the last fork")).await.unwrap();
        forks[3].undo(2).await.unwrap();
        parent.append(Message::user("behind the forks")).await.unwrap();
        let ids: Vec<SessionId> = forks.iter().map(sessions_app::Session::id).collect();
        let mut before = Vec::new();
        for fork in &forks {
            before.push(all_messages(fork).await.unwrap());
        }
        store.close().await.unwrap();
        drop((store, manager, forks));
        let path = segments(&at).remove(0);
        let mut log = fs::read(&path).unwrap();
        let mut lost = Vec::new();
        for id in &ids {
            let first = frames(&log.clone()).into_iter().find(|frame| frame.session == *id).unwrap();
            lost.push((*id, first.seq, first.bytes));
        }
        lost.iter().for_each(|(_, _, bytes)| log[bytes.start + 80..bytes.end].fill(0xee));
        fs::write(&path, &log).unwrap();
        let bare = ground.path().join("bare");
        copy(&at, &bare);
        fs::remove_dir_all(bare.join("index")).unwrap();
        let told = verify(&bare).unwrap().findings;
        assert!(
            told.iter().any(|told| told.session == Some(ids[2]) && told.what.contains("to have been forked")),
            "{told:?}"
        );
        repair(&bare, false).unwrap();
        assert!(verify(&bare).unwrap().is_sound());
        let told = verify(&at).unwrap().findings;
        for (id, seq, _) in &lost {
            let about: Vec<_> = told.iter().filter(|told| told.session == Some(*id)).collect();
            assert!(
                about.iter().all(|told| (told.seq, told.last) == (Some(*seq), None)) && !about.is_empty(),
                "{told:?}"
            );
        }
        for round in 0..2 {
            let did = repair(&at, false).unwrap().actions;
            let marked: Vec<_> = did.iter().filter_map(|did| Some((did.session?, did.seq?))).collect();
            let expected: BTreeSet<_> = lost.iter().filter(|_| round == 0).map(|(id, seq, _)| (*id, *seq)).collect();
            assert_eq!((marked.len(), marked.into_iter().collect::<BTreeSet<_>>()), (expected.len(), expected));
            let left = verify(&at).unwrap();
            assert!(left.is_sound() && left.lost == lost.len() as u64, "{:?}", left.findings);
            let store = open(&at).await;
            let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
            for (id, messages) in ids.iter().zip(&before) {
                let fork = manager.load(*id).await.unwrap();
                assert_eq!(all_messages(&fork).await.unwrap(), *messages);
            }
            store.close().await.unwrap();
        }
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        for (id, messages) in ids.iter().zip(&before) {
            let fork = manager.load(*id).await.unwrap();
            let elsewhere = host.manager(Arc::new(MemoryStore::new()), Durability::Volatile);
            let (mut bytes, mut export) = (Vec::new(), fork.export_jsonl().await.unwrap());
            while let Some(chunk) = export.next_chunk().await.unwrap() {
                bytes.extend(chunk);
            }
            elsewhere.import(std::io::Cursor::new(bytes), ImportOptions::default()).await.unwrap();
            assert_eq!(all_messages(&elsewhere.load(*id).await.unwrap()).await.unwrap(), *messages);
            fork.append(Message::user("goes on")).await.unwrap();
            assert_eq!(all_messages(&fork).await.unwrap().len(), messages.len() + 1);
        }
        store.close().await.unwrap();
        assert!(verify(&at).unwrap().is_sound());
    });
}

/// Makes the checksum of a frame anew.
pub(crate) fn lay_checksum(bytes: &mut [u8], frame: Range<usize>) {
    let (at, end) = (frame.start, frame.end);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 44]), &bytes[at + 48..end]);
    bytes[at + 44..at + 48].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn damage_is_not_what_a_newer_version_wrote() {
    let host = Host::seeded(1);
    run(2, async {
        let ground = folder();
        let at = ground.path().join("store");
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Process);
        let session = manager.create(sessions_app::NewSession::titled("one")).await.unwrap();
        session.append(Message::user("two")).await.unwrap();
        store.close().await.unwrap();
        let path = segments(&at).remove(0);
        let ours = fs::read(&path).unwrap();
        let mut spoilt = ours.clone();
        let second = frames(&ours)[1].bytes.clone();
        spoilt[second.start + 4] = 2;
        lay_checksum(&mut spoilt, second.clone());
        let newer_frame = spoilt.clone();
        // Damage before it does not hide it.
        spoilt[frames(&ours)[0].bytes.start + 90] ^= 1;
        let mut newer_header = ours.clone();
        newer_header[8] = 2;
        let crc = crc32c::crc32c(&newer_header[..60]).to_le_bytes();
        newer_header[60..64].copy_from_slice(&crc);
        for newer in [newer_frame, spoilt, newer_header] {
            fs::write(&path, &newer).unwrap();
            let _ = fs::remove_dir_all(at.join("index"));
            let refused = [
                verify(&at).err(),
                repair(&at, true).err(),
                repair(&at, false).err(),
                SledStore::open(&at, sessions_infra::sled::SledOptions::default()).await.err(),
            ];
            for error in refused {
                assert!(matches!(error, Some(StoreError::NewerFormat { .. })), "{error:?}");
            }
            assert_eq!(fs::read(&path).unwrap(), newer);
            assert_eq!(fs::read_dir(at.join("quarantine")).unwrap().count(), 0);
        }
        fs::write(&path, &ours).unwrap();
        assert!(verify(&at).unwrap().findings.is_empty());
    });
}
