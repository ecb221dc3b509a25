//! Damage in the log of a sealed store whose keys changed, and of which sessions are gone that others inherit from: one repair with the key leaves nothing that a
//! check with the key calls wrong, and what is left goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
    sync::Arc,
};

use sessions_app::{Append, At, Deletion, Forks, SessionError};
use sessions_domain::{Message, Moment, SessionId, SummaryWords};
use sessions_infra::{
    sealing::{SealedStore, StoreOpener},
    sled::{Finding, Severity, VerifyReport, repair_sealed, verify_sealed},
};
use sessions_ports::{Durability, KeyError, SessionLog, StoreError};

use crate::{
    damage::lay_checksum,
    folder::{copy, frames, segments},
    ground::{Dice, Host, exported, folder, key_file, open_sealed, run, seed},
};

const WAYS: usize = 400;

/// Sessions with forks, of which some are gone, under data keys that changed in the middle of it all.
async fn populate(store: &SealedStore, host: &Host, dice: &mut Dice) {
    let log: Arc<dyn SessionLog> = Arc::new(store.clone());
    let manager = host.manager(log, Durability::Disk);
    let mut forks = Vec::new();
    for number in 0..10 {
        let session = manager.open_or_create(&format!("key {number}")).await.unwrap();
        for _ in 0..3 {
            let messages: Vec<Message> =
                (0..8).map(|at| Message::user(format!("{at} {}", "words ".repeat(dice.below(60))))).collect();
            session.append(Append::all(messages)).await.unwrap();
        }
        if number % 3 == 0 {
            let fork = session.fork(At::Now).await.unwrap();
            fork.append(Message::user("of the fork")).await.unwrap();
            forks.push(fork.id());
            if number > 0 {
                let fork_of_fork = fork.fork(At::Now).await.unwrap();
                fork_of_fork.append(Message::user("of the fork of a fork")).await.unwrap();
            }
        }
        match number {
            3 => drop(
                manager
                    .delete(session.id(), Deletion::shredding().forks(Forks::Detach).accepting_loss())
                    .await
                    .unwrap(),
            ),
            4 => {
                let first = manager.open_or_create("key 1").await.unwrap();
                store.rotate_data(first.id(), |_| ()).await.unwrap();
            }
            5 => drop(manager.delete(session.id(), Deletion::shredding()).await.unwrap()),
            6 => drop(store.rotate(&key_file(7), |_| ()).await.unwrap()),
            7 => drop(store.rotate_data(forks[0], |_| ()).await.unwrap()),
            // One that made all its own.
            8 => drop(store.rotate_data(forks[1], |_| ()).await.unwrap()),
            _ => drop(session.undo(1).await.unwrap()),
        }
    }
}

/// Spoils one to three places of the log, and says how.
fn spoil(dice: &mut Dice, store: &Path) -> String {
    let mut told = Vec::new();
    let paths = segments(store);
    let whole = paths.iter().map(|path| frames(&fs::read(path).unwrap())).enumerate();
    let sound: Vec<(usize, Range<usize>)> =
        whole.flat_map(|(number, frames)| frames.into_iter().map(move |frame| (number, frame.bytes))).collect();
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    for _ in 0..=[0, 0, 1, 2][dice.below(4)] {
        let number = dice.below(paths.len());
        let path = &paths[number];
        let mut bytes = fs::read(path).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let from = dice.below(written);
        let to = (from + 1 + dice.below(3_000)).min(bytes.len());
        told.push(match dice.below(6) {
            0 => {
                bytes[from] ^= 1 << dice.below(8);
                format!("a flipped bit at {from}")
            }
            1 => {
                bytes[from..to].fill(0);
                format!("zeros from {from} to {to}")
            }
            2 => {
                let noise = dice.bytes(to - from);
                bytes[from..to].copy_from_slice(&noise);
                format!("noise from {from} to {to}")
            }
            3 => {
                let noise = dice.bytes(8.min(to - from));
                bytes[from..from + noise.len()].copy_from_slice(&noise);
                format!("eight bytes of noise at {from}")
            }
            4 => {
                let is_hit = |(of, frame): &&(usize, Range<usize>)| *of == number && frame.contains(&from);
                let is_sealed = |frame: &Range<usize>| u32_at(&bytes, frame.start + 40) > 40;
                let hit = sound.iter().find(is_hit).map(|(_, frame)| frame.clone());
                let body = hit.filter(|frame| frame.end <= bytes.len() && is_sealed(frame)).unwrap_or(0..0);
                if !body.is_empty() {
                    bytes[body.start + 92 + dice.below(28)] ^= 1;
                    lay_checksum(&mut bytes, body.clone());
                }
                format!("a broken seal from {} to {}", body.start, body.end)
            }
            _ => {
                bytes.truncate(from);
                format!("cut from {written} to {from}")
            }
        });
        fs::write(path, bytes).unwrap();
    }
    told.join(", ")
}

async fn checked(path: &Path) -> VerifyReport {
    let opener = Arc::new(StoreOpener::unlock(path, &key_file(7)).await.unwrap());
    let witness = opener.witness().unwrap();
    verify_sealed(path, Some(&witness), opener).unwrap()
}

/// What a check calls wrong, without sessions of which no word is left that tells where their keys lie, and these sessions.
fn wrongs(report: VerifyReport) -> (Vec<Finding>, Vec<SessionId>) {
    let wrong = report.findings.into_iter().filter(|finding| finding.severity == Severity::Error);
    let (shut, wrong): (Vec<_>, _) = wrong.partition(|finding| finding.what == "nothing tells where its keys lie");
    (wrong, shut.into_iter().filter_map(|finding| finding.session).collect())
}

/// What a store says of a session without reading it.
struct Said {
    /// What its row says, whom its key finds, and since when it is there.
    of_itself: (Vec<u8>, Option<SessionId>, Moment),
    /// Who inherits from it.
    heirs: BTreeSet<SessionId>,
}

async fn said(path: &Path, host: &Host) -> BTreeMap<SessionId, Said> {
    let store = open_sealed(path, 7).await;
    let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
    let mut said = BTreeMap::new();
    for row in store.rows(0, 100).await.unwrap().rows {
        let key = SummaryWords::from_json(&row.words).and_then(|words| words.key);
        let found = match &key {
            Some(key) => manager.find(key.as_str()).await.ok().map(|found| found.id()),
            None => None,
        };
        let heirs = store.heirs(row.session).await.unwrap().into_iter().map(|heir| heir.session).collect();
        said.insert(row.session, Said { of_itself: (row.words.to_vec(), found, row.created), heirs });
    }
    manager.close().await.unwrap();
    said
}

/// Every session that is there reads and takes an append, and with `goes_out` an export of it says the same elsewhere. One that nothing opens any more, or whose keys were destroyed and what said so is lost, can be deleted.
async fn check_goes_on(path: &Path, host: &Host, shut: &[SessionId], goes_out: bool, what: &str) -> usize {
    let store = open_sealed(path, 7).await;
    let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
    for session in shut {
        manager
            .delete(*session, Deletion::default())
            .await
            .unwrap_or_else(|error| panic!("{what}: {session}: {error}"));
    }
    let mut went_on = 0;
    for row in store.rows(0, 100).await.unwrap().rows {
        let about = format!("{what}: {}", row.session);
        let session = match manager.load(row.session).await {
            Ok(session) => session,
            Err(SessionError::Store(StoreError::Key(KeyError::Damaged { .. } | KeyError::SessionDestroyed { .. }))) => {
                manager
                    .delete(row.session, Deletion::default())
                    .await
                    .unwrap_or_else(|error| panic!("{about}: {error}"));
                continue;
            }
            // So was it just now.
            Err(SessionError::Gone { .. }) => continue,
            Err(error) => panic!("{about}: {error}"),
        };
        session.last(100).await.unwrap_or_else(|error| panic!("{about}: {error}"));
        let session = match session.append(Message::user("and on")).await {
            // Keys may be put back of one that it inherits from, until that is deleted.
            Err(SessionError::Store(StoreError::Corrupt { session: owner, .. })) if owner != row.session => {
                drop(session);
                manager.delete(owner, Deletion::default()).await.unwrap_or_else(|error| panic!("{about}: {error}"));
                let session = manager.load(row.session).await.unwrap_or_else(|error| panic!("{about}: {error}"));
                session.append(Message::user("and on")).await.unwrap_or_else(|error| panic!("{about}: {error}"));
                session
            }
            appended => {
                appended.unwrap_or_else(|error| panic!("{about}: {error}"));
                session
            }
        };
        if goes_out {
            exported(&session, host).await;
        }
        went_on += 1;
    }
    manager.close().await.unwrap();
    went_on
}

/// What is done with sessions as if nothing had been: each is forked, gets another data key, is deleted or shredded, whatever was lost of it.
async fn check_lives_on(path: &Path, host: &Host, dice: &mut Dice, what: &str) {
    let store = open_sealed(path, 7).await;
    let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
    let rows = store.rows(0, 100).await.unwrap().rows;
    for session in rows.iter().map(|row| row.session) {
        let about = format!("{what}: {session}");
        let gone = |error: &SessionError| matches!(error, SessionError::Gone { .. } | SessionError::NotFound { .. });
        let deed = dice.below(6);
        let done = match deed {
            0 => match manager.load(session).await {
                Ok(session) => session.fork(At::Now).await.map(drop),
                Err(error) => Err(error),
            },
            1 => store.rotate_data(session, |_| ()).await.map(drop).map_err(SessionError::from),
            2 => manager.delete(session, Deletion::shredding().forks(Forks::Detach).accepting_loss()).await.map(drop),
            3 => manager.delete(session, Deletion::shredding().forks(Forks::Cascade)).await.map(drop),
            4 => manager.delete(session, Deletion::default()).await.map(drop),
            _ => Ok(()),
        };
        done.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) })
            .unwrap_or_else(|error| panic!("{about}, deed {deed}: {error}"));
    }
    manager.close().await.unwrap();
}

#[test]
fn one_repair_with_the_key_leaves_nothing_that_a_check_calls_wrong() {
    let seed = seed("sealed_damage");
    let host = Host::drawing(seed);
    run(2, async {
        let ground = folder();
        let base = ground.path().join("base");
        let mut dice = Dice::new(seed);
        let store = open_sealed(&base, 7).await;
        populate(&store, &host, &mut dice).await;
        store.close().await.unwrap();
        drop(store);
        assert!(checked(&base).await.is_sound());
        let said_before = said(&base, &host).await;
        let (mut told, mut went_on) = (0, 0);
        for way in 0..WAYS {
            let at = ground.path().join("way");
            copy(&base, &at);
            let mut what = format!("way {way} of SESSIONS_SEED={seed}: {}", spoil(&mut dice, &at));
            let keeps_index = !dice.chance(70);
            if !keeps_index {
                fs::remove_dir_all(at.join("index")).unwrap();
                what.push_str(", without the index");
            }
            told += usize::from(!checked(&at).await.is_sound());
            let opener = Arc::new(StoreOpener::unlock(&at, &key_file(7)).await.unwrap());
            repair_sealed(&at, false, Arc::new(opener.witness().unwrap()), opener).unwrap();
            let (wrong, shut) = wrongs(checked(&at).await);
            assert_eq!(wrong, [], "{what}");
            if keeps_index {
                let said = said(&at, &host).await;
                for (session, before) in &said_before {
                    let Some(after) = said.get(session) else { panic!("{what}: {session} is not listed") };
                    assert_eq!(after.of_itself, before.of_itself, "{what}: {session}");
                    // One that lost what it had made its own has left what it inherits of those that still have it.
                    assert!(after.heirs.is_superset(&before.heirs), "{what}: {session}: {:?}", after.heirs);
                }
            }
            went_on += check_goes_on(&at, &host, &shut, way % 8 == 0, &what).await;
            let (wrong, still_shut) = wrongs(checked(&at).await);
            assert_eq!(wrong, [], "{what}, and went on");
            // Who inherits of one that was deleted still needs its keys.
            assert!(still_shut.iter().all(|session| shut.contains(session)), "{what}, and went on: {still_shut:?}");
            check_lives_on(&at, &host, &mut dice, &what).await;
            let (wrong, _) = wrongs(checked(&at).await);
            assert_eq!(wrong, [], "{what}, and lived on");
            fs::remove_dir_all(&at).unwrap();
        }
        println!("{WAYS} ways, {told} told of, {went_on} sessions went on");
        assert!(told > WAYS / 3 && went_on > WAYS * 3);
    });
}
