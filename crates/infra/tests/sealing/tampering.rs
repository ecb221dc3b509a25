//! Record by record: whoever can write every file, makes every checksum anew and throws the index away, but lacks the key, makes a sealed store give
//! nothing that was not said. What only the roots over all heads find is proved where they are.
//!
//! Must not know: how anything is sealed.

use std::{collections::BTreeMap, fs, path::PathBuf};

use sessions_domain::{
    Actor, Created, Described, Event, ForkPoint, Kind, LineageId, Moment, Origin, SessionId, Stamp, codec,
};
use sessions_infra::sealing::SealedStore;
use sessions_ports::{Commit, Durability, KeyError, Record, Removal, SessionLog, StoreError};
use sessions_testkit::Script;
use tempfile::TempDir;

use crate::{
    copy::copy,
    ground::{Dice, Said, assert_says, everything, folder, forget_index, only, open, provider, segment},
    reader::{FIRST, Frame, frames, halves, is_whole, make_whole},
    talk::{Talk, say},
};

const SESSIONS: u64 = 8;
const RECORDS: usize = 200;

/// A closed store of 200 records whose ciphertexts are all of one length, so that any can lie in any other's place.
struct Scene {
    ground: TempDir,
    said: Said,
    log: Vec<u8>,
    frames: Vec<Frame>,
}

impl Scene {
    async fn new() -> Self {
        let ground = folder();
        let store = open(&ground.path().join("store"), 5).await.unwrap();
        let mut scripts: Vec<Script> = (1..=SESSIONS).map(Script::new).collect();
        for at in 0..RECORDS {
            let script = &mut scripts[at % SESSIONS as usize];
            // A first record says where the session's keys lie, in four bytes.
            let length = if script.version() == 0 { 60 } else { 64 };
            let text = format!("{:<length$}", format!("record {at}"));
            store.commit(script.commit(&[(Kind::APPENDED, at as u64, text.as_bytes())])).await.unwrap();
        }
        store.close().await.unwrap();
        let said = scripts.iter().map(|script| (script.session(), script.written().to_vec())).collect();
        let mut scene = Self { ground, said, log: Vec::new(), frames: Vec::new() };
        forget_index(&scene.path());
        scene.look();
        assert_eq!(scene.frames.len(), RECORDS);
        let length = scene.frames[0].body.len();
        assert!(scene.frames.iter().all(|frame| frame.body.len() == length && is_whole(&scene.log, &frame.at)));
        scene
    }

    fn path(&self) -> PathBuf {
        self.ground.path().join("store")
    }

    /// Reads the log as it is now.
    fn look(&mut self) {
        self.log = fs::read(segment(&self.path())).unwrap();
        self.frames = frames(&self.path(), &self.log);
    }

    async fn open_with(&self, log: &[u8]) -> SealedStore {
        fs::write(segment(&self.path()), log).unwrap();
        forget_index(&self.path());
        open(&self.path(), 5).await.unwrap()
    }

    fn expected(&self, frame: &Frame) -> &Record {
        let session = SessionId::from_bytes(frame.record.session);
        self.said[&session].iter().find(|record| record.seq == frame.record.seq).unwrap()
    }

    /// What each record reads as in a changed log. What is given is what was said; gives the places where nothing was.
    async fn refusals(&self, log: &[u8], why: &str) -> BTreeMap<(SessionId, u64), Option<StoreError>> {
        let store = self.open_with(log).await;
        let refusals = refusals(&store, &self.said, why).await;
        store.close().await.unwrap();
        refusals
    }
}

async fn refusals(store: &dyn SessionLog, said: &Said, why: &str) -> BTreeMap<(SessionId, u64), Option<StoreError>> {
    let mut refusals = BTreeMap::new();
    for (session, records) in said {
        for record in records {
            match store.read(*session, only(record.seq)).await {
                Ok(page) => match page.records.as_slice() {
                    [] => drop(refusals.insert((*session, record.seq), None)),
                    given => assert_eq!(given, std::slice::from_ref(record), "{why}: {session} {}", record.seq),
                },
                Err(error) => {
                    assert_typed(&error, why);
                    refusals.insert((*session, record.seq), Some(error));
                }
            }
        }
        if let Ok(page) = store.read(*session, everything()).await {
            assert!(page.records.iter().all(|record| records.contains(record)), "{why}: {session}");
        }
    }
    refusals
}

fn assert_typed(error: &StoreError, why: &str) {
    use StoreError as E;
    let is_typed = matches!(error, E::Corrupt { .. } | E::Key(_) | E::NotFound { .. } | E::Gone { .. });
    assert!(is_typed, "{why}: {error:?}");
}

/// Lays one frame's body into another's place, and with `whole` all of its header but session and number.
fn put(log: &mut [u8], from: &Frame, of: &[u8], to: &Frame, whole: bool) {
    log[to.body.clone()].copy_from_slice(&of[from.body.clone()]);
    if whole {
        // Kind, label, commit.
        for (start, end) in [(5, 6), (32, 40), (48, 80)] {
            log[to.at.start + start..to.at.start + end]
                .copy_from_slice(&of[from.at.start + start..from.at.start + end]);
        }
    }
    make_whole(log, &to.at);
}

/// Rounds in which everybody meets everybody once: of `count` (even), each round pairs all.
fn rounds(count: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
    let circle = count - 1;
    (0..circle).map(move |round| {
        let others = (1..count / 2).map(move |k| ((round + k) % circle, (round + circle - k) % circle));
        others.chain([(circle, round)]).collect()
    })
}

#[tokio::test]
async fn every_pair_of_two_hundred_records_swapped_is_found() {
    let scene = Scene::new().await;
    let mut pairs = 0;
    for (round, pairing) in rounds(RECORDS).enumerate() {
        for whole in [true, false] {
            let mut log = scene.log.clone();
            for (one, other) in &pairing {
                let (one, other) = (&scene.frames[*one], &scene.frames[*other]);
                put(&mut log, one, &scene.log, other, whole);
                put(&mut log, other, &scene.log, one, whole);
            }
            let refusals = scene.refusals(&log, "swapped").await;
            assert_eq!(refusals.len(), RECORDS, "round {round}: every one of them was swapped");
            assert!(refusals.values().all(Option::is_some), "round {round}: none is passed over");
        }
        pairs += pairing.len();
    }
    assert_eq!(pairs, RECORDS * (RECORDS - 1) / 2);
    println!("figure: {pairs} pairs swapped, with all that stands beside them and without, each found");
}

#[tokio::test]
async fn a_record_that_was_moved_copied_or_made_up_is_never_given() {
    let mut dice = Dice::new("moved records");
    let scene = Scene::new().await;
    let (log, mut moved) = (&scene.log, 0);
    for round in 0..500 {
        let (from, to) = (&scene.frames[dice.below(RECORDS)], &scene.frames[dice.below(RECORDS)]);
        if from.record.session == to.record.session {
            continue;
        }
        let mut bent = log.clone();
        let (key, why) = match round % 5 {
            // Copied over another, with and without what stands before it.
            0 | 1 => {
                put(&mut bent, from, log, to, round % 5 == 1);
                (to, "copied")
            }
            // The frame says another session, number, kind or label than it has.
            2 => {
                bent[from.at.start + 8..from.at.start + 24].copy_from_slice(&to.record.session);
                make_whole(&mut bent, &from.at);
                (from, "moved")
            }
            3 => {
                bent[from.at.start + 32] ^= 1;
                make_whole(&mut bent, &from.at);
                (from, "another label")
            }
            _ => {
                // Below the numbers that mean something to a store, and neither the first nor a lost one.
                bent[from.at.start + 5] = 5;
                make_whole(&mut bent, &from.at);
                (from, "another kind")
            }
        };
        let refusals = scene.refusals(&bent, why).await;
        let place = (SessionId::from_bytes(key.record.session), key.record.seq);
        assert!(refusals.contains_key(&place), "round {round}, {why}: {place:?}");
        moved += 1;
    }
    println!("figure: {moved} records moved, copied or made up, none given");
}

/// What somebody may plant as the beginning of a session: all that a repair may say, and a word more each.
fn planted(session: SessionId) -> Vec<String> {
    let lineage = LineageId::from_bytes(session.to_bytes());
    let forged = || "FORGED".to_owned();
    let bare = Created::of(session, lineage);
    let created = [
        Created { described: Described { title: Some(forged()), ..Described::default() }, ..bare.clone() },
        Created { described: Described { tags: Some(vec![forged()]), ..Described::default() }, ..bare.clone() },
        Created { origin: Origin { cwd: Some(forged()), ..Origin::default() }, ..bare.clone() },
        Created { origin: Origin { model: Some(forged()), ..Origin::default() }, ..bare.clone() },
    ];
    let stamp = Stamp { at: Moment::from_millis(1), actor: Actor::default() };
    let written = |created: Created| codec::encode(&Event::Created(Box::new(created)), &stamp).unwrap();
    let mut texts: Vec<String> = created.map(|created| String::from_utf8(written(created).to_vec()).unwrap()).into();
    let plain = String::from_utf8(written(bare).to_vec()).unwrap();
    texts.push(plain.replacen('{', r#"{"note":"FORGED","#, 1));
    texts.push(plain.replacen(r#""e":{"#, r#""e":{"note":"FORGED","#, 1));
    texts.extend(["FORGED".to_owned(), r#"{"at":1,"e":{"title":"FORGED"}}"#.to_owned(), "[\"FORGED\"]".to_owned()]);
    texts
}

#[tokio::test]
async fn a_plain_record_that_somebody_planted_says_nothing() {
    let scene = Scene::new().await;
    for (kind, at) in
        [(Kind::CREATED, 0), (Kind::CREATED, 100), (Kind::APPENDED, 100), (Kind::LOST, 0), (Kind::LOST, 100)]
    {
        let frame = &scene.frames[at];
        let session = SessionId::from_bytes(frame.record.session);
        for text in planted(session) {
            // It takes the place of the record and of all that was behind it.
            let mut log = scene.log[..frame.at.end].to_vec();
            let behind = scene.log[frame.body.end..frame.at.end].to_vec();
            log.truncate(frame.body.start);
            log.extend([0; 32]);
            log.extend(text.as_bytes());
            let length = (log.len() - frame.body.start) as u32;
            log.extend(behind);
            log[frame.at.start + 40..frame.at.start + 44].copy_from_slice(&length.to_le_bytes());
            log[frame.at.start + 5] = kind.0;
            let end = log.len();
            make_whole(&mut log, &(frame.at.start..end));
            let store = scene.open_with(&log).await;
            let given = store.read(session, only(frame.record.seq)).await;
            store.close().await.unwrap();
            let said = given.map(|page| page.records).unwrap_or_default();
            let is_forged = |record: &Record| record.payload.windows(6).any(|window| window == b"FORGED");
            assert!(!said.iter().any(is_forged), "{kind:?} at {at}: {text}: {said:?}");
        }
    }
}

/// A log in which one session begins with its third record, as if it were a fork of another behind that one's second, and has the row's words of its
/// own first one. The two before are gone.
fn with_planted(log: &[u8], frames: &[Frame], thief: SessionId, (victim, second): (SessionId, &Record)) -> Vec<u8> {
    let mine: Vec<&Frame> = frames.iter().filter(|frame| frame.record.session == thief.to_bytes()).collect();
    let owners = vec![(victim, 2)];
    let point = ForkPoint {
        parent: victim,
        at: 2,
        commit: second.commit,
        head: 2,
        depth: 1,
        owners,
        last: None,
        inherits: Default::default(),
    };
    let created = Created { fork: Some(point), ..Created::of(thief, LineageId::from_bytes(thief.to_bytes())) };
    let stamp = Stamp { at: Moment::from_millis(1), actor: Actor::default() };
    let text = codec::encode(&Event::Created(Box::new(created)), &stamp).unwrap();
    let body = [&[0; 32], text.as_slice()].concat();
    let (first, third) = (mine[0], mine[2]);
    let mut planted = log[first.at.start..first.body.start].to_vec();
    planted[24..32].copy_from_slice(&3_u64.to_le_bytes());
    planted[32..40].copy_from_slice(&third.record.label.to_le_bytes());
    planted[40..44].copy_from_slice(&(body.len() as u32).to_le_bytes());
    planted[48..80].copy_from_slice(&third.record.commit);
    planted.extend(&body);
    planted.extend(&log[first.body.end..first.at.end]);
    let length = planted.len();
    make_whole(&mut planted, &(0..length));
    let mut changed = log[..64].to_vec();
    for frame in frames {
        let is_mine = frame.record.session == thief.to_bytes();
        match frame.record.seq {
            1 | 2 if is_mine => {}
            3 if is_mine => changed.extend(&planted),
            _ => changed.extend(&log[frame.at.clone()]),
        }
    }
    changed
}

#[tokio::test]
async fn a_beginning_that_somebody_planted_inherits_nothing() {
    let scene = Scene::new().await;
    let sessions: Vec<SessionId> = scene.said.keys().copied().collect();
    let (victim, thief) = (sessions[0], sessions[1]);
    let log = with_planted(&scene.log, &scene.frames, thief, (victim, &scene.said[&victim][1]));
    let store = scene.open_with(&log).await;
    let refused = store.read(thief, only(3)).await;
    assert!(
        matches!(&refused, Err(StoreError::Corrupt { seq: 3, what, .. }) if what.contains("beginning")),
        "{refused:?}"
    );
    let left = store.read(thief, only(4)).await.unwrap();
    assert_eq!(left.records, scene.said[&thief][3..4], "what was said there is read");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_beginning_that_somebody_planted_for_a_removed_session_inherits_nothing_that_its_forks_do_not() {
    let ground = folder();
    let path = ground.path().join("store");
    let store = open(&path, 5).await.unwrap();
    let (mut victim, mut thief) = (Talk::new(1), Talk::new(2));
    say(&store, &mut victim, &["", "a"]).await;
    say(&store, &mut thief, &["", "b", "c", "d"]).await;
    let (_, fork) = Talk::forked(3, &thief);
    store.commit(fork).await.unwrap();
    store.close().await.unwrap();
    let log = fs::read(segment(&path)).unwrap();
    let second = (victim.session(), &victim.script.written()[1]);
    fs::write(segment(&path), with_planted(&log, &frames(&path, &log), thief.session(), second)).unwrap();
    forget_index(&path);
    let store = open(&path, 5).await.unwrap();
    // With it goes what its row says; it stays for its fork, which says that it inherits nothing.
    let (session, durability) = (thief.session(), Durability::Disk);
    let removed = store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
    assert_eq!((removed.was_there, removed.kept), (true, 4));
    let refused = store.read(session, only(3)).await;
    assert!(
        matches!(&refused, Err(StoreError::Corrupt { seq: 3, what, .. }) if what.contains("beginning")),
        "{refused:?}"
    );
    let left = store.read(session, only(4)).await.unwrap();
    assert_eq!(left.records, thief.script.written()[3..], "what was said there is read");
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_old_ciphertext_is_told_with_its_epoch() {
    let mut scene = Scene::new().await;
    let (session, other) = (*scene.said.keys().next().unwrap(), *scene.said.keys().nth(1).unwrap());
    let old: Vec<Frame> =
        scene.frames.iter().filter(|frame| frame.record.session == session.to_bytes()).cloned().collect();
    let before = scene.log.clone();
    let store = scene.open_with(&before).await;
    store.rotate_data(session, |_| ()).await.unwrap();
    store.close().await.unwrap();
    scene.look();
    let new: Vec<Frame> =
        scene.frames.iter().filter(|frame| frame.record.session == session.to_bytes()).cloned().collect();
    for frame in &old {
        let mut log = scene.log.clone();
        // Into every frame that has this number: the one of before may have been there still.
        let mut count = 0;
        for to in new.iter().filter(|to| to.record.seq == frame.record.seq) {
            put(&mut log, frame, &before, to, true);
            count += 1;
        }
        assert!(count > 0);
        let refusals = scene.refusals(&log, "an old ciphertext").await;
        let told = refusals.get(&(session, frame.record.seq)).and_then(Option::as_ref);
        let is_told = matches!(told, Some(StoreError::Key(KeyError::EpochRetired { session: of, seq, epoch: 1 }))
            if *of == session && *seq == frame.record.seq);
        assert!(is_told, "{}: {told:?}", frame.record.seq);
        assert!(!refusals.keys().any(|(session, _)| *session == other));
        assert_eq!(scene.expected(frame).seq, frame.record.seq);
    }
}

/// A half of a slot.
fn half(number: u64, writes: u64, bytes: &[u8]) -> Vec<u8> {
    let mut half = vec![1, bytes.len() as u8, 0, 0, 0, 0, 0, 0];
    half.extend(writes.to_le_bytes());
    half.extend(bytes);
    half.resize(252, 0);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &half);
    half.extend(crc.to_le_bytes());
    half
}

/// Lays bytes into a slot as the store would.
fn lay_slot(file: &mut [u8], number: u64, writes: u64, bytes: &[u8]) {
    let at = 512 + number as usize * 512;
    file[at..at + 256].copy_from_slice(&half(number, writes, bytes));
    file[at + 256..at + 512].fill(0);
}

/// Which slot each session has.
fn slots_of(frames: &[Frame]) -> BTreeMap<SessionId, u64> {
    let first = frames.iter().filter(|frame| frame.flags & FIRST != 0);
    let slot =
        first.map(|frame| (SessionId::from_bytes(frame.record.session), frame.record.head().unwrap().1.unwrap()));
    slot.map(|(session, slot)| (session, u64::from(slot))).collect()
}

#[tokio::test]
async fn slots_that_were_swapped_or_copied_open_nothing_and_harm_nobody_else() {
    let scene = Scene::new().await;
    let (slots, path) = (slots_of(&scene.frames), scene.path().join("keys/slots"));
    assert_eq!(slots.len(), SESSIONS as usize);
    let whole = fs::read(&path).unwrap();
    let held = |number: u64| halves(&whole).into_iter().find(|half| half.0 == number).unwrap();
    // Our half is the store's, to the byte.
    let (number, writes, bytes) = held(slots.values().next().copied().unwrap());
    let mut same = whole.clone();
    lay_slot(&mut same, number, writes, &bytes);
    let at = 512 + number as usize * 512;
    assert!(same[at..at + 256] == whole[at..at + 256] || same[at..at + 256] == whole[at + 256..at + 512]);
    let ids: Vec<SessionId> = slots.keys().copied().collect();
    for (one, a) in ids.iter().enumerate() {
        for b in &ids[one + 1..] {
            for swaps in [true, false] {
                let (to, from) = (held(slots[a]), held(slots[b]));
                let mut file = whole.clone();
                lay_slot(&mut file, to.0, to.1 + 2, &from.2);
                if swaps {
                    lay_slot(&mut file, from.0, from.1 + 2, &to.2);
                }
                fs::write(&path, &file).unwrap();
                let store = scene.open_with(&scene.log).await;
                let refusals = refusals(&store, &scene.said, "slots").await;
                for (session, records) in &scene.said {
                    let is_harmed = session == a || (swaps && session == b);
                    let refused = records.iter().filter(|record| refusals.contains_key(&(*session, record.seq)));
                    assert_eq!(refused.count(), if is_harmed { records.len() } else { 0 }, "{session}");
                }
                let listed = store.rows(0, 100).await.unwrap().rows;
                assert_eq!(listed.len(), SESSIONS as usize);
                let is_blank = |session: SessionId| session == *a || (swaps && session == *b);
                assert!(
                    listed.iter().all(|row| row.words.is_empty() == is_blank(row.session)),
                    "the others have words"
                );
                store.close().await.unwrap();
            }
        }
    }
}

async fn said_by(store: &SealedStore, number: u64) -> (SessionId, Vec<Record>) {
    let mut script = Script::new(number);
    let commit = script.commit(&[(Kind::APPENDED, 0, b"after the image"), (Kind::APPENDED, 0, b"and more")]);
    store.commit(Commit { durability: Durability::Disk, ..commit }).await.unwrap();
    (script.session(), script.written().to_vec())
}

#[tokio::test]
async fn slots_and_rings_of_an_older_image_open_nothing_that_is_newer() {
    let scene = Scene::new().await;
    let image = scene.ground.path().join("image");
    copy(&scene.path(), &image);
    let session = *scene.said.keys().next().unwrap();
    // Another data key, then another key of the store, and a session that came afterwards.
    let store = scene.open_with(&scene.log).await;
    store.rotate_data(session, |_| ()).await.unwrap();
    let data_rotated = scene.ground.path().join("data-rotated");
    store.close().await.unwrap();
    copy(&scene.path(), &data_rotated);
    let store = open(&scene.path(), 5).await.unwrap();
    store.rotate(&provider(6), |_| ()).await.unwrap();
    let newer = said_by(&store, 99).await;
    store.close().await.unwrap();

    let with = async |base: &std::path::Path, from: &std::path::Path, names: &[&str], key: u8| {
        let (at, said) = (scene.ground.path().join("tried"), &scene.said);
        let _absent = fs::remove_dir_all(&at);
        copy(base, &at);
        for name in names {
            fs::copy(from.join("keys").join(name), at.join("keys").join(name)).unwrap();
        }
        forget_index(&at);
        let store = open(&at, key).await?;
        let mut said = said.clone();
        said.extend([newer.clone()]);
        let refused = refusals(&store, &said, "an older image of keys").await;
        store.close().await.unwrap();
        Ok::<_, StoreError>(refused)
    };
    let rings = ["ring", "ring.copy"];
    // The slots of before another data key: only the session that got one is harmed.
    let refused = with(&data_rotated, &image, &["slots"], 5).await.unwrap();
    let count = scene.said[&session].len();
    let harmed = refused.iter().filter(|((of, _), _)| *of == session).count();
    assert_eq!(harmed, count);
    assert!(refused.keys().all(|(of, _)| *of == session || *of == newer.0));
    // Nor does such a session get another data key in the place of the one that may come back.
    let tried = open(&scene.ground.path().join("tried"), 5).await.unwrap();
    assert!(matches!(tried.rotate_data(session, |_| ()).await, Err(StoreError::Corrupt { .. })));
    tried.close().await.unwrap();
    fs::copy(data_rotated.join("keys/slots"), scene.ground.path().join("tried/keys/slots")).unwrap();
    let tried = open(&scene.ground.path().join("tried"), 5).await.unwrap();
    assert_says(&tried, &scene.said, "with the slots that belong there").await;
    tried.close().await.unwrap();
    drop(tried);
    // The slots of before another key of the store: nothing at all.
    let refused = with(&scene.path(), &data_rotated, &["slots"], 6).await.unwrap();
    assert_eq!(refused.len(), RECORDS + newer.1.len());
    // A session goes all the same, and what is in its slot with it.
    let tried = open(&scene.ground.path().join("tried"), 6).await.unwrap();
    let removal = Removal { session, expected: None, keep_key: false, durability: tried.strongest() };
    assert!(tried.remove(removal).await.unwrap().was_there);
    assert!(tried.erased(session).await.unwrap().is_some());
    tried.close().await.unwrap();
    drop(tried);
    // The ring of before: the new key does not open it, and the old one finds no slot.
    let wrong = with(&scene.path(), &data_rotated, &rings, 6).await.err();
    assert!(matches!(wrong, Some(StoreError::Key(KeyError::WrongKey { .. }))), "{wrong:?}");
    let refused = with(&scene.path(), &data_rotated, &rings, 5).await.unwrap();
    assert_eq!(refused.len(), RECORDS + newer.1.len());
    let is_retired =
        |error: &Option<StoreError>| matches!(error, Some(StoreError::Key(KeyError::SessionRetired { .. })));
    assert!(refused.values().all(is_retired), "{refused:?}");
    // Both of before, with the old key: what came afterwards stays shut.
    let refused = with(&scene.path(), &data_rotated, &["ring", "ring.copy", "slots"], 5).await.unwrap();
    assert_eq!(refused.keys().map(|(of, _)| *of).collect::<std::collections::BTreeSet<_>>(), [newer.0].into());
    // Nothing of this changed the store itself.
    let store = open(&scene.path(), 6).await.unwrap();
    assert_says(&store, &scene.said, "afterwards").await;
    store.close().await.unwrap();
    println!("figure: 6 mixtures of older keys and newer records, none opened");
}
