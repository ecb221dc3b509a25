//! After a session was shredded, nobody opens it with all that is left, the image of before and every remaining key included; and what was
//! said stands nowhere.
//!
//! Must not know: the code that seals; what is opened here is opened by the other implementation.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use sessions_domain::{Kind, SessionId};
use sessions_ports::{
    Claim, Commit, Durability, Erasure, KeyError, KindFilter, Removal, Rewrite, SessionLog, StoreError,
};
use sessions_testkit::Script;

use crate::{
    copy::copy,
    ground::{assert_says, everything, files, fill, folder, forget_index, holds, key_of, open, segment},
    reader::{Frame, Key, Ring, SlotKeys, frames, halves, hex, open_beside, ring_text},
};

/// Every key that anybody gets out of a folder who has the key file: all rings, all slots' halves, each tried in each place.
fn all_keys(store: &Path, file_key: &Key) -> Vec<SlotKeys> {
    let keys = store.join("keys");
    let slots = fs::read(keys.join("slots")).unwrap();
    let halves = halves(&slots);
    let most = slots.len() as u64 / 512;
    let mut found: Vec<SlotKeys> = Vec::new();
    for name in ["ring", "ring.copy"] {
        let ring = Ring::read(&ring_text(&fs::read(keys.join(name)).unwrap()), file_key).unwrap();
        for kek in [Some(&ring.kek), ring.retiring.as_ref()].into_iter().flatten() {
            for (place, _, bytes) in &halves {
                let places = [*place].into_iter().chain((0..most.min(300)).filter(|other| other != place));
                found.extend(places.filter_map(|place| SlotKeys::read(bytes, &ring.store, place, kek)));
            }
        }
    }
    found
}

fn frames_of(store: &Path, session: SessionId) -> Vec<Frame> {
    let all = frames(store, &fs::read(segment(store)).unwrap());
    all.into_iter().filter(|frame| frame.record.session == session.to_bytes()).collect()
}

/// How many of these frames open with any of the keys.
fn opened(frames: &[Frame], keys: &[SlotKeys]) -> usize {
    let keys: Vec<&Key> =
        keys.iter().flat_map(|keys| keys.data.iter().map(|data| &data.key).chain([&keys.root])).collect();
    frames.iter().filter(|frame| keys.iter().any(|key| frame.record.open(key).is_some())).count()
}

fn removal(session: SessionId) -> Removal {
    Removal { session, expected: None, keep_key: false, durability: Durability::Disk }
}

#[tokio::test]
async fn of_a_shredded_session_nothing_opens_with_the_image_of_before_and_all_keys_of_after() {
    let ground = folder();
    let (path, before) = (ground.path().join("store"), ground.path().join("before"));
    let store = open(&path, 5).await.unwrap();
    let mut said = fill(&store, 12, 20).await;
    let victim = *said.keys().nth(4).unwrap();
    // A large body lies in a file of its own, and some of it is sealed with a data key that is no more.
    let mut large = Script::new(50);
    let text = "a large body ".repeat(8_000);
    store.commit(large.say("first")).await.unwrap();
    store.commit(Commit { durability: Durability::Disk, ..large.say(&text) }).await.unwrap();
    said.insert(large.session(), large.written().to_vec());
    store.rotate_data(victim, |_| ()).await.unwrap();
    assert_says(&store, &said, "before").await;
    store.close().await.unwrap();
    copy(&path, &before);
    let file_key = key_of(5);
    let (old_keys, old_frames) = (all_keys(&before, &file_key), frames_of(&before, victim));
    let old_large = frames_of(&before, large.session());
    assert!(opened(&old_frames, &old_keys) >= 20 && opened(&old_large, &old_keys) == 2, "the reader can open them");
    // The keys themselves, as only the image of before tells them, and the slot as it was.
    let first = old_frames.iter().find_map(|frame| frame.record.head().and_then(|(_, slot, _)| slot)).unwrap();
    let slots = fs::read(before.join("keys/slots")).unwrap();
    let slot = halves(&slots).into_iter().find(|half| half.0 == u64::from(first)).unwrap().2;
    let ring = Ring::read(&ring_text(&fs::read(before.join("keys/ring")).unwrap()), &file_key).unwrap();
    let keys = SlotKeys::read(&slot, &ring.store, u64::from(first), &ring.kek).unwrap();
    assert!(keys.closed.is_some(), "its data key was changed");

    let store = open(&path, 5).await.unwrap();
    for session in [victim, large.session()] {
        store.remove(removal(session)).await.unwrap();
        said.remove(&session);
    }
    let receipt = store.erased(victim).await.unwrap().unwrap();
    assert_eq!((receipt.how, receipt.slot), (Erasure::Overwritten, u64::from(first)));
    // What is there while it is open counts too.
    let running = ground.path().join("running");
    copy(&path, &running);
    store.close().await.unwrap();
    for after in [&path, &running] {
        let left = all_keys(after, &file_key);
        assert!(left.len() >= 11, "all others are there");
        assert!(left.iter().all(|left| left.root != keys.root), "its root is there");
        assert_eq!((opened(&old_frames, &left), opened(&old_large, &left)), (0, 0), "{}", after.display());
        let secrets = [keys.root].into_iter().chain(keys.data.iter().map(|data| data.key));
        for secret in secrets {
            assert_eq!((holds(after, &secret), holds(after, hex(&secret).as_bytes())), (None, None));
        }
        // The wrapped keys are overwritten to the last piece: nonce, ciphertext, tag.
        let wrapped = &slot[slot.len() - (12 + 83 + 16)..];
        for piece in wrapped.chunks(16).filter(|piece| piece.len() == 16) {
            assert_eq!(holds(after, piece), None, "a piece of the wrapped keys is left");
        }
        for (session, records) in &said {
            assert_eq!(opened(&frames_of(after, *session), &left), records.len(), "the others open");
        }
    }
    let store = open(&path, 5).await.unwrap();
    assert_eq!(store.erased(victim).await.unwrap(), Some(receipt), "it is read back");
    assert!(matches!(store.read(victim, everything()).await, Err(StoreError::Gone { .. })));
    assert_says(&store, &said, "the others").await;
    store.close().await.unwrap();
    // Even with the log of before laid under the keys of after.
    fs::copy(segment(&before), segment(&path)).unwrap();
    forget_index(&path);
    let store = open(&path, 5).await.unwrap();
    let refused = store.read(victim, everything()).await;
    assert!(
        matches!(refused, Err(StoreError::Key(KeyError::SessionDestroyed { session })) if session == victim),
        "{refused:?}"
    );
    assert_says(&store, &said, "the others beside a log of before").await;
    store.close().await.unwrap();
    println!(
        "figure: {} records of before and {} keys of after: none opens",
        old_frames.len(),
        all_keys(&path, &file_key).len()
    );
}

#[tokio::test]
async fn a_session_whose_slot_is_damaged_answers_so_and_lists_beside_the_others() {
    let ground = folder();
    let whole = ground.path().join("whole");
    let store = open(&whole, 5).await.unwrap();
    let said = fill(&store, 9, 4).await;
    store.close().await.unwrap();
    let slots = fs::read(whole.join("keys/slots")).unwrap();
    for (nth, (victim, records)) in said.iter().enumerate() {
        let path = ground.path().join(format!("store-{nth}"));
        copy(&whole, &path);
        let slot = frames_of(&path, *victim)[0].record.head().unwrap().1.unwrap() as usize;
        let at = 512 + slot * 512;
        let mut bent = slots.clone();
        match nth % 3 {
            0 => bent[at..at + 512].fill(0),
            1 => bent[at..at + 512].iter_mut().for_each(|byte| *byte ^= 0x5a),
            _ => bent[at + 20] ^= 1,
        }
        fs::write(path.join("keys/slots"), &bent).unwrap();
        let store = open(&path, 5).await.unwrap();
        let refused = store.read(*victim, everything()).await;
        assert!(matches!(refused, Err(StoreError::Key(KeyError::Damaged { .. }))), "{nth}: {refused:?}");
        let tip = records.last().unwrap();
        let late = Script::new(nth as u64 + 1).behind(tip.seq, tip.commit, b"late", Durability::Disk);
        assert_eq!(late.session, *victim);
        let refused = store.commit(late).await;
        assert!(matches!(refused, Err(StoreError::Key(KeyError::Damaged { .. }))), "{nth}: {refused:?}");
        let others: BTreeMap<_, _> =
            said.iter().filter(|(session, _)| *session != victim).map(|(a, b)| (*a, b.clone())).collect();
        assert_says(&store, &others, "beside a damaged slot").await;
        let rows = store.rows(0, 100).await.unwrap().rows;
        assert_eq!(rows.len(), said.len());
        assert!(rows.iter().all(|row| row.words.is_empty() == (row.session == *victim)));
        // It can be removed all the same, and is told to be gone then.
        store.remove(removal(*victim)).await.unwrap();
        assert!(matches!(store.read(*victim, everything()).await, Err(StoreError::Gone { .. })));
        assert!(store.erased(*victim).await.unwrap().is_some(), "{nth}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_whose_slot_was_cut_off_takes_nobody_elses_keys_along_when_it_goes() {
    let ground = folder();
    let path = ground.path().join("store");
    let store = open(&path, 5).await.unwrap();
    let mut said = fill(&store, 4, 3).await;
    store.close().await.unwrap();
    drop(store);
    let slots = fs::read(path.join("keys/slots")).unwrap();
    let slot_of = |session| frames_of(&path, session)[0].record.head().unwrap().1.unwrap();
    let by_slot: BTreeMap<u32, SessionId> = said.keys().map(|session| (slot_of(*session), *session)).collect();
    let lost: Vec<SessionId> = by_slot.values().skip(2).copied().collect();
    fs::write(path.join("keys/slots"), &slots[..512 + 2 * 512]).unwrap();
    let store = open(&path, 5).await.unwrap();
    // Its keys are not there any more, and nobody has the number yet.
    store.remove(removal(lost[1])).await.unwrap();
    let mut newer = Script::new(9);
    store.commit(Commit { durability: store.strongest(), ..newer.say("of a newer session") }).await.unwrap();
    lost.iter().for_each(|session| drop(said.remove(session)));
    said.insert(newer.session(), newer.written().to_vec());
    store.close().await.unwrap();
    drop(store);
    assert_eq!(frames_of(&path, newer.session())[0].record.head().unwrap().1, by_slot.keys().nth(2).copied());
    let store = open(&path, 5).await.unwrap();
    assert!(store.read(lost[0], everything()).await.is_err(), "another's keys open nothing of it");
    store.remove(removal(lost[0])).await.unwrap();
    assert!(store.erased(lost[0]).await.unwrap().is_none(), "nobody destroyed keys of it");
    assert_says(&store, &said, "beside one that had its number").await;
    store.close().await.unwrap();
    drop(store);
    assert_says(&open(&path, 5).await.unwrap(), &said, "and opened anew").await;
}

/// Forty words that no other bytes hold, each 32 bytes long.
fn marks() -> Vec<[u8; 32]> {
    let mark = |number: u8| {
        let text = format!("CANARY-{number:02}-{}", "kestrel-over-the-moor-at-dusk");
        text.as_bytes()[..32].try_into().unwrap()
    };
    (0..40).map(mark).collect()
}

#[tokio::test]
async fn forty_marked_words_in_every_field_stand_nowhere() {
    let ground = folder();
    let (path, marks) = (ground.path().join("store"), marks());
    let mut unused = marks.iter().copied();
    let mut next = || unused.next().unwrap();
    let store = open(&path, 5).await.unwrap();
    let mut script = Script::new(1);
    let session = script.session();
    // Everything that one commit has: bodies of all kinds, a blind, words, a view, names and digests.
    let kinds: Vec<Kind> = (2..=18).map(Kind).collect();
    let bodies: Vec<[u8; 32]> = kinds.iter().map(|_| next()).collect();
    let records: Vec<_> = kinds.iter().zip(&bodies).map(|(kind, body)| (*kind, 7, body.as_slice())).collect();
    let mut commit = script.commit(&[(Kind::CREATED, 0, &next())]);
    commit.row.words = Some(Bytes::copy_from_slice(&next()));
    commit.key = Some(next());
    commit.snapshot = Some(Bytes::copy_from_slice(&next()));
    commit.claims = vec![Claim { key: next(), payload: next(), offset: 0 }];
    store.commit(Commit { durability: Durability::Disk, ..commit }).await.unwrap();
    let mut commit = script.commit(&records);
    commit.row.words = Some(Bytes::copy_from_slice(&next()));
    commit.snapshot = Some(Bytes::copy_from_slice(&next()));
    commit.claims = (0..3).map(|at| Claim { key: next(), payload: next(), offset: at }).collect();
    store.commit(commit).await.unwrap();
    // A blind, and a body in a file of its own.
    let mut commit = script.say("a blind");
    commit.records[0].payload = Bytes::from([&next()[..], b"a blind"].concat());
    store.commit(commit).await.unwrap();
    store
        .commit(Commit {
            durability: Durability::Disk,
            ..script.say(&String::from_utf8(next().repeat(5_000)).unwrap())
        })
        .await
        .unwrap();
    // What is rewritten, with other words, and under another data key.
    let page = store.read(session, everything()).await.unwrap();
    let mut again = page.records[0].clone();
    again.payload = Bytes::from([&next()[..], &next()].concat());
    let words = Some(Bytes::copy_from_slice(&next()));
    let rewrite = Rewrite {
        session,
        expected: None,
        records: vec![again],
        words,
        unlink: Vec::new(),
        durability: Durability::Disk,
    };
    store.rewrite(rewrite).await.unwrap();
    store.rotate_data(session, |_| ()).await.unwrap();
    // One that goes again.
    let mut gone = Script::new(2);
    let mut commit = gone.commit(&[(Kind::CREATED, 0, &next())]);
    commit.row.words = Some(Bytes::copy_from_slice(&next()));
    commit.key = Some(next());
    commit.snapshot = Some(Bytes::copy_from_slice(&next()));
    store.commit(commit).await.unwrap();
    let removal = Removal { keep_key: true, ..removal(gone.session()) };
    store.remove(removal).await.unwrap();
    let left = unused.count();
    assert_eq!(left, 0, "{left} words are left over");
    let running = ground.path().join("running");
    copy(&path, &running);
    let kept = store.read(session, sessions_ports::ReadRange { kinds: KindFilter::All, ..everything() }).await.unwrap();
    assert!(kept.records.iter().any(|record| record.payload[32..] == bodies[3]), "they are read");
    store.close().await.unwrap();
    for folder in [&path, &running] {
        assert!(files(folder).len() > 5);
        assert_eq!(holds(folder, b"CANARY"), None);
        for mark in &marks {
            assert_eq!((holds(folder, mark), holds(folder, hex(mark).as_bytes())), (None, None));
            // A piece, were it torn.
            assert_eq!((holds(folder, &mark[3..13]), holds(folder, hex(&mark[3..13]).as_bytes())), (None, None));
        }
    }
    let found = open_beside("sessions words 1", &session.to_bytes(), &[0; 32], b"nothing");
    assert_eq!(found, None);
    println!("figure: {} marks in 2 folders, none found, nor a piece of one", marks.len());
}
