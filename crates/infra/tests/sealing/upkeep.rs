//! A sealed store is checked, repaired, backed up and given back space, for most of which nobody needs its key.
//!
//! Must not know: how anything is sealed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_domain::{Event, Kind, SessionId, Stamp, codec};
use sessions_infra::{
    keys::FileKeyStore,
    sealing::{SealedStore, StoreOpener, cipher_link},
    sled::{
        BackupInfo, BackupProgress, EpochChain, Finding, RecordOpener as _, Sealing, SealingLook, Severity,
        SledOptions, SledStore, Unopened, VerifyReport, check_backup, look_at_keys, repair, restore_backup, verify,
        verify_backup, verify_sealed,
    },
};
use sessions_ports::{
    Commit, Durability, KeyError, KeyStore as _, Link, Record, Removal, Rewrite, SessionLog, StoreError,
};
use sessions_testkit::Script;
use tempfile::TempDir;

use crate::{
    copy::copy,
    ground::{Dice, everything, files, folder, holds, open, open_both, open_log, provider, segment},
    talk::{Talk, say},
};

const KEY: u8 = 7;
const HEADER: usize = 80;

fn place() -> (TempDir, PathBuf) {
    let ground = folder();
    let path = ground.path().join("store");
    (ground, path)
}

async fn close(store: impl SessionLog) {
    store.close().await.unwrap();
}

fn removal_of(session: SessionId) -> Removal {
    Removal { session, expected: None, keep_key: false, durability: Durability::Disk }
}

async fn remove(store: &SealedStore, session: SessionId) {
    store.remove(removal_of(session)).await.unwrap();
}

fn no_word_of_the_first(folder: &Path) {
    for word in ["acme", "title 1", "key-1"] {
        assert_eq!(holds(folder, word.as_bytes()), None, "{word}");
    }
}

async fn read(store: &dyn SessionLog, session: SessionId) -> Vec<Record> {
    store.read(session, everything()).await.unwrap().records
}

/// Where the frames of records begin.
fn frames(log: &[u8]) -> Vec<usize> {
    let begins = |(at, bytes): &(usize, &[u8])| bytes.starts_with(b"SSN\x01") && log[at + 5] < 0xF0;
    log.windows(4).enumerate().filter(begins).map(|(at, _)| at).collect()
}

fn harm(path: &Path, harm: impl FnOnce(&mut Vec<u8>)) {
    let file = segment(path);
    let mut log = fs::read(&file).unwrap();
    harm(&mut log);
    fs::write(file, log).unwrap();
}

async fn checked(path: &Path, key: u8) -> VerifyReport {
    let opener = StoreOpener::unlock(path, &provider(key)).await.unwrap();
    verify_sealed(path, None, Arc::new(opener)).unwrap()
}

fn errors(report: &VerifyReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// The checksum of a frame is made anew, as somebody does who changes it on purpose.
fn forge(log: &mut [u8], frame: usize, change: impl FnOnce(&mut [u8])) {
    let length = u32::from_le_bytes(log[frame + 40..frame + 44].try_into().unwrap()) as usize;
    // Behind the body stand messages and position, and when it is said the time and fields.
    let flags = log[frame + 6];
    let mut end = frame + HEADER + length;
    end += if flags & 1 != 0 { 12 } else { 0 };
    end += if flags & 32 != 0 { 8 } else { 0 };
    if flags & 4 != 0 {
        end += 4 + u32::from_le_bytes(log[end..end + 4].try_into().unwrap()) as usize;
    }
    change(&mut log[frame..end]);
    let before = crc32c::crc32c(&log[frame..frame + 44]);
    let crc = crc32c::crc32c_append(before, &log[frame + 48..end]);
    log[frame + 44..frame + 48].copy_from_slice(&crc.to_le_bytes());
}

#[tokio::test]
async fn whoever_has_no_key_checks_bytes_and_keeps_the_chains() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let (mut one, mut two) = (Talk::new(1), Talk::new(2));
    say(&store, &mut one, &["a", "b", &"large ".repeat(20_000)]).await;
    say(&store, &mut two, &["c"]).await;
    close(store).await;

    let report = verify(&path).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.sealing, report.records, report.sessions), (SealingLook::Shut, 4, 2));
    let raw = open_log(&path).await.unwrap();
    for (script, count) in [(&one, 3), (&two, 1)] {
        let records = read(&raw, script.session()).await;
        let link = records.iter().fold([0; 32], |link, record| cipher_link(&link, script.session(), record));
        let link = sessions_domain::chain::to_hex(&link);
        let named = report.names.iter().find(|named| named.session == script.session()).unwrap();
        assert_eq!(named.epochs, [EpochChain { epoch: 1, records: count, link }]);
        assert_eq!((named.key.as_ref(), named.tenant.as_str()), (None, ""));
    }
    close(raw).await;

    // Who has the key sees the same chains, and what stands in them.
    let opened = checked(&path, KEY).await;
    assert_eq!(opened.findings, []);
    assert_eq!(opened.sealing, SealingLook::Opened);
    let epochs = |report: &VerifyReport| report.names.iter().map(|named| named.epochs.clone()).collect::<Vec<_>>();
    assert_eq!(epochs(&opened), epochs(&report));
    let wrong = StoreOpener::unlock(&path, &provider(8)).await.err().unwrap();
    assert!(matches!(wrong, StoreError::Key(KeyError::WrongKey { .. })), "{wrong:?}");
}

#[tokio::test]
async fn what_a_destroyed_slot_answers_one_session_it_does_not_answer_another() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let (mut one, mut two) = (Talk::new(1), Talk::new(2));
    say(&store, &mut one, &["a"]).await;
    say(&store, &mut two, &["b"]).await;
    remove(&store, one.session()).await;
    close(store).await;
    let raw = open_log(&path).await.unwrap();
    let record = read(&raw, two.session()).await.remove(0);
    close(raw).await;
    for order in [[&one, &two], [&two, &one]] {
        let opener = StoreOpener::unlock(&path, &provider(KEY)).await.unwrap();
        for script in order {
            // The first session's slot is the first.
            let refused = opener.record(script.session(), 0, &record).unwrap_err();
            let is_destroyed = matches!(refused, Unopened::KeysDestroyed);
            assert_eq!(is_destroyed, script.session() == one.session(), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_was_changed_with_its_checksum_is_named_with_the_key_and_moves_the_chain_without() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut script = Talk::new(1);
    say(&store, &mut script, &["a", "b", "c"]).await;
    close(store).await;
    let before = verify(&path).unwrap();
    harm(&path, |log| {
        let second = frames(log)[1];
        forge(log, second, |frame| frame[HEADER + 20] ^= 1);
    });
    let after = verify(&path).unwrap();
    assert!(after.is_sound(), "{:?}", after.findings);
    assert_ne!(before.names[0].epochs[0].link, after.names[0].epochs[0].link);
    let report = checked(&path, KEY).await;
    let found = errors(&report);
    assert_eq!((found.len(), found[0].session, found[0].seq), (1, Some(script.session()), Some(2)));
    assert!(found[0].what.contains("seal is broken"), "{}", found[0].what);

    // In a sealed store a record in the clear is none, unless a repair wrote it.
    harm(&path, |log| {
        let third = frames(log)[2];
        forge(log, third, |frame| frame[HEADER] = 0x55);
    });
    let found = verify(&path).unwrap();
    assert_eq!(errors(&found).len(), 1);
    assert_eq!(errors(&found)[0].seq, Some(3));
}

#[tokio::test]
async fn a_session_whose_keys_were_destroyed_hides_no_other_and_its_bytes_are_still_checked() {
    let (ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let (mut gone, mut kept) = (Talk::new(1), Talk::new(2));
    say(&store, &mut gone, &["a", "b"]).await;
    say(&store, &mut kept, &["c"]).await;
    close(store).await;
    let before = verify(&path).unwrap();
    let saved = fs::read(segment(&path)).unwrap();
    let index = ground.path().join("index");
    copy(&path.join("index"), &index);
    let store = open(&path, KEY).await.unwrap();
    let session = gone.session();
    remove(&store, session).await;
    close(store).await;
    let removed = verify(&path).unwrap();
    assert_eq!(removed.findings, []);
    assert_eq!(removed.removed_chains, [(session, before.names[0].epochs.clone())]);
    assert_eq!(checked(&path, KEY).await.findings, []);

    // Somebody puts the log of before back: the words stay gone, and it is said so.
    fs::write(segment(&path), &saved).unwrap();
    fs::remove_dir_all(path.join("index")).unwrap();
    copy(&index, &path.join("index"));
    for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
        let found: Vec<_> = report.findings.iter().filter(|finding| finding.session == Some(session)).collect();
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning), "{found:?}");
        assert!(found[0].what.contains("keys were destroyed"), "{}", found[0].what);
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!(report.names[0].epochs, before.names[0].epochs);
    }
}

#[tokio::test]
async fn damaged_and_lost_slots_are_named_with_their_sessions() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut scripts: Vec<Talk> = (1..=3).map(Talk::new).collect();
    for script in &mut scripts {
        say(&store, script, &["a"]).await;
    }
    close(store).await;
    let slots = path.join("keys/slots");
    let whole = fs::read(&slots).unwrap();
    let mut bytes = whole.clone();
    // The keys of the second session are damaged, and those of the third are gone.
    bytes[512 + 512 + 40] ^= 1;
    bytes[512 + 1024..].fill(0);
    fs::write(&slots, bytes).unwrap();
    for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
        let found: Vec<_> = errors(&report).iter().map(|finding| (finding.session, finding.what.clone())).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        for (script, word) in [(&scripts[1], "not as it was written"), (&scripts[2], "not there")] {
            let about = found.iter().find(|(session, _)| *session == Some(script.session())).unwrap();
            assert!(about.1.contains(word), "{}", about.1);
        }
    }
    fs::write(&slots, &whole).unwrap();
    assert_eq!(verify(&path).unwrap().findings, []);
    // A damaged copy of the ring is worth a word, and both are an error.
    fs::write(path.join("keys/ring.copy"), "none").unwrap();
    let report = verify(&path).unwrap();
    assert!(report.is_sound() && report.findings.len() == 1, "{:?}", report.findings);
    fs::write(path.join("keys/ring"), "none").unwrap();
    assert_eq!(errors(&verify(&path).unwrap()).len(), 1);
    fs::remove_dir_all(path.join("keys")).unwrap();
    assert!(errors(&verify(&path).unwrap())[0].what.contains("missing"), "{:?}", verify(&path).unwrap().findings);
}

#[tokio::test]
async fn slots_that_nobody_uses_are_told() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut script = Talk::new(1);
    say(&store, &mut script, &["a"]).await;
    close(store).await;
    let raw = open_log(&path).await.unwrap();
    let keys = FileKeyStore::open(&raw.keys_folder(), raw.id()).await.unwrap();
    raw.close().await.unwrap();
    let slot = keys.read(0, 1).await.unwrap();
    keys.add(slot).await.unwrap();
    drop(keys);
    // Behind all others they may just have been made ahead of need.
    assert_eq!(verify(&path).unwrap().findings, []);
    let store = open(&path, KEY).await.unwrap();
    say(&store, &mut Talk::new(2), &[""]).await;
    close(store).await;
    let report = verify(&path).unwrap();
    assert!(report.is_sound() && report.findings.len() == 1, "{:?}", report.findings);
    assert!(report.findings[0].what.contains("1 of the slots (1)"), "{}", report.findings[0].what);
}

#[tokio::test]
async fn words_and_snapshots_that_do_not_open_are_found_with_the_key() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut script = Talk::new(1);
    say(&store, &mut script, &["a"]).await;
    close(store).await;
    let words = |frame: &[u8]| {
        let length = u32::from_le_bytes(frame[40..44].try_into().unwrap()) as usize;
        let fields = HEADER + length + 12 + if frame[6] & 32 != 0 { 8 } else { 0 } + 4;
        assert_eq!(frame[fields], 1, "the words come first");
        fields + 5
    };
    harm(&path, |log| {
        let first = frames(log)[0];
        forge(log, first, |frame| {
            let at = words(frame);
            frame[at + 25] ^= 1;
        });
    });
    assert!(verify(&path).unwrap().is_sound());
    let report = checked(&path, KEY).await;
    let found = errors(&report);
    assert_eq!((found.len(), found[0].session, found[0].seq), (1, Some(script.session()), Some(1)), "{found:?}");
    assert!(found[0].what.contains("words"), "{}", found[0].what);
}

#[tokio::test]
async fn a_plain_store_has_no_seals_to_look_at() {
    let (_ground, path) = place();
    let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
    let mut script = Script::new(1);
    store.commit(script.commit(&[(Kind::CREATED, 0, b"{}")])).await.unwrap();
    close(store).await;
    assert_eq!(verify(&path).unwrap().sealing, SealingLook::Plain);
    let refused = StoreOpener::unlock(&path, &provider(KEY)).await.err().unwrap();
    assert!(matches!(refused, StoreError::Key(KeyError::NotSealed)), "{refused:?}");
}

fn decoded(record: &Record) -> (Event, Stamp) {
    codec::decode(record.kind, &record.payload[32..]).unwrap()
}

#[tokio::test]
async fn a_session_that_lost_its_beginning_is_repaired_without_the_key_and_goes_on_under_its_name() {
    let ground = folder();
    for keeps_index in [true, false] {
        let path = ground.path().join(format!("store-{keeps_index}"));
        let store = open(&path, KEY).await.unwrap();
        let mut talk = Talk::of(1, "acme");
        let mut other = Talk::new(2);
        say(&store, &mut talk, &["", "b", "c"]).await;
        say(&store, &mut other, &["", "x"]).await;
        close(store).await;
        harm(&path, |log| {
            let first = frames(log)[0];
            log[first + HEADER + 40] ^= 1;
        });
        if !keeps_index {
            fs::remove_dir_all(path.join("index")).unwrap();
        }
        let session = talk.session();
        let found = verify(&path).unwrap();
        assert!(errors(&found).iter().any(|finding| finding.session == Some(session) && finding.seq == Some(1)));
        repair(&path, false).unwrap();
        let after = verify(&path).unwrap();
        assert!(after.is_sound() || !keeps_index, "{:?}", after.findings);
        no_word_of_the_first(&path);

        let store = open(&path, KEY).await.unwrap();
        let records = read(&store, session).await;
        assert_eq!(records[1..], talk.script.written()[1..]);
        let (event, stamp) = decoded(&records[0]);
        let Event::Created(created) = event else { panic!("{event:?}") };
        assert!(created.stands_for_a_lost_one(&records[0].payload));
        assert_eq!(stamp.actor.tenant, "acme");
        let page = store.rows(0, 99).await.unwrap();
        let row = page.rows.iter().find(|row| row.session == session);
        if keeps_index {
            assert_eq!((created.described.title, created.key), (talk.words().title, talk.words().key));
            assert_eq!(store.by_key([1; 32]).await.unwrap(), Some(session));
            assert_eq!(row.unwrap().words, talk.words().to_json());
        } else {
            // Nothing is left that says where its keys lie: they are those that open what is left of it.
            assert_eq!((created.described.title, created.key), (None, None));
            assert!(row.is_none_or(|row| row.words.is_empty()));
        }
        assert_eq!(read(&store, other.session()).await, other.script.written());
        say(&store, &mut talk, &["d"]).await;
        close(store).await;
        let store = open(&path, KEY).await.unwrap();
        assert_eq!(read(&store, session).await[1..], talk.script.written()[1..]);
        close(store).await;
        let checked = checked(&path, KEY).await;
        assert!(checked.is_sound(), "{:?}", checked.findings);
        let named = checked.names.iter().find(|named| named.session == session).unwrap();
        // A check names tenants by the words of rows.
        assert_eq!((named.tenant.as_str(), named.lost), (if keeps_index { "acme" } else { "" }, 1));
        no_word_of_the_first(&path);
    }
}

#[tokio::test]
async fn keys_that_nothing_names_are_found_among_many_slots_and_beside_damaged_ones() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut talks: Vec<Talk> = (1..=5).map(Talk::new).collect();
    for talk in &mut talks {
        say(&store, talk, &["", "b", "c", "d"]).await;
    }
    // Under another data key, as everything that lies there is.
    store.rotate_data(talks[3].session(), |_| ()).await.unwrap();
    close(store).await;
    let raw = open_log(&path).await.unwrap();
    let keys = FileKeyStore::open(&raw.keys_folder(), raw.id()).await.unwrap();
    raw.close().await.unwrap();
    // More than one lot of others behind them.
    let other = keys.read(0, 1).await.unwrap().remove(0);
    keys.add(vec![other; 3000]).await.unwrap();
    drop(keys);
    // The first records of the first four sessions, and of those the newest record of one and the slot of another.
    harm(&path, |log| {
        let all = frames(log);
        for at in [0, 4, 8, 12, 7] {
            log[all[at] + HEADER + 40] ^= 1;
        }
        for at in all.into_iter().skip(20) {
            if u64::from_le_bytes(log[at + 24..at + 32].try_into().unwrap()) == 1 {
                log[at + HEADER + 40] ^= 1;
            }
        }
    });
    let slots = path.join("keys/slots");
    let mut bytes = fs::read(&slots).unwrap();
    bytes[512 + 2 * 512 + 20] ^= 1;
    fs::write(&slots, bytes).unwrap();
    fs::remove_dir_all(path.join("index")).unwrap();
    repair(&path, false).unwrap();

    let store = open(&path, KEY).await.unwrap();
    let read_whole = async |store: &SealedStore, talk: &Talk| {
        let records = read(store, talk.session()).await;
        let lost = |record: &Record| record.kind == Kind::LOST || record.seq == 1;
        assert_eq!(records.len(), talk.script.written().len());
        let whole = records.iter().zip(talk.script.written()).filter(|(now, _)| !lost(now));
        whole.inspect(|(now, then)| assert_eq!(now, then)).count()
    };
    for (at, whole) in [(0, 3), (1, 2), (3, 3), (4, 3)] {
        assert_eq!(read_whole(&store, &talks[at]).await, whole, "session {at}");
        say(&store, &mut talks[at], &["e"]).await;
    }
    for _ in 0..2 {
        let refused = store.read(talks[2].session(), everything()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Key(KeyError::Damaged { .. })), "{refused:?}");
    }
    close(store).await;
    let store = open(&path, KEY).await.unwrap();
    for (at, whole) in [(0, 4), (1, 3), (3, 4), (4, 4)] {
        assert_eq!(read_whole(&store, &talks[at]).await, whole, "session {at}");
    }
    remove(&store, talks[0].session()).await;
    assert_eq!(store.erased(talks[0].session()).await.unwrap().map(|erased| erased.slot), Some(0));
    close(store).await;
    let unopened: Vec<_> = errors(&checked(&path, KEY).await).iter().filter_map(|finding| finding.session).collect();
    assert_eq!(unopened, [talks[2].session()]);
}

#[tokio::test]
async fn a_fork_that_lost_its_beginning_still_inherits() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut parent = Talk::new(1);
    say(&store, &mut parent, &["", "b"]).await;
    let (mut fork, commit) = Talk::forked(2, &parent);
    store.commit(commit).await.unwrap();
    say(&store, &mut fork, &["c"]).await;
    remove(&store, parent.session()).await;
    close(store).await;
    assert_eq!(verify(&path).unwrap().findings, []);
    harm(&path, |log| {
        let first = frames(log)[2];
        log[first + HEADER + 40] ^= 1;
    });
    repair(&path, false).unwrap();
    assert!(verify(&path).unwrap().is_sound(), "{:?}", verify(&path).unwrap().findings);
    let store = open(&path, KEY).await.unwrap();
    let records = read(&store, fork.session()).await;
    assert_eq!(read(&store, parent.session()).await, *parent.script.written());
    assert_eq!(records.len(), 2, "{records:?}");
    let (Event::Created(created), _) = decoded(&records[0]) else { panic!("{records:?}") };
    let point = created.fork.unwrap();
    assert_eq!((point.at, point.owners), (2, vec![(parent.session(), 2)]));
    assert_eq!(records[1], fork.script.written()[1]);
    close(store).await;
    assert!(checked(&path, KEY).await.is_sound());
}

/// Damages the log or a large body somewhere.
fn damage(path: &Path, dice: &mut Dice) {
    let mut blobs = files(&path.join("blobs"));
    blobs.sort();
    let file = match dice.below(8) {
        0 => blobs[dice.below(blobs.len())].clone(),
        _ => segment(path),
    };
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let at = dice.below(end);
    match dice.below(4) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at..(at + 1 + dice.below(300)).min(end)].fill(0),
        2 => bytes[at..(at + 1 + dice.below(300)).min(end)].fill(0xEE),
        _ => bytes.truncate(at),
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn of_200_random_damages_each_is_named_and_repaired_without_the_key_and_all_else_is_read_with_it() {
    let ground = folder();
    let whole = ground.path().join("whole");
    let store = open(&whole, KEY).await.unwrap();
    let mut talks: Vec<Talk> = (1..=5).map(Talk::new).collect();
    for round in 0..6 {
        for (at, talk) in talks.iter_mut().enumerate() {
            let large = format!("large {at} {round} ").repeat(8_000);
            let text = if round == at { large } else { format!("said {at} in {round}") };
            say(&store, talk, &[&text]).await;
        }
    }
    let (mut fork, commit) = Talk::forked(9, &talks[0]);
    store.commit(commit).await.unwrap();
    say(&store, &mut fork, &["y", "z"]).await;
    talks.push(fork);
    close(store).await;
    let mut dice = Dice::of(4);
    for number in 0..200 {
        let path = ground.path().join("harmed");
        copy(&whole, &path);
        damage(&path, &mut dice);
        let found = verify(&path).unwrap();
        repair(&path, false).unwrap();
        let after = verify(&path).unwrap();
        assert!(after.is_sound(), "{number}: {:?}", after.findings);
        let store = open(&path, KEY).await.unwrap();
        for talk in &talks {
            let session = talk.session();
            let records = read(&store, session).await;
            let expected = talk.script.written();
            assert_eq!(records.len(), expected.len(), "{number}: {session}");
            for (record, expected) in records.iter().zip(expected) {
                if record == expected {
                    continue;
                }
                let stands_in = match decoded(record) {
                    (Event::Lost, _) => true,
                    (Event::Created(created), _) => created.stands_for_a_lost_one(&record.payload),
                    _ => false,
                };
                assert!(stands_in, "{number}: {record:?}");
                let is_named = found.findings.iter().any(|finding| {
                    finding.session == Some(session)
                        && finding.seq.is_some_and(|seq| (seq..=finding.last.unwrap_or(seq)).contains(&record.seq))
                });
                assert!(is_named, "{number}: record {} of {session}: {:?}", record.seq, found.findings);
            }
        }
        let page = store.rows(0, 99).await.unwrap();
        assert!(page.rows.iter().all(|row| !row.words.is_empty()), "{number}");
        close(store).await;
        let checked = checked(&path, KEY).await;
        assert!(checked.is_sound(), "{number}: {:?}", checked.findings);
        fs::remove_dir_all(&path).unwrap();
    }
}

async fn backed_up(store: &SealedStore, beneath: &SledStore, file: &Path) -> BackupInfo {
    let report = beneath.backup(file, &BackupProgress::default()).await.unwrap();
    assert_eq!(report.info.head.store, store.id());
    report.info
}

#[tokio::test]
async fn a_backup_holds_keys_and_no_word_and_opens_with_the_key_of_then() {
    use std::os::unix::fs::PermissionsExt as _;

    let (ground, path) = place();
    let file = ground.path().join("one.sessions");
    let (store, raw) = open_both(&path, KEY).await.unwrap();
    let (mut talk, mut shredded) = (Talk::of(1, "acme"), Talk::new(2));
    let large = "canary ".repeat(20_000);
    say(&store, &mut talk, &["", "canary", &large]).await;
    say(&store, &mut shredded, &["", "canary"]).await;
    let info = backed_up(&store, &raw, &file).await;
    assert_eq!((info.head.sealing, info.bodies), (Sealing::Sealed, 1));
    assert_eq!(verify_backup(&file, &BackupProgress::default()).unwrap(), info);
    let bytes = fs::read(&file).unwrap();
    for word in ["canary", "acme", "title 1", "key-1"] {
        assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // What is done to the original does nothing to the backup.
    remove(&store, shredded.session()).await;
    store.rotate(&provider(9), |_| ()).await.unwrap();
    let later = ground.path().join("two.sessions");
    backed_up(&store, &raw, &later).await;
    close(store).await;
    drop(raw);

    let restored = ground.path().join("restored");
    let report = restore_backup(&file, &restored, &BackupProgress::default()).unwrap();
    assert_eq!(report.verified.findings, []);
    assert_eq!(report.verified.sealing, SealingLook::Shut);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&restored.join("keys")), 0o700);
    for name in ["ring", "ring.copy", "slots"] {
        assert_eq!(mode(&restored.join("keys").join(name)), 0o600, "{name}");
    }
    let plain = SledStore::open(&restored, SledOptions::default()).await.unwrap_err();
    assert!(matches!(plain, StoreError::Key(KeyError::Sealed)), "{plain:?}");
    let wrong = open(&restored, 9).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Key(KeyError::WrongKey { .. })), "{wrong:?}");
    assert_eq!(checked(&restored, KEY).await.findings, []);
    let store = open(&restored, KEY).await.unwrap();
    for talk in [&mut talk, &mut shredded] {
        assert_eq!(read(&store, talk.session()).await, talk.script.written());
        say(&store, talk, &["on"]).await;
    }
    let mut new = Talk::new(3);
    say(&store, &mut new, &["", "new"]).await;
    close(store).await;
    let report = checked(&restored, KEY).await;
    assert!(report.is_sound(), "{:?}", report.findings);

    let restored = ground.path().join("restored-later");
    restore_backup(&later, &restored, &BackupProgress::default()).unwrap();
    let store = open(&restored, 9).await.unwrap();
    let gone = store.read(shredded.session(), everything()).await.unwrap_err();
    assert!(matches!(gone, StoreError::Gone { .. }), "{gone:?}");
    assert!(store.erased(shredded.session()).await.unwrap().is_some());
    store.close().await.unwrap();
}

#[tokio::test]
async fn no_flipped_byte_of_a_sealed_backup_is_taken_for_one() {
    let (ground, path) = place();
    let file = ground.path().join("one.sessions");
    let (store, raw) = open_both(&path, KEY).await.unwrap();
    say(&store, &mut Talk::new(1), &["", "a"]).await;
    backed_up(&store, &raw, &file).await;
    store.close().await.unwrap();
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(check_backup(bytes.as_slice()).is_err(), "byte {at}");
    }
    assert!(check_backup(whole.as_slice()).is_ok());
}

#[tokio::test]
async fn backups_that_are_made_while_sessions_begin_and_go_open_whole() {
    let (ground, path) = place();
    let (store, raw) = open_both(&path, KEY).await.unwrap();
    let mut kept = Talk::new(200);
    say(&store, &mut kept, &["", "kept"]).await;
    let busy = {
        let store = store.clone();
        async move {
            for number in 1..=60 {
                let mut talk = Talk::new(number);
                say(&store, &mut talk, &["", "said"]).await;
                if number % 2 == 0 {
                    remove(&store, talk.session()).await;
                }
                if number % 20 == 0 {
                    store.rotate(&provider(KEY), |_| ()).await.unwrap();
                }
            }
        }
    };
    let busy = tokio::spawn(busy);
    let mut files = Vec::new();
    while !busy.is_finished() || files.is_empty() {
        let file = ground.path().join(format!("{}.sessions", files.len()));
        backed_up(&store, &raw, &file).await;
        files.push(file);
    }
    busy.await.unwrap();
    close(store).await;
    drop(raw);
    for (at, file) in files.iter().enumerate() {
        let restored = ground.path().join(format!("restored-{at}"));
        restore_backup(file, &restored, &BackupProgress::default()).unwrap();
        let report = checked(&restored, KEY).await;
        assert!(report.is_sound(), "{:?}", report.findings);
        let store = open(&restored, KEY).await.unwrap();
        assert_eq!(read(&store, kept.session()).await, kept.script.written());
        store.close().await.unwrap();
        fs::remove_dir_all(&restored).unwrap();
    }
}

#[tokio::test]
async fn upkeep_needs_no_key_and_takes_no_commit() {
    let (ground, path) = place();
    let file = ground.path().join("one.sessions");
    let store = open(&path, KEY).await.unwrap();
    let mut talk = Talk::new(1);
    say(&store, &mut talk, &["", &"large ".repeat(20_000)]).await;
    let mut gone = Talk::new(2);
    say(&store, &mut gone, &["", &"other ".repeat(20_000)]).await;
    remove(&store, gone.session()).await;
    close(store).await;
    let look = look_at_keys(&path).unwrap().unwrap();
    assert_eq!((look.live, look.destroyed, look.ring.is_changing, look.damage), (1, 1, false, Vec::new()));

    let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
    let removal = removal_of(talk.session());
    let mut other = Talk::new(3);
    for refused in [upkeep.commit(other.next("")).await.err(), upkeep.remove(removal).await.err()] {
        assert!(matches!(refused, Some(StoreError::Malformed { .. })), "{refused:?}");
    }
    let reclaimed = upkeep.reclaim().await.unwrap();
    assert_eq!(reclaimed.bodies, 1);
    upkeep.backup(&file, &BackupProgress::default()).await.unwrap();
    close(upkeep).await;
    assert_eq!(checked(&path, KEY).await.findings, []);
    let store = open(&path, KEY).await.unwrap();
    assert_eq!(read(&store, talk.session()).await, talk.script.written());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_session_with_another_data_key_is_checked_as_it_is_sealed_now_and_its_old_chain_is_kept() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut talk = Talk::new(1);
    say(&store, &mut talk, &["", "b", &"large ".repeat(20_000)]).await;
    close(store).await;
    let before = verify(&path).unwrap().names[0].epochs[0].link.clone();
    let store = open(&path, KEY).await.unwrap();
    store.rotate_data(talk.session(), |_| ()).await.unwrap();
    say(&store, &mut talk, &["d"]).await;
    close(store).await;
    for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
        assert_eq!(report.findings, []);
        let named = &report.names[0];
        assert_eq!(named.epochs.iter().map(|epoch| (epoch.epoch, epoch.records)).collect::<Vec<_>>(), [(2, 4)]);
        let closed = named.closed.unwrap();
        assert_eq!((closed.epoch, closed.version), (1, 3));
        assert_eq!(sessions_domain::chain::to_hex(&closed.old), before);
    }
    // Whoever changes what was sealed anew is found without the key.
    harm(&path, |log| {
        let anew = frames(log).into_iter().find(|frame| log[frame + 6] & 64 != 0).unwrap();
        forge(log, anew, |frame| frame[HEADER + 20] ^= 1);
    });
    let found = verify(&path).unwrap();
    let found = errors(&found);
    assert_eq!((found.len(), found[0].session), (1, Some(talk.session())), "{found:?}");
    assert!(found[0].what.contains("last change of its data key"), "{}", found[0].what);
    assert!(!checked(&path, KEY).await.is_sound());
}

#[tokio::test]
async fn what_a_session_took_over_is_checked_with_it() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let mut parent = Talk::new(1);
    say(&store, &mut parent, &["", "b"]).await;
    let (mut fork, commit) = Talk::forked(2, &parent);
    store.commit(commit).await.unwrap();
    say(&store, &mut fork, &["c"]).await;
    let (session, durability) = (fork.session(), Durability::Disk);
    let (records, unlink) = (parent.script.written().to_vec(), vec![parent.session()]);
    store.rewrite(Rewrite { session, expected: None, records, words: None, unlink, durability }).await.unwrap();
    remove(&store, parent.session()).await;
    close(store).await;
    let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
    upkeep.reclaim().await.unwrap();
    close(upkeep).await;
    for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
        assert_eq!(report.findings, []);
        let named = report.names.iter().find(|named| named.session == fork.session()).unwrap();
        assert_eq!(named.epochs.iter().map(|epoch| epoch.records).collect::<Vec<_>>(), [4]);
    }
}

#[tokio::test]
async fn what_a_session_takes_over_differs_in_nothing_from_what_its_slot_attests() {
    let (_ground, path) = place();
    let store = open(&path, KEY).await.unwrap();
    let (mut owner, mut child) = (Script::new(1), Script::starting_at(2, 4));
    for text in ["one", "two", "three"] {
        store.commit(owner.say(text)).await.unwrap();
    }
    let links = vec![Link { owner: owner.session(), last: 3 }];
    store.commit(Commit { links, ..child.say("inherits") }).await.unwrap();
    store.commit(child.say("its own")).await.unwrap();
    let session = child.session();
    store.rotate_data(session, |_| ()).await.unwrap();
    let lots = [(&owner.written()[1..], Vec::new()), (&owner.written()[..1], vec![owner.session()])];
    for (records, unlink) in lots {
        let (expected, records, words) = (None, records.to_vec(), None);
        let lot = Rewrite { session, expected, records, words, unlink, durability: Durability::Disk };
        store.rewrite(lot).await.unwrap();
    }
    store.commit(Commit { durability: Durability::Disk, ..child.say("it goes on") }).await.unwrap();
    close(store).await;
    assert_eq!(verify(&path).unwrap().findings, [], "changed before, and taken over");
    let store = open(&path, KEY).await.unwrap();
    store.rotate_data(session, |_| ()).await.unwrap();
    close(store).await;
    assert_eq!(verify(&path).unwrap().findings, [], "taken over before, and changed");
}
