//! Laws of a kill: what was acknowledged at a level that survives it is there, whole, and the store goes on.
//!
//! Must not know: any store, or how one is killed.

use std::sync::Arc;

use sessions_ports::{Claim, Commit, Durability, Removal, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// What is there after a kill.
async fn killed(fixture: &dyn Fixture, store: &Arc<dyn SessionLog>) -> Result<Arc<dyn SessionLog>, Exception> {
    match fixture.killed(store).await {
        Some(store) => Ok(store),
        None if fixture.capabilities().survives_kill => {
            Err(Exception::broken("it is said to survive a kill, and the fixture kills nothing"))
        }
        None => Err(Exception::skipped("the store is gone with its process")),
    }
}

/// A store of some sessions whose last commits stand at [`Durability::Process`], and those before at any level.
async fn filled(fixture: &dyn Fixture) -> Result<(Arc<dyn SessionLog>, Vec<Script>), StoreError> {
    let store = fixture.open().await;
    let mut scripts = vec![Script::new(1), Script::new(2), Script::starting_at(3, 70)];
    let process = Durability::Process.min(store.strongest());
    for round in 0..6_u8 {
        for (script, number) in scripts.iter_mut().zip(1_u8..) {
            let mut commit = script.say_many(usize::from(round) + 1);
            commit.key = (round == 0).then_some([number; 32]);
            commit.claims = vec![Claim { key: [round; 32], payload: [number; 32], offset: 0 }];
            commit.durability = match (round, number) {
                (5, _) => process,
                (_, 1) => store.strongest(),
                _ => Durability::Volatile,
            };
            store.commit(commit).await?;
        }
    }
    Ok((store, scripts))
}

/// What was acknowledged at `process` survives a kill, with all that stands before it in its log, whatever that was asked at.
pub async fn what_was_acknowledged_survives_a_kill(fixture: &dyn Fixture) -> Outcome {
    let (store, scripts) = filled(fixture).await?;
    let after = killed(fixture, &store).await?;
    for script in &scripts {
        let read = read_all(&*after, script.session(), everything()).await?;
        ensure_eq!(read, script.written(), "the log of {} after a kill", script.session());
        let head = after.head(script.session()).await?.map(|head| (head.version, head.commit));
        ensure_eq!(head, Some((script.version(), script.tip())), "the head of {} after a kill", script.session());
    }
    Ok(())
}

/// Keys, claims and rows survive a kill together with the records that they came with.
pub async fn names_survive_a_kill_with_their_records(fixture: &dyn Fixture) -> Outcome {
    let (store, scripts) = filled(fixture).await?;
    let mut before = store.rows(0, 100).await?.rows;
    let after = killed(fixture, &store).await?;
    for (script, number) in scripts.iter().zip(1_u8..) {
        ensure_eq!(after.by_key([number; 32]).await?, Some(script.session()), "the holder of key {number}");
        for round in 0..6_u8 {
            let claim = after.claim(script.session(), [round; 32]).await?;
            ensure_eq!(claim.map(|claim| claim.payload), Some([number; 32]), "claim {round} of session {number}");
        }
    }
    let mut rows = after.rows(0, 100).await?.rows;
    rows.sort_by_key(|row| row.session);
    before.sort_by_key(|row| row.session);
    ensure_eq!(rows, before, "the rows after a kill");
    ensure_eq!(after.id(), store.id(), "the identity after a kill");
    Ok(())
}

/// A store that was killed goes on where it was: versions and keys are checked as before.
pub async fn a_killed_store_goes_on(fixture: &dyn Fixture) -> Outcome {
    let (store, mut scripts) = filled(fixture).await?;
    let after = killed(fixture, &store).await?;
    for script in &mut scripts {
        let stale = script.behind(script.version() - 1, script.tip(), b"stale", Durability::Volatile);
        ensure_refused!(after.commit(stale).await, StoreError::Conflict { .. }, "a stale commit after a kill");
        after.commit(Commit { durability: after.strongest(), ..script.say("going on") }).await?;
        ensure_eq!(read_all(&*after, script.session(), everything()).await?, script.written(), "the log");
    }
    let taken = Commit { key: Some([2; 32]), ..Script::new(9).say("new") };
    ensure_refused!(after.commit(taken).await, StoreError::KeyTaken { .. }, "a key that was taken before the kill");
    Ok(())
}

/// What was written at `volatile` survives a kill once somebody waited for `process`.
pub async fn a_level_that_was_waited_for_survives_a_kill(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for _ in 0..5 {
        store.commit(script.say_many(3)).await?;
    }
    store.wait(script.session(), script.version(), Durability::Process.min(store.strongest())).await?;
    let after = killed(fixture, &store).await?;
    ensure_eq!(read_all(&*after, script.session(), everything()).await?, script.written(), "the log after a kill");
    Ok(())
}

/// What was removed at `process` stays removed after a kill, and its key is free.
pub async fn what_was_removed_stays_gone_after_a_kill(fixture: &dyn Fixture) -> Outcome {
    let (store, scripts) = filled(fixture).await?;
    let (gone, left) = (Script::new(2), Script::new(1));
    let durability = Durability::Process.min(store.strongest());
    store.remove(Removal { session: gone.session(), expected: None, keep_key: false, durability }).await?;
    let after = killed(fixture, &store).await?;
    ensure_refused!(after.head(gone.session()).await, StoreError::Gone { .. }, "the head of what was removed");
    ensure_refused!(after.commit(Script::new(2).say("again")).await, StoreError::Gone { .. }, "making it again");
    ensure_eq!(after.by_key([2; 32]).await?, None, "the holder of a key that was freed");
    ensure_eq!(
        after.head(left.session()).await?.map(|head| head.version),
        scripts.first().map(Script::version),
        "the other"
    );
    Ok(())
}
