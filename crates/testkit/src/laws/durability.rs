//! Laws of durability: what a level promises, and what is there when the store is opened again.
//!
//! Must not know: any store.

use std::sync::Arc;

use bytes::Bytes;
use sessions_ports::{Claim, Commit, Durability, Row, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

const LEVELS: [Durability; 3] = [Durability::Volatile, Durability::Process, Durability::Disk];

/// The level that was asked, or a stronger one, is reached.
pub async fn the_level_that_was_asked_is_reached(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for level in LEVELS.into_iter().chain(LEVELS).filter(|level| *level <= store.strongest()) {
        let committed = store.commit(Commit { durability: level, ..script.say("at a level") }).await?;
        ensure!(committed.durability >= level, "{} was reached and {level} asked", committed.durability);
        ensure!(committed.durability <= store.strongest(), "{} is above the strongest", committed.durability);
    }
    Ok(())
}

/// More than the strongest level is refused with both levels, and nothing is written.
pub async fn more_than_the_strongest_is_refused(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let best = store.strongest();
    if best == Durability::Disk {
        return Err(Exception::skipped("the store gives the strongest level there is"));
    }
    let script = Script::new(1);
    for level in LEVELS.into_iter().filter(|level| *level > best) {
        let commit = Commit { durability: level, ..script.clone().say("too much") };
        ensure_refused!(
            store.commit(commit).await,
            StoreError::TooWeak { asked, best: given } if asked == level && given == best,
            "a commit at {level}"
        );
    }
    ensure_eq!(store.head(script.session()).await?, None, "the head");
    Ok(())
}

/// The identity stays the same from call to call, and on another handle.
pub async fn a_store_has_one_identity(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let id = store.id();
    store.commit(Script::new(1).say("one")).await?;
    ensure_eq!(store.id(), id, "the identity after a commit");
    ensure_eq!(fixture.second().await.id(), id, "the identity of another handle");
    Ok(())
}

/// A store of some sessions, and how they went.
async fn filled(fixture: &dyn Fixture) -> Result<(Arc<dyn SessionLog>, Vec<Script>), StoreError> {
    let store = fixture.open().await;
    let mut scripts = vec![Script::new(1), Script::new(2), Script::starting_at(3, 50)];
    for round in 0..5_u8 {
        for (script, number) in scripts.iter_mut().zip(1_u8..) {
            let level = LEVELS.into_iter().cycle().nth(usize::from(round + number)).unwrap_or_default();
            let mut commit = script.commit(&[
                (sessions_domain::Kind::APPENDED, u64::from(round) + 1, b"kept"),
                (sessions_domain::Kind::MOVED, 0, &[round; 300]),
            ]);
            commit.key = (round == 0).then_some([number; 32]);
            commit.claims = vec![Claim { key: [round; 32], payload: [number; 32], offset: 1 }];
            commit.snapshot = Some(Bytes::from(format!("snapshot {round} of {number}")));
            commit.durability = level.min(store.strongest());
            store.commit(commit).await?;
        }
    }
    Ok((store, scripts))
}

/// The store of `filled`, closed and opened again, with what it held before.
async fn reopened(fixture: &dyn Fixture) -> Result<(Arc<dyn SessionLog>, Vec<Script>, Vec<Row>), Exception> {
    let (store, scripts) = filled(fixture).await?;
    let (rows, id) = (store.rows(0, 100).await?.rows, store.id());
    let Some(store) = fixture.reopen(store).await else {
        return Err(Exception::skipped("the store keeps nothing when it is closed"));
    };
    if store.id() != id {
        return Err(Exception::broken("another identity after opening again"));
    }
    Ok((store, scripts, rows))
}

/// A clean close loses nothing, at any level.
pub async fn a_reopened_store_has_all_records(fixture: &dyn Fixture) -> Outcome {
    let (store, scripts, _) = reopened(fixture).await?;
    for script in &scripts {
        let read = read_all(&*store, script.session(), everything()).await?;
        ensure_eq!(read, script.written(), "the log of {}", script.session());
        let head = store.head(script.session()).await?;
        let first = script.written().first().map(|record| record.seq);
        ensure_eq!(head.map(|head| head.version), Some(script.version()), "the version");
        ensure_eq!(head.map(|head| head.commit), Some(script.tip()), "the head's commit");
        ensure_eq!(head.map(|head| head.first), first, "the first record's number");
    }
    Ok(())
}

/// Keys, claims and labels are there again.
pub async fn a_reopened_store_has_all_names(fixture: &dyn Fixture) -> Outcome {
    let (store, scripts, _) = reopened(fixture).await?;
    for (script, number) in scripts.iter().zip(1_u8..) {
        let first = script.written().first().map_or(0, |record| record.seq);
        ensure_eq!(store.by_key([number; 32]).await?, Some(script.session()), "the holder of key {number}");
        for round in 0..5_u8 {
            let claim = store.claim(script.session(), [round; 32]).await?;
            let seq = first + 2 * u64::from(round);
            let found = claim.map(|claim| (claim.payload, claim.seq, claim.version));
            ensure_eq!(found, Some(([number; 32], seq + 1, seq + 1)), "claim {round} of session {number}");
            ensure_eq!(store.find(script.session(), u64::from(round) + 1).await?, [seq], "label {}", round + 1);
        }
        let snapshot = store.snapshot(script.session()).await?;
        let known = |bytes: &Bytes| (0..5).any(|round| *bytes == format!("snapshot {round} of {number}").as_bytes());
        ensure!(snapshot.as_ref().is_none_or(known), "a snapshot that was never given: {snapshot:?}");
    }
    Ok(())
}

/// All rows are there again as they were.
pub async fn a_reopened_store_has_all_rows(fixture: &dyn Fixture) -> Outcome {
    let (store, _, mut before) = reopened(fixture).await?;
    let mut rows = store.rows(0, 100).await?.rows;
    rows.sort_by_key(|row| row.session);
    before.sort_by_key(|row| row.session);
    ensure_eq!(rows, before, "the rows");
    Ok(())
}

/// A store that was opened again goes on where it was: versions, keys and claims are checked as before.
pub async fn a_reopened_store_goes_on(fixture: &dyn Fixture) -> Outcome {
    let (store, mut scripts, _) = reopened(fixture).await?;
    for script in &mut scripts {
        let stale = script.behind(script.version() - 1, script.tip(), b"stale", Durability::Volatile);
        ensure_refused!(store.commit(stale).await, StoreError::Conflict { .. }, "a stale commit");
        let claims = vec![Claim { key: [1; 32], payload: [0; 32], offset: 0 }];
        let again = Commit { claims, ..script.clone().say("claimed before") };
        ensure_refused!(store.commit(again).await, StoreError::Malformed { .. }, "a claim that was made before");
        store.commit(Commit { durability: store.strongest(), ..script.say("going on") }).await?;
        ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    }
    let taken = Commit { key: Some([2; 32]), ..Script::new(9).say("new") };
    ensure_refused!(store.commit(taken).await, StoreError::KeyTaken { .. }, "a key that was taken before");
    ensure_refused!(
        store.commit(Script::new(1).say("new")).await,
        StoreError::AlreadyExists { .. },
        "a second beginning"
    );
    Ok(())
}
